"""Items of a gallery in memory, and in one file if it is to last (level 0.4)."""

import functools
import os
import threading

import numpy as np

from sksiamese.search._checks import check_lengths
from sksiamese.search._columns import Columns
from sksiamese.search._header import (
    Header,
    check_header,
    id_kind_error,
    incomplete_ids_error,
    known_ids_error,
    too_few_error,
    unknown_ids_error,
)
from sksiamese.search._ids import IdTable
from sksiamese.search._index import VectorIndex
from sksiamese.search._items import ItemFile, Items


def _in_turn(method):
    """Let one thread at a time into the methods of a store."""

    @functools.wraps(method)
    def wait_and_run(self, *args, **kwargs):
        with self._lock:
            return method(self, *args, **kwargs)

    return wait_and_run


class MemoryStore:
    """Embeddings, ids and metadata in memory.

    A method that fails, by an error or by Ctrl+C, leaves the store as it was. Threads
    may share a store, and take turns.

    Parameters
    ----------
    path : path-like or None
        File that is read now and written by :meth:`save`; it need not be there yet.
        None keeps the items in memory only.

    metric : {"euclidean", "cosine"}
        Distance for which the embeddings were made; searched is by the Euclidean one.

    index : {"auto", "flat", "hnsw", "ivfpq"}
        How neighbours are searched.

    memory_budget : int or None
        Bytes that the index may take.

    Raises
    ------
    FileNotFoundError
        If the folder of the file is not there.

    ValueError
        If the file is not a gallery, damaged, or made with another metric.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.search._memory_store import MemoryStore
    >>> store = MemoryStore(None, "euclidean", "auto", None)
    >>> Z = np.eye(3, dtype=np.float32)
    >>> store.add(Z, None, "int", [{}, {}, {"site": "arm"}], "", None)
    array([0, 1, 2])
    >>> store.search(Z[2:], 1, [], "", True)
    (array([[0.]], dtype=float32), array([[2]]), [[{'site': 'arm'}]])
    """

    def __init__(self, path, metric, index, memory_budget):
        self._metric, self._index, self._budget = metric, index, memory_budget
        self._file = None if path is None else ItemFile(path)
        if self._file is None:
            self._items = Items.none(index, memory_budget)
        else:
            self._items = self._file.read(metric, index, memory_budget)
        self._changed, self._lock = False, threading.RLock()

    @classmethod
    def of_snapshot(
        cls, header, ids, embeddings, metadata, next_id, index, memory_budget
    ):
        """Make a store in memory of all that another one holds.

        Parameters
        ----------
        header : Header or None
            What is known of the items; None if there is none.

        ids : sequence of int or str
            Ids in order of addition.

        embeddings : float32 ndarray of shape (n_items, dim)
            Embeddings.

        metadata : list of dict
            Metadata.

        next_id : int
            Where ids count on from.

        index, memory_budget : str, int or None
            As for the class.

        Returns
        -------
        MemoryStore
            Without a file.

        Raises
        ------
        ValueError
            If lengths differ.
        """
        check_lengths(embeddings, ids, metadata)
        store = cls(None, header and header.metric, index, memory_budget)
        store._items = Items.none(index, memory_budget, next_id)
        if len(ids):
            kind, fingerprint = header.id_kind, header.fingerprint
            store.add(embeddings, ids, kind, metadata, fingerprint, None)
        return store

    @property
    def header(self):
        """Dimension, metric, embedder and type of ids; None while there is no item."""
        return self._items.header

    @property
    def index_description(self):
        """How neighbours are searched, in words."""
        return self._items.index.description

    def __len__(self):
        return len(self._items.ids)

    def contains(self, ids):
        """Tell which ids there are.

        Parameters
        ----------
        ids : list
            Ids.

        Returns
        -------
        bool ndarray of shape (n,)
            Whether each is there.
        """
        return self._items.ids.rows(ids) >= 0

    def all_ids(self):
        """Give all ids.

        Returns
        -------
        ndarray of shape (n_items,)
            Int64 or str, in order of addition.
        """
        return self._items.ids.ids()

    @_in_turn
    def add(self, embeddings, ids, id_kind, metadata, fingerprint, progress):
        """Add items.

        Parameters
        ----------
        embeddings : float32 ndarray of shape (n, dim)
            Embeddings.

        ids : list or None
            Ids; None counts on from the largest ever given.

        id_kind : {"int", "str"}
            Type of the ids.

        metadata : list of dict
            Metadata.

        fingerprint : str
            Of the embedder.

        progress : callable or None
            Told the number of items.

        Returns
        -------
        ndarray of shape (n,)
            Their ids.

        Raises
        ------
        ValueError
            If ids are there already or used up, lengths differ, or another embedder
            filled the store.

        TypeError
            If the ids are of the wrong type.
        """
        check_lengths(embeddings, ids, metadata)
        n, dim = embeddings.shape
        check_header(self.header, dim=dim, fingerprint=fingerprint)
        old = self._items
        if old.header is None:
            header = Header(dim, self._metric, fingerprint, id_kind)
            table = IdTable(id_kind, old.ids.next_id)
            index = VectorIndex(dim, self._index, self._budget)
            old = Items(header, index, table, Columns())
        if id_kind != old.header.id_kind:
            raise id_kind_error(old.header, id_kind)
        if ids is None:
            ids = old.ids.following(n)
        else:
            there = old.ids.rows(ids) >= 0
            if there.any():
                raise known_ids_error([ids[i] for i in np.flatnonzero(there)])
        new = old._replace(
            ids=old.ids.append(ids), metadata=old.metadata.append(metadata)
        )
        given = new.ids.ids(np.arange(len(old.ids), len(new.ids)))
        try:
            old.index.add(embeddings)
            self._set(new)
        except BaseException:
            if self._items is not new and len(old.index) > len(old.ids):
                old.index.keep(np.arange(len(old.index)) < len(old.ids))
            raise
        if progress is not None:
            progress(n)
        return given

    @_in_turn
    def search(self, queries, k, conditions, fingerprint, with_metadata):
        """Find the nearest items.

        Parameters
        ----------
        queries : float32 ndarray of shape (n, dim)
            Embeddings.

        k : int
            Number of neighbours.

        conditions : list of Condition
            Which items count.

        fingerprint : str
            Of the embedder.

        with_metadata : bool
            Whether to return metadata.

        Returns
        -------
        distances : float32 ndarray of shape (n, k)
            Euclidean distances, ascending.

        ids : ndarray of shape (n, k)
            Int64 or str.

        metadata : list of n lists of k dicts or None
            Metadata, if asked for.

        Raises
        ------
        ValueError
            If there are fewer than k items that count, or another embedder filled the
            store.
        """
        check_header(self.header, dim=queries.shape[1], fingerprint=fingerprint)
        if not len(self):
            raise too_few_error(k, 0, [])
        _, index, ids, metadata = self._items
        allowed = metadata.mask(conditions) if conditions else None
        n = len(ids) if allowed is None else int(np.count_nonzero(allowed))
        if k > n:
            raise too_few_error(k, n, conditions)
        distances, rows = index.search(queries, k, allowed)
        found = None
        if with_metadata:
            flat = metadata.take(rows.ravel())
            found = [flat[i : i + k] for i in range(0, len(flat), k)]
        return distances, ids.ids(rows), found

    @_in_turn
    def fetch(self, ids):
        """Look up items.

        Parameters
        ----------
        ids : list
            Ids.

        Returns
        -------
        embeddings : float32 ndarray of shape (n, dim)
            Their embeddings.

        metadata : list of dict
            Their metadata.

        Raises
        ------
        KeyError
            If an id is not there.
        """
        rows = self._known(ids)
        return self._items.index.vectors(rows), self._items.metadata.take(rows)

    @_in_turn
    def update(self, ids, embeddings, metadata, fingerprint):
        """Replace embeddings or metadata of items.

        Parameters
        ----------
        ids : list
            Ids.

        embeddings : float32 ndarray of shape (n, dim) or None
            New embeddings.

        metadata : list of dict or None
            New metadata, in place of all of the old.

        fingerprint : str
            Of the embedder.

        Raises
        ------
        KeyError
            If an id is not there.

        ValueError
            If lengths differ, or another embedder filled the store.
        """
        check_lengths(embeddings, ids, metadata)
        if embeddings is not None:
            dim = embeddings.shape[1]
            check_header(self.header, dim=dim, fingerprint=fingerprint)
        rows = self._known(ids)
        old = new = self._items
        if metadata is not None:
            new = old._replace(metadata=old.metadata.replace(rows, metadata))
        if embeddings is None:
            self._set(new)
            return
        before = np.array(old.index.vectors(rows))
        try:
            old.index.replace(rows, embeddings)
            self._set(new)
        except BaseException:
            if not np.array_equal(old.index.vectors(rows), before):
                old.index.replace(rows, before)
            self._items = old
            raise

    @_in_turn
    def remove(self, ids):
        """Remove items.

        Parameters
        ----------
        ids : list
            Ids.

        Raises
        ------
        KeyError
            If an id is not there.
        """
        kept = np.ones(len(self), dtype=bool)
        kept[self._known(ids)] = False
        _, index, table, metadata = self._items
        if not kept.any():
            self._set(Items.none(self._index, self._budget, table.next_id))
            return
        new = self._items._replace(ids=table.keep(kept), metadata=metadata.keep(kept))
        try:
            index.keep(kept)
            self._set(new)
        except BaseException:
            # Ctrl+C may come when the vectors are gone; then the rest must go too.
            if len(index) == len(new.ids):
                self._set(new)
            raise

    @_in_turn
    def labelled(self, key):
        """Give all embeddings with one value of the metadata.

        Parameters
        ----------
        key : str
            Name of the value.

        Returns
        -------
        ids : ndarray of shape (n_items,)
            Ids in order of addition.

        embeddings : float32 ndarray of shape (n_items, dim)
            Embeddings; copies, as another thread may change the store.

        values : list
            Values, None where there is none.
        """
        _, index, ids, metadata = self._items
        return ids.ids(), index.vectors(np.arange(len(ids))), metadata.column(key)

    @_in_turn
    def rebuild(self, embeddings, ids, fingerprint):
        """Replace all embeddings, by those of another embedder.

        Parameters
        ----------
        embeddings : float32 ndarray of shape (n_items, dim)
            New embeddings, of any dimension.

        ids : list
            All ids, in any order.

        fingerprint : str
            Of the embedder.

        Raises
        ------
        KeyError
            If an id is not there.

        ValueError
            If one is missing, or lengths differ.
        """
        check_lengths(embeddings, ids)
        rows = self._known(ids)
        missing = np.ones(len(self), dtype=bool)
        missing[rows] = False
        if missing.any():
            table = self._items.ids
            raise incomplete_ids_error(table.ids(np.flatnonzero(missing)).tolist())
        dim = embeddings.shape[1]
        index = VectorIndex(dim, self._index, self._budget)
        index.add(embeddings[np.argsort(rows)])
        header = self._items.header._replace(dim=dim, fingerprint=fingerprint)
        self._set(self._items._replace(header=header, index=index))

    @_in_turn
    def save(self, path=None):
        """Write the items to the file in one step, or a copy to another one.

        Parameters
        ----------
        path : path-like or None, default=None
            File of a copy, which must not be there yet. None writes the store's own
            file, if it has one and the items changed.

        Raises
        ------
        ValueError
            If another process has saved since this one has read the file.

        FileExistsError
            If the file of the copy is there already.

        RuntimeError
            If the store is broken, which must not replace a file that is not.
        """
        if path is None:
            if self._file is not None and self._changed:
                self._file.write(self._items)
                self._changed = False
            return
        own = self._file is not None and os.path.realpath(path) == os.path.realpath(
            self._file.path
        )
        file = self._file if own else ItemFile(path)
        file.write(self._items, anew=True)
        self._changed = self._changed and not own

    def close(self):
        """Do nothing: no file is open but while it is read or written."""

    def _set(self, items):
        """Make other items those of the store."""
        self._changed = True
        self._items = items

    def _known(self, ids):
        """Rows of ids that must be there."""
        rows = self._items.ids.rows(ids)
        if (rows < 0).any():
            raise unknown_ids_error([ids[i] for i in np.flatnonzero(rows < 0)])
        return rows
