"""Warnings of failed training, and the rows by which it is judged."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from sksiamese._diagnosis import N_SCORED, choose_scored, warn_of_failure

GOOD = np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32)


def test_scored_rows_of_few_are_all_held_out_ones():
    codes = np.repeat([0, 1, 2], 30)
    held_out = np.arange(0, 90, 3)
    assert np.array_equal(choose_scored(codes, held_out, 0), held_out)


@pytest.mark.parametrize("n_classes", [2, 5, 100])
def test_scored_rows_represent_classes_alike(n_classes):
    codes = np.arange(20_000) % n_classes
    codes[:10_000] = 0
    rows = choose_scored(codes, np.arange(5_000, 20_000), 0)
    assert np.array_equal(rows, np.unique(rows))
    assert rows.min() >= 5_000
    counts = np.bincount(codes[rows], minlength=n_classes)
    assert set(counts) == {N_SCORED // n_classes}


@pytest.mark.parametrize("n_classes", [256, 300, 2000])
def test_scored_rows_of_many_classes_are_pairs(n_classes):
    codes = np.repeat(np.arange(n_classes), 4)
    rows = choose_scored(codes, np.arange(len(codes)), 0)
    assert len(rows) == N_SCORED
    assert set(np.bincount(codes[rows])) <= {0, 2}


def test_scored_rows_leave_out_classes_without_a_pair():
    codes = np.array([0, 0, 1, 2, 2, 2, 3])
    rows = choose_scored(codes, np.arange(7), 0)
    assert rows.tolist() == [0, 1, 3, 4, 5]


@pytest.mark.parametrize("held_out", [[], [0], [0, 1, 2], [0, 1, 5], [0, 5]], ids=str)
def test_scored_rows_without_two_classes_of_two_are_empty(held_out):
    codes = np.repeat([0, 1], 5)
    rows = choose_scored(codes, np.array(held_out, dtype=np.int64), 0)
    assert rows.dtype == np.int64
    assert len(rows) == 0


def test_scored_rows_equal_seeds_give_equal_rows():
    codes = np.repeat(np.arange(400), 4)
    a, b, c = (choose_scored(codes, np.arange(1600), seed) for seed in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize(
    "embeddings",
    [
        np.ones((10, 4)),
        np.zeros((10, 4)),
        np.eye(4)[0] + 0.001 * GOOD[:, :4],
        (1e4 * np.eye(4)[0] + GOOD[:, :4]).astype(np.float32),
    ],
    ids=["equal", "zero", "near", "near_and_long"],
)
def test_failure_collapsed_embeddings_warn(embeddings):
    with pytest.warns(ConvergenceWarning, match="collapsed to a point.*lr"):
        warn_of_failure(embeddings, [0.9], stacklevel=1)


@pytest.mark.parametrize("scores", [[0.5], [0.4, 0.549, np.nan]])
def test_failure_scores_at_chance_warn(scores):
    with pytest.warns(ConvergenceWarning, match="stayed at chance.*larger batches"):
        warn_of_failure(GOOD, scores, stacklevel=1)


@pytest.mark.parametrize(
    "scores", [[], [np.nan, np.nan], [0.5, 0.8, 0.5], [np.nan, 0.56]], ids=str
)
def test_failure_good_training_does_not_warn(scores):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_failure(GOOD, scores, stacklevel=1)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
@pytest.mark.parametrize(("spread", "n_warnings"), [(0.009, 1), (0.011, 0)])
def test_failure_collapse_is_judged_relative_to_length(scale, spread, n_warnings):
    angles = np.array([-spread, spread])
    embeddings = scale * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_failure(embeddings, [], stacklevel=1)
    assert len(caught) == n_warnings


def test_failure_stacklevel_points_to_the_caller():
    with pytest.warns(ConvergenceWarning) as caught:
        warn_of_failure(np.ones((3, 2)), [], stacklevel=2)
    assert caught[0].filename == __file__
