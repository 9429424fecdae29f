"""Every mistake a user can make is answered by the parameter's name and a remedy.

Values of parameters one by one: ``test_parameters.py``.
"""

import pickle

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from sksiamese import SiameseClassifier, SiameseEmbedder
from sksiamese.augment import RandomAffine

X = np.random.default_rng(0).random((40, 8, 8))
Y = np.arange(40) % 2
ESTIMATORS = [SiameseClassifier, SiameseEmbedder]


class Unreduced(torch.nn.Module):
    """Forgets to reduce the loss to one value."""

    def forward(self, embeddings, labels):
        return embeddings.sum(1)


def fast(**params):
    return SiameseClassifier(**{"max_epochs": 1, "random_state": 0, **params})


def with_value(value):
    spoiled = X.copy()
    spoiled[3, 2, 1] = value
    return spoiled


# scikit-learn suspects a regression, as it should.
@pytest.mark.filterwarnings("ignore:The number of unique classes")
@pytest.mark.parametrize(
    ("data", "labels", "message"),
    [
        (with_value(np.nan), Y, "X contains NaN"),
        (with_value(np.inf), Y, "X contains infinity"),
        (X, np.zeros(40), "y has 1 class.*at least two classes"),
        (X, np.arange(40), "No class in y has two images.*add images"),
        (X, None, "requires y"),
        (X, Y[:39], "inconsistent numbers of samples"),
        (X, np.linspace(0, 1, 40), "Unknown label type"),
        (X[:, None].repeat(3, 1), Y, r"channels-first.*np\.moveaxis\(X, 1, -1\)"),
        (X[..., None, None], Y, "X has 5 axes"),
        (X[:, :0], Y, "at least one pixel"),
        (X[0, 0], Y[:8], "Expected 2D array"),
        (X[:0], Y[:0], "y has 0 class"),
        (X.astype("M8[s]"), Y, "X holds values of type datetime64"),
    ],
)
def test_fit_on_bad_data(data, labels, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        fast().fit(data, labels)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"backbone": "resnet17"}, "backbone='resnet17' is unknown.*'resnet18'"),
        ({"backbone": "vgg11"}, "backbone='vgg11' cannot take.*image_size"),
        ({"backbone": lambda: 3}, "backbone=.*not a torch.nn.Module"),
        (
            {"backbone": torch.nn.Identity()},
            r"backbone=.*must return.*\(n, embedding_dim\)",
        ),
        ({"weights": "/nowhere.pt"}, "weights='/nowhere.pt' is not a file"),
        (
            {"backbone": "resnet18", "weights": "BEST"},
            "weights='BEST'.*'IMAGENET1K_V1'",
        ),
        ({"batch_size": 3}, "batch_size=3 cannot hold two images.*4 or more"),
        ({"mining": "hard", "loss": "supervised_contrastive"}, "mining='hard'.*leave"),
        ({"trainable": 40}, "trainable=40.*smaller number"),
        ({"device": "tpu-9"}, "device='tpu-9'.*'cpu'"),
        ({"image_shape": (8, 7)}, r"image_shape=\(8, 7\).*leave image_shape=None"),
        ({"image_shape": (8, 0)}, "image_shape must be"),
        ({"image_size": (8,)}, "image_size must be"),
        ({"early_stopping": True}, "early_stopping=True.*raise"),
        ({"augment_minority": 2.0, "augment": None}, "augment_minority=2.0.*None.*use"),
        (
            {"augment_minority": 2.0, "augment": torch.clone},
            "augment_minority=2.0.*use",
        ),
        (
            {"pair_budget": "natural", "classes_per_batch": 2},
            "classes_per_batch=2.*'auto'",
        ),
        ({"pair_budget": {0: 1.0}}, r"pair_budget names.*\[1\]: name every class"),
        ({"pair_budget": {0: 1.0, 1: 0.0}}, r"pair_budget\[1\] is 0.0.*> 0"),
        ({"pair_budget": {0: 1.0, 1: "b"}}, r"pair_budget\[1\] is 'b'.*> 0"),
        ({"pair_budget": {0: 1.0, 1: 1e9}}, "fewer than two images.*raise batch_size"),
        ({"class_weight": {0: 1.0, 2: 3.0}}, r"class_weight names other.*\[1\]: name"),
        ({"class_weight": {0: -1.0}}, r"class_weight\[0\] is -1.0.*> 0"),
        ({"class_weight": "balanced", "loss": "triplet"}, "class_weight=.*TripletLoss"),
        ({"class_weight": {0: 2.0}, "loss": Unreduced()}, "class_weight=.*Unreduced"),
        ({"priors": [0.5, 0.4]}, "priors=.*add up to 1"),
        ({"priors": [1.0, 0.0]}, "priors=.*greater than 0"),
        ({"priors": [0.2, 0.3, 0.5]}, r"priors has shape \(3,\).*\[0, 1\]"),
        ({"priors": {0: 1.0}}, r"priors=.*lacks the classes \[1\].*name every class"),
        ({"unknown": "reject"}, "unknown='reject' needs held-out.*raise it"),
        ({"unknown": "reject", "unknown_label": 1}, "unknown_label=1 is one of.*set"),
        ({"unknown_label": -1}, "unknown_label=-1 has no effect.*set unknown"),
    ],
)
def test_fit_with_bad_parameters(params, message):
    few = slice(0, 20)  # too few to hold any out
    with pytest.raises(ValueError, match=f"(?s){message}"):
        fast(**params).fit(X[few], Y[few])


