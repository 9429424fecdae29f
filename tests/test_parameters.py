"""Every public parameter refuses wrong types and values by its name.

The classes are found by walking the public modules; a new class or parameter without a
case here fails the test.
"""

import importlib
import inspect
import pkgutil

import numpy as np
import pytest
import torch
from sklearn.utils._param_validation import InvalidParameterError

import sksiamese
from sksiamese import SiameseClassifier, SiameseEmbedder, SiameseVerifier
from sksiamese.augment import RandomAffine
from sksiamese.images import ImageReader
from sksiamese.imbalance import ImageSampler
from sksiamese.losses import (
    ContrastiveLoss,
    LogisticLoss,
    MultiSimilarityLoss,
    SupervisedContrastiveLoss,
    TripletLoss,
)
from sksiamese.pairs import PairSplit
from sksiamese.search import Gallery

X = np.random.default_rng(0).random((40, 8, 8))
Y = np.arange(40) % 2
NAN, INF = float("nan"), float("inf")


class Thing:
    """Of a type that no parameter takes."""

    def __repr__(self):
        return "<a thing>"


# Values of a type that is taken, but out of range. ``Thing()`` is tried for all.
NOT_POSITIVE = [0, -1, NAN, INF]
NEGATIVE = [-1e-9, NAN, INF]
NOT_COUNT = [0, -1, 1.5]
NO_SEED = [-1, 1.5, "zero"]
EMBEDDER = {
    "augment": ["sometimes", 3],
    "augment_minority": [0.5, NAN, INF],
    "backbone": [3, None],
    "batch_size": NOT_COUNT,
    "cache_dir": [3, True],
    "callbacks": ["print", {}],
    "checkpoint_dir": [3, True],
    "class_weight": ["heavy", [1, 2]],
    "classes_per_batch": [1, 2.5, "all"],
    "device": [0, None],
    "early_stopping": ["yes", None],
    "embedding_dim": NOT_COUNT,
    "image_shape": [64, "8x8"],
    "image_size": [0, -8, 8.5, "8"],
    "loss": ["hinge", None],
    "lr": NOT_POSITIVE,
    "lr_schedule": ["steps", None],
    "margin": NOT_POSITIVE,
    "max_epochs": [*NOT_COUNT, "many"],
    "mining": ["easy", None],
    "n_iter_no_change": NOT_COUNT,
    "n_jobs": [1.5, "all"],
    "net_params": [[1], "lr"],
    "normalize": ["l2", None],
    "pair_budget": ["rare", None],
    "precision": ["float16", 16],
    "random_state": NO_SEED,
    "trainable": [0, "tail", 1.5],
    "validation_fraction": [1.0, -0.1, NAN],
    "verbose": ["loud", -1],
    "warm_start": ["hot", None],
    "weight_decay": NEGATIVE,
    "weights": [3, []],
}
CLASSIFIER = {
    **EMBEDDER,
    "classifier": ["tree", None],
    "max_fpr": [0.0, 1.0, NAN],
    "n_neighbors": NOT_COUNT,
    "n_prototypes": NOT_COUNT,
    "priors": ["uniform", 0.5],
    "unknown": ["maybe", True],
    "unknown_label": [[1], {}],
}
VERIFIER = {
    "confidence": [0, 1, NAN],
    "embedder": [None, "conv"],
    "max_fpr": [0, 1.0, NAN],
    "min_tpr": [0, 1, NAN],
    "n_pairs": NOT_COUNT,
    "random_state": NO_SEED,
    "threshold": ["best", NAN, INF, None],
    "validation_fraction": [0, 1, NAN],
}
READER = {
    "aspect": ["squeeze", None],
    "cache_dir": [3, True],
    "image_size": [0, -1, 8.5, (8,), (8, 0), (8, 8, 8), None],
    "mode": ["cmyk", None],
    "n_jobs": [1.5, "all"],
    "root": [3, True],
    "suffix": [None, 3],
    "value_range": [5, "white", (1, 0), (0,), (0, NAN), ("a", "b")],
    "verbose": ["loud", -1],
}
GALLERY = {
    "embedder": ["conv", SiameseEmbedder],
    "index": ["tree", None, 3],
    "memory_budget": [0, -1, NAN, "1 GB", True],
    "metric": ["manhattan", None],
    "name": ["for databases", 3],
    "store": [None, 3, "redis://localhost"],
    "verbose": ["loud", -1, None],
}
MARGIN = {"margin": NOT_POSITIVE, "mining": ["easy", "auto", None]}
CASES = {
    SiameseEmbedder: EMBEDDER,
    SiameseClassifier: CLASSIFIER,
    SiameseVerifier: VERIFIER,
    ImageReader: READER,
    ImageSampler: {"embedder": ["conv", 3], "sampler": ["smote", 3]},
    PairSplit: {"n_splits": [1, 2.5, None], "random_state": NO_SEED},
    Gallery: GALLERY,
    RandomAffine: {
        "brightness": NEGATIVE,
        "horizontal_flip": ["yes", None],
        "rotation": NEGATIVE,
        "scale": [1.0, *NEGATIVE],
        "shear": NEGATIVE,
        "shift": NEGATIVE,
        "vertical_flip": ["yes", None],
    },
    ContrastiveLoss: {**MARGIN, "class_weight": [[1, 2], 3], "gamma": NEGATIVE},
    LogisticLoss: {
        "embedding_dim": NOT_COUNT,
        "mining": MARGIN["mining"],
        "on": ["cosine", None],
    },
    MultiSimilarityLoss: {
        "alpha": NOT_POSITIVE,
        "base": [NAN, INF, None],
        "beta": NOT_POSITIVE,
        "mining": MARGIN["mining"],
    },
    SupervisedContrastiveLoss: {"temperature": NOT_POSITIVE},
    TripletLoss: MARGIN,
}
# What calls return, and pictures of given arrays, which the library itself makes.
RESULTS = {
    "ConfidenceInterval",
    "DetDisplay",
    "Duplicates",
    "EmbeddingDisplay",
    "Finding",
    "HistoryDisplay",
    "ImageReadError",
    "NeighborsDisplay",
    "PairAudit",
    "PairDistanceDisplay",
    "PairGridDisplay",
}
CALLED = [
    (cls, name, value)
    for cls, parameters in CASES.items()
    for name, values in parameters.items()
    for value in [Thing(), *values]
]


