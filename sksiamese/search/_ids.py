"""Ids of the items of a gallery, and the rows that they stand for (level 0.2)."""

import json

import numpy as np

from sksiamese.search._checks import check_ids

# Of NumPy's array of strings, where each takes as much room as the longest one.
_MOST_CELLS, _MOST_WASTE = 2**20, 16


def id_array(ids, kind):
    """Make an array of ids.

    Parameters
    ----------
    ids : sequence of int or str
        Ids.

    kind : {"int", "str"}
        Their type.

    Returns
    -------
    ndarray of shape (n,)
        Int64 or str; Python's strings where a long one among many short ones would
        make all of them take its room.
    """
    if kind == "int":
        return np.array(ids, dtype=np.int64)
    cells = len(ids) * max(map(len, ids), default=0)
    wasteful = cells > _MOST_CELLS and cells > _MOST_WASTE * sum(map(len, ids))
    return np.array(ids, dtype=object if wasteful else str)


class IdTable:
    """Ids of rows, compact, with a lookup that is built when it is first needed.

    A table never changes: methods return a new one, so that whoever has to give up in
    the middle of a change still has the old.

    Parameters
    ----------
    kind : {"int", "str"}
        Type of the ids.

    next_id : int, default=0
        Where whole numbers count on from.

    Attributes
    ----------
    next_id : int
        1 + the largest whole number ever given, at least 0.

    Examples
    --------
    >>> from sksiamese.search._ids import IdTable
    >>> table = IdTable("str").append(["a", "b", "c"])
    >>> table.rows(["c", "x"])
    array([ 2, -1])
    >>> table.keep([True, False, True]).ids()
    array(['a', 'c'], dtype='<U1')
    """

    def __init__(self, kind, next_id=0):
        self.kind, self.next_id, self._lookup = kind, next_id, None
        self._values = np.empty(0, np.int64) if kind == "int" else _Texts.of([])

    def __len__(self):
        return len(self._values)

    def ids(self, rows=None):
        """Give the ids of rows.

        Parameters
        ----------
        rows : ndarray of any shape or None, default=None
            Row numbers; None stands for all.

        Returns
        -------
        ndarray
            Int64 or str, see :func:`id_array`, in the shape of ``rows``.
        """
        if rows is None:
            rows = np.arange(len(self))
        if self.kind == "int":
            return self._values[rows]
        found = id_array(self._values.take(np.ravel(rows)), "str")
        return found.reshape(np.shape(rows))

    def rows(self, ids):
        """Find the rows of ids.

        Parameters
        ----------
        ids : sequence of int or str
            Ids, of one type.

        Returns
        -------
        int64 ndarray
            Row numbers, -1 for ids that are not there.
        """
        rows = np.full(len(ids), -1)
        if not len(self) or not len(ids) or _kind(ids) != self.kind:
            return rows
        wanted = _keys(self.kind, ids)
        keys, order = self._sorted()
        at = np.searchsorted(keys, wanted)
        end = np.searchsorted(keys, wanted, side="right")
        left = np.flatnonzero(at < end)
        while len(left):  # once, unless hashes of strings collide
            found = at[left] if order is None else order[at[left]]
            same = self._are(found, [ids[i] for i in left.tolist()])
            rows[left[same]] = found[same]
            at[left] += 1
            left = left[~same]
            left = left[at[left] < end[left]]
        return rows

    def following(self, n):
        """Give the next whole numbers.

        Parameters
        ----------
        n : int
            How many.

        Returns
        -------
        int64 ndarray of shape (n,)
            Ids that were never given, in ascending order.

        Raises
        ------
        ValueError
            If the numbers of 64 bits are used up.
        """
        if self.next_id + n > 2**63:
            raise ValueError(
                "ids=None counts on from the largest id ever given,"
                f" {self.next_id - 1}, and no {n:,} numbers of 64 bits are left: pass"
                " ids."
            )
        return np.arange(self.next_id, self.next_id + n)

    def append(self, ids):
        """Add ids at the end.

        Parameters
        ----------
        ids : sequence of int or str
            Ids of the table's type that it does not hold yet, at least one.

        Returns
        -------
        IdTable
            With the ids of both.
        """
        next_id = self.next_id
        if self.kind == "int":
            new = np.asarray(ids, dtype=np.int64)
            next_id = max(next_id, int(new.max()) + 1)
            values = np.concatenate([self._values, new])
        else:
            values = self._values.join(_Texts.of(ids))
        lookup = self._lookup
        if lookup is not None:
            lookup = self._merge(_keys(self.kind, ids))
        return self._changed(values, next_id, lookup)

    def keep(self, mask):
        """Leave rows out, and number the others anew.

        Parameters
        ----------
        mask : bool array of shape (n,)
            Rows to keep.

        Returns
        -------
        IdTable
            With these ids only.
        """
        mask = np.asarray(mask)
        values = self._values[mask] if self.kind == "int" else self._values.keep(mask)
        lookup = self._lookup
        if lookup is not None and lookup[1] is not None:
            keys, order = lookup
            kept = mask[order]
            lookup = keys[kept], (np.cumsum(mask) - 1)[order[kept]]
        else:
            lookup = None
        return self._changed(values, self.next_id, lookup)

    def save(self, archive):
        """Write the table.

        Parameters
        ----------
        archive : ArchiveWriter
            Where to.
        """
        head = {"kind": self.kind, "next_id": self.next_id}
        archive.text("id_table", json.dumps(head))
        if self.kind == "int":
            archive.array("ids", self._values)
        else:
            archive.array("id_text", self._values.data)
            archive.array("id_ends", self._values.offsets[1:])

    @classmethod
    def load(cls, archive):
        """Read a table.

        Parameters
        ----------
        archive : ArchiveReader
            Where from.

        Returns
        -------
        IdTable
            As it was saved.

        Raises
        ------
        ValueError
            If it is none: ids of a wrong type or range, or one that is there twice.
        """
        head = json.loads(archive.text("id_table"))
        kind, next_id = head["kind"], head["next_id"]
        if kind not in ("int", "str") or type(next_id) is not int or next_id < 0:
            raise archive.broken("the type of the ids or the next one is wrong")
        if kind == "int":
            values = archive.array("ids")
            if wrong := _wrong_numbers(values, next_id):
                raise archive.broken(wrong)
        else:
            values = _Texts.load(archive)
        return cls(kind)._changed(values, next_id, None)

    def _changed(self, values, next_id, lookup):
        """Make a table of the same kind."""
        table = IdTable(self.kind, next_id)
        table._values, table._lookup = values, lookup
        return table

    def _are(self, rows, ids):
        """Whether rows have these ids, given that the keys are the same."""
        if self.kind == "int":
            return np.ones(len(rows), dtype=bool)
        pairs = zip(self._values.take(rows), ids, strict=True)
        return np.fromiter((a == b for a, b in pairs), bool, len(rows))

    def _sorted(self):
        """Give sorted keys of all rows, and the rows; None is the order they are in."""
        if self._lookup is None:
            if self.kind == "int":
                keys = self._values
            else:
                keys = _keys("str", self._values.take(np.arange(len(self))))
            if (keys[1:] > keys[:-1]).all():
                self._lookup = keys, None
            else:
                order = np.argsort(keys, kind="stable")
                self._lookup = keys[order], order
        return self._lookup

    def _merge(self, new):
        """Lookup with the keys of new rows, which is quicker than to sort all anew."""
        keys, order = self._lookup
        if order is None:
            if len(keys) == 0 or (keys[-1] < new[0] and (new[1:] > new[:-1]).all()):
                return None  # in order still, or empty: found out at no cost
            order = np.arange(len(keys))
        by_key = np.argsort(new, kind="stable")
        at = np.searchsorted(keys, new[by_key], side="right")
        return np.insert(keys, at, new[by_key]), np.insert(
            order, at, len(self) + by_key
        )


