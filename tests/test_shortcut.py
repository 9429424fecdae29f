"""The label of a pair from one member: leaks are found, unequal classes are not."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sksiamese._shortcut import (
    _auc,
    _excess,
    _least_odds,
    _part_images,
    measure_shortcut,
)
from sksiamese.pairs import sample_pairs, split_pairs

NAMES = ["first", "second", "third"]


def statistics_of(codes, separation, seed=0):
    """Statistics of which the second tells the class."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(len(codes), 3))
    values[:, 1] += separation * codes
    return values


def fair(counts, separation, seed, n_pairs=600):
    """Measure a fair protocol with classes of these sizes."""
    y = np.repeat(np.arange(len(counts)), counts)
    train, test = split_pairs(y, n_pairs=(n_pairs, n_pairs), random_state=seed)
    return measure_shortcut(statistics_of(y, separation, seed), NAMES, train, test)


def leaky(seed, *, share=1.0, n=600, n_pairs=400):
    """Pairs of random labels; members of different pairs may have a mark."""
    rng = np.random.default_rng(seed)
    sides, marks = [], []
    for start in (0, n):
        pairs = rng.permutation(2 * n_pairs).reshape(-1, 2)
        same = rng.random(n_pairs) < 0.5
        mark = np.zeros(2 * n_pairs)
        marked = ~same & (rng.random(n_pairs) < share)
        mark[pairs[marked].ravel()] = 1
        marks.append(mark)
        sides.append((pairs + (2 * n_pairs if start else 0), same))
    values = statistics_of(np.concatenate(marks), 20, seed)
    return measure_shortcut(values, NAMES, *sides)


@pytest.mark.parametrize("share", [1.0, 0.6, 0.35])
@pytest.mark.parametrize("seed", range(3))
def test_shortcut_finds_marked_pairs(seed, share):
    result = leaky(seed, share=share)
    assert result.found
    # Marked members are told for sure, the others by a coin.
    assert result.auc == pytest.approx(0.5 + share / 2, abs=0.06)
    assert result.statistic == "second"
    assert result.statistic_auc == pytest.approx(0.5 + share / 2, abs=0.06)


@pytest.mark.parametrize("separation", [0, 1.5, 20])
@pytest.mark.parametrize(
    "counts",
    [
        (150, 150),
        (300, 100),
        (1120, 20),
        (400, 100, 60, 30, 20),
        (30,) * 15,
        (200, *[8] * 40),
    ],
    ids=["balanced", "1:3", "1:56", "five", "fifteen", "one_large"],
)
def test_shortcut_of_fair_protocols_is_never_found(counts, separation):
    for seed in range(4):
        assert not fair(counts, separation, seed).found


@pytest.mark.parametrize(
    ("counts", "expected"), [((150, 150), 0.5), ((900, 300), 0.7), ((1120, 20), 0.75)]
)
def test_shortcut_auc_of_separable_classes_is_that_of_their_frequencies(
    counts, expected
):
    values = [fair(counts, 20, seed).auc for seed in range(4)]
    assert np.mean(values) == pytest.approx(expected, abs=0.03)


def test_shortcut_does_not_remember_images_on_both_sides():
    """Each image is in pairs of one kind only, with statistics of its own."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(400, 3))
    groups = [rng.integers(0, 200, (800, 2)), rng.integers(200, 400, (800, 2))]
    pairs, same = np.concatenate(groups), np.repeat([True, False], 800)
    order = rng.permutation(1600)
    train, test = order[:800], order[800:]
    result = measure_shortcut(
        values, NAMES, (pairs[train], same[train]), (pairs[test], same[test])
    )
    assert abs(result.auc - 0.5) < 0.1


def weakly_marked(seed, n_images, n_pairs):
    """Two classes of images; those shown in different pairs are slightly brighter."""
    rng = np.random.default_rng(seed)
    train, test = split_pairs(
        np.arange(n_images) % 2, n_pairs=n_pairs, random_state=seed
    )
    # An image is another one where it is marked.
    sides = [(p + n_images * ~s[:, None], s) for p, s in (train, test)]
    mark = np.repeat([0, 1], n_images)
    content = np.tile(rng.normal(size=(n_images, 3)), (2, 1))
    content[:, 1] += 1.6 * mark
    return measure_shortcut(content, NAMES, *sides)


@pytest.mark.parametrize("seed", range(3))
def test_shortcut_of_a_weak_leak_is_found_with_pairs_enough_else_undecided(seed):
    few, many = (
        weakly_marked(seed, n, m) for n, m in ((1200, (600, 150)), (1600, (3000, 2500)))
    )
    for result in (few, many):
        assert 0.75 < result.auc < 0.92
    assert (few.found, few.undecided) == (False, True)
    assert (many.found, many.undecided) == (True, False)


@pytest.mark.parametrize(
    ("counts", "n_pairs", "undecided"),
    [((300, 100), 600, False), ((300, 30, 40, 20, 10), 300, True)],
)
def test_shortcut_of_unequal_classes_is_undecided_where_these_may_not_explain_it(
    counts, n_pairs, undecided
):
    result = fair(counts, 20, 0, n_pairs=n_pairs)
    assert result.auc > 0.6
    assert (result.found, result.undecided) == (False, undecided)


def test_shortcut_of_few_pairs_is_not_measured():
    y = np.repeat([0, 1], 40)
    train, test = split_pairs(y, n_pairs=(100, 40), random_state=0)
    assert measure_shortcut(statistics_of(y, 1), NAMES, train, test) is None


def test_shortcut_is_repeatable():
    assert leaky(0) == leaky(0)


@pytest.mark.parametrize("seed", range(5))
def test_shortcut_inequality_holds_with_equality_for_one_class_with_pairs(seed):
    """All pairs, so no chance is left: the identity that the criterion rests on."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 40, 6)
    y = np.repeat(np.arange(6), counts)
    score = rng.normal(size=6)[y]
    i, j = np.divmod(np.arange(len(y) ** 2), len(y))  # with repetition, as in theory
    same = y[i] == y[j]
    w = same.mean()
    pairs = score[np.column_stack([i, j])]
    gap = pairs[same].mean() - pairs[~same].mean()
    within, between = (np.cov(pairs[k].T, ddof=0)[0, 1] for k in (same, ~same))
    identity = w * within + (1 - w) * between + w * (1 - w) * gap**2
    assert identity == pytest.approx(0, abs=1e-12)
    assert w * gap**2 <= -between + 1e-12
    for odds in (1 / 20, w):
        excess = _excess(pairs, same, np.ones(len(same)), odds)
        assert excess == pytest.approx(odds * gap**2 + between)


