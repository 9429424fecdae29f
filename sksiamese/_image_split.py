"""Setting images apart before pairs are formed (layer 0: NumPy and scikit-learn)."""

import warnings
from fractions import Fraction

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold


def split_images(labels, groups, share, random_state):
    """Part images by class or, if classes live in single groups, by group.

    Parameters
    ----------
    labels : int64 ndarray of shape (n,)
        Class of each image.

    groups : int64 ndarray of shape (n,) or None
        Group of each image.

    share : tuple of (str, float)
        Share of the second part, in (0, 1), behind the parameter that sets it.

    random_state : int
        Seed of the draw.

    Returns
    -------
    first : int64 ndarray
        Sorted rows of the larger part, as a rule.

    second : int64 ndarray
        The others: those of :func:`hold_out` or, where it finds none, whole groups with
        their classes, two at least.

    Raises
    ------
    ValueError
        If a part would be empty.
    """
    name, fraction = share
    if groups is None or not is_nested(labels, groups):
        first, second = hold_out(
            labels, fraction, groups=groups, random_state=random_state
        )
        if len(second):
            return first, second
    if groups is None:
        raise ValueError(
            f"{name}={fraction} sets no image apart: y needs two classes, and one that"
            f" can spare two images, so raise {name}, add images, or pass groups=y to"
            " set whole classes apart."
        )
    n_groups = len(np.unique(groups))
    if n_groups < 4:
        raise ValueError(
            f"groups holds too few groups, {n_groups}: where classes lie in single"
            " groups, these go to one part as a whole, two at least to each."
        )
    n_second = min(max(2, round(fraction * n_groups)), n_groups - 2)
    rng = np.random.default_rng(random_state)
    drawn = rng.permutation(np.unique(groups))[:n_second]
    second = np.isin(groups, drawn)
    return np.flatnonzero(~second), np.flatnonzero(second)


def hold_out(labels, fraction, *, groups=None, random_state=None):
    """Set rows apart for validation, by image or by group, before any pair is formed.

    Without groups, a class takes part when its share is two images at least, so that
    held-out pairs of it exist; smaller classes train whole. With groups, whole groups
    are held out, stratified as far as they allow. Read more in the
    :ref:`User Guide <guide-groups>`.

    Parameters
    ----------
    labels : array-like of shape (n,)
        Class of each row.

    fraction : float
        Share to hold out, in [0, 1).

    groups : array-like of shape (n,) or None, default=None
        Group, such as the patient, of each row.

    random_state : int or None, default=None
        Seed of the draw.

    Returns
    -------
    train : int64 ndarray
        Sorted row indices to train on.

    held_out : int64 ndarray
        The others; empty when nothing can be set apart without leaving fewer than two
        classes, or none with two images, to train on.

    See Also
    --------
    split_pairs : Two sides of images, and pairs within each.
    sklearn.model_selection.StratifiedGroupKFold : Folds of all images.

    Examples
    --------
    >>> from sksiamese.pairs import hold_out
    >>> train, held_out = hold_out([0] * 20 + [1] * 40, 0.1, random_state=0)
    >>> len(train), len(held_out)
    (54, 6)

    Patients stay whole.

    >>> patients = [row // 3 for row in range(60)]
    >>> train, held_out = hold_out([0, 1] * 30, 0.1, groups=patients, random_state=0)
    >>> {patients[row] for row in train} & {patients[row] for row in held_out}
    set()
    """
    labels = np.asarray(labels)
    everything = np.arange(len(labels))
    if groups is None:
        held_out = _draw_rows(labels, fraction, np.random.default_rng(random_state))
    else:
        held_out = _draw_groups(labels, fraction, np.asarray(groups), random_state)
    train = np.setdiff1d(everything, held_out)
    counts = np.unique(labels[train], return_counts=True)[1]
    if len(counts) < 2 or counts.max() < 2:
        return everything, everything[:0]
    return train, held_out


def _draw_rows(labels, fraction, rng):
    """Draw the share of each class for which it comes to two rows at least."""
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    shares = np.minimum(np.rint(counts * fraction).astype(int), counts - 2)
    shares[(counts * fraction < 2) | (shares < 2)] = 0
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(codes[shuffled], kind="stable")]
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(by_class[rank < np.repeat(shares, counts)])


def _draw_groups(labels, fraction, groups, random_state):
    """Draw whole groups that come near the share, classes alike."""
    rest = min(fraction, 1 - fraction)
    n_folds = Fraction(fraction).limit_denominator(20).denominator
    if 0 < rest < 0.05:  # few such fractions are nearly one of small numbers
        n_folds = round(1 / rest)
    largest_class = np.unique(labels, return_counts=True)[1].max()
    n_folds = min(n_folds, len(np.unique(groups)), largest_class)
    if fraction == 0 or n_folds < 2:
        return np.empty(0, dtype=np.int64)
    n_held_out = min(max(1, round(fraction * n_folds)), n_folds - 1)
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=random_state)
    with warnings.catch_warnings():
        # Rare classes may miss a fold, which is as meant.
        warnings.filterwarnings("ignore", message="The least populated class")
        folds = [test for _, test in splitter.split(labels, labels, groups)]
    # The folds are not alike: the first ones hold the largest groups. Those near the
    # share come first, and none that takes a class away from training whole.
    n_classes = len(np.unique(labels))
    order = np.random.default_rng(random_state).permutation(n_folds)
    held_out = np.empty(0, dtype=np.int64)
    for k in sorted(order, key=lambda k: abs(len(folds[k]) * n_folds - len(labels))):
        candidate = np.sort(np.concatenate([held_out, folds[k]]))
        if len(np.unique(np.delete(labels, candidate))) == n_classes:
            held_out, n_held_out = candidate, n_held_out - 1
        if n_held_out == 0:
            break
    return held_out


def is_nested(labels, groups):
    """Whether each class lies within one group, as identities and their images do.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        Class of each row.

    groups : ndarray of shape (n,)
        Group of each row.

    Returns
    -------
    bool
        True if no class occurs in two groups.
    """
    _, codes = np.unique(labels, return_inverse=True)
    _, group_codes = np.unique(groups, return_inverse=True)
    both = np.unique(codes * (group_codes.max() + 1) + group_codes)
    return bool(len(both) == codes.max() + 1)
