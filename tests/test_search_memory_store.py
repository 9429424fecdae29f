"""The store in memory and in a file against plain lists, errors and interruptions."""

import os
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest

from sksiamese.search._header import Header
from sksiamese.search._memory_store import MemoryStore
from sksiamese.search._where import parse_where

DIM = 4


def embed(*values):
    """Embeddings that tell by their first number which they are."""
    Z = np.zeros((len(values), DIM), np.float32)
    Z[:, 0] = values
    return Z


def make(path=None, metric="euclidean"):
    return MemoryStore(path, metric, "auto", None)


def fill(store, n=5, first=0):
    """Add items 0, 1, ... with ids that differ from their rows."""
    numbers = range(first, first + n)
    metadata = [{"label": "ab"[i % 2], "number": i} for i in numbers]
    store.add(embed(*numbers), [f"id{i}" for i in numbers], "str", metadata, "f", None)
    return store


def contents(store):
    """All that a store holds: of each item id, first number and metadata."""
    header = store.header
    ids, embeddings, _ = store.labelled("")
    metadata = store.fetch(ids.tolist())[1]
    assert len(store) == len(ids) == len(embeddings) == len(metadata)
    if not len(ids):
        assert header is None
        return header, []
    ids, values = ids.tolist(), embeddings[:, 0].tolist()
    assert store.contains(ids).all()
    fetched, fetched_metadata = store.fetch(ids[::-1])
    np.testing.assert_array_equal(fetched[::-1], embeddings)
    assert fetched_metadata[::-1] == metadata
    distances, nearest, _ = store.search(embeddings, 1, [], "f", False)
    assert (distances == 0).all()
    numbers = dict(zip(ids, values, strict=True))
    assert [numbers[i] for i in nearest[:, 0].tolist()] == values
    return header, list(zip(ids, values, metadata, strict=True))


def test_store_after_random_changes_fits_a_list(tmp_path):
    rng = np.random.default_rng(0)
    store, items, number = make(tmp_path / "g"), [], 0
    for step in range(60):
        action = rng.choice(["add", "add", "remove", "update", "both", "save"])
        n = int(rng.integers(1, 6))
        places = rng.permutation(len(items))[:n].tolist()
        ids = [items[i][0] for i in places]
        new = list(range(number, number + n))
        metadata = [{"number": i} for i in new]
        if action == "add":
            given = store.add(
                embed(*new), [f"i{i}" for i in new], "str", metadata, "f", None
            )
            items += zip(given.tolist(), new, metadata, strict=True)
            number += n
        elif not items:
            continue
        elif action == "remove":
            store.remove(ids)
            items = [item for i, item in enumerate(items) if i not in places]
        elif action == "save":
            store.save()
            store = make(tmp_path / "g")
        else:
            values = embed(*new[: len(ids)]) if action == "both" else None
            store.update(ids, values, metadata[: len(ids)], "f")
            for place, value, extra in zip(places, new, metadata, strict=False):
                old = items[place]
                items[place] = old[0], value if action == "both" else old[1], extra
            number += n
        assert contents(store)[1] == items, step


def test_store_counts_on_and_never_gives_an_id_twice(tmp_path):
    store = make(tmp_path / "g")
    assert store.header is None
    assert len(store) == 0
    assert store.all_ids().tolist() == []
    assert not store.contains(["x"])[0]
    assert store.labelled("label")[2] == []
    assert store.add(embed(0, 1), None, "int", [{}, {}], "f", None).tolist() == [0, 1]
    store.add(embed(2, 3), [7, 5], "int", [{}, {}], "f", None)
    store.remove([7])
    assert store.add(embed(4), None, "int", [{}], "f", None).tolist() == [8]
    store.remove([0, 1, 5, 8])
    store.save()
    store = make(tmp_path / "g")
    assert len(store) == 0
    assert store.header is None
    assert store.add(embed(5), None, "int", [{}], "f", None).tolist() == [9]
    store.add(embed(6), [2**63 - 1], "int", [{}], "f", None)
    with pytest.raises(ValueError, match="no 1 numbers of 64 bits are left"):
        store.add(embed(7), None, "int", [{}], "f", None)
    assert store.all_ids().tolist() == [9, 2**63 - 1]