@pytest.mark.parametrize(
    ("name", "value", "default"),
    [
        ("augment_minority", 2.0, "1.0"),
        ("class_weight", "balanced", "None or a dict"),
        ("class_weight", {0: 2.0}, "None, or give priors"),
        ("priors", "train", "None or a dict"),
    ],
)
@pytest.mark.parametrize("fitted_before", [False, True])
def test_partial_fit_refuses_what_needs_all_counts(name, value, default, fitted_before):
    clf = fast()
    if fitted_before:
        clf.fit(X, Y)
    with pytest.raises(ValueError, match=f"{name}={value!r} needs.*to {default}"):
        clf.set_params(**{name: value}).partial_fit(X, Y)


@pytest.mark.parametrize("fitted_before", [False, True])
def test_partial_fit_refuses_what_needs_held_out_images(fitted_before):
    clf = fast()
    if fitted_before:
        clf.fit(X, Y)
    with pytest.raises(ValueError, match="unknown='reject' needs.*set unknown to None"):
        clf.set_params(unknown="reject").partial_fit(X, Y)
    with pytest.raises(ValueError, match="unknown_label=7 has no effect"):
        clf.set_params(unknown=None, unknown_label=7).partial_fit(X, Y)


@pytest.mark.parametrize("fitted_before", [False, True])
def test_partial_fit_refuses_labels_that_are_none(fitted_before):
    clf = fast().fit(X, Y) if fitted_before else fast()
    for labels in (None, np.array([None] * 40)):
        with pytest.raises(ValueError, match="requires y|Unknown label type"):
            clf.partial_fit(X, labels)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_misspelt_parameter_is_refused_at_once(estimator):
    with pytest.raises(TypeError, match="marginn"):
        estimator(marginn=1)


@pytest.mark.parametrize(
    "method",
    ["predict", "predict_proba", "decision_function", "unknown_score", "transform"],
)
def test_unfitted_estimator_says_so(method):
    with pytest.raises(NotFittedError, match="SiameseClassifier"):
        getattr(SiameseClassifier(), method)(X)


def test_unfitted_estimator_refuses_pairs_and_enrolment():
    for call in (
        lambda: SiameseEmbedder().pair_distance((X, X)),
        lambda: SiameseEmbedder(loss="logistic").pair_proba((X, X)),
        lambda: SiameseClassifier().enroll(X, Y),
    ):
        with pytest.raises(NotFittedError):
            call()


def test_failed_fit_leaves_an_unfitted_estimator():
    clf = fast(backbone="resnet17")
    with pytest.raises(ValueError, match="unknown"):
        clf.fit(X, Y)
    with pytest.raises(NotFittedError):
        clf.predict(X)


@pytest.mark.parametrize("method", ["predict", "transform", "enroll"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((4, 9, 9)), r"shape \(9, 9\).*fitted on.*\(8, 8\).*resize"),
        (np.zeros((4, 8, 8, 3)), r"shape \(8, 8, 3\).*fitted on"),
        (np.zeros((4, 64)), r"shape \(64,\).*fitted on.*\(8, 8\)"),
        (np.full((4, 8, 8), np.nan), "NaN"),
    ],
)
def test_other_images_than_in_fit_are_refused(fitted, method, data, message):
    arguments = (data, [0, 0, 1, 1]) if method == "enroll" else (data,)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        getattr(fitted, method)(*arguments)


