"""PairSplit: a cross-validator over given pairs (layer 0, last steps).

NumPy, SciPy and scikit-learn only.
"""

import warnings
from numbers import Integral

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sksiamese._encoding import encode
from sksiamese._pair_sampling import generator
from sksiamese._validation import Interval, check_same, validate_params


class PairSplit:
    """Cross-validate over given pairs so that no image is on both sides.

    A fold tests on the pairs whose members are both of the fold, and trains on those
    whose members are both of others. Pairs that straddle belong to neither side.

    Images that pairs connect, directly or by way of others, stay together as long as
    that makes no fold too large; then no pair straddles, as with pairs that share no
    images. Where most images are connected, as among pairs drawn at random, images are
    dealt out one by one: a fold then tests on about ``1 / n_splits**2`` of these pairs
    and trains on ``(1 - 1 / n_splits)**2``; 4 % and 64 % for five folds. Where the
    images' labels are at hand, :func:`split_pairs` wastes no pairs.

    Read more in the :ref:`User Guide <guide-pitfalls>`.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, >= 2.

    random_state : int, RandomState or None, default=None
        Seed of the folds. None takes fresh entropy in each call of ``split``; NumPy's
        global generator is not touched.

    See Also
    --------
    split_pairs : Splits images first, and draws pairs on each side.
    audit_pairs : Looks for leaks in a split that was made elsewhere.
    sklearn.model_selection.GroupKFold : The same for images and their groups.

    Examples
    --------
    >>> from sksiamese.pairs import PairSplit
    >>> pairs = [[0, 1], [1, 2], [3, 4], [5, 6], [6, 7], [8, 9]]
    >>> same = [True, False, True, True, False, True]
    >>> for train, test in PairSplit(2, random_state=0).split(pairs, same):
    ...     print(train, test)
    [2 3 4] [0 1 5]
    [0 1 5] [2 3 4]
    """

    @validate_params(
        {
            "n_splits": [Interval(Integral, 2, None, closed="left")],
            "random_state": ["random_state"],
        },
        prefer_skip_nested_validation=True,
    )
    def __init__(self, n_splits=5, *, random_state=None):
        self.n_splits = n_splits
        self.random_state = random_state

    def __repr__(self):
        return f"PairSplit(n_splits={self.n_splits}, random_state={self.random_state})"

    def get_n_splits(self, pairs=None, same=None, groups=None):
        """Return the number of folds.

        scikit-learn asks for it to name or count the fits of a search.

        Parameters
        ----------
        pairs, same, groups : object, default=None
            Not used, as in scikit-learn.

        Returns
        -------
        int
            Number of folds.

        See Also
        --------
        PairSplit.split : The folds.

        Examples
        --------
        >>> from sksiamese.pairs import PairSplit
        >>> PairSplit(3).get_n_splits()
        3
        """
        return self.n_splits

    def split(self, pairs, same=None, groups=None):
        """Divide pairs into training and test pairs, once for each fold.

        Pairs that straddle are on neither side, so the two sides of a fold may be fewer
        than all pairs, and the tests of all folds together too.

        Parameters
        ----------
        pairs : array-like of shape (n_pairs, 2)
            Row numbers of images.

        same : array-like of shape (n_pairs,) or None, default=None
            Whether the members of each pair are of one class. Folds get both kinds in
            like shares, as far as may be.

        groups : array-like of shape (n,) or None, default=None
            Group, such as the patient, of each *image*. No group is then on both sides.
            ``cross_val_score`` takes one group per row only: hand it
            ``cv=list(PairSplit().split(pairs, same, groups))``.

        Yields
        ------
        train : int64 ndarray
            Sorted row numbers in ``pairs``.

        test : int64 ndarray
            Others.

        Raises
        ------
        ValueError
            If there are fewer images or groups than folds, or a side has no pair.

        Warns
        -----
        UserWarning
            If a side has pairs of one kind only, though both are given.

        See Also
        --------
        sklearn.model_selection.cross_val_score : Takes a splitter as ``cv``.

        Examples
        --------
        Images 0 and 5 are of one patient, so the pairs (0, 1) and (4, 5) stay together.

        >>> from sksiamese.pairs import PairSplit
        >>> pairs, patients = [[0, 1], [2, 3], [4, 5], [6, 7]], [0, 1, 2, 3, 4, 0, 5, 6]
        >>> for _, test in PairSplit(2, random_state=0).split(pairs, groups=patients):
        ...     print((0 in test) == (2 in test))
        True
        True
        """
        nodes = _check_nodes(pairs, groups)
        # Pairs that nothing is said about count as of one kind.
        same = check_same(np.ones(len(nodes)) if same is None else same, len(nodes))
        fold = _deal(nodes, same, self.n_splits, generator(self.random_state))[nodes]
        for k in range(self.n_splits):
            train = np.flatnonzero((fold != k).all(axis=1))
            test = np.flatnonzero((fold == k).all(axis=1))
            for side, rows in (("training", train), ("test", test)):
                self._check_side(f"Fold {k} has no {side} pair", same, rows)
            yield train, test

    def _check_side(self, lack, same, rows):
        """Refuse a side without pairs, and warn of one that lacks a kind."""
        remedy = f"lower n_splits={self.n_splits} or give more pairs."
        if not len(rows):
            raise ValueError(f"{lack}: {remedy}")
        for kind, name in ((True, "positive"), (False, "negative")):
            if kind in same and kind not in same[rows]:
                message = f"{lack} that is {name}: {remedy}"
                warnings.warn(message, UserWarning, stacklevel=3)


