"""Checkpoints: a training that was stopped ends as one that was not."""

import copy
import os
import random
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback, EarlyStopping
from torch import nn

from sksiamese import SiameseClassifier, SiameseEmbedder
from sksiamese._checkpoint import load_weights, open_checkpoint
from sksiamese._state_file import read_state, write_state

IMAGES, LABELS = load_digits(return_X_y=True)
IMAGES = IMAGES.reshape(-1, 8, 8).astype(np.uint8)
X, Y, X_NEW = IMAGES[:240], LABELS[:240], IMAGES[1500:]
EPOCHS = 3
FILE = "training.checkpoint"


class Crashed(Exception):
    """What ends a training at a moment of the test's choice."""


class Crash(Callback):
    """Fails in the second batch of an epoch, and counts the batches trained."""

    epoch = None
    n_batches = 0
    error = Crashed

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        assert state == {}

    def on_batch_end(self, net, training=False, **kwargs):
        Crash.n_batches += 1
        if len(net.history) == Crash.epoch and len(net.history[-1]["batches"]) == 2:
            if Crash.error is signal.SIGINT:
                signal.raise_signal(signal.SIGINT)
            else:
                raise Crash.error


@pytest.fixture(autouse=True)
def no_crash(monkeypatch):
    monkeypatch.setattr(Crash, "epoch", None)
    monkeypatch.setattr(Crash, "error", Crashed)
    # As at a terminal; in the background Python ignores Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def estimator(kind=SiameseEmbedder, **params):
    defaults = {"max_epochs": EPOCHS, "batch_size": 64, "random_state": 0}
    return kind(**{**defaults, "callbacks": [Crash()], **params})


def fit_until(epoch, model, *data, **kwargs):
    """Fit, and crash in an epoch."""
    Crash.epoch = epoch
    with pytest.raises(Crashed):
        model.fit(*data, **kwargs)
    Crash.epoch = None


def n_batches_of(model, *data, **kwargs):
    """Fit, and count the batches trained."""
    Crash.n_batches = 0
    model.fit(*data, **kwargs)
    return Crash.n_batches


def assert_same_model(model, other, X_new=X_NEW):
    np.testing.assert_array_equal(model.transform(X_new), other.transform(X_new))
    for part in ("module_", "criterion_"):
        states = [getattr(m.net_, part).state_dict() for m in (model, other)]
        assert states[0].keys() == states[1].keys()
        for name, value in states[0].items():
            assert torch.equal(value, states[1][name]), name
    histories = [{**m.history_, "seconds": None} for m in (model, other)]
    assert repr(histories[0]) == repr(histories[1])  # NaN equals NaN
    assert model.n_iter_ == other.n_iter_
    if isinstance(model, SiameseClassifier):
        for method in ("predict", "predict_proba"):
            answers = [getattr(m, method)(X_new) for m in (model, other)]
            np.testing.assert_array_equal(*answers)


def dropout_network():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.4), nn.Linear(32, 8)
    )


def add_numpy_noise(images):
    noise = np.random.normal(0, 0.1, images.shape)  # noqa: NPY002
    return images + torch.from_numpy(noise).float()


def flip_by_python(images):
    return images.flip(-1) if random.random() < 0.5 else images


TRAININGS = {
    "classifier": {"kind": SiameseClassifier},
    "float32": {"precision": "float32"},
    "bfloat16": {"precision": "bfloat16"},
    "cosine": {"lr_schedule": "cosine"},
    "constant": {"lr_schedule": "constant", "validation_fraction": 0},
    "learned_criterion": {"kind": SiameseClassifier, "loss": "logistic"},
    "class_weight": {"class_weight": "balanced", "augment_minority": 2.0},
    "natural": {"pair_budget": "natural"},
    "budget": {"pair_budget": {k: 1 + k for k in range(10)}},
    "few_classes": {"classes_per_batch": 3, "backbone": "mlp", "augment": None},
    "dropout": {"backbone": dropout_network, "augment": None},
    "momentum": {
        "net_params": {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9},
        "lr": 0.05,
    },
    "amsgrad": {"net_params": {"optimizer__amsgrad": True}},
    "numpy": {"augment": add_numpy_noise},
    "python": {"augment": flip_by_python},
    "frozen": {"trainable": 2},
    "isotropic": {"augment": "isotropic", "image_size": 10},
    "rows": {"kind": SiameseClassifier, "image_shape": (8, 8), "classifier": "knn"},
    "early_stopping": {"early_stopping": True, "n_iter_no_change": 9},
}


