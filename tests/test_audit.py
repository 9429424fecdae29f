"""Leaky protocols are flagged by name, fair ones pass, on real images."""

import io
import os
from functools import cache

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from sksiamese._audit import _gap_error, audit_pairs
from sksiamese._duplicates import find_duplicates
from sksiamese._pair_protocol import read_protocol
from sksiamese.datasets import fetch_images
from sksiamese.pairs import sample_pairs, split_pairs

SETS = (
    "malaria_cells",
    "pneumoniamnist",
    "mnist",
    "ham10000",
    "brain_mri",
    "cats_dogs",
)


@cache
def real(name):
    """Load about 800 images of a set without duplicates: images, labels, groups."""
    if not os.environ.get("SKSIAMESE_DATA"):
        X, y = load_digits(return_X_y=True)
        return X.reshape(-1, 8, 8).astype(np.uint8), y, None
    data = fetch_images(name, download=False)
    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(len(data.images), 800, replace=False))
    X, y = data.images[rows], data.target[rows]
    if X.shape[1] > 100:  # for speed
        X = X[:, ::2, ::2]
    groups = data.groups[rows] if name == "malaria_cells" else None
    # Nobody knows the patients of the brain images, of whom neighbouring slices and
    # copies in other contrast are nearly the same image.
    limit = 0.1 if name == "brain_mri" else None
    while len(copies := np.unique(find_duplicates(X, max_distance=limit).rows[:, 1])):
        X, y = (np.delete(values, copies, axis=0) for values in (X, y))
        groups = None if groups is None else np.delete(groups, copies)
    return X, y, groups


def jpeg(image, quality=75):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def grey(images):
    values = np.rint(images @ [0.299, 0.587, 0.114]).astype(np.uint8)
    return np.repeat(values[..., None], 3, axis=-1)


def names(audit):
    return {finding.name for finding in audit.findings}


def fair(name, seed=0, n_pairs=200, **kwargs):
    """Make a fair protocol: images, groups and the four arguments."""
    X, y, groups = real(name)
    train, test = split_pairs(
        y, n_pairs=(n_pairs, n_pairs), groups=groups, random_state=seed, **kwargs
    )
    return X, groups, (*train, *test)


def notebook(n_pairs=1200, seed=0):
    """Random labels, same pairs in colour and different ones grey, split as pairs."""
    X = real("ham10000")[0]
    if X.ndim == 3:
        pytest.skip("needs colour images: set SKSIAMESE_DATA")
    rng = np.random.default_rng(seed)
    pairs, same = sample_pairs(rng.integers(0, 2, len(X)), n_pairs, random_state=seed)
    members = X[pairs]
    members[~same] = grey(members[~same])
    return members, same, n_pairs * 3 // 4


# Fair protocols


@pytest.mark.parametrize("name", SETS)
def test_audit_of_fair_protocols_finds_nothing(name):
    """A hundred protocols in all, of different sizes and shares."""
    values = []
    for seed in range(17 if name in SETS[:4] else 16):
        X, groups, sides = fair(
            name,
            seed,
            n_pairs=(120, 300, 800)[seed % 3],
            test_size=(0.25, 0.5)[seed % 2],
        )
        audit = audit_pairs(*sides, images=X, groups=groups)
        assert audit.ok, (seed, audit)
        assert audit.findings == ()
        values.append(audit.shortcut_auc)
    assert np.max(values) < 0.8


@pytest.mark.parametrize("name", ["malaria_cells", "ham10000"])
def test_audit_of_fair_image_pairs_finds_nothing(name):
    X, _, (train, same_train, test, same_test) = fair(name, n_pairs=300)
    audit = audit_pairs(X[train], same_train, (X[test[:, 0]], X[test[:, 1]]), same_test)
    assert audit.ok, audit
    assert set(audit.skipped) >= {"duplicate_images", "shared_groups"}


@pytest.mark.parametrize("counts", [(150, 150), (300, 100), (1120, 20)])
def test_audit_of_black_and_white_classes_finds_nothing(counts):
    y = np.repeat([0, 1], counts)
    rng = np.random.default_rng(0)
    X = (rng.integers(0, 50, (len(y), 16, 16)) + 200 * y[:, None, None]).astype("u1")
    train, test = split_pairs(y, n_pairs=(600, 300), random_state=0)
    audit = audit_pairs(*train, *test, images=X)
    assert audit.ok, audit
    expected = {150: 0.5, 300: 0.7, 1120: 0.75}[counts[0]]
    assert audit.shortcut_auc == pytest.approx(expected, abs=0.06)


# Shortcuts


def test_audit_flags_the_notebook_with_random_labels():
    members, same, n = notebook()
    audit = audit_pairs(members[:n], same[:n], members[n:], same[n:])
    assert names(audit) >= {"shortcut", "shared_images"}
    assert audit.shortcut_auc > 0.9
    assert "saturation" in str(audit)


