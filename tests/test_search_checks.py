"""What may go into a gallery, and what is said of the rest."""

import datetime
import decimal
import enum

import numpy as np
import pandas as pd
import pytest

from sksiamese.search._checks import check_ids, check_lengths, check_metadata
from sksiamese.search._where import parse_where

UTC = datetime.UTC


class Colour(str, enum.Enum):  # noqa: UP042, as users write them
    RED = "red"


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
        ([np.str_("a"), "b"], "str", ["a", "b"]),
        (Colour.RED, "str", ["red"]),
        (dict.fromkeys("ab").keys(), "str", ["a", "b"]),
        ((i for i in [1, 2]), "int", [1, 2]),
        ([], "str", []),
    ],
)
def test_ids_of_any_form_become_a_list(ids, kind, expected):
    found = check_ids(ids)
    assert found == (kind, expected)
    assert all(type(one) in (int, str) for one in found[1])
    assert "Colour" not in str(found[1])


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([1, "a"], TypeError, "all whole numbers or all strings, got both"),
        ([1.0, 2.0], TypeError, "got 1.0"),
        ([True, False], TypeError, "got True"),
        ([None], TypeError, "got None"),
        ([b"a"], TypeError, "got b'a'"),
        (b"a", TypeError, "got b'a'"),
        (5.5, TypeError, "got 5.5"),
        (None, TypeError, "got None"),
        (np.array(5.5), TypeError, "got array"),
        (np.array([[1, 2]]), TypeError, "got array"),
        (np.array(["2024-02-03"], "datetime64[ns]"), TypeError, "datetime64"),
        (np.array([5], "timedelta64[ns]"), TypeError, "timedelta64"),
        (pd.DataFrame({"a": [1]}), TypeError, "one column, got a DataFrame"),
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
        check_ids(ids, 2 if isinstance(ids, list) and len(ids) == 3 else None)


def test_ids_without_order_are_for_removal_alone():
    assert sorted(check_ids({1, 2})[1]) == [1, 2]
    with pytest.raises(TypeError, match="in the order of X, got a set"):
        check_ids({1, 2}, 2)


def test_lengths_that_differ_are_named():
    check_lengths([1, 2], None, [{}, {}])
    check_lengths()
    with pytest.raises(ValueError, match="got 1 embeddings and 2 ids and 2 metadata"):
        check_lengths(np.zeros((1, 3)), [1, 2], [{}, {}])


def test_metadata_in_any_form_become_dicts_of_json():
    rows = [{"label": "nv", "age": 40}, {"label": "mel", "age": 70}]
    frame = pd.DataFrame(rows, index=[5, 3])
    columns = {"label": np.array(["nv", "mel"]), "age": np.array([40, 70], np.int8)}
    for metadata in (rows, frame, columns, tuple(rows)):
        assert check_metadata(metadata, 2) == rows
    assert check_metadata(None, 2) == [{}, {}]
    assert check_metadata({}, 2) == [{}, {}]
    assert check_metadata({"label": pd.Series(["a"], index=[9])}, 1) == [{"label": "a"}]


@pytest.mark.parametrize(
    "values",
    [
        pd.Series(["nv", "mel"], index=[7, 3]),
        pd.Categorical(["nv", "mel"]),
        pd.Index(["nv", "mel"]),
        pd.Series(["nv", "mel"]).unique(),
        pd.Series(["nv", "mel"], dtype="category"),
        np.array(["nv", "mel"], dtype=object),
        {"nv": 1, "mel": 2}.keys(),
        {1: "nv", 2: "mel"}.values(),
    ],
)
def test_columns_and_values_of_any_collection_are_lists(values):
    assert check_metadata({"v": values}, 2) == [{"v": "nv"}, {"v": "mel"}]
    found = check_metadata([{"v": values}], 1)
    assert found == [{"v": ["nv", "mel"]}]
    assert parse_where({"v": values})[0].value == ["nv", "mel"]
    assert parse_where({"v": {"$nin": values}})[0].value == ["nv", "mel"]


def test_columns_with_missing_values_have_none_there():
    columns = {
        "integers": pd.array([1, None], dtype="Int64"),
        "masked": np.ma.array([1, 2], mask=[False, True]),
        "dates": pd.to_datetime(["2024-02-03", None]),
        "matrix": np.array([[1.0, 2], [np.nan, 3]]),
    }
    assert check_metadata(columns, 2) == [
        {"integers": 1, "masked": 1, "dates": "2024-02-03", "matrix": [1.0, 2.0]},
        {"integers": None, "masked": None, "dates": None, "matrix": [None, 3.0]},
    ]


def moments(when):
    """Give the same moment in all forms, of those precise enough."""
    yield from (when, pd.Timestamp(when), pd.Series([when])[0])
    for unit in ("us", "ns"):
        yield np.datetime64(when, unit)
        yield np.array(when, f"datetime64[{unit}]")
    if not when.microsecond:
        yield np.datetime64(when, "s")
    if not when.second + when.microsecond:
        yield from (np.datetime64(when, unit) for unit in ("m", "10m"))
    if when.time() == datetime.time():
        yield from (when.date(), np.datetime64(when, "h"), np.datetime64(when, "D"))
        if when.day == 1:
            yield np.datetime64(when, "M")


