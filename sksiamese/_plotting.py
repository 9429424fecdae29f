"""What the displays share: axes, colours, pairs and pictures (layer 4)."""

import math

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_array

from sksiamese._base import BaseSiamese
from sksiamese._encoding import check_numbers, check_same
from sksiamese._file_input import check_paths, check_size, read_images
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


def load_images(images, *, image_shape=None, siamese=None):
    """Bring images to a form that has height and width.

    Parameters
    ----------
    images : array-like of shape (n, height, width), (n, height, width, n_channels), \
(n, n_features) or (n,)
        Images, rows or file names.

    image_shape : tuple of int or None, default=None
        Shape that rows unfold to; None is the shape that ``siamese`` unfolds them to.

    siamese : estimator or None, default=None
        Fitted estimator that reads the files.

    Returns
    -------
    ndarray of shape (n, height, width) or (n, height, width, n_channels)
        Images.

    Raises
    ------
    ValueError
        If they cannot be shown as images, look channels-first or have a shape other
        than ``image_shape``.
    """
    names = check_paths(images)
    if names is not None:
        if siamese is None:
            raise ValueError(
                "images holds file names: read them first, for example by"
                " sksiamese.images.ImageReader."
            )
        images = read_images(siamese, names, reset=False)
    images = np.asarray(images)
    if image_shape is not None:
        image_shape = check_size("image_shape", image_shape, (2, 3))
        if images.ndim > 2 and images.shape[1:] != image_shape:
            raise ValueError(
                f"images holds images of shape {images.shape[1:]}, but image_shape="
                f"{image_shape}: leave image_shape=None for images that are not"
                " flattened."
            )
    return _unfold(images, image_shape or getattr(siamese, "image_shape_", ()))


def _unfold(images, image_shape):
    """Make images of rows; refuse what cannot be shown."""
    if images.ndim == 2 and len(image_shape) > 1:
        if images.shape[1] != math.prod(image_shape):
            raise ValueError(
                f"images has {images.shape[1]} columns, but image_shape={image_shape}"
                f" has {math.prod(image_shape)} pixels."
            )
        return images.reshape(len(images), *image_shape)
    shape = images.shape
    if len(shape) not in (3, 4):
        hint = ": pass image_shape if these are flattened images" * (len(shape) == 2)
        raise ValueError(
            f"images has shape {shape}, but only images (n, height, width) or"
            f" (n, height, width, n_channels) can be shown{hint}."
        )
    if len(shape) == 4 and shape[1] <= 4 < shape[3] and shape[1:] != image_shape:
        raise ValueError(
            f"images of shape {shape} looks channels-first: pass channels-last images,"
            " np.moveaxis(images, 1, -1)."
        )
    return images


def open_images(images, *, image_shape=None, siamese=None):
    """Check images of which some will be shown; files are read when they are.

    Parameters
    ----------
    images : array-like of shape (n, ...) or None
        Images, rows or file names.

    image_shape : tuple of int or None, default=None
        Shape that rows unfold to; None is the shape that ``siamese`` unfolds them to.

    siamese : estimator or None, default=None
        Fitted estimator that reads the files.

    Returns
    -------
    ndarray of shape (n, height, width[, n_channels]), _Files or None
        Images, to be had by ``images[rows]``.

    Raises
    ------
    ValueError
        If they cannot be shown as images, or there is a shape of none.
    """
    if images is None:
        if image_shape is not None:
            raise ValueError(
                "image_shape is given, but images is None: pass images, or neither."
            )
        return None
    names = check_paths(images)
    if names is None:
        return load_images(images, image_shape=image_shape, siamese=siamese)
    return _Files(names, image_shape, siamese)


class _Files:
    """Files that pass for an array of images, of which rows are read when taken."""

    def __init__(self, names, image_shape, siamese):
        self._names, self._siamese = names, siamese
        first = load_images(names[:1], image_shape=image_shape, siamese=siamese)
        self.shape = len(names), *first.shape[1:]

    def __len__(self):
        return len(self._names)

    def __getitem__(self, rows):
        return load_images([self._names[k] for k in rows], siamese=self._siamese)


def make_pictures(images):
    """Scale images to colours for the screen.

    Bytes and floats in [0, 1] keep their brightness; other values are stretched from
    the smallest to the largest one of all images given. Images of one channel are grey,
    of three in colour, and of others the mean of the channels.

    Parameters
    ----------
    images : ndarray of shape (n, height, width) or (n, height, width, n_channels)
        Images of any numeric dtype.

    Returns
    -------
    float32 ndarray of shape (n, height, width, 3)
        Red, green and blue, in [0, 1].
    """
    images = check_array(images, allow_nd=True, dtype="numeric", input_name="images")
    is_byte = images.dtype == np.uint8
    pictures = images.astype(np.float64)
    low, high = pictures.min(), pictures.max()
    if is_byte:
        pictures /= 255
    elif low < 0 or high > 1:
        pictures = (pictures - low) / ((high - low) or 1)
    if pictures.ndim == 3:
        pictures = pictures[..., None]
    if pictures.shape[-1] != 3:
        grey = pictures.mean(axis=-1, keepdims=True)
        pictures = np.repeat(grey, 3, axis=-1)
    return pictures.astype(np.float32)
