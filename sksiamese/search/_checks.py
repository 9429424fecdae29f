"""Checks of ids and metadata, the same for every store (level 0.05)."""

import datetime
import math
from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np

from sksiamese.search._header import some

_MAX_ID_BYTES = 1_000  # an index entry of PostgreSQL holds about 2,700 bytes
_MAX_DEPTH = 32  # of nested metadata


def check_ids(ids, n=None):
    """Check ids: whole numbers or strings, each once.

    Parameters
    ----------
    ids : array-like of shape (n,)
        Ids, or one of them.

    n : int or None, default=None
        How many there must be; None allows any number.

    Returns
    -------
    kind : {"int", "str"}
        Their type.

    ids : list
        The ids, as Python objects.

    Raises
    ------
    TypeError
        If they are neither all whole numbers nor all strings.

    ValueError
        If their number does not fit, one is there twice or can not be stored.
    """
    if isinstance(ids, str | Integral):
        ids = [ids]
    ids = ids.tolist() if hasattr(ids, "tolist") else list(ids)
    if n is not None and len(ids) != n:
        raise ValueError(f"ids has {len(ids)} entries, but X has {n} images.")
    if all(isinstance(i, str) for i in ids):
        kind = "str"
        for text in ids:
            _check_id_text(text)
    elif all(isinstance(i, Integral) and not isinstance(i, bool) for i in ids):
        kind, ids = "int", [int(i) for i in ids]
        for number in (min(ids), max(ids)):
            if not -(2**63) <= number < 2**63:
                raise ValueError(f"ids must fit into 64 bits, got {number}.")
    else:
        wrong = [i for i in ids if type(i) is bool or not isinstance(i, str | Integral)]
        found = f"{wrong[0]!r} ({type(wrong[0]).__name__})" if wrong else "both"
        raise TypeError(f"ids must be all whole numbers or all strings, got {found}.")
    if len(set(ids)) < len(ids):
        raise ValueError(f"ids must be unique; {some(_repeated(ids))} occur twice.")
    return kind, ids


def _check_id_text(text):
    """Check one id that is a string."""
    if not 1 <= len(_utf8("ids", text)) <= _MAX_ID_BYTES:
        raise ValueError(
            f"ids must have between 1 and {_MAX_ID_BYTES} bytes, got {text[:40]!r}"
            f" with {len(text.encode())}."
        )


def _repeated(values):
    """List the values that occur more than once."""
    seen = set()
    return [value for value in values if value in seen or seen.add(value)]


def _utf8(name, text):
    """Encode a string, which no store may refuse."""
    if "\0" in text:
        raise ValueError(f"{name} must not hold null characters, got {text[:40]!r}.")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{name} must be valid Unicode, got {text[:40]!r} with a lone surrogate."
        ) from None


def check_metadata(metadata, n):
    """Check metadata, and bring it into one form.

    Parameters
    ----------
    metadata : sequence of dict, mapping of columns, DataFrame or None
        One dict for each item; or columns, each with one value for each item.

    n : int
        Number of items.

    Returns
    -------
    list of dict
        JSON values only: NaN and other missing values are None, NumPy's numbers are
        Python's, dates are ISO strings.

    Raises
    ------
    TypeError
        If it has another form, or a value has no form in JSON.

    ValueError
        If lengths do not fit, or a number or string can not be stored.
    """
    if metadata is None:
        return [{} for _ in range(n)]
    if isinstance(metadata, Mapping) or hasattr(metadata, "columns"):
        rows = _rows_of_columns(metadata, n)
    else:
        rows = list(metadata)
    if len(rows) != n:
        raise ValueError(f"metadata has {len(rows)} entries, but X has {n} images.")
    for row in rows:
        if not isinstance(row, Mapping):
            raise TypeError(
                "metadata must be a dict for each image, or columns of values, got"
                f" {type(row).__name__} for an image."
            )
    return [_to_json("metadata", row) for row in rows]


def _rows_of_columns(metadata, n):
    """Turn columns into one dict for each item."""
    columns = {}
    for key in metadata:
        values = metadata[key]
        if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
            raise TypeError(
                f"metadata[{key!r}] must have one value for each of the {n} images, got"
                f" {values!r}."
            )
        if len(values) != n:
            raise ValueError(
                f"metadata[{key!r}] has {len(values)} entries, but X has {n} images."
            )
        # NumPy's own list of dates has plain numbers for some units.
        as_list = (
            getattr(values, "dtype", None) is not None and values.dtype.kind != "M"
        )
        columns[key] = values.tolist() if as_list else list(values)
    if not columns:
        return [{} for _ in range(n)]
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*columns.values(), strict=True)
    ]


def _to_json(name, value, depth=0):
    """Bring one value into a form that JSON has."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"{name} is nested more than {_MAX_DEPTH} levels deep.")
    if isinstance(value, Mapping):
        return {
            check_key(name, key): _to_json(f"{name}[{key!r}]", item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_to_json(name, item, depth + 1) for item in value]
    return scalar(name, value)


def check_key(name, key):
    """Check the name of a metadata value.

    Parameters
    ----------
    name : str
        What to call it in errors.

    key : str
        The name.

    Returns
    -------
    str
        The name.

    Raises
    ------
    TypeError
        If it is no string.

    ValueError
        If it can not be stored.
    """
    if not isinstance(key, str):
        raise TypeError(f"{name} must have strings as keys, got {key!r}.")
    _utf8(f"A key of {name}", key)
    return key


def scalar(name, value):
    """Bring a single value into a form that JSON has.

    Parameters
    ----------
    name : str
        What to call it in errors.

    value : object
        String, number, bool, date or None, of Python, NumPy or pandas.

    Returns
    -------
    str, int, float, bool or None
        The value; None for NaN and other missing values.

    Raises
    ------
    TypeError
        If it has no form in JSON.

    ValueError
        If no store could keep it as it is.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, str):
        _utf8(name, value)
        return str(value)
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else str(value)
    # pandas' missing values; its NA has no truth value, so that it comes first.
    if type(value).__name__ in ("NAType", "NaTType") or value != value:
        return None
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Integral | Real):
        return _number(name, value)
    raise TypeError(
        f"{name} must be a string, number, bool, date, None, list or dict, got"
        f" {value!r} ({type(value).__name__})."
    )


def _number(name, value):
    """Bring a number into a form that every store keeps as it is."""
    if isinstance(value, Integral):
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"{name} must fit into 64 bits, got {value}.")
        return int(value)
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}.")
    return float(value)
