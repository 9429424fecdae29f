"""Compressed vectors are near the ones they stand for, and searched as such."""

import warnings

import numpy as np
import pytest

from sksiamese._archive import ArchiveReader, ArchiveWriter
from sksiamese.search import _faiss_compressed
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
    with ArchiveWriter(tmp_path / "x", "gallery") as archive:
        compressed.save_index(archive)
    with ArchiveReader(tmp_path / "x", "gallery") as archive:
        again = CompressedVectors.load_index(archive, vectors.shape[1], 3000)
    np.testing.assert_array_equal(again.vectors(), compressed.vectors())
    for a, b in zip(
        again.search(vectors, 3), compressed.search(vectors, 3), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def classes(n, of, rng):
    """Draw vectors, class by class."""
    centres = np.random.default_rng(7).standard_normal((40, 16))[of]
    noise = 0.2 * rng.standard_normal((n * len(centres), 16))
    return (np.repeat(centres, n, axis=0) + noise).astype(np.float32)


@pytest.mark.parametrize("step", [30, 1000])
def test_classes_that_come_later_are_warned_of_once(step, tmp_path):
    rng = np.random.default_rng(0)
    compressed = CompressedVectors.build(16, [classes(300, range(10), rng)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compressed.add(classes(300, range(10), rng))
    later = classes(300, range(10, 20), rng)
    with pytest.warns(UserWarning, match=r"rebuild\(X, ids\)") as caught:
        for start in range(0, len(later), step):
            compressed.add(later[start : start + step])
    assert len(caught) == 1
    with ArchiveWriter(tmp_path / "x", "gallery") as archive:
        compressed.save_index(archive)
    with ArchiveReader(tmp_path / "x", "gallery") as archive:
        again = CompressedVectors.load_index(archive, 16, len(compressed))
    assert "coded badly" in again.description


def test_vectors_judged_so_far_are_kept_in_a_file(tmp_path):
    rng = np.random.default_rng(0)
    compressed = CompressedVectors.build(16, [classes(300, range(10), rng)])
    compressed._unjudged = np.empty(0)
    compressed.add(classes(60, [30], rng))
    with ArchiveWriter(tmp_path / "x", "gallery") as archive:
        compressed.save_index(archive)
    with ArchiveReader(tmp_path / "x", "gallery") as archive:
        again = CompressedVectors.load_index(archive, 16, len(compressed))
    with pytest.warns(UserWarning, match="unlike those"):
        again.add(classes(60, [30], rng))


@pytest.mark.parametrize("offset", [0, 10])
def test_copies_are_searched_with_little_effort_and_never_called_exact(offset):
    rng = np.random.default_rng(0)
    few = rng.standard_normal((1000, 8)).astype(np.float32) + np.float32(offset)
    compressed = CompressedVectors.build(8, [np.repeat(few, 10, axis=0)])
    assert not compressed.exact
    assert compressed._effort < compressed._index.nlist


def test_many_vectors_are_learned_from_without_a_word_of_faiss(capfd, monkeypatch):
    monkeypatch.setattr(_faiss_compressed, "_N_TRAINING", 10_000)
    vectors = np.random.default_rng(0).standard_normal((12_000, 2)).astype(np.float32)
    CompressedVectors.build(2, [vectors[:7001], vectors[7001:]])
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
