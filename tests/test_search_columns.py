"""Metadata by column against a plain list of dicts."""

import operator
import tracemalloc

import numpy as np
import pytest

from sksiamese._archive import ArchiveReader, ArchiveWriter
from sksiamese.search._columns import Columns
from sksiamese.search._where import parse_where

VALUES = [
    *(None, True, False, 0, 1, 1.0, 0.0, 1.5, -2, 2**53, 2**53 + 1, 2.0**53),
    *("", "1", "a", "B", "é", "日本", "😀", "true", [], [1], [True], [1.0], {}),
    *({"b": 1, "a": [2]}, {"a": [2], "b": 1}),
]
KEYS = ["label", "age", "", "Größe", "'; DROP TABLE x; --"]


def draw(rng, n):
    """Metadata with any values, any keys, in any order."""
    return [
        {
            KEYS[k]: VALUES[rng.integers(len(VALUES))]
            for k in rng.permutation(len(KEYS))[: rng.integers(len(KEYS) + 1)]
        }
        for _ in range(n)
    ]


def same(found, wanted):
    """Whether JSON values are equal, of equal types."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return found.keys() == wanted.keys() and all(
            same(found[k], wanted[k]) for k in wanted
        )
    if isinstance(wanted, list) and isinstance(found, list):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    return type(found) is type(wanted) and found == wanted


def kind(value):
    """JSON type of a value."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "number" if is_number else type(value).__name__


def meets(item, condition):
    """Evaluate one condition on one item, the slow way."""
    key, op, wanted = condition
    value = item.get(key)
    if op in ("in", "not in"):
        found = any(kind(value) == kind(w) and value == w for w in wanted)
        return found == (op == "in")
    names = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
    return kind(value) == kind(wanted) and getattr(operator, names[op])(value, wanted)


def check(columns, items):
    """Compare columns with the list of their items."""
    assert len(columns) == len(items)
    rows = np.random.default_rng(1).permutation(len(items))
    assert same(columns.take(rows), [items[row] for row in rows])
    for key in KEYS:
        assert same(columns.column(key), [item.get(key) for item in items])


def test_columns_after_random_changes_fit_a_list(tmp_path):
    rng = np.random.default_rng(0)
    columns, items = Columns(), []
    for step in range(40):
        if step % 4 == 2:
            mask = rng.random(len(items)) < 0.8
            columns = columns.keep(mask)
            items = [item for item, kept in zip(items, mask, strict=True) if kept]
        elif step % 4 == 3:
            rows = rng.permutation(len(items))[:7]
            new = draw(rng, len(rows))
            columns = columns.replace(rows, new)
            for row, item in zip(rows, new, strict=True):
                items[row] = item
        else:
            new = draw(rng, int(rng.integers(30)))
            columns = columns.append(new)
            items = items + new
        check(columns, items)
        if step % 10 == 5:
            with ArchiveWriter(tmp_path / "x", "gallery") as archive:
                columns.save(archive)
            with ArchiveReader(tmp_path / "x", "gallery") as archive:
                columns = Columns.load(archive)
            check(columns, items)


@pytest.mark.parametrize("key", ["label", "Größe", "nobody has it"])
def test_mask_fits_the_slow_way(key):
    rng = np.random.default_rng(0)
    items = draw(rng, 500)
    columns = Columns().append(items[:300]).append(items[300:])
    scalars = [value for value in VALUES if not isinstance(value, list | dict)]
    filters = [{key: value} for value in scalars]
    filters += [{key: {op: v}} for v in scalars for op in ("$eq", "$ne")]
    filters += [
        {key: {op: v}}
        for v in scalars
        if kind(v) in ("number", "str")
        for op in ("$lt", "$lte", "$gt", "$gte")
    ]
    filters += [{key: {op: []}} for op in ("$in", "$nin")]
    filters += [{key: {"$in": scalars[i : i + 4]}} for i in range(0, len(scalars), 3)]
    filters += [{key: {"$nin": scalars[i : i + 4]}} for i in range(0, len(scalars), 3)]
    filters += [{key: {"$gte": 0, "$lt": 2}, "age": {"$ne": None}}, {}]
    for where in filters:
        conditions = parse_where(where)
        wanted = [all(meets(item, c) for c in conditions) for item in items]
        assert columns.mask(conditions).tolist() == wanted, where


def test_columns_keep_the_order_of_keys():
    items = [{"b": 1, "a": 2, "c": 3}, {"b": 4, "c": 5}]
    taken = Columns().append(items).take(np.array([0, 1]))
    assert [list(item) for item in taken] == [["b", "a", "c"], ["b", "c"]]


def test_columns_never_change():
    first = Columns().append([{"a": 1}, {"a": 2}])
    second = first.append([{"a": 3, "b": 1}])
    third = second.replace(np.array([0]), [{"a": 4}]).keep(
        np.array([True, False, True])
    )
    first.append([{"a": 5}])  # shares values with second
    check(first, [{"a": 1}, {"a": 2}])
    check(second, [{"a": 1}, {"a": 2}, {"a": 3, "b": 1}])
    check(third, [{"a": 4}, {"a": 3, "b": 1}])
    assert first.column("a") == [1, 2]
    assert third.column("b") == [None, 1]


def test_columns_hold_and_give_copies():
    item = {"boxes": [[1, 2]]}
    columns = Columns().append([item])
    item["boxes"][0].append(3)
    columns.take(np.array([0]))[0]["boxes"][0].append(4)
    columns.column("boxes")[0].append(5)
    assert columns.take(np.array([0])) == [{"boxes": [[1, 2]]}]


def test_columns_forget_what_was_removed(tmp_path):
    """A patient's name must leave the file with the patient's images."""
    columns = Columns().append([{"name": "Miller"}, {"name": "Smith", "x": "secret"}])
    columns.append([{"name": "Jones"}])  # an addition that came to nothing
    kept = columns.keep(np.array([True, False]))
    replaced = columns.replace(np.array([1]), [{"name": "Brown"}])
    for changed, names in ((kept, ["Miller"]), (replaced, ["Miller", "Brown"])):
        with ArchiveWriter(tmp_path / "x", "gallery") as archive:
            changed.save(archive)
        content = (tmp_path / "x").read_bytes()
        for name in ("Miller", "Smith", "Jones", "Brown", "secret"):
            assert (name.encode() in content) == (name in names)


def test_columns_of_labels_are_compact():
    n = 200_000
    items = [{"label": ("nv", "mel", "bcc")[i % 3]} for i in range(n)]
    tracemalloc.start()
    columns = Columns().append(items)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size < 4.1 * n
    assert columns.mask(parse_where({"label": "nv"})).sum() == 66_667
