"""Ids of the items of a gallery, and the rows that they stand for (level 0.2)."""

import json

import numpy as np

_CHUNK = 4096  # ids; bounds the memory for long strings


class IdTable:
    """Ids of rows, compact, with a lookup that is built when it is first needed.

    A table never changes: methods return a new one, so that whoever has to give up in
    the middle of a change still has the old.

    Parameters
    ----------
    kind : {"int", "str"}
        Type of the ids.

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

    def __init__(self, kind):
        self.kind, self.next_id, self._lookup = kind, 0, None
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
            Int64 or str, in the shape of ``rows``.
        """
        if rows is None:
            rows = np.arange(len(self))
        if self.kind == "int":
            return self._values[rows]
        return self._values.take(np.ravel(rows)).reshape(np.shape(rows))

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
        asked, wanted = np.asarray(ids), _keys(self.kind, ids)
        keys, order = self._sorted()
        at = np.searchsorted(keys, wanted)
        end = np.searchsorted(keys, wanted, side="right")
        left = np.flatnonzero(at < end)
        while len(left):  # once, unless hashes of strings collide
            found = at[left] if order is None else order[at[left]]
            same = self.ids(found) == asked[left]
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
        """
        head = json.loads(archive.text("id_table"))
        if head["kind"] == "int":
            values = archive.array("ids")
        else:
            ends = archive.array("id_ends")
            values = _Texts(archive.array("id_text"), np.concatenate([[0], ends]))
        return cls(head["kind"])._changed(values, head["next_id"], None)

    def _changed(self, values, next_id, lookup):
        """Make a table of the same kind."""
        table = IdTable(self.kind)
        table._values, table.next_id, table._lookup = values, next_id, lookup
        return table

    def _sorted(self):
        """Give sorted keys of all rows, and the rows; None is the order they are in."""
        if self._lookup is None:
            if self.kind == "int":
                keys = self._values
            else:
                starts = range(0, len(self), _CHUNK)
                parts = (np.arange(i, min(i + _CHUNK, len(self))) for i in starts)
                keys = np.concatenate([_keys("str", self.ids(part)) for part in parts])
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
        """Decode strings of rows, all at once."""
        if not len(rows):
            return np.empty(0, "U1")
        starts, ends = self.offsets[rows], self.offsets[rows + 1]
        lengths = ends - starts
        width = int(lengths.max())
        places = np.cumsum(lengths)
        source = np.arange(places[-1]) + np.repeat(ends - places, lengths)
        cells = np.zeros((len(rows), width), np.uint8)
        cells[np.arange(width) < lengths[:, None]] = self.data[source]
        packed = cells.view(f"S{width}").ravel()
        try:
            return packed.astype(f"U{width}")  # much the quickest, for ASCII only
        except UnicodeDecodeError:
            return np.char.decode(packed, "utf-8")


def _kind(ids):
    """Type of ids."""
    return "str" if isinstance(ids[0], str) else "int"


def _keys(kind, ids):
    """Numbers to sort ids by: themselves, or hashes that equal strings share."""
    if kind == "int":
        return np.asarray(ids, dtype=np.int64)
    texts = ids.tolist() if isinstance(ids, np.ndarray) else ids
    return np.fromiter(map(hash, texts), np.int64, len(texts))
