"""Held-out rows: disjoint, without leaks, stratified."""

import numpy as np
import pytest

from sksiamese.pairs import hold_out

LABELS = np.repeat(["a", "b", "c"], [60, 140, 40])


def grouped(n_groups=40, per_group=5, n_classes=3, seed=0):
    """Labels and groups; the images of a group may be of several classes."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(n_groups), per_group))
    return rng.integers(0, n_classes, len(groups)), groups


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("with_groups", [False, True])
def test_hold_out_parts_are_disjoint_and_cover_all_rows(with_groups, fraction, seed):
    labels, groups = grouped()
    train, held_out = hold_out(
        labels, fraction, groups=groups if with_groups else None, random_state=seed
    )
    assert len(held_out)
    assert np.array_equal(np.sort(np.concatenate([train, held_out])), range(200))
    for rows in (train, held_out):
        assert rows.dtype == np.int64
        assert np.array_equal(rows, np.unique(rows))


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.25, 0.4, 0.5, 0.75])
def test_hold_out_share_is_the_fraction(fraction):
    _, held_out = hold_out(LABELS, fraction, random_state=0)
    assert len(held_out) / len(LABELS) == pytest.approx(fraction, abs=0.02)


def test_hold_out_is_stratified():
    _, held_out = hold_out(LABELS, 0.1, random_state=0)
    names, counts = np.unique(LABELS[held_out], return_counts=True)
    assert dict(zip(names, counts, strict=True)) == {"a": 6, "b": 14, "c": 4}


@pytest.mark.parametrize("count", [1, 2, 10, 19])
def test_hold_out_small_class_trains_whole(count):
    labels = np.repeat([0, 1], [100, count])
    train, held_out = hold_out(labels, 0.1, random_state=0)
    assert (labels[train] == 1).sum() == count
    assert len(held_out) == 10


def test_hold_out_class_with_a_share_of_two_has_a_pair_held_out():
    labels = np.repeat([0, 1], [100, 20])
    _, held_out = hold_out(labels, 0.1, random_state=0)
    assert (labels[held_out] == 1).sum() == 2


@pytest.mark.parametrize("seed", range(5))
def test_hold_out_groups_are_never_on_both_sides(seed):
    labels, groups = grouped(seed=seed)
    train, held_out = hold_out(labels, 0.2, groups=groups, random_state=seed)
    assert not set(groups[train]) & set(groups[held_out])
    assert len(held_out) / len(labels) == pytest.approx(0.2, abs=0.06)


def test_hold_out_groups_are_stratified():
    labels = np.tile(np.repeat([0, 1], [1, 4]), 40)
    groups = np.arange(200) // 5
    _, held_out = hold_out(labels, 0.2, groups=groups, random_state=0)
    assert labels[held_out].mean() == pytest.approx(0.8)


def test_hold_out_groups_may_be_strings():
    labels, groups = grouped()
    names = np.char.add("patient ", groups.astype(str))
    _, held_out = hold_out(labels, 0.2, groups=names.tolist(), random_state=0)
    assert len(held_out)


def test_hold_out_groups_with_few_images_per_class_still_holds_out():
    """Ten classes of five images, two to a patient: a tenth can be set apart."""
    labels, groups = np.tile(np.arange(10), 5), np.arange(50) // 2
    train, held_out = hold_out(labels, 0.1, groups=groups, random_state=0)
    assert 2 <= len(held_out) <= 12
    assert not set(groups[train]) & set(groups[held_out])


@pytest.mark.parametrize(
    ("labels", "groups"),
    [
        ([0] * 50, None),
        ([0] * 10 + [1] * 10, None),
        (range(40), None),
        ([0, 1] * 20, [7] * 40),
        ([0] * 20 + [1] * 20, [0] * 20 + [1] * 20),
        ([], None),
    ],
    ids=["one_class", "few", "all_different", "one_group", "class_is_group", "none"],
)
def test_hold_out_with_nothing_to_spare_trains_all(labels, groups):
    train, held_out = hold_out(list(labels), 0.1, groups=groups, random_state=0)
    assert len(held_out) == 0
    assert np.array_equal(train, range(len(labels)))


@pytest.mark.parametrize("with_groups", [False, True])
def test_hold_out_fraction_zero_trains_all(with_groups):
    labels, groups = grouped()
    train, held_out = hold_out(labels, 0, groups=groups if with_groups else None)
    assert (len(train), len(held_out)) == (200, 0)


@pytest.mark.parametrize("with_groups", [False, True])
def test_hold_out_equal_seeds_give_equal_rows(with_groups):
    labels, groups = grouped()
    drawn = [
        hold_out(
            labels, 0.2, groups=groups if with_groups else None, random_state=seed
        )[1].tolist()
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.filterwarnings("error")
def test_hold_out_rare_classes_give_no_warning():
    labels, groups = grouped()
    labels[:2] = 99
    assert len(hold_out(labels, 0.2, groups=groups, random_state=0)[1])


def test_hold_out_of_groups_follows_the_seed():
    labels, groups = np.arange(300) % 3, np.arange(300) // 10
    drawn = {
        tuple(hold_out(labels, 0.1, groups=groups, random_state=seed)[1])
        for seed in range(8)
    }
    assert len(drawn) > 4


def test_hold_out_does_not_take_the_largest_group():
    """One patient has 40 % of the images; a tenth is wanted."""
    groups = np.r_[np.zeros(80, int), np.arange(1, 121)]
    labels = np.arange(200) % 2
    for seed in range(8):
        held_out = hold_out(labels, 0.1, groups=groups, random_state=seed)[1]
        assert 0 not in groups[held_out]
        assert 10 <= len(held_out) <= 30


def test_hold_out_never_takes_a_class_away_from_training():
    """All images of class 2 are of one patient."""
    labels = np.r_[np.arange(180) % 2, np.full(20, 2)]
    groups = np.r_[np.arange(180) // 6, np.full(20, 99)]
    for seed in range(30):
        train, held_out = hold_out(labels, 0.1, groups=groups, random_state=seed)
        assert set(labels[train]) == {0, 1, 2}
        assert len(held_out) > 0
