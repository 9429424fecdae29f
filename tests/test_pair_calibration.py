"""What a verifier learns from held-out pairs."""

import re
import warnings

import numpy as np
import pytest
from scipy.special import expit

from sksiamese._pair_calibration import draw_pairs, fit_link, promised_threshold

LABELS = np.arange(60) % 3


def test_draw_pairs_takes_all_there_are_or_as_many_as_allowed():
    positive, negative = draw_pairs(LABELS, None, 10**6, 0)
    assert (len(positive), len(negative)) == (3 * 190, 3 * 400)
    assert len(np.unique(np.sort(negative, axis=1), axis=0)) == 1200
    assert [len(pairs) for pairs in draw_pairs(LABELS, None, 50, 0)] == [50, 50]
    assert (np.diff(LABELS[positive]) == 0).all()
    assert (np.diff(LABELS[negative]) != 0).all()


def test_draw_pairs_goes_across_groups_or_stays_within():
    patients = np.arange(60) // 6
    for pairs in draw_pairs(LABELS, patients, 1000, 0):
        assert (np.diff(patients[pairs]) != 0).all()
    positive, negative = draw_pairs(LABELS, LABELS, 1000, 0, within=True)
    assert (len(positive), len(negative)) == (570, 1000)


@pytest.mark.parametrize(
    ("y", "groups", "message"),
    [
        (np.zeros(9), None, "9 images to calibrate on form no pair of two classes:"),
        (np.arange(9), None, "form no pair of one class:"),
        (LABELS, np.zeros(60), "no pair of one class and two groups"),
        (LABELS, LABELS, "no pair of one class and two groups"),
        (LABELS, np.r_[np.zeros(59), 1], ""),
    ],
)
def test_draw_pairs_says_which_kind_is_missing(y, groups, message):
    if message:
        with pytest.raises(ValueError, match=message):
            draw_pairs(y, groups, 10, 0)
    else:
        assert [len(pairs) for pairs in draw_pairs(y, groups, 100, 0)] == [19, 40]


def test_promised_threshold_counts_errors():
    distances = np.linspace(0, 1, 1000)
    low, report = promised_threshold(
        distances, distances, aim="max_fpr", limit=0.01, confidence=0.95
    )
    assert report == {"n_independent": 1000, "promised": True, "bound": report["bound"]}
    assert np.sum(distances <= low) == 4  # 5 of 1000 leave 1.05 % possible
    assert report["bound"] == pytest.approx(0.00913, abs=1e-5)
    high, report = promised_threshold(
        distances, distances, aim="min_tpr", limit=0.99, confidence=0.95
    )
    assert np.sum(distances > high) == 4
    assert report["bound"] == pytest.approx(0.99087, abs=1e-5)


def test_promised_threshold_without_enough_pairs_warns_and_is_strict():
    drawn = np.linspace(0.3, 1, 1000)
    with pytest.warns(UserWarning, match=r"give 20 pairs.*299 are need.*=0\.14 could"):
        threshold, report = promised_threshold(
            drawn[::50], drawn, aim="max_fpr", limit=0.01, confidence=0.95
        )
    assert threshold < 0.3
    assert not report["promised"]
    with pytest.warns(
        UserWarning, match=r"min_tpr=0\.86 could be promised.*accepts all"
    ):
        threshold, _ = promised_threshold(
            drawn[::50], drawn, aim="min_tpr", limit=0.99, confidence=0.95
        )
    assert threshold == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        promised_threshold(
            drawn[::50], drawn, aim="max_fpr", limit=0.14, confidence=0.95
        )


@pytest.mark.parametrize("unit", [1, 1000])
def test_fit_link_finds_the_line_that_made_the_data(unit):
    rng = np.random.default_rng(0)
    distances = rng.random(40_000) * 2
    same = rng.random(40_000) < expit(4 - 5 * distances)
    slope, intercept = fit_link(distances[same] * unit, distances[~same] * unit)
    # Both kinds weigh alike, whereas they were not equally frequent.
    shift = np.log(np.sum(~same) / np.sum(same))
    assert slope * unit == pytest.approx(-5, abs=0.15)
    assert intercept - shift == pytest.approx(4, abs=0.15)


def test_fit_link_of_equal_distances_knows_nothing():
    slope, intercept = fit_link(np.ones(5), np.ones(9))
    assert expit(slope + intercept) == pytest.approx(0.5)


@pytest.mark.parametrize("n", [20, 58, 98, 200, 298])
@pytest.mark.parametrize("aim", ["max_fpr", "min_tpr"])
def test_what_the_warning_offers_can_be_promised(aim, n):
    distances = np.linspace(0.1, 1, n)
    limit = 0.001 if aim == "max_fpr" else 0.999
    with pytest.warns(UserWarning) as caught:
        promised_threshold(distances, distances, aim=aim, limit=limit, confidence=0.95)
    offer = re.search(rf"{aim}=(\S+) could be promised", str(caught[0].message))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        promised_threshold(
            distances, distances, aim=aim, limit=float(offer[1]), confidence=0.95
        )


def test_fit_link_far_from_zero_is_the_same_line():
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(0, 1, 500), rng.normal(2, 1, 500)
    slope, intercept = fit_link(positive, negative)
    far = fit_link(positive + 1e7, negative + 1e7)
    assert far[0] == pytest.approx(slope, rel=1e-6)
    assert far[1] + far[0] * 1e7 == pytest.approx(intercept, abs=1e-3)
