"""What is saved comes back and predicts the same; strangers' files run nothing."""

import datetime
import os
import pickle
import re
import shutil
import subprocess
import sys
import textwrap
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from skorch.callbacks import Callback
from torch import nn

import sksiamese
from sksiamese import SiameseClassifier, SiameseEmbedder, SiameseVerifier
from sksiamese._state_file import read_state, write_state
from sksiamese.augment import RandomAffine
from sksiamese.backbones import named_backbone
from sksiamese.losses import (
    ContrastiveLoss,
    LogisticLoss,
    MultiSimilarityLoss,
    SupervisedContrastiveLoss,
    TripletLoss,
)

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def data():
    digits = load_digits()
    return digits.images[:300].astype(np.uint8), digits.target[:300]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.model"


def reopen(estimator, path, **parameters):
    sksiamese.save(estimator, path)
    return sksiamese.load(path, **parameters)


def quick(kind=SiameseClassifier, **params):
    usual = {"max_epochs": 1, "random_state": 0, "validation_fraction": 0.2}
    return kind(**usual | params)


def settings(values):
    """As text, but for the time it took and where objects lie."""
    history = {**values.get("history_", {}), "seconds": None}
    return re.sub(" at 0x[0-9A-Fa-f]+", "", repr({**values, "history_": history}))


def assert_same(a, b, X):
    """Equal in all they say, bit for bit, and in their parameters and attributes."""
    assert type(a) is type(b)
    for method in ("transform", "predict_proba", "decision_function", "unknown_score"):
        if hasattr(a, method) and not isinstance(a, SiameseVerifier):
            assert np.array_equal(getattr(a, method)(X), getattr(b, method)(X))
    if hasattr(a, "pair_proba"):
        pairs = X[:9], X[9:18]
        assert np.array_equal(a.pair_proba(pairs), b.pair_proba(pairs))
    if hasattr(a, "predict") and not isinstance(a, SiameseVerifier):
        first, second = a.predict(X), b.predict(X)
        assert first.dtype == second.dtype and np.array_equal(first, second)
    assert settings(a.get_params()) == settings(b.get_params())
    plain = {
        k: v for k, v in vars(a).items() if isinstance(v, int | str | tuple | dict)
    }
    assert settings({k: vars(b)[k] for k in plain}) == settings(plain)
    assert vars(a).keys() == vars(b).keys()


