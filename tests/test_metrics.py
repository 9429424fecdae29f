"""Scores against counts in explicit loops."""

import itertools
import math

import numpy as np
import pytest

from sksiamese.metrics import expected_calibration_error, pair_roc_auc


def auc_by_loop(embeddings, labels):
    """Share of (same, different) pairs of pairs in which "same" is closer."""
    same, different = [], []
    for i, j in itertools.combinations(range(len(labels)), 2):
        distance = math.dist(embeddings[i], embeddings[j])
        (same if labels[i] == labels[j] else different).append(distance)
    wins = [(s < d) + (s == d) / 2 for s in same for d in different]
    return sum(wins) / len(wins)


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


@pytest.mark.parametrize("seed", range(4))
def test_pair_roc_auc_matches_loop(seed):
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(20, 3))
    labels = rng.integers(0, 4, 20)
    expected = auc_by_loop(embeddings, labels)
    assert pair_roc_auc(embeddings, labels) == pytest.approx(expected)


def test_pair_roc_auc_counts_ties_half():
    embeddings = [[0.0], [1.0], [1.0], [0.0], [2.0]]
    labels = ["a", "a", "b", "b", "a"]
    expected = auc_by_loop(embeddings, labels)
    assert pair_roc_auc(embeddings, labels) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("embeddings", "expected"),
    [([[0.0], [0.1], [5.0], [5.1]], 1.0), ([[0.0], [5.0], [0.0], [5.0]], 0.25)],
    ids=["separated", "misleading"],
)
def test_pair_roc_auc_of_known_case_is_exact(embeddings, expected):
    # Misleading: same pairs are 5 apart, different ones 0, 5, 5 and 0.
    assert pair_roc_auc(embeddings, [0, 0, 1, 1]) == pytest.approx(expected)


def test_pair_roc_auc_of_coinciding_embeddings_is_chance():
    assert pair_roc_auc(np.ones((6, 2)), [0, 0, 0, 1, 1, 1]) == 0.5


def test_pair_roc_auc_of_permuted_and_moved_embeddings_is_unchanged():
    rng = np.random.default_rng(0)
    embeddings, labels = rng.normal(size=(30, 2)), rng.integers(0, 3, 30)
    order = rng.permutation(30)
    rotation = np.linalg.qr(rng.normal(size=(2, 2)))[0]
    moved = pair_roc_auc(embeddings[order] @ rotation + 7, labels[order])
    assert moved == pytest.approx(pair_roc_auc(embeddings, labels))


@pytest.mark.parametrize("labels", [[0], [0, 0, 0], [0, 1, 2]])
def test_pair_roc_auc_without_both_kinds_of_pairs_is_nan(labels):
    assert math.isnan(pair_roc_auc(np.eye(3)[: len(labels)], labels))


def test_pair_roc_auc_of_unequal_lengths_raises():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        pair_roc_auc(np.eye(3), [0, 1])


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
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
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


def test_pair_roc_auc_of_nan_raises():
    with pytest.raises(ValueError, match="NaN"):
        pair_roc_auc([[np.nan], [0.0], [1.0]], [0, 0, 1])
