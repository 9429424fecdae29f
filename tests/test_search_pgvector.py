"""Galleries in PostgreSQL: parts of the contract that other stores do not share."""

import json
import os
import subprocess
import sys

import numpy as np
import psycopg
import pytest

from sksiamese.search._header import Header
from sksiamese.search._pgvector import PostgresStore

Z = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
NASTY = [
    "'; DROP TABLE sksiamese.galleries; --",
    '"; DROP SCHEMA sksiamese CASCADE; --',
    "%s %(name)s %% {items}",
    "\\'\\\\; SELECT pg_sleep(60)",
    "$$ $1 \n\t é \U0001f600 ʼ",
    " ",
]


@pytest.fixture
def store(postgres, request):
    store = PostgresStore(postgres, request.node.name[:100], "euclidean", "auto")
    yield store
    store.close()


def _add(store, n=6, ids=None, metadata=None, fingerprint="f"):
    kind = "int" if ids is None or isinstance(ids[0], int) else "str"
    return store.add(Z[:n], ids, kind, metadata or [{}] * n, fingerprint, None)


def _count(postgres, table):
    with psycopg.connect(postgres) as connection:
        query = f"SELECT count(*) FROM sksiamese.{table}"
        return connection.execute(query).fetchone()[0]


# --- what a user wrote is never SQL --------------------------------------------------


def test_sql_in_ids_and_metadata_is_stored_and_not_executed(postgres, store):
    n_galleries = _count(postgres, "galleries")
    metadata = [{text: text, "nested": {text: [text]}} for text in NASTY]
    assert _add(store, ids=NASTY, metadata=metadata).tolist() == NASTY
    assert store.all_ids().tolist() == NASTY
    assert store.contains([*NASTY, "x"]).tolist() == [True] * 6 + [False]
    embeddings, found = store.fetch(NASTY[::-1])
    assert found == metadata[::-1]
    np.testing.assert_array_equal(embeddings, Z[::-1])
    for row, text in enumerate(NASTY):
        condition = [(text, "in", [text])]
        _, ids, values = store.search(Z, 1, condition, "f", True)
        assert set(ids.ravel()) == {text} and values[0] == [metadata[row]]
        assert store.labelled(text)[2][row] == text
    changed = [{text: [text]} for text in NASTY]
    store.update(NASTY, None, changed, "f")
    assert store.fetch(NASTY)[1] == changed
    store.remove(NASTY[:5])
    assert store.all_ids().tolist() == NASTY[5:]
    assert _count(postgres, "galleries") == n_galleries + 1


@pytest.mark.parametrize("text", NASTY, ids=range(6))
def test_sql_in_names_and_fingerprints_is_stored_and_not_executed(postgres, text):
    store = PostgresStore(postgres, text, "euclidean", "auto")
    _add(store, fingerprint=text)
    assert store.header == Header(4, "euclidean", text, "int")
    assert repr(text) in store.place
    store.close()
    again = PostgresStore(postgres, text, "euclidean", "auto")
    assert len(again) == 6
    again.close()


# --- several galleries, several views ------------------------------------------------


def test_galleries_of_one_database_do_not_mix(postgres):
    stores = [PostgresStore(postgres, n, "euclidean", "auto") for n in ("one", "One")]
    _add(stores[0])
    _add(stores[1], 2, ids=["a", "b"])
    assert [len(store) for store in stores] == [6, 2]
    assert stores[0].all_ids().tolist() == [0, 1, 2, 3, 4, 5]
    assert stores[1].header.id_kind == "str"
    for store in stores:
        store.close()


