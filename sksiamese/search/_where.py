"""Filters on metadata (level 0.1)."""

from collections.abc import Mapping
from typing import NamedTuple

from sksiamese.search._checks import check_key, is_many, scalar

_RANGES = {"$lt": "<", "$lte": "<=", "$gt": ">", "$gte": ">="}
_MEMBERS = {"$eq": "in", "$in": "in", "$ne": "not in", "$nin": "not in"}


class Condition(NamedTuple):
    """One condition on the metadata of an item.

    Parameters
    ----------
    key : str
        Name of the metadata value.

    op : {"in", "not in", "<", "<=", ">", ">="}
        How it compares.

    value : list, float or str
        JSON scalars for the first two; else a number or a string, with which values of
        that type alone compare. Bools are no numbers. None in a list stands for null
        and for a missing key.
    """

    key: str
    op: str
    value: object


def parse_where(where):
    """Read a filter on metadata.

    Parameters
    ----------
    where : dict or None
        From key to a value, a list, array or set of values, or a dict of operators:
        ``$eq``, ``$ne``, ``$in``, ``$nin``, ``$lt``, ``$lte``, ``$gt``, ``$gte``.

    Returns
    -------
    list of Condition
        All must hold.

    Raises
    ------
    TypeError
        If it, or a value in it, has another type.

    ValueError
        If an operator is unknown.
    """
    if where is None:
        return []
    if not isinstance(where, Mapping):
        raise TypeError(
            "where must be a dict from metadata key to value, list of values or"
            f" operators, such as {{'label': 'nv'}}, got {where!r}."
        )
    conditions = []
    for key, wanted in where.items():
        key = check_key("where", key)
        name = f"where[{key!r}]"
        if isinstance(wanted, Mapping):
            conditions += [_operator(name, key, op, v) for op, v in wanted.items()]
        elif is_many(wanted):
            conditions.append(Condition(key, "in", _scalars(name, wanted)))
        else:
            conditions.append(Condition(key, "in", _scalars(name, [wanted])))
    return conditions


def _operator(name, key, op, value):
    """Read one operator of a filter."""
    if op in _RANGES:
        value = _scalars(name, [value])[0]
        if value is None or isinstance(value, bool):
            raise TypeError(f"{name}: {op} compares with a number or a string.")
        return Condition(key, _RANGES[op], value)
    if op in _MEMBERS:
        many = op in ("$in", "$nin")
        if many and not is_many(value):
            raise TypeError(f"{name}: {op} takes a list, got {value!r}.")
        return Condition(key, _MEMBERS[op], _scalars(name, value if many else [value]))
    known = ", ".join(sorted([*_RANGES, *_MEMBERS]))
    raise ValueError(f"{name} has the operator {op!r}; it must be one of {known}.")


def _scalars(name, values):
    """Check the values of a filter, none of which may be nested."""
    return [scalar(name, value) for value in values]
