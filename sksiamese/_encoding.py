"""Labels, groups, kinds of pairs and weights, checked (layer 0: NumPy only)."""

from numbers import Real

import numpy as np


def encode(values, name, n_rows=None):
    """Replace each value of an array by its rank among the distinct ones.

    Parameters
    ----------
    values : array-like of shape (n,)
        Labels or groups.

    name : str
        Parameter they were passed as, for the message.

    n_rows : int or None, default=None
        Wanted length; None takes any.

    Returns
    -------
    int64 ndarray of shape (n,)
        Ranks, from 0.

    Raises
    ------
    ValueError
        If the length is another, or values are missing or of kinds that do not mix.
    """
    return encode_together((values, name, n_rows))[0]


def encode_together(*labels):
    """Replace the values of several arrays by their ranks among those of all.

    Parameters
    ----------
    *labels : tuples
        Values, name and wanted length of each, as for :func:`encode`.

    Returns
    -------
    list of int64 ndarrays
        Ranks, from 0; equal ones for equal values, whichever array they are in.

    Raises
    ------
    ValueError
        If a length is another, or values are missing or of kinds that do not mix.
    """
    arrays = [_flat(*one) for one in labels]
    if len({array.dtype.kind for array in arrays}) > 1:
        # As one array, NumPy would make strings of numbers, and floats of integers.
        arrays = [array.astype(object) for array in arrays]
    try:
        codes = np.unique(np.concatenate(arrays), return_inverse=True)[1]
    except TypeError as error:
        names = " and ".join(name for _, name, _ in labels)
        raise ValueError(
            f"{names} {'have' if len(labels) > 1 else 'has'} values of kinds that"
            f" cannot be sorted together: make all of one kind ({error})."
        ) from error
    return np.split(codes, np.cumsum([len(array) for array in arrays])[:-1])


def check_same(same, n_pairs):
    """Check what is said about pairs: whether each is of one class.

    Parameters
    ----------
    same : array-like of shape (n_pairs,)
        True or 1 for pairs of one class, False or 0 for pairs of two.

    n_pairs : int
        Number of pairs.

    Returns
    -------
    bool ndarray of shape (n_pairs,)
        The same as booleans.

    Raises
    ------
    ValueError
        If there are values other than 0 and 1, or not one for each pair.
    """
    same = np.asarray(same)
    if same.ndim != 1:
        raise ValueError(f"same has shape {same.shape}: pass one value per pair.")
    if len(same) != n_pairs:
        raise ValueError(
            f"same has {len(same)} entries, but there are {n_pairs} pairs."
        )
    same = _narrow(same)
    if same.dtype.kind == "b":
        return same
    if same.dtype.kind not in "iuf" or not np.isin(same, (0, 1)).all():
        right = {repr(kind(value)) for kind in (bool, int, float) for value in (0, 1)}
        odd = sorted({repr(value) for value in same.tolist()} - right)
        raise ValueError(
            "same holds values other than 0 (different) and 1 (same), such as"
            f" {', '.join(odd[:3])}: pass for each pair whether its members are of one"
            " class, not their labels or scores."
        )
    return same.astype(bool)


def check_numbers(values, name, n_rows=None):
    """Check finite numbers, one for each row.

    Parameters
    ----------
    values : array-like of shape (n,)
        Numbers.

    name : str
        Parameter they were passed as, for the message.

    n_rows : int or None, default=None
        Wanted length; None takes any.

    Returns
    -------
    float64 ndarray of shape (n,)
        The same numbers.

    Raises
    ------
    ValueError
        If the length is another, or values are no numbers, NaN or infinite.
    """
    values = np.asarray(values)
    if values.ndim != 1 or n_rows not in (None, len(values)):
        wanted = "" if n_rows is None else f", which are {n_rows}"
        raise ValueError(
            f"{name} has shape {values.shape}: pass a flat array with one number for"
            f" each of the rows{wanted}."
        )
    values = _narrow(values)
    if values.dtype.kind not in "biuf":
        odd = [value for value in values.tolist() if not isinstance(value, Real)]
        raise ValueError(
            f"{name} holds values that are no numbers, such as {odd[:3]}: convert them,"
            " or leave these rows out."
        )
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinite values: leave them out.")
    return values


def check_weights(sample_weight, n_rows):
    """Check the weights of rows.

    Parameters
    ----------
    sample_weight : array-like of shape (n,) or None
        Weights, >= 0; None weighs rows alike.

    n_rows : int
        Number of rows.

    Returns
    -------
    float64 ndarray of shape (n,) or None
        The same.

    Raises
    ------
    ValueError
        If there is not one for each row, or they are negative or add up to 0.
    """
    if sample_weight is None:
        return None
    weight = check_numbers(sample_weight, "sample_weight", n_rows)
    if (weight < 0).any():
        raise ValueError("sample_weight holds negative values: pass weights >= 0.")
    if not weight.any():
        raise ValueError("sample_weight adds up to 0: no row would count.")
    return weight


def _flat(values, name, n_rows):
    """Array of one axis without missing values."""
    if not hasattr(values, "dtype"):  # NumPy makes strings of all if one is
        values = np.array(values, dtype=object)
    values = np.asarray(values)
    if values.ndim != 1 or n_rows not in (None, len(values)):
        wanted = "" if n_rows is None else f", which are {n_rows}"
        raise ValueError(
            f"{name} has shape {values.shape}: pass a flat array with one entry for"
            f" each of the images{wanted}."
        )
    if values.dtype.kind not in "biuSU" and any(map(_is_missing, values.tolist())):
        raise ValueError(
            f"{name} has missing values: leave these images out, or give each an entry"
            " of its own."
        )
    return values


def _narrow(values):
    """Objects, as pandas and JSON give them, in the dtype that NumPy finds for them."""
    return np.array(values.tolist()) if values.dtype.kind == "O" else values


def _is_missing(value):
    """Whether a value is None, NaN, NaT or the missing value of pandas."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except TypeError:  # pandas' NA is neither equal nor unequal to itself
        return True
