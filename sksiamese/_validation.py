"""Checks of images, pairs and parameters, and scikit-learn's private helpers.

Layer 0, step 2: NumPy and scikit-learn only. The one place that imports from private
modules of scikit-learn, so that a change there is a change here.
"""

import hashlib
import math
import warnings

import numpy as np
from sklearn.base import _fit_context as fit_context
from sklearn.utils import _safe_indexing as take_rows
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_params,
)
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from sksiamese._encoding import check_same, encode
from sksiamese._file_input import check_paths, check_size, read_images
from sksiamese._memory import RowReader

__all__ = [
    "HasMethods",
    "Interval",
    "StrOptions",
    "check_classes",
    "check_groups",
    "check_is_fitted",
    "check_kind",
    "check_labels",
    "check_images",
    "check_pairs",
    "check_same",
    "check_targets",
    "fit_context",
    "identify",
    "input_shape",
    "take_rows",
    "validate_params",
]


def check_images(estimator, X, *, reset):
    """Check images or feature vectors and give them the shape the network sees.

    File names are read into images first.

    Parameters
    ----------
    estimator : estimator
        Its ``image_shape`` is read; ``image_shape_`` and ``n_features_in_`` are set
        when ``reset`` is true and compared otherwise.

    X : array-like of shape (n, height, width), (n, height, width, n_channels), \
(n, n_features) or (n,)
        Images, rows or file names.

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
    if X is None:
        raise ValueError(
            "X is None: image loaders without image_size read no pixels; give them one,"
            " or pass the names of the files as X."
        )
    if not reset and _needs_no_check(estimator, X):
        return X
    names = check_paths(X)
    if names is not None:
        X = read_images(estimator, names, reset=reset)
    if not hasattr(X, "shape"):
        try:
            X = np.asarray(X)
        except ValueError as error:
            raise ValueError(
                f"X cannot be made an array, for which all its images must have one"
                f" size: {error}"
            ) from error
    shape = X.shape
    wanted = _rows_shape(estimator, shape, reset)
    if not reset:
        _compare_shapes(estimator, shape)
    if wanted is not None and len(shape) > 2:
        # scikit-learn sees rows in every call, whichever form they come in.
        X = np.asarray(X).reshape(len(X), -1)
    X = validate_data(estimator, X, allow_nd=True, reset=reset)
    if wanted is not None:
        X = X.reshape(len(X), *wanted)
    _refuse_no_pixels(X)
    if reset:
        estimator.image_shape_ = X.shape[1:]
        estimator._dtype = X.dtype.str
        estimator._takes_rows = wanted is not None
        estimator._reads_files = names is not None
    return X


def _refuse_no_pixels(X):
    """Refuse what scikit-learn takes, but no network can."""
    if 0 in X.shape:
        raise ValueError(f"X has shape {X.shape}: an image needs at least one pixel.")
    if X.dtype.kind not in "biuf":
        raise ValueError(f"X holds values of type {X.dtype}: images are of numbers.")


def _needs_no_check(estimator, X):
    """Whether X is integer images of the fitted shape, which are finite and fit.

    For one image scikit-learn's checks take as long as a third of a small network.
    """
    return (
        type(X) is np.ndarray
        and X.dtype.kind in "ui"
        and X.ndim > 2
        and X.shape[1:] == estimator.image_shape_
        and len(X) > 0
        and not estimator._takes_rows
    )


def _rows_shape(estimator, shape, reset):
    """Check the axes of X; return the image shape that rows unfold to, if any."""
    name, wanted = type(estimator).__name__, estimator.image_shape
    if not reset:
        # What fit made of rows holds, whatever the parameter says by now.
        wanted = estimator.image_shape_ if estimator._takes_rows else None
    elif wanted is not None:
        wanted = check_size("image_shape", wanted, (2, 3))
    if len(shape) > 4:
        raise ValueError(
            f"X has {len(shape)} axes, but {name} takes images (n, height, width) or"
            " (n, height, width, n_channels), or rows (n, n_features)."
        )
    if len(shape) == 4 and shape[1] <= 4 < shape[3] and tuple(shape[1:]) != wanted:
        raise ValueError(
            f"X of shape {tuple(shape)} looks channels-first, but images are taken"
            " channels-last, as NumPy, Pillow and scikit-image give them: pass"
            " np.moveaxis(X, 1, -1)."
        )
    if wanted is None:
        return None
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
    as_rows = estimator._takes_rows or len(seen) == 1
    if len(shape) < 2 or (len(shape) == 2 and as_rows):
        return  # left to scikit-learn, which knows feature names too
    given = tuple(shape[1:])
    if given != seen:
        advice = "resize or reshape X to that, or fit again."
        if (*given, 3) == seen:
            advice = 'read the files with mode="rgb", or fit again.'
        elif given == (*seen, 3):
            advice = 'read the files with mode="grey", or fit again.'
        raise ValueError(
            f"X holds samples of shape {given}, but"
            f" {type(estimator).__name__} was fitted on samples of shape {seen}:"
            f" {advice}"
        )


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


def check_targets(estimator, y):
    """Check that there are labels, and of classes.

    Parameters
    ----------
    estimator : estimator
        For the message.

    y : array-like of shape (n,)
        Labels.

    Returns
    -------
    ndarray of shape (n,)
        Labels.
    """
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is"
            " None: it learns from labelled images."
        )
    y = column_or_1d(y, warn=True)
    check_classification_targets(y)
    return y


def check_labels(estimator, y):
    """Check labels, and that batches of pairs can be formed of them.

    Parameters
    ----------
    estimator : estimator
        Its ``batch_size`` and ``classes_per_batch`` are read.

    y : array-like of shape (n,)
        Labels.

    Returns
    -------
    y : ndarray of shape (n,)
        Labels.

    labels : ndarray of shape (n_classes,)
        Sorted distinct labels.

    Raises
    ------
    ValueError
        If there is no pair of one class, none of two, or no room for both in a batch.
    """
    y = check_targets(estimator, y)
    labels, counts = np.unique(y, return_counts=True)
    if len(labels) < 2:
        raise ValueError(
            f"y has {len(labels)} class {labels.tolist()}: pairs of two classes are"
            " needed to learn from, so pass images of at least two classes."
        )
    if counts.max() < 2:
        raise ValueError(
            "No class in y has two images, so there is no pair of one class to learn"
            " from: add images, or embed with a trained model and enroll these."
        )
    wanted = estimator.classes_per_batch
    wanted = min(2 if wanted == "auto" else wanted, len(labels))
    if estimator.batch_size < 2 * wanted:
        raise ValueError(
            f"batch_size={estimator.batch_size} cannot hold two images of each of"
            f" {wanted} classes: set it to {2 * wanted} or more, or lower"
            " classes_per_batch."
        )
    single = labels[counts == 1]
    if len(single):
        shown = ", ".join(map(str, single[:5])) + ", ..." * (len(single) > 5)
        warnings.warn(
            f"Classes with one image: {shown}. They have no pair of their own and train"
            " as negatives only.",
            UserWarning,
            stacklevel=4,
        )
    return y, labels


def identify(X, codes, groups):
    """Tell one data set from another, by its form, its labels and some images.

    Parameters
    ----------
    X : ndarray of shape (n, ...)
        Images.

    codes : int64 ndarray of shape (n,)
        Encoded labels.

    groups : ndarray of shape (n,) or None
        Groups.

    Returns
    -------
    str
        Equal for equal data.
    """
    sample = RowReader(X).take(np.arange(0, len(X), max(1, len(X) // 64)))
    members = None if groups is None else groups.tolist()
    form = repr((X.shape, X.dtype.str, members)).encode()
    return hashlib.blake2b(form + sample.tobytes() + codes.tobytes()).hexdigest()


def check_kind(y, known):
    """Refuse to mix booleans, numbers and strings, which NumPy would convert.

    Parameters
    ----------
    y : array-like of shape (n,)
        New labels.

    known : ndarray of shape (n_classes,)
        Labels so far.

    Raises
    ------
    ValueError
        If they are of different kinds.
    """
    y = np.asarray(y)
    number = {"b": "boolean", "i": "number", "u": "number", "f": "number"}
    if number.get(y.dtype.kind) != number.get(known.dtype.kind):
        raise ValueError(
            f"y holds labels of type {y.dtype}, but the classes so far are of type"
            f" {known.dtype}: booleans, numbers and strings cannot be mixed, so convert"
            " y."
        )


def check_classes(y, classes, known):
    """Check the labels of a chunk against those that were announced.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Labels of the chunk.

    classes : array-like of shape (n_classes,) or None
        All labels, as announced in this call.

    known : ndarray of shape (n_classes,) or None
        Sorted labels of earlier calls; None in the first one.

    Returns
    -------
    ndarray of shape (n_classes,)
        Sorted labels of this and all calls to come.

    Raises
    ------
    ValueError
        If ``classes`` differs from earlier calls or lacks a label of ``y``.
    """
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
        named = pairs.ndim == 2 and check_paths(pairs.ravel()) is not None
        if not (pairs.ndim > 2 or named) or pairs.shape[1] != 2:
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


def check_groups(groups, y):
    """Check groups, such as patients, and number them.

    Parameters
    ----------
    groups : array-like of shape (n,) or None
        Group of each image.

    y : array-like of shape (n,)
        Labels of the images.

    Returns
    -------
    int64 ndarray of shape (n,) or None
        Number of each image's group.

    Raises
    ------
    ValueError
        If there is not one for each image, or one is missing.
    """
    return None if groups is None else encode(groups, "groups", len(y))
