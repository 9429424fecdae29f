"""Vectors compressed into codes, in lists of near ones (level 0.25, FAISS)."""

from contextlib import contextmanager

import numpy as np

from sksiamese.search._exact import BLOCK_ROWS, search_blocks
from sksiamese.search._faiss import (
    ApproximateVectors,
    read_index,
    require_faiss,
    write_index,
)

_N_TRAINING = 100_000


class CompressedVectors(ApproximateVectors):
    """Vectors as product-quantised codes in inverted lists [1]_.

    Each two numbers become one byte, so vectors and distances are approximations.

    Parameters
    ----------
    dim : int
        Length of the vectors.

    References
    ----------
    .. [1] H. Jegou, M. Douze and C. Schmid, "Product quantization for nearest neighbor
       search", IEEE TPAMI 33, 2011. https://doi.org/10.1109/TPAMI.2010.57
    """

    kind = "ivfpq"

    @classmethod
    def build(cls, dim, parts):
        """Learn lists and codes from a sample, and compress all vectors.

        Parameters
        ----------
        dim : int
            Length of the vectors.

        parts : list of ndarray of shape (n, dim)
            Vectors, float32; some thousands at least.

        Returns
        -------
        CompressedVectors
            The vectors, in order.
        """
        faiss = require_faiss()
        found = cls(dim)
        n = sum(map(len, parts))
        n_lists = int(min(4 * np.sqrt(n), n // 39))  # FAISS wants 39 vectors for each
        padded = dim + dim % 2
        index = faiss.IndexIVFPQ(
            faiss.IndexFlatL2(padded), padded, n_lists, padded // 2, 8
        )
        found._index = index
        index.train(found._padded(_sample(parts)))
        for vectors in parts:
            found.add(vectors)
        return found

    @property
    def description(self):
        """What searches, for people."""
        index = self._index
        return (
            f"IVF-PQ (FAISS, {index.nlist} lists, nprobe={self._effort}, "
            f"{index.code_size} bytes per vector)"
        )

    def _padded(self, vectors):
        """Vectors of even length."""
        return np.pad(vectors, ((0, 0), (0, 1))) if self.dim % 2 else vectors

    def _stored(self, numbers):
        """Vectors of some numbers, or of all, as their codes tell."""
        if numbers is None:
            numbers = np.arange(self._index.ntotal)
        with self._direct_map():
            return self._decoded(numbers)

    def _insert(self, vectors):
        """Append vectors to the lists; return their order."""
        self._index.add(self._padded(vectors))
        return np.arange(len(vectors))

    def _set_effort(self, effort):
        """Look into so many lists."""
        self._effort = self._index.nprobe = effort

    def _find(self, queries, k, needed):
        """Squared distances and numbers of the nearest k."""
        squares, numbers = self._index.search(self._padded(queries), k)
        # Sums that rounding may leave below 0.
        return np.maximum(squares, 0, out=squares), numbers

    def _efforts(self):
        """Numbers of lists to try."""
        n = self._index.nlist
        return [p for p in (8, 16, 32, 64, 128, 256, 512) if p < n] + [n]

    def _search_fully(self, queries, k, numbers):
        """Search some numbers, all of them, exactly but for the compression."""
        starts = range(0, len(numbers), BLOCK_ROWS)
        parts = (numbers[start : start + BLOCK_ROWS] for start in starts)
        blocks = ((part, self._decoded(part)) for part in parts)
        with self._direct_map():
            return search_blocks(blocks, queries, k)

    @contextmanager
    def _direct_map(self):
        """Find codes by number; kept, the map would be a fifth more memory."""
        self._index.make_direct_map()
        try:
            yield
        finally:
            self._index.set_direct_map_type(require_faiss().DirectMap.NoMap)

    def _decoded(self, numbers):
        """Vectors of some numbers, while there is a direct map."""
        vectors = self._index.reconstruct_batch(numbers)[:, : self.dim]
        return np.ascontiguousarray(vectors)

    def _clear_out(self):
        """Write the lists anew, with the living alone and their rows as numbers."""
        faiss = require_faiss()
        index = self._index
        lists = faiss.ArrayInvertedLists(index.nlist, index.code_size)
        for i in range(index.nlist):
            size = index.invlists.list_size(i)
            if not size:
                continue
            ids = faiss.rev_swig_ptr(index.invlists.get_ids(i), size)
            codes = faiss.rev_swig_ptr(
                index.invlists.get_codes(i), size * index.code_size
            )
            rows = self._rows[ids]
            codes = codes.reshape(size, -1)[rows >= 0]
            rows = rows[rows >= 0]
            lists.add_entries(i, len(rows), faiss.swig_ptr(rows), faiss.swig_ptr(codes))
        index.replace_invlists(lists, True)
        lists.this.disown()
        index.ntotal = self._n
        self._numbers = self._rows = None
        self._tune()

    def save_index(self, archive):
        """Write the lists.

        Parameters
        ----------
        archive : ArchiveWriter
            File.
        """
        self._save_numbers(archive)
        write_index(self._index, archive, 0)

    @classmethod
    def load_index(cls, archive, dim, n):
        """Read the lists.

        Parameters
        ----------
        archive : ArchiveReader
            File written by `save_index`.

        dim : int
            Length of the vectors.

        n : int
            Number of rows.

        Returns
        -------
        CompressedVectors
            As it was saved.
        """
        faiss = require_faiss()
        found = cls(dim)
        found._load_numbers(archive, n)
        total = n if found._rows is None else len(found._rows)
        found._index = read_index(archive, faiss.IndexIVFPQ, dim + dim % 2, total)
        found._set_effort(found._effort)
        return found


def _sample(parts):
    """Vectors to learn from."""
    n = sum(map(len, parts))
    if n <= _N_TRAINING:
        return np.concatenate(parts)
    share = _N_TRAINING / n
    rng = np.random.default_rng(0)
    return np.concatenate(
        [
            part[np.sort(rng.permutation(len(part))[: int(share * len(part))])]
            for part in parts
        ]
    )
