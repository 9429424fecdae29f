"""What makes a pair protocol look better than it is (layer 0, a late step).

NumPy and scikit-learn only.
"""

import numpy as np

from sksiamese._audit_report import AuditReport
from sksiamese._duplicates import compare_images, large_enough
from sksiamese._image_statistics import image_statistics
from sksiamese._pair_protocol import read_protocol
from sksiamese._shortcut import measure_shortcut

# The shares of same pairs differ by so much, and by so many standard errors.
_RATE_GAP, _N_ERRORS = 0.1, 3.0
# Share of test images that may have a look-alike: among 60,000 digits 9 pairs pass for
# near copies.
_LOOK_ALIKE = 0.001


def audit_pairs(
    train_pairs, same_train, test_pairs, same_test, *, images=None, groups=None
):
    """Look for leaks and shortcuts in training and test pairs.

    Each check has a name:

    - ``"shared_images"``: images that are in training and in test pairs;
    - ``"duplicate_images"``: other images with the same pixels on both sides;
    - ``"near_duplicate_images"``: copies on both sides that were coded again, resized
      or relit, see :func:`find_duplicates`, of more than 0.1 % of the test images,
      since among very many images some look alike;
    - ``"shared_groups"``: groups, such as patients, on both sides;
    - ``"repeated_pairs"``, ``"mirrored_pairs"``, ``"self_pairs"``: pairs that occur
      again, or again with their members exchanged, on either side, and pairs of an
      image with itself;
    - ``"class_balance"``: a side with pairs of one kind only, or shares of same pairs
      that differ by more than 0.1 (and three standard errors);
    - ``"shortcut"``: the label of a pair is told by looking at one member, without any
      comparison, as where same pairs are in colour and different ones in grey.

    An audit finds known faults. It does not prove that there are no others. Read more
    in the :ref:`User Guide <guide-pitfalls>`.

    Parameters
    ----------
    train_pairs : int array-like of shape (n_pairs, 2), array-like of shape \
(n_pairs, 2, height, width) or (n_pairs, 2, height, width, n_channels), or tuple of \
two arrays of images
        Training pairs, as rows in ``images``, or as images. The latter are told apart
        by their pixels.

    same_train : array-like of shape (n_pairs,)
        Whether the members of a training pair are of one class; boolean, or 0 and 1.

    test_pairs : as train_pairs
        Test pairs.

    same_test : array-like of shape (n_pairs,)
        The same of test pairs.

    images : array-like of shape (n, height, width) or (n, height, width, n_channels), \
list of n images, or None, default=None
        The images that the pairs name. ``None`` leaves out what needs their pixels, and
        the report says so.

    groups : array-like of shape (n,) or None, default=None
        Group of each image that the pairs name.

    Returns
    -------
    PairAudit
        ``ok``, ``findings``, ``shortcut_auc`` and, when printed, a report.

    Raises
    ------
    ValueError
        If pairs are out of range or not of one form, ``same_train`` or ``same_test`` is
        not binary or of another length, ``groups`` is of another length than
        ``images``, or images hold NaN.

    See Also
    --------
    split_pairs : Training and test pairs that pass.
    PairSplit : Folds of given pairs that share no images.
    find_duplicates : The same search for copies, without pairs.

    Notes
    -----
    The shortcut is measured by gradient boosting on statistics of single images (size,
    mean and spread of channels, range, skewness and entropy of tones, saturation,
    sharpness, seams of JPEG blocks, brightness and blankness of the border). It learns
    from the members of the training pairs, one by one, how often their pairs are the
    same. ``shortcut_auc`` is the area under its ROC curve over the members of the test
    pairs. At most 50,000 pairs of a side are looked at, by a fixed seed.

    Classes that look different do not matter as long as each of them is in same and
    different pairs equally often. Where they are not equally frequent, the AUC of a
    fair protocol exceeds 0.5: drawn uniformly, same pairs are mostly of the large
    class, whereas a different pair has no more than one member of it. With two classes
    it stays below 0.75. The different pairs tell this from a leak. Let ``s`` be the
    model's probability of "same" for one image, ``D`` the difference of its means over
    members of same and of different pairs, ``C`` and ``C_same`` its covariances between
    the members of different and of same pairs, and ``w`` the odds that two images drawn
    at random are of one class. If the pairs of each kind are drawn uniformly, pairs of
    both kinds mixed as ``w`` to ``1 - w`` have independent members, so that ``w *
    C_same + (1 - w) * C + w * (1 - w) * D**2 = 0``. Since ``C_same``, the variance of
    the means of classes, is not negative, ``w * D**2 + C <= 0``. With two classes that
    holds even for ``w = 1``, however the pairs are drawn. It holds for any function of
    an image, so for classes that are easy to see as for others. A leak violates it,
    since both members of its different pairs give themselves away.

    A lower bound of ``w`` comes from the test pairs. Images that same pairs join are of
    one class, so classes are at least as large as the connected components. If these
    have ``n_k`` of ``n`` images, ``sum(n_k * (n_k - 1)) / (n * (n - 1))`` bounds ``w``,
    provided that the images in pairs are all there are. How nearly they are is told by
    the images that occur once in different pairs (Good's coverage [1]_), and the bound
    is multiplied by the square of that share. ``w`` is 1 if there are two components,
    and at least 1 / 20 in any case, which is that of 20 equally frequent classes.

    A shortcut is found where the AUC is 0.6 or more and the inequality is violated by
    four standard errors over images. The check is passed where the AUC is less, or the
    inequality holds by four standard errors; else it is undecided, ``skipped`` tells
    so, and ``ok`` says nothing of shortcuts.

    Chance decides how small a leak is found. Where both members of all different pairs
    are altered and the classes are two, equally frequent ones, an AUC of 0.98 takes 300
    test pairs. One of 0.87 takes 1,000 if each image is in three pairs or more, and
    over 3,000 if each is in one; with less it is undecided.

    What that cannot find: leaks below 0.6, leaks that alter only one member of each
    different pair, which looks like a class so rare that it has no same pairs, and
    leaks in other things than the statistics named. What it may find in a fair
    protocol: a class that alone has nearly all same pairs and less than a fifth of the
    images. A model need only know that class there, so that its figures mean little.

    References
    ----------
    .. [1] I. J. Good (1953). The population frequencies of species and the estimation
       of population parameters. Biometrika 40, 237-264.
       https://doi.org/10.1093/biomet/40.3-4.237

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.pairs import audit_pairs
    >>> train, test = [[0, 1], [0, 2], [2, 3]], [[4, 5], [3, 5]]
    >>> audit = audit_pairs(train, [1, 0, 1], test, [1, 0])
    >>> audit.ok
    False
    >>> audit.findings
    (Finding(name='shared_images', detail='1 of 3 test images ...', count=1),)
    """
    protocol = read_protocol(
        (train_pairs, same_train), (test_pairs, same_test), images, groups
    )
    audit = AuditReport(protocol)
    for check in (
        _shared_images,
        _duplicates,
        _shared_groups,
        _pair_repetitions,
        _class_balance,
        _shortcut,
    ):
        check(protocol, audit)
    return audit.result()


