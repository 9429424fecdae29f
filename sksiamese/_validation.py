"""Checks of images, pairs and parameters, and scikit-learn's private helpers.

Layer 0: NumPy and scikit-learn only. The one place that imports from private modules of
scikit-learn, so that a change there is a change here.
"""

import math

import numpy as np
from sklearn.base import _fit_context as fit_context
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

__all__ = [
    "HasMethods",
    "Interval",
    "StrOptions",
    "check_is_fitted",
    "check_kind",
    "check_images",
    "check_pairs",
    "check_size",
    "fit_context",
    "input_shape",
]


def check_images(estimator, X, *, reset):
    """Check images or feature vectors and give them the shape the network sees.

    Parameters
    ----------
    estimator : estimator
        Its ``image_shape`` is read; ``image_shape_`` and ``n_features_in_`` are set
        when ``reset`` is true and compared otherwise.

    X : array-like of shape (n, height, width), (n, height, width, n_channels) or \
(n, n_features)
        Input.

    reset : bool
        Whether this is ``fit``.

    Returns
    -------
    ndarray of shape (n, *image_shape_)
        The same values in the same dtype, without a copy where the input is an array.

    Raises
    ------
    ValueError
        If ``X`` holds NaN or infinity, looks channels-first, does not match
        ``image_shape`` or the shape seen in ``fit``.
    """
    if not hasattr(X, "shape"):
        X = np.asarray(X)
    shape = X.shape
    wanted = _rows_shape(estimator, X, shape)
    if not reset:
        _compare_shapes(estimator, shape)
    if wanted is not None and len(shape) > 2:
        # scikit-learn sees rows in every call, whichever form they come in.
        X = np.asarray(X).reshape(len(X), -1)
    X = validate_data(estimator, X, allow_nd=True, reset=reset)
    if wanted is not None:
        X = X.reshape(len(X), *wanted)
    if 0 in X.shape:
        raise ValueError(f"X has shape {X.shape}: an image needs at least one pixel.")
    if reset:
        estimator.image_shape_ = X.shape[1:]
    return X


def _rows_shape(estimator, X, shape):
    """Check the axes of X; return the image shape that rows unfold to, if any."""
    name = type(estimator).__name__
    if len(shape) > 4:
        raise ValueError(
            f"X has {len(shape)} axes, but {name} takes images (n, height, width) or"
            " (n, height, width, n_channels), or rows (n, n_features)."
        )
    if len(shape) == 4 and shape[1] in (1, 3, 4) and shape[3] > 4:
        raise ValueError(
            f"X of shape {tuple(shape)} looks channels-first, but images are taken"
            " channels-last, as NumPy, Pillow and scikit-image give them: pass"
            " np.moveaxis(X, 1, -1)."
        )
    if estimator.image_shape is None:
        return None
    wanted = check_size("image_shape", estimator.image_shape, (2, 3))
    if len(shape) == 2 and shape[1] != math.prod(wanted):
        raise ValueError(
            f"X has {shape[1]} columns, but image_shape={wanted} has"
            f" {math.prod(wanted)} pixels: set image_shape to the shape that was"
            " flattened, or pass the images themselves."
        )
    if len(shape) > 2 and tuple(shape[1:]) != wanted:
        raise ValueError(
            f"X holds images of shape {tuple(shape[1:])}, but image_shape={wanted}:"
            " leave image_shape=None for images that are not flattened."
        )
    return wanted


def _compare_shapes(estimator, shape):
    """Refuse images of another size than those seen in fit."""
    seen = estimator.image_shape_
    as_rows = estimator.image_shape is not None or len(seen) == 1
    if len(shape) < 2 or (len(shape) == 2 and as_rows):
        return  # left to scikit-learn, which knows feature names too
    if tuple(shape[1:]) != seen:
        raise ValueError(
            f"X holds samples of shape {tuple(shape[1:])}, but"
            f" {type(estimator).__name__} was fitted on samples of shape {seen}: resize"
            " or reshape X to that, or fit again."
        )


