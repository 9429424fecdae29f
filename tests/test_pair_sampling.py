"""Drawn pairs against the list of all pairs that there are."""

import tracemalloc
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from sksiamese._encoding import encode
from sksiamese._pair_sampling import count_pairs
from sksiamese.pairs import sample_pairs

LABELS = np.array(["b", "a", "b", "c", "a", "b", "b", "d", "c", "a"])
PATIENTS = np.array([1, 1, 2, 3, 2, 2, 1, 3, 1, 4])


def listed(y, groups=None):
    """All positive and all negative pairs, one by one."""
    if groups is None:
        groups = range(len(y))
    pairs = [
        (i, j) for i, j in combinations(range(len(y)), 2) if groups[i] != groups[j]
    ]
    return (
        {(i, j) for i, j in pairs if y[i] == y[j]},
        {(i, j) for i, j in pairs if y[i] != y[j]},
    )


def drawn(pairs, same):
    """Collect the positive and the negative pairs, members in order."""
    found = [tuple(sorted(pair)) for pair in pairs.tolist()]
    return (
        {pair for pair, positive in zip(found, same, strict=True) if positive},
        {pair for pair, positive in zip(found, same, strict=True) if not positive},
    )


@pytest.mark.parametrize("groups", [None, PATIENTS], ids=["images", "patients"])
@pytest.mark.parametrize("kind", [0, 1], ids=["negative", "positive"])
def test_sample_pairs_of_all_there_are_is_all_of_them(kind, groups):
    exist = listed(LABELS, groups)[1 - kind]
    pairs, same = sample_pairs(
        LABELS, len(exist), positive_fraction=kind, groups=groups, random_state=0
    )
    assert drawn(pairs, same)[1 - kind] == exist


@pytest.mark.parametrize("groups", [None, PATIENTS], ids=["images", "patients"])
@pytest.mark.parametrize("count", [2, 4])
def test_sample_pairs_are_uniform_over_each_kind(groups, count):
    counts = {pair: 0 for kind in listed(LABELS, groups) for pair in kind}
    random_state = np.random.RandomState(0)
    n_draws = 3000
    for _ in range(n_draws):
        pairs, same = sample_pairs(
            LABELS, 2 * count, groups=groups, random_state=random_state
        )
        for kind in drawn(pairs, same):
            for pair in kind:
                counts[pair] += 1
    for kind in listed(LABELS, groups):
        observed = [counts[pair] for pair in kind]
        assert sum(observed) == count * n_draws
        assert chisquare(observed).pvalue > 0.001


@pytest.mark.parametrize("n_pairs", [3, 40, 60], ids=["sparse", "dense", "most"])
def test_sample_pairs_sets_of_pairs_are_uniform(n_pairs):
    """Not each pair alone: two pairs go together as often as chance has it."""
    y = np.zeros(12)  # 66 pairs
    together, n_draws = np.zeros((66, 66)), 2000
    number = {pair: k for k, pair in enumerate(combinations(range(12), 2))}
    random_state = np.random.RandomState(1)
    for _ in range(n_draws):
        pairs, same = sample_pairs(
            y, n_pairs, positive_fraction=1, random_state=random_state
        )
        found = np.zeros(66)
        found[[number[pair] for pair in drawn(pairs, same)[0]]] = 1
        together += np.outer(found, found)
    expected = n_pairs * (n_pairs - 1) / (66 * 65)
    share = together[np.triu_indices(66, 1)] / n_draws
    spread = np.sqrt(expected * (1 - expected) / n_draws)
    assert share.mean() == pytest.approx(expected)
    assert np.abs(share - expected).max() < 5 * spread


def test_sample_pairs_order_and_first_member_are_random():
    pairs, same = sample_pairs(np.arange(1000) // 10, 4000, random_state=0)
    for rows in (same, ~same):
        assert (pairs[rows, 0] < pairs[rows, 1]).mean() == pytest.approx(0.5, abs=0.05)
    assert same[:2000].mean() == pytest.approx(0.5, abs=0.05)
    # Neither the row numbers nor those of the class go up along the list.
    assert abs(np.corrcoef(pairs[:, 0], np.arange(4000))[0, 1]) < 0.06


@pytest.mark.parametrize(
    ("n_pairs", "fraction", "n_positive"),
    [(10, 0.5, 5), (10, 0.26, 3), (7, 0, 0), (7, 1, 7), (1, 0.9, 1), (30, 0.1, 3)],
)
def test_sample_pairs_number_is_exact(n_pairs, fraction, n_positive):
    pairs, same = sample_pairs(LABELS, n_pairs, positive_fraction=fraction)
    assert (pairs.dtype, same.dtype) == (np.int64, np.bool_)
    assert pairs.shape == (n_pairs, 2)
    assert same.sum() == n_positive


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.data())
def test_sample_pairs_keep_their_promises_on_any_labels(data):
    n = data.draw(st.integers(2, 25))
    y = data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    groups = data.draw(
        st.none() | st.lists(st.integers(0, 6), min_size=n, max_size=n), label="groups"
    )
    positives, negatives = listed(y, groups)
    n_positive = data.draw(st.integers(0, len(positives)))
    n_negative = data.draw(st.integers(0, len(negatives)))
    n_pairs = n_positive + n_negative
    if not n_pairs:
        return
    pairs, same = sample_pairs(
        y,
        n_pairs,
        positive_fraction=n_positive / n_pairs,
        groups=groups,
        random_state=data.draw(st.integers(0, 100)),
    )
    found = drawn(pairs, same)
    assert found[0] <= positives
    assert found[1] <= negatives
    assert (len(found[0]), len(found[1])) == (n_positive, n_negative)


