"""Faults of a training: what is told, what is kept, and which batch fits."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from sksiamese import SiameseClassifier, SiameseEmbedder, SiameseVerifier, _faults
from sksiamese.losses import ContrastiveLoss

# 900 digits, 90 of them held out: batches of 120 make 7 steps of an epoch.
N_BATCHES = 7


class FaultyLoss(torch.nn.Module):
    """A contrastive loss with a learned scale that fails at one of its calls."""

    def __init__(self, at, kind="loss nan"):
        super().__init__()
        self.at = at
        self.kind = kind
        self.calls = 0
        self.loss = ContrastiveLoss()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, z, labels):
        self.calls += 1
        loss = self.loss(z, labels) * self.scale
        if self.calls != self.at:
            return loss
        if self.kind.startswith("loss"):
            return loss * float(self.kind.split()[1])
        # The root's slope at zero: infinite; times the slope of the square: NaN.
        zero = (z - z.detach()).sum()
        return loss + (zero.sqrt() if self.kind.endswith("inf") else (zero**2).sqrt())


def make(estimator=SiameseEmbedder, **params):
    settings = {
        "backbone": "mlp",
        "max_epochs": 4,
        "random_state": 0,
        "lr_schedule": "constant",
        "batch_size": 128,
        **params,
    }
    return estimator(**settings)


def attributes(estimator):
    return {k: v for k, v in vars(estimator).items() if k not in estimator.get_params()}


# --- numbers that are none ------------------------------------------------------------


@pytest.mark.parametrize("wait", [1, 3, 32])
@pytest.mark.parametrize("kind", ["loss nan", "loss inf", "gradient inf"])
def test_fault_names_epoch_and_batch_however_late_it_is_read(
    digits, kind, wait, monkeypatch
):
    monkeypatch.setitem(_faults._STEPS_UNREAD, "cpu", wait)
    X, y, _, _ = digits
    embedder = make(loss=FaultyLoss(2 * N_BATCHES + 5, kind))
    with pytest.raises(ValueError, match=f"^The {kind.split()[0]} became") as caught:
        embedder.fit(X, y)
    text = str(caught.value)
    assert f" in epoch 3, batch 5 of {N_BATCHES}," in text
    assert (
        "learning rate of 0.003. The values of that batch lie between 0 and 16" in text
    )
    assert "lower lr (now 0.003)" in text
    assert text.endswith("The estimator keeps the weights of epoch 2 and can be used.")


def test_nan_gradient_of_a_finite_loss_stops(digits):
    X, y, _, _ = digits
    with pytest.raises(
        ValueError, match="^The gradient became nan in epoch 2, batch 1"
    ):
        make(loss=FaultyLoss(N_BATCHES + 1, "gradient nan")).fit(X, y)


def test_learning_rate_of_the_failing_step_is_that_of_the_schedule(digits):
    X, y, _, _ = digits
    at = N_BATCHES + 3
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.01, total_steps=4 * N_BATCHES
    )
    for _ in range(at - 1):
        optimizer.step()
        cycle.step()
    expected = f"at a learning rate of {cycle.get_last_lr()[0]:.3g}."
    embedder = make(loss=FaultyLoss(at), lr=0.01, lr_schedule="one_cycle")
    with pytest.raises(ValueError, match=re.escape(expected)):
        embedder.fit(X, y)


@pytest.mark.parametrize("wait", [1, 32])
def test_fault_leaves_the_model_of_the_last_whole_epoch(digits, wait, monkeypatch):
    monkeypatch.setitem(_faults._STEPS_UNREAD, "cpu", wait)
    X, y, X_new, _ = digits
    expected = make(SiameseClassifier, loss=FaultyLoss(0), max_epochs=2).fit(X, y)
    found = make(SiameseClassifier, loss=FaultyLoss(2 * N_BATCHES + 2))
    with pytest.raises(ValueError, match="keeps the weights of epoch 2"):
        found.fit(X, y)
    assert found.n_iter_ == 2
    for name in ("loss", "positive_distance", "validation_score"):
        assert found.history_[name] == expected.history_[name]
    assert len(found.net_.history) == 2
    np.testing.assert_array_equal(found.transform(X_new), expected.transform(X_new))
    np.testing.assert_array_equal(
        found.predict_proba(X_new), expected.predict_proba(X_new)
    )
    assert found.net_.criterion_.scale == expected.net_.criterion_.scale != 1


def test_fault_under_early_stopping_leaves_the_best_epoch(digits):
    X, y, X_new, _ = digits
    n = 6
    embedder = make(
        loss=FaultyLoss(n * N_BATCHES + 1),
        max_epochs=20,
        early_stopping=True,
        n_iter_no_change=20,
        lr=0.03,
    )
    with pytest.raises(ValueError, match="keeps the weights of epoch") as caught:
        embedder.fit(X, y)
    scores = embedder.history_["validation_score"]
    best = int(np.argmax(scores)) + 1
    assert len(scores) == n
    assert f"weights of epoch {best} and" in str(caught.value)
    alone = make(loss=FaultyLoss(0), max_epochs=best, lr=0.03).fit(X, y)
    np.testing.assert_array_equal(embedder.transform(X_new), alone.transform(X_new))


def test_fault_in_the_first_epoch_leaves_the_estimator_unfitted(digits):
    X, y, X_new, _ = digits
    embedder = make(loss=FaultyLoss(3))
    with pytest.raises(ValueError, match="in epoch 1, batch 3 of 7") as caught:
        embedder.fit(X, y)
    assert "keeps the weights" not in str(caught.value)
    assert attributes(embedder) == {}
    with pytest.raises(NotFittedError):
        embedder.transform(X_new)


def test_fault_in_the_first_epoch_leaves_an_earlier_model(digits):
    X, y, X_new, _ = digits
    classifier = make(SiameseClassifier, max_epochs=2).fit(X, y)
    expected, before = classifier.predict_proba(X_new), attributes(classifier)
    for warm_start in (False, True):
        classifier.set_params(warm_start=warm_start, lr=1e30, normalize=False)
        with pytest.raises(ValueError, match="in epoch 1, batch"):
            classifier.fit(X, y)
        assert attributes(classifier) == before
        np.testing.assert_array_equal(classifier.predict_proba(X_new), expected)


@pytest.mark.parametrize("estimator", [SiameseEmbedder, SiameseClassifier])
def test_faulty_chunk_leaves_no_trace_in_what_is_learned_later(digits, estimator):
    X, y, X_new, _ = digits
    chunks = [slice(0, 300), slice(300, 600), slice(600, 900)]
    expected, found = make(estimator), make(estimator)
    for chunk in chunks:
        expected.partial_fit(X[chunk], y[chunk])
    found.partial_fit(X[chunks[0]], y[chunks[0]])
    found.partial_fit(X[chunks[1]], y[chunks[1]])
    Z = found.transform(X_new)
    # What the loss makes of it is NaN: the network has learned other sizes.
    with pytest.raises(ValueError, match="in epoch 3, batch 1 of .*divide X"):
        found.partial_fit(X[chunks[2]] * 1e38, y[chunks[2]])
    np.testing.assert_array_equal(found.transform(X_new), Z)
    assert found.n_iter_ == 2
    found.partial_fit(X[chunks[2]], y[chunks[2]])
    np.testing.assert_array_equal(found.transform(X_new), expected.transform(X_new))
    assert found.history_["loss"] == expected.history_["loss"]


def test_chunk_whose_step_breaks_leaves_no_trace(digits):
    """The network of chunks is trained in place: any error must take it back."""
    X, y, X_new, _ = digits

    class Break(Callback):
        def on_batch_end(self, net, **kwargs):
            if len(net.history) == 2:
                raise OSError("the disk is full")

    embedder = make(callbacks=[Break()]).partial_fit(X, y)
    Z = embedder.transform(X_new)
    with pytest.raises(OSError, match="full"):
        embedder.partial_fit(X, y)
    np.testing.assert_array_equal(embedder.transform(X_new), Z)
    assert embedder.n_iter_ == len(embedder.net_.history) == 1


def test_weights_that_the_last_step_spoils_are_never_seen_at_the_end_of_an_epoch(
    digits,
):
    X, y, _, _ = digits
    finite = []

    class Look(Callback):
        def on_epoch_end(self, net, **kwargs):
            finite.append(_faults.is_finite(net.module_))

    class Steep(ContrastiveLoss):
        def forward(self, z, labels):
            return super().forward(z, labels) * 1e12

    embedder = make(
        loss=Steep(),
        lr=1e30,
        net_params={"optimizer": torch.optim.SGD},
        batch_size=len(X),
        callbacks=[Look()],
        validation_fraction=0,
    )
    with pytest.raises(
        ValueError, match="weights became .* end of epoch 1, batch 1 of"
    ):
        embedder.fit(X, y)
    assert finite == []


def test_weights_count_as_finite_though_their_squares_are_not():
    module = torch.nn.Linear(3, 2)
    assert _faults.is_finite(module)
    with torch.no_grad():
        module.weight.fill_(1e30)
        assert _faults.is_finite(module)
        module.bias[1] = torch.nan
    assert not _faults.is_finite(module)
    norm = torch.nn.BatchNorm1d(3)
    norm.running_var[0] = torch.inf
    assert not _faults.is_finite(norm)


def test_weights_that_embed_nothing_are_not_kept(digits):
    """They are finite, but too large for anything to come out."""
    X, y, _, _ = digits

    class Huge(torch.nn.Linear):
        def forward(self, x):
            if self.training:
                with torch.no_grad():
                    self.weight.fill_(1e38)
                return super().forward(x.flatten(1) * 1e-38)
            return super().forward(x.flatten(1) * 1e3)

    embedder = make(
        backbone=Huge(64, 8), loss=FaultyLoss(N_BATCHES + 3), validation_fraction=0
    )
    with pytest.raises(ValueError, match="The loss became nan in epoch 2") as caught:
        embedder.fit(X, y)
    assert "keeps the weights" not in str(caught.value)
    assert attributes(embedder) == {}


def test_held_out_images_that_overflow_end_the_training_too(digits):
    """Training goes by the statistics of a batch, predictions by those learned."""
    X, y, X_new, _ = digits

    class Spoil(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(64, 8)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            self.seen += float(self.training)
            late = not self.training and self.seen > 2.5 * N_BATCHES
            return self.linear(x.flatten(1)) * (torch.nan if late else 1.0)

    embedder = make(backbone=Spoil())
    message = "embeddings of held-out images became .*keeps the weights of epo"
    with pytest.raises(ValueError, match=message):
        embedder.fit(X, y)
    assert embedder.n_iter_ == 2
    assert np.isfinite(embedder.transform(X_new)).all()


def test_ctrl_c_after_an_unread_fault_is_no_silent_success(digits, monkeypatch):
    monkeypatch.setitem(_faults._STEPS_UNREAD, "cpu", 32)
    X, y, _, _ = digits

    class Press(Callback):
        def on_batch_begin(self, net, **kwargs):
            if net.criterion_.calls == N_BATCHES + 3:
                raise KeyboardInterrupt

    embedder = make(loss=FaultyLoss(N_BATCHES + 2), callbacks=[Press()])
    with pytest.raises(ValueError, match="epoch 2, batch 2 .*weights of epoch 1"):
        embedder.fit(X, y)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X * 1e200, "cause is the size of the values.*divide X"),
        (None, "No step had been taken, so lr is not the cause"),
    ],
)
def test_cause_is_told_by_the_figures(digits, change, message):
    X, y, _, _ = digits
    X = X.reshape(-1, 64).astype(float)
    loss = "contrastive" if change else FaultyLoss(1)
    with pytest.raises(ValueError, match=f"in epoch 1, batch 1 of 7.*{message}"):
        make(loss=loss).fit(change(X) if change else X, y)


def test_value_far_off_is_named_by_its_row_in_x(digits):
    X, y, _, _ = digits
    X = np.tile(X.reshape(-1, 64).astype(float), (2, 1))
    rows = np.arange(900, 1800)
    later = X[rows]
    later[417] *= 1e13  # not in what the network was built on
    embedder = make(validation_fraction=0, batch_size=900)
    embedder.partial_fit(X[:900], y)
    embedder.net_.criterion_.register_forward_hook(lambda *out: out[-1] * torch.nan)
    with pytest.raises(ValueError, match=r"most of all in X\[417\]: repair"):
        embedder.partial_fit(later, y)


def test_searches_and_verifiers_see_the_error_as_usual(digits):
    X, y, _, _ = digits
    search = GridSearchCV(
        make(SiameseClassifier, max_epochs=1, normalize=False),
        {"lr": [0.003, 1e30]},
        cv=2,
        error_score=-1.0,
    )
    with pytest.warns(FitFailedWarning, match="2 fits failed"):
        search.fit(X, y)
    assert search.best_params_ == {"lr": 0.003}
    assert search.cv_results_["mean_test_score"][1] == -1
    verifier = SiameseVerifier(make(loss=FaultyLoss(2 * N_BATCHES)))
    with pytest.raises(ValueError, match="became nan in epoch"):
        verifier.fit(X, y)
    assert not hasattr(verifier, "embedder_")


class Masked(torch.nn.Module):
    """Has what is infinite or NaN on purpose, and may spoil its statistics."""

    def __init__(self, at=None):
        super().__init__()
        self.linear, self.norm = torch.nn.Linear(64, 8), torch.nn.BatchNorm1d(8)
        self.register_buffer("mask", torch.full((4, 4), -torch.inf).triu(1))
        self.frozen = torch.nn.Parameter(torch.tensor(torch.nan), requires_grad=False)
        self.at = at
        self.calls = 0

    def forward(self, x):
        self.calls += self.training
        if self.training and self.calls == self.at:
            self.norm.running_mean[0] = torch.nan
        return self.norm(self.linear(x.flatten(1)))


class MaskedLoss(ContrastiveLoss):
    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.full((4, 4), -torch.inf).triu(1))


def test_what_is_infinite_from_the_start_is_no_fault(digits):
    X, y, X_new, _ = digits
    params = {"backbone": Masked(), "loss": MaskedLoss()}
    embedder = make(**params).fit(X, y)
    assert embedder.n_iter_ == 4
    assert np.isfinite(embedder.transform(X_new)).all()
    make(**params).partial_fit(X, y).partial_fit(X, y)
    params["backbone"] = Masked(at=2 * N_BATCHES)
    with pytest.raises(ValueError, match="end of epoch 2.*the weights of epoch 1"):
        make(**params).fit(X, y)


@pytest.mark.parametrize("kind", [SiameseEmbedder, SiameseClassifier])
def test_backbone_without_anything_to_train_is_refused(digits, kind):
    X, y, _, _ = digits
    frozen = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 8))
    frozen.requires_grad_(False)
    for backbone in (frozen, torch.nn.Flatten()):
        with pytest.raises(ValueError, match="nothing to train: backbone .*trainable"):
            make(kind, backbone=backbone).fit(X, y)
    make(kind, backbone=frozen, loss="logistic", max_epochs=1).fit(X, y)


# --- memory ---------------------------------------------------------------------------


class Greedy(torch.nn.Module):
    """Asks for memory that no machine has when a batch has too many images."""

    def __init__(self, most_in_training=10**6, most=10**6):
        super().__init__()
        self.linear = torch.nn.Linear(64, 8)
        self.most_in_training, self.most = most_in_training, most

    def forward(self, x):
        if len(x) > (self.most_in_training if self.training else self.most):
            torch.empty(1 << 50)
        return self.linear(x.flatten(1))


@pytest.mark.parametrize(
    ("n", "bytes_asked"), [(np.empty, 1 << 50), (torch.empty, 1 << 50)]
)
def test_memory_errors_are_known_by_what_is_raised(n, bytes_asked):
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        n(bytes_asked)
    assert _faults.is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: out of memory",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "could not create a primitive",
    ],
)
def test_memory_errors_are_known_by_their_words(text):
    assert _faults.is_out_of_memory(RuntimeError(text))
    assert not _faults.is_out_of_memory(ValueError(text))


def test_other_errors_are_no_memory_errors(digits):
    X, y, _, _ = digits
    shape = RuntimeError("could not create a primitive descriptor for a convolution")
    assert not _faults.is_out_of_memory(shape)

    class Broken(Greedy):
        def forward(self, x):
            if self.training:
                raise shape
            return super().forward(x)

    with pytest.raises(RuntimeError, match="descriptor for a convolution"):
        make(backbone=Broken()).fit(X, y)


@pytest.mark.parametrize(("most", "advice"), [(45, 30), (1, None)])
def test_batch_that_does_not_fit_is_told_with_one_that_does(digits, most, advice):
    X, y, X_new, _ = digits
    embedder = make(max_epochs=1).fit(X, y)
    expected, before = embedder.transform(X_new), attributes(embedder)
    embedder.set_params(backbone=Greedy(most))
    message = f"batch_size=128 needs more memory .* 120 images.* {advice} fits: set bat"
    if advice is None:
        message = "not even 3 images fit: use smaller images"
    with pytest.raises(MemoryError, match=message) as caught:
        embedder.fit(X, y)
    assert "can't allocate memory" in str(caught.value.__cause__)
    assert attributes(embedder) == before
    np.testing.assert_array_equal(embedder.transform(X_new), expected)
    if advice:
        embedder.set_params(batch_size=advice).fit(X, y)


def test_loss_that_needs_more_images_does_not_hide_that_memory_is_short(digits):
    X, y, _, _ = digits

    class Nearest(ContrastiveLoss):
        def forward(self, z, labels):
            torch.cdist(z, z).topk(20)
            return super().forward(z, labels)

    match = "not even 15 images fit, and 7 end in another error .RuntimeError: .* range"
    with pytest.raises(MemoryError, match=match):
        make(backbone=Greedy(10), loss=Nearest()).fit(X, y)


def test_chunk_that_does_not_fit_leaves_no_trace(digits):
    """Smaller batches that are tried train the network, which must go back."""
    X, y, X_new, _ = digits
    embedder = make(backbone=Greedy()).partial_fit(X, y)
    expected = embedder.transform(X_new)
    embedder.net_.module_.backbone.most_in_training = 40
    with pytest.raises(MemoryError, match="30 fits"):
        embedder.partial_fit(X, y)
    np.testing.assert_array_equal(embedder.transform(X_new), expected)
    assert embedder.n_iter_ == 1


@pytest.mark.parametrize("most", [1, 5, 100])
def test_prediction_takes_fewer_images_at_a_time(digits, most):
    X, y, X_new, _ = digits
    embedder = make(backbone=Greedy(), max_epochs=1).fit(X, y)
    expected = embedder.transform(X_new)
    embedder.net_.module_.backbone.most = most
    np.testing.assert_allclose(embedder.transform(X_new), expected, atol=1e-6)
    embedder.net_.module_.backbone.most = 0
    with pytest.raises(MemoryError, match="Not even one image at a time"):
        embedder.transform(X_new)


def test_feature_vectors_stay_in_multiples_of_their_length(digits):
    X, y, X_new, _ = digits
    X, X_new = X.reshape(-1, 64), X_new.reshape(-1, 64)
    embedder = make(backbone=Greedy(), max_epochs=1).fit(X, y)
    expected = embedder.transform(X_new)
    embedder.net_.module_.backbone.most = 64
    np.testing.assert_array_equal(embedder.transform(X_new), expected)
    embedder.net_.module_.backbone.most = 63
    with pytest.raises(MemoryError, match="Not even 64 images at a time"):
        embedder.transform(X_new)


def test_rows_are_asked_for_once_and_in_order_as_chunks_get_shorter():
    asked = []

    def double(rows):
        if rows.stop - rows.start > 9 and rows.start >= 20:
            raise MemoryError
        asked.append((rows.start, rows.stop))
        return 2.0 * np.arange(100)[rows, None]

    found = _faults.run_in_chunks(double, 100, 20, 1, "cpu")
    np.testing.assert_array_equal(found, 2.0 * np.arange(100)[:, None])
    assert asked == [(0, 20), *((k, k + 5) for k in range(20, 100, 5))]


LIMITED = """
import re, resource
import numpy as np, torch
from sksiamese import SiameseEmbedder, _faults, _net

