"""Pairs drawn by number, without listing all of them (layer 0, last steps).

NumPy and scikit-learn only.
"""

from collections.abc import Callable
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np

from sksiamese._encoding import encode
from sksiamese._validation import Interval, validate_params

# With at most so many existing pairs for each one drawn, one byte for each existing
# pair takes no more memory than the result.
_DENSE = 16


@validate_params(
    {
        "n_pairs": [Interval(Integral, 1, None, closed="left")],
        "positive_fraction": [Interval(Real, 0, 1, closed="both")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def sample_pairs(y, n_pairs, *, positive_fraction=0.5, groups=None, random_state=None):
    """Draw pairs of images of one class and of two.

    Positive and negative pairs are each drawn uniformly among all pairs of their kind,
    none of them twice or mirrored. Large classes therefore have more positive pairs
    than small ones, and a class with one image has none. Read more in the
    :ref:`User Guide <guide-verify>`.

    Parameters
    ----------
    y : array-like of shape (n,)
        Class of each image.

    n_pairs : int
        Number of pairs, >= 1.

    positive_fraction : float, default=0.5
        Share of pairs of one class, in [0, 1]; their number is rounded.

    groups : array-like of shape (n,) or None, default=None
        Group, such as the patient, of each image. The members of a pair, positive ones
        too, are then always of two different groups: two images of one patient are
        alike for other reasons than their class. Do not pass groups that each class has
        to itself, such as identities; no positive pair would be left.

    random_state : int, RandomState or None, default=None
        Seed of the draw. None takes fresh entropy; NumPy's global generator is not
        touched.

    Returns
    -------
    pairs : int64 ndarray of shape (n_pairs, 2)
        Row numbers of the members, in random order.

    same : bool ndarray of shape (n_pairs,)
        Whether the members are of one class.

    Raises
    ------
    ValueError
        If fewer pairs of a kind exist than are asked for, or ``y`` or ``groups`` have
        missing values or not one entry an image.

    See Also
    --------
    split_pairs : Draws training and test pairs that share no image.
    sksiamese.SiameseVerifier : Decides whether pairs are of one class.

    Notes
    -----
    Takes O(n log(n) + n_pairs log(n_pairs)) time and O(n + n_pairs) memory, however
    many pairs exist.

    Examples
    --------
    >>> from sksiamese.pairs import sample_pairs
    >>> y = ["cat", "cat", "dog", "dog", "dog"]
    >>> pairs, same = sample_pairs(y, 4, random_state=0)
    >>> pairs.shape
    (4, 2)
    >>> print(same.sum())
    2
    """
    classes = encode(y, "y")
    groups = None if groups is None else encode(groups, "groups", len(classes))
    rng = generator(random_state)
    order, *kinds = _list_pairs(classes, groups)
    n_positive = round(n_pairs * positive_fraction)
    counts = n_positive, n_pairs - n_positive
    _check_enough(counts, [_total(kind) for kind in kinds], groups)
    # A pair in one number shuffles in half the time of a pair in two.
    n, codes = len(classes), np.empty(n_pairs, dtype=np.int64)
    places = codes[:n_positive], codes[n_positive:]
    for kind, place in zip(kinds, places, strict=True):
        first, second = (order[members] for members in _draw(kind, len(place), rng))
        turned = rng.integers(2, size=len(place), dtype=bool)
        place[:] = np.where(turned, second * n + first, first * n + second)
    rng.shuffle(codes)
    pairs = np.empty((n_pairs, 2), dtype=np.int64)
    np.divmod(codes, n, out=(pairs[:, 0], pairs[:, 1]))
    return pairs, classes[pairs[:, 0]] == classes[pairs[:, 1]]


def count_pairs(classes, groups=None):
    """Count the unordered pairs of one class and of two.

    Parameters
    ----------
    classes : int64 ndarray of shape (n,)
        Class of each image, see :func:`encode`.

    groups : int64 ndarray of shape (n,) or None, default=None
        Group of each image; only pairs across groups count.

    Returns
    -------
    n_positives : int
        Number of pairs of one class.

    n_negatives : int
        Number of pairs of two classes.
    """
    _, *kinds = _list_pairs(classes, groups)
    return tuple(_total(kind) for kind in kinds)


class _PairKind(NamedTuple):
    """All pairs of one kind, numbered but never listed.

    The numbers of a row's pairs with its partners, which come behind it in the order of
    the rows, end at ``ends``; ``partner(row, k)`` is the k-th of them.
    """

    ends: np.ndarray
    partner: Callable


def _list_pairs(classes, groups):
    """Put rows in order; return it and the positive and negative pairs of that order.

    Rows are sorted by class and, within, by group, so that the partners of a row are
    all rows between two places: for positive pairs from the end of its group to the end
    of its class, for negative ones from there to the end of all. Of the latter, rows of
    its own group are passed over.
    """
    n = len(classes)
    order = np.lexsort((np.zeros(n) if groups is None else groups, classes))
    class_end = _block_ends(classes[order])
    if groups is None:
        next_group = np.arange(1, n + 1)
        n_negative, negative = n - class_end, lambda row, k: class_end[row] + k
    else:
        pair_code = classes[order] * (n + 1) + groups[order]
        next_group = _block_ends(pair_code)
        n_negative, negative = _outside_group(class_end, groups[order])
    return (
        order,
        _PairKind(
            np.cumsum(class_end - next_group), lambda row, k: next_group[row] + k
        ),
        _PairKind(np.cumsum(n_negative), negative),
    )


def _total(kind):
    """Count all pairs of a kind."""
    return int(kind.ends[-1:].sum())


def _block_ends(sorted_codes):
    """Where the run of equal codes ends that each entry belongs to."""
    return np.searchsorted(sorted_codes, sorted_codes, side="right")


def _outside_group(start, groups):
    """Count, and find by rank, the rows from ``start`` on that are of another group."""
    n = len(groups)
    members = np.argsort(groups, kind="stable")  # row by row within each group
    sizes = np.bincount(groups)
    first_member = np.cumsum(sizes) - sizes
    # One search among the members of all groups: groups are far enough apart.
    offset = groups * (n + 1)
    passed = np.searchsorted(offset[members] + members, offset + start)
    passed -= first_member[groups]  # members of the row's group before ``start``
    n_outside = (n - start) - (sizes[groups] - passed)
    # How many rows of other groups come before each member.
    before = members - (np.arange(n) - first_member[groups[members]])
    keys = offset[members] + before

    def row_outside(row, k):
        """Row that has k rows of other groups between ``start`` and itself."""
        rank = start[row] - passed[row] + k
        within = np.searchsorted(keys, offset[row] + rank, side="right")
        return rank + within - first_member[groups[row]]

    return n_outside, row_outside


def _draw(kind, count, rng):
    """Draw distinct pairs of a kind; return both members' places in the order."""
    numbers = _distinct_numbers(int(kind.ends[-1]), count, rng)
    upto = np.searchsorted(numbers, kind.ends)
    first = np.repeat(np.arange(len(upto)), np.diff(upto, prepend=0))
    begins = np.concatenate([[0], kind.ends[:-1]])
    return first, kind.partner(first, numbers - begins[first])


def _distinct_numbers(total, count, rng):
    """Draw a set of numbers below ``total``, all sets alike; return them sorted.

    What collides is drawn anew, which treats all numbers alike, and so all sets.
    """
    if total > _DENSE * count:
        numbers = np.empty(0, dtype=np.int64)
        while len(numbers) < count:
            more = rng.integers(total, size=count - len(numbers))
            numbers = np.sort(np.concatenate([numbers, more]))
            # np.unique of NumPy 2.4 hashes, which takes 30 times as long.
            numbers = numbers[np.diff(numbers, prepend=-1) > 0]
        return numbers
    # Of more than half the numbers, those left out are fewer.
    n_marked = min(count, total - count)
    marked = np.zeros(total, dtype=bool)
    while (missing := n_marked - np.count_nonzero(marked)) > 0:
        marked[rng.integers(total, size=missing)] = True
    return np.flatnonzero(marked if n_marked == count else ~marked)


def _check_enough(wanted, existing, groups):
    """Refuse to draw more pairs of a kind than there are, and say what there is."""
    (n_positive, n_negative), (positives, negatives) = wanted, existing
    if n_positive and not positives:
        raise ValueError(
            "No class in y has two images, so there is no positive pair: add images or"
            " set positive_fraction=0."
            if groups is None
            else "No class in y occurs in two groups, and groups asks for pairs across"
            " groups, so there is no positive pair: leave groups=None if each class"
            " lies in one group, or set positive_fraction=0."
        )
    if n_negative and not negatives:
        raise ValueError(
            "y has one class, so there is no negative pair: add images of another class"
            " or set positive_fraction=1."
            if groups is None
            else "No two images differ in both y and groups, and groups asks for pairs"
            " across groups, so there is no negative pair: add images or set"
            " positive_fraction=1."
        )
    if n_positive > positives or n_negative > negatives:
        across = "" if groups is None else " across groups"
        raise ValueError(
            f"n_pairs={n_positive + n_negative} asks for {n_positive} positive and"
            f" {n_negative} negative pairs{across}, but only {positives} and"
            f" {negatives} exist: lower n_pairs or change positive_fraction."
        )


def generator(random_state):
    """Make a generator of what scikit-learn takes as a random state.

    Parameters
    ----------
    random_state : int, RandomState or None
        Seed, or a state, which moves on; None takes fresh entropy.

    Returns
    -------
    numpy.random.Generator
        Generator.
    """
    if isinstance(random_state, np.random.RandomState):
        random_state = random_state.randint(2**31)
    return np.random.default_rng(random_state)
