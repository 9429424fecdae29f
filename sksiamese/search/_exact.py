"""Exact search among vectors in memory (level 0.1: NumPy, and FAISS if there)."""

from contextlib import contextmanager
from threading import Lock

import numpy as np

# Rows searched at a time where they are copied or multiplied by NumPy.
BLOCK_ROWS = 65_536
# Numbers that a temporary array may hold.
_CHUNK = 2**23
# Candidates beyond those asked for: the more there are, the more seldom is a query
# whose last ones cannot be told apart by matrix products.
_EXTRA = 6
_FEWEST_MULTIPLIED = 4
_setting = Lock()


def find_faiss():
    """Import FAISS, if it is there.

    Returns
    -------
    module or None
        FAISS; None without it.
    """
    try:
        import faiss
    except ImportError:
        return None
    return faiss


class ExactVectors:
    """Vectors in one growing array, searched exactly.

    Parameters
    ----------
    dim : int
        Length of the vectors.
    """

    kind = "flat"
    exact = True

    def __init__(self, dim):
        self._data = np.empty((0, dim), np.float32)
        self._n = 0
        self._radius = 0.0

    @classmethod
    def wrap(cls, vectors):
        """Take over an array of vectors, without a copy where it may be written to.

        Parameters
        ----------
        vectors : ndarray of shape (n, dim)
            Vectors, float32 and C-contiguous.

        Returns
        -------
        ExactVectors
            The vectors, in order.
        """
        found = cls(vectors.shape[1])
        found._data = np.require(vectors, np.float32, ["C", "W"])
        found._n = len(vectors)
        found._radius = largest_norm(vectors)
        return found

    def __len__(self):
        return self._n

    @property
    def description(self):
        """What searches, for people."""
        return f"exact search ({'FAISS' if find_faiss() else 'NumPy'})"

    def add(self, vectors):
        """Append vectors.

        Parameters
        ----------
        vectors : ndarray of shape (n, dim)
            Vectors, float32.
        """
        n = self._n + len(vectors)
        if n > len(self._data):
            # Room to grow is free: memory is taken when it is written to.
            room = max(n, self._n + self._n // 2)
            grown = np.empty((room, self._data.shape[1]), np.float32)
            grown[: self._n] = self.vectors()
            self._data = grown
        self._data[self._n : n] = vectors
        self._n = n
        self._radius = max(self._radius, largest_norm(vectors))

    def vectors(self, rows=None):
        """Return vectors.

        Parameters
        ----------
        rows : ndarray of int64 or None, default=None
            Which; None is all, as a view that is valid until the next change.

        Returns
        -------
        ndarray of shape (n, dim)
            Vectors, float32.
        """
        found = self._data[: self._n]
        return found if rows is None else found[rows]

    def search(self, queries, k, allowed=None):
        """Find the nearest vectors.

        Parameters
        ----------
        queries : ndarray of shape (n, dim)
            Queries, float32 and C-contiguous.

        k : int
            How many to find, at most as many as there are.

        allowed : ndarray of bool or None, default=None
            Which rows may be found.

        Returns
        -------
        distances : ndarray of shape (n, k)
            Euclidean distances, ascending, float32.

        rows : ndarray of shape (n, k)
            Their rows, int64. Equal distances are ordered by row.
        """
        rows = None if allowed is None else np.flatnonzero(allowed)
        return search_exactly(self.vectors(), queries, k, rows, self._radius)

    def keep(self, mask):
        """Drop rows; those behind them move up.

        Parameters
        ----------
        mask : ndarray of bool
            Rows to keep.
        """
        self._data = self.vectors()[mask]
        self._n = len(self._data)
        self._radius = largest_norm(self._data)

    def replace(self, rows, vectors):
        """Write over vectors.

        Parameters
        ----------
        rows : ndarray of int64
            Which.

        vectors : ndarray of shape (n, dim)
            What by, float32.
        """
        self._data[rows] = vectors
        self._radius = max(self._radius, largest_norm(vectors))

    def save_index(self, archive):
        """Write nothing: the vectors are all there is.

        Parameters
        ----------
        archive : ArchiveWriter
            File that the vectors have been written to.
        """


def largest_norm(vectors):
    """Norm of the longest vector, 0 if there is none.

    Parameters
    ----------
    vectors : ndarray of shape (n, dim)
        Vectors.

    Returns
    -------
    float
        Its norm; infinite if the square is too large for float32.
    """
    with np.errstate(over="ignore"):
        squares = np.einsum("ij,ij->i", vectors, vectors)
    return float(np.sqrt(squares.max(initial=0)))


def rounding_slack(queries, radius):
    """Bound what rounding does to squared distances that are sums of products.

    Parameters
    ----------
    queries : ndarray of shape (n, dim)
        Queries, float32.

    radius : float
        Norm that no vector exceeds.

    Returns
    -------
    ndarray of shape (n,)
        Twice the bound for sums of dim products in any order, of float32 numbers.
    """
    norms = np.sqrt(np.einsum("ij,ij->i", queries, queries))
    return 2 * queries.shape[1] * np.finfo(np.float32).eps * (norms + radius) ** 2


def search_exactly(vectors, queries, k, rows=None, radius=None):
    """Find the nearest vectors, exactly.

    Candidates come from matrix products, which are quick but round off: of unit
    vectors at distance 0.001 hardly a digit is right. So a few more than needed are
    taken, their distances are computed from differences, and where rounding could
    have left out a nearer vector, all distances are.

    Parameters
    ----------
    vectors : ndarray of shape (n_vectors, dim)
        Vectors, float32 and C-contiguous.

    queries : ndarray of shape (n, dim)
        Queries, float32 and C-contiguous.

    k : int
        How many to find, at most as many as there are.

    rows : ndarray of int64 or None, default=None
        Vectors that may be found, ascending; None is all.

    radius : float or None, default=None
        Norm that no vector exceeds; None computes it.

    Returns
    -------
    distances : ndarray of shape (n, k)
        Euclidean distances, ascending, float32.

    indices : ndarray of shape (n, k)
        Their rows, int64. Equal distances are ordered by row.
    """
    return search_blocks(_blocks(vectors, rows), queries, k, radius)


def search_blocks(blocks, queries, k, radius=None):
    """Find the nearest vectors of several arrays, exactly.

    Parameters
    ----------
    blocks : iterable of (rows, vectors)
        Rows, int64 and ascending from block to block, and their vectors; None instead
        of the rows for 0 to n - 1.

    queries : ndarray of shape (n, dim)
        Queries, float32 and C-contiguous.

    k : int
        How many to find, at most as many as there are.

    radius : float or None, default=None
        Norm that no vector exceeds; None computes it.

    Returns
    -------
    distances : ndarray of shape (n, k)
        Euclidean distances, ascending, float32.

    indices : ndarray of shape (n, k)
        Their rows, int64. Equal distances are ordered by row.
    """
    squares = found = None
    for rows, block in blocks:
        longest = largest_norm(block) if radius is None else radius
        near, local = _search_block(block, queries, min(k, len(block)), longest)
        local = local if rows is None else rows[local]
        if found is not None:
            near, local = np.hstack([squares, near]), np.hstack([found, local])
            near, local = _take_first(near, local, k)
        squares, found = near, local
    return np.sqrt(squares), found


def _blocks(vectors, rows):
    """Yield rows and vectors of what to search at a time."""
    if rows is None and find_faiss():
        yield None, vectors
        return
    for start in range(0, len(vectors) if rows is None else len(rows), BLOCK_ROWS):
        if rows is None:
            block = vectors[start : start + BLOCK_ROWS]
            yield np.arange(start, start + len(block)), block
        else:
            part = rows[start : start + BLOCK_ROWS]
            yield part, vectors[part]


def _search_block(block, queries, k, radius):
    """Squared distances and places of the k nearest in a block."""
    slack = rounding_slack(queries, radius)
    n_candidates = min(k + _EXTRA, len(block))
    rows = _candidates(block, queries, n_candidates)
    squares = _squared_distances(block, queries, rows)
    squares, rows = _take_first(squares, rows, n_candidates)
    if n_candidates < len(block):
        unsure = np.flatnonzero(squares[:, -1] <= squares[:, k - 1] + slack)
        if len(unsure):
            rows[unsure, :k] = _search_directly(block, queries[unsure], k)
            squares[unsure, :k] = _squared_distances(
                block, queries[unsure], rows[unsure, :k]
            )
            return _take_first(squares[:, :k], rows[:, :k], k)
    return squares[:, :k], rows[:, :k]


def _candidates(block, queries, k):
    """Rows of the k nearest by distances that may be rounded."""
    if faiss := find_faiss():
        with _matrix_products(faiss, len(queries)):
            return faiss.knn(queries, block, k)[1]
    rows = np.empty((len(queries), k), np.int64)
    norms = np.einsum("ij,ij->i", block, block)
    step = max(1, _CHUNK // len(block))
    for start in range(0, len(queries), step):
        # The norm of the query is the same for all.
        d = queries[start : start + step] @ block.T
        d *= -2
        d += norms
        rows[start : start + step] = np.argpartition(d, k - 1, axis=1)[:, :k]
    return rows


@contextmanager
def _matrix_products(faiss, n_queries):
    """Let FAISS multiply matrices for a few queries already.

    FAISS 1.15 does so from 2,000 queries of 64 numbers on, and is up to four times as
    slow below. The setting is the process's: other threads are none the worse for it
    but must find it as it was, so one changes it at a time.
    """
    if n_queries < _FEWEST_MULTIPLIED:
        yield
        return
    with _setting:
        threshold = faiss.cvar.distance_compute_blas_threshold
        faiss.cvar.distance_compute_blas_threshold = 1
        try:
            yield
        finally:
            faiss.cvar.distance_compute_blas_threshold = threshold


def _squared_distances(vectors, queries, rows):
    """Squared distances of queries to rows of their own, from differences."""
    squares = np.empty(rows.shape, np.float32)
    # Small enough to stay in the cache.
    step = max(1, _CHUNK // 32 // (rows.shape[1] * vectors.shape[1]))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        d = vectors[rows[part]]
        d -= queries[part, None]
        np.einsum("ijk,ijk->ij", d, d, out=squares[part])
    return squares


def _take_first(squares, rows, k):
    """Sort by distance, then by row, and take the first k."""
    order = np.lexsort((rows, squares), axis=1)[:, :k]
    return np.take_along_axis(squares, order, 1), np.take_along_axis(rows, order, 1)


def _search_directly(block, queries, k):
    """Rows of the k nearest, from all differences in double precision."""
    from scipy.spatial.distance import cdist

    rows = np.empty((len(queries), k), np.int64)
    step = max(1, _CHUNK // block.shape[1])
    for i, query in enumerate(queries):
        parts = [
            cdist(query[None], block[start : start + step], "sqeuclidean")[0]
            for start in range(0, len(block), step)
        ]
        d = np.concatenate(parts)
        near = np.flatnonzero(d <= np.partition(d, k - 1)[k - 1])
        rows[i] = near[np.argsort(d[near], kind="stable")[:k]]
    return rows
