"""Embeddings, metadata and filters in the form that PostgreSQL takes (level 0.2)."""

import json
from decimal import Decimal

import numpy as np


class Vectors:
    """Embeddings that go to the server as one array of vectors.

    Parameters
    ----------
    embeddings : float32 ndarray of shape (n, dim)
        Embeddings.
    """

    def __init__(self, embeddings):
        self.embeddings = embeddings


def register_vectors(connection, oid, array_oid):
    """Teach a connection to send :class:`Vectors`.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection.

    oid : int
        Of the type vector, which differs between databases.

    array_oid : int
        Of its array type.
    """
    from psycopg.adapt import Dumper
    from psycopg.pq import Format

    class VectorsDumper(Dumper):
        format = Format.BINARY

        def dump(self, obj):
            return pack_array(obj.embeddings, oid)

    VectorsDumper.oid = array_oid
    connection.adapters.register_dumper(Vectors, VectorsDumper)


def _layout(dim):
    """Lay out one vector as pgvector sends it: length, zero, big-endian floats."""
    return [("dim", ">u2"), ("unused", ">u2"), ("values", ">f4", (dim,))]


def pack(embeddings):
    """Encode embeddings one by one.

    Parameters
    ----------
    embeddings : float32 ndarray of shape (n, dim)
        Embeddings.

    Returns
    -------
    list of bytes
        Each in pgvector's binary form.
    """
    n, dim = embeddings.shape
    records = np.zeros(n, _layout(dim))
    records["dim"], records["values"] = dim, embeddings
    data, size = records.tobytes(), records.itemsize
    return [data[start : start + size] for start in range(0, len(data), size)]


def pack_array(embeddings, oid):
    """Encode embeddings as one array.

    Parameters
    ----------
    embeddings : float32 ndarray of shape (n, dim)
        Embeddings, at least one.

    oid : int
        Of the type vector.

    Returns
    -------
    bytes
        In PostgreSQL's binary form of ``vector[]``.
    """
    n, dim = embeddings.shape
    records = np.zeros(n, [("size", ">i4"), *_layout(dim)])
    records["size"] = records.itemsize - 4
    records["dim"], records["values"] = dim, embeddings
    # One axis, no nulls, numbered from 1.
    return np.array([1, 0, oid, n, 1], ">u4").tobytes() + records.tobytes()


def unpack(vectors, dim):
    """Decode embeddings.

    Parameters
    ----------
    vectors : sequence of bytes
        Each in pgvector's binary form.

    dim : int
        Their length.

    Returns
    -------
    float32 ndarray of shape (n, dim)
        Embeddings.
    """
    records = np.frombuffer(b"".join(vectors), _layout(dim))
    return records["values"].astype(np.float32)


def to_json(value):
    """Write a JSON value so that PostgreSQL gives it back as it was.

    Parameters
    ----------
    value : object
        JSON value.

    Returns
    -------
    str
        Its text, floats with a decimal point.
    """
    text = json.dumps(value, ensure_ascii=False)
    # jsonb would return 1e+23 as the whole number 10**23, which is another one.
    return _spell_out(value) if "e+" in text else text


def _spell_out(value):
    """Write a JSON value, floats without exponent."""
    if isinstance(value, dict):
        entries = (f"{json.dumps(k)}: {_spell_out(v)}" for k, v in value.items())
        return "{" + ", ".join(entries) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_spell_out, value)) + "]"
    text = json.dumps(value)
    large = isinstance(value, float) and "e+" in text
    return f"{Decimal(value):f}.0" if large else text


def where_sql(conditions):
    """Write conditions on metadata as SQL.

    Parameters
    ----------
    conditions : list of Condition
        All must hold.

    Returns
    -------
    text : str
        ``WHERE ...`` with placeholders; empty without conditions.

    params : list
        For the placeholders.
    """
    texts, params = [], []
    for condition in conditions:
        text, values = _condition_sql(*condition)
        texts.append(text)
        params += values
    return ("WHERE " + " AND ".join(texts) if texts else ""), params


def _condition_sql(key, op, value):
    """Write one condition as SQL; equality and order are those of JSON types."""
    if op in ("in", "not in"):
        text = "coalesce(metadata -> %s::text, 'null') = ANY (%s::text[]::jsonb[])"
        text = text if op == "in" else f"NOT ({text})"
        return text, [key, [to_json(one) for one in value]]
    if isinstance(value, str):
        # By code points, as Python does; jsonb compares by the database's language.
        kind, left, right = "string", "(metadata ->> %s::text)", '%s::text COLLATE "C"'
    else:
        kind, left, right = "number", "metadata -> %s::text", "%s::text::jsonb"
        value = to_json(value)
    text = f"(jsonb_typeof(metadata -> %s::text) = '{kind}' AND {left} {op} {right})"
    return text, [key, key, value]