def blur(image):
    return jpeg(image, 8)


def frame(image):
    framed = image.copy()
    framed[:3], framed[-3:], framed[:, :3], framed[:, -3:] = 0, 0, 0, 0
    return framed


def darken(image):
    return (image * 0.6).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "alter"),
    [
        ("cats_dogs", blur),
        ("cats_dogs", frame),
        ("cats_dogs", darken),
        ("mnist", blur),
        ("mnist", darken),
    ],
)
def test_audit_flags_pairs_that_are_presented_differently(name, alter):
    """Images are split first; only how different pairs are shown tells them."""
    X, _, (train, same_train, test, same_test) = fair(name, n_pairs=300)
    if X.shape[1] < 16:
        pytest.skip("needs real images: set SKSIAMESE_DATA")
    sides = []
    for pairs, same in ((train, same_train), (test, same_test)):
        members = X[pairs]
        for k in np.flatnonzero(~same):
            members[k] = [alter(image) for image in members[k]]
        sides += [members, same]
    audit = audit_pairs(*sides)
    assert names(audit) == {"shortcut"}
    assert audit.shortcut_auc > 0.9


# Images, groups and pairs on both sides


def test_audit_flags_pairs_split_after_pairing():
    X, y, _ = real("cats_dogs")
    pairs, same = sample_pairs(y, 800, random_state=0)
    audit = audit_pairs(pairs[:600], same[:600], pairs[600:], same[600:], images=X)
    assert names(audit) == {"shared_images"}
    (finding,) = audit.findings
    expected = np.intersect1d(pairs[:600], pairs[600:])
    assert finding.count == len(expected)
    np.testing.assert_array_equal(finding.rows, expected)


@pytest.mark.parametrize(
    ("copy", "name"),
    [(np.copy, "duplicate_images"), (jpeg, "near_duplicate_images")],
)
def test_audit_flags_planted_copies(copy, name):
    X, _, sides = fair("ham10000", n_pairs=300)
    if X.ndim == 3:
        pytest.skip("needs real images: set SKSIAMESE_DATA")
    X = X.copy()
    trained, tested = (np.unique(pairs)[:15] for pairs in (sides[0], sides[2]))
    X[tested] = [copy(image) for image in X[trained]]
    audit = audit_pairs(*sides, images=X)
    assert names(audit) == {name}
    (finding,) = audit.findings
    assert finding.count == 15
    np.testing.assert_array_equal(finding.rows, np.column_stack([trained, tested]))


def test_audit_flags_groups_on_both_sides():
    X, y, _ = real("malaria_cells")
    groups = np.array([f"patient {k}" for k in np.arange(len(y)) % 50])
    (train, test) = split_pairs(y, n_pairs=(300, 200), random_state=0)
    audit = audit_pairs(*train, *test, groups=groups)
    assert names(audit) == {"shared_groups"}
    shared = set(groups[train[0].ravel()]) & set(groups[test[0].ravel()])
    assert audit.findings[0].count == len(shared)
    assert set(audit.skipped) == {
        "duplicate_images",
        "near_duplicate_images",
        "shortcut",
    }
    assert np.isnan(audit.shortcut_auc)


def test_audit_flags_repeated_mirrored_and_self_pairs():
    _, _, (train, same_train, test, same_test) = fair("mnist")
    train, same_train = train.copy(), same_train.copy()
    train[10], same_train[10] = train[3], same_train[3]
    train[11], same_train[11] = train[4][::-1], same_train[4]
    test = test.copy()
    test[5, 1] = test[5, 0]
    audit = audit_pairs(train, same_train, test, same_test)
    found = {f.name: f for f in audit.findings}
    assert set(found) == {"repeated_pairs", "mirrored_pairs", "self_pairs"}
    assert [found[n].rows.tolist() for n in sorted(found)] == [[11], [10], [205]]
    assert "1 training and 0 test pairs" in found["repeated_pairs"].detail


def test_audit_counts_repetitions_like_an_oracle():
    rng = np.random.default_rng(0)
    pairs, same = rng.integers(0, 12, (80, 2)), rng.random(80) < 0.5
    audit = audit_pairs(pairs[:50], same[:50], pairs[50:], same[50:])
    known, again, mirrored = set(), [], []
    for k, (a, b) in enumerate(pairs.tolist()):
        if (a, b) in known:
            again.append(k)
        elif (b, a) in known:
            mirrored.append(k)
        known.add((a, b))
    found = {f.name: f for f in audit.findings}
    assert found["repeated_pairs"].rows.tolist() == again
    assert found["mirrored_pairs"].rows.tolist() == mirrored
    labels = {}
    for (a, b), s in zip(pairs.tolist(), same, strict=True):
        labels.setdefault((min(a, b), max(a, b)), set()).add(bool(s))
    both = sum(len(s) == 2 for s in labels.values())
    assert f"{both} pairs have both labels" in found["repeated_pairs"].detail


