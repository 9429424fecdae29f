"""Checks of ids and metadata, the same for every store (level 0.05)."""

import datetime
import math
from collections.abc import Collection, Iterable, Mapping
from numbers import Integral, Real

import numpy as np

from sksiamese.search._header import some

_MAX_ID_BYTES = 1_000  # an index entry of PostgreSQL holds about 2,700 bytes
_MAX_DEPTH = 32  # of nested metadata
_COARSE = "Y", "M", "W", "D", "h", "m"  # units of NumPy's dates that leave out seconds


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
    ids = _id_list(ids, n)
    if n is not None and len(ids) != n:
        raise ValueError(f"ids has {len(ids)} entries, but X has {n} images.")
    if all(isinstance(i, str) for i in ids):
        kind, ids = "str", [str.__str__(i) for i in ids]  # of an enum, its value
        for text in ids:
            _check_id_text(text)
    elif all(map(_is_whole, ids)):
        kind, ids = "int", [int(i) for i in ids]
        for number in (min(ids), max(ids)):
            if not -(2**63) <= number < 2**63:
                raise ValueError(f"ids must fit into 64 bits, got {number}.")
    else:
        wrong = [i for i in ids if not (isinstance(i, str) or _is_whole(i))]
        found = f"{wrong[0]!r} ({type(wrong[0]).__name__})" if wrong else "both"
        raise TypeError(f"ids must be all whole numbers or all strings, got {found}.")
    if len(set(ids)) < len(ids):
        raise ValueError(f"ids must be unique; {some(_repeated(ids))} occur twice.")
    return kind, ids


def _id_list(ids, n):
    """Make a list of ids, or of one."""
    if isinstance(ids, set | frozenset) and n is not None:
        raise TypeError("ids must be in the order of X, got a set: pass a list.")
    if hasattr(ids, "columns"):
        raise TypeError(f"ids must be one column, got a {type(ids).__name__}.")
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        return [ids]
    # Not tolist, which makes numbers of NumPy's dates.
    return list(ids) if getattr(ids, "ndim", 1) else [ids]


def _is_whole(value):
    """Whether a value is a whole number; for NumPy timedeltas are."""
    return isinstance(value, Integral) and not isinstance(value, bool | np.timedelta64)


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


def check_lengths(embeddings=None, ids=None, metadata=None):
    """Check that there is one of each for every item.

    Parameters
    ----------
    embeddings, ids, metadata : sequence or None, default=None
        What belongs together; None for what is not there.

    Raises
    ------
    ValueError
        If lengths differ.
    """
    given = {"embeddings": embeddings, "ids": ids, "metadata": metadata}
    lengths = {name: len(of) for name, of in given.items() if of is not None}
    if len(set(lengths.values())) > 1:
        found = " and ".join(f"{n} {name}" for name, n in lengths.items())
        raise ValueError(
            f"There must be as many embeddings, ids and metadata, got {found}. Nothing"
            " was changed. An embedder must give one embedding for each image."
        )


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
        Python's. Dates are ISO strings, one for each moment, which sort by time if all
        are of one kind: with a time zone in UTC, and without it no time part at
        midnight.

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
    elif isinstance(metadata, Iterable):
        rows = list(metadata)
    else:
        rows = [metadata]
    for row in rows:
        if not isinstance(row, Mapping):
            raise TypeError(
                "metadata must be a dict for each image, or columns of values, got"
                f" {type(row).__name__} for an image."
            )
    if len(rows) != n:
        raise ValueError(f"metadata has {len(rows)} entries, but X has {n} images.")
    return [_to_json("metadata", row) for row in rows]


def _rows_of_columns(metadata, n):
    """Turn columns into one dict for each item."""
    keys = [check_key("metadata", k) for k in getattr(metadata, "columns", metadata)]
    if len(set(keys)) < len(keys):
        raise ValueError(
            f"metadata must have columns of different names; {some(_repeated(keys))}"
            " occur twice."
        )
    columns = {}
    for key in keys:
        values = metadata[key]
        if not is_many(values) or isinstance(values, set | frozenset):
            raise TypeError(
                f"metadata[{key!r}] must be a list or array with one value for each of"
                f" the {n} images, got {values!r} ({type(values).__name__})."
            )
        if len(values) != n:
            raise ValueError(
                f"metadata[{key!r}] has {len(values)} entries, but X has {n} images."
            )
        columns[key] = values
    if not columns:
        return [{} for _ in range(n)]
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*columns.values(), strict=True)
    ]


def is_many(value):
    """Tell whether a value is a collection of values.

    Parameters
    ----------
    value : object
        Anything.

    Returns
    -------
    bool
        True for lists, sets, arrays, Series and the like; False for strings, mappings,
        tables and arrays of one value without a dimension.
    """
    if isinstance(value, str | bytes | bytearray | Mapping | np.generic):
        return False
    if hasattr(value, "columns") or getattr(value, "ndim", 1) == 0:
        return False
    return isinstance(value, Collection)


def _to_json(name, value, depth=0):
    """Bring one value into a form that JSON has."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"{name} is nested more than {_MAX_DEPTH} levels deep.")
    if isinstance(value, Mapping):
        return {
            check_key(name, key): _to_json(f"{name}[{key!r}]", item, depth + 1)
            for key, item in value.items()
        }
    if is_many(value) and not isinstance(value, set | frozenset):
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
    return str.__str__(key)


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
    if value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, str):
        _utf8(name, value)
        return str.__str__(value)  # of an enum, its value
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else _numpy_date(name, value)
    if isinstance(value, datetime.date | datetime.time):
        return _date(name, value)
    # NumPy's are numbers to Python, and some of them turn into any unit's.
    if isinstance(value, datetime.timedelta | np.timedelta64):
        raise TypeError(
            f"{name} must not be a duration, got {value!r}: pass it as a number, such"
            " as of days."
        )
    if isinstance(value, Real):
        return _number(name, value)
    raise TypeError(
        f"{name} must be a string, number, bool, date, None, list or dict, got"
        f" {value!r} ({type(value).__name__})."
    )


def _date(name, value):
    """Make the text of a date, of a time, or of both."""
    if isinstance(value, datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.datetime) and value.utcoffset() is not None:
        try:
            value = value.astimezone(datetime.UTC)
        except OverflowError:
            raise ValueError(f"{name} is out of range in UTC: {value}.") from None
        return _shortest(name, value.isoformat().removesuffix("+00:00")) + "+00:00"
    return _shortest(name, value.isoformat()).removesuffix("T00:00:00")


def _numpy_date(name, value):
    """Make the text of one of NumPy's dates, which has the digits of its unit."""
    if np.datetime_data(value.dtype)[0] in _COARSE:
        _shortest(name, str(value.astype("datetime64[Y]")) + "-")  # before s overflows
        value = value.astype("datetime64[s]")
    return _shortest(name, str(value)).removesuffix("T00:00:00")


def _shortest(name, text):
    """Drop zeros that end a fraction of a second; check that texts sort by time."""
    if not (text[:4].isdecimal() and text[4] == "-"):
        raise ValueError(f"{name} must be a date of the years 0 to 9999, got {text}.")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _number(name, value):
    """Bring a number into a form that every store keeps as it is; NaN is None."""
    if isinstance(value, Integral):
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"{name} must fit into 64 bits, got {value}.")
        return int(value)
    if math.isnan(value):
        return None
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}.")
    return float(value)
