"""Exact search against a sort of all distances, with FAISS and without."""

import sys
import threading

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from sksiamese.search import _exact
from sksiamese.search._exact import ExactVectors, search_blocks, search_exactly


@pytest.fixture(params=["faiss", "numpy"])
def library(request, monkeypatch):
    if request.param == "faiss":
        pytest.importorskip("faiss")
    else:
        monkeypatch.setitem(sys.modules, "faiss", None)
    return request.param


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def oracle(vectors, queries, k, rows=None):
    """Sort all distances in double precision, ties by row."""
    rows = np.arange(len(vectors)) if rows is None else rows
    d = cdist(queries.astype(float), vectors[rows].astype(float))
    order = np.argsort(d, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(d, order, 1), rows[order]


def check(vectors, queries, k, rows=None):
    distances, found = search_exactly(vectors, queries, k, rows)
    right, expected = oracle(vectors, queries, k, rows)
    assert distances.dtype == np.float32 and found.dtype == np.int64
    np.testing.assert_allclose(distances, right, rtol=1e-5)
    # Rows may differ where distances are the same but for the last digit of a float.
    other = np.nonzero(found != expected)
    gap = cdist(queries.astype(float), vectors.astype(float))[other[0], found[other]]
    np.testing.assert_allclose(gap, right[other], rtol=1e-6)
    assert len(other[0]) <= 1e-4 * found.size
    assert all(len(set(row)) == k for row in found.tolist())


@pytest.mark.parametrize("n_queries", [1, 3, 4, 25, 700])
@pytest.mark.parametrize("k", [1, 7, 300])
def test_search_any_batch_agrees_with_sort(library, n_queries, k):
    check(noise(300, 9), noise(n_queries, 9, seed=1), k)


@pytest.mark.parametrize("dim", [1, 2, 513])
def test_search_any_dimension_agrees_with_sort(library, dim):
    check(noise(200, dim), noise(30, dim, seed=1), 5)


def test_search_some_rows_finds_only_those(library):
    rows = np.flatnonzero(np.random.default_rng(0).random(400) < 0.1)
    check(noise(400, 6), noise(20, 6, seed=1), 8, rows)


def test_search_in_blocks_agrees_with_sort(library, monkeypatch):
    monkeypatch.setattr(_exact, "BLOCK_ROWS", 64)
    monkeypatch.setattr(_exact, "_CHUNK", 2**10)
    check(noise(500, 6), noise(50, 6, seed=1), 70)
    check(noise(500, 6), noise(50, 6, seed=1), 70, np.arange(3, 490, 2))


@pytest.mark.parametrize("n_queries", [1, 40])
def test_search_among_vectors_nearer_than_rounding_still_orders(library, n_queries):
    # Matrix products are off by 1e-7 here, squares of distances are 1e-10.
    vectors = np.float32(1) + noise(2000, 16) * np.float32(1e-4)
    queries = np.float32(1) + noise(n_queries, 16, seed=1) * np.float32(1e-4)
    distances, rows = search_exactly(vectors, queries, 5)
    right, expected = oracle(vectors, queries, 5)
    np.testing.assert_allclose(distances, right, rtol=1e-4)
    assert np.mean(rows == expected) > 0.95  # neighbours a float apart may swap


@pytest.mark.parametrize("n_queries", [1, 40])
def test_search_among_copies_finds_lowest_rows(library, n_queries):
    vectors = np.repeat(noise(20, 8), 50, axis=0)
    queries = vectors[np.arange(n_queries) * 7 % len(vectors)]
    distances, rows = search_exactly(vectors, queries, 30)
    assert np.all(distances == 0)
    first = np.arange(n_queries) * 7 % len(vectors) // 50 * 50
    np.testing.assert_array_equal(rows, first[:, None] + np.arange(30))


def test_search_far_from_origin_with_outlier_agrees_with_sort(library):
    vectors = noise(500, 4)
    vectors[17] *= 1e6
    check(vectors, noise(30, 4, seed=1), 4)


def test_search_with_and_without_faiss_gives_equal_answers(monkeypatch):
    pytest.importorskip("faiss")
    vectors, queries = noise(1000, 32), noise(64, 32, seed=1)
    one = search_exactly(vectors, queries, 10)
    monkeypatch.setitem(sys.modules, "faiss", None)
    other = search_exactly(vectors, queries, 10)
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])


