"""The HNSW index appears when it should, and finds what exact search finds."""

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import sksiamese.search._pgvector_index as module
from sksiamese.search._pgvector import PostgresStore


def _store(postgres, name, index="auto"):
    return PostgresStore(postgres, f"index {name}", "euclidean", index)


def _add(store, Z, metadata=None):
    return store.add(Z, None, "int", metadata or [{}] * len(Z), "f", None)


def _normal(n, dim=8, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def _prefer_index(store):
    """Keep the planner from comparing with every item, as small tables suggest."""
    store._tables._session._connection.execute("SET enable_seqscan = off")


def test_auto_builds_the_index_in_the_add_that_crosses_the_limit(postgres, monkeypatch):
    monkeypatch.setattr(module, "_EXACT_ITEMS", 100)
    store = _store(postgres, "limit")
    _add(store, _normal(100))
    assert store.index_description == "exact search (pgvector)"
    _add(store, _normal(1))
    assert store.index_description == "HNSW (pgvector, M=16)"
    flat = _store(postgres, "limit", "flat")
    assert flat.index_description == "exact search (pgvector)"
    # A rebuild builds it anew.
    store.rebuild(_normal(101, 3), list(range(101)), "g")
    assert "HNSW" in store.index_description
    flat.rebuild(_normal(101, 2), list(range(101)), "h")
    assert "HNSW" in store.index_description
    store.close()
    flat.close()


def test_flat_never_builds_and_hnsw_builds_at_once(postgres, monkeypatch):
    monkeypatch.setattr(module, "_EXACT_ITEMS", 10)
    flat, hnsw = _store(postgres, "flat", "flat"), _store(postgres, "hnsw", "hnsw")
    for store in (flat, hnsw):
        _add(store, _normal(20))
    assert "exact" in flat.index_description and "HNSW" in hnsw.index_description
    flat.close()
    hnsw.close()


def test_index_finds_nearly_all_and_is_used(postgres):
    Z, probes = _normal(6000, 32), _normal(200, 32, seed=1)
    store, flat = (_store(postgres, "recall", index) for index in ("hnsw", "flat"))
    _add(store, Z)
    _prefer_index(store)
    distances, ids, _ = store.search(probes, 10, [], "f", False)
    _, exact_ids, _ = flat.search(probes, 10, [], "f", False)
    order = np.linalg.norm(probes[:, None] - Z[None], axis=2).argsort(axis=1)[:, :10]
    np.testing.assert_array_equal(exact_ids, order)
    found = [len(set(a) & set(b)) for a, b in zip(ids, order, strict=True)]
    assert np.sum(found) / order.size >= 0.98
    assert (np.diff(distances) >= 0).all()
    expected = np.linalg.norm(probes[:, None] - Z[ids], axis=2)
    np.testing.assert_allclose(distances, expected, rtol=1e-5)
    number = store._tables._number
    store.close()
    flat.close()
    with psycopg.connect(postgres) as connection:
        query = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = %s"
        (scans,) = connection.execute(query, [f"items_{number}_hnsw"]).fetchone()
    assert scans >= 200  # one for each probe


def test_stored_items_of_tight_clusters_find_themselves(postgres):
    # Class by class, as from folders. With pgvector's own ef_construction and in this
    # order, 80 to 220 of the 6,000 were out of reach.
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((40, 64))
    axes = 0.02 * rng.standard_normal((40, 4, 64))
    label = np.sort(rng.integers(40, size=6000))
    places = np.einsum("na,nad->nd", rng.standard_normal((6000, 4)), axes[label])
    Z = centres[label] + places + 0.01 * rng.standard_normal((6000, 64))
    Z = (Z / np.linalg.norm(Z, axis=1, keepdims=True)).astype(np.float32)
    store = _store(postgres, "clusters", "hnsw")
    _add(store, Z)
    _prefer_index(store)
    for fingerprint in ("f", "g"):
        lost = (store.search(Z, 1, [], fingerprint, False)[0][:, 0] > 1e-3).sum()
        assert lost <= 12  # levels of the graph are random
        if fingerprint == "f":
            store.rebuild(Z, list(range(6000)), "g")
            _prefer_index(store)
    store.close()


def test_many_items_are_added_without_the_index_which_is_built_anew(
    postgres, monkeypatch
):
    monkeypatch.setattr(module, "_MANY", 10)
    Z = _normal(200)
    store = _store(postgres, "many", "hnsw")

    def file_node():
        query = "SELECT pg_relation_filenode(to_regclass(%s))"
        name = f"sksiamese.items_{store._tables._number}_hnsw"
        with psycopg.connect(postgres) as connection:
            return connection.execute(query, [name]).fetchone()[0]

    _add(store, Z[:20])
    assert len(store) == 20
    nodes = [file_node()]
    # Also by a store that would not begin an index.
    for index, n, is_new in [("auto", 9, False), ("flat", 16, True)]:
        other = _store(postgres, "many", index)
        _add(other, Z[:n])
        other.close()
        nodes.append(file_node())
        assert (nodes[-1] != nodes[-2]) == is_new
    with pytest.raises(OverflowError):
        store.add(Z, None, "int", [{}] * 200, "f", _overflow)
    assert file_node() == nodes[-1] and len(store) == 45
    _add(store, Z)
    _prefer_index(store)
    assert (store.search(Z, 1, [], "f", False)[0] == 0).all()
    store.close()


def _overflow(n):
    raise OverflowError


def test_removed_items_do_not_leave_too_few(postgres):
    Z = _normal(3000)
    store = _store(postgres, "removed", "hnsw")
    _add(store, Z)
    _prefer_index(store)
    order = np.linalg.norm(Z - Z[0], axis=1).argsort()
    store.remove(order[:1500].tolist())  # all that are near to the probe
    distances, ids, _ = store.search(Z[:1], 100, [], "f", False)
    assert len(set(ids[0])) == 100 and np.isin(ids, order[1500:]).all()
    expected = np.linalg.norm(Z[ids[0]] - Z[0], axis=1)
    np.testing.assert_allclose(distances[0], expected, rtol=1e-5)
    assert (np.diff(distances) >= 0).all()
    store.remove(order[1500:2990].tolist())
    _, ids, _ = store.search(Z[:1], 10, [], "f", False)
    assert ids[0].tolist() == order[2990:].tolist()
    store.close()


@pytest.mark.parametrize(("k", "n_matching"), [(5, 5), (5, 900), (600, 900)])
def test_filters_and_many_neighbours_are_searched_exactly(postgres, k, n_matching):
    Z = _normal(1500)
    store = _store(postgres, f"filter {k} {n_matching}", "hnsw")
    _add(store, Z, [{"row": row} for row in range(1500)])
    _prefer_index(store)
    condition = [("row", "<", n_matching)]
    distances, ids, _ = store.search(Z[-3:], k, condition, "f", False)
    expected = np.linalg.norm(Z[-3:, None] - Z[None, :n_matching], axis=2)
    np.testing.assert_allclose(distances, np.sort(expected)[:, :k], rtol=1e-5)
    assert (ids < n_matching).all()
    _, ids, _ = store.search(Z[-3:], 1500, [], "f", False)
    assert (np.sort(ids) == np.arange(1500)).all()
    with pytest.raises(ValueError, match=f"has {n_matching} items that match"):
        store.search(Z[-3:], n_matching + 1, condition, "f", False)
    with pytest.raises(ValueError, match="has 1,500 items; ask for at most 1,500"):
        store.search(Z[-3:], 1501, [], "f", False)
    store.close()


def test_dimensions_beyond_the_index_are_searched_exactly(postgres):
    Z = _normal(5, 2001)
    store = _store(postgres, "wide")
    _add(store, Z)
    assert "at most 2,000 dimensions" in store.index_description
    assert store.search(Z, 1, [], "f", False)[1].ravel().tolist() == list(range(5))
    store.close()
    with pytest.raises(ValueError, match="index='hnsw' takes at most 2,000"):
        _add(_store(postgres, "too wide", "hnsw"), Z)
    with pytest.raises(ValueError, match="length 16,001, but pgvector stores at most"):
        _add(_store(postgres, "much too wide"), np.zeros((1, 16001), np.float32))
    store = _store(postgres, "widest", "hnsw")
    _add(store, _normal(3, 2000))
    assert "HNSW" in store.index_description
    store.close()


def test_memory_for_the_index_is_what_the_server_needs(postgres):
    notices = []
    store = _store(postgres, "memory", "hnsw")
    store._tables._session._connection.add_notice_handler(notices.append)
    store._tables._session._connection.execute("SET maintenance_work_mem = '1MB'")
    _add(store, _normal(3000, 16))
    # The server says when the graph outgrows the memory, and takes far longer then.
    assert not [notice.message_primary for notice in notices]
    store.close()


def test_index_is_built_alone_where_workers_lack_shared_memory(postgres):
    name = "index_small_memory"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    dsn = make_conninfo(postgres, dbname=name)
    # What a server says that has too little of it, by SQLSTATE.
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("""
            CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF current_setting('max_parallel_maintenance_workers')::int > 0 THEN
                    RAISE 'could not resize shared memory segment'
                    USING ERRCODE = 'disk_full';
                END IF;
            END $$;
            CREATE EVENT TRIGGER refuse ON ddl_command_start
            WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION refuse()""")
    store = _store(dsn, "shared memory", "hnsw")
    _add(store, _normal(20))
    assert len(store) == 20 and "HNSW" in store.index_description
    store.close()