torch.set_num_threads(1)
X = np.random.default_rng(0).integers(0, 256, (600, 64, 64, 3), np.uint8)
y = np.arange(600) % 4
X[np.arange(600), :8, 8 * y] = 255
model = SiameseEmbedder(
    max_epochs=1, random_state=0, validation_fraction=0, precision="float32"
)
model.set_params(batch_size=16).fit(X[:32], y[:32])  # loads and starts everything

def limit(megabytes):
    status = open("/proc/self/status").read()
    size = int(re.search(r"VmSize:\\s+(\\d+)", status)[1]) << 10
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    bound = hard if megabytes is None else size + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))

released = []
release, length = _faults._release, _net.chunk_length
_faults._release = lambda device: released.append(release(device))
_net.chunk_length = lambda data: 512  # as long as those of an accelerator
expected = np.concatenate([model.transform(X[k : k + 32]) for k in range(0, 256, 32)])
limit(60)
found = model.transform(X[:256])
limit(None)
np.testing.assert_allclose(found, expected, atol=1e-5)
assert released
_faults._release, _net.chunk_length = release, length

limit(400)
before = vars(model).copy()
model.set_params(batch_size=512)
try:
    model.fit(X, y)
except MemoryError as error:
    text = str(error)
assert before.keys() == vars(model).keys()
assert all(vars(model)[k] is v for k, v in before.items() if k != "batch_size")
size = int(re.search(r"; (\\d+) fits: set batch_size=\\1,", text)[1])
model.set_params(batch_size=size).fit(X[: 2 * size], y[: 2 * size])
print(size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS and /proc")
def test_process_short_of_memory_predicts_the_same_and_tells_what_fits():
    """One process for both: to start and to warm up is most of the time."""
    command = [sys.executable, "-W", "ignore", "-c", LIMITED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert 8 <= int(done.stdout) < 512


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_short_of_memory_is_told_a_batch_size_that_then_fits():
    X = np.random.default_rng(0).integers(0, 256, (600, 64, 64, 3), np.uint8)
    y = np.arange(600) % 4
    model = make(max_epochs=1, device="cuda", validation_fraction=0, batch_size=16)
    expected = model.fit(X, y).transform(X)
    free, _ = torch.cuda.mem_get_info()
    torch.cuda.empty_cache()
    hog = torch.empty(free - (300 << 20), dtype=torch.uint8, device="cuda")
    with pytest.raises(MemoryError, match=r"\d+ fits: set batch_size=") as caught:
        clone(model).set_params(batch_size=512).fit(X, y)
    np.testing.assert_allclose(model.transform(X), expected, atol=1e-5)
    size = int(re.search(r"(\d+) fits", str(caught.value))[1])
    clone(model).set_params(batch_size=size).fit(X, y)
    del hog
    torch.cuda.empty_cache()