# --- what comes back ------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"loss": "logistic", "margin": 0.7},
        {"loss": "logistic_distance", "normalize": False},
        {"loss": "triplet", "mining": "hard", "augment": None},
        {"loss": "supervised_contrastive", "augment": "isotropic"},
        {"loss": "focal_contrastive", "class_weight": "balanced"},
        {"loss": ContrastiveLoss(0.9, "all", gamma=1.0)},
        {"loss": LogisticLoss(64, on="distance")},
        {"loss": LogisticLoss(64)},
        {"loss": TripletLoss(0.3, "semihard")},
        {"loss": MultiSimilarityLoss(1.5)},
        {"loss": SupervisedContrastiveLoss(0.2)},
        {"augment": RandomAffine(rotation=3, vertical_flip=True)},
        {"augment_minority": 3.0},
        {"pair_budget": {c: 1.0 + c for c in range(10)}},
        {"backbone": "conv4-16-tanh", "image_size": 20, "embedding_dim": 5},
        {"backbone": "mlp", "early_stopping": True, "max_epochs": 3},
        {"image_size": (12, 10), "trainable": 2, "weight_decay": 0.0},
        {"lr_schedule": "constant", "precision": "float32"},
        {"net_params": {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9}},
        # Names hold no addresses, which differ between the processes of a test run.
        pytest.param({"random_state": np.random.RandomState(3)}, id="RandomState"),
    ],
    ids=repr,
)
def test_embedder_of_any_parameters_comes_back(data, path, params):
    fitted = quick(SiameseEmbedder, **params).fit(*data)
    loaded = reopen(fitted, path)
    assert_same(fitted, loaded, data[0])
    # It trains as the other would.
    again = [clone(e).set_params(random_state=1).fit(*data) for e in (fitted, loaded)]
    assert np.array_equal(*(e.transform(data[0]) for e in again))


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"n_prototypes": 3, "priors": "train"},
        {"classifier": "knn", "n_neighbors": 3, "unknown": "reject"},
        {"unknown": "reject", "unknown_label": 77},
        {"priors": np.full(10, 0.1)},
        {"priors": dict.fromkeys(range(10), 0.1), "class_weight": {3: 2.0}},
        {"classifier": LogisticRegression(C=3)},
        {"classifier": SVC(gamma=0.5, class_weight=dict.fromkeys(range(10), 1.5))},
        {"classifier": RandomForestClassifier(10)},
        pytest.param(
            {
                "classifier": RandomForestClassifier(
                    10, random_state=np.random.RandomState(1)
                )
            },
            id="forest with RandomState",
        ),
        {"classifier": HistGradientBoostingClassifier(max_iter=3)},
        {"classifier": MLPClassifier(max_iter=300, tol=1e-2)},
        {"classifier": LinearDiscriminantAnalysis(), "unknown": "reject"},
        {"classifier": CalibratedClassifierCV(KNeighborsClassifier(3), cv=2)},
        {"classifier": make_pipeline(StandardScaler(), LogisticRegression())},
    ],
    ids=repr,
)
def test_classifier_of_any_head_comes_back(data, path, params):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "max_fpr")
        fitted = quick(**params).fit(*data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a head that is fitted again is the same
        loaded = reopen(fitted, path)
    assert_same(fitted, loaded, data[0])
    more = data[0][:4], [0, 1, 98, 99]
    calibrated = isinstance(params.get("classifier"), CalibratedClassifierCV)
    if calibrated or isinstance(params.get("priors"), np.ndarray | dict):
        more = more[0], [0, 1, 2, 3]  # no new class
    for estimator in (fitted, loaded):
        estimator.enroll(*more)
    assert_same(fitted, loaded, data[0])


@pytest.mark.parametrize(
    "convert",
    [
        lambda y: y.astype(str),
        lambda y: np.array([f"class {c}" for c in y], dtype=object),
        lambda y: y.astype(float),
        lambda y: y % 2 == 0,
        lambda y: y.astype(np.uint8),
    ],
    ids=["str", "object", "float", "bool", "uint8"],
)
def test_labels_of_any_type_come_back(data, path, convert):
    fitted = quick().fit(data[0], convert(data[1]))
    loaded = reopen(fitted, path)
    assert_same(fitted, loaded, data[0])
    assert loaded.classes_.dtype == fitted.classes_.dtype
    assert reopen(loaded.enroll(data[0], convert(data[1])), path).score(
        data[0], convert(data[1])
    )


def test_rows_with_column_names_and_pandas_output_come_back(data, path):
    import pandas as pd

    table = pd.DataFrame(data[0].reshape(len(data[0]), -1)).add_prefix("pixel ")
    fitted = quick(SiameseEmbedder, image_shape=(8, 8)).set_output(transform="pandas")
    fitted.fit(table, data[1])
    loaded = reopen(fitted, path)
    pd.testing.assert_frame_equal(fitted.transform(table), loaded.transform(table))
    assert (loaded.feature_names_in_ == table.columns).all()
    with pytest.raises(ValueError, match="feature names"):
        loaded.transform(table.add_prefix("x"))


def test_routing_requests_come_back(data, path):
    with config_context(enable_metadata_routing=True):
        fitted = quick().set_fit_request(groups=True)
        loaded = reopen(fitted, path)
        assert loaded.get_metadata_routing().fit.requests["groups"] is True
    assert_same(clone(fitted).fit(*data), clone(loaded).fit(*data), data[0])


@pytest.mark.parametrize("net_params", [None, {"optimizer": torch.optim.SGD}])
def test_stream_goes_on_as_if_it_had_not_been_saved(data, path, net_params):
    X, y = data
    fitted = quick(net_params=net_params).partial_fit(X[:100], y[:100])
    loaded = reopen(fitted.partial_fit(X[100:200], y[100:200]), path)
    for estimator in (fitted, loaded):
        estimator.partial_fit(X[200:], y[200:])
    assert_same(fitted, loaded, X)


def test_warm_start_goes_on_as_if_it_had_not_been_saved(data, path):
    fitted = quick(warm_start=True).fit(*data)
    loaded = reopen(fitted, path)
    assert_same(fitted.fit(*data), loaded.fit(*data), data[0])


def test_parameters_set_after_fit_do_not_change_the_network(data, path):
    fitted = quick(SiameseEmbedder, embedding_dim=7).fit(*data)
    fitted.set_params(backbone="resnet18", embedding_dim=9, image_size=64, lr=1.0)
    assert_same(fitted, reopen(fitted, path), data[0])


def test_pretrained_backbone_comes_back_as_it_was_adapted(data, path, tmp_path):
    weights = tmp_path / "resnet18.pt"
    from torchvision.models import resnet18

    torch.save(resnet18().state_dict(), weights)
    fitted = quick(
        SiameseEmbedder,
        backbone="resnet18",
        weights=weights,
        image_size=32,
        trainable="head",
    ).fit(data[0][:60] * 15, data[1][:60])
    weights.unlink()  # what was learned is in the file
    loaded = reopen(fitted, path)
    X = data[0][60:120] * 15
    assert np.array_equal(fitted.transform(X), loaded.transform(X))
    assert loaded.weights == weights


def test_unfitted_estimators_come_back_unfitted(path):
    unfitted = SiameseClassifier(margin=0.5, weights=Path("a/b"))
    loaded = reopen(unfitted, path)
    assert loaded.get_params() == unfitted.get_params()
    assert not hasattr(loaded, "net_")


def test_folders_to_write_to_do_not_travel(data, path, tmp_path):
    fitted = quick(cache_dir=tmp_path / "c", checkpoint_dir=tmp_path / "d").fit(*data)
    loaded = reopen(fitted, path)
    assert (loaded.cache_dir, loaded.checkpoint_dir) == (None, None)
    again = sksiamese.load(path, cache_dir="e", checkpoint_dir=tmp_path / "d")
    assert (again.cache_dir, again.checkpoint_dir) == ("e", tmp_path / "d")


def test_knn_and_others_need_no_skops(data, path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skops", None)
    monkeypatch.setitem(sys.modules, "skops.io", None)
    for classifier in ("knn", RandomForestClassifier(5), SVC()):
        fitted = quick(classifier=classifier).fit(*data)
        assert_same(fitted, reopen(fitted, path), data[0])


def test_labels_of_numpy_s_text_type_come_back(data, path):
    labels = np.array([np.str_(f"class {c}") for c in data[1]] + [None], dtype=object)
    fitted = quick().fit(data[0], labels[:-1])
    assert_same(fitted, reopen(fitted, path), data[0])


def test_large_images_that_are_resized_come_back(path):
    rng = np.random.default_rng(0)
    X = np.repeat(rng.integers(0, 255, (4, 1, 1), dtype=np.uint8), 8200, axis=1)
    X = np.broadcast_to(X, (4, 8200, 8200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = quick(SiameseEmbedder, image_size=16, backbone="conv4-16-tanh")
        fitted.set_params(validation_fraction=0).fit(X, [0, 0, 1, 1])
    assert reopen(fitted, path).image_shape_ == (8200, 8200)


class Count(Callback):
    def on_epoch_end(self, net, **kwargs):
        net.history.record("when", datetime.datetime.now())


class OwnOptimizer(torch.optim.SGD):
    def __init__(self, params, lr, base=None):
        super().__init__(params, lr, momentum=0.9)


@pytest.mark.parametrize(
    "given",
    [
        {"callbacks": [Count()]},
        {"net_params": {"optimizer": OwnOptimizer, "optimizer__base": torch.optim.SGD}},
    ],
    ids=["callbacks", "optimizer"],
)
def test_stream_with_own_objects_goes_on_if_they_are_given(data, path, given):
    X, y = data
    fitted = quick(SiameseEmbedder, **given).partial_fit(X[:100], y[:100])
    sksiamese.save(fitted.partial_fit(X[100:200], y[100:200]), path)
    with pytest.warns(UserWarning, match="stream of partial_fit can not go on"):
        sksiamese.load(path)
    loaded = sksiamese.load(path, **given)
    for estimator in (fitted, loaded):
        estimator.partial_fit(X[200:], y[200:])
    assert np.array_equal(fitted.transform(X), loaded.transform(X))
    assert len(loaded.net_.history) == 3
    assert ("when" in loaded.net_.history[-1]) == ("callbacks" in given)


def test_compiler_s_options_come_back(data, path):
    net_params = {"compile": True, "compile__backend": "eager"}
    fitted = quick(SiameseEmbedder, backbone="mlp", net_params=net_params).fit(*data)
    loaded = reopen(fitted, path)
    assert np.array_equal(fitted.transform(data[0]), loaded.transform(data[0]))
    assert vars(loaded.net_)["compile__backend"] == "eager"


def test_backbone_with_state_of_its_own_comes_back(data, path):
    fitted = quick(SiameseEmbedder, backbone=Stateful).fit(*data)
    loaded = reopen(fitted, path, backbone=Stateful)
    assert np.array_equal(fitted.transform(data[0]), loaded.transform(data[0]))
    assert loaded.net_.module_.backbone.extra == {"seen": 3}


@pytest.mark.parametrize("how", ["dtype", "inference"])
def test_model_opens_whatever_pytorch_is_set_to(data, path, how):
    fitted = quick(SiameseEmbedder, loss="logistic").partial_fit(*data)
    sksiamese.save(fitted, path)
    if how == "dtype":
        torch.set_default_dtype(torch.float64)
        try:
            loaded = sksiamese.load(path)
        finally:
            torch.set_default_dtype(torch.float32)
    else:
        with torch.inference_mode():
            loaded = sksiamese.load(path)
    for estimator in (fitted, loaded):
        estimator.partial_fit(*data)
    assert_same(fitted, loaded, data[0])


def test_interrupted_warm_start_goes_on_after_load(data, path, tmp_path):
    class Stop(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 2:
                raise KeyboardInterrupt

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    fitted = quick(SiameseEmbedder, warm_start=True, max_epochs=3, lr_schedule="cosine")
    fitted.fit(*data).set_params(checkpoint_dir=tmp_path / "d")
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        fitted.set_params(callbacks=[Stop()]).fit(*data)
    fitted.set_params(callbacks=None)
    loaded = reopen(fitted, path, checkpoint_dir=tmp_path / "d")
    shutil.copytree(tmp_path / "d", tmp_path / "e")
    fitted.set_params(checkpoint_dir=tmp_path / "e")
    try:
        fitted.fit(*data)
    except ValueError as error:  # the callbacks are part of what tells a training
        with pytest.raises(ValueError, match="callbacks"):
            loaded.fit(*data)
        assert "callbacks" in str(error)
        return
    assert_same(fitted, loaded.fit(*data), data[0])


def test_fingerprint_of_a_gallery_is_that_of_the_loaded(data, path):
    from sksiamese.search import Gallery

    fitted = quick(SiameseEmbedder).fit(*data)
    gallery = Gallery(fitted, path.with_suffix(".gallery"))
    gallery.add(data[0][:20])
    gallery.close()
    with Gallery(reopen(fitted, path), path.with_suffix(".gallery")) as opened:
        assert (opened.search(data[0][:20], k=1)[1][:, 0] == np.arange(20)).all()


def test_loading_in_threads_leaves_the_warnings_filters(data, path):
    sksiamese.save(quick(classifier="knn").fit(*data), path)
    before = warnings.filters.copy()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: sksiamese.load(path), range(60)))
    assert warnings.filters == before


def test_what_is_no_file_is_not_replaced(path):
    os.mkfifo(path)
    with pytest.raises(OSError, match="Not a regular file"):
        sksiamese.save(SiameseEmbedder(), path)
    assert path.is_fifo()


def test_loading_draws_from_no_global_generator(data, path):
    sksiamese.save(quick(classifier=RandomForestClassifier(5)).fit(*data), path)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    sksiamese.load(path)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


# --- verifiers and pipelines ----------------------------------------------------------


@pytest.mark.parametrize(
    "embedder",
    [
        quick(SiameseEmbedder, loss="logistic"),
        quick(),
        make_pipeline(quick(SiameseEmbedder)),
    ],
    ids=["embedder", "classifier", "pipeline"],
)
def test_verifier_comes_back(data, path, embedder):
    X, y = data
    fitted = SiameseVerifier(embedder, random_state=0).fit(X, y)
    loaded = reopen(fitted, path)
    pairs = X[:50], X[50:100]
    assert np.array_equal(fitted.predict_proba(pairs), loaded.predict_proba(pairs))
    assert np.array_equal(fitted.predict(pairs), loaded.predict(pairs))
    assert fitted.calibration_ == loaded.calibration_
    for verifier in (fitted, loaded):
        verifier.calibrate(X[100:], y[100:])
    assert fitted.threshold_ == loaded.threshold_


def test_verifier_of_a_fitted_embedder_keeps_one(data, path):
    X, y = data
    embedder = quick(SiameseEmbedder).fit(X[:150], y[:150])
    fitted = SiameseVerifier(embedder, random_state=0).calibrate(X[150:], y[150:])
    loaded = reopen(fitted, path)
    assert loaded.embedder_ is loaded.embedder
    assert np.array_equal(loaded.transform(X), fitted.transform(X))
    frozen = SiameseVerifier(FrozenEstimator(embedder), random_state=0).fit(X, y)
    loaded = reopen(frozen, path)
    assert loaded.calibration_["held_out"] is None
    assert np.array_equal(loaded.transform(X), fitted.transform(X))


def test_verifier_on_fitted_scikit_learn_comes_back(data, path):
    pytest.importorskip("skops", reason="skops is not installed")
    X, y = data
    rows = X.reshape(len(X), -1).astype(float)
    fitted = SiameseVerifier(make_pipeline(StandardScaler(), PCA(5)), random_state=0)
    loaded = reopen(fitted.fit(rows, y), path)
    assert np.array_equal(loaded.transform(rows), fitted.transform(rows))


def test_pipeline_of_an_estimator_comes_back(data, path):
    fitted = make_pipeline(FunctionTransformer(), quick()).fit(*data)
    loaded = reopen(fitted, path)
    assert np.array_equal(loaded.predict_proba(data[0]), fitted.predict_proba(data[0]))


# --- what a file can not hold ---------------------------------------------------------


class Own(nn.Module):
    """A backbone of the user's."""

    def __init__(self, width=6):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(64, width), nn.BatchNorm1d(width)
        )

    def forward(self, x):
        return self.layers(x)


class Stateful(Own):
    extra = None

    def get_extra_state(self):
        return {"seen": 3}

    def set_extra_state(self, state):
        self.extra = state


class OwnLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, embeddings, labels):
        return self.scale * embeddings.var()


class OwnPairLoss(OwnLoss):
    def pair_logit(self, a, b):
        return self.scale * (a - b).sum(1)


class OwnClassifier(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.means_ = np.stack([X[y == c].mean(0) for c in self.classes_])
        return self

    def predict(self, X):
        return self.classes_[self.decision_function(X).argmax(1)]

    def decision_function(self, X):
        return X @ self.means_.T


def own_augment(images):
    return images * 0.9


class OwnCallback(Callback):
    pass


@pytest.mark.parametrize(
    "backbone", [Own, Own(), lambda: Own(6)], ids=["class", "instance", "function"]
)
def test_own_backbone_must_be_given_again(data, path, backbone):
    fitted = quick(SiameseEmbedder, backbone=backbone).fit(*data)
    sksiamese.save(fitted, path)
    with pytest.raises(ValueError, match=r"give it again, load\(path, backbone=\.\.\."):
        sksiamese.load(path)
    loaded = sksiamese.load(path, backbone=backbone)
    assert np.array_equal(loaded.transform(data[0]), fitted.transform(data[0]))
    assert loaded.backbone is backbone
    with pytest.raises(ValueError, match=r"backbone=.* does not fit|returns 7 values"):
        sksiamese.load(path, backbone=lambda: Own(7))


def test_own_backbone_of_a_verifier_is_given_again(data, path):
    embedder = quick(SiameseEmbedder, backbone=Own)
    fitted = SiameseVerifier(embedder, random_state=0).fit(*data)
    loaded = reopen(fitted, path, backbone=Own)
    assert np.array_equal(loaded.transform(data[0]), fitted.transform(data[0]))


def test_own_classifier_is_given_again_and_fitted_on_what_the_file_has(data, path):
    fitted = quick(classifier=OwnClassifier()).fit(*data)
    sksiamese.save(fitted, path)
    with pytest.raises(ValueError, match=r"load\(path, classifier=\.\.\."):
        sksiamese.load(path)
    assert_same(fitted, sksiamese.load(path, classifier=OwnClassifier()), data[0])


def test_another_classifier_than_saved_is_told(data, path):
    sksiamese.save(quick(classifier=OwnClassifier()).fit(*data), path)
    with pytest.warns(UserWarning, match="gives other scores"):
        sksiamese.load(path, classifier=LogisticRegression())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"augment": own_augment}, "own_augment"),
        ({"callbacks": [OwnCallback()]}, "OwnCallback"),
        ({"net_params": {"optimizer": type("Own", (torch.optim.SGD,), {})}}, "Own"),
        ({"loss": OwnLoss()}, "loss"),
    ],
    ids=["augment", "callbacks", "net_params", "loss"],
)
def test_own_objects_for_training_are_asked_for_when_it_trains(
    data, path, params, message
):
    [name] = params
    fitted = quick(SiameseEmbedder, **params).fit(*data)
    loaded = reopen(fitted, path)
    assert np.array_equal(loaded.transform(data[0]), fitted.transform(data[0]))
    assert name in repr(loaded) and "could not hold" in repr(vars(loaded)[name])
    with pytest.raises(ValueError, match=f"{message}.*sksiamese.load"):
        loaded.fit(*data)
    given = sksiamese.load(path, **params)
    assert np.array_equal(given.transform(data[0]), fitted.transform(data[0]))
    again = [clone(e).fit(*data).transform(data[0]) for e in (fitted, given)]
    assert np.array_equal(*again)