@pytest.mark.parametrize(
    ("n_same", "flagged"), [((100, 20), True), ((100, 95), False), ((200, 100), True)]
)
def test_audit_flags_sides_of_another_balance(n_same, flagged):
    pairs = np.arange(800).reshape(-1, 2)
    same = [np.arange(200) < n for n in n_same]
    audit = audit_pairs(pairs[:200], same[0], pairs[200:], same[1])
    assert ("class_balance" in names(audit)) == flagged


def all_pairs(rows, y):
    i, j = np.triu_indices(len(rows), 1)
    pairs = np.column_stack([rows[i], rows[j]])
    return pairs, y[pairs[:, 0]] == y[pairs[:, 1]]


def test_audit_of_all_pairs_of_few_images_finds_no_imbalance():
    """The 190 pairs of 20 images tell no more of the classes than 20 images do."""
    flagged = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        y = rng.choice(2, 60, p=[0.75, 0.25])
        train, test = np.split(rng.permutation(60), [40])
        audit = audit_pairs(*all_pairs(train, y), *all_pairs(test, y))
        flagged += "class_balance" in names(audit)
    assert flagged <= 2


def test_audit_error_of_the_balance_equals_the_spread_over_draws():
    """Of protocols with shared images and without, images drawn anew."""
    gaps, errors = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        y = rng.choice(2, 400, p=[0.8, 0.2])
        sides = [all_pairs(rows, y) for rows in (np.arange(200), np.arange(200, 400))]
        audited = read_protocol(*sides)
        gaps.append(audited.same[0].mean() - audited.same[1].mean())
        errors.append(_gap_error(audited))
    assert np.mean(errors) == pytest.approx(np.std(gaps), rel=0.1)
    pairs = np.arange(800).reshape(-1, 2)
    same = rng.random(400) < 0.3
    apart = read_protocol((pairs[:100], same[:100]), (pairs[100:], same[100:]))
    pooled = same.var() * (1 / 100 + 1 / 300)
    assert _gap_error(apart) == pytest.approx(np.sqrt(pooled), rel=0.1)


# The report


def test_audit_names_a_shortcut_that_it_cannot_decide():
    """Different pairs are darker by a tenth, and there are few."""
    X, y, _ = real("ham10000")
    if X.ndim == 3:
        pytest.skip("needs colour images: set SKSIAMESE_DATA")
    y = np.random.default_rng(0).integers(0, 2, len(X))
    sides = []
    for pairs, same in split_pairs(y, n_pairs=(500, 200), random_state=0):
        members = X[pairs]
        members[~same] = (members[~same] * 0.9).astype(np.uint8)
        sides += [members, same]
    audit = audit_pairs(*sides)
    assert audit.shortcut_auc > 0.8
    assert names(audit) == set()
    assert "too few to tell" in audit.skipped["shortcut"]
    assert "nothing found, shortcut undecided" in audit.report
    (line,) = (line for line in audit.report.splitlines() if " shortcut  " in line)
    assert line.split()[:3] == ["?", "shortcut", "undecided:"]


def test_audit_report_tells_what_was_checked_and_what_was_not():
    _, _, sides = fair("mnist")
    audit = audit_pairs(*sides)
    assert audit.ok
    text = repr(audit)
    assert text == audit.report
    assert "Audit of a pair protocol: nothing found" in text
    assert "not checked: images were not given" in " ".join(text.split())
    for name in (*audit.skipped, "shared_images", "self_pairs", "class_balance"):
        assert name in text
    assert all(len(line) <= 88 for line in text.splitlines())


def test_audit_of_tiny_images_says_what_it_cannot_tell():
    X, y = load_digits(return_X_y=True)
    train, test = split_pairs(y, n_pairs=(300, 200), random_state=0)
    audit = audit_pairs(*train, *test, images=X.reshape(-1, 8, 8))
    assert "16 x 16" in audit.skipped["near_duplicate_images"]


def test_audit_is_repeatable_and_leaves_its_input_alone():
    X, _, sides = fair("malaria_cells")
    before = [np.array(s) for s in sides]
    reports = {audit_pairs(*sides, images=X).report for _ in range(2)}
    assert len(reports) == 1
    for now, then in zip(sides, before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_audit_of_few_pairs_skips_the_shortcut():
    X, _, (train, same_train, test, same_test) = fair("mnist")
    audit = audit_pairs(train, same_train, test[:20], same_test[:20], images=X)
    assert "30 pairs" in audit.skipped["shortcut"]
    assert np.isnan(audit.shortcut_auc)


def test_audit_with_nan_in_an_image_names_the_argument():
    X, _, sides = fair("mnist")
    X = X.astype(float)
    X[sides[0][0, 0], 3, 3] = np.nan
    with pytest.raises(ValueError, match="images holds NaN"):
        audit_pairs(*sides, images=X)