@pytest.mark.filterwarnings("error:Training changes")
@pytest.mark.parametrize("training", TRAININGS)
def test_training_that_crashed_goes_on_to_the_same_bits(tmp_path, training):
    params, X_new = TRAININGS[training], X_NEW
    data = (X, Y)
    if training == "rows":
        data, X_new = (X.reshape(len(X), -1), Y), X_NEW.reshape(len(X_NEW), -1)
    whole = estimator(**params)
    n_batches = n_batches_of(whole, *data)
    kept = {**params, "checkpoint_dir": tmp_path / "a" / "b"}
    for epoch in (1, 3):  # none and two epochs are whole
        fit_until(epoch, estimator(**kept), *data)
    resumed = estimator(**kept)
    assert n_batches_of(resumed, *data) == n_batches // EPOCHS
    assert_same_model(resumed, whole, X_new)
    assert os.listdir(kept["checkpoint_dir"]) == [FILE]
    again = estimator(**kept)
    assert n_batches_of(again, *data) == 0
    assert_same_model(again, whole, X_new)


def test_early_stopping_goes_on_before_and_after_the_best_epoch(tmp_path):
    params = {"early_stopping": True, "n_iter_no_change": 2, "max_epochs": 30}
    params.update(lr=0.02, lr_schedule="constant", loss="logistic")
    for seed in range(20):  # which epoch is best, versions of PyTorch decide
        params["random_state"] = seed
        whole = estimator(SiameseClassifier, **params).fit(X, Y)
        best = int(np.argmax(whole.history_["validation_score"])) + 1
        if 1 < best < whole.n_iter_ < 30:
            break
    assert 1 < best < whole.n_iter_ < 30
    for epoch in (best, whole.n_iter_):
        folder = tmp_path / str(epoch)
        kept = {**params, "checkpoint_dir": folder}
        fit_until(epoch, estimator(SiameseClassifier, **kept), X, Y)
        resumed = estimator(SiameseClassifier, **kept)
        n_batches = n_batches_of(resumed, X, Y)
        assert_same_model(resumed, whole)
        left = whole.n_iter_ - epoch + 1
        assert n_batches == left * len(resumed.net_.history[0]["batches"])
        again = estimator(SiameseClassifier, **kept)
        assert n_batches_of(again, X, Y) == 0  # although 30 epochs were not reached
        assert_same_model(again, whole)


@pytest.mark.parametrize("other_data", [False, True])
def test_warm_start_goes_on(tmp_path, other_data):
    data = (IMAGES[240:480], LABELS[240:480]) if other_data else (X, Y)
    first = estimator(SiameseClassifier, warm_start=True, loss="logistic").fit(X, Y)
    whole = copy.deepcopy(first).fit(*data)
    folder = tmp_path / "second"
    stopped = copy.deepcopy(first).set_params(checkpoint_dir=folder)
    fit_until(3, stopped, *data)
    resumed = copy.deepcopy(first).set_params(checkpoint_dir=folder).fit(*data)
    assert_same_model(resumed, whole)
    # The crash has left the estimator as it was, so it goes on too.
    assert_same_model(stopped.fit(*data), whole)
    with pytest.raises(ValueError, match="warm_start is a start from earlier .* own"):
        stopped.fit(*data)  # from the weights that it has now
    cold = estimator(SiameseClassifier, loss="logistic", checkpoint_dir=folder)
    with pytest.raises(ValueError, match="warm_start is a start from earlier weights"):
        cold.fit(*data)


def test_groups_that_are_held_out_stay_so(tmp_path):
    groups = np.arange(len(X)) // 4
    whole = estimator(SiameseClassifier).fit(X, Y, groups=groups)
    kept = estimator(SiameseClassifier, checkpoint_dir=tmp_path)
    fit_until(2, kept, X, Y, groups=groups)
    with pytest.raises(ValueError, match="the held-out part is .* there"):
        kept.fit(X, Y)
    assert_same_model(kept.fit(X, Y, groups=groups), whole)


