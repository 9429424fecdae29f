"""Scores of probabilities and rejections against counts in explicit loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, roc_auc_score

from sksiamese.metrics import expected_calibration_error, open_set_classification_rate


def oscr_by_curve(y_true, y_pred, novelty, classes):
    """Trapezoids under the curve that the paper draws."""
    rows = list(zip(y_true, y_pred, novelty, strict=True))
    known = [(t == p, v) for t, p, v in rows if t in classes]
    unknown = [v for t, _, v in rows if t not in classes]
    points = []
    for threshold in [-math.inf, *sorted(set(novelty))]:
        right = sum(r and v <= threshold for r, v in known) / len(known)
        accepted = sum(v <= threshold for v in unknown) / len(unknown)
        points.append((accepted, right))
    pairs = zip(points, points[1:], strict=False)
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairs)


@st.composite
def open_set(draw):
    n = draw(st.integers(1, 20))
    label, value = st.sampled_from("abcd"), st.integers(0, 5)
    rows = draw(st.lists(st.tuples(label, label, value), min_size=n, max_size=n))
    y_true, y_pred, novelty = zip(*rows, ("a", "a", 1), ("d", "b", 2), strict=True)
    return np.array(y_true), np.array(y_pred), np.array(novelty, dtype=float)


@given(open_set(), st.randoms())
@settings(max_examples=60, deadline=None)
def test_open_set_rate_matches_curve(sample, random):
    found = open_set_classification_rate(*sample, classes=["a", "b"])
    assert found == pytest.approx(oscr_by_curve(*sample, ["a", "b"]))
    order = random.sample(range(len(sample[0])), len(sample[0]))
    y_true, y_pred, novelty = (array[order] for array in sample)
    moved = open_set_classification_rate(y_true, y_pred, novelty**3, classes=["b", "a"])
    assert moved == pytest.approx(found)


def test_open_set_rate_of_right_classes_is_roc_auc():
    rng = np.random.default_rng(0)
    y, novelty = rng.integers(0, 4, 200), np.round(rng.normal(size=200), 1)
    found = open_set_classification_rate(y, y, novelty, classes=[0, 1, 2])
    assert found == pytest.approx(roc_auc_score(y == 3, novelty))


def test_open_set_rate_of_perfect_rejection_is_accuracy():
    rng = np.random.default_rng(0)
    y, predicted = rng.integers(0, 4, 200), rng.integers(0, 3, 200)
    known = y < 3
    found = open_set_classification_rate(y, predicted, ~known, classes=[0, 1, 2])
    assert found == pytest.approx(accuracy_score(y[known], predicted[known]))


def test_open_set_rate_takes_any_label_outside_classes_as_unknown():
    arrays = ["a", "b"], [0.1, 0.9]
    for label in ("zebra", "unknown"):
        assert open_set_classification_rate(["a", label], *arrays, classes=["a"]) == 1


@pytest.mark.parametrize(
    ("y_true", "y_pred", "novelty", "message"),
    [
        ([0, 1], [0, 0], [0, 1], "y_true holds no unknown image of 2"),
        ([7, 8], [0, 0], [0, 1], "y_true holds no known image of 2"),
        ([0, 7], [0], [0, 1], "y_pred has shape"),
        ([0, 7], [0, 0], [0], "novelty has shape"),
        ([[0], [7]], [0, 0], [0, 1], "y_true has shape"),
        ([0, 7], [0, 0], [0, math.nan], "novelty holds NaN"),
        ([0, 7], [0, 0], ["a", "b"], "novelty holds values that are no numbers"),
        ([0, 7], ["0", "0"], [0, 1], "y_true and y_pred and classes have values of"),
        (["a", "b"], ["a", "b"], [0, 1], "of kinds that cannot be sorted together"),
        ([0, None], [0, 0], [0, 1], "y_true has missing values"),
        ([0, 7], [math.nan, 0], [0, 1], "y_pred has missing values"),
    ],
)
def test_open_set_rate_of_bad_input_raises(y_true, y_pred, novelty, message):
    with pytest.raises(ValueError, match=message):
        open_set_classification_rate(y_true, y_pred, novelty, classes=[0, 1])


def test_open_set_rate_takes_classes_as_a_set_or_objects():
    y_true, y_pred, novelty = ["a", "b", "c"], ["a", "a", "b"], [0.1, 0.2, 0.3]
    expected = open_set_classification_rate(
        y_true, y_pred, novelty, classes=np.array(["a", "b"])
    )
    assert expected == 0.5
    for kind in (set, tuple, dict.fromkeys, lambda c: np.array(c, dtype=object)):
        classes = kind(["a", "b"])
        found = open_set_classification_rate(y_true, y_pred, novelty, classes=classes)
        assert found == expected


def calibration_error_by_loop(codes, proba, n_bins):
    n, error = len(codes), 0.0
    confidence = [max(row) for row in proba]
    predicted = [row.index(max(row)) for row in proba]
    correct = [predicted[i] == codes[i] for i in range(n)]
    for b in range(n_bins):
        low, high = b / n_bins, (b + 1) / n_bins
        rows = [i for i in range(n) if low <= confidence[i] < high]
        if b == n_bins - 1:
            rows += [i for i in range(n) if confidence[i] == 1]
        error += abs(sum(confidence[i] - correct[i] for i in rows)) / n
    return error


@pytest.mark.parametrize("n_bins", [1, 4, 15])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_calibration_error_matches_loop(n_classes, n_bins):
    rng = np.random.default_rng(n_classes)
    proba = rng.dirichlet(np.full(n_classes, 0.5), 60)
    codes = rng.integers(0, n_classes, 60)
    found = expected_calibration_error(
        codes, proba, classes=range(n_classes), n_bins=n_bins
    )
    expected = calibration_error_by_loop(codes.tolist(), proba.tolist(), n_bins)
    assert found == pytest.approx(expected)


def test_calibration_error_of_weights_is_that_of_repeated_samples():
    rng = np.random.default_rng(0)
    proba, codes = rng.dirichlet(np.ones(3), 40), rng.integers(0, 3, 40)
    times = rng.integers(0, 4, 40)
    found = expected_calibration_error(codes, proba, sample_weight=times / 7)
    repeated = np.repeat(codes, times), np.repeat(proba, times, axis=0)
    expected = expected_calibration_error(*repeated, classes=range(3))
    assert found == pytest.approx(expected)


def test_calibration_error_weights_of_another_length_raise():
    with pytest.raises(ValueError, match=r"sample_weight has shape \(1,\).* are 2"):
        expected_calibration_error([0, 1], np.eye(2), sample_weight=[1.0])


def test_calibration_error_certain_prediction_is_in_the_last_bin():
    """Wrong at 1 and right at 0.95: the mean gap of the bin is 0.475."""
    proba = [[1.0, 0.0], [0.95, 0.05]]
    assert expected_calibration_error([1, 0], proba) == pytest.approx(0.475)


@pytest.mark.parametrize(
    ("y_true", "expected"), [("aabb", 0.0), ("bbaa", 1.0), ("abbb", 0.25)]
)
def test_calibration_error_of_certain_predictions_is_their_error_rate(y_true, expected):
    proba = np.eye(2)[[0, 0, 1, 1]]
    assert expected_calibration_error(list(y_true), proba) == pytest.approx(expected)


def test_calibration_error_with_classes_names_the_columns():
    proba = [[0.1, 0.9, 0.0], [0.2, 0.8, 0.0]]
    error = expected_calibration_error(
        ["y", "y"], proba, classes=["x", "y", "z"], n_bins=1
    )
    assert error == pytest.approx(0.15)


def test_calibration_error_of_drawn_labels_is_small():
    rng = np.random.default_rng(0)
    p = rng.uniform(size=20_000)
    y_true = (rng.uniform(size=20_000) < p).astype(int)
    proba = np.stack([1 - p, p], axis=1)
    assert expected_calibration_error(y_true, proba) < 0.02


@pytest.mark.parametrize("proba", [np.ones((2, 3)) / 3, np.ones(2)])
def test_calibration_error_of_wrong_columns_names_parameter(proba):
    with pytest.raises(ValueError, match="y_proba .*classes=estimator.classes_"):
        expected_calibration_error([0, 1], proba)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_calibration_error_allows_rounded_probabilities(dtype):
    rng = np.random.default_rng(0)
    proba, codes = rng.dirichlet(np.ones(50), 200), rng.integers(0, 50, 200)
    found = expected_calibration_error(codes, proba.astype(dtype), classes=range(50))
    expected = expected_calibration_error(codes, proba, classes=range(50))
    assert found == pytest.approx(expected, abs=1e-3)


EVEN = np.full((2, 2), 0.5)


@pytest.mark.parametrize(
    ("y_true", "proba", "kwargs", "message"),
    [
        ([0, 1], [[1.2, -0.2], [0.5, 0.5]], {}, "y_proba holds NaN or values outside"),
        ([0, 1], [[np.nan, 0.5], [0.5, 0.5]], {}, "y_proba holds NaN"),
        ([0, 1], [[90, 10], [50, 50]], {}, "y_proba holds NaN or values outside"),
        ([0, 1], [[0.9, 0.9], [0.5, 0.5]], {}, "y_proba has rows .* 1 to 1.8"),
        ([0, 1], [[0.1, 0.1], [0.5, 0.5]], {}, "y_proba has rows .* 0.2 to 1"),
        ([0, 1, 1], EVEN, {}, "y_proba has shape .2, 2., but there are 3 labels"),
        ([0, 2], EVEN, {"classes": [0, 1]}, "y_true holds labels .* such as .*2"),
        (["0", "1"], EVEN, {"classes": [0, 1]}, "y_true and classes have values of"),
        ([0, 1], EVEN, {"classes": {0, 1}}, r"classes has shape \(\)"),
        ([0, None], EVEN, {}, "y_true has missing values"),
        ([0.0, np.nan], EVEN, {"classes": [0, 1]}, "y_true has missing values"),
        ([], np.empty((0, 2)), {"classes": [0, 1]}, "y_true is empty"),
        ([], np.empty((0, 2)), {}, "y_true is empty"),
        ([0, 1], EVEN, {"n_bins": 0}, "n_bins=0 must be an integer >= 1"),
        ([0, 1], EVEN, {"n_bins": -1}, "n_bins=-1 must be"),
        ([0, 1], EVEN, {"n_bins": 1.5}, "n_bins=1.5 must be"),
        ([0, 1], EVEN, {"sample_weight": [1, -1]}, "sample_weight holds negative"),
        ([0, 1], EVEN, {"sample_weight": [0, 0]}, "sample_weight adds up to 0"),
        ([0, 1], EVEN, {"sample_weight": [1, np.nan]}, "sample_weight holds NaN"),
    ],
)
def test_calibration_error_of_bad_input_raises(y_true, proba, kwargs, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(y_true, proba, **kwargs)
