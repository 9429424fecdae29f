"""Embeddings, metadata and filters arrive in PostgreSQL as they left."""

import json

import numpy as np
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sksiamese.search._postgres_values import (
    Vectors,
    pack,
    pack_array,
    register_vectors,
    to_json,
    unpack,
    where_sql,
)
from sksiamese.search._where import Condition

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(TEXT, v, max_size=3)
)


@pytest.fixture(scope="module")
def connection(postgres):
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        query = "SELECT oid, typarray FROM pg_type WHERE typname = 'vector'"
        register_vectors(connection, *connection.execute(query).fetchone())
        yield connection


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (7, 2000)])
def test_embeddings_sent_as_one_array_come_back_bit_by_bit(connection, shape):
    Z = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    Z[0, 0] = np.finfo(np.float32).tiny
    query = "SELECT u, u::text FROM unnest(%s) AS u"
    rows = connection.execute(query, [Vectors(Z)], binary=True).fetchall()
    np.testing.assert_array_equal(unpack([row[0] for row in rows], shape[1]), Z)
    # The server's own reading of them is the oracle.
    texts = np.array([json.loads(row[1]) for row in rows], dtype=np.float32)
    np.testing.assert_array_equal(texts, Z)


def test_packed_array_holds_packed_vectors():
    Z = np.arange(6, dtype=np.float32).reshape(3, 2)
    array, vectors = pack_array(Z, 77), pack(Z)
    assert array[20:] == b"".join(b"\0\0\0\x0c" + vector for vector in vectors)
    np.testing.assert_array_equal(unpack(vectors, 2), Z)
    assert unpack([], 2).shape == (0, 2)


def _types(value):
    """Type of each part of a JSON value; equality of Python takes 1 for 1.0."""
    if isinstance(value, dict):
        return {key: _types(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_types(item) for item in value]
    return type(value)


@settings(max_examples=200, deadline=None)
@given(value=VALUES)
def test_metadata_come_back_from_jsonb_as_they_were(connection, value):
    query = "SELECT %s::text::jsonb"
    (found,) = connection.execute(query, [to_json(value)], binary=True).fetchone()
    assert found == value
    assert _types(found) == _types(value)


@pytest.mark.parametrize("value", [1e16, 1e23, -1e300, 1.7976931348623157e308])
def test_large_floats_stay_floats_in_jsonb(connection, value):
    for nested in (value, [value], {"a\n%s": {"b e+": [1, value]}}):
        query = "SELECT %s::text::jsonb"
        (found,) = connection.execute(query, [to_json(nested)]).fetchone()
        assert found == nested
        assert _types(found) == _types(nested)


def _holds(metadata, key, op, value):
    """Meaning of a condition, in Python: the oracle."""
    found = metadata.get(key)

    def kind(one):
        return "number" if type(one) in (int, float) else type(one).__name__

    if op in ("in", "not in"):
        member = any(kind(found) == kind(one) and found == one for one in value)
        return member == (op == "in")
    if kind(found) != kind(value):
        return False
    return {
        "<": lambda: found < value,
        "<=": lambda: found <= value,
        ">": lambda: found > value,
        ">=": lambda: found >= value,
    }[op]()


KEYS = ["a", "'; DROP TABLE x;--", "%s", '"', "\\", "", "é"]
SOME = st.sampled_from(
    [None, True, False, 0, 1, 1.0, -1, 2**53 + 1, 2.0**53, 1e23, 0.1, -0.0, "", "1"]
    + ["a", "B", "b", "é", "Z", "\U0001f600", "\uffff", "true", "null", "%s", "'", "\\"]
)
RANGE = SOME.filter(lambda v: v is not None and not isinstance(v, bool))
CONDITIONS = st.one_of(
    st.builds(
        Condition,
        st.sampled_from(KEYS),
        st.sampled_from(["in", "not in"]),
        st.lists(SOME, max_size=3),
    ),
    st.builds(
        Condition,
        st.sampled_from(KEYS),
        st.sampled_from(["<", "<=", ">", ">="]),
        RANGE,
    ),
)


@settings(max_examples=300, deadline=None)
@given(
    metadata=st.lists(
        st.dictionaries(
            st.sampled_from(KEYS), SOME | st.just([1]) | st.just({"a": 1}), max_size=4
        ),
        min_size=1,
        max_size=8,
    ),
    conditions=st.lists(CONDITIONS, max_size=3),
)
def test_filters_mean_the_same_in_sql_and_in_python(connection, metadata, conditions):
    where, params = where_sql(conditions)
    query = (
        "SELECT n FROM unnest(%s::text[]::jsonb[]) WITH ORDINALITY AS u (metadata, n)"
        f" {where} ORDER BY n"
    )
    documents = [to_json(item) for item in metadata]
    rows = connection.execute(query, [documents, *params]).fetchall()
    expected = [
        n
        for n, item in enumerate(metadata, 1)
        if all(_holds(item, *condition) for condition in conditions)
    ]
    assert [n for (n,) in rows] == expected
