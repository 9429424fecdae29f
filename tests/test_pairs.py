"""Held-out rows and split pairs: disjoint, without leaks, stratified."""

import numpy as np
import pytest

from sksiamese.pairs import hold_out, split_pairs

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


def sides(y, **options):
    """Rows of the two sides, after the checks that hold for all splits."""
    options = {"n_pairs": (300, 60), "random_state": 0, **options}
    parts = split_pairs(y, **options)
    y = np.asarray(y)
    for (pairs, same), n_pairs in zip(parts, options["n_pairs"], strict=True):
        assert pairs.shape == (n_pairs, 2)
        assert same.sum() == n_pairs // 2
        assert np.array_equal(y[pairs[:, 0]] == y[pairs[:, 1]], same)
    train, test = (np.unique(pairs) for pairs, _ in parts)
    assert not set(train) & set(test)
    return train, test


def test_split_pairs_images_are_stratified():
    train, test = sides(LABELS, n_pairs=(3000, 300))
    counts = [(LABELS[test] == name).sum() for name in "abc"]
    assert counts == [15, 35, 10]
    assert len(train) == 180


@pytest.mark.parametrize("seed", range(5))
def test_split_pairs_of_patients_lie_across_patients(seed):
    y, patients = grouped(n_classes=2, seed=seed)
    parts = split_pairs(y, n_pairs=(900, 90), groups=patients, random_state=seed)
    (train, _), (test, _) = parts
    assert not set(patients[train].ravel()) & set(patients[test].ravel())
    for pairs in (train, test):
        assert (patients[pairs[:, 0]] != patients[pairs[:, 1]]).all()
    assert len(np.unique(patients[test])) == pytest.approx(10, abs=2)


@pytest.mark.parametrize("with_alphabets", [False, True])
def test_split_pairs_of_nested_classes_share_no_class(with_alphabets):
    """Identities, and characters of alphabets: test classes are new ones."""
    characters = np.repeat(np.arange(60), 8)
    groups = characters // 6 if with_alphabets else characters
    train, test = sides(characters, groups=groups)
    assert not set(groups[train]) & set(groups[test])
    assert not set(characters[train]) & set(characters[test])
    n_groups = 10 if with_alphabets else 60
    assert len(np.unique(groups[test])) == pytest.approx(0.25 * n_groups, abs=0.5)


def test_split_pairs_rare_class_of_one_patient_stays_in_training():
    y, patients = grouped(n_classes=2)
    y[patients == 3] = 7
    _, test = sides(y, groups=patients)
    assert 7 not in y[test]


def test_split_pairs_labels_may_be_strings():
    sides(LABELS.tolist(), test_size=0.5)


def test_split_pairs_equal_seeds_give_equal_pairs():
    first, again, other = (
        split_pairs(LABELS, n_pairs=(9, 9), random_state=seed)[1][0].tolist()
        for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize("with_groups", [False, True])
def test_split_pairs_leaves_the_global_generator_alone(with_groups):
    labels, groups = grouped()
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    split_pairs(labels, n_pairs=(9, 9), groups=groups if with_groups else None)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        (
            LABELS,
            {"n_pairs": (4000, 4000)},
            "test side, but its 60 of 240.* only 745 and",
        ),
        (LABELS, {"n_pairs": (40000, 4)}, "training side, but its 180 of 240"),
        (LABELS, {"n_pairs": (10, 0)}, "n_pairs"),
        (LABELS, {"n_pairs": 10}, "n_pairs"),
        (LABELS, {"n_pairs": (10, 10, 10)}, "n_pairs=.* two numbers"),
        (LABELS, {"test_size": 0.0}, "test_size"),
        (LABELS, {"test_size": 1.0}, "test_size"),
        (LABELS, {"groups": [1, 2]}, r"groups has shape \(2,\)"),
        (LABELS, {"groups": [1] * 240}, "groups holds too few groups, 1"),
        ([0, np.nan], {}, "y has missing values"),
        (np.arange(100) // 4, {}, "test_size=0.25 sets no image apart.*groups=y"),
        (
            np.arange(100),
            {"groups": np.arange(100) // 5},
            "training side.* form only 0 and 2775",
        ),
        (
            np.arange(8) // 4,
            {"groups": np.arange(8) // 4},
            "groups holds too few groups, 2",
        ),
    ],
)
def test_split_pairs_bad_input_is_named(y, options, message):
    options = {"n_pairs": (10, 10), "random_state": 0, **options}
    with pytest.raises(ValueError, match=f"(?s){message}"):
        split_pairs(y, **options)
