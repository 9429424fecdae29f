"""Scores of pairs against counts in explicit loops, and against scikit-learn."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import det_curve, roc_auc_score, roc_curve

from sksiamese.metrics import (
    d_prime,
    det_points,
    equal_error_rate,
    pair_roc_auc,
    tar_at_far,
)

METRICS = [equal_error_rate, tar_at_far, d_prime, det_points]


def rates_by_loop(same, scores):
    """Count false accepts and false rejects at each threshold, as fractions."""
    points = []
    for threshold in [math.inf, *sorted(set(scores), reverse=True)]:
        # Python's own numbers: products of fractions of NumPy's overflow.
        accepted = [bool(score >= threshold) for score in scores]
        pairs = list(zip(same, accepted, strict=True))
        n_same = sum(bool(s) for s in same)
        far = Fraction(sum(a and not s for s, a in pairs), len(same) - n_same)
        frr = Fraction(sum(bool(s) and not a for s, a in pairs), n_same)
        points.append((far, frr))
    return points


def eer_by_loop(same, scores):
    """Where the line through all points meets the diagonal, from each segment."""
    points = rates_by_loop(same, scores)
    for (far, frr), (next_far, next_frr) in itertools.pairwise(points):
        start, end = far - frr, next_far - next_frr
        if start <= 0 <= end:
            return float(far + (next_far - far) * start / (start - end))
    raise AssertionError("no crossing")


def tar_by_loop(same, scores, far):
    allowed = [1 - frr for rate, frr in rates_by_loop(same, scores) if rate <= far]
    return float(max(allowed))


@st.composite
def scored_pairs(draw):
    """Both kinds of pairs, with many tied scores."""
    n = draw(st.integers(2, 25))
    same = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    scores = draw(st.lists(st.integers(-6, 6), min_size=n, max_size=n))
    return np.array([True, False, *same]), np.array([*scores, 0, 1], dtype=float)


@given(scored_pairs())
@settings(max_examples=60, deadline=None)
def test_rates_of_small_samples_match_loop(sample):
    same, scores = sample
    far, frr, _ = det_points(same, scores)
    expected = np.array(rates_by_loop(same, scores), dtype=float)
    assert np.stack([far, frr], axis=1) == pytest.approx(expected)
    assert equal_error_rate(same, scores) == pytest.approx(eer_by_loop(same, scores))
    for allowed in (0.01, 0.2, 0.5, 1):
        found = tar_at_far(same, scores, far=allowed)
        assert found == pytest.approx(tar_by_loop(same, scores, allowed))


@given(scored_pairs(), st.randoms())
@settings(max_examples=40, deadline=None)
def test_rates_of_reordered_and_transformed_scores_are_unchanged(sample, random):
    same, scores = sample
    order = random.sample(range(len(same)), len(same))
    moved = np.exp(scores[order] / 4)
    for metric in (equal_error_rate, tar_at_far):
        assert metric(same[order], moved) == metric(same, scores)
    for found, expected in zip(
        det_points(same[order], moved)[:2], det_points(same, scores)[:2], strict=True
    ):
        assert np.array_equal(found, expected)


@given(scored_pairs())
@settings(max_examples=40, deadline=None)
def test_equal_error_rate_of_swapped_kinds_and_signs_is_unchanged(sample):
    same, scores = sample
    expected = equal_error_rate(same, scores)
    assert equal_error_rate(~same, -scores) == pytest.approx(expected)
    assert equal_error_rate(same, -scores) == pytest.approx(1 - expected)


@given(scored_pairs(), st.data())
@settings(max_examples=40, deadline=None)
def test_weights_are_repetitions(sample, data):
    same, scores = sample
    n = len(same) - 2
    times = data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    times = np.array([1, *times, 1])
    same[-1] = False
    repeated = np.repeat(same, times), np.repeat(scores, times)
    for metric in (equal_error_rate, tar_at_far, d_prime):
        found = metric(same, scores, sample_weight=times)
        assert found == pytest.approx(metric(*repeated), nan_ok=True)


def test_det_points_hold_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    same = rng.random(300) < 0.4
    scores = np.round(rng.normal(size=300) + same, 1)
    far, frr, thresholds = det_points(same, scores)
    fpr, tpr, limits = roc_curve(same, scores, drop_intermediate=False)
    assert np.array_equal(far, fpr)
    assert frr == pytest.approx(1 - tpr)
    assert np.array_equal(thresholds, limits)
    ours = set(zip(far.round(9), frr.round(9), strict=True))
    theirs = zip(
        *(rates.round(9) for rates in det_curve(same, scores)[:2]), strict=True
    )
    assert set(theirs) <= ours


def test_det_points_start_and_end_where_all_is_rejected_and_accepted():
    far, frr, thresholds = det_points([1, 0, 1, 0], [3, 2, 1, 0])
    assert (far[0], frr[0], thresholds[0]) == (0, 1, math.inf)
    assert (far[-1], frr[-1], thresholds[-1]) == (1, 0, 0)
    assert (np.diff(far) >= 0).all() and (np.diff(frr) <= 0).all()


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([4, 3, 2, 1], 0.0),
        ([1, 2, 3, 4], 1.0),
        ([1, 1, 1, 1], 0.5),
        ([4, 1, 3, 2], 0.5),
    ],
    ids=["perfect", "reversed", "constant", "mixed"],
)
def test_equal_error_rate_of_known_case_is_exact(scores, expected):
    assert equal_error_rate([1, 1, 0, 0], scores) == expected


def test_equal_error_rate_of_normal_scores_is_theirs():
    """Unit normals two apart cross at half of the way, 0.1587."""
    rng = np.random.default_rng(0)
    same = np.arange(100_000) % 5 == 0
    found = equal_error_rate(same, rng.normal(size=100_000) + 2 * same)
    assert found == pytest.approx(0.1587, abs=0.005)


def test_tar_at_far_is_never_interpolated():
    """A tie of one same and one different pair is accepted whole or not at all."""
    same, scores = [1, 1, 0, 0], [2, 1, 1, 0]
    assert tar_at_far(same, scores, far=0.499) == 0.5
    assert tar_at_far(same, scores, far=0.5) == 1


@pytest.mark.parametrize("n", [7, 10, 100, 1000, 999])
def test_tar_at_far_of_a_share_that_is_met_exactly_allows_it(n):
    """Some k of n pairs are a share of at most k / n, whatever rounding does."""
    same = np.r_[np.zeros(n, bool), np.ones(n, bool)]
    scores = np.r_[np.arange(n), np.arange(n)]
    for k in range(1, n, max(1, n // 50)):
        assert tar_at_far(same, scores, far=k / n) == pytest.approx(k / n)


def test_tar_at_far_of_a_weighted_share_that_is_met_exactly_allows_it():
    """Ten weights of 0.1 add up to 0.9999999999999999, three to 0.30000000000000004."""
    same, scores = np.repeat([False, True], 10), np.tile(np.arange(10), 2)
    for k in range(1, 10):
        found = tar_at_far(same, scores, far=k / 10, sample_weight=np.full(20, 0.1))
        assert found == pytest.approx(k / 10)


def test_tar_at_far_with_too_few_different_pairs_accepts_none_of_them():
    assert tar_at_far([1, 1, 0], [3, 1, 2], far=0.4) == 0.5


@pytest.mark.parametrize("far", [0, -0.1, 1.01, math.nan, "0.1", None])
def test_tar_at_far_outside_the_unit_interval_raises(far):
    with pytest.raises(ValueError, match=r"far=.*\(0, 1\]"):
        tar_at_far([1, 0], [1, 0], far=far)


def test_d_prime_matches_loop():
    rng = np.random.default_rng(0)
    same, scores = rng.random(50) < 0.5, rng.normal(size=50)
    kinds = [[x for x, s in zip(scores, same, strict=True) if s == k] for k in (1, 0)]
    means = [sum(kind) / len(kind) for kind in kinds]
    variances = [
        sum((x - mean) ** 2 for x in kind) / len(kind)
        for kind, mean in zip(kinds, means, strict=True)
    ]
    expected = (means[0] - means[1]) / math.sqrt(sum(variances) / 2)
    assert d_prime(same, scores) == pytest.approx(expected)
    assert d_prime(same, 7 * scores - 3) == pytest.approx(expected)
    assert d_prime(same, -scores) == pytest.approx(-expected)


@pytest.mark.parametrize("value", [0.1, -0.3, 1e-3, 7e8 + 0.1])
def test_d_prime_of_constant_scores_is_not_made_of_rounding(value):
    """The mean of many equal numbers is not always that number."""
    same, weight = np.arange(30) < 13, np.random.default_rng(0).random(30)
    for w in (None, weight):
        assert math.isnan(d_prime(same, np.full(30, value), sample_weight=w))
        scores = np.where(same, value, value - 0.7)
        assert d_prime(same, scores, sample_weight=w) == math.inf
    scores[-1], weight[-1] = 5, 0  # does not count
    assert d_prime(same, scores, sample_weight=weight) == math.inf


@pytest.mark.filterwarnings("error")
def test_d_prime_without_variance_is_infinite_or_unknown():
    assert d_prime([1, 1, 0], [2, 2, 1]) == math.inf
    assert d_prime([1, 1, 0], [1, 1, 2]) == -math.inf
    assert math.isnan(d_prime([1, 0], [1, 1]))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", [bool, int, float])
def test_truth_may_be_bool_or_number(metric, kind):
    same, scores = np.array([1, 0, 1, 0, 0]), np.array([3, 2, 2, 1, 0], np.float32)
    expected = metric(same.astype(bool), scores)
    assert np.array_equal(metric(same.astype(kind).tolist(), scores.tolist()), expected)


@pytest.mark.parametrize("metric", METRICS)
def test_truth_and_scores_may_be_objects(metric):
    same, scores = np.array([1, 0, 1, 0, 0]), np.array([3, 2, 2, 1, 0.5])
    expected = metric(same, scores)
    for truth in (same.astype(bool).astype(object), pd.Series(same).astype(object)):
        assert np.array_equal(metric(truth, scores.astype(object)), expected)
    assert np.array_equal(metric(pd.Series(same, dtype="boolean"), scores), expected)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("same", "scores", "weight", "message"),
    [
        ([1, 0, 1], [1.0, math.nan, 0.0], None, "scores holds NaN"),
        ([1, 0, 1], [1.0, math.inf, 0.0], None, "scores holds NaN or infinite"),
        ([1, 0, 1], [1.0, 0.0], None, "same has 3 entries, but there are 2 pairs"),
        ([1, 0], [[1.0], [0.0]], None, "scores has shape .2, 1."),
        ([[1], [0]], [1.0, 0.0], None, "same has shape .2, 1."),
        ([1, 1], [1.0, 0.0], None, "same holds pairs of kind True only"),
        ([0, 0], [1.0, 0.0], None, "same holds pairs of kind False only"),
        ([], [], None, "same holds no pair"),
        ([1, 2], [1.0, 0.0], None, "same holds values other than 0 .* such as 2:"),
        ([0.3, 1.2], [1, 0], None, "such as 0.3, 1.2: .* not their labels or scores"),
        ([math.nan, 1], [1, 0], None, "same holds values other than .* such as nan:"),
        ([True, None], [1, 0], None, "same holds values other than .* such as None:"),
        ([True, pd.NA], [1, 0], None, "same holds values other than .* such as <NA>:"),
        (["same", "other"], [1, 0], None, "same holds values other .* 'other', 'same'"),
        (["1", "0"], [1, 0], None, "same holds values other than .* such as '0', '1':"),
        ([1, 0], ["near", "far"], None, r"scores holds .* no numbers.*\['near', 'far'"),
        ([1, 0], ["0.1", "0.2"], None, "scores holds values that are no numbers"),
        ([1, 0], [0.1, None], None, r"scores holds .* no numbers, such as \[None\]"),
        ([1, 0], [1, 0], ["a", "b"], "sample_weight holds values that are no numbers"),
        ([1, 0], [1, 0], [0, 0], "sample_weight adds up to 0"),
        ([1, 0], [1, 0], [1], "sample_weight has shape"),
        ([1, 0], [1, 0], [1, -1], "sample_weight holds negative"),
        ([1, 0], [1, 0], [1, math.nan], "sample_weight holds NaN"),
        ([1, 0], [1, 0], [1, 0], "same holds pairs of kind True only"),
    ],
)
def test_bad_pairs_raise(metric, same, scores, weight, message):
    with pytest.raises(ValueError, match=message):
        metric(same, scores, sample_weight=weight)


def test_pair_roc_auc_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    embeddings, labels = rng.normal(size=(40, 2)), rng.integers(0, 3, 40)
    first, second = np.triu_indices(40, 1)
    distances = np.linalg.norm(embeddings[first] - embeddings[second], axis=1)
    expected = roc_auc_score(labels[first] == labels[second], -distances)
    assert pair_roc_auc(embeddings, labels) == pytest.approx(expected)


def auc_by_loop(embeddings, labels):
    """Share of (same, different) pairs of pairs in which "same" is closer."""
    same, different = [], []
    for i, j in itertools.combinations(range(len(labels)), 2):
        distance = math.dist(embeddings[i], embeddings[j])
        (same if labels[i] == labels[j] else different).append(distance)
    wins = [(s < d) + (s == d) / 2 for s in same for d in different]
    return sum(wins) / len(wins)


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
    with pytest.raises(ValueError, match=r"labels has shape \(2,\).* which are 3"):
        pair_roc_auc(np.eye(3), [0, 1])


def test_pair_roc_auc_of_nan_raises():
    with pytest.raises(ValueError, match="NaN"):
        pair_roc_auc([[np.nan], [0.0], [1.0]], [0, 0, 1])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0, None], "labels has missing values"),
        ([0.0, 0.0, math.nan], "labels has missing values"),
        (pd.Series(["a", "a", pd.NA]), "labels has missing values"),
        ([0, 0, "a"], "labels has values of kinds"),
    ],
)
def test_pair_roc_auc_of_missing_or_mixed_labels_raises(labels, message):
    with pytest.raises(ValueError, match=message):
        pair_roc_auc(np.eye(3), labels)
