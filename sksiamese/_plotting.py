"""What the displays share: axes, colours, pairs and estimators (layer 4)."""

import math

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline

from sksiamese._base import BaseSiamese
from sksiamese._encoding import check_numbers, check_same
from sksiamese._file_input import check_paths
from sksiamese._validation import check_pairs, take_rows

# Blue and orange of Okabe and Ito's palette for the colour-blind; in grey one is dark
# and the other is light.
SAME, DIFFERENT = "#0072B2", "#E69F00"
KIND_NAMES = {True: "same", False: "different"}


def make_axes(ax, figsize, caller):
    """Take the caller's axes or make new ones.

    Parameters
    ----------
    ax : matplotlib Axes or None
        Axes to draw on; None makes a figure of one.

    figsize : tuple of float
        Width and height of a new figure in inches.

    caller : object
        The display, for the message.

    Returns
    -------
    matplotlib Axes
        Where to draw.

    Raises
    ------
    ImportError
        If matplotlib is missing.

    TypeError
        If ``ax`` is something else, such as an array of axes.
    """
    try:
        import matplotlib.pyplot as plt
        from matplotlib.axes import Axes
    except ImportError as error:
        raise ImportError(
            f"{type(caller).__name__} needs matplotlib: pip install matplotlib"
        ) from error
    if ax is None:
        return plt.subplots(figsize=figsize, layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise TypeError(
            f"ax must be one matplotlib Axes or None, got {type(ax).__name__}: of"
            " several, as plt.subplots gives them, pass one, such as axes[0, 0]."
        )
    return ax


def percent(rate):
    """Write a rate as per cent, with up to three digits.

    Parameters
    ----------
    rate : float
        Between 0 and 1.

    Returns
    -------
    str
        Such as ``"1.25 %"``.
    """
    return f"{100 * rate:.3g} %"


def check_distances(distances, same):
    """Check the distances of pairs and what they are of.

    Parameters
    ----------
    distances : array-like of shape (n_pairs,)
        Distances, >= 0.

    same : array-like of shape (n_pairs,)
        True or 1 for pairs of one class, False or 0 for pairs of two.

    Returns
    -------
    distances : float64 ndarray of shape (n_pairs,)
        Distances.

    same : bool ndarray of shape (n_pairs,)
        Kinds.

    Raises
    ------
    ValueError
        If there are no distances, they are NaN or negative, or there is not one
        ``same`` for each.
    """
    distances = check_numbers(distances, "distances")
    if not len(distances):
        raise ValueError("distances is empty: pass at least one pair.")
    if distances.min() < -1e-6:
        raise ValueError(
            f"distances has negative values, such as {distances.min():.3g}: pass"
            " distances, of which small ones mean alike, not scores."
        )
    return distances, check_same(same, len(distances))


def check_threshold(threshold):
    """Check a threshold given as a number or left out.

    Parameters
    ----------
    threshold : float or None
        Distance up to which pairs count as the same.

    Returns
    -------
    float or None
        The same.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    if threshold is None:
        return None
    try:
        value = float(threshold)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"threshold must be a distance or None, got {threshold!r}.")
    return value


def find_threshold(estimator, threshold):
    """Threshold of a verifier, where it is asked for by "auto".

    Parameters
    ----------
    estimator : estimator
        Of which ``threshold_`` is taken, if it has one.

    threshold : float, "auto" or None
        What the caller wants.

    Returns
    -------
    float or None
        Distance.
    """
    if isinstance(threshold, str) and threshold == "auto":
        threshold = getattr(_split(estimator)[1], "threshold_", None)
    return check_threshold(threshold)


def error_rates(distances, same, threshold):
    """Share of wrong verdicts at a threshold among different and among same pairs.

    Parameters
    ----------
    distances : float64 ndarray of shape (n_pairs,)
        Distances.

    same : bool ndarray of shape (n_pairs,)
        Kinds.

    threshold : float
        Distance up to which pairs count as the same.

    Returns
    -------
    false_accepts : float or None
        Share of different pairs that is accepted; None without such pairs.

    false_rejects : float or None
        Share of same pairs that is rejected; None without such pairs.
    """
    accepted = distances <= threshold
    different, alike = accepted[~same], ~accepted[same]
    return tuple(float(e.mean()) if len(e) else None for e in (different, alike))


def pair_members(pairs, images):
    """Take pairs apart, given as images or as row numbers.

    Parameters
    ----------
    pairs : array-like of shape (n_pairs, 2, ...) or tuple of two array-likes
        Pairs of images; row numbers of ``images``, if that is given.

    images : array-like of shape (n, ...) or None
        Images that ``pairs`` point into.

    Returns
    -------
    first : array-like of shape (n_pairs, ...)
        First members.

    second : array-like of shape (n_pairs, ...)
        Second members.

    Raises
    ------
    ValueError
        If ``pairs`` has the wrong form or points outside ``images``.
    """
    if images is None:
        if _is_index(pairs):
            raise ValueError(
                "pairs holds two numbers for each pair: if they are row numbers, pass"
                " the images they point into as images=."
            )
        return check_pairs(pairs)
    pairs = _join(pairs)
    if pairs.dtype.kind not in "ui" or pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(
            f"pairs has shape {pairs.shape} and type {pairs.dtype}, but with images="
            " it must be row numbers, integers of shape (n_pairs, 2)."
        )
    n = len(images)
    if pairs.size and (pairs.min() < 0 or pairs.max() >= n):
        raise ValueError(
            f"pairs has row numbers from {pairs.min()} to {pairs.max()}, but images"
            f" has {n} rows, 0 to {n - 1}."
        )
    return take_rows(images, pairs[:, 0]), take_rows(images, pairs[:, 1])


def _is_index(pairs):
    """Whether pairs are of numbers, neither of images nor of file names."""
    if isinstance(pairs, tuple):
        # The first member tells: lists of images of several sizes make no array.
        firsts = [take_rows(part, slice(1)) for part in pairs]
        return all(np.ndim(f) == 1 and check_paths(f) is None for f in firsts)
    return np.ndim(pairs) == 2 and check_paths(np.ravel(pairs)) is None


def _join(pairs):
    """One array of index pairs, which may come as two."""
    if isinstance(pairs, tuple):
        return np.stack(check_pairs(pairs), axis=1)
    return np.asarray(pairs)


def pair_distances(estimator, pairs, images=None):
    """Measure pairs by an estimator, a search of one or a pipeline to one.

    Parameters
    ----------
    estimator : estimator
        With ``pair_distance``; the steps of a pipeline before it transform the images.

    pairs : array-like of shape (n_pairs, 2, ...) or tuple of two array-likes
        Pairs of images; row numbers of ``images``, if that is given.

    images : array-like of shape (n, ...) or None, default=None
        Images that ``pairs`` point into.

    Returns
    -------
    ndarray of shape (n_pairs,)
        Distances.

    Raises
    ------
    TypeError
        If it has no ``pair_distance``.
    """
    steps, model = _split(estimator)
    if isinstance(model, type) or not hasattr(model, "pair_distance"):
        raise TypeError(
            "estimator must have pair_distance, as SiameseEmbedder, SiameseClassifier"
            f" and SiameseVerifier do, got {estimator!r}: of other models pass the"
            " distances to from_predictions."
        )
    # Row numbers are followed piece by piece, as a copy of all pairs may not fit.
    pieces = [pairs] if images is None else _pieces(pairs)
    distances = []
    for piece in pieces:
        members = pair_members(piece, images)
        if steps is not None:
            members = tuple(steps.transform(part) for part in members)
        distances.append(model.pair_distance(tuple(members)))
    return np.concatenate(distances)


def _pieces(pairs, size=4096):
    """Index pairs a few thousand at a time."""
    pairs = _join(pairs)
    return [pairs[k : k + size] for k in range(0, len(pairs), size)] or [pairs]


def find_siamese(estimator):
    """Look for the siamese network in searches, pipelines and verifiers.

    Parameters
    ----------
    estimator : estimator
        Whatever has one in it.

    Returns
    -------
    estimator or None
        The fitted siamese estimator; None if there is none.

    Raises
    ------
    NotFittedError
        If there is one that was not fitted.
    """
    while not hasattr(estimator, "history_"):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif isinstance(estimator, Pipeline):
            estimator = estimator[-1]
        elif hasattr(estimator, "embedder_"):
            estimator = estimator.embedder_
        elif isinstance(estimator, BaseSiamese):
            raise NotFittedError(
                f"estimator is a {type(estimator).__name__} that was not fitted: call"
                " fit first."
            )
        else:
            return None
    return estimator


def _split(estimator):
    """Take the steps before the model, or None, and the model from what holds it."""
    model = getattr(estimator, "best_estimator_", estimator)
    if not isinstance(model, Pipeline):
        return None, model
    return (model[:-1] if len(model) > 1 else None), model[-1]
