"""Filters on metadata are read, or refused."""

import datetime

import numpy as np
import pandas as pd
import pytest

from sksiamese.search._where import Condition, parse_where


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (None, []),
        ({}, []),
        ({"a": 1}, [Condition("a", "in", [1])]),
        ({"a": np.float64(0.5)}, [Condition("a", "in", [0.5])]),
        ({"a": None}, [Condition("a", "in", [None])]),
        ({"a": ("x", None)}, [Condition("a", "in", ["x", None])]),
        ({"a": []}, [Condition("a", "in", [])]),
        ({"a": {"x"}}, [Condition("a", "in", ["x"])]),
        ({"a": np.array("x")}, [Condition("a", "in", ["x"])]),
        ({"a": pd.Series(["x", None])}, [Condition("a", "in", ["x", None])]),
        (
            {"a": datetime.datetime(2024, 2, 3)},
            [Condition("a", "in", ["2024-02-03"])],
        ),
        ({"a": {"$ne": 1}}, [Condition("a", "not in", [1])]),
        ({"a": {"$nin": [1, 2]}}, [Condition("a", "not in", [1, 2])]),
        (
            {"a": {"$gte": 1, "$lt": 5}, "b": True},
            [
                Condition("a", ">=", 1),
                Condition("a", "<", 5),
                Condition("b", "in", [True]),
            ],
        ),
    ],
)
def test_filters_are_read(where, expected):
    assert parse_where(where) == expected


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ("label = 1", TypeError, "where must be a dict"),
        ({1: 2}, TypeError, "strings as keys"),
        ({"a": {"$like": "x"}}, ValueError, r"'\$like'; it must be one of \$eq"),
        ({"a": {"$in": "x"}}, TypeError, "takes a list"),
        ({"a": {"$lt": None}}, TypeError, "number or a string"),
        ({"a": {"$lt": True}}, TypeError, "number or a string"),
        ({"a": [[1]]}, TypeError, "got"),
        ({"a": object()}, TypeError, r"where\['a'\]"),
        ({"a": pd.DataFrame({"b": [1]})}, TypeError, r"where\['a'\]"),
        ({"a": np.zeros((2, 2))}, TypeError, r"where\['a'\]"),
        ({"a": {"$gt": datetime.timedelta(1)}}, TypeError, "duration"),
        ({"a": "x\0"}, ValueError, "null"),
    ],
)
def test_filters_that_mean_nothing_are_refused(where, error, message):
    with pytest.raises(error, match=message):
        parse_where(where)