def test_search_single_queries_and_batch_give_equal_answers(library):
    vectors, queries = noise(1000, 32), noise(64, 32, seed=1)
    distances, rows = search_exactly(vectors, queries, 10)
    for i in range(len(queries)):
        one = search_exactly(vectors, queries[i : i + 1], 10)
        np.testing.assert_array_equal(one[0][0], distances[i])
        np.testing.assert_array_equal(one[1][0], rows[i])


def test_search_blocks_of_arrays_gives_their_rows(library):
    vectors, queries = noise(90, 5), noise(9, 5, seed=1)
    rows = np.arange(90) * 3
    blocks = [(rows[:4], vectors[:4]), (rows[4:], vectors[4:])]
    distances, found = search_blocks(blocks, queries, 6)
    right, expected = oracle(vectors, queries, 6)
    np.testing.assert_allclose(distances, right, rtol=1e-5)
    np.testing.assert_array_equal(found, expected * 3)


def test_search_by_threads_leaves_setting_of_faiss_alone():
    faiss = pytest.importorskip("faiss")
    before = faiss.cvar.distance_compute_blas_threshold
    vectors, queries = noise(500, 8), noise(40, 8, seed=1)
    threads = [
        threading.Thread(target=search_exactly, args=(vectors, queries, 3))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faiss.cvar.distance_compute_blas_threshold == before


def test_exact_vectors_grow_shrink_and_change_like_an_array(library):
    rng = np.random.default_rng(0)
    held, model = ExactVectors(7), np.empty((0, 7), np.float32)
    for step in range(60):
        new = noise(rng.integers(0, 30), 7, seed=step)
        held.add(new)
        model = np.concatenate([model, new])
        if step % 3 == 1:
            mask = rng.random(len(model)) < 0.8
            held.keep(mask)
            model = model[mask]
        if step % 4 == 2 and len(model):
            rows = rng.permutation(len(model))[:5]
            held.replace(rows, noise(len(rows), 7, seed=100 + step))
            model[rows] = noise(len(rows), 7, seed=100 + step)
        np.testing.assert_array_equal(held.vectors(), model)
        assert len(held) == len(model)
    rows = np.array([5, 1])
    np.testing.assert_array_equal(held.vectors(rows), model[rows])
    distances, found = held.search(model[:20], 3)
    np.testing.assert_array_equal(found, oracle(model, model[:20], 3)[1])
    allowed = rng.random(len(model)) < 0.5
    found = held.search(model[:20], 3, allowed)[1]
    expected = oracle(model, model[:20], 3, np.flatnonzero(allowed))[1]
    np.testing.assert_array_equal(found, expected)


def test_exact_vectors_view_survives_growth():
    held = ExactVectors(3)
    held.add(noise(4, 3))
    view = held.vectors()
    held.add(noise(1000, 3, seed=1))
    np.testing.assert_array_equal(view, noise(4, 3))


def test_exact_vectors_wrap_copies_only_what_may_not_be_written():
    array = noise(4, 3)
    assert np.shares_memory(ExactVectors.wrap(array).vectors(), array)
    array.flags.writeable = False
    held = ExactVectors.wrap(array)
    held.replace(np.array([0]), noise(1, 3, seed=1))
    np.testing.assert_array_equal(array, noise(4, 3))


def test_exact_vectors_say_what_searches(library):
    assert (
        ExactVectors(3).description
        == f"exact search ({'FAISS' if library == 'faiss' else 'NumPy'})"
    )