def test_memory_map_goes_on(tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    fit_until(3, estimator(checkpoint_dir=tmp_path), mapped, Y)
    resumed = estimator(checkpoint_dir=tmp_path).fit(X, Y)  # the same images
    assert_same_model(resumed, estimator().fit(X, Y))


def test_files_go_on_and_changed_files_are_refused(tmp_path):
    from PIL import Image

    names = [os.fspath(tmp_path / f"{i}.png") for i in range(len(X))]
    for name, image in zip(names, X, strict=True):
        Image.fromarray(image * 15).save(name)
    params = {"image_size": 8, "checkpoint_dir": tmp_path / "training"}
    fit_until(3, estimator(**params), names, Y)
    # The cache is free to differ.
    resumed = estimator(**params, cache_dir=tmp_path / "cache", n_jobs=2)
    whole = estimator(image_size=8).fit(names, Y)
    assert_same_model(resumed.fit(names, Y), whole, names[:50])
    Image.fromarray(X[1] * 15).save(names[0])
    with pytest.raises(ValueError, match="another training: X is uint8"):
        estimator(**params).fit(names, Y)


def test_mnasnet_weights_load_although_files_keep_no_versions():
    from torchvision.models import mnasnet0_5

    weights = dict(mnasnet0_5(weights=None).state_dict())
    module = mnasnet0_5(weights=None)
    with pytest.raises(ValueError, match="version"):
        module.load_state_dict(weights)
    load_weights(module, weights)
    for name, value in module.state_dict().items():
        assert torch.equal(value, weights[name])


def test_resumed_optimizer_has_the_memory_layout_of_a_fresh_one(tmp_path):
    def strides(model):
        states = model.net_.optimizer_.state.items()
        return [
            (p.stride(), value.stride(), value.dtype, value.device)
            for p, state in states
            for value in state.values()
        ]

    whole = estimator().fit(X, Y)
    fit_until(2, estimator(checkpoint_dir=tmp_path), X, Y)
    resumed = estimator(checkpoint_dir=tmp_path).fit(X, Y)
    assert strides(resumed) == strides(whole)
    assert any(p != tuple(sorted(p)[::-1]) for p, *_ in strides(whole))  # channels last


def test_no_seed_takes_that_of_the_file(tmp_path):
    kept = estimator(random_state=None, checkpoint_dir=tmp_path / "a")
    fit_until(2, kept, X, Y)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    kept.fit(X, Y)
    copied = estimator(random_state=None, checkpoint_dir=tmp_path / "b")
    assert_same_model(copied.fit(X, Y), kept)
    for random_state in (0, np.random.RandomState(0)):
        other = estimator(random_state=random_state, checkpoint_dir=tmp_path / "a")
        with pytest.raises(ValueError, match="random_state is one that gives the seed"):
            other.fit(X, Y)


def test_training_with_a_checkpoint_is_the_one_without(tmp_path):
    state = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    whole = estimator(SiameseClassifier).fit(X, Y)
    kept = estimator(SiameseClassifier, checkpoint_dir=str(tmp_path)).fit(X, Y)
    assert_same_model(kept, whole)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.random.get_state()[1].tolist() == state[1]  # noqa: NPY002
    callback = dict(kept.net_.callbacks_)["siamese_checkpoint"]
    assert callback.checkpoint is None  # no part of the model
    assert kept.net_.n_resumed_ == 0


def test_embedder_and_other_heads_share_a_training(tmp_path):
    """What is built on the network is free to differ, as is what shows progress."""
    estimator(checkpoint_dir=tmp_path).fit(X, Y)
    for params in ({"classifier": "knn"}, {"n_prototypes": 2}, {"priors": "train"}):
        whole = estimator(SiameseClassifier, **params).fit(X, Y)
        kept = estimator(SiameseClassifier, checkpoint_dir=tmp_path, **params)
        assert n_batches_of(kept.set_params(verbose=1), X, Y) == 0
        assert_same_model(kept, whole)


# --- interruptions -------------------------------------------------------------------


@pytest.mark.parametrize("warm_start", [False, True])
def test_ctrl_c_leaves_the_last_whole_epoch_to_go_on_from(tmp_path, warm_start):
    whole = estimator(SiameseClassifier).fit(X, Y)
    params = {"checkpoint_dir": tmp_path, "warm_start": warm_start}
    kept = estimator(SiameseClassifier, **params)
    Crash.epoch, Crash.error = 3, signal.SIGINT
    with pytest.warns(ConvergenceWarning, match="interrupted after 2 epochs"):
        kept.fit(X, Y)
    assert kept.n_iter_ == 2
    Crash.epoch = None
    assert n_batches_of(kept, X, Y) == len(whole.net_.history[0]["batches"])
    assert_same_model(kept, whole)


class Between(Callback):
    """Gets Ctrl-C in its own method, between two statements."""

    on = False

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

    def on_epoch_end(self, net, **kwargs):
        if Between.on and len(net.history) == 2:
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_in_a_callback_is_not_taken_for_the_end(tmp_path, monkeypatch):
    whole = estimator(callbacks=[Between()]).fit(X, Y)
    kept = estimator(callbacks=[Between()], checkpoint_dir=tmp_path)
    monkeypatch.setattr(Between, "on", True)
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        kept.fit(X, Y)
    monkeypatch.setattr(Between, "on", False)
    assert_same_model(kept.fit(X, Y), whole)


class StopAt(Callback):
    """Ends the training after the second epoch, counted by itself."""

    def on_train_begin(self, net, **kwargs):
        self.n_epochs_ = 0

    def state_dict(self):
        return {"n_epochs": self.n_epochs_}

    def load_state_dict(self, state):
        self.n_epochs_ = state["n_epochs"]

    def on_epoch_end(self, net, **kwargs):
        self.n_epochs_ += 1
        if self.n_epochs_ == 2:
            raise KeyboardInterrupt


def test_callback_of_the_caller_goes_on_and_its_end_is_kept(tmp_path):
    callbacks = [Crash(), ("stop", StopAt())]
    whole = estimator(callbacks=callbacks).fit(X, Y)
    assert whole.n_iter_ == 2
    kept = estimator(callbacks=callbacks, checkpoint_dir=tmp_path)
    fit_until(2, kept, X, Y)
    assert n_batches_of(kept, X, Y) > 0
    assert_same_model(kept, whole)
    assert n_batches_of(kept, X, Y) == 0
    assert_same_model(kept, whole)


class Poison(Callback):
    """Spoils the weights in the third epoch."""

    on = False

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

    def on_batch_begin(self, net, **kwargs):
        if Poison.on and len(net.history) == 3:
            with torch.no_grad():
                next(net.module_.backbone.parameters()).fill_(float("nan"))


def test_training_that_met_nan_goes_on_from_the_last_good_epoch(tmp_path, monkeypatch):
    whole = estimator(callbacks=[Poison()]).fit(X, Y)
    kept = estimator(callbacks=[Poison()], checkpoint_dir=tmp_path)
    monkeypatch.setattr(Poison, "on", True)
    for _ in range(2):  # the same fault again, from the checkpoint
        with pytest.raises(ValueError, match="epoch 3"):
            kept.fit(X, Y)
        assert kept.n_iter_ == 2
    monkeypatch.setattr(Poison, "on", False)
    assert_same_model(kept.fit(X, Y), whole)


def test_training_that_failed_in_its_first_epoch_is_in_nobodys_way(tmp_path):
    kept = estimator(checkpoint_dir=tmp_path)
    fit_until(1, kept, X, Y)
    kept.set_params(lr=0.01, loss="triplet", margin=0.3).fit(X, Y)
    other = estimator(lr=0.01, loss="triplet", margin=0.3).fit(X, Y)
    assert_same_model(kept, other)


def test_progress_starts_at_the_epochs_done(tmp_path, capsys):
    kept = estimator(checkpoint_dir=tmp_path, verbose=1)
    fit_until(3, kept, X, Y)
    capsys.readouterr()
    kept.fit(X, Y)
    shown = capsys.readouterr().err
    n_batches = len(kept.net_.history[0]["batches"])
    assert f"| {2 * n_batches}/{3 * n_batches} " in shown
    assert f"| {3 * n_batches}/{3 * n_batches} " in shown


# --- refusals ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    estimator(checkpoint_dir=folder).fit(X, Y)
    return folder


def scaled(factor):
    return lambda images: images * factor


def one_pixel_more():
    other = X.copy()
    other[17, 3, 3] += 1
    return other


def net_with(seed):
    torch.manual_seed(seed)
    return dropout_network()


OTHERS = {
    "lr": ({"lr": 0.01}, "lr is 0.003 there and 0.01 here"),
    "epochs": ({"max_epochs": 4}, "max_epochs is 3 there and 4 here"),
    "seed": ({"random_state": 1}, "random_state is one that gives the seed"),
    "loss": ({"loss": "triplet"}, "loss is 'contrastive' there and 'triplet' here"),
    "module": ({"backbone": dropout_network}, "backbone is 'auto' there and dropout_"),
    "augment": ({"augment": scaled(1.0)}, r"augment is 'auto' there and scaled.<loc"),
    "callbacks": ({"callbacks": None}, r"callbacks is list \(.*\) there and None here"),
    "precision": ({"precision": "float32"}, "precision is bfloat16 there"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_other_parameter_is_refused_by_name(finished, other):
    params, match = OTHERS[other]
    if other == "precision":
        if read_state(finished / FILE, "checkpoint")["run"]["precision"] != "bfloat16":
            params = {"precision": "bfloat16"}
            match = "precision is float32 there"
    before = (finished / FILE).read_bytes()
    model = estimator(checkpoint_dir=finished, **params)
    with pytest.raises(ValueError, match=match) as caught:
        model.fit(X, Y)
    assert str(finished / FILE) in str(caught.value)
    assert "choose another checkpoint_dir or delete" in str(caught.value)
    assert not hasattr(model, "net_")
    assert (finished / FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ((one_pixel_more(), Y), "X is uint8"),
        ((X.astype(np.float32), Y), "X is uint8 .* and float32"),
        ((X[:-1], Y[:-1]), r"X is uint8 \(240, 8, 8\) .* and uint8 \(239, 8, 8\)"),
        ((X, np.where(np.arange(240) == 5, Y[7], Y)), "y is 10 classes .* there"),
        ((X, Y + 1), "y is 10 classes .* there"),
    ],
    ids=["pixel", "dtype", "length", "label", "labels"],
)
def test_other_data_is_refused(finished, data, match):
    with pytest.raises(ValueError, match=match):
        estimator(checkpoint_dir=finished).fit(*data)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("augment", scaled(1.0), scaled(0.9)),
        ("backbone", net_with(0), net_with(1)),
        ("class_weight", {0: 2.0}, {0: 3.0}),
        ("net_params", {"optimizer__eps": 1e-8}, {"optimizer__eps": 1e-6}),
        ("trainable", "all", 1),
    ],
)
def test_other_value_of_one_kind_is_refused(tmp_path, name, first, second):
    for value, same in ((first, copy.deepcopy(first)), (second, second)):
        folder = tmp_path / str(value is first)
        estimator(checkpoint_dir=folder, **{name: value}).fit(X, Y)
        again = estimator(checkpoint_dir=folder, **{name: same})
        assert n_batches_of(again, X, Y) == 0
    with pytest.raises(ValueError, match=f"another training: {name}.* is"):
        estimator(checkpoint_dir=folder, **{name: first}).fit(X, Y)