def test_own_loss_that_scores_pairs_must_be_given(data, path):
    fitted = quick(SiameseEmbedder, loss=OwnPairLoss()).fit(*data)
    sksiamese.save(fitted, path)
    with pytest.raises(ValueError, match=r"load\(path, loss=\.\.\."):
        sksiamese.load(path)
    assert_same(fitted, sksiamese.load(path, loss=OwnPairLoss()), data[0])


def test_missing_objects_survive_a_second_save(data, path):
    fitted = quick(SiameseEmbedder, augment=own_augment).fit(*data)
    again = reopen(reopen(fitted, path), path)
    with pytest.raises(ValueError, match="own_augment"):
        again.fit(*data)
    loaded = sksiamese.load(path, augment=own_augment)
    assert_same(fitted, loaded, data[0])


def test_parameters_that_the_file_holds_are_refused(data, path):
    sksiamese.save(quick(), path)
    with pytest.raises(ValueError, match="augment was given, but the file holds it"):
        sksiamese.load(path, augment=None)
    with pytest.raises(ValueError, match=r"margin was given.*set_params"):
        sksiamese.load(path, margin=0.5)


@pytest.mark.parametrize(
    "thing",
    [
        object(),
        LogisticRegression,
        PCA(2),
        named_backbone("mlp", (4,), 3),
        type("Sub", (SiameseClassifier,), {})(),
        None,
        {"a": SiameseClassifier()},
        FunctionTransformer(own_augment),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_other_objects_are_refused_and_the_file_stays(path, thing):
    sksiamese.save(SiameseEmbedder(margin=0.3), path)
    with pytest.raises(TypeError, match="estimator is .*but save takes"):
        sksiamese.save(thing, path)
    assert sksiamese.load(path).margin == 0.3


def test_pipeline_with_own_functions_is_refused_by_name(data, path):
    fitted = make_pipeline(FunctionTransformer(own_augment), quick()).fit(*data)
    with pytest.raises(TypeError, match="a step that only a pickle .*own_augment"):
        sksiamese.save(fitted, path)


# --- places ---------------------------------------------------------------------------


def test_device_that_is_not_here_becomes_auto(data, path):
    fitted = quick(SiameseEmbedder).fit(*data)
    fitted.device = "cuda:7"  # as if it had been trained there
    sksiamese.save(fitted, path)
    with pytest.warns(UserWarning, match=r"cuda:7.*now 'auto'"):
        loaded = sksiamese.load(path)
    assert loaded.device == "auto"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sksiamese.load(path, device="cpu").device == "cpu"
    assert np.array_equal(loaded.transform(data[0]), fitted.transform(data[0]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_model_trained_on_an_accelerator_opens_without(data, path):
    fitted = quick(SiameseEmbedder, device="cuda").fit(*data)
    on_cpu = reopen(fitted, path, device="cpu")
    assert np.allclose(on_cpu.transform(data[0]), fitted.transform(data[0]), atol=1e-3)
    again = sksiamese.load(path)
    assert np.array_equal(again.transform(data[0]), fitted.transform(data[0]))


def test_fresh_process_predicts_the_same(data, path):
    fitted = quick(classifier=LogisticRegression()).fit(*data)
    sksiamese.save(fitted, path)
    code = f"""
        import numpy as np, torch, sksiamese
        torch.set_num_threads({torch.get_num_threads()})
        X = np.load({str(path.with_suffix(".npy"))!r})
        loaded = sksiamese.load({str(path)!r})
        np.save({str(path.with_suffix(".npy"))!r}, loaded.predict_proba(X))
    """
    np.save(path.with_suffix(".npy"), data[0])
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
    assert np.array_equal(
        np.load(path.with_suffix(".npy")), fitted.predict_proba(data[0])
    )


def test_link_stays_and_rights_of_the_old_file_too(path):
    target = path.with_name("target.model")
    sksiamese.save(SiameseEmbedder(), target)
    os.chmod(target, 0o600)
    path.symlink_to(target)
    sksiamese.save(SiameseEmbedder(margin=0.1), path)
    assert path.is_symlink() and sksiamese.load(target).margin == 0.1
    assert target.stat().st_mode & 0o777 == 0o600
    assert {p.name for p in path.parent.iterdir()} == {path.name, target.name}


def test_missing_folder_or_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        sksiamese.save(SiameseEmbedder(), tmp_path / "nowhere" / "x.model")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        sksiamese.load(tmp_path / "nowhere")


# A process of its own forks those that save until nobody listens any more, as forking
# pytest with its threads would not be safe, and importing anew takes seconds.
SAVERS = """
import os, select, sys
import sksiamese

savers = []
for margin in map(float, sys.argv[2:]):
    savers.append(os.fork())
    if not savers[-1]:
        try:
            n_saved = 0
            while n_saved < 30 or not select.select([0], [], [], 0)[0]:
                embedder = sksiamese.SiameseEmbedder(margin=margin)
                sksiamese.save(embedder, sys.argv[1])
                n_saved += 1
            os._exit(0)
        finally:
            os._exit(1)
assert [os.waitpid(saver, 0)[1] for saver in savers] == [0] * len(savers)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_many_processes_saving_at_once_leave_one_whole_file(path):
    margins = [0.1, 0.2, 0.3]
    command = [sys.executable, "-c", SAVERS, path, *map(str, margins)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as savers:
        while not path.exists():
            assert savers.poll() is None
            time.sleep(0.01)
        for _ in range(50):
            assert sksiamese.load(path).margin in margins
        savers.communicate()
    assert savers.returncode == 0
    assert [p.name for p in path.parent.iterdir()] == [path.name]


# --- strangers' files -----------------------------------------------------------------


class Payload:
    """Unpickled, it would leave a trace."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (self.trace,)


@pytest.mark.parametrize("how", ["pickle", "joblib", "torch", "numpy"])
def test_pickles_in_disguise_are_refused_and_not_run(path, tmp_path, how):
    trace = str(tmp_path / "trace")
    if how == "pickle":
        path.write_bytes(pickle.dumps(Payload(trace)))
    elif how == "joblib":
        import joblib

        joblib.dump(Payload(trace), path)
    elif how == "torch":
        torch.save(Payload(trace), path)
    else:
        with open(path, "wb") as file:
            np.savez(file, state=np.array([Payload(trace)], dtype=object))
    with pytest.raises(ValueError, match="is not a model of sksiamese"):
        sksiamese.load(path)
    assert not os.path.exists(trace)


def forged(estimator, path, change):
    """Change a saved file, with right checksums."""
    sksiamese.save(estimator, path)
    state = read_state(path, "model")
    change(state)
    write_state(path, "model", state)


def parts(state):
    return state["estimator"]["siamese"][1]


def _set(*keys, value):
    def change(state):
        at = state
        for key in keys[:-1]:
            at = at[key]
        at[keys[-1]] = value

    return change


HUGE = 10**12
FORGED = {
    "not a dict": _set("estimator", value=[1]),
    "class": _set("estimator", "siamese", 0, value="os.system"),
    "parameter": lambda s: parts(s)["params"].update(shell={"value": "rm"}),
    "missing parts": lambda s: parts(s).pop("attributes"),
    "sklearn module": lambda s: parts(s)["params"].update(
        classifier={"sklearn": ["os", "system", {"dict": []}, None]}
    ),
    "sklearn private": lambda s: parts(s)["params"].update(
        classifier={"sklearn": ["sklearn.utils", "Bunch", {"dict": []}, None]}
    ),
    "sklearn function": lambda s: parts(s)["params"].update(
        classifier={"sklearn": ["sklearn.datasets", "fetch_openml", {"dict": []}, None]}
    ),
    "skops bytes": lambda s: parts(s)["params"].update(classifier={"fitted": b"PK"}),
    "loss": lambda s: parts(s)["net"].update(criterion={"loss": ["nn", {}]}),
    "loss function": lambda s: parts(s)["net"].update(
        criterion={"loss": ["make_loss", {"loss": "triplet"}]}
    ),
    "method": lambda s: parts(s)["attributes"].update(predict=1),
    "property": lambda s: parts(s)["attributes"].update(__class__=1),
    "request": lambda s: parts(s).update(requests={"x": {"y": True}}),
    "backbone": lambda s: parts(s)["net"]["module"]["origin"].update(backbone="../x"),
    "huge embedding": lambda s: parts(s)["net"]["module"]["origin"].update(
        embedding_dim=HUGE
    ),
    "huge input": lambda s: parts(s)["net"]["module"]["origin"].update(
        backbone="mlp", input_shape=(HUGE,)
    ),
    "another backbone": lambda s: parts(s)["net"]["module"]["origin"].update(
        backbone="vit_h_14"
    ),
    "weights of another": lambda s: parts(s)["net"]["module"]["state"].update(
        {"preprocess.mean": torch.zeros(3)}
    ),
    "no weights": lambda s: parts(s)["net"]["module"].update(state={}),
    "weights of another type": lambda s: parts(s)["net"]["module"]["state"].update(
        {"preprocess.mean": torch.zeros(1)}
    ),
    "generator": lambda s: parts(s)["params"].update(
        random_state={
            "random": ("MT19937", np.zeros(624, np.uint32), -(5 * 10**8), 0, 0.0)
        }
    ),
    "huge images": lambda s: parts(s)["net"]["module"].update(
        image_size=(30000, 30000)
    ),
    "huge loss": lambda s: parts(s)["net"].update(
        criterion={"loss": ["LogisticLoss", {"embedding_dim": 15 * 10**8}]}
    ),
    "texts as embeddings": lambda s: parts(s).update(
        head={
            "classifier": {"value": None},
            "random_state": 0,
            "embeddings": np.array([["/etc/passwd"] * 8] * 4),
            "labels": np.arange(4),
            "probe": np.zeros((4, 4)),
        }
    ),
    "head": lambda s: parts(s)["head"].pop("prototypes_"),
    "head of other length": lambda s: parts(s)["head"].update(labels_=np.arange(3)),
    "head of other width": lambda s: parts(s)["head"].update(
        prototypes_=np.zeros((10, 3), np.float32)
    ),
    "attribute missing": lambda s: parts(s)["attributes"].pop("_takes_rows"),
    "classes": lambda s: parts(s)["attributes"].update(classes_=np.arange(4)),
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
def test_forged_models_are_refused(data, path, change):
    forged(quick(embedding_dim=8).fit(*data), path, change)
    with pytest.raises(ValueError, match=r"x\.model"):
        sksiamese.load(path)


# --- files of earlier versions --------------------------------------------------------


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.model")), ids=lambda p: p.stem)
def test_files_of_each_format_version_open(data, file):
    """Written by ``python -m tests.golden.write`` under the versions in the files."""
    expected = np.load(file.with_suffix(".npy"), allow_pickle=False)
    images = data[0][:40]
    estimator = sksiamese.load(file)
    if isinstance(estimator, SiameseVerifier):
        found = estimator.predict_proba((images[:20], images[20:]))
    elif isinstance(estimator, SiameseClassifier):
        found = estimator.predict_proba(images)
    else:
        found = estimator.transform(images)
    assert np.allclose(found, expected, atol=1e-3)


def test_every_format_version_has_golden_files():
    from sksiamese._archive import VERSIONS

    for version in range(1, VERSIONS["model"] + 1):
        kinds = {p.stem.split("-")[1] for p in GOLDEN.glob(f"v{version}-*.model")}
        assert kinds == {"embedder", "classifier", "knn", "logistic", "verifier"}