def _shared_images(protocol, audit):
    """Look for images on both sides."""
    train, test = protocol.used()
    shared = np.intersect1d(train, test)
    how = "by their pixels" if protocol.by_pixels else "by their rows"
    if not len(shared):
        return audit.passed("shared_images", f"no image on both sides, {how}")
    touched = np.isin(protocol.pairs[1], shared).any(axis=1).mean()
    audit.found(
        "shared_images",
        f"{len(shared):,} of {len(test):,} test images are in training pairs too, told"
        f" {how}; {touched:.1%} of the test pairs have one",
        len(shared),
        () if protocol.by_pixels else shared,
    )


def _duplicates(protocol, audit):
    """Look for equal and nearly equal images on both sides."""
    names = "duplicate_images", "near_duplicate_images"
    if protocol.images is None:
        for name in names:
            audit.skip(name, "images were not given")
        return
    # Of images on both sides, which are named already, one suffices.
    train, test = protocol.used()
    test = np.setdiff1d(test, train)
    sets = [protocol.images.subset(rows) for rows in (train, test)]
    if protocol.by_pixels:
        audit.skip(names[0], "pairs of images are told apart by their pixels")
        codes = [train, test]
    else:
        codes = [protocol.codes[rows] for rows in (train, test)]
    found = compare_images(sets, codes)
    rows = np.column_stack([train[found.rows[:, 0]], test[found.rows[:, 1]]])
    for name, kind, text in (
        (names[0], "exact", "the pixels of a training image"),
        (names[1], "near", "a training image as a near copy"),
    ):
        if name in audit.skipped:
            continue
        if kind == "near" and len(test) and not all(map(large_enough, sets)):
            audit.skip(name, "images are smaller than 16 x 16 pixels")
            continue
        these = rows[found.kind == kind]
        count = len(np.unique(these[:, 1]))
        detail = f"{count:,} of {len(test):,} other test images have {text}"
        if count > (_LOOK_ALIKE * len(test) if kind == "near" else 0):
            audit.found(name, detail, count, () if protocol.by_pixels else these)
        else:
            few = ", as few as look-alikes" if count else ""
            audit.passed(name, detail.replace("other ", "") + few)