def check_size(name, value, lengths):
    """Check a tuple of positive integers.

    Parameters
    ----------
    name : str
        Parameter, for the message.

    value : object
        Its value.

    lengths : tuple of int
        Allowed lengths.

    Returns
    -------
    tuple of int
        The checked value.
    """
    parts = tuple(value)
    good = all(isinstance(p, (int, np.integer)) and p > 0 for p in parts)
    if len(parts) not in lengths or not good:
        forms = " or ".join(
            "(height, width)" if n == 2 else "(height, width, n_channels)"
            for n in lengths
        )
        raise ValueError(f"{name} must be {forms} in pixels, got {value!r}.")
    return tuple(int(p) for p in parts)


def input_shape(image_shape, *, image_size=None, to_rgb=False):
    """Shape of one preprocessed sample, channels first, as a backbone sees it.

    Parameters
    ----------
    image_shape : tuple of int
        ``(height, width)``, ``(height, width, n_channels)`` or ``(n_features,)``.

    image_size : tuple of int or None, default=None
        Height and width after resizing.

    to_rgb : bool, default=False
        Whether grey images are repeated in three channels.

    Returns
    -------
    tuple of int
        ``(n_channels, height, width)`` or ``(n_features,)``.
    """
    if len(image_shape) == 1:
        return image_shape
    n_channels = image_shape[2] if len(image_shape) == 3 else 1
    return (3 if to_rgb else n_channels, *(image_size or image_shape[:2]))


def check_kind(y, known):
    """Refuse to mix numbers and strings, which NumPy would turn into strings.

    Parameters
    ----------
    y : array-like of shape (n,)
        New labels.

    known : ndarray of shape (n_classes,)
        Labels so far.

    Raises
    ------
    ValueError
        If only one of them holds numbers.
    """
    y = np.asarray(y)
    if (y.dtype.kind in "biuf") != (known.dtype.kind in "biuf"):
        raise ValueError(
            f"y holds labels of type {y.dtype}, but the classes so far are of type"
            f" {known.dtype}: numbers and strings cannot be mixed, so convert y."
        )


def check_classes(y, classes, known):
    """Check the labels of a chunk against those that were announced.

    Parameters
    ----------
    y : array-like of shape (n,) or None
        Labels of the chunk.

    classes : array-like of shape (n_classes,) or None
        All labels, as announced in this call.

    known : ndarray of shape (n_classes,) or None
        Sorted labels of earlier calls; None in the first one.

    Returns
    -------
    ndarray of shape (n_classes,) or None
        Sorted labels of this and all calls to come; None if ``y`` is.

    Raises
    ------
    ValueError
        If ``classes`` differs from earlier calls or lacks a label of ``y``.
    """
    if y is None:
        return known
    if known is None:
        known = np.unique(y if classes is None else classes)
    elif classes is not None and not np.array_equal(np.unique(classes), known):
        raise ValueError(
            f"classes={classes!r} differs from the classes of earlier calls, {known}:"
            " leave it out, or add new classes by enroll."
        )
    check_kind(y, known)
    unknown = np.setdiff1d(y, known)
    if len(unknown):
        raise ValueError(
            f"y has labels {unknown} that are not among the classes {known}: pass all"
            " labels as classes in the first call, or add new ones by enroll."
        )
    return known


def check_pairs(pairs):
    """Check pairs of samples and take them apart.

    Parameters
    ----------
    pairs : array-like of shape (n_pairs, 2, ...) or tuple of two array-likes
        Pairs, as one array or as their first and second members.

    Returns
    -------
    first : array-like of shape (n_pairs, ...)
        First members.

    second : array-like of shape (n_pairs, ...)
        Second members.

    Raises
    ------
    ValueError
        If the form is another or the two members differ in number.
    """
    if isinstance(pairs, tuple):
        if len(pairs) != 2:
            raise ValueError(
                f"pairs is a tuple of {len(pairs)}: pass (first, second), two arrays of"
                " equal length."
            )
        first, second = pairs
    else:
        pairs = check_array(pairs, allow_nd=True, ensure_2d=False, dtype=None)
        if pairs.ndim < 3 or pairs.shape[1] != 2:
            raise ValueError(
                f"pairs has shape {pairs.shape}: pass an array of shape"
                " (n_pairs, 2, ...) or a tuple of two arrays."
            )
        first, second = pairs[:, 0], pairs[:, 1]
    if len(first) != len(second):
        raise ValueError(
            f"pairs has {len(first)} first but {len(second)} second members."
        )
    return first, second
