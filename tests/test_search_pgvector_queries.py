"""Searches and listings agree with brute force, in pieces of any size."""

import numpy as np
import pytest

import sksiamese.search._pgvector_queries as module
from sksiamese.search._pgvector import PostgresStore

Z = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
METADATA = [{"row": row, "odd": bool(row % 2)} for row in range(50)]


@pytest.fixture(scope="module")
def store(postgres):
    store = PostgresStore(postgres, "queries", "euclidean", "auto")
    names = [f"item {row}" for row in range(50)]
    store.add(Z, names, "str", METADATA, "f", None)
    yield store
    store.close()


@pytest.mark.parametrize("found_at_a_time", [1, 7, 50_000])
@pytest.mark.parametrize("k", [1, 3, 50])
def test_search_in_pieces_finds_what_brute_force_finds(
    store, monkeypatch, k, found_at_a_time
):
    monkeypatch.setattr(module, "_FOUND", found_at_a_time)
    probes = np.random.default_rng(1).normal(size=(9, 6)).astype(np.float32)
    expected = np.linalg.norm(probes[:, None] - Z[None], axis=2)
    order = expected.argsort(axis=1)[:, :k]
    distances, ids, metadata = store.search(probes, k, [], "f", True)
    assert distances.dtype == np.float32 and distances.shape == ids.shape == (9, k)
    assert ids.tolist() == [[f"item {row}" for row in rows] for rows in order]
    assert metadata == [[METADATA[row] for row in rows] for rows in order]
    sorted_ = np.take_along_axis(expected, order, axis=1)
    np.testing.assert_allclose(distances, sorted_, rtol=1e-5)
    assert store.search(probes, k, [], "f", False)[2] is None


def test_equal_distances_are_in_order_of_addition(postgres):
    store = PostgresStore(postgres, "ties", "euclidean", "auto")
    ids = [5, 3, 9, 1]
    store.add(np.ones((4, 2), np.float32), ids, "int", [{}] * 4, "f", None)
    probes = np.zeros((2, 2), np.float32)
    assert store.search(probes, 3, [], "f", False)[1].tolist() == [[5, 3, 9]] * 2
    store.close()


def test_filtered_search_compares_only_what_matches(store):
    condition = [("odd", "in", [True]), ("row", ">=", 20)]
    _, ids, metadata = store.search(Z, 15, condition, "f", True)
    assert all(item["odd"] and item["row"] >= 20 for item in metadata[0])
    assert len(set(ids[0])) == 15
    with pytest.raises(ValueError, match="15 items that match"):
        store.search(Z, 16, condition, "f", False)


@pytest.mark.parametrize("rows", [1, 7, 4096])
def test_listings_in_pieces_are_in_order_of_addition(store, monkeypatch, rows):
    monkeypatch.setattr(module, "ROWS", rows)
    header, ids, embeddings, metadata, _ = store.snapshot()
    assert header.dim == 6
    assert ids.tolist() == store.all_ids().tolist() == [f"item {i}" for i in range(50)]
    np.testing.assert_array_equal(embeddings, Z)
    assert metadata == METADATA
    ids, embeddings, values = store.labelled("row")
    assert values == list(range(50)) and ids[7] == "item 7"
    assert store.labelled("nothing")[2] == [None] * 50


def test_ids_of_the_other_type_are_not_there(store):
    assert store.contains([1, 2]).tolist() == [False, False]
    assert store.contains([]).shape == (0,)
    with pytest.raises(KeyError, match="not in the gallery: 1"):
        store.fetch([1])