def _check_nodes(pairs, groups):
    """Check pairs and give numbers to the images, or groups, that they connect."""
    pairs = np.asarray(pairs)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise ValueError(
            f"pairs has shape {pairs.shape} and dtype {pairs.dtype}: pass row numbers"
            " of images, int of shape (n_pairs, 2)."
        )
    if len(pairs) and pairs.min() < 0:
        raise ValueError(f"pairs holds the row number {pairs.min()}: count from 0.")
    if groups is not None:
        groups = encode(groups, "groups")
        if len(pairs) and pairs.max() >= len(groups):
            raise ValueError(
                f"groups has {len(groups)} entries, but pairs has the row number"
                f" {pairs.max()}: pass one group for each image, not for each pair."
            )
        pairs = groups[pairs]
    return np.unique(pairs, return_inverse=True)[1].reshape(-1, 2)


def _deal(nodes, same, n_splits, rng):
    """Fold of each node: connected ones together, unless they have too many pairs."""
    n_nodes = nodes.max(initial=-1) + 1
    links = coo_array((np.ones(len(nodes)), nodes.T), shape=(n_nodes, n_nodes))
    n_components, component = connected_components(links, directed=False)
    n_pairs = np.bincount(component[nodes[:, 0]], minlength=n_components)
    too_large = n_pairs * n_splits > len(nodes)
    unit = np.where(too_large[component], n_components + np.arange(n_nodes), component)
    unit = np.unique(unit, return_inverse=True)[1]
    n_units = unit.max(initial=-1) + 1
    if n_units < n_splits:
        raise ValueError(
            f"n_splits={n_splits} is too many for pairs of {n_nodes} images or groups:"
            " lower it."
        )
    # Units of like size and like shares of both kinds are dealt one to each fold.
    size = np.bincount(unit[nodes].ravel(), minlength=n_units)
    n_positive = np.bincount(unit[nodes[same]].ravel(), minlength=n_units)
    order = np.lexsort((rng.random(n_units), n_positive, size))
    hands = np.tile(np.arange(n_splits), (-(-n_units // n_splits), 1))
    fold = np.empty(n_units, dtype=np.int64)
    fold[order] = rng.permuted(hands, axis=1).ravel()[:n_units]
    return fold[unit]
