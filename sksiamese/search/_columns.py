"""Metadata of the items of a gallery, by column (level 0.2)."""

import copy
import json
import operator

import numpy as np

_ABSENT = object()
_COMPARE = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Columns:
    """Metadata of n items: for each key the distinct values, and a code for each item.

    Labels of 200,000 items take 800 kB. As with :class:`~sksiamese.search._ids.IdTable`
    methods return a new object, and the old one stays as it was.

    Examples
    --------
    >>> from sksiamese.search._where import parse_where
    >>> from sksiamese.search._columns import Columns
    >>> columns = Columns().append([{"label": "nv", "age": 40}, {"label": "mel"}])
    >>> columns.mask(parse_where({"age": {"$gte": 30}}))
    array([ True, False])
    >>> columns.column("age")
    [40, None]
    """

    def __init__(self):
        self._n, self._columns = 0, {}

    def __len__(self):
        return self._n

    def append(self, metadata):
        """Add items at the end.

        Parameters
        ----------
        metadata : list of dict
            JSON values.

        Returns
        -------
        Columns
            With the items of both.
        """
        columns = {}
        for key in self._keys(metadata):
            old = self._column(key)
            new = old.encode([item.get(key, _ABSENT) for item in metadata])
            columns[key] = old.with_codes(np.concatenate([old.codes, new]))
        return _columns_of(self._n + len(metadata), columns)

    def replace(self, rows, metadata):
        """Give items other metadata.

        Parameters
        ----------
        rows : int ndarray of shape (n_rows,)
            Rows of the items.

        metadata : list of dict of length n_rows
            In place of all that they had.

        Returns
        -------
        Columns
            With these metadata.
        """
        columns = {}
        for key in self._keys(metadata):
            old = self._column(key)
            codes = old.codes.copy()
            codes[rows] = old.encode([item.get(key, _ABSENT) for item in metadata])
            columns[key] = old.with_codes(codes)
        return _columns_of(self._n, _tidy(columns))

    def keep(self, mask):
        """Leave items out.

        Parameters
        ----------
        mask : bool array of shape (n,)
            Rows to keep.

        Returns
        -------
        Columns
            With the others only, and none of the values that no item has any more.
        """
        columns = {k: c.with_codes(c.codes[mask]) for k, c in self._columns.items()}
        return _columns_of(int(np.count_nonzero(mask)), _tidy(columns))

    def take(self, rows):
        """Give the metadata of items.

        Parameters
        ----------
        rows : int ndarray of shape (n_rows,)
            Row numbers.

        Returns
        -------
        list of dict
            Copies, which may be changed.
        """
        items = [{} for _ in rows]
        for key, column in self._columns.items():
            codes = column.codes[rows].tolist()
            for item, code in zip(items, codes, strict=True):
                if code >= 0:
                    item[key] = _copied(column.values[code])
        return items

    def column(self, key):
        """Give the values of one key.

        Parameters
        ----------
        key : str
            Name of the values.

        Returns
        -------
        list
            For each item, None where it has none.
        """
        column = self._column(key)
        codes, values = column.codes.tolist(), column.values
        return [_copied(values[code]) if code >= 0 else None for code in codes]

    def mask(self, conditions):
        """Find the items that meet conditions.

        Parameters
        ----------
        conditions : list of Condition
            All must hold.

        Returns
        -------
        bool ndarray of shape (n,)
            Whether an item meets them.
        """
        mask = np.ones(self._n, dtype=bool)
        for condition in conditions:
            mask &= self._column(condition.key).matches(condition)
        return mask

    def save(self, archive):
        """Write the metadata.

        Parameters
        ----------
        archive : ArchiveWriter
            Where to.
        """
        columns = _tidy(self._columns)
        values = {key: column.values for key, column in columns.items()}
        archive.text("metadata", json.dumps({"n": self._n, "values": values}))
        for number, column in enumerate(columns.values()):
            archive.array(f"metadata_{number}", column.codes)

    @staticmethod
    def load(archive):
        """Read metadata.

        Parameters
        ----------
        archive : ArchiveReader
            Where from.

        Returns
        -------
        Columns
            As they were saved.

        Raises
        ------
        ValueError
            If they are none: values that are not JSON or there twice, or codes of
            none of them.
        """
        head = json.loads(archive.text("metadata"), parse_constant=_refuse)
        n, columns = head["n"], {}
        if type(n) is not int or n < 0:
            raise archive.broken("the number of metadata is wrong")
        for number, (key, values) in enumerate(head["values"].items()):
            codes = archive.array(f"metadata_{number}")
            if codes.dtype != np.int32 or codes.shape != (n,):
                raise archive.broken(f"codes of the metadata {key!r} do not fit")
            if n and not -1 <= codes.min() <= codes.max() < len(values):
                raise archive.broken(f"codes of the metadata {key!r} are out of range")
            if len(values) != len(set(map(_form, values))):
                raise archive.broken(f"a value of the metadata {key!r} is there twice")
            columns[key] = _Column(codes, values)
        return _columns_of(n, columns)

    def _keys(self, metadata):
        """All keys, in the order in which they came."""
        keys = dict(self._columns)
        for item in metadata:
            keys.update(item)
        return keys

    def _column(self, key):
        """Column of a key, empty if there is none."""
        if key in self._columns:
            return self._columns[key]
        return _Column(np.full(self._n, -1, np.int32), [])


