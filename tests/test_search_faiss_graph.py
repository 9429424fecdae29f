"""Graphs find the nearest, of new vectors too, or say that they can not."""

import numpy as np
import pytest

from sksiamese._archive import ArchiveReader, ArchiveWriter
from sksiamese.search import _faiss, _faiss_graph
from sksiamese.search._exact import search_exactly
from sksiamese.search._faiss_graph import GraphVectors

pytest.importorskip("faiss", reason="FAISS is not installed")


def recall(graph, vectors, queries, k=10):
    """Share of the nearest that are found."""
    rows = graph.search(queries, k)[1]
    nearest = search_exactly(vectors, queries, k)[1]
    pairs = zip(rows, nearest, strict=True)
    return np.mean([len(np.intersect1d(a, b)) / k for a, b in pairs])


def test_memory_of_a_graph_is_told_beforehand():
    vectors = np.random.default_rng(0).standard_normal((3000, 16)).astype(np.float32)
    faiss = pytest.importorskip("faiss")
    graph = GraphVectors.build(16, [vectors])
    held = len(faiss.serialize_index(graph._index))
    assert held == pytest.approx(GraphVectors.bytes_needed(3000, 16), rel=0.1)


@pytest.mark.parametrize("batch", [1, 400])
@pytest.mark.parametrize("dim", [8, 32])
def test_graph_tuned_on_what_it_holds_finds_neighbours_of_new_vectors(dim, batch):
    rng = np.random.default_rng(0)
    cloud = rng.integers(20, size=4400)
    vectors = rng.standard_normal((20, dim))[cloud]
    vectors = (vectors + 0.3 * rng.standard_normal((4400, dim))).astype(np.float32)
    index = GraphVectors.build(dim, [vectors[:4000]])
    found = [
        recall(index, vectors[:4000], vectors[start : start + batch])
        for start in range(4000, 4400, batch)
    ]
    assert np.mean(found) >= 0.97


def test_graph_that_cannot_find_its_copies_is_searched_exactly():
    """Copies fill each other's lists of neighbours, so that graphs of them break."""
    rng = np.random.default_rng(0)
    few = rng.standard_normal((4, 8)).astype(np.float32)
    vectors = np.repeat(few, 400, axis=0)
    index = GraphVectors.build(vectors.shape[1], [vectors])
    distances = index.search(few + np.float32(0.01), 500)[0]
    expected = search_exactly(vectors, few + np.float32(0.01), 500)[0]
    np.testing.assert_allclose(distances, expected, rtol=1e-4)


def test_graph_of_vectors_without_structure_is_searched_exactly(monkeypatch, tmp_path):
    monkeypatch.setattr(_faiss, "RECALL", 1.01)  # no effort suffices
    vectors = np.random.default_rng(0).standard_normal((400, 30)).astype(np.float32)
    index = GraphVectors.build(vectors.shape[1], [vectors])
    assert index.exact and "misses" in index.description
    assert recall(index, vectors, vectors[:50] * 2) == 1
    with ArchiveWriter(tmp_path / "x", "gallery") as archive:
        index.save_index(archive)
    with ArchiveReader(tmp_path / "x", "gallery") as archive:
        assert GraphVectors.load_index(archive, vectors).exact


def cluster(n, axis, spread, rng):
    """Draw unit vectors around an axis."""
    v = np.eye(64)[axis] + spread * rng.standard_normal((n, 64))
    return (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("n_old", [1, 3])
@pytest.mark.parametrize("n_new", [10, 50, 500])
def test_a_new_class_far_from_all_others_is_found(n_old, n_new):
    rng = np.random.default_rng(n_old)
    parts = [cluster(2400 // n_old, axis, 0.0025, rng) for axis in range(n_old)]
    graph = GraphVectors.build(64, [rng.permutation(np.concatenate(parts))])
    graph.add(cluster(n_new, 9, 0.0025, rng))
    queries = cluster(200, 9, 0.0025, rng)
    rows = graph.search(queries, 5)[1]
    assert np.mean(rows >= 2400) >= 0.99
    one_by_one = np.concatenate([graph.search(q[None], 5)[1] for q in queries])
    np.testing.assert_array_equal(rows, one_by_one)


def test_effort_that_a_new_class_needs_outlasts_growth_and_files(tmp_path):
    rng = np.random.default_rng(0)
    graph = GraphVectors.build(64, [cluster(1500, 0, 0.01, rng)])
    graph._take_effort = lambda *args: graph._set_effort(48)
    graph._found = lambda *args: 0.5
    graph.add(cluster(20, 9, 0.0025, rng))
    del graph._take_effort, graph._found
    graph.add(cluster(1600, 0, 0.01, rng))
    assert graph._n_tuned == len(graph) and graph._effort >= 48
    with ArchiveWriter(tmp_path / "x", "gallery") as archive:
        graph.save_index(archive)
    with ArchiveReader(tmp_path / "x", "gallery") as archive:
        again = GraphVectors.load_index(archive, graph.vectors())
    again.keep(np.arange(len(again)) >= 1000)
    assert again._floor == 48 and again._effort >= 48


def test_few_new_vectors_are_checked_once_they_are_enough():
    rng = np.random.default_rng(0)
    graph = GraphVectors.build(64, [cluster(1500, 0, 0.01, rng)])
    for n in range(1, 2 * _faiss_graph._FEWEST_CHECKED):
        graph.add(cluster(1, 9, 0.0025, rng))
        checked = 1500 + n // 10 * 10
        assert graph.exact or graph._n_checked == checked


def test_graph_without_memory_for_links_is_built_anew_when_it_grows(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((1200, 8)).astype(np.float32)
    graph = GraphVectors.build(8, [vectors[:1000]])
    real = graph._index

    def add(new):  # what FAISS leaves if there is no memory for links
        real.storage.add(new)
        real.ntotal += len(new)
        raise MemoryError

    real.add = add
    with pytest.raises(MemoryError):
        graph.add(vectors[1000:1100])
    assert len(graph) == 1000 and recall(graph, vectors[:1000], vectors[1100:]) > 0.97
    graph.add(vectors[1100:])
    assert graph._index is not real and graph._index.ntotal == 1100
    model = np.concatenate([vectors[:1000], vectors[1100:]])
    np.testing.assert_array_equal(graph.vectors(), model)
    assert recall(graph, model, vectors[1000:1100]) > 0.97