class _Texts:
    """Strings as one buffer of UTF-8, and the place where each begins."""

    def __init__(self, data, offsets):
        self.data, self.offsets = data, offsets

    def __len__(self):
        return len(self.offsets) - 1

    @classmethod
    def of(cls, texts):
        """Encode strings."""
        encoded = [text.encode() for text in texts]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(text) for text in encoded], out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    def join(self, other):
        """Append other strings."""
        return _Texts(
            np.concatenate([self.data, other.data]),
            np.concatenate([self.offsets, other.offsets[1:] + self.offsets[-1]]),
        )

    def keep(self, mask):
        """Leave strings out."""
        lengths = np.diff(self.offsets)
        offsets = np.concatenate([[0], np.cumsum(lengths[mask])])
        return _Texts(self.data[np.repeat(mask, lengths)], offsets)

    def take(self, rows):
        """Decode strings of rows."""
        data = memoryview(self.data)
        starts, ends = self.offsets[rows].tolist(), self.offsets[rows + 1].tolist()
        return [str(data[a:b], "utf-8") for a, b in zip(starts, ends, strict=True)]

    @classmethod
    def load(cls, archive):
        """Read strings, and check that they are ids."""
        data, ends = archive.array("id_text"), archive.array("id_ends")
        types = data.dtype, data.ndim, ends.dtype, ends.ndim
        if types != (np.uint8, 1, np.int64, 1):
            raise archive.broken("the ids have a wrong type")
        offsets = np.concatenate([np.zeros(1, np.int64), ends])
        if (np.diff(offsets) < 0).any() or offsets[-1] != len(data):
            raise archive.broken("the ids do not fit their lengths")
        found = cls(data, offsets)
        try:
            check_ids(found.take(np.arange(len(found))))
        except ValueError as error:
            raise archive.broken(error) from error
        return found


def _wrong_numbers(values, next_id):
    """Say what is wrong with whole numbers that were read from a file."""
    if values.dtype != np.int64 or values.ndim != 1:
        return "the ids have a wrong type"
    ascending = (values[1:] > values[:-1]).all()
    if not ascending and len(np.unique(values)) < len(values):
        return "an id is there twice"
    if len(values) and next_id <= values.max():
        return "the next id has been given already"
    return None


def _kind(ids):
    """Type of ids."""
    return "str" if isinstance(ids[0], str) else "int"


def _keys(kind, ids):
    """Numbers to sort ids by: themselves, or hashes that equal strings share."""
    if kind == "int":
        return np.asarray(ids, dtype=np.int64)
    return np.fromiter(map(hash, ids), np.int64, len(ids))