class Scale(nn.Linear):
    def forward(self, images):
        return super().forward(images.flatten(1)) * self.factor()

    def factor(self):
        return FACTOR


def scaled_network():
    return Scale(64, 8)


FACTOR = 1.0


@pytest.mark.parametrize("change", ["global", "method"])
def test_changed_code_behind_a_factory_is_refused(tmp_path, monkeypatch, change):
    params = {"backbone": scaled_network, "augment": None, "max_epochs": 1}
    params.update(checkpoint_dir=tmp_path)
    estimator(**params).fit(X, Y)
    assert n_batches_of(estimator(**params), X, Y) == 0
    if change == "global":
        monkeypatch.setitem(globals(), "FACTOR", 2.0)
    else:
        monkeypatch.setattr(Scale, "factor", lambda self: 1.0 + len(self.bias))
    with pytest.raises(ValueError, match="backbone is scaled_network .* there and"):
        estimator(**params).fit(X, Y)


def test_weights_count_by_what_is_in_their_file(tmp_path, monkeypatch):
    path = tmp_path / "weights.pt"
    torch.save(net_with(0).state_dict(), path)
    params = {"backbone": dropout_network, "augment": None, "max_epochs": 1}
    params.update(checkpoint_dir=tmp_path / "training")
    estimator(weights=path, **params).fit(X, Y)
    monkeypatch.chdir(tmp_path)
    assert n_batches_of(estimator(weights="weights.pt", **params), X, Y) == 0
    torch.save(net_with(1).state_dict(), path)
    with pytest.raises(ValueError, match=r"weights is a file \(.* there and a file \("):
        estimator(weights=path, **params).fit(X, Y)


