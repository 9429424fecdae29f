"""Parameters come back, and nothing comes out of a file but what is known."""

import collections
import enum
import inspect
import sys
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.feature_selection import f_classif
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import all_estimators

from sksiamese import SiameseEmbedder
from sksiamese._packing import Missing, is_complete, pack, unpack
from sksiamese.augment import RandomAffine
from sksiamese.images import ImageReader
from sksiamese.losses import ContrastiveLoss, LogisticLoss, SupervisedContrastiveLoss

PLAIN = {"output": None, "requests": {}}


def no_other(value):
    """Pack no estimator of this package."""


def again(value):
    packed = pack(value, "x", no_other)
    assert is_complete(packed)
    return unpack(packed, "x", None)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        -0.5,
        "text",
        b"bytes",
        np.float32(0.1),
        np.str_("label"),
        [1, (2, [3])],
        {"a": 1, 2: {"b": (None,)}, np.int64(3): 4},
        Path("a/b"),
        torch.optim.SGD,
        torch.optim.AdamW,
        np.float64,
        np.int8,
        # Names hold no addresses, which differ between the processes of a test run.
        pytest.param(f_classif, id="f_classif"),
    ],
    ids=repr,
)
def test_plain_parameters_come_back_with_their_types(value):
    found = again(value)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(3),
        np.array(["a", "b"]),
        np.array(["a", None, 2.5], dtype=object),
        torch.arange(4.0),
    ],
    ids=repr,
)
def test_arrays_are_kept_as_they_are(value):
    assert again(value) is value


def test_generator_goes_on_where_it_was():
    generator = np.random.RandomState(0)
    generator.normal(size=3)
    found = again(generator)
    assert (found.normal(size=5) == generator.normal(size=5)).all()


def test_augmentation_and_losses_keep_their_settings():
    augment = RandomAffine(rotation=1, scale=0.2, vertical_flip=True)
    assert (
        vars(again(augment)).items()
        >= {k: v for k, v in vars(augment).items() if not k.startswith("_")}.items()
    )
    weights = torch.tensor([1.0, 2.0])
    loss = again(ContrastiveLoss(0.3, "hard", gamma=1.5, class_weight=weights))
    assert (loss.margin, loss.mining, loss.gamma) == (0.3, "hard", 1.5)
    assert loss.class_weight is weights
    assert again(LogisticLoss(7)).weight.shape == (7,)
    assert again(LogisticLoss(7, on="distance")).weight.shape == (1,)


def arguments(estimator):
    return repr({k: repr(v) for k, v in estimator.get_params().items()})


# Its parameters have functions of NumPy's, which a file does not hold.
KINDS = [name for name, _ in all_estimators() if name != "FeatureAgglomeration"]


