"""Vectors compressed into codes, in lists of near ones (level 0.25, FAISS)."""

import warnings
from contextlib import contextmanager

import numpy as np

from sksiamese.search._exact import (
    BLOCK_ROWS,
    largest_norm,
    rounding_slack,
    search_blocks,
)
from sksiamese.search._faiss import (
    ApproximateVectors,
    draw,
    read_index,
    require_faiss,
    write_index,
)

_N_TRAINING = 100_000
_PER_LIST = 39  # vectors that FAISS wants for each list to learn from
# New vectors that are judged by how far their codes are off, as a mean, and how much
# farther than of those learned from is too far.
_FEWEST_JUDGED, _MOST_JUDGED, _TOO_FAR = 100, 1000, 2


class CompressedVectors(ApproximateVectors):
    """Vectors as product-quantised codes in inverted lists [1]_.

    Each two numbers become one byte, so vectors and distances are approximations. The
    codes fit vectors like those they were learned from; once others come, a warning
    and the description say so.

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
    _can_be_exact = False  # of compressed vectors, nothing is
    _badly_coded = False

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
        n_lists = int(min(4 * np.sqrt(n), n // _PER_LIST))
        padded = dim + dim % 2
        index = faiss.IndexIVFPQ(
            faiss.IndexFlatL2(padded), padded, n_lists, padded // 2, 8
        )
        found._index = index
        sample = draw(parts, max(_N_TRAINING, _PER_LIST * n_lists))
        index.train(found._padded(sample))
        found._error_learned = found._errors(sample).mean()
        found._unjudged = np.empty(0)
        for vectors in parts:
            found.add(vectors)
        return found

    @property
    def description(self):
        """What searches, for people."""
        index = self._index
        return (
            f"IVF-PQ (FAISS, {index.nlist} lists, nprobe={self._effort}, "
            f"{index.code_size} bytes per vector"
            + (", later ones coded badly: rebuild)" if self._badly_coded else ")")
        )

    def _errors(self, vectors):
        """How far codes are off, of some of the vectors, beyond rounding."""
        some = vectors[:: 1 + len(vectors) // _MOST_JUDGED]
        coded = self._index.sa_decode(self._index.sa_encode(self._padded(some)))
        off = np.linalg.norm(coded[:, : self.dim] - some, axis=1)
        return np.maximum(off - 1e-5 * np.linalg.norm(some, axis=1), 0)

    def _check(self, vectors):
        """Warn once if codes do not fit what comes."""
        if self._badly_coded:
            return
        self._unjudged = np.append(self._unjudged, self._errors(vectors))
        if len(self._unjudged) < _FEWEST_JUDGED:
            return
        error, self._unjudged = self._unjudged.mean(), np.empty(0)
        if error > _TOO_FAR * self._error_learned:
            self._badly_coded = True
            warnings.warn(
                "The embeddings added last are unlike those that the compressed index "
                f"has learned from: their codes are off by {error:.3g}, not by "
                f"{self._error_learned:.3g}, and searches mix them up. Call rebuild(X, "
                "ids) with all images, or fill a new gallery in mixed order.",
                UserWarning,
                stacklevel=2,
            )

    def _withdraw(self, total):
        """Take what was inserted beyond so many out of the lists."""
        faiss = require_faiss()
        self._index.set_direct_map_type(faiss.DirectMap.NoMap)
        self._index.remove_ids(faiss.IDSelectorRange(total, 2**62))
        self._index.ntotal = total  # whatever it had got to

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

    def _with_slack(self, distances, queries):
        """Distances that rounding may make of these, as FAISS adds up products."""
        radius = largest_norm(self._index.quantizer.reconstruct_n())
        slack = rounding_slack(queries, radius)
        return np.sqrt(distances**2 + slack[:, None])

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
        try:
            self._index.make_direct_map()
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
        index = faiss.clone_index(self._index)
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
        lists.this.disown()  # the index frees it from now on
        index.replace_invlists(lists, True)
        index.ntotal = self._n
        vars(self).update(_index=index, _numbers=None, _rows=None)
        self._tune()

    def save_index(self, archive):
        """Write the lists.

        Parameters
        ----------
        archive : ArchiveWriter
            File.
        """
        self._save_numbers(archive)
        errors = [self._error_learned, self._badly_coded, *self._unjudged]
        archive.array("index_errors", np.array(errors, np.float64))
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

        Raises
        ------
        ValueError
            If it does not fit the number of rows.
        """
        faiss = require_faiss()
        found = cls(dim)
        found._load_numbers(archive, n)
        total = n if found._rows is None else len(found._rows)
        found._index = read_index(archive, faiss.IndexIVFPQ, dim + dim % 2, total)
        found._load_effort(archive)
        errors = archive.array("index_errors")
        if errors.ndim != 1 or len(errors) < 2 or not np.all(errors >= 0):
            raise ValueError("the errors of the codes are none")
        found._error_learned, found._badly_coded = float(errors[0]), bool(errors[1])
        found._unjudged = errors[2:]
        return found