def test_arguments_of_the_optimizer_count_one_by_one(tmp_path):
    given = {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.5}
    params = {"max_epochs": 1, "checkpoint_dir": tmp_path}
    estimator(net_params=given, **params).fit(X, Y)
    same = {"optimizer__momentum": np.float64(0.5), "optimizer": torch.optim.SGD}
    assert n_batches_of(estimator(net_params=same, **params), X, Y) == 0
    with pytest.raises(ValueError, match=r"params\['optimizer__momentum'\] is 0.5 the"):
        estimator(net_params={**same, "optimizer__momentum": 0.6}, **params).fit(X, Y)
    fewer = {"optimizer": torch.optim.SGD}
    with pytest.raises(ValueError, match="is 0.5 there and not set here"):
        estimator(net_params=fewer, **params).fit(X, Y)


def test_part_of_the_data_is_refused_with_what_to_do_in_searches(finished):
    with pytest.raises(ValueError, match="Searches, .* set checkpoint_dir=None there"):
        estimator(checkpoint_dir=finished).fit(X[::2], Y[::2])


def test_other_number_of_threads_is_refused(finished):
    torch.set_num_threads(2)
    try:
        with pytest.raises(ValueError, match="threads is 1 there and 2 .*set_num_thr"):
            estimator(checkpoint_dir=finished).fit(X, Y)
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize(
    "name",
    ["the version of PyTorch", "the version of sksiamese", "the kind of device"],
)
def test_other_machine_is_refused(finished, tmp_path, name):
    state = read_state(finished / FILE, "checkpoint")
    state["run"][name] = "another"
    write_state(tmp_path / FILE, "checkpoint", state)
    with pytest.raises(ValueError, match=f"{name} is another there and .* here"):
        estimator(checkpoint_dir=tmp_path).fit(X, Y)


