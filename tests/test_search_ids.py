"""Ids and their rows against a plain list and a dict."""

import tracemalloc

import numpy as np
import pytest

from sksiamese._archive import ArchiveReader, ArchiveWriter
from sksiamese.search import _ids
from sksiamese.search._ids import IdTable, id_array

TEXTS = ["a", "b" * 1000, "Grüße", "日本語", "a b ", " a", "😀", "'; DROP TABLE x; --"]


def draw(kind, rng, n):
    numbers = rng.choice(10**6, n, replace=False).tolist()
    if kind == "ascending":
        return sorted(numbers)
    if kind == "int":
        return [number - 500_000 for number in numbers]
    return [f"{TEXTS[number % 8][:9]}{number}" for number in numbers]


def check(table, ids, absent):
    """Compare a table with the list of its ids."""
    assert len(table) == len(ids)
    assert table.ids().tolist() == ids
    rng = np.random.default_rng(0)
    asked = [*ids, *absent]
    rng.shuffle(asked)
    asked = np.array(asked).tolist()
    rows = {id: row for row, id in enumerate(ids)}
    assert table.rows(asked).tolist() == [rows.get(id, -1) for id in asked]
    if ids:
        shown = rng.integers(len(ids), size=(3, 4))
        wanted = [[ids[row] for row in line] for line in shown]
        assert table.ids(shown).tolist() == wanted


@pytest.mark.parametrize("kind", ["ascending", "int", "str"])
@pytest.mark.parametrize("looked_up", [False, True])
def test_id_table_after_random_changes_fits_a_list(kind, looked_up, tmp_path):
    """With and without a lookup that has to follow the changes."""
    rng = np.random.default_rng(0)
    pool = draw(kind, rng, 600)
    table, ids, largest = IdTable("str" if kind == "str" else "int"), [], -1
    for step in range(30):
        if step % 3 == 2:
            mask = rng.random(len(ids)) < 0.7
            table = table.keep(mask)
            ids = [id for id, kept in zip(ids, mask, strict=True) if kept]
        else:
            new = [pool.pop(0) for _ in range(int(rng.integers(1, 20)))]
            table = table.append(new)
            ids += new
            if kind != "str":
                largest = max([largest, *new])
        if looked_up or step == 29:
            check(table, ids, pool[:5])
        assert table.next_id == largest + 1
    with ArchiveWriter(tmp_path / "x", "gallery") as archive:
        table.save(archive)
    with ArchiveReader(tmp_path / "x", "gallery") as archive:
        loaded = IdTable.load(archive)
    check(loaded, ids, pool[:5])
    assert (loaded.kind, loaded.next_id) == (table.kind, table.next_id)


def test_id_table_of_any_text_gives_it_back(tmp_path):
    table = IdTable("str").append(TEXTS)
    check(table, TEXTS, ["b" * 999, "Gruße", "a b", "a\n"])
    with ArchiveWriter(tmp_path / "x", "gallery") as archive:
        table.save(archive)
    with ArchiveReader(tmp_path / "x", "gallery") as archive:
        check(IdTable.load(archive), TEXTS, ["A"])


def test_id_table_when_all_hashes_collide_still_finds_each(monkeypatch):
    monkeypatch.setattr(_ids, "hash", lambda text: len(text) % 2, raising=False)
    table = IdTable("str").append(TEXTS)
    check(table, TEXTS, ["c", "cc", "😁"])
    table = table.append(["x", "yy"]).keep(np.arange(10) != 3)
    check(table, [*TEXTS[:3], *TEXTS[4:], "x", "yy"], [TEXTS[3], "z"])


def test_id_table_never_changes():
    first = IdTable("int").append([5, 3])
    assert first.rows([3]).tolist() == [1]
    second = first.append([4])
    third = second.keep(np.array([False, True, True]))
    check(first, [5, 3], [4])
    check(second, [5, 3, 4], [6])
    check(third, [3, 4], [5])
    assert third.next_id == 6


def test_id_table_of_extreme_numbers_is_exact():
    ids = [2**63 - 1, -(2**63), 2**53 + 1, 2**53, 0]
    table = IdTable("int").append(ids)
    check(table, ids, [2**53 + 2, -1])
    assert table.next_id == 2**63
    assert IdTable("int").append([-7]).next_id == 0


def test_id_table_asked_for_the_other_type_knows_none():
    assert IdTable("int").append([1]).rows(["1", "2"]).tolist() == [-1, -1]
    assert IdTable("str").append(["1"]).rows([1]).tolist() == [-1]
    assert IdTable("str").rows(["1"]).tolist() == [-1]
    assert IdTable("int").rows([]).tolist() == []


@pytest.mark.parametrize(
    ("kind", "limit", "limit_looked_up"), [("int", 8, 8), ("str", 20, 36)]
)
def test_id_table_is_compact(kind, limit, limit_looked_up):
    """Bytes per id, of 12 characters where they are strings."""
    n = 200_000
    tracemalloc.start()
    ids = np.arange(n) if kind == "int" else (f"ISIC_{i:07d}" for i in range(n))
    table = IdTable(kind).append(ids if kind == "int" else list(ids))
    del ids
    before = tracemalloc.get_traced_memory()[0]
    assert table.rows(table.ids(np.array([7, n - 1])).tolist()).tolist() == [7, n - 1]
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert before / n < limit + 0.5
    assert after / n < limit_looked_up + 0.5


def test_id_table_counts_on_from_where_it_is_told():
    table = IdTable("int", 8)
    assert table.following(2).tolist() == [8, 9]
    assert table.append([3]).next_id == 8
    assert table.append([9]).next_id == 10
    assert IdTable("str", 8).append(["a"]).keep([False]).next_id == 8


def test_id_array_holds_what_it_is_given():
    assert id_array([3, 1], "int").dtype == np.int64
    assert id_array([], "int").dtype == np.int64
    for ids in (["a", "bb"], [], ["a"] * 2000 + ["b" * 1000]):
        found = id_array(ids, "str")
        assert found.tolist() == ids
        assert found.dtype.kind == ("O" if len(ids) > 2 else "U")
        assert all(type(one) is str for one in found.tolist())


def test_id_table_with_one_long_id_is_compact():
    n = 50_000
    ids = [f"i{i}" for i in range(n)]
    ids[7] = "x" * 1000  # as NumPy's strings, 200 MB
    tracemalloc.start()
    table = IdTable("str").append(ids)
    assert (table.rows(ids) == np.arange(n)).all()
    assert table.ids().tolist() == ids
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
