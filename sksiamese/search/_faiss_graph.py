"""Vectors in a graph of neighbours (level 0.25, FAISS)."""

import numpy as np

from sksiamese.search._exact import BLOCK_ROWS, search_exactly
from sksiamese.search._faiss import (
    RECALL,
    TUNED_K,
    ApproximateVectors,
    draw,
    read_index,
    require_faiss,
    write_index,
)

M = 32  # neighbours of each vector in the graph; twice as many on the ground floor
_EF_CONSTRUCTION = 200
_N_MARKS = 256
# Queries for which it pays to ask near ones one after the other.
_FEWEST_SORTED = 128
# New vectors whose neighbours are looked for, and how many must have come.
_N_CHECKED, _FEWEST_CHECKED = 50, 10
# Thrice what the share found of one query varies by, around the share of many.
_VARIATION = 0.2


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
    _can_be_exact = True

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
        """Build the graph."""
        self._index = require_faiss().IndexHNSWFlat(self.dim, M)
        self._index.hnsw.efConstruction = _EF_CONSTRUCTION
        self._rows = self._numbers = np.empty(0, np.int64)
        self._n_checked = 0
        self._set_marks(parts)
        for vectors in parts:
            self.add(vectors)

    def _set_marks(self, parts):
        """Draw vectors that mark neighbourhoods, so that near ones follow each other.

        They tell in which order to search, not what is found.
        """
        marks = draw(parts, _N_MARKS)
        self._marks = marks[: _N_MARKS // 16]
        self._marks = marks[np.argsort(self._places(marks), kind="stable")]

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

    def _withdraw(self, total):
        """Let what was inserted beyond so many be dead.

        Ctrl+C comes between two vectors, so that the graph is whole: some of these
        are linked, some not.
        """
        dead = np.full(self._index.ntotal - total, -1)
        self._rows = np.append(self._rows, dead)

    def _tidy(self):
        """Build the graph anew when many are dead, or where memory ran out.

        FAISS then has vectors without room for their links. It still searches, but
        would end the process with the next addition.
        """
        hnsw, total = self._index.hnsw, self._index.ntotal
        whole = hnsw.levels.size() == total == hnsw.offsets.size() - 1
        if whole and hnsw.neighbors.size() == hnsw.offsets.at(total):
            super()._tidy()
        else:
            self._clear_out()

    def _check(self, vectors):
        """Search for the newest, as the tuning may not have met their like.

        A few of a new kind, far from all else, may hang on the graph by a thread. Then
        search harder from now on, or everything.
        """
        new = self._n_checked + np.flatnonzero(self._rows[self._n_checked :] >= 0)
        if self.exact or len(new) < _FEWEST_CHECKED:
            return
        self._n_checked = self._index.ntotal
        if len(new) > _N_CHECKED:
            rng = np.random.default_rng(0)
            new = np.sort(rng.choice(new, _N_CHECKED, replace=False))
        trial = self._trial(new)
        if self._found(*trial) < RECALL - _VARIATION / np.sqrt(len(new)):
            efforts = [e for e in self._efforts() if e > self._effort]
            self._take_effort(efforts, *trial)
            self._floor = self._effort + self.exact

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
        # Not by `params`, which `search` no longer takes once anything has imported
        # faiss.contrib.torch_utils, as pytorch-metric-learning does.
        effort = max(k, self._effort + 2 * max(0, needed - TUNED_K))
        self._index.hnsw.efSearch = effort
        try:
            if len(queries) < _FEWEST_SORTED:
                return self._index.search(queries, k)
            order = np.argsort(self._places(queries), kind="stable")
            squares = np.empty((len(queries), k), np.float32)
            numbers = np.empty((len(queries), k), np.int64)
            squares[order], numbers[order] = self._index.search(queries[order], k)
            return squares, numbers
        finally:
            self._index.hnsw.efSearch = self._effort

    @staticmethod
    def _with_slack(distances, queries):
        """Distances that rounding may make of these."""
        return distances * np.float32(1 + 1e-5)

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
        found = GraphVectors(self.dim)
        found._floor = self._floor
        found._fill([self.vectors()])
        vars(self).update(vars(found))

    def save_index(self, archive):
        """Write the graph, and vectors of it that are dead.

        Parameters
        ----------
        archive : ArchiveWriter
            File that the living vectors have been written to.
        """
        self._tidy()
        self._save_numbers(archive)
        archive.array("index_marks", self._marks)
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

        Raises
        ------
        ValueError
            If it does not fit the vectors.
        """
        faiss = require_faiss()
        found = cls(vectors.shape[1])
        found._rows = found._numbers = np.arange(len(vectors))
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
        found._n_checked = index.ntotal
        found._load_effort(archive)
        # The same as before: vectors lie in memory in their order.
        marks = archive.array("index_marks")
        if (
            marks.dtype != np.float32
            or marks.shape[1:] != (found.dim,)
            or not marks.size
        ):
            raise ValueError("the marks of the index do not fit the embeddings")
        found._marks = marks
        return found