WHENS = [
    *(datetime.datetime(2024, 1, 1), datetime.datetime(2024, 2, 3)),
    *(datetime.datetime(2024, 2, 3, 0, 0, 0, 500), datetime.datetime(2024, 2, 3, 4)),
    datetime.datetime(2024, 2, 3, 4, 50),
    *(datetime.datetime(2024, 2, 3, 4, 50, 6, ms) for ms in (0, 250_000, 500_000)),
    *(datetime.datetime(2024, 2, 3, 4, 50, 10), datetime.datetime(2024, 2, 4)),
]


def test_dates_of_one_moment_are_one_text_and_texts_sort_by_time():
    texts = []
    for when in WHENS:
        forms = list(moments(when))
        found = {
            m["v"] for m in check_metadata([{"v": form} for form in forms], len(forms))
        }
        texts += found
        assert len(found) == 1, found
        for form in forms:
            nested = {"v": [form, {"a": form}]}
            text = texts[-1]
            assert check_metadata([nested], 1) == [{"v": [text, {"a": text}]}]
            assert parse_where({"v": form})[0].value == [text]
            assert parse_where({"v": {"$lt": form}})[0].value == text
            if isinstance(form, np.ndarray):
                array = form.reshape(1)
                assert check_metadata({"v": array}, 1) == [{"v": text}]
                assert check_metadata([{"v": array}], 1) == [{"v": [text]}]
                assert check_metadata({"v": pd.Series([when])}, 1) == [{"v": text}]
    assert texts == sorted(texts)
    assert texts[1] == "2024-02-03"
    assert texts[6] == "2024-02-03T04:50:06.25"


def test_dates_of_one_moment_in_two_zones_are_one_text_in_utc():
    east = datetime.timezone(datetime.timedelta(hours=5))
    when = datetime.datetime(2024, 2, 3, 1, 2, 3, 500_000, tzinfo=east)
    forms = [when, when.astimezone(UTC), pd.Timestamp(when)]
    forms.append(pd.Timestamp(when).tz_convert("Europe/Paris"))
    for form in forms:
        found = check_metadata([{"v": form}], 1)
        assert found == [{"v": "2024-02-02T20:02:03.5+00:00"}]
    midnight = datetime.datetime(2024, 2, 3, tzinfo=UTC)
    found = check_metadata([{"v": midnight}], 1)
    assert found == [{"v": "2024-02-03T00:00:00+00:00"}]
    nanosecond = pd.Timestamp("2024-02-03 00:00:00.000000100")
    found = check_metadata([{"v": nanosecond}, {"v": nanosecond.to_datetime64()}], 2)
    assert found == [{"v": "2024-02-03T00:00:00.0000001"}] * 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int8(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (Colour.RED, "red"),
        ({Colour.RED: Colour.RED}, {"red": "red"}),
        (np.array("a"), "a"),
        (np.array(5), 5),
        (np.ma.masked, None),
        (datetime.time(4, 5), "04:05:00"),
        (np.datetime64("1970-01-02", "ps"), "1970-01-02"),
        (np.datetime64("1970-01-01T00:00:00.25", "fs"), "1970-01-01T00:00:00.25"),
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
    assert str(found) == str(expected)


@pytest.mark.parametrize(
    ("metadata", "error", "message"),
    [
        ([{"v": float("inf")}], ValueError, r"metadata\['v'\] must be finite"),
        ([{"v": b"x"}], TypeError, "string, number, bool, date"),
        ([{"v": decimal.Decimal(1)}], TypeError, "Decimal"),
        ([{"v": {1, 2}}], TypeError, r"metadata\['v'\].*\(set\)"),
        ([{"v": pd.DataFrame({"a": [1]})}], TypeError, "DataFrame"),
        ([{"v": np.timedelta64(5, "D")}], TypeError, "duration"),
        ([{"v": pd.Timedelta(5)}], TypeError, "duration"),
        ({"v": np.array([5], "timedelta64[ns]")}, TypeError, r"\['v'\].*duration"),
        ([{"v": np.datetime64("10000-01-01")}], ValueError, "years 0 to 9999"),
        ([{"v": np.datetime64(2**62, "Y")}], ValueError, "years 0 to 9999"),
        ([{"v": np.datetime64("-0001-01-01")}], ValueError, "years 0 to 9999"),
        ([{"v": "a\0"}], ValueError, "null characters"),
        ([{"a\0": 1}], ValueError, "null characters"),
        ([{"v": "\udfff"}], ValueError, "surrogate"),
        ([{1: 2}], TypeError, "strings as keys"),
        ([{"v": 2**64}], ValueError, "64 bits"),
        ([{}, {}], ValueError, "metadata has 2 entries, but X has 1"),
        ({"v": [1, 2]}, ValueError, r"metadata\['v'\] has 2 entries"),
        ({"label": "nv"}, TypeError, "one value for each of the 1 images"),
        ({"label": {0: "nv"}}, TypeError, r"metadata\['label'\] .*\(dict\)"),
        ({"label": {"nv"}}, TypeError, r"metadata\['label'\] .*\(set\)"),
        ({"label": np.array("nv")}, TypeError, r"metadata\['label'\] .*\(ndarray\)"),
        ({"label": pd.DataFrame({"a": [1]})}, TypeError, r"\['label'\].*\n.*a"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), ValueError, "'a' occur twice"),
        (pd.DataFrame([[1, 2]]), TypeError, "strings as keys, got 0"),
        (pd.DataFrame({"a": ["x"]}).to_dict(), TypeError, r"metadata\['a'\]"),
        (5, TypeError, "dict for each image"),
        ("a", TypeError, "dict for each image"),
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
