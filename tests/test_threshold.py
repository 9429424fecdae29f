"""Thresholds keep what they promise."""

import numpy as np
import pytest
from scipy.stats import beta, binomtest

from sksiamese._threshold import (
    balanced_threshold,
    n_needed,
    promised_count,
    threshold_above,
    threshold_below,
    upper_bound,
)


@pytest.mark.parametrize("n", [1, 20, 58, 59, 298, 299, 1000, 4321])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_promised_count_is_the_largest_whose_bound_is_within_the_rate(
    n, rate, confidence
):
    bounds = beta.ppf(confidence, np.arange(n) + 1, n - np.arange(n))
    within = np.flatnonzero(bounds <= rate)
    assert promised_count(n, rate, confidence) == (within[-1] if len(within) else -1)


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.2])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_n_needed_is_the_smallest_number_that_promises(rate, confidence):
    n = n_needed(rate, confidence)
    assert promised_count(n, rate, confidence) == 0
    assert promised_count(n - 1, rate, confidence) == -1


@pytest.mark.parametrize(("count", "n"), [(0, 10), (3, 50), (49, 50)])
def test_upper_bound_is_scipys(count, n):
    # scipy's interval is two-sided, so twice the doubt gives the same upper end.
    interval = binomtest(count, n).proportion_ci(0.9, method="exact")
    assert upper_bound(count, n, 0.95) == pytest.approx(interval.high)


def test_upper_bound_without_trials_promises_nothing():
    assert upper_bound(0, 0, 0.95) == upper_bound(5, 5, 0.95) == 1


def test_thresholds_count_ties_against_themselves():
    distances = np.array([0.5, 0.2, 0.2, 0.9, 0.7])
    assert np.sum(distances <= threshold_below(distances, 1)) == 0  # not 1: a tie
    assert np.sum(distances <= threshold_below(distances, 2)) == 2
    assert np.sum(distances > threshold_above(distances, 0)) == 0
    assert np.sum(distances > threshold_above(distances, 4)) == 3  # not 4: a tie
    # And no wider threshold would do.
    assert np.sum(distances <= np.nextafter(threshold_below(distances, 2), 1)) == 3
    assert np.sum(distances > np.nextafter(threshold_above(distances, 4), 0)) == 5


def test_threshold_below_identical_images_accepts_nothing():
    assert np.sum(np.zeros(3) <= threshold_below(np.zeros(3), 0)) == 0


@pytest.mark.parametrize("rule", ["eer", "accuracy"])
def test_balanced_threshold_against_trying_all(rule):
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(0.6, 0.3, 200), rng.normal(1.2, 0.3, 300)

    def cost(threshold):
        fpr, fnr = np.mean(negative <= threshold), np.mean(positive > threshold)
        return abs(fpr - fnr) if rule == "eer" else fpr + fnr

    found = balanced_threshold(positive, negative, rule)
    everything = np.concatenate([positive, negative])
    assert cost(found) == pytest.approx(min(map(cost, everything)))


@pytest.mark.parametrize("rule", ["eer", "accuracy"])
def test_balanced_threshold_of_separate_kinds_is_half_way(rule):
    assert balanced_threshold(
        np.array([0.1, 0.2]), np.array([0.8, 0.9]), rule
    ) == pytest.approx(0.5)
