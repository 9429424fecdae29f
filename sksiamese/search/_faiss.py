"""What approximate indices of FAISS share (level 0.2)."""

from contextlib import contextmanager

import numpy as np

from sksiamese.search._exact import find_faiss

# Share of the ten nearest that a tuned index finds.
RECALL = 0.982
TUNED_K = 10
_N_TUNING = 1000
_MOVE = np.float32(0.7)  # of the distance to the nearest vector
# Vectors examined per query for which searching everything is cheaper.
_MOST_CANDIDATES = 512
# Allowed rows that are searched one by one at once.
_FEW_ROWS = 20_000


def require_faiss():
    """Import FAISS, or say how to get it.

    Returns
    -------
    module
        FAISS.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    faiss = find_faiss()
    if faiss is None:
        raise ImportError(
            "This index needs FAISS: pip install 'sksiamese[search]'. Without it, "
            "index='auto' or 'flat' searches exactly."
        )
    return faiss


class ApproximateVectors:
    """Vectors in an index of FAISS, whose search effort is tuned on themselves.

    FAISS numbers vectors in order of addition and cannot renumber them. Rows that are
    dropped or replaced stay inside, dead, until they are a fifth of all.

    Parameters
    ----------
    dim : int
        Length of the vectors.
    """

    def __init__(self, dim):
        self.dim = dim
        self._n = 0
        # Number inside FAISS of each row, and row of each number (-1 is dead); None
        # while they are the same.
        self._numbers = self._rows = None
        # An effort below the floor was seen to miss some.
        self._effort = self._floor = self._n_tuned = 0
        # Whether all are searched, as no effort finds enough.
        self.exact = False

    def __len__(self):
        return self._n

    @contextmanager
    def _all_or_nothing(self):
        """Be as before if something fails, or Ctrl+C is pressed, half way.

        For this attributes are replaced and never changed in place. FAISS alone can
        not be: what it was given is withdrawn.
        """
        total, before = self._index.ntotal, vars(self).copy()
        try:
            yield
        except BaseException:
            vars(self).update(before)
            self._set_effort(self._effort)
            self._withdraw(total)
            raise

    def add(self, vectors):
        """Append vectors.

        Parameters
        ----------
        vectors : ndarray of shape (n, dim)
            Vectors, float32.
        """
        self._tidy()
        with self._all_or_nothing():
            total = self._index.ntotal
            order = self._insert(vectors)
            if self._rows is not None:
                self._numbers = np.append(self._numbers, total + np.argsort(order))
                self._rows = np.append(self._rows, self._n + order)
            self._n += len(vectors)
            if self._n > 1.5 * self._n_tuned:
                self._tune()
            self._check(vectors)

    def vectors(self, rows=None):
        """Return vectors.

        Parameters
        ----------
        rows : ndarray of int64 or None, default=None
            Which; None is all.

        Returns
        -------
        ndarray of shape (n, dim)
            Copies, float32.
        """
        if self._numbers is not None:
            rows = self._numbers if rows is None else self._numbers[rows]
        return self._stored(rows)

    def search(self, queries, k, allowed=None):
        """Find near vectors.

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
            Their rows, int64.
        """
        if allowed is None and self._n == self._index.ntotal and not self.exact:
            distances, rows = self._search_index(queries, k)
        else:
            distances, rows = self._search_among(queries, k, allowed)
        if rows[:, -1].min(initial=0) < 0:
            short = rows[:, -1] < 0
            numbers = self._allowed_numbers(allowed)
            distances[short], found = self._search_fully(queries[short], k, numbers)
            rows[short] = found if self._rows is None else self._rows[found]
        return distances, rows

    def _search_among(self, queries, k, allowed):
        """Search and drop what is dead or not allowed; too few found ends in -1.

        FAISS can leave out numbers while it searches, but where what is allowed lies
        far from the query, it gives up before it gets there and what it returns is not
        the nearest. The nearest of all, less those that may not be, are.
        """
        n_allowed = self._n if allowed is None else np.count_nonzero(allowed)
        few = allowed is not None and n_allowed <= _FEW_ROWS
        needed = k * self._index.ntotal / n_allowed
        wanted = min(int(1.5 * needed) + 8, self._index.ntotal)
        if few or wanted > _MOST_CANDIDATES or self.exact:
            shape = len(queries), k
            return np.empty(shape, np.float32), np.full(shape, -1)
        distances, rows = self._search_index(queries, wanted, int(needed))
        if allowed is not None:
            rows[~allowed[rows]] = -1
        order = np.argsort(rows < 0, axis=1, kind="stable")[:, :k]
        return (
            np.take_along_axis(distances, order, 1),
            np.take_along_axis(rows, order, 1),
        )

    def _allowed_numbers(self, allowed):
        """Numbers of the rows that may be found, ascending."""
        rows = np.arange(self._n) if allowed is None else np.flatnonzero(allowed)
        return rows if self._numbers is None else np.sort(self._numbers[rows])

    def _search_index(self, queries, k, needed=None):
        """Distances and rows of k, of which so many must be right; dead ones are -1."""
        squares, numbers = self._find(queries, k, k if needed is None else needed)
        distances = np.sqrt(squares, out=squares)
        if self._rows is None:
            return distances, numbers
        rows = self._rows[numbers]
        rows[numbers < 0] = -1
        return distances, rows

    def _tune(self):
        """Take the least effort that finds enough of the neighbours of a sample."""
        self._n_tuned = self._n
        efforts = [e for e in self._efforts() if e >= self._floor]
        numbers = self._allowed_numbers(None)
        if len(numbers) > _N_TUNING:
            rng = np.random.default_rng(0)
            numbers = np.sort(rng.choice(numbers, _N_TUNING, replace=False))
        if self._n < 2:
            self._set_effort(min(self._efforts()))
        else:
            self._take_effort(efforts, *self._trial(numbers))

    def _trial(self, numbers):
        """Make queries, and tell the distance within which their nearest lie.

        Stored vectors find their neighbours too easily, as they are linked to them.
        Moved away from their nearest ones they find about as many as new vectors.
        """
        queries, among = self._stored(numbers), self._allowed_numbers(None)
        nearest = self._search_fully(queries, 2, among)[1][:, 1]
        queries += _MOVE * (queries - self._stored(nearest))
        k = min(TUNED_K, self._n)
        # By distance, as of copies any may be found.
        farthest = self._search_fully(queries, k, among)[0][:, -1:]
        return queries, self._with_slack(farthest, queries)

    def _found(self, queries, farthest):
        """Share of the nearest that are found."""
        k = min(TUNED_K, self._n)
        return np.mean(self._search_index(queries, k)[0] <= farthest)

    def _take_effort(self, efforts, queries, farthest):
        """Take the first effort that finds enough; search everything if none does."""
        self.exact = False
        for effort in efforts:
            self._set_effort(effort)
            if self._found(queries, farthest) >= RECALL:
                return
        self.exact = self._can_be_exact

    def keep(self, mask):
        """Drop rows; those behind them move up.

        Parameters
        ----------
        mask : ndarray of bool
            Rows to keep.
        """
        numbers = np.flatnonzero(mask)
        if self._numbers is not None:
            numbers = self._numbers[numbers]
        with self._all_or_nothing():
            self._renumber(numbers)

    def replace(self, rows, vectors):
        """Write over vectors.

        Parameters
        ----------
        rows : ndarray of int64
            Which.

        vectors : ndarray of shape (n, dim)
            What by, float32.
        """
        self._tidy()
        with self._all_or_nothing():
            total, numbers = self._index.ntotal, self._numbers
            numbers = np.arange(self._n) if numbers is None else numbers.copy()
            numbers[rows[self._insert(vectors)]] = total + np.arange(len(rows))
            self._renumber(numbers)
            self._check(vectors)

    def _renumber(self, numbers):
        """Let the rows be those of the numbers."""
        self._n = len(numbers)
        self._numbers = numbers
        self._rows = np.full(self._index.ntotal, -1)
        self._rows[numbers] = np.arange(self._n)
        self._tidy()

    def _tidy(self):
        """Clear out when many are dead."""
        if self._index.ntotal - self._n > self._index.ntotal // 5:
            self._clear_out()

    def _save_numbers(self, archive):
        """Write the effort, and the rows of the numbers where they differ."""
        known = self._n if self._rows is None else len(self._rows)
        if known != self._index.ntotal:
            raise RuntimeError(
                f"The index holds {self._index.ntotal} vectors of which {known} are "
                "known; it is not saved. Fill a new one."
            )
        effort = [self._effort, self.exact, self._floor]
        archive.array("index_effort", np.array(effort))
        if self._rows is not None:
            archive.array("index_rows", self._rows)

    def _load_numbers(self, archive, n):
        """Read the rows that `_save_numbers` wrote, of n."""
        self._n = self._n_tuned = n
        if "index_rows" not in archive:
            return
        rows = archive.array("index_rows")
        alive = np.flatnonzero(rows >= 0)
        if (
            rows.dtype != np.int64
            or rows.ndim != 1
            or not np.array_equal(np.sort(rows[alive]), np.arange(n))
        ):
            raise ValueError("the rows of the index do not fit the embeddings")
        self._rows, self._numbers = rows, np.empty(n, np.int64)
        self._numbers[rows[alive]] = alive

    def _load_effort(self, archive):
        """Read the effort that `_save_numbers` wrote."""
        saved, efforts = archive.array("index_effort"), self._efforts()
        if saved.shape != (3,) or saved.dtype != np.int64:
            raise ValueError("the search effort of the index is not one")
        effort, exact, floor = saved.tolist()
        if effort not in efforts or exact not in (0, self._can_be_exact) or floor < 0:
            raise ValueError("the search effort of the index is not one")
        self.exact, self._floor = bool(exact), floor
        self._set_effort(effort)


def draw(parts, n):
    """Draw vectors at random.

    Parameters
    ----------
    parts : list of ndarray of shape (n_vectors, dim)
        Vectors.

    n : int
        How many to draw of them all.

    Returns
    -------
    ndarray of shape (n, dim)
        Those drawn, in order; all of them if there are fewer.
    """
    starts = np.cumsum([0, *map(len, parts)])
    n = min(n, starts[-1])
    rows = np.sort(np.random.default_rng(0).choice(starts[-1], n, replace=False))
    own = np.split(rows, np.searchsorted(rows, starts[1:-1]))
    found = [p[r - a] for p, r, a in zip(parts, own, starts[:-1], strict=True)]
    return np.concatenate(found)


def write_index(index, archive, flags):
    """Write a FAISS index into an archive.

    Parameters
    ----------
    index : faiss.Index
        Index.

    archive : ArchiveWriter
        File.

    flags : int
        Of ``faiss.write_index``.
    """
    faiss = require_faiss()
    with archive.stream("index") as file:
        writer = faiss.PyCallbackIOWriter(file.write, 2**20)
        faiss.write_index(index, writer, flags)


def read_index(archive, kind, dim, n):
    """Read a FAISS index from an archive.

    Parameters
    ----------
    archive : ArchiveReader
        File, whose checksums have been compared.

    kind : type
        Class that the index must be of.

    dim, n : int
        Length and number of its vectors.

    Returns
    -------
    faiss.Index
        Index.

    Raises
    ------
    ValueError
        If it can not be read or is another one.
    """
    faiss = require_faiss()
    with archive.stream("index") as file:
        try:
            index = faiss.read_index(faiss.PyCallbackIOReader(file.read, 2**20))
        except RuntimeError as error:
            raise ValueError(f"the index in the file cannot be read: {error}") from None
    expected = dim, n, faiss.METRIC_L2
    if (
        not isinstance(index, kind)
        or (index.d, index.ntotal, index.metric_type) != expected
    ):
        raise ValueError("the index in the file does not belong to its embeddings")
    return index