def test_gallery_that_another_process_begins_is_seen(postgres):
    first, second = (
        PostgresStore(postgres, "begun", "euclidean", "auto") for _ in range(2)
    )
    assert second.header is None and len(second) == 0
    assert second.snapshot()[0] is None and second.all_ids().shape == (0,)
    assert second.contains([1]).tolist() == [False]
    assert second.labelled("a")[1].shape[0] == 0
    for fail in (
        lambda: second.fetch([1]),
        lambda: second.remove([1]),
        lambda: second.update([1], None, [{}], "f"),
        lambda: second.rebuild(Z[:1], [1], "f"),
    ):
        with pytest.raises(KeyError, match="not in the gallery: 1"):
            fail()
    with pytest.raises(ValueError, match="The gallery is empty"):
        second.search(Z, 1, [], "f", False)
    _add(first)
    assert second.header == Header(4, "euclidean", "f", "int") and len(second) == 6
    assert second.search(Z, 1, [], "f", False)[1].ravel().tolist() == list(range(6))
    first.close()
    second.close()


def test_metric_of_another_gallery_is_refused(postgres, store):
    _add(store)
    name = "test_metric_of_another_gallery_is_refused"
    with pytest.raises(ValueError, match="made with metric='euclidean'"):
        PostgresStore(postgres, name, "cosine", "auto")
    late = PostgresStore(postgres, "late", "cosine", "auto")
    early = PostgresStore(postgres, "late", "euclidean", "auto")
    _add(early)
    with pytest.raises(ValueError, match="made with metric='euclidean'"):
        _add(late)
    late.close()
    early.close()


@pytest.mark.parametrize("name", ["", "a" * 101, "a\0b", "\ud800", 3, None])
def test_bad_name_is_refused(postgres, name):
    with pytest.raises(
        ValueError, match="name must (be a string of 1 to 100|not hold null)"
    ):
        PostgresStore(postgres, name, "euclidean", "auto")


def test_index_for_other_stores_names_those_of_postgresql(postgres):
    with pytest.raises(ValueError, match="'auto', 'flat' and 'hnsw'"):
        PostgresStore(postgres, "a", "euclidean", "ivfpq")


# --- changes that fail change nothing ------------------------------------------------


def _everything(store):
    header, ids, embeddings, metadata, next_id = store.snapshot()
    return header, ids.tolist(), embeddings.tolist(), metadata, next_id, len(store)


def test_failed_changes_leave_everything_as_it_was(store):
    _add(store, metadata=[{"row": row} for row in range(6)])
    before = _everything(store)
    wide = np.zeros((6, 5), dtype=np.float32)
    ids = list(range(6))
    failures = [
        (ValueError, "already: 3", lambda: _add(store, 3, ids=[10, 3, 11])),
        (TypeError, "ids are strings", lambda: _add(store, 1, ids=["a"])),
        (ValueError, "another embedder", lambda: _add(store, fingerprint="g")),
        (
            ValueError,
            "length 5",
            lambda: store.add(wide, None, "int", [{}] * 6, "f", 0),
        ),
        (KeyError, "7, 8", lambda: store.remove([1, 7, 8])),
        (KeyError, "'a'", lambda: store.remove(["a"])),
        (KeyError, "7", lambda: store.update([1, 7], Z[:2], [{}, {}], "f")),
        (ValueError, "another embedder", lambda: store.update([1], Z[:1], None, "g")),
        (ValueError, "length 5", lambda: store.update([1], wide[:1], None, "f")),
        (KeyError, "9", lambda: store.rebuild(Z, [0, 1, 2, 3, 4, 9], "g")),
        (ValueError, "lacks 4, 5", lambda: store.rebuild(Z[:4], ids[:4], "g")),
        (
            ValueError,
            "stores at most",
            lambda: store.rebuild(np.zeros((6, 16001)), ids, "g"),
        ),
    ]
    for kind, message, fail in failures:
        with pytest.raises(kind, match=message):
            fail()
        assert _everything(store) == before
    assert _add(store, 1).tolist() == [6]