@pytest.mark.filterwarnings("ignore:Class PassiveAggressive:FutureWarning")
@pytest.mark.parametrize("name", KINDS)
def test_every_estimator_of_scikit_learn_comes_back_unfitted(name):
    kind = dict(all_estimators())[name]
    needed = [
        p
        for p in inspect.signature(kind).parameters.values()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    given = {"estimator": LogisticRegression(), "classifier": LogisticRegression()}
    estimator = kind(*(given.get(p.name, [("a", PCA(3))]) for p in needed))
    found = again(estimator)
    assert type(found) is kind and arguments(found) == arguments(estimator)


def test_composite_of_scikit_learn_comes_back():
    inner = make_column_transformer((StandardScaler(), ["a", "b"]), n_jobs=2)
    estimator = make_pipeline(inner, FunctionTransformer(), LogisticRegression(C=0.1))
    estimator.set_output(transform="pandas")
    found = again(estimator)
    assert isinstance(found, Pipeline) and arguments(found) == arguments(estimator)
    assert found[1]._sklearn_output_config == {"transform": "pandas"}


def test_reader_comes_back_fitted_or_not(tmp_path):
    from PIL import Image

    file = tmp_path / "x.png"
    Image.new("L", (9, 9), 77).save(file)
    reader = ImageReader(8, suffix="").fit([file])
    found = again(reader)
    assert vars(found) == vars(reader)
    assert (found.transform([file]) == reader.transform([file])).all()


class Own(BaseEstimator):
    pass


def own():
    pass


@pytest.mark.parametrize(
    "value",
    [
        own,
        lambda x: x,
        object(),
        Own(),
        Own,
        torch.nn.Linear(2, 2),
        [1, own],
        {"a": (own,)},
        {own: 1},
        np.array([own], dtype=object),
        FunctionTransformer(own),
        make_pipeline(StandardScaler(), Own()),
        make_pipeline(StandardScaler(), LogisticRegression(), memory="cache"),
        type("SGD", (torch.optim.SGD,), {}),
        np.random.RandomState(np.random.PCG64(0)),
        SupervisedContrastiveLoss(torch.nn.Parameter(torch.tensor(0.1))),
        type("ContrastiveLoss", (ContrastiveLoss,), {})(),
        type("LogisticRegression", (LogisticRegression,), {})(),
        {1, 2},
        torch.optim,
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_objects_become_missing_and_say_so(value):
    packed = pack(value, "augment", no_other)
    assert not is_complete(packed)
    found = unpack(packed, "augment", None)
    assert isinstance(found, Missing)
    assert "augment=" in repr(found) and "sksiamese.load" in repr(found)
    with pytest.raises(ValueError, match="augment is <augment=.*could not hold"):
        found(1)


def test_own_estimators_are_packed_by_the_caller():
    packed = pack(
        make_pipeline(SiameseEmbedder()),
        "x",
        lambda e: (
            {"siamese": type(e).__name__} if isinstance(e, SiameseEmbedder) else None
        ),
    )
    found = unpack(packed, "x", lambda content: ("unpacked", content))
    assert found.steps == [("siameseembedder", ("unpacked", "SiameseEmbedder"))]


def test_fitted_estimator_of_scikit_learn_comes_back_by_skops():
    pytest.importorskip("skops", reason="skops is not installed")
    X = np.random.default_rng(0).normal(size=(20, 4))
    fitted = PCA(2).fit(X)
    assert (again(fitted).transform(X) == fitted.transform(X)).all()


def test_fitted_estimator_with_own_function_is_missing():
    pytest.importorskip("skops", reason="skops is not installed")
    fitted = FunctionTransformer(own).fit(np.zeros((2, 2)))
    fitted.learned_ = 1
    assert not is_complete(pack(fitted, "x", no_other))


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("os", "system"),
        ("sklearn.os", "system"),
        ("sklearn", "clone"),
        ("sklearn.utils", "Bunch"),
        ("sklearn.base", "BaseEstimator"),
        ("sklearn.linear_model._logistic", "LogisticRegression"),
        ("sklearn.linear_model", "_logistic"),
        ("sklearn.datasets", "fetch_openml"),
        ("sklearn.pipeline", "make_pipeline"),
        ("sklearn.pipeline", "np"),
        ("sklearn.calibration", "LinearSVC"),
        ("sklearn..svm", "SVC"),
        ("", ""),
    ],
)
def test_names_beyond_scikit_learn_s_estimators_are_refused(folder, kind):
    content = {"sklearn": [folder, kind, {"dict": [[], []]}, None]}
    with pytest.raises(ValueError, match="has no"):
        unpack(content, "classifier", None)


@pytest.mark.parametrize(
    "packed",
    [
        {"eval": "1"},
        {"loss": ["nn", {}]},
        {"loss": ["make_loss", {}]},
        {"optimizer": "lr_scheduler"},
        {"score": "SelectKBest"},
        {"score": "__init__"},
        {"score": "np"},
        {
            "sklearn": [
                "sklearn.pipeline",
                "Pipeline",
                {"dict": [["steps", "memory"], [{"list": []}, {"value": "cache"}]]},
                None,
            ]
        },
        {"optimizer": "Adam.__init__"},
        {"reader": [{"dict": [["image_size"], [{"value": 8}]]}, {"fit": 1}, PLAIN]},
        {"reader": [{"dict": [["image_size"], [{"value": 8}]]}, {"a b": 1}, PLAIN]},
        {"random": ("MT19937", np.zeros(624, np.uint32), -(10**8), 0, 0.0)},
        {"random": ("MT19937", np.zeros(624, np.uint32), 700, 0, 0.0)},
        {"random": ("MT19937", np.zeros(3, np.uint32), 0, 0, 0.0)},
        {"random": ("PCG64", np.zeros(624, np.uint32), 0, 0, 0.0)},
        {"loss": ["LogisticLoss", {"embedding_dim": 10**9}]},
        {
            "sklearn": [
                "sklearn.svm",
                "SVC",
                {"dict": [["shell"], [{"value": 1}]]},
                None,
            ]
        },
    ],
    ids=repr,
)
def test_forged_contents_are_refused(packed):
    with pytest.raises(ValueError):
        unpack(packed, "x", None)


@pytest.mark.parametrize("name", KINDS)
def test_unfitted_estimators_need_no_skops(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "skops", None)
    monkeypatch.setitem(sys.modules, "skops.io", None)
    if "Passive" not in name:
        test_every_estimator_of_scikit_learn_comes_back_unfitted(name)


def test_unusual_parameters_of_scikit_learn_are_kept_by_skops():
    pytest.importorskip("skops", reason="skops is not installed")
    found = again(GaussianProcessClassifier(1.5 * RBF(0.5)))
    assert found.kernel == 1.5 * RBF(0.5)
    grid = GridSearchCV(LogisticRegression(), {"C": [1]}, cv=StratifiedKFold(3))
    assert again(grid).cv.n_splits == 3


def test_subclasses_of_plain_types_become_plain():
    class Loss(str, enum.Enum):  # noqa: UP042, as users write them
        TRIPLET = "triplet"

    Shape = collections.namedtuple("Shape", "height width")
    assert again(Loss.TRIPLET) == "triplet" and type(again(Loss.TRIPLET)) is str
    assert again(torch.Size([3, 4])) == (3, 4)
    assert again(Shape(3, 4)) == (3, 4) and type(again(Shape(3, 4))) is tuple


def test_metadata_requests_of_scikit_learn_come_back():
    with config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        requests = again(scaler).get_metadata_routing().fit.requests
    assert requests == {"sample_weight": True}


def test_folders_to_write_to_do_not_travel(tmp_path):
    assert again(ImageReader(8, cache_dir=tmp_path, root="a")).cache_dir is None
    assert again(ImageReader(8, cache_dir=tmp_path, root="a")).root == "a"


def test_paths_of_any_kind_become_paths():
    assert again(PurePosixPath("a/b")) == Path("a/b")
