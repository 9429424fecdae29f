"""What may go into a gallery, and what is said of the rest."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pytest

from sksiamese.search._checks import check_ids, check_metadata


@pytest.mark.parametrize(
    ("ids", "kind", "expected"),
    [
        ([3, 1], "int", [3, 1]),
        (np.array([3, 1], np.uint8), "int", [3, 1]),
        ([np.int64(-5)], "int", [-5]),
        (np.array(["a", "é"]), "str", ["a", "é"]),
        (pd.Series(["a", "b"], index=[7, 8]), "str", ["a", "b"]),
        (pd.Index([4, 5]), "int", [4, 5]),
        ("one", "str", ["one"]),
        (7, "int", [7]),
        (np.int64(7), "int", [7]),
        (range(2), "int", [0, 1]),
        ([2**63 - 1, -(2**63)], "int", [2**63 - 1, -(2**63)]),
    ],
)
def test_ids_of_any_form_become_a_list(ids, kind, expected):
    found = check_ids(ids)
    assert found == (kind, expected)
    assert all(type(one) in (int, str) for one in found[1])


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([1, "a"], TypeError, "all whole numbers or all strings, got both"),
        ([1.0, 2.0], TypeError, "got 1.0"),
        ([True, False], TypeError, "got True"),
        ([None], TypeError, "got None"),
        ([b"a"], TypeError, "got b'a'"),
        ([1, 1, 2, 2], ValueError, "1, 2 occur twice"),
        (["a", "a"], ValueError, "'a' occur twice"),
        ([2**63], ValueError, "64 bits"),
        (["a\0b"], ValueError, "null characters"),
        (["\ud800"], ValueError, "surrogate"),
        ([""], ValueError, "between 1 and 1000 bytes"),
        (["é" * 501], ValueError, "with 1002"),
        ([1, 2, 3], ValueError, "ids has 3 entries, but X has 2"),
    ],
)
def test_ids_that_can_not_be_stored_are_refused(ids, error, message):
    with pytest.raises(error, match=message):
        check_ids(ids, 2 if len(ids) == 3 else None)


def test_metadata_in_any_form_become_dicts_of_json():
    rows = [{"label": "nv", "age": 40}, {"label": "mel", "age": 70}]
    frame = pd.DataFrame(rows, index=[5, 3])
    columns = {"label": np.array(["nv", "mel"]), "age": np.array([40, 70], np.int8)}
    for metadata in (rows, frame, columns, tuple(rows)):
        assert check_metadata(metadata, 2) == rows
    assert check_metadata(None, 2) == [{}, {}]
    assert check_metadata({}, 2) == [{}, {}]
    assert check_metadata({"label": pd.Series(["a"], index=[9])}, 1) == [{"label": "a"}]


@pytest.mark.parametrize("unit", ["D", "ns"])
def test_dates_of_columns_become_iso_strings(unit):
    dates = np.array(["2024-02-03"], f"datetime64[{unit}]")
    for values in (dates, pd.Series(dates), list(dates)):
        found = check_metadata({"date": values}, 1)[0]["date"]
        assert found.startswith("2024-02-03")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int8(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (float("nan"), None),
        (pd.NA, None),
        (pd.NaT, None),
        (np.datetime64("NaT"), None),
        (np.datetime64("2024-02-03"), "2024-02-03"),
        (datetime.date(2024, 2, 3), "2024-02-03"),
        (pd.Timestamp("2024-02-03 04:05"), "2024-02-03T04:05:00"),
        (np.array([[1, 2]]), [[1, 2]]),
        ((1, {"a": (2,)}), [1, {"a": [2]}]),
    ],
)
def test_metadata_values_become_those_of_json(value, expected):
    found = check_metadata([{"v": value}], 1)[0]["v"]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("metadata", "error", "message"),
    [
        ([{"v": float("inf")}], ValueError, r"metadata\['v'\] must be finite"),
        ([{"v": b"x"}], TypeError, "string, number, bool, date"),
        ([{"v": decimal.Decimal(1)}], TypeError, "Decimal"),
        ([{"v": "a\0"}], ValueError, "null characters"),
        ([{"a\0": 1}], ValueError, "null characters"),
        ([{"v": "\udfff"}], ValueError, "surrogate"),
        ([{1: 2}], TypeError, "strings as keys"),
        ([{"v": 2**64}], ValueError, "64 bits"),
        ([{}, {}], ValueError, "metadata has 2 entries, but X has 1"),
        ({"v": [1, 2]}, ValueError, r"metadata\['v'\] has 2 entries"),
        ({"label": "nv"}, TypeError, "one value for each of the 1 images"),
        ([3], TypeError, "dict for each image"),
    ],
)
def test_metadata_that_no_store_can_hold_are_refused(metadata, error, message):
    with pytest.raises(error, match=message):
        check_metadata(metadata, 1)


def test_metadata_that_hold_themselves_are_refused():
    loop = {}
    loop["again"] = loop
    with pytest.raises(ValueError, match="nested more than 32"):
        check_metadata([loop], 1)