def test_ids_count_on_from_the_largest_ever_given(store):
    assert _add(store, 2).tolist() == [0, 1]
    _add(store, 2, ids=[-5, 100])
    assert _add(store, 1).tolist() == [101]
    store.remove([101, 100])
    assert _add(store, 1).tolist() == [102]
    assert store.all_ids().tolist() == [0, 1, -5, 102]  # in order of addition
    _add(store, 2, ids=[-(2**63), 2**63 - 1])
    with pytest.raises(ValueError, match="beyond 64 bits: pass ids"):
        _add(store, 1)
    assert len(store) == 6


# --- galleries without items ---------------------------------------------------------


def _assert_empty(store, next_id):
    assert store.header is None and len(store) == 0
    header, ids, embeddings, metadata, found = store.snapshot()
    assert (header, metadata, found) == (None, [], next_id)
    assert ids.shape == (0,) and ids.dtype == np.int64
    assert embeddings.shape == (0, 0) and embeddings.dtype == np.float32
    ids, embeddings, values = store.labelled("a")
    assert ids.dtype == store.all_ids().dtype == np.int64
    assert embeddings.shape == (0, 0) and values == []
    assert store.contains([0, 1]).tolist() == [False, False]
    assert store.index_description
    for conditions in ([], [("a", "in", [1])]):
        with pytest.raises(ValueError, match="The gallery is empty"):
            store.search(Z, 1, conditions, "f", False)
    for fail in (
        lambda: store.fetch([1]),
        lambda: store.remove([1]),
        lambda: store.update([1], Z[:1], None, "f"),
    ):
        with pytest.raises(KeyError, match="not in the gallery: 1"):
            fail()


@pytest.mark.parametrize("index", ["flat", "hnsw"])
def test_emptied_gallery_starts_anew_as_another_one(postgres, index):
    name = f"emptied {index}"
    first = PostgresStore(postgres, name, "euclidean", index)
    _assert_empty(first, 0)
    assert _add(first).tolist() == list(range(6))
    first.remove(list(range(6)))
    _assert_empty(first, 6)
    # Another dimension, metric, embedder and type of ids, by another store.
    wide = np.random.default_rng(1).normal(size=(3, 2000)).astype(np.float32)
    ids = ["a", "B", "é"]
    second = PostgresStore(postgres, name, "cosine", index)
    assert second.add(wide, ids, "str", [{"b": 2}] * 3, "g", None).tolist() == ids
    assert first.header == Header(2000, "cosine", "g", "str")
    assert second.search(wide, 1, [], "g", True)[1].ravel().tolist() == ids
    np.testing.assert_array_equal(second.fetch(ids[::-1])[0], wide[::-1])
    assert ("HNSW" in second.index_description) == (index == "hnsw")
    with pytest.raises(ValueError, match="made with metric='cosine'"):
        _add(first)
    with pytest.raises(ValueError, match="made with metric='cosine'"):
        PostgresStore(postgres, name, "euclidean", index)
    second.remove(ids)
    _assert_empty(first, 6)
    # Numbers count on from the largest ever given.
    assert _add(first).tolist() == list(range(6, 12))
    assert first.header == Header(4, "euclidean", "f", "int")
    assert first.search(Z, 1, [], "f", False)[1].ravel().tolist() == list(range(6, 12))
    assert first.snapshot()[4] == 12
    first.close()
    second.close()


def test_emptied_gallery_of_more_dimensions_than_the_index_has_starts_anew(postgres):
    store = PostgresStore(postgres, "emptied wide", "euclidean", "hnsw")
    _add(store)
    store.remove(list(range(6)))
    auto = PostgresStore(postgres, "emptied wide", "euclidean", "auto")
    auto.add(np.eye(3, 2001, dtype=np.float32), None, "int", [{}] * 3, "f", None)
    assert "at most 2,000 dimensions" in auto.index_description
    assert auto.header.dim == 2001 and auto.all_ids().tolist() == [6, 7, 8]
    store.close()
    auto.close()


