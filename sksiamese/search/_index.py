"""Vectors in memory, with the index that fits their number (level 0.3)."""

import numpy as np

from sksiamese.search._exact import ExactVectors, find_faiss
from sksiamese.search._faiss import require_faiss
from sksiamese.search._faiss_compressed import CompressedVectors
from sksiamese.search._faiss_graph import GraphVectors

# Rows up to which each index searches exactly: approximate search pays beyond, and
# lists that learned from the first ones alone would not fit what comes later.
_EXACT_UP_TO = {"auto": 100_000, "hnsw": 1_000, "ivfpq": 100_000, "flat": np.inf}
# Rows that lists can learn from where memory does not suffice for more.
_FEWEST_COMPRESSED = 10_000
_CLASSES = {"hnsw": GraphVectors, "ivfpq": CompressedVectors}


class VectorIndex:
    """Vectors in rows 0 to n - 1, and the nearest of them by Euclidean distance.

    Parameters
    ----------
    dim : int
        Length of the vectors.

    index : {"auto", "flat", "hnsw", "ivfpq"}, default="auto"
        How to search. ``"flat"`` compares with all. ``"hnsw"`` follows a graph of
        neighbours, from 1,000 rows. ``"ivfpq"`` compresses each two numbers into one
        byte, from 100,000 rows, or 10,000 where vectors exceed `memory_budget`, so
        that vectors and distances become approximations. It learns how from the rows
        that there are then; much different ones that follow are coded badly, of which
        it warns: add in mixed order.
        ``"auto"`` is flat up to 100,000 rows or without FAISS, else the graph if it
        fits into `memory_budget`, else compressed.

    memory_budget : int or None, default=None
        Bytes that ``"auto"`` and ``"ivfpq"`` may use; None is half of the memory that
        is available when ``"auto"`` makes its choice, and no limit for ``"ivfpq"``.

    Attributes
    ----------
    kind : {"flat", "hnsw", "ivfpq"}
        Index in use.

    exact : bool
        Whether it finds the nearest for certain.

    description : str
        Index in use, for people.

    Raises
    ------
    ImportError
        If the index needs FAISS and it is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.search._index import VectorIndex
    >>> index = VectorIndex(2)
    >>> index.add(np.float32([[0, 0], [3, 4], [6, 8]]))
    >>> index.search(np.float32([[0, 0]]), k=2)
    (array([[0., 5.]], dtype=float32), array([[0, 1]]))
    """

    def __init__(self, dim, index="auto", memory_budget=None):
        if index in _CLASSES:
            require_faiss()
        self.dim = dim
        self.index = index
        self.memory_budget = memory_budget
        self._held = ExactVectors(dim)
        self._n_chosen = 0

    def __len__(self):
        return len(self._held)

    @property
    def kind(self):
        """Index in use: flat, hnsw or ivfpq."""
        return self._held.kind

    @property
    def exact(self):
        """Whether the index in use finds the nearest for certain."""
        return self._held.exact

    @property
    def description(self):
        """Index in use, for people."""
        return self._held.description

    def add(self, vectors):
        """Append vectors.

        Parameters
        ----------
        vectors : ndarray of shape (n, dim)
            Vectors, float32 and C-contiguous.
        """
        kind = self._choose(len(self) + len(vectors))
        if kind == self.kind:
            self._held.add(vectors)
        else:
            self._held = _CLASSES[kind].build(self.dim, [self.vectors(), vectors])

    def search(self, queries, k, allowed=None):
        """Find the nearest vectors.

        Parameters
        ----------
        queries : ndarray of shape (n, dim)
            Queries, float32 and C-contiguous.

        k : int
            How many to find, at most as many as there are, or as are allowed.

        allowed : ndarray of bool, of shape (len(self),), or None, default=None
            Which rows may be found; None is all.

        Returns
        -------
        distances : ndarray of shape (n, k)
            Euclidean distances, ascending, float32.

        rows : ndarray of shape (n, k)
            Their rows, int64. Where the search is exact, equal distances are ordered
            by row.
        """
        return self._held.search(queries, k, allowed)

    def vectors(self, rows=None):
        """Return vectors.

        Parameters
        ----------
        rows : ndarray of int64 or None, default=None
            Which; None is all, where possible as a view that is valid until the next
            change.

        Returns
        -------
        ndarray of shape (n, dim)
            Vectors, float32; approximations if the index is ``"ivfpq"``.
        """
        return self._held.vectors(rows)

    def keep(self, mask):
        """Drop rows; those behind them move up.

        Parameters
        ----------
        mask : ndarray of bool, of shape (len(self),)
            Rows to keep.
        """
        n = np.count_nonzero(mask)
        # Half: around the limit, rows that come and go would build a graph each time.
        few = _EXACT_UP_TO[self.index] // 2 if self.kind == "hnsw" else 0
        if self.kind != "flat" and n <= few:
            self._held = ExactVectors.wrap(self.vectors()[mask])
        else:
            self._held.keep(mask)

    def replace(self, rows, vectors):
        """Write over vectors.

        Parameters
        ----------
        rows : ndarray of int64
            Which, each once.

        vectors : ndarray of shape (n, dim)
            What by, float32 and C-contiguous.
        """
        self._held.replace(rows, vectors)

    def _choose(self, n):
        """Kind of index for n rows."""
        if self.kind == "ivfpq":  # the vectors are gone: no way back
            return "ivfpq"
        if n <= self._exact_up_to() and self.kind == "flat":
            return "flat"
        if self.index != "auto":
            return self.index
        if find_faiss() is None:
            return "flat"
        budget = self.memory_budget
        if budget is None:
            # What others leave free varies: no reason to change one's mind each time.
            if self.kind == "hnsw" and n < 2 * self._n_chosen:
                return "hnsw"
            budget = (_available_memory() + 4 * self.dim * len(self)) / 2
        self._n_chosen = n
        return "hnsw" if GraphVectors.bytes_needed(n, self.dim) <= budget else "ivfpq"

    def _exact_up_to(self):
        """Rows up to which all are compared."""
        most = _EXACT_UP_TO[self.index]
        if self.index == "ivfpq" and self.memory_budget is not None:
            fit = self.memory_budget // (4 * self.dim)
            most = min(most, max(fit, _FEWEST_COMPRESSED))
        return most

    def _takes_graph(self, n):
        """Whether a graph of n rows that was saved is wanted."""
        fits = self.memory_budget is None or (
            GraphVectors.bytes_needed(n, self.dim) <= self.memory_budget
        )
        wanted = self.index == "hnsw" or (self.index == "auto" and fits)
        return wanted and find_faiss() is not None

    def save(self, archive):
        """Write the vectors and the index.

        Parameters
        ----------
        archive : ArchiveWriter
            File. Its member ``embeddings`` holds the vectors as they are, unless they
            are compressed.
        """
        archive.text("index_kind", self.kind)
        archive.array("index_size", np.array([len(self)]))
        if self.kind != "ivfpq":
            archive.array("embeddings", self.vectors())
        self._held.save_index(archive)

    @classmethod
    def load(cls, archive, dim, index="auto", memory_budget=None):
        """Read what `save` has written.

        A graph that is not wanted, or that needs FAISS where there is none, is left
        in the file, and the vectors are searched otherwise.

        Parameters
        ----------
        archive : ArchiveReader
            File.

        dim : int
            Length of the vectors.

        index : {"auto", "flat", "hnsw", "ivfpq"}, default="auto"
            How to search; see the class.

        memory_budget : int or None, default=None
            Bytes that may be used; see the class. A graph that needs more is not read.

        Returns
        -------
        VectorIndex
            The vectors, in the order of their rows.

        Raises
        ------
        ImportError
            If FAISS is needed and not installed.

        ValueError
            If the parts of the file do not fit together.
        """
        found = cls(dim, index, memory_budget)
        kind, n = archive.text("index_kind"), int(archive.array("index_size")[0])
        if kind == "ivfpq":
            if index in ("flat", "hnsw"):
                raise ValueError(
                    f"index={index!r} needs vectors, and this gallery holds compressed "
                    "ones alone. Open it with index='auto', or fill a new one."
                )
            found._held = CompressedVectors.load_index(archive, dim, n)
            return found
        vectors = archive.array("embeddings")
        if vectors.shape != (n, dim) or vectors.dtype != np.float32:
            raise ValueError("the embeddings do not fit the rest of the file")
        if kind == "hnsw" and found._takes_graph(n):
            found._held = GraphVectors.load_index(archive, vectors)
            found._n_chosen = n
        else:
            found._held = ExactVectors.wrap(vectors)
            if (kind := found._choose(n)) != "flat":
                found._held = _CLASSES[kind].build(dim, [vectors])
        return found


def _available_memory():
    """Bytes that processes may take without swapping; unlimited if not known."""
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return 1024 * int(line.split()[1])
    except OSError:
        pass
    return np.inf