class _Column:
    """Values of one key: ``codes`` point into ``values``, and -1 is no value.

    Values and their numbers only grow, so that columns of other codes share them.
    """

    def __init__(self, codes, values, numbers=None):
        self.codes, self.values, self._numbers = codes, values, numbers

    def with_codes(self, codes):
        """Column of the same values."""
        return _Column(codes, self.values, self._numbers)

    def encode(self, values):
        """Codes of values, which become known where they are new."""
        numbers = self._number_of()
        codes = np.empty(len(values), np.int32)
        for i, value in enumerate(values):
            form = _form(value)
            code = -1 if value is _ABSENT else numbers.get(form)
            if code is None:
                code = len(self.values)
                self.values.append(_copied(value))
                numbers[form] = code
            codes[i] = code
        return codes

    def matches(self, condition):
        """Whether each item meets a condition."""
        _, op, wanted = condition
        verdicts = np.zeros(len(self.values) + 1, dtype=bool)  # the last: no value
        if op in _COMPARE:
            compare, kinds = _COMPARE[op], _comparable(wanted)
            for code, value in enumerate(self.values):
                verdicts[code] = type(value) in kinds and compare(value, wanted)
        else:
            numbers = self._number_of()
            for value in wanted:
                if value is None:
                    verdicts[-1] = True
                for kind in _comparable(value):
                    if (kind, value) in numbers:
                        verdicts[numbers[kind, value]] = True
            if op == "not in":
                verdicts = ~verdicts
        return verdicts[self.codes]

    def tidy(self):
        """Column without values that no item has, None if none is left."""
        present = self.codes >= 0
        used = np.zeros(len(self.values), dtype=bool)
        used[self.codes[present]] = True
        if used.all():
            return self if len(used) else None
        if not used.any():
            return None
        codes = np.full_like(self.codes, -1)
        codes[present] = (np.cumsum(used) - 1)[self.codes[present]]
        return _Column(codes, [self.values[i] for i in np.flatnonzero(used)])

    def _number_of(self):
        """Give the codes of values by their forms, made when first needed."""
        if self._numbers is None:
            self._numbers = {_form(v): code for code, v in enumerate(self.values)}
        return self._numbers


def _refuse(constant):
    """Refuse NaN and infinity, which Python reads but JSON has not."""
    raise TypeError(f"metadata can not be {constant}")


def _columns_of(n, columns):
    """Make Columns of n items."""
    made = Columns()
    made._n, made._columns = n, columns
    return made


def _tidy(columns):
    """Columns without values and keys that no item has."""
    tidy = {key: column.tidy() for key, column in columns.items()}
    return {key: column for key, column in tidy.items() if column is not None}


def _form(value):
    """Make a key by which 1, 1.0 and True are three values, and lists are known."""
    if isinstance(value, list | dict):
        return type(value), json.dumps(value)
    return type(value), value


def _comparable(value):
    """Types that compare with a value: those of its JSON type."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return int, float
    return (type(value),)


def _copied(value):
    """Copy a value that could be changed."""
    return copy.deepcopy(value) if isinstance(value, list | dict) else value
