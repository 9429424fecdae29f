"""Graphs find the nearest, of new vectors too, or say that they can not."""

import numpy as np
import pytest

from sksiamese.search import _faiss
from sksiamese.search._archive import ArchiveReader, ArchiveWriter
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
    monkeypatch.setattr(_faiss, "_RECALL", 1.01)  # no effort suffices
    vectors = np.random.default_rng(0).standard_normal((400, 30)).astype(np.float32)
    index = GraphVectors.build(vectors.shape[1], [vectors])
    assert index.exact and "misses" in index.description
    assert recall(index, vectors, vectors[:50] * 2) == 1
    with ArchiveWriter(tmp_path / "x") as archive:
        index.save_index(archive)
    with ArchiveReader(tmp_path / "x") as archive:
        assert GraphVectors.load_index(archive, vectors).exact