def test_many_differences_are_counted(finished):
    params = {"lr": 0.1, "margin": 1, "batch_size": 32, "weight_decay": 0}
    params.update(augment=None)
    with pytest.raises(ValueError, match="and so are 3 more") as caught:
        estimator(checkpoint_dir=finished, **params).fit(X[:200], Y[:200])
    assert str(caught.value).count(" there and ") == 5


def _draw_from(generator):
    return lambda images: images * generator.normal()


class _Drawing:
    def __init__(self):
        self.source = [random.Random(0)]

    def __call__(self, images):
        return images * self.source[0].random()


GENERATOR = np.random.default_rng(0)


def draw_globally(images):
    return images * GENERATOR.normal()


@pytest.mark.parametrize(
    "augment", [_draw_from(np.random.RandomState(0)), _Drawing(), draw_globally]
)
def test_generator_of_its_own_is_refused(tmp_path, augment):
    model = estimator(checkpoint_dir=tmp_path, augment=augment)
    with pytest.raises(ValueError, match="augment=.* has a random generator of its"):
        model.fit(X, Y)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "callback", [EarlyStopping("train_loss"), EarlyStopping, ("mine", EarlyStopping())]
)
def test_callback_without_state_is_refused(tmp_path, callback):
    model = estimator(checkpoint_dir=tmp_path / "x", callbacks=[Crash(), callback])
    with pytest.raises(ValueError, match="callbacks has a EarlyStopping, whose state"):
        model.fit(X, Y)
    assert not (tmp_path / "x").exists()


class Unwritable(Crash):
    def state_dict(self):
        return {"function": print}


def test_callback_whose_state_can_not_be_written_is_refused(tmp_path):
    model = estimator(checkpoint_dir=tmp_path, callbacks=[Unwritable()])
    with pytest.raises(TypeError, match=r"\['callbacks'\]\['Unwritable'\]\['function'"):
        n_batches_of(model, X, Y)
    assert Crash.n_batches == 0
    assert os.listdir(tmp_path) == []