def test_failed_add_to_an_emptied_gallery_leaves_it_empty(store):
    _add(store)
    store.remove(list(range(6)))
    wide = np.zeros((2, 5), dtype=np.float32)

    def fail(n):
        raise OverflowError

    with pytest.raises(OverflowError):
        store.add(wide, ["a", "b"], "str", [{}] * 2, "g", fail)
    _assert_empty(store, 6)
    assert _add(store, 1).tolist() == [6]


def test_rebuild_keeps_metadata_and_order_and_changes_the_length(store):
    metadata = [{"row": row} for row in range(6)]
    _add(store, metadata=metadata)
    new = np.random.default_rng(1).normal(size=(6, 9)).astype(np.float32)
    order = [3, 5, 0, 1, 4, 2]
    store.rebuild(new[order], order, "g")
    header, ids, embeddings, found, _ = store.snapshot()
    assert header == Header(9, "euclidean", "g", "int")
    assert ids.tolist() == list(range(6)) and found == metadata
    np.testing.assert_array_equal(embeddings, new)
    with pytest.raises(ValueError, match="another embedder"):
        store.search(Z, 1, [], "f", False)
    assert (store.search(new, 1, [], "g", False)[0] == 0).all()


# --- several processes ---------------------------------------------------------------

# A process of its own forks the workers, which begin together on a database where
# nothing is made yet, and report what they were given.
WORKERS = """
import json, os, sys
import numpy as np
from sksiamese.search import Gallery

dsn, kind = sys.argv[1:]
ready, go = os.pipe()
reports = []
for worker in range(8):
    reader, writer = os.pipe()
    if not os.fork():
        os.close(go)
        os.read(ready, 1)
        gallery, given, n_shared = Gallery(None, dsn), [], 0
        for batch in range(10):
            tag = 100 * worker + batch
            Z = np.full((20, 8), tag)
            ids = [f"{tag}-{i}" for i in range(20)] if kind == "str" else None
            given.append(gallery.add(Z, ids, {"batch": [tag] * 20}).tolist())
            if kind == "str":
                try:
                    # In opposite orders, which would deadlock if adds did not queue.
                    shared = [f"shared {batch}", f"also shared {batch}"]
                    gallery.add(Z[:2], shared[:: 1 - 2 * (worker % 2)])
                    n_shared += 1
                except ValueError as error:
                    assert "in the gallery already" in str(error)
        os.write(writer, json.dumps([given, n_shared]).encode())
        os._exit(0)
    os.close(writer)
    reports.append(os.fdopen(reader))
os.close(go)
print(json.dumps([json.loads(report.read()) for report in reports]))
for _ in reports:
    assert os.wait()[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("kind", ["int", "str"])
def test_eight_processes_adding_at_once_lose_and_double_nothing(postgres, kind):
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE eight_{kind}")
    dsn = postgres.replace("/postgres?", f"/eight_{kind}?")
    done = subprocess.run(
        [sys.executable, "-c", WORKERS, dsn, kind], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    reports = json.loads(done.stdout)
    store = PostgresStore(dsn, "gallery", "euclidean", "auto")
    ids, embeddings, tags = store.labelled("batch")
    store.close()
    found = dict(zip(ids.tolist(), tags, strict=True))
    assert len(found) == len(ids)
    n_shared = sum(n for _, n in reports)
    assert len(ids) == 8 * 10 * 20 + 2 * n_shared
    if kind == "str":
        assert n_shared == 10  # one of the eight wins each time
    else:
        assert sorted(found) == list(range(1600))
    for worker, (given, _) in enumerate(reports):
        for batch, batch_ids in enumerate(given):
            assert {found[i] for i in batch_ids} == {100 * worker + batch}
    # Each add is one run in the order of addition, with its own embeddings.
    mine = np.array([tag is not None for tag in tags])
    kept = np.array([tag for tag in tags if tag is not None])
    assert (np.diff(kept.reshape(-1, 20)) == 0).all()
    np.testing.assert_array_equal(embeddings[mine, 0], kept)