def _shared_groups(protocol, audit):
    """Look for groups on both sides."""
    name = "shared_groups"
    if protocol.groups is None:
        return audit.skip(name, "groups were not given")
    train, test = (protocol.groups[rows] for rows in protocol.used())
    shared = np.intersect1d(train, test)
    n_test = len(np.unique(test))
    if not len(shared):
        return audit.passed(
            name, f"none of {n_test:,} test groups is in training pairs"
        )
    rows = protocol.used()[1][np.isin(test, shared)]
    audit.found(
        name,
        f"{len(shared):,} of {n_test:,} test groups, with {len(rows):,} of"
        f" {len(test):,} test images, are in training pairs too",
        len(shared),
        rows,
    )


def _pair_repetitions(protocol, audit):
    """Look for pairs that occur again, or mirrored, and pairs of one image."""
    pairs, same = np.concatenate(protocol.pairs), np.concatenate(protocol.same)
    n, n_train = protocol.n_images, len(protocol.pairs[0])
    ordered = pairs[:, 0] * n + pairs[:, 1]
    unordered = pairs.min(axis=1) * n + pairs.max(axis=1)
    again = _later(ordered)
    mirrored = _later(unordered) & ~again
    twice = np.intersect1d(unordered[same], unordered[~same])
    both = f"; {len(twice):,} pairs have both labels" if len(twice) else ""
    for name, wrong, text in (
        ("repeated_pairs", again, "occur before"),
        ("mirrored_pairs", mirrored, "occur before with their members exchanged"),
        ("self_pairs", pairs[:, 0] == pairs[:, 1], "are of one image with itself"),
    ):
        rows = np.flatnonzero(wrong)
        if not len(rows):
            audit.passed(name, f"no pairs that {text}")
            continue
        n_before = int((rows < n_train).sum())
        detail = (
            f"{n_before:,} training and {len(rows) - n_before:,} test pairs {text}"
            f"{both if name != 'self_pairs' else ''}"
        )
        audit.found(name, detail, len(rows), rows)


def _later(keys):
    """Mark keys that occurred before."""
    later = np.ones(len(keys), dtype=bool)
    later[np.unique(keys, return_index=True)[1]] = False
    return later


def _class_balance(protocol, audit):
    """Compare the shares of same pairs."""
    name = "class_balance"
    rates = [same.mean() for same in protocol.same]
    text = f"{rates[0]:.1%} of the training and {rates[1]:.1%} of the test pairs same"
    gap = abs(rates[0] - rates[1])
    if min(rates) == 0 or max(rates) == 1:
        audit.found(name, f"a side has one kind only: {text}", 0)
    elif gap > _RATE_GAP and gap > _N_ERRORS * _gap_error(protocol):
        audit.found(name, f"the sides differ: {text}", 0)
    else:
        audit.passed(name, text)


def _gap_error(protocol):
    """Estimate the standard error of the difference between shares of same pairs.

    Pairs that share an image are not independent: what they deviate by is added up for
    each image first (the variance of averages over dyads).
    """
    pooled = np.concatenate(protocol.same).mean()
    deviation = np.concatenate(
        [
            sign * (same - pooled) / len(same)
            for sign, same in zip((1, -1), protocol.same, strict=True)
        ]
    )
    members = np.concatenate(protocol.pairs).ravel()
    of_images = np.bincount(members, weights=np.repeat(deviation, 2))
    alone = (deviation**2).sum()
    # A pair counts with both its members, so once too often. By chance the rest falls
    # below what independent pairs would have.
    return np.sqrt(max(alone, (of_images**2).sum() - alone))


def _shortcut(protocol, audit):
    """Tell labels from single images."""
    name = "shortcut"
    if protocol.images is None:
        return audit.skip(name, "images were not given")
    # Images in no pair are not read.
    used, index = np.unique(np.concatenate(protocol.pairs), return_inverse=True)
    index = index.reshape(-1, 2)
    statistics, names = image_statistics(protocol.images.subset(used))
    n_train = len(protocol.pairs[0])
    result = measure_shortcut(
        statistics,
        names,
        (index[:n_train], protocol.same[0]),
        (index[n_train:], protocol.same[1]),
    )
    if result is None:
        return audit.skip(name, "fewer than 30 pairs of a kind on a side")
    audit.shortcut_auc = result.auc
    text = f"AUC {result.auc:.3f} of one member's statistics"
    if result.undecided:
        return audit.undecided(
            name,
            f"{text}, most telling is {result.statistic}; these pairs are too few to"
            " tell whether that is a leak or due to unequal classes. More pairs of"
            " these images can settle it, or the frequencies of the classes: if they"
            " are equal, it is a leak",
        )
    if not result.found:
        why = "" if result.auc < 0.6 else ", which unequal classes may explain"
        return audit.passed(name, text + why)
    audit.found(
        name,
        f"{text}, more than unequal classes explain; most telling is"
        f" {result.statistic} with {result.statistic_auc:.3f} alone",
        len(protocol.pairs[1]),
    )