def public_classes():
    """Find the classes of all public modules."""
    found = {}
    modules = [sksiamese]
    for info in pkgutil.iter_modules(sksiamese.__path__):
        if not info.name.startswith("_"):
            modules.append(importlib.import_module(f"sksiamese.{info.name}"))
    for module in modules:
        # Else all that is defined there.
        names = getattr(module, "__all__", None)
        for name, thing in vars(module).items():
            own = getattr(thing, "__module__", None) == module.__name__
            is_public = name in names if names else own and not name.startswith("_")
            if inspect.isclass(thing) and is_public:
                found[name] = thing
    return found


def parameters(cls):
    """Name the parameters of a constructor."""
    return set(inspect.signature(cls).parameters)


def build(cls, **params):
    """Build an object, with quick settings and what it cannot do without."""
    needed = {
        SiameseEmbedder: {"max_epochs": 1},
        SiameseClassifier: {"max_epochs": 1},
        SiameseVerifier: {"embedder": SiameseEmbedder(max_epochs=1)},
        LogisticLoss: {"embedding_dim": 4},
        Gallery: {"embedder": None},
    }
    return cls(**{**needed.get(cls, {}), **params})


def refuse(call, name):
    """Check that a call is refused, by the name of the parameter."""
    with pytest.raises((ValueError, TypeError), match=rf"\b{name}\b") as caught:
        call()
    return caught.value


