"""Vectors in a graph of neighbours (level 0.25, FAISS)."""

import numpy as np

from sksiamese.search._exact import BLOCK_ROWS, search_exactly
from sksiamese.search._faiss import (
    TUNED_K,
    ApproximateVectors,
    read_index,
    require_faiss,
    write_index,
)

M = 32  # neighbours of each vector in the graph; twice as many on the ground floor
_EF_CONSTRUCTION = 200
_N_MARKS = 256
# Queries for which it pays to ask near ones one after the other.
_FEWEST_SORTED = 128


class GraphVectors(ApproximateVectors):
    """Vectors in a hierarchical navigable small-world graph [1]_.

    Parameters
    ----------
    dim : int
        Length of the vectors.

    References
    ----------
    .. [1] Y. A. Malkov and D. A. Yashunin, "Efficient and robust approximate nearest
       neighbor search using hierarchical navigable small world graphs", IEEE TPAMI 42,
       2020. https://doi.org/10.1109/TPAMI.2018.2889473
    """

    kind = "hnsw"

    @classmethod
    def build(cls, dim, parts):
        """Build the graph of all vectors.

        Parameters
        ----------
        dim : int
            Length of the vectors.

        parts : list of ndarray of shape (n, dim)
            Vectors, float32.

        Returns
        -------
        GraphVectors
            The vectors, in order.
        """
        found = cls(dim)
        found._fill(parts)
        return found

    def _fill(self, parts):
        """Build the graph anew."""
        n = sum(map(len, parts))
        chosen = np.sort(np.random.default_rng(0).choice(n, min(_N_MARKS, n), False))
        starts = np.cumsum([0, *map(len, parts)])
        own = np.split(chosen, np.searchsorted(chosen, starts[1:-1]))
        marks = np.concatenate(
            [part[rows - a] for part, rows, a in zip(parts, own, starts, strict=False)]
        )
        order = self._set_marks(marks)
        self._index = require_faiss().IndexHNSWFlat(self.dim, M)
        self._index.hnsw.efConstruction = _EF_CONSTRUCTION
        self._n = self._n_tuned = 0
        self._rows = self._numbers = np.empty(0, np.int64)
        self._entries = None
        for vectors in parts:
            self.add(vectors)
        self._entries = self._numbers[chosen[order]].astype(np.int32)

    def _set_marks(self, marks):
        """Sort vectors that mark neighbourhoods, so that near ones follow each other.

        Returns the order.
        """
        self._marks = marks[: _N_MARKS // 16]
        order = np.argsort(self._places(marks), kind="stable")
        self._marks = marks[order]
        return order

    def _places(self, vectors):
        """Nearest mark of each vector."""
        knn = require_faiss().knn
        places = np.empty(len(vectors), np.int64)
        # Pieces that FAISS searches without matrix products: the threads that multiply
        # would go on waiting for work, in the way of the search that follows.
        step = max(1, 100_000 // self.dim)
        for start in range(0, len(vectors), step):
            part = vectors[start : start + step]
            places[start : start + step] = knn(part, self._marks, 1)[1][:, 0]
        return places

    def _insert(self, vectors):
        """Append vectors to the graph, near ones side by side; return their order.

        Search then mostly reads memory that it has just read.
        """
        order = np.argsort(self._places(vectors), kind="stable")
        for start in range(0, len(vectors), BLOCK_ROWS):  # a copy at a time
            self._index.add(vectors[order[start : start + BLOCK_ROWS]])
        return order

    @staticmethod
    def bytes_needed(n, dim):
        """Memory that a graph takes.

        Parameters
        ----------
        n : int
            Number of vectors.

        dim : int
            Their length.

        Returns
        -------
        int
            Bytes.
        """
        # Vectors, links, floors of the graph, and rows and numbers.
        return n * (4 * dim + 8 * M + 40)

    @property
    def description(self):
        """What searches, for people."""
        if self.exact:
            return "exact search (FAISS, as HNSW misses too many of these vectors)"
        return f"HNSW (FAISS, M={M}, efSearch={self._effort})"

    def _stored(self, numbers):
        """Copy the vectors of some numbers, or all."""
        return self._view().copy() if numbers is None else self._view()[numbers]

    def _view(self):
        """All vectors, where FAISS holds them until it needs more room."""
        faiss = require_faiss()
        total = self._index.ntotal
        storage = faiss.downcast_index(self._index.storage)
        stored = faiss.rev_swig_ptr(storage.get_xb(), total * self.dim)
        return stored.reshape(total, self.dim)

    def _set_effort(self, effort):
        """Let the search keep so many candidates."""
        self._effort = self._index.hnsw.efSearch = effort

    def _find(self, queries, k, needed):
        """Squared distances and numbers of the nearest k."""
        effort = max(k, self._effort + 2 * max(0, needed - TUNED_K))
        params = None
        if effort != self._effort:
            params = require_faiss().SearchParametersHNSW(efSearch=effort)
        if len(queries) < _FEWEST_SORTED:
            return self._index.search(queries, k, params=params)
        places = self._places(queries)
        order = np.argsort(places, kind="stable")
        squares = np.empty((len(queries), k), np.float32)
        numbers = np.empty((len(queries), k), np.int64)
        if params is None and self._entries is not None:
            found = self._search_from(queries[order], k, places[order])
        else:
            found = self._index.search(queries[order], k, params=params)
        squares[order], numbers[order] = found
        return squares, numbers

    def _search_from(self, queries, k, places):
        """Search on the ground floor, from the nearest mark, without the stairs."""
        pointer = require_faiss().swig_ptr
        differences = queries - self._marks[places]
        nearest = np.einsum("ij,ij->i", differences, differences)
        entries = self._entries[places]  # held: FAISS sees its address alone
        squares = np.empty((len(queries), k), np.float32)
        numbers = np.empty((len(queries), k), np.int64)
        self._index.search_level_0(
            len(queries),
            pointer(queries),
            k,
            pointer(entries),
            pointer(nearest),
            pointer(squares),
            pointer(numbers),
        )
        return squares, numbers

    @staticmethod
    def _efforts():
        """Candidates to try."""
        return 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 192, 256, 384, 512

    def _search_fully(self, queries, k, numbers):
        """Search some numbers, all of them, exactly."""
        if len(numbers) == self._index.ntotal:
            numbers = None
        return search_exactly(self._view(), queries, k, numbers)

    def _clear_out(self):
        """Build the graph anew from the living."""
        self._fill([self.vectors()])

    def save_index(self, archive):
        """Write the graph, and vectors of it that are dead.

        Parameters
        ----------
        archive : ArchiveWriter
            File that the living vectors have been written to.
        """
        self._save_numbers(archive)
        archive.array("index_entries", self._entries)
        if self._n < self._index.ntotal:
            archive.array("index_dead", self._stored(self._rows < 0))
        write_index(self._index, archive, require_faiss().IO_FLAG_SKIP_STORAGE)

    @classmethod
    def load_index(cls, archive, vectors):
        """Read the graph.

        Parameters
        ----------
        archive : ArchiveReader
            File written by `save_index`.

        vectors : ndarray of shape (n, dim)
            The living vectors.

        Returns
        -------
        GraphVectors
            As it was saved.
        """
        faiss = require_faiss()
        found = cls(vectors.shape[1])
        found._load_numbers(archive, len(vectors))
        stored = np.empty((len(found._rows), found.dim), np.float32)
        stored[found._numbers] = vectors
        if len(stored) > len(vectors):
            stored[found._rows < 0] = archive.array("index_dead")
        storage = faiss.IndexFlatL2(found.dim)
        storage.add(stored)
        index = read_index(archive, faiss.IndexHNSWFlat, found.dim, storage.ntotal)
        index.storage = storage
        storage.this.disown()  # the graph frees it from now on
        index.own_fields = True
        found._index = index
        found._set_effort(found._effort)
        found._entries = archive.array("index_entries")
        found._marks = stored[found._entries]
        return found
