"""Independent pairs share nothing and stand for all pairs."""

from itertools import combinations

import numpy as np
import pytest

from sksiamese._independent_pairs import independent_pairs


def labels_of(*counts):
    return np.repeat(np.arange(len(counts)), counts)


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("counts", [(30, 30), (5, 60), (20, 7, 33), (2,) * 40, (1, 4)])
def test_independent_pairs_are_of_the_kind_and_share_no_row(same, counts):
    labels = labels_of(*counts)
    pairs = independent_pairs(labels, same=same, random_state=0)
    assert len(np.unique(pairs)) == pairs.size
    assert ((labels[pairs[:, 0]] == labels[pairs[:, 1]]) == same).all()


@pytest.mark.parametrize("same", [True, False])
def test_independent_pairs_use_two_classes_up(same):
    pairs = independent_pairs(labels_of(10, 40), same=same, random_state=0)
    assert len(pairs) == (20 + 1 if same else 10)


@pytest.mark.parametrize("counts", [(3, 5), (2, 3, 4)])
def test_independent_different_pairs_are_equally_likely(counts):
    labels = labels_of(*counts)
    drawn = np.zeros((len(labels), len(labels)))
    for seed in range(4000):
        pairs = independent_pairs(labels, same=False, random_state=seed)
        np.add.at(drawn, tuple(np.sort(pairs, axis=1).T), 1)
    possible = [p for p in combinations(range(len(labels)), 2) if np.ptp(labels[[*p]])]
    shares = np.array([drawn[p] for p in possible])
    assert shares.sum() == drawn.sum()
    expected = shares.mean()
    assert np.abs(shares - expected).max() < 4 * np.sqrt(expected)


def test_independent_same_pairs_are_in_proportion_to_all_of_their_class():
    labels = labels_of(40, 20, 10)
    drawn = np.zeros(3)
    for seed in range(500):
        pairs = independent_pairs(labels, same=True, random_state=seed)
        drawn += np.bincount(labels[pairs[:, 0]], minlength=3)
    expected = np.array([40 * 39, 20 * 19, 10 * 9])
    np.testing.assert_allclose(
        drawn / drawn.sum(), expected / expected.sum(), atol=0.01
    )


@pytest.mark.parametrize("same", [True, False])
def test_independent_pairs_of_groups_share_no_group(same):
    rng = np.random.default_rng(0)
    groups, labels = rng.integers(0, 41, 300), rng.integers(0, 2, 300)
    pairs = independent_pairs(labels, same=same, groups=groups, random_state=1)
    assert 5 < len(pairs) < 15  # half of the 20 that two labels alike would give
    assert len(np.unique(groups[pairs])) == pairs.size
    assert ((labels[pairs[:, 0]] == labels[pairs[:, 1]]) == same).all()


def test_independent_same_pairs_of_identities_lie_within_them():
    identities = labels_of(*(3,) * 15, 1)
    pairs = independent_pairs(
        identities, same=True, groups=identities, within=True, random_state=0
    )
    assert sorted(identities[pairs[:, 0]]) == list(range(15))
    assert (identities[pairs[:, 0]] == identities[pairs[:, 1]]).all()
    assert (pairs[:, 0] != pairs[:, 1]).all()


def test_independent_pairs_may_be_none():
    labels = labels_of(1, 1)
    assert independent_pairs(labels, same=True, random_state=0).shape == (0, 2)
    assert independent_pairs(
        labels, same=False, groups=np.zeros(2), random_state=0
    ).shape == (0, 2)


def test_independent_pairs_of_groups_are_random_images_of_random_groups():
    """One rare image in a large group counts as its share of the group, no more."""
    labels = np.array([0] * 9 + [1] + [0] * 4 + [1] * 2)
    groups = np.array([0] * 10 + [1] * 4 + [2] * 2)
    drawn = {False: np.zeros(16), True: np.zeros(16)}
    n = 6000
    for seed in range(n):
        for same, counts in drawn.items():
            pairs = independent_pairs(
                labels, same=same, groups=groups, random_state=seed
            )
            np.add.at(counts, pairs.ravel(), 1)
    # Row 9, a tenth of its group: is with group 1 or 2 in two of three draws.
    assert drawn[False][9] / n == pytest.approx(0.1 / 3, abs=0.008)
    assert drawn[True][9] / n == pytest.approx(0.1 / 3, abs=0.008)
    assert drawn[False][0] / n == pytest.approx(0.1 / 3, abs=0.008)


def test_independent_pairs_within_groups_have_random_members():
    labels = np.repeat([0, 1, 2], [4, 1, 2])
    groups = np.repeat([0, 1], [5, 2])
    counts = np.zeros(7)
    for seed in range(2000):
        pairs = independent_pairs(
            labels, same=True, groups=groups, within=True, random_state=seed
        )
        np.add.at(counts, pairs.ravel(), 1)
    np.testing.assert_allclose(counts / 2000, [0.5] * 4 + [0, 1, 1], atol=0.05)


def test_independent_pairs_of_many_classes_use_every_image():
    labels = np.arange(60_000) // 2
    pairs = independent_pairs(labels, same=True, random_state=0)
    assert len(pairs) == 30_000
