"""Splitting labelled images without leaks (layer 0: NumPy and scikit-learn only)."""

import warnings

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold


def hold_out(labels, fraction, *, groups=None, random_state=None):
    """Set rows apart for validation, by image or by group, before any pair is formed.

    Without groups, a class takes part when its share is two images at least, so that
    held-out pairs of it exist; smaller classes train whole. With groups, whole groups
    are held out, stratified as far as they allow.

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

    Examples
    --------
    >>> from sksiamese.pairs import hold_out
    >>> train, held_out = hold_out([0] * 20 + [1] * 40, 0.1, random_state=0)
    >>> len(train), len(held_out)
    (54, 6)
    """
    labels = np.asarray(labels)
    everything = np.arange(len(labels))
    none = everything[:0]
    if fraction == 0:
        return everything, none
    n_folds = max(2, round(1 / fraction))
    candidates = everything
    if groups is None:
        _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        candidates = everything[counts[codes] >= 2 * n_folds]
        folds = StratifiedKFold
    else:
        groups = np.asarray(groups)
        n_folds = min(n_folds, len(np.unique(groups)))
        folds = StratifiedGroupKFold
    if len(candidates) == 0 or n_folds < 2:
        return everything, none
    with warnings.catch_warnings():
        # Rare classes may miss a fold, which is as meant.
        warnings.filterwarnings("ignore", message="The least populated class")
        splitter = folds(n_folds, shuffle=True, random_state=random_state)
        try:
            _, chosen = next(
                splitter.split(
                    candidates,
                    labels[candidates],
                    None if groups is None else groups[candidates],
                )
            )
        except ValueError:  # every class is smaller than the number of folds
            return everything, none
    held_out = candidates[chosen]
    train = np.setdiff1d(everything, held_out)
    counts = np.unique(labels[train], return_counts=True)[1]
    if len(counts) < 2 or counts.max() < 2:
        return everything, none
    return train, held_out
