"""Labels and groups as numbers, or the reason why not."""

import numpy as np
import pandas as pd
import pytest

from sksiamese._encoding import encode


@pytest.mark.parametrize(
    "values",
    [
        ["b", "a", "b"],
        [2, 1, 2],
        [True, False, True],
        np.array([0.5, -1, 0.5]),
        np.array(["b", "a", "b"], dtype=object),
        pd.Series(["b", "a", "b"], index=[7, 3, 3]),
        pd.Series(["b", "a", "b"], dtype="category"),
        pd.Series([2, 1, 2], dtype="Int64"),
        np.array(["2020-02-02", "2020-01-01", "2020-02-02"], dtype="datetime64[D]"),
    ],
)
def test_encode_ranks_the_values(values):
    np.testing.assert_array_equal(encode(values, "y", 3), [1, 0, 1])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", np.nan, "b"], "groups has missing values"),
        (["a", None, "b"], "groups has missing values"),
        ([1.0, np.nan, 2.0], "groups has missing values"),
        (np.array([1.0, np.nan, 2.0]), "groups has missing values"),
        (pd.Series(["a", pd.NA, "b"], dtype="string"), "groups has missing values"),
        (np.array(["2020-01-01", "NaT", "2020-01-01"], "M8[D]"), "has missing values"),
        (np.array(["a", 1, "b"], dtype=object), "kinds that cannot be sorted"),
        ([[1], [2], [3]], r"groups has shape \(3, 1\): pass a flat array"),
        (3, r"groups has shape \(\)"),
        ([1, 2], r"groups has shape \(2,\).*which are 3"),
    ],
)
def test_encode_refuses(values, message):
    with pytest.raises(ValueError, match=message):
        encode(values, "groups", 3)
