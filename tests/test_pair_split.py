"""Folds of given pairs: no image on both sides, no pair wasted without need."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sksiamese.pairs import PairSplit, sample_pairs


def random_pairs(n=400, n_pairs=4000, seed=0):
    y = np.arange(n) % 4
    return sample_pairs(y, n_pairs, random_state=seed)


def separate_pairs(n_pairs=100):
    """No image is in two pairs."""
    pairs = np.random.default_rng(0).permutation(2 * n_pairs).reshape(-1, 2)
    return pairs, np.arange(n_pairs) % 2 == 0


@pytest.mark.parametrize("n_splits", [2, 5, 8])
def test_pair_split_sides_share_no_image(n_splits):
    pairs, same = random_pairs()
    folds = list(PairSplit(n_splits, random_state=0).split(pairs, same))
    assert len(folds) == n_splits == PairSplit(n_splits).get_n_splits()
    for train, test in folds:
        assert not set(pairs[train].ravel()) & set(pairs[test].ravel())
        assert train.dtype == test.dtype == np.int64
        assert np.array_equal(train, np.unique(train))
    tested = np.concatenate([test for _, test in folds])
    assert len(tested) == len(set(tested))


def test_pair_split_shares_of_random_pairs_are_as_documented():
    pairs, same = random_pairs(n_pairs=20_000)
    for train, test in PairSplit(5, random_state=0).split(pairs, same):
        assert len(test) / len(pairs) == pytest.approx(1 / 25, rel=0.1)
        assert len(train) / len(pairs) == pytest.approx(16 / 25, rel=0.02)
        for rows in (train, test):
            assert same[rows].mean() == pytest.approx(0.5, abs=0.06)


def test_pair_split_straddling_pairs_alone_are_left_out():
    """Each pair is a test pair, a training pair, or has one member on each side."""
    pairs, same = random_pairs()
    for train, test in PairSplit(4, random_state=0).split(pairs, same):
        tested = np.unique(pairs[test])
        both = np.isin(pairs, tested).sum(axis=1)
        assert set(np.flatnonzero(both == 2)) == set(test)
        left_out = np.setdiff1d(np.arange(len(pairs)), np.concatenate([train, test]))
        assert (both[left_out] == 1).mean() > 0.95


def test_pair_split_of_separate_pairs_wastes_none_and_is_stratified():
    pairs, same = separate_pairs()
    for train, test in PairSplit(5, random_state=0).split(pairs, same):
        assert (len(train), len(test)) == (80, 20)
        assert same[test].sum() == 10


def test_pair_split_of_small_components_wastes_no_pair():
    """Forty patients with all pairs of their five images each."""
    within = np.array([(i, j) for j in range(5) for i in range(j)])
    pairs = np.concatenate([within + 5 * k for k in range(40)])
    same = np.arange(len(pairs)) % 3 > 0
    for train, test in PairSplit(4, random_state=0).split(pairs, same):
        assert (len(train), len(test)) == (300, 100)


def test_pair_split_keeps_small_components_beside_a_large_one():
    large, same_large = random_pairs(100, 800)
    small, same_small = separate_pairs(200)
    pairs = np.concatenate([large, small + 100])
    same = np.concatenate([same_large, same_small])
    folds = list(PairSplit(5, random_state=0).split(pairs, same))
    tested = np.concatenate([test for _, test in folds])
    assert (tested >= 800).sum() == 200
    assert all(38 <= (test >= 800).sum() <= 42 for _, test in folds)


def test_pair_split_groups_are_never_on_both_sides():
    pairs, same = random_pairs()
    groups = np.char.add("patient ", (np.arange(400) // 10).astype(str))
    for train, test in PairSplit(4, random_state=0).split(pairs, same, groups):
        assert not set(groups[pairs[train]].ravel()) & set(groups[pairs[test]].ravel())
        assert len(train) > 1500
        assert len(test) > 100


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.data())
def test_pair_split_never_leaks_on_any_pairs(data):
    n = data.draw(st.integers(6, 40))
    rows = st.integers(0, n - 1)
    pairs = np.array(data.draw(st.lists(st.tuples(rows, rows), min_size=6)))
    groups = data.draw(st.none() | st.lists(rows, min_size=n, max_size=n))
    splitter = PairSplit(data.draw(st.integers(2, 3)), random_state=0)
    try:
        folds = list(splitter.split(pairs, None, groups))
    except ValueError as error:
        assert "n_splits" in str(error)
        return
    unit = np.arange(n) if groups is None else np.array(groups)
    for train, test in folds:
        assert len(train)
        assert len(test)
        assert not set(unit[pairs[train]].ravel()) & set(unit[pairs[test]].ravel())


def test_pair_split_is_a_cv_of_scikit_learn(digits):
    """Index pairs are turned into features inside the model."""
    X, y, _, _ = digits
    pairs, same = sample_pairs(y, 6000, random_state=0)

    def differences(pairs):
        first, second = X[pairs].reshape(len(pairs), 2, -1).astype(float).swapaxes(0, 1)
        return np.abs(first - second)

    model = make_pipeline(
        FunctionTransformer(differences), LogisticRegression(C=0.001, max_iter=300)
    )
    cv = PairSplit(3, random_state=0)
    scores = cross_val_score(model, pairs, same, cv=cv, scoring="roc_auc")
    assert len(scores) == 3
    assert 0.7 < scores.min() < scores.max() < 0.95
    groups = np.arange(len(X)) // 3
    folds = list(cv.split(pairs, same, groups))
    search = GridSearchCV(model, {"logisticregression__C": [1e-3]}, cv=folds)
    assert search.fit(pairs, same).best_score_ > 0.6


def test_pair_split_equal_seeds_give_equal_folds():
    pairs, same = random_pairs()
    first, again, other = (
        next(PairSplit(random_state=seed).split(pairs, same))[1].tolist()
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_pair_split_repr_is_its_call():
    assert repr(PairSplit(3, random_state=0)) == "PairSplit(n_splits=3, random_state=0)"


def test_pair_split_without_same_divides_too():
    pairs, _ = random_pairs()
    assert len(list(PairSplit(3).split(pairs))) == 3


def test_pair_split_side_with_one_kind_is_warned_of():
    pairs, _ = separate_pairs(20)
    same = np.arange(20) == 0
    with pytest.warns(UserWarning, match="pair that is positive: lower n_splits=4"):
        list(PairSplit(4, random_state=0).split(pairs, same))


@pytest.mark.filterwarnings("error")
def test_pair_split_of_one_kind_gives_no_warning():
    pairs, _ = separate_pairs(20)
    list(PairSplit(4, random_state=0).split(pairs, np.ones(20, dtype=bool)))


@pytest.mark.parametrize(
    ("pairs", "same", "groups", "message"),
    [
        ([[0, 1], [1, 2], [0, 2]], None, None, "n_splits=5 is too many.* 3 images"),
        ([[0, 5], [1, 6], [2, 7], [3, 8], [4, 9]], None, [0, 1] * 5, "n_splits=5"),
        ([[i, 9] for i in range(9)], None, None, "Fold 0 has no training pair: lower"),
        (np.empty((0, 2), int), None, None, "n_splits=5 is too many"),
        ([[0.0, 1.0]], None, None, "pairs has shape .* dtype float64"),
        ([[0, 1, 2]], None, None, r"pairs has shape \(1, 3\)"),
        ([[0, -1]], None, None, "row number -1"),
        ([[0, 1]], [True, False], None, "same has 2 entries, but there are 1 pairs"),
        ([[0, 1]], [2], None, "same holds values other than 0"),
        ([[0, 3]], None, [1, 2, 3], "groups has 3 entries.* row number 3"),
        ([[0, 1]], None, [1, np.nan], "groups has missing values"),
    ],
)
def test_pair_split_bad_input_is_named(pairs, same, groups, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        list(PairSplit(random_state=0).split(pairs, same, groups))


@pytest.mark.parametrize(
    "options", [{"n_splits": 1}, {"n_splits": 2.0}, {"random_state": "seed"}]
)
def test_pair_split_bad_parameter_is_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        PairSplit(**options)