def test_store_search_with_conditions_fits_the_slow_way():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((200, DIM)).astype(np.float32)
    labels = rng.integers(5, size=200).tolist()
    store = make()
    metadata = [{"label": label, "row": row} for row, label in enumerate(labels)]
    store.add(Z, None, "int", metadata, "f", None)
    queries = rng.standard_normal((7, DIM)).astype(np.float32)
    exact = np.sqrt(((queries[:, None].astype(float) - Z) ** 2).sum(axis=2))
    for where, count in (({}, 1), ({"label": [1, 3]}, 9), ({"row": {"$lt": 9}}, 9)):
        allowed = [r for r in range(200) if not where or r < 9 or "label" in where]
        if "label" in where:
            allowed = [r for r in allowed if labels[r] in (1, 3)]
        order = np.array(allowed)[np.argsort(exact[:, allowed], axis=1)[:, :count]]
        found = store.search(queries, count, parse_where(where), "f", True)
        np.testing.assert_array_equal(found[1], order)
        wanted = np.take_along_axis(exact, order, axis=1)
        np.testing.assert_allclose(found[0], wanted, rtol=1e-6)
        assert [[item["row"] for item in row] for row in found[2]] == order.tolist()
        assert store.search(queries, 1, [], "f", False)[2] is None


def test_store_errors_say_what_is_wrong_and_change_nothing():
    store = make()
    with pytest.raises(ValueError, match="gallery is empty"):
        store.search(embed(0), 1, [], "f", False)
    with pytest.raises(KeyError, match="'x'"):
        store.remove(["x"])
    fill(store)
    before = contents(store)
    one = embed(9), ["x"], "str", [{}]
    calls = [
        (ValueError, "already: 'id1', 'id4'", store.add)
        + (embed(7, 8, 9), ["new", "id1", "id4"], "str", [{}] * 3, "f", None),
        (TypeError, "whole numbers, but", store.add)
        + (embed(9), None, "int", [{}], "f", None),
        (ValueError, "another embedder", store.add, *one, "other", None),
        (ValueError, "length 3", store.add, one[0][:, :3], *one[1:], "f", None),
        (ValueError, "another embedder", store.search, embed(1), 1, [], "o", False),
        (ValueError, "6 neighbours", store.search, embed(1), 6, [], "f", False),
        (ValueError, "2 items that match", store.search, embed(1), 3)
        + (parse_where({"label": "b"}), "f", False),
        (ValueError, "No item of the gallery matches", store.search, embed(1), 1)
        + (parse_where({"label": "c"}), "f", False),
        (ValueError, "2 embeddings and 1 ids and 1 metadata", store.add)
        + (embed(8, 9), ["x"], "str", [{}], "f", None),
        (ValueError, "1 embeddings and 2 metadata", store.add)
        + (embed(8), None, "int", [{}, {}], "f", None),
        (ValueError, "1 embeddings and 2 ids", store.update)
        + (["id0", "id1"], embed(8), None, "f"),
        (ValueError, "1 ids and 2 metadata", store.update)
        + (["id0"], None, [{}, {}], "f"),
        (ValueError, "4 embeddings and 5 ids", store.rebuild)
        + (embed(1, 2, 3, 4), [f"id{i}" for i in range(5)], "f"),
        (KeyError, "'x', 7", store.fetch, ["id1", "x", 7]),
        (KeyError, "'x'", store.remove, ["id0", "x"]),
        (KeyError, "3", store.remove, [3]),
        (KeyError, "'x'", store.update, ["id0", "x"], embed(8, 9), None, "f"),
        (ValueError, "another embedder", store.update, ["id0"], embed(8), None, "o"),
        (KeyError, "'x'", store.rebuild, embed(1, 2), ["id0", "x"], "g"),
        (ValueError, "lacks 'id1', 'id3', 'id4'", store.rebuild)
        + (embed(1, 2), ["id0", "id2"], "g"),
    ]
    for error, text, method, *arguments in calls:
        with pytest.raises(error, match=text):
            method(*arguments)
        assert contents(store) == before


