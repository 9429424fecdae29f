"""File names as the input of estimators (layer 0, step 3: NumPy only)."""

import os

import numpy as np

from sksiamese._reading import Reading, read_files

# What file names are given as.
_PATH = (str, os.PathLike)


def _is_single(row):
    """Whether a row of a nested list has one cell."""
    return isinstance(row, (list, tuple)) and len(row) == 1


def check_paths(X):
    """Tell file names from values, and check that each of them is one.

    Parameters
    ----------
    X : array-like of shape (n, ...)
        Input of an estimator.

    Returns
    -------
    list of str or None
        File names; None if ``X`` holds values.

    Raises
    ------
    ValueError
        If ``X`` holds file names and something else.
    """
    if isinstance(X, (list, tuple)):
        values = [x[0] if _is_single(x) else x for x in X]
    elif getattr(getattr(X, "dtype", None), "kind", "O") in "biufc":
        return None
    else:
        values = np.asarray(X)
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        values = values.tolist() if values.ndim == 1 else []
    is_path = [isinstance(value, _PATH) for value in values]
    if not any(is_path):
        return None
    if not all(is_path):
        row = is_path.index(False)
        raise ValueError(
            f"X holds file names, but row {row} is {values[row]!r}: drop such rows."
        )
    return [os.fspath(value) for value in values]


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


def read_images(estimator, names, *, reset):
    """Read the files that an estimator was given.

    Parameters
    ----------
    estimator : estimator
        Its ``image_size``, ``image_shape``, ``n_jobs``, ``cache_dir`` and ``verbose``
        are read.

    names : list of str
        Files.

    reset : bool
        Whether this is ``fit``, which settles the mode; later files are read as
        ``image_shape_`` says.

    Returns
    -------
    uint8 ndarray of shape (n, height, width) or (n, height, width, 3)
        Pixels.

    Raises
    ------
    ImageReadError
        If a file cannot be read.

    ValueError
        If the size is not known, or ``fit`` saw arrays.
    """
    if not reset:
        if not estimator._reads_files:
            raise ValueError(
                "X holds file names, but fit saw arrays, whose values may mean"
                " something else: read the files as they were read for fit, for example"
                " by sksiamese.images.ImageReader."
            )
        size = estimator.image_shape_[:2]
        mode = "grey" if len(estimator.image_shape_) == 2 else "rgb"
    else:
        size, mode = estimator.image_size, "auto"
        if size is None or estimator.image_shape is not None:
            raise ValueError(
                "X holds file names: set image_size to the height and width to read"
                " them at, and leave image_shape=None, which is for flattened images."
            )
        if isinstance(size, (int, np.integer)):
            size = size, size
        size = check_size("image_size", size, (2,))
    reading = Reading(
        size,
        mode,
        n_jobs=estimator.n_jobs,
        cache_dir=estimator.cache_dir,
        verbose=estimator.verbose,
    )
    return read_files(names, reading)[0]