def least_odds(pairs, same):
    return _least_odds(np.unique(pairs, return_inverse=True)[1].reshape(-1, 2), same)


@pytest.mark.parametrize("n_pairs", [100, 1000, 8000])
@pytest.mark.parametrize("power", [0, 1, 2])
@pytest.mark.parametrize("n_classes", [3, 10, 50])
def test_shortcut_bound_of_the_odds_is_below_them(n_classes, power, n_pairs):
    share = np.arange(1, n_classes + 1.0) ** -power
    for seed in range(5):
        rng = np.random.default_rng(seed)
        y = rng.choice(n_classes, 1000, p=share / share.sum())
        counts = np.bincount(y)
        odds = (counts * (counts - 1)).sum() / (1000 * 999)
        bound = least_odds(*sample_pairs(y, n_pairs, random_state=seed))
        assert bound <= max(1 / 20, 1.02 * odds)
        if n_pairs == 8000:
            assert bound >= 0.9 * odds


def test_shortcut_bound_of_the_odds_needs_to_have_seen_the_images():
    """One class has all same pairs; the others are images of nobody else."""
    y = np.concatenate([np.zeros(80, int), np.arange(1, 721)])  # w = 0.01
    for n_pairs in (200, 800, 2000):
        pairs, same = sample_pairs(y, n_pairs, random_state=0)
        assert least_odds(pairs, same) == 1 / 20


def test_shortcut_odds_of_two_classes_are_one():
    pairs, same = sample_pairs(np.repeat([0, 1], [30, 10]), 400, random_state=0)
    assert least_odds(pairs, same) == 1
    # An image that is of a third class for all that is known.
    pairs, same = np.vstack([pairs, [[0, 40]]]), np.append(same, False)
    assert least_odds(pairs, same) < 1


def test_shortcut_odds_of_contradictory_pairs_stay_the_least():
    pairs = np.array([[0, 1], [1, 2], [0, 2], [3, 4], [2, 3]])
    assert least_odds(pairs, np.array([1, 1, 0, 1, 0], dtype=bool)) == 1 / 20


def test_shortcut_images_on_both_sides_are_parted():
    train, test = np.array([[0, 1], [2, 3]]), np.array([[2, 4], [3, 5]])
    fitted, scored = _part_images(6, train, test, np.random.default_rng(0))
    assert not (fitted & scored).any()
    assert (fitted | scored).all()
    assert fitted[:2].all()
    assert scored[4:].all()


def test_shortcut_auc_equals_scikit_learn():
    rng = np.random.default_rng(0)
    label, score = rng.random(200) < 0.3, rng.integers(0, 20, 200)
    assert _auc(label, score) == pytest.approx(roc_auc_score(label, score))


def test_shortcut_of_sampled_pairs_within_one_group_of_images():
    """Pairs of one list of images, cut in two: leaks otherwise, but no shortcut."""
    y = np.repeat([0, 1, 2], 60)
    pairs, same = sample_pairs(y, 1200, random_state=0)
    sides = (pairs[:800], same[:800]), (pairs[800:], same[800:])
    assert not measure_shortcut(statistics_of(y, 3), NAMES, *sides).found
