"""What the displays share: checks of pairs and of estimators."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from sksiamese import SiameseEmbedder
from sksiamese._plotting import (
    check_distances,
    check_threshold,
    error_rates,
    find_siamese,
    make_axes,
    pair_distances,
    pair_members,
    percent,
)


def test_make_axes_without_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="object needs matplotlib: pip install"):
        make_axes(None, (4, 3), object())


def test_make_axes_array_of_axes_is_refused():
    figure, axes = plt.subplots(2, 2)
    with pytest.raises(TypeError, match=r"ax must be one .* axes\[0, 0\]"):
        make_axes(axes, (4, 3), object())
    plt.close(figure)


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0, "0 %"),
        (0.0125, "1.25 %"),
        (1 / 3, "33.3 %"),
        (0.997, "99.7 %"),
        (1, "100 %"),
    ],
)
def test_percent_has_three_digits(rate, text):
    assert percent(rate) == text


@pytest.mark.parametrize(
    ("same", "distances", "message"),
    [
        ([1, 0], [0.1, np.nan], "distances holds NaN"),
        ([1, 0], [0.1, np.inf], "distances holds .*infinite"),
        ([1, 0], [[0.1], [0.5]], r"distances has shape \(2, 1\)"),
        ([[1], [0]], [0.1, 0.5], r"same has shape \(2, 1\)"),
        ([1, 0], [-0.1, -0.5], "distances has negative values.*not scores"),
        ([1, 0, 1], [0.1, 0.5], "same has 3 entries, but there are 2 pairs"),
        ([1, 2], [0.1, 0.5], "same holds values other than 0"),
        ([], [], "distances is empty"),
    ],
)
def test_check_distances_bad_input_is_named(same, distances, message):
    with pytest.raises(ValueError, match=message):
        check_distances(distances, same)


@pytest.mark.parametrize("threshold", ["eer", np.nan, np.inf, [1, 2]])
def test_check_threshold_other_than_a_number_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold must be a distance or None"):
        check_threshold(threshold)


def test_error_rates_are_counts_one_by_one():
    rng = np.random.default_rng(0)
    distances, same = rng.random(200).round(1), rng.random(200) < 0.4
    wrong = {True: 0, False: 0}
    for distance, kind in zip(distances, same, strict=True):
        wrong[bool(kind)] += (distance <= 0.5) != kind
    far, frr = error_rates(distances, same, 0.5)
    assert far == pytest.approx(wrong[False] / (~same).sum())
    assert frr == pytest.approx(wrong[True] / same.sum())


def test_pair_members_row_numbers_point_into_images():
    images = np.arange(5 * 4).reshape(5, 2, 2)
    for pairs in ([[0, 4], [3, 3]], (np.array([0, 3]), np.array([4, 3]))):
        first, second = pair_members(pairs, images)
        assert np.array_equal(first, images[[0, 3]])
        assert np.array_equal(second, images[[4, 3]])


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([[0, 5]], "from 0 to 5, but images has 5 rows"),
        ([[-1, 2]], "from -1 to 2"),
        ([[0.0, 1.0]], "must be row numbers"),
        ([[0, 1, 2]], "must be row numbers"),
        (([0, 1], [2]), "pairs has 2 first but 1 second members"),
        (([0, 1], [2, 3], [3, 4]), "pairs is a tuple of 3"),
    ],
)
def test_pair_members_bad_row_numbers_are_refused(pairs, message):
    with pytest.raises(ValueError, match=message):
        pair_members(pairs, np.zeros((5, 2, 2)))


@pytest.mark.parametrize(
    "pairs",
    [[[0, 1], [2, 3]], ([0, 2], [1, 3]), (pd.Series([0, 2]), np.array([1, 3]))],
)
def test_pair_members_row_numbers_without_images_are_refused(pairs):
    with pytest.raises(ValueError, match="pass the images they point into"):
        pair_members(pairs, None)


def test_pair_members_lists_of_images_of_several_sizes_are_images():
    first = [np.zeros((2, 2)), np.zeros((3, 2))]
    assert pair_members((first, first), None) == (first, first)


def test_pair_distances_estimator_without_them_is_named():
    for estimator in (LogisticRegression(), SiameseEmbedder, "embedder"):
        with pytest.raises(TypeError, match="estimator must have pair_distance"):
            pair_distances(estimator, np.zeros((3, 2, 4, 4)))


def test_pair_distances_row_numbers_of_unequal_number_are_refused():
    class Model:
        def pair_distance(self, pairs):
            return np.zeros(len(pairs[0]))

    with pytest.raises(ValueError, match="pairs has 2 first but 1 second members"):
        pair_distances(Model(), ([0, 1], [1]), np.zeros((3, 4, 4)))


def test_pair_distances_long_lists_of_row_numbers_go_in_pieces():
    class Recorder:
        sizes = []

        def pair_distance(self, pairs):
            self.sizes.append(len(pairs[0]))
            return np.abs(pairs[0] - pairs[1]).sum(axis=1)

    images = np.arange(10.0)[:, None]
    pairs = np.random.default_rng(0).integers(0, 10, (10_000, 2))
    distances = pair_distances(Recorder(), pairs, images)
    assert np.array_equal(distances, np.abs(pairs[:, 0] - pairs[:, 1]))
    assert max(Recorder.sizes) == 4096


def test_find_siamese_unfitted_one_is_told():
    with pytest.raises(NotFittedError, match="SiameseEmbedder that was not fitted"):
        find_siamese(SiameseEmbedder())
    assert find_siamese(LogisticRegression()) is None


def test_find_siamese_other_models_of_pairs_are_none():
    class Model:
        def pair_distance(self, pairs):
            return np.zeros(len(pairs[0]))

    assert find_siamese(Model()) is None