def test_every_public_class_and_parameter_has_cases():
    found = public_classes()
    assert set(found) == {cls.__name__ for cls in CASES} | RESULTS
    assert {cls: parameters(cls) for cls in CASES} == {
        cls: set(cases) for cls, cases in CASES.items()
    }
    for cls in CASES:
        if hasattr(cls, "_parameter_constraints"):
            assert set(cls._parameter_constraints) == parameters(cls)
    print(f"{len(CALLED)} values of {sum(map(len, CASES.values()))} parameters")


@pytest.mark.parametrize(("cls", "name", "value"), CALLED)
def test_parameter_of_wrong_type_or_range_is_named(cls, name, value):
    try:
        thing = build(cls, **{name: value})
    except (ValueError, TypeError) as error:
        # scikit-learn's convention: constructors of estimators check nothing.
        assert not hasattr(cls, "fit")
        assert name in str(error)  # noqa: PT017
        return
    assert hasattr(cls, "fit"), f"{name}={value!r} is taken"
    calls = [lambda: thing.fit(X, Y)]
    if cls is ImageReader:
        calls = [lambda: thing.fit(["a.png"])]
    elif cls is SiameseVerifier:
        calls = [lambda: thing.fit(X, Y)]
    elif hasattr(cls, "partial_fit"):
        calls.append(lambda: thing.partial_fit(X, Y))
    for call in calls:
        error = refuse(call, name)
        own_check = cls is ImageReader and name in ("image_size", "value_range")
        if not own_check or isinstance(value, Thing):
            assert isinstance(error, InvalidParameterError)
            assert f"The '{name}' parameter of" in str(error)
            assert repr(value) in str(error)


@pytest.mark.parametrize("cls", CASES)
def test_default_and_unknown_parameters(cls):
    if not hasattr(cls, "fit"):
        build(cls)
    with pytest.raises(TypeError, match="marginn"):
        build(cls, marginn=1)


# What is in a container, or what parameters mean together: see test_errors.py too.
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_shape", (8, 0)),
        ("image_shape", (8, 8, 0)),
        ("image_shape", (8.0, 8.0)),
        ("image_shape", (8,)),
        ("image_size", (8,)),
        ("image_size", (0, 8)),
        ("image_size", ("8", 8)),
        ("net_params", {"lr": 3}),
        ("net_params", {"max_epochs": 3}),
        ("net_params", {3: 3}),
        ("net_params", {"optimizer": "adam"}),
        ("net_params", {"optimizer__lrr": 1}),
        ("callbacks", [Thing()]),
        ("callbacks", [3]),
        ("callbacks", ["print"]),
        ("callbacks", [("name", Thing())]),
        ("class_weight", {0: NAN, 1: 1.0}),
        ("class_weight", {0: "heavy", 1: 1.0}),
        ("pair_budget", {0: NAN, 1: 1.0}),
        ("priors", {0: NAN, 1: 1.0}),
        ("priors", [NAN, NAN]),
        ("priors", ["a", "b"]),
        ("device", "tpu-9"),
        ("backbone", "resnet17"),
        ("weights", "nowhere"),
        ("n_jobs", 0),
        ("unknown_label", 7),
    ],
    ids=str,
)
def test_parameter_with_wrong_content_is_named(name, value, tmp_path):
    data = X
    if name == "n_jobs":  # threads read files
        from PIL import Image

        data = [str(tmp_path / f"{i}.png") for i in range(40)]
        for path, image in zip(data, X, strict=True):
            Image.fromarray((image * 255).astype(np.uint8)).save(path)
    clf = SiameseClassifier(max_epochs=1, image_size=8).set_params(**{name: value})
    refuse(lambda: clf.fit(data, Y), name)


def test_module_as_a_class_is_named():
    refuse(lambda: SiameseEmbedder(torch.nn.Linear).fit(X, Y), "backbone")