def test_store_rebuild_puts_new_embeddings_in_their_places():
    store = fill(make())
    ids = ["id3", "id0", "id4", "id1", "id2"]
    new = np.zeros((5, 7), np.float32)
    new[:, 0] = [30, 0, 40, 10, 20]
    metadata = store.fetch(ids)[1]
    store.rebuild(new, ids, "g")
    found, embeddings, _ = store.labelled("")
    assert store.header == Header(7, "euclidean", "g", "str")
    assert found.tolist() == [f"id{i}" for i in range(5)]
    assert embeddings[:, 0].tolist() == [0, 10, 20, 30, 40]
    assert store.fetch(ids)[1] == metadata
    with pytest.raises(ValueError, match="another embedder"):
        store.search(new, 1, [], "f", False)


def test_store_labelled_gives_values_in_order():
    store = fill(make())
    store.update(["id1"], None, [{"number": 1}], "other")  # no embedding is compared
    ids, embeddings, values = store.labelled("label")
    assert ids.tolist() == [f"id{i}" for i in range(5)]
    assert embeddings[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert values == ["a", None, "a", "b", "a"]


def test_store_reports_progress():
    told = []
    store = make()
    store.add(embed(1, 2, 3), None, "int", [{}] * 3, "f", told.append)
    assert sum(told) == 3


class Interrupted(BaseException):
    """As Ctrl+C."""


def interrupt_at(number, action):
    """Run something and interrupt it at one of its lines; tell whether it got there."""
    left = number

    def trace(frame, event, argument):
        nonlocal left
        name = os.path.basename(frame.f_code.co_filename)
        if name not in (
            "_memory_store.py",
            "_columns.py",
            "_ids.py",
            "_index.py",
            "_items.py",
        ):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise Interrupted
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    except Interrupted:
        return True
    finally:
        sys.settrace(before)
    return False


CHANGES = {
    "add": lambda s: s.add(embed(8, 9), ["x", "y"], "str", [{"z": 1}, {}], "f", None),
    "first add": lambda s: fill(s),
    "remove": lambda s: s.remove(["id1", "id3"]),
    "update": lambda s: s.update(["id1", "id3"], embed(8, 9), [{}, {"z": 1}], "f"),
    "rebuild": lambda s: s.rebuild(
        embed(*range(15, 10, -1)), ["id4", "id2", "id0", "id1", "id3"], "f"
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_store_interrupted_at_any_line_holds_old_or_new(name):
    def start():
        return make() if name == "first add" else fill(make())

    old, new = contents(start()), start()
    CHANGES[name](new)
    new, number, seen = contents(new), 1, []
    while True:
        store = start()
        interrupted = interrupt_at(number, lambda store=store: CHANGES[name](store))
        found = contents(store)
        assert found in (old, new), f"line {number}"
        seen.append(found == new)
        if not interrupted:
            break
        store.add(embed(7), ["later"], "str", [{"z": 2}], "f", None)
        assert contents(store)[1] == [*found[1], ("later", 7, {"z": 2})]
        number += 1
    assert number > 20
    assert seen[-1]
    assert not seen[0]


def test_store_file_gives_back_everything(tmp_path):
    store = fill(make(tmp_path / "g", "cosine"))
    wanted = contents(store)
    store.save()
    assert os.listdir(tmp_path) == ["g"]
    again = make(tmp_path / "g", "cosine")
    assert contents(again) == wanted
    assert again.index_description == store.index_description
    with pytest.raises(ValueError, match="metric='euclidean' does not fit"):
        make(tmp_path / "g")
    with np.load(tmp_path / "g") as arrays:
        np.testing.assert_array_equal(arrays["embeddings"], store.labelled("")[1])


def test_store_without_change_is_not_written(tmp_path):
    make(tmp_path / "new").save()
    assert os.listdir(tmp_path) == []
    fill(make(tmp_path / "g")).save()
    reader, before = make(tmp_path / "g"), os.stat(tmp_path / "g").st_ino
    writer = fill(make(tmp_path / "g"), first=5)
    reader.save()
    assert os.stat(tmp_path / "g").st_ino == before
    writer.save()
    reader.save()  # it has nothing to lose
    reader.close()
    assert len(make(tmp_path / "g")) == 10


def test_store_saved_by_another_is_not_overwritten(tmp_path):
    for start in (0, 10):  # the file is new, and it is there
        first, second = make(tmp_path / "g"), make(tmp_path / "g")
        n = len(first)
        fill(first, 3, first=start)
        fill(second, 2, first=start)
        first.save()
        for _ in range(2):
            with pytest.raises(ValueError, match="Another process has saved"):
                second.save()
        assert contents(make(tmp_path / "g")) == contents(first)
        assert len(second) == n + 2  # nothing is lost
        first.remove([f"id{start}"])
        first.save()
        assert os.listdir(tmp_path) == ["g"]


def test_store_removed_meanwhile_is_written_again(tmp_path):
    store = fill(make(tmp_path / "g"))
    store.save()
    os.remove(tmp_path / "g")
    fill(store, first=5)
    store.save()
    assert contents(make(tmp_path / "g")) == contents(store)


def test_store_interrupted_at_any_line_of_save_can_save_again(tmp_path):
    number = 1
    while True:
        path = tmp_path / str(number)
        path.mkdir()
        fill(make(path / "g"), 2).save()
        store = fill(make(path / "g"), 3, first=2)
        interrupted = interrupt_at(number, store.save)
        assert len(make(path / "g")) in (2, 5)
        store.save()
        assert contents(make(path / "g")) == contents(store)
        assert os.listdir(path) == ["g"]
        if not interrupted:
            break
        number += 1
    assert number > 20


FULL_DISK = """
import resource, signal, sys
import numpy as np
from sksiamese.search._memory_store import MemoryStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = MemoryStore(sys.argv[1], "euclidean", "auto", None)
n = 50_000
Z, ids = np.ones((n, 4), np.float32), [f"new{i}" for i in range(n)]
store.add(Z, ids, "str", [{"label": "a"}] * n, "f", None)
for limit in (200_000, 1_000_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        store.save()
    except OSError as error:
        again = MemoryStore(sys.argv[1], "euclidean", "auto", None)
        print(error.errno, len(store), len(again))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
store.save()
"""


def test_store_on_full_disk_keeps_old_file_and_new_items(tmp_path):
    """The limit on the size of files fails as a full disk does, in the same calls."""
    pytest.importorskip("resource")
    fill(make(tmp_path / "g")).save()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL_DISK, tmp_path / "g"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n") == ["27 50005 5"] * 2 + [""]
    assert done.stderr == ""
    assert len(make(tmp_path / "g")) == 50_005
    assert os.listdir(tmp_path) == ["g"]


def test_store_of_wrong_path_raises_before_anything_is_added(tmp_path):
    with pytest.raises(FileNotFoundError, match="create it first"):
        make(tmp_path / "none" / "g")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        make(tmp_path)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="is not a gallery"):
        make(tmp_path / "text")
    assert (tmp_path / "text").read_text() == "hello"


def test_store_of_truncated_or_changed_file_raises_or_reads_the_same(tmp_path):
    """The archive's own test flips more; here all is put together from its parts."""
    path = tmp_path / "g"
    fill(make(path), 300).save()
    wanted, data = contents(make(path)), path.read_bytes()
    for cut in range(20):
        path.write_bytes(data[: len(data) * cut // 20])
        with pytest.raises(ValueError, match=r"not a gallery|truncated"):
            make(path)
    rng = np.random.default_rng(0)
    harmless = 0
    for place in rng.choice(len(data), 200, replace=False):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            store = make(path)
        except ValueError:
            continue
        assert contents(store) == wanted
        harmless += 1
    assert harmless < 30


def test_store_emptied_starts_anew_but_counts_on(tmp_path):
    store = make(tmp_path / "g")
    store.add(embed(0, 1), None, "int", [{"a": 1}, {}], "f", None)
    store.remove([0, 1])
    assert store.header is None
    with pytest.raises(ValueError, match="is empty"):
        store.search(embed(0), 1, [], "f", False)
    with pytest.raises(KeyError, match="0"):
        store.fetch([0])
    store.save()
    store = make(tmp_path / "g", "cosine")  # nothing in it was made for a metric
    assert store.header is None
    assert store.add(np.ones((1, 7), np.float32), ["x"], "str", [{}], "g", None) == "x"
    assert store.header == Header(7, "cosine", "g", "str")
    assert store.fetch(["x"])[1] == [{}]
    store.remove(["x"])
    store.save()
    store = make(tmp_path / "g")
    assert store.add(embed(5), None, "int", [{}], "h", None).tolist() == [2]


def test_store_saves_copy_of_all_and_stays_as_it_was(tmp_path):
    store = make(tmp_path / "g")
    store.add(embed(0, 1, 2), None, "int", [{"a": i} for i in range(3)], "f", None)
    store.remove([2])
    store.save(tmp_path / "copy")
    assert os.listdir(tmp_path) == ["copy"]  # its own file is not written
    copy = make(tmp_path / "copy")
    assert contents(copy) == contents(store)
    assert copy.add(embed(9), None, "int", [{}], "f", None).tolist() == [3]
    copy.save()
    store.save()
    assert len(make(tmp_path / "copy")) == 3
    assert len(make(tmp_path / "g")) == 2
    with pytest.raises(FileExistsError, match="is there already"):
        store.save(tmp_path / "copy")
    with pytest.raises(FileNotFoundError, match="create it first"):
        store.save(tmp_path / "none" / "copy")
    other = make(tmp_path / "other")
    other.save(tmp_path / "empty")
    assert make(tmp_path / "empty", "cosine").header is None


def test_store_saved_to_its_own_path_goes_on_with_it(tmp_path):
    store = fill(make(tmp_path / "g"))
    store.save(tmp_path / "g")
    before = os.stat(tmp_path / "g").st_ino
    store.save()  # there is nothing new
    assert os.stat(tmp_path / "g").st_ino == before
    fill(store, first=5).save()
    assert len(make(tmp_path / "g")) == 10


def test_store_copy_of_compressed_vectors_has_the_same_codes(tmp_path):
    pytest.importorskip("faiss")
    Z = np.random.default_rng(0).standard_normal((10_500, DIM)).astype(np.float32)
    store = MemoryStore(None, "euclidean", "ivfpq", 1)
    store.add(Z, None, "int", [{}] * len(Z), "f", None)
    assert "IVF-PQ" in store.index_description
    store.save(tmp_path / "copy")
    copy = MemoryStore(tmp_path / "copy", "euclidean", "ivfpq", 1)
    np.testing.assert_array_equal(copy.labelled("")[1], store.labelled("")[1])


@pytest.mark.parametrize("kind", ["int", "str"])
def test_store_of_snapshot_holds_all(kind, tmp_path):
    ids = [5, 2, 7] if kind == "int" else ["b", "a", "c"]
    header = Header(DIM, "cosine", "f", kind)
    metadata = [{"n": i} for i in range(3)]
    snapshot = header, np.array(ids), embed(1, 2, 3), metadata, 40
    store = MemoryStore.of_snapshot(*snapshot, "auto", None)
    wanted = header, list(zip(ids, [1, 2, 3], metadata, strict=True))
    assert contents(store) == wanted
    store.save(tmp_path / "copy")
    copy = make(tmp_path / "copy", "cosine")
    assert contents(copy) == wanted
    copy.remove(ids)
    assert copy.add(embed(9), None, "int", [{}], "f", None).tolist() == [40]
    with pytest.raises(ValueError, match="3 embeddings and 3 ids and 2 metadata"):
        MemoryStore.of_snapshot(*snapshot[:3], metadata[:2], 40, "auto", None)


@pytest.mark.parametrize("header", [None, Header(DIM, "cosine", "f", "str")])
def test_store_of_snapshot_without_items_counts_on(header):
    nothing = np.empty((0, DIM), np.float32)
    store = MemoryStore.of_snapshot(header, [], nothing, [], 8, "auto", None)
    assert store.header is None
    given = store.add(embed(9), None, "int", [{}], "f", None)
    assert given.tolist() == [8]


def run_threads(n, work):
    """Run work in n threads; return what they raised."""
    errors = []

    def run(number):
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_store_changed_by_threads_mixes_and_loses_nothing(tmp_path):
    store, n, before = make(tmp_path / "g"), 6, sys.getswitchinterval()

    def work(number):
        for step in range(12):
            new = [number * 10_000 + step * 20 + i for i in range(20)]
            store.add(embed(*new), new, "int", [{"n": i} for i in new], "f", None)
            store.update(new[:2], embed(-new[0], -new[1]), [{}, {}], "f")
            distances, found, _ = store.search(embed(*new[5:]), 1, [], "f", False)
            assert found[:, 0].tolist() == new[5:]
            assert not distances.any()
            store.remove(new[2:5])
            ids, embeddings, values = store.labelled("n")
            kept = [i for i, value in enumerate(values) if value is not None]
            assert [values[i] for i in kept] == ids[kept].tolist()
            assert np.array_equal(embeddings[kept, 0], ids[kept])
            if step % 4 == number % 4:
                store.save()

    sys.setswitchinterval(1e-6)
    try:
        assert run_threads(n, work) == []
    finally:
        sys.setswitchinterval(before)
    store.save()
    again = make(tmp_path / "g")
    assert len(again) == len(store) == n * 12 * 17
    assert contents(again) == contents(store)


def test_store_changed_while_it_is_saved_is_saved_again(tmp_path, monkeypatch):
    store, threads, sync = fill(make(tmp_path / "g")), [], os.fsync

    def add_meanwhile(descriptor):
        if not threads:
            threads.append(threading.Thread(target=fill, args=(store, 3, 5)))
            threads[0].start()
            threads[0].join(0.2)  # in vain where it has to wait for the end of save
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", add_meanwhile)
    store.save()
    threads[0].join()
    store.save()
    assert contents(make(tmp_path / "g")) == contents(store)
    assert len(store) == 8


def test_store_that_broke_keeps_the_file(tmp_path):
    """As by a second Ctrl+C, while the first one is cleaned up after."""
    fill(make(tmp_path / "g")).save()
    store = make(tmp_path / "g")
    store._items.index.add(embed(1))
    store.update(["id0"], None, [{"n": 1}], "f")
    for path in (None, tmp_path / "copy"):
        with pytest.raises(RuntimeError, match="6 embeddings, 5 ids and 5 metadata"):
            store.save(path)
    assert os.listdir(tmp_path) == ["g"]
    assert len(make(tmp_path / "g")) == 5


def test_store_with_one_long_id_takes_little_memory():
    n = 50_000
    ids = [f"i{i}" for i in range(n)]
    ids[7] = "x" * 1000  # as NumPy's strings, 200 MB
    store, metadata = make(), [{}] * n
    Z = np.zeros((n, DIM), np.float32)
    tracemalloc.start()
    given = store.add(Z, ids, "str", metadata, "f", None)
    assert store.contains(ids).all()
    assert store.all_ids().tolist() == given.tolist() == ids
    store.remove(ids[100:])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6
    assert store.search(Z[:1], 3, [], "f", False)[1].tolist() == [ids[:3]]