@pytest.mark.parametrize(
    ("data", "labels", "params"),
    [
        (X[:, :5], np.zeros(40), {}),
        (X[:, :5], Y[:4], {}),
        (X[:, :5] * np.nan, Y, {}),
        (X[:, :5], Y, {"batch_size": 2}),
        (X[:, :5], Y, {"backbone": "nope"}),
        (X, Y, {"classifier": "knn", "n_neighbors": 500, "random_state": 7}),
        (X, Y, {"lr": 1e30, "lr_schedule": "constant", "normalize": False}),
        (X, Y, {"net_params": {"max_epochs": 3}}),
    ],
)
def test_refused_fit_leaves_the_fitted_model_as_it_was(data, labels, params):
    clf = fast().fit(X, Y)
    expected = clf.transform(X)
    with pytest.raises(ValueError):
        clf.set_params(**params).fit(data, labels)
    np.testing.assert_array_equal(clf.transform(X), expected)
    assert clf.score(X, Y) >= 0


def test_diverged_fit_leaves_an_unfitted_estimator_that_can_go_on():
    clf = fast(lr=1e30, lr_schedule="constant", normalize=False, warm_start=True)
    with pytest.raises(ValueError, match="lower lr"):
        clf.fit(X, Y)
    with pytest.raises(NotFittedError):
        clf.transform(X)
    clf.set_params(lr=1e-3).partial_fit(X, Y).fit(X, Y)
    assert np.isfinite(clf.transform(X)).all()


def test_image_shape_set_after_fit_changes_nothing():
    rows = X.reshape(40, 64)
    clf = fast(image_shape=(8, 8)).fit(rows, Y)
    expected = clf.transform(rows)
    for image_shape in ((4, 16), None):
        clf.set_params(image_shape=image_shape)
        np.testing.assert_array_equal(clf.transform(rows), expected)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"augment": lambda x: x[:, :, 1:]}, "augment=.*must keep it"),
        ({"loss": Unreduced()}, "loss=Unreduced.*one value.*mean"),
        ({"backbone": torch.nn.Linear}, "could not be called.*pass a module"),
    ],
)
def test_parts_of_the_callers_that_misbehave_are_named(params, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        fast(**params).fit(X, Y)


def test_affine_augmentation_of_vectors_is_refused():
    with pytest.raises(ValueError, match="augment=.*set image_shape"):
        fast(augment=RandomAffine()).fit(X.reshape(40, 64), Y)


def test_images_of_several_sizes_are_refused():
    with pytest.raises(ValueError, match="X cannot be made an array.*one size"):
        fast().fit([np.zeros((8, 8))] * 3 + [np.zeros((9, 9))], [0, 0, 1, 1])


def test_refused_enrolment_changes_nothing(fitted):
    before = pickle.dumps(fitted.head_)
    with pytest.raises(ValueError, match="inconsistent"):
        fitted.enroll(X[:4], [0, 1])
    assert pickle.dumps(fitted.head_) == before


@pytest.mark.parametrize("method", ["enroll", "partial_fit"])
def test_strings_do_not_join_numbers(fitted, method):
    with pytest.raises(ValueError, match="(?s)labels of type <U1.*convert"):
        getattr(fitted, method)(X[:4], list("aabb"))
    assert fitted.classes_.dtype.kind == "i"


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (X, r"pairs has shape \(40, 8, 8\)"),
        ((X, X[:3]), "40 first but 3 second"),
        ((X, X, X), "tuple of 3"),
    ],
)
def test_pairs_of_another_form_are_refused(fitted, pairs, message):
    with pytest.raises(ValueError, match=message):
        fitted.pair_distance(pairs)


def test_predict_on_rows_of_another_width():
    clf = fast(image_shape=(8, 8)).fit(X.reshape(40, 64), Y)
    with pytest.raises(ValueError, match=r"63 columns.*image_shape=\(8, 8\)"):
        clf.predict(X.reshape(40, 64)[:, :63])


@pytest.fixture(scope="module")
def fitted():
    """Fit a classifier to be read and never changed."""
    return fast().fit(X, Y)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "transform", "enroll"])
def test_values_that_overflow_are_not_taken_for_a_class(digits, method):
    X, y, X_new, y_new = digits
    clf = SiameseClassifier(max_epochs=1, random_state=0).fit(X, y)
    huge = X_new[:3].astype(np.float64) * 1e300
    with pytest.raises(ValueError, match="NaN or infinite: check X"):
        getattr(clf, method)(huge, *([y_new[:3]] if method == "enroll" else []))
