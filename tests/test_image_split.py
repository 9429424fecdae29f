"""Parts of images: whole, disjoint, by class or by group."""

import tracemalloc

import numpy as np
import pytest

from sksiamese._image_split import hold_out, is_nested, split_images

LABELS = np.repeat([0, 1, 2], [30, 50, 20])
PATIENTS = np.random.default_rng(0).permutation(100) // 4


@pytest.mark.parametrize("groups", [None, PATIENTS, LABELS * 30 + PATIENTS % 7])
@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.97])
def test_split_images_parts_share_nothing(groups, fraction):
    if groups is None and fraction == 0.01:
        with pytest.raises(ValueError, match="share=0.01 sets no image apart"):
            split_images(LABELS, groups, ("share", fraction), 0)
        return
    parts = split_images(LABELS, groups, ("share", fraction), 0)
    assert sorted(np.concatenate(parts)) == list(range(100))
    assert min(map(len, parts)) > 0
    if groups is not None:
        assert not np.intersect1d(*(groups[rows] for rows in parts)).size


@pytest.mark.parametrize("n_classes", [4, 5, 40])
@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.99])
def test_split_images_of_identities_leaves_two_on_each_side(n_classes, fraction):
    identities = np.repeat(np.arange(n_classes), 3)
    parts = split_images(identities, identities, ("share", fraction), 0)
    counts = [len(np.unique(identities[rows])) for rows in parts]
    assert sum(counts) == n_classes
    assert counts[1] == np.clip(round(fraction * n_classes), 2, n_classes - 2)


def test_split_images_of_many_identities_makes_no_table_of_groups_by_classes():
    identities = np.arange(10_000) // 2
    tracemalloc.start()
    split_images(identities, identities, ("share", 0.2), 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6  # the table would take 200 MB


def test_split_images_refuses_too_few_groups():
    with pytest.raises(ValueError, match="groups holds too few groups, 3"):
        split_images(LABELS, LABELS, ("share", 0.5), 0)


@pytest.mark.parametrize("fraction", [0.02, 0.03, 0.3, 0.7, 0.97, 0.98])
def test_hold_out_of_groups_is_near_the_fraction(fraction):
    labels, groups = np.arange(4000) % 3, np.arange(4000) // 4
    _, held_out = hold_out(labels, fraction, groups=groups, random_state=0)
    assert len(held_out) / 4000 == pytest.approx(fraction, abs=0.01)


def test_hold_out_never_takes_a_single_image_of_a_class():
    _, held_out = hold_out([0] * 3 + [1] * 9, 0.7, random_state=0)
    assert held_out.min() >= 3


def test_is_nested_tells_identities_from_patients():
    classes = np.array(list("aabbcc"))
    assert is_nested(classes, classes)
    assert is_nested(classes, np.array([0, 0, 0, 0, 1, 1]))
    assert not is_nested(classes, np.array([0, 1, 0, 1, 0, 1]))
