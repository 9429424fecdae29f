"""Forming pairs of labelled images without leaks, and finding leaks in given ones.

Layer 0, last step: NumPy, SciPy and scikit-learn only.
"""

from numbers import Real

import numpy as np

from sksiamese._audit import audit_pairs
from sksiamese._audit_report import Finding, PairAudit
from sksiamese._duplicates import Duplicates, find_duplicates
from sksiamese._encoding import encode
from sksiamese._image_split import hold_out, is_nested, split_images
from sksiamese._pair_sampling import count_pairs, generator, sample_pairs
from sksiamese._pair_split import PairSplit
from sksiamese._validation import Interval, validate_params

__all__ = [
    "Duplicates",
    "Finding",
    "PairAudit",
    "PairSplit",
    "audit_pairs",
    "find_duplicates",
    "hold_out",
    "sample_pairs",
    "split_pairs",
]


@validate_params(
    {
        "n_pairs": [tuple],
        "test_size": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=False,
)
def split_pairs(y, *, n_pairs, groups=None, test_size=0.25, random_state=None):
    """Split images into two sides first, and draw pairs within each side second.

    No image, and no group, is in pairs of both sides. Half of the pairs of each side
    are of one class, drawn by :func:`sample_pairs`. Read more in the
    :ref:`User Guide <guide-pitfalls>`.

    Parameters
    ----------
    y : array-like of shape (n,)
        Class of each image.

    n_pairs : tuple of two int
        Number of training and of test pairs, >= 1.

    groups : array-like of shape (n,) or None, default=None
        Group, such as the patient, of each image. Groups go to one side as a whole, in
        such a way that the classes are as frequent on both, and all of them train. If
        that cannot be, since classes live in single groups, groups are drawn at random,
        and the test classes are not seen in training: pass ``groups=y`` for identities.
        If a class of ``y`` occurs in two groups, pairs lie across groups; if none does,
        they need not, as there would be no positive ones.

    test_size : float, default=0.25
        Share of the test side, in (0, 1): of each class's images or, with groups drawn
        at random, of the groups. Without groups, classes whose share is less than two
        images train whole.

    random_state : int, RandomState or None, default=None
        Seed of split and draw. None takes fresh entropy; NumPy's global generator is
        not touched.

    Returns
    -------
    train : tuple of two ndarrays
        ``(pairs, same)`` of the training side: row numbers in ``y``, int64 of shape
        ``(n_train, 2)``, and whether the members are of one class, bool of shape
        ``(n_train,)``.

    test : tuple of two ndarrays
        ``(pairs, same)`` of the test side.

    Raises
    ------
    ValueError
        If no test side can be split off, or a side has too few pairs.

    See Also
    --------
    hold_out : Sets images apart without drawing pairs.
    PairSplit : Cross-validates over pairs that are given.
    audit_pairs : Looks for leaks and shortcuts between both sides.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.pairs import split_pairs
    >>> patients = np.arange(200) // 5
    >>> (train, same_train), (test, same_test) = split_pairs(
    ...     np.arange(200) % 2, n_pairs=(900, 100), groups=patients, random_state=0
    ... )
    >>> train.shape, test.shape
    ((900, 2), (100, 2))
    >>> set(patients[train].ravel()) & set(patients[test].ravel())
    set()
    """
    if len(n_pairs) != 2:
        raise ValueError(
            f"n_pairs={n_pairs} must be two numbers, of training and of test pairs."
        )
    codes = encode(y, "y")
    groups = None if groups is None else encode(groups, "groups", len(codes))
    rng = generator(random_state)
    split_seed, *seeds = (int(seed) for seed in rng.integers(2**31, size=3))
    sides = split_images(codes, groups, ("test_size", test_size), split_seed)
    if groups is not None and is_nested(codes, groups):
        groups = None
    drawn = []
    names = "training", "test"
    for name, rows, count, seed in zip(names, sides, n_pairs, seeds, strict=True):
        within = None if groups is None else groups[rows]
        half = round(count / 2), count - round(count / 2)
        existing = count_pairs(codes[rows], within)
        if min(np.subtract(existing, half)) < 0:
            across = "" if within is None else " across groups"
            raise ValueError(
                f"n_pairs={n_pairs} asks for {half[0]} positive and {half[1]} negative"
                f" pairs{across} on the {name} side, but its {len(rows)} of"
                f" {len(codes)} images form only {existing[0]} and {existing[1]}: lower"
                " n_pairs, change test_size or add images."
            )
        pairs, same = sample_pairs(codes[rows], count, groups=within, random_state=seed)
        drawn.append((rows[pairs], same))
    return tuple(drawn)
