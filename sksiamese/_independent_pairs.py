"""Pairs whose errors are independent trials (layer 0: NumPy only)."""

import numpy as np


def independent_pairs(labels, *, same, groups=None, within=False, random_state):
    """Draw pairs of one kind of which no two share an image or a group.

    Errors on them are independent trials, which errors on all pairs of some images are
    not. Without groups, each pair of the kind is equally likely to be drawn. With
    groups, these are put together two by two at random, an image of each is drawn, and
    the pair is kept if it is of the kind.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        Class of each row.

    same : bool
        Whether to draw pairs of one class, or of two.

    groups : ndarray of shape (n,) or None, default=None
        Group of each row.

    within : bool, default=False
        Whether pairs of one class are to lie within groups: one of each group, of a
        random image that has a mate, and a mate of it.

    random_state : int
        Seed of the draw.

    Returns
    -------
    int64 ndarray of shape (n_pairs, 2)
        Rows of the members.
    """
    rng = np.random.default_rng(random_state)
    shuffled = rng.permutation(len(labels))
    if groups is not None and same and within:
        return _pairs_within_groups(labels, groups, shuffled)
    if groups is not None:
        # The first row of each group in random order.
        rows = shuffled[np.unique(groups[shuffled], return_index=True)[1]]
        return _matched(labels, rng.permutation(rows), same)
    classes, counts = np.unique(labels, return_counts=True)
    if same:
        return _pairs_within(labels[shuffled], shuffled, counts, rng)
    if len(classes) == 2:  # every row of the smaller class finds a partner
        members = [shuffled[labels[shuffled] == label] for label in classes]
        return np.stack([rows[: counts.min()] for rows in members], axis=1)
    return _matched(labels, shuffled, same)


def _matched(labels, rows, same):
    """Pair rows as they come, and keep the pairs of one kind."""
    pairs = rows[: len(rows) // 2 * 2].reshape(-1, 2)
    return pairs[(labels[pairs[:, 0]] == labels[pairs[:, 1]]) == same]


def _pairs_within(labels, rows, counts, rng):
    """Disjoint pairs of one class, from each class in proportion to all that it has."""
    existing = counts * (counts - 1)
    shares = existing * (counts.max() // 2) / max(existing.max(), 1)
    shares = np.minimum(np.floor(shares + rng.random(len(counts))), counts // 2)
    order = np.argsort(labels, kind="stable")
    rank = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows[order][rank < np.repeat(2 * shares, counts)].reshape(-1, 2)


def _pairs_within_groups(labels, groups, shuffled):
    """One pair of each group: a random image that has a mate, and a mate."""
    _, cells = np.unique(np.stack([groups, labels]), axis=1, return_inverse=True)
    paired = shuffled[np.bincount(cells)[cells[shuffled]] > 1]
    first = paired[np.unique(groups[paired], return_index=True)[1]]
    others = paired[~np.isin(paired, first)]
    cell_of_mate, place = np.unique(cells[others], return_index=True)
    mates = others[place[np.searchsorted(cell_of_mate, cells[first])]]
    return np.stack([first, mates], axis=1)