def test_sample_pairs_one_image_of_a_class_is_in_negatives_only():
    pairs, same = sample_pairs(LABELS, 40, positive_fraction=0.25, random_state=0)
    alone = (pairs == 7).any(axis=1)
    assert alone.any()
    assert not same[alone].any()


def test_sample_pairs_of_a_large_class_are_many():
    """Uniform over pairs, so that 90 of 100 images have 99 % of the positives."""
    y = np.repeat([0, 1], [90, 10])
    pairs, same = sample_pairs(y, 2000, positive_fraction=0.75, random_state=0)
    share = y[pairs[same, 0]].mean()
    assert share == pytest.approx(45 / (45 + 90 * 89 / 2), abs=0.006)


def test_sample_pairs_equal_seeds_give_equal_pairs():
    first, again, other = (
        sample_pairs(LABELS, 12, random_state=seed)[0].tolist() for seed in (1, 1, 2)
    )
    assert first == again != other


def test_sample_pairs_random_state_moves_on_and_the_global_one_does_not():
    state = np.random.RandomState(0)
    first, second = (
        sample_pairs(LABELS, 12, random_state=state)[0].tolist() for _ in range(2)
    )
    assert first != second
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    sample_pairs(LABELS, 12)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("y", [LABELS.tolist(), LABELS.astype(object), LABELS == "a"])
def test_sample_pairs_labels_may_be_of_any_kind(y):
    pairs, same = sample_pairs(y, 10, random_state=0)
    y = np.asarray(y)
    assert np.array_equal(y[pairs[:, 0]] == y[pairs[:, 1]], same)


@pytest.mark.parametrize("n_groups", [None, 500])
def test_sample_pairs_of_a_million_take_memory_in_proportion(n_groups):
    """All 2 billion pairs of these images would take 32 GB."""
    rng = np.random.default_rng(0)
    y = rng.integers(10, size=20_000)
    groups = None if n_groups is None else rng.integers(n_groups, size=20_000)
    tracemalloc.start()
    pairs, same = sample_pairs(y, 1_000_000, groups=groups, random_state=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80e6
    assert same.sum() == 500_000
    assert np.array_equal(y[pairs[:, 0]] == y[pairs[:, 1]], same)
    low, high = np.sort(pairs, axis=1).T
    assert len(set((low * 20_000 + high).tolist())) == 1_000_000
    assert (low < high).all()
    if groups is not None:
        assert (groups[pairs[:, 0]] != groups[pairs[:, 1]]).all()


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        (range(9), {}, "No class in y has two images.*positive_fraction=0"),
        ([1] * 9, {}, "y has one class.*positive_fraction=1"),
        ([], {}, "No class in y has two images"),
        ([0, 0, 1, 1], {"groups": [5, 5, 6, 6]}, "No class in y occurs in two groups"),
        ([0, 0, 1, 1], {"groups": [5] * 4}, "No class in y occurs in two groups"),
        (
            [0, 1, 0, 2],
            {"groups": [5, 5, 6, 6], "positive_fraction": 0, "n_pairs": 4},
            "asks for 0 positive and 4 negative pairs across groups, but only 1 and 3",
        ),
        (
            [0, 1],
            {"groups": [5, 5], "positive_fraction": 0},
            "No two images differ in both y and groups",
        ),
        ([0, 0, 1, 1], {"n_pairs": 6}, "n_pairs=6 .* 3 positive.* only 2 and 4 exist"),
        ([0, 0, 1, 1], {"n_pairs": 0}, "n_pairs"),
        ([0, 0, 1, 1], {"n_pairs": 2.5}, "n_pairs"),
        ([0, 0, 1, 1], {"positive_fraction": 1.1}, "positive_fraction"),
        ([0, 0, 1, 1], {"positive_fraction": -0.1}, "positive_fraction"),
        ([0, 0, 1, 1], {"positive_fraction": np.nan}, "positive_fraction"),
        ([0, 0, 1, 1], {"random_state": "seed"}, "random_state"),
        ([0, 0, 1, 1], {"groups": [1, 2, 3]}, r"groups has shape \(3,\).*which are 4"),
        ([0, 0, 1, 1], {"groups": [1, 2, 3, np.nan]}, "groups has missing values"),
        ([0, 0, 1, np.nan], {}, "y has missing values"),
        (np.array([0, 0, 1, np.nan], dtype=object), {}, "y has missing"),
        (["a", "a", None, "b"], {}, "y has missing values"),
        ([[0], [0], [1], [1]], {}, r"y has shape \(4, 1\)"),
    ],
)
def test_sample_pairs_bad_input_is_named(y, options, message):
    options = {"n_pairs": 2, **options}
    with pytest.raises(ValueError, match=f"(?s){message}"):
        sample_pairs(y, options.pop("n_pairs"), **options)


@pytest.mark.parametrize("groups", [None, PATIENTS], ids=["images", "patients"])
def test_count_pairs_against_listing_them(groups):
    positives, negatives = listed(LABELS, groups)
    found = count_pairs(encode(LABELS, "y"), groups)
    assert found == (len(positives), len(negatives))
