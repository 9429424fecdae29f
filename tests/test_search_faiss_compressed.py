"""Compressed vectors are near the ones they stand for, and searched as such."""

import numpy as np
import pytest

from sksiamese.search._archive import ArchiveReader, ArchiveWriter
from sksiamese.search._exact import search_exactly
from sksiamese.search._faiss_compressed import CompressedVectors

pytest.importorskip("faiss", reason="FAISS is not installed")


@pytest.fixture(scope="module", params=[1, 7, 16])
def held(request):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3000, request.param)).astype(np.float32)
    return vectors, CompressedVectors.build(
        request.param, [vectors[:2000], vectors[2000:]]
    )


def test_codes_stand_for_their_vectors(held):
    vectors, compressed = held
    assert len(compressed) == 3000
    decoded = compressed.vectors()
    assert decoded.shape == vectors.shape and decoded.dtype == np.float32
    assert np.square(decoded - vectors).mean() < 0.1 * vectors.var()
    rows = np.array([2999, 0, 7])
    np.testing.assert_array_equal(compressed.vectors(rows), decoded[rows])


def test_search_ranks_by_what_the_codes_stand_for(held):
    vectors, compressed = held
    queries = vectors[:50] + np.float32(0.01)
    distances, rows = compressed.search(queries, 5)
    true = np.linalg.norm(queries[:, None] - compressed.vectors()[rows], axis=2)
    np.testing.assert_allclose(distances, true, rtol=1e-3, atol=2e-3)
    expected = search_exactly(compressed.vectors(), queries, 5)[0]
    assert np.mean(distances <= expected + 2e-3) > 0.95


def test_codes_take_a_byte_for_two_numbers_and_last(held, tmp_path):
    vectors, compressed = held
    assert compressed._index.code_size == (vectors.shape[1] + 1) // 2
    with ArchiveWriter(tmp_path / "x") as archive:
        compressed.save_index(archive)
    with ArchiveReader(tmp_path / "x") as archive:
        again = CompressedVectors.load_index(archive, vectors.shape[1], 3000)
    np.testing.assert_array_equal(again.vectors(), compressed.vectors())
    for a, b in zip(
        again.search(vectors, 3), compressed.search(vectors, 3), strict=True
    ):
        np.testing.assert_array_equal(a, b)