class Recording(Crash):
    def on_epoch_end(self, net, **kwargs):
        net.history.record("seen", {1, 2})


def test_record_that_can_not_be_written_names_the_parameters(tmp_path):
    model = estimator(checkpoint_dir=tmp_path, callbacks=[Recording()])
    with pytest.raises(TypeError, match="checkpoint_dir=.*'seen'.*What callbacks reco"):
        model.fit(X, Y)


def test_folder_may_be_that_of_the_user_but_not_nameless(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    estimator(checkpoint_dir="~/x", max_epochs=1).fit(X, Y)
    assert os.listdir(tmp_path) == ["x"]
    with pytest.raises(ValueError, match="checkpoint_dir='' is no folder"):
        estimator(checkpoint_dir="").fit(X, Y)
    assert os.listdir(tmp_path) == ["x"]


SCHEDULE = "siamese_lr_schedule"
STRUCTURES = {
    "run": [None, {}, {"lr": 1}],
    "seed": ["x", 2.5, -1, True],
    "finished": [None],
    "history": [None, [None], [{}], [{"epoch": 2}]],
    "module": [None, {}, {"weight": "x"}],
    "criterion": [None, {"weight": torch.ones(1)}],
    "optimizer": [None, {}, {"state": {}, "param_groups": []}],
    "callbacks": [None, {}, {SCHEDULE: {}}, {SCHEDULE: {"policy": {}, "batch": 1}}],
    "generators": [None, {}, {"torch": torch.zeros(3), "python": 3, "numpy": 3}],
}


@pytest.mark.parametrize("part", STRUCTURES)
def test_file_of_another_structure_is_refused_by_its_name(finished, tmp_path, part):
    state = read_state(finished / FILE, "checkpoint")
    for value in STRUCTURES[part]:
        write_state(tmp_path / FILE, "checkpoint", {**state, part: value})
        model = estimator(checkpoint_dir=tmp_path)
        with pytest.raises(ValueError, match="choose another checkpoint_dir") as error:
            model.fit(X, Y)
        assert str(error.value).startswith(str(tmp_path / FILE))
        assert not hasattr(model, "net_")


def test_history_longer_than_the_training_is_refused(finished, tmp_path):
    state = read_state(finished / FILE, "checkpoint")
    state["run"]["max_epochs"] = "2"
    write_state(tmp_path / FILE, "checkpoint", state)
    with pytest.raises(ValueError, match="has 3 epochs, but max_epochs is 2"):
        estimator(checkpoint_dir=tmp_path, max_epochs=2).fit(X, Y)


# --- state outside the file ----------------------------------------------------------


class CountingLoss(nn.Module):
    """A margin that grows with the steps."""

    def __init__(self):
        super().__init__()
        self.n = 0

    def forward(self, z, labels):
        self.n += 1
        return nn.functional.triplet_margin_loss(z, z.roll(1, 0), z.roll(2, 0)) + self.n


class KeepingLoss(CountingLoss):
    def get_extra_state(self):
        return self.n

    def set_extra_state(self, state):
        self.n = state


class RunningScale(nn.Linear):
    scale = 1.0

    def forward(self, images):
        z = super().forward(images.flatten(1))
        if self.training:
            self.scale = 0.9 * self.scale + 0.1 * float(z.detach().std())
        return z / self.scale


class CountingAugment:
    n = 0

    def __call__(self, images):
        self.n += 1
        return images * (1 + self.n % 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loss", CountingLoss()),
        ("backbone", RunningScale(64, 8)),
        ("augment", CountingAugment()),
    ],
)
def test_state_that_the_file_does_not_keep_is_told(tmp_path, name, value):
    params = {"augment": None, "max_epochs": 2, name: value}
    with pytest.warns(UserWarning, match=f"changes something in {name} that") as told:
        estimator(checkpoint_dir=tmp_path, **params).fit(X, Y)
    assert sum("register_buffer" in str(w.message) for w in told) == 1


@pytest.mark.filterwarnings("error:Training changes")
def test_state_that_a_module_hands_out_goes_on(tmp_path):
    params = {"loss": KeepingLoss()}
    whole = estimator(**params).fit(X, Y)
    kept = estimator(checkpoint_dir=tmp_path, **params)
    fit_until(3, kept, X, Y)
    kept.fit(X, Y)
    np.testing.assert_array_equal(kept.transform(X_NEW), whole.transform(X_NEW))
    assert kept.net_.criterion_.n == whole.net_.criterion_.n > 0


def test_partial_fit_is_refused(tmp_path):
    for kind in (SiameseEmbedder, SiameseClassifier):
        model = kind(checkpoint_dir=tmp_path / "x")
        with pytest.raises(ValueError, match=r"checkpoint_dir=.*None for partial_fit"):
            model.partial_fit(X, Y)
        assert not hasattr(model, "net_")


def test_damaged_checkpoint_is_refused_or_whole(tmp_path):
    """Cut anywhere or with any bit flipped: an error, or what was written."""
    small = {"backbone": dropout_network, "augment": None, "max_epochs": 1}
    estimator(checkpoint_dir=tmp_path, **small).fit(X, Y)
    rng = np.random.default_rng(0)
    data = (tmp_path / FILE).read_bytes()
    damaged = [data[:n] for n in (0, 1, *rng.integers(2, len(data), 30), len(data) - 1)]
    for place in (*rng.integers(len(data), size=60), *range(30), *range(-60, 0)):
        changed = bytearray(data)
        changed[place] ^= 1 << rng.integers(8)
        damaged.append(bytes(changed))
    written = read_state(tmp_path / FILE, "checkpoint")
    n_refused = 0
    for content in damaged:
        (tmp_path / FILE).write_bytes(content)
        try:
            with open_checkpoint(tmp_path, None) as checkpoint:
                assert repr(checkpoint._state) == repr(written)
        except ValueError as error:
            assert str(error).startswith(str(tmp_path / FILE))
            assert "choose another checkpoint_dir or delete" in str(error)
            n_refused += 1
    assert n_refused > 100
    print(f"{n_refused} of {len(damaged)} damaged files refused, the others whole")


@pytest.mark.parametrize(
    "content", [b"", b"hello", {"a": 1}, None], ids=["empty", "text", "state", "model"]
)
def test_foreign_file_is_refused_and_stays(finished, tmp_path, content):
    path = tmp_path / FILE
    if content is None:
        write_state(path, "model", read_state(finished / FILE, "checkpoint"))
    elif isinstance(content, dict):
        write_state(path, "checkpoint", content)
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="checkpoint") as caught:
        estimator(checkpoint_dir=tmp_path).fit(X, Y)
    assert str(caught.value).startswith(str(path))
    assert path.read_bytes() == before


def test_folder_that_can_not_be_used_is_named_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / FILE).mkdir(parents=True)
    for folder in (tmp_path / "file", tmp_path / "file" / "x", tmp_path / "folder"):
        model = estimator(checkpoint_dir=folder)
        Crash.n_batches = 0
        with pytest.raises(OSError, match="checkpoint_dir=.* can not be used") as error:
            model.fit(X, Y)
        assert str(folder) in str(error.value)
        assert Crash.n_batches == 0


LIMITED = """
import os, resource, sys
from tests.test_checkpoint import Crash, X, Y, estimator

def fit(folder):
    try:
        estimator(checkpoint_dir=folder).fit(X, Y)
    except OSError as error:
        print(Crash.n_batches, error)

limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
fit(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
os.chmod(sys.argv[1], 0o555)
if os.getuid() == 0:
    os.setuid(65534)
fit(sys.argv[1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of a process")
def test_full_disk_and_missing_leave_are_told_before_training(tmp_path):
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folder = tmp_path / "training"
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, folder],
        capture_output=True,
        text=True,
        cwd=root,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line, why in zip(lines, ("File too large", "Permission denied"), strict=True):
        assert line.startswith("0 ")  # batches
        assert f"checkpoint_dir={str(folder)!r} can not be used ({why})" in line
    assert os.listdir(folder) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_training_goes_on_to_the_same_bits(tmp_path):
    for params in ({}, {"backbone": dropout_network, "augment": None}):
        whole = estimator(SiameseClassifier, device="cuda", **params).fit(X, Y)
        kept = estimator(
            SiameseClassifier,
            device="cuda",
            checkpoint_dir=tmp_path / str(len(params)),
            **params,
        )
        fit_until(3, kept, X, Y)
        assert_same_model(kept.fit(X, Y), whole)
