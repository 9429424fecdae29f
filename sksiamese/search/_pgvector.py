"""Galleries in PostgreSQL with pgvector (level 0.4)."""

import numpy as np

from sksiamese.search._header import (
    Header,
    check_header,
    id_kind_error,
    too_few_error,
    unknown_ids_error,
)
from sksiamese.search._ids import id_array
from sksiamese.search._pgvector_changes import (
    delete,
    insert,
    new_ids,
    refill,
    replace_embeddings,
    replace_metadata,
)
from sksiamese.search._pgvector_index import (
    build_index,
    check_dim,
    describe_index,
    is_index_due,
    is_index_in_the_way,
    uses_index,
)
from sksiamese.search._pgvector_queries import (
    check_known,
    fetch_all,
    fetch_items,
    known_ids,
    nearest,
    stream,
)
from sksiamese.search._pgvector_tables import GalleryTables, drop_index

_NOTHING = np.empty(0, np.int64), np.empty((0, 0), np.float32), []  # of no items


class PostgresStore:
    """Items of a gallery in a PostgreSQL database with pgvector 0.8 or later.

    All lies in the schema ``sksiamese``, which is made on first use: the tables
    ``galleries``, ``writes``, and ``items_<number>`` for each gallery. Every change is
    one transaction that locks the gallery's row first, so that changes of one gallery
    take turns, in any number of processes. It leaves a token in ``writes``, so that it
    takes place once even if the connection breaks during COMMIT. Searches wait for no
    change but ``rebuild``, the first ``add`` after the last item was removed, and an
    ``add`` of so many items that their index is built anew.

    The first use needs a role that may create the extension ``vector`` (or an
    administrator runs ``CREATE EXTENSION vector`` once) and has CREATE on the database,
    or on a schema ``sksiamese`` that is there. That role owns the tables; it alone
    makes galleries and indexes, rebuilds, and gives a gallery without items another
    dimension or type of ids. The least that others need is, to search::

        GRANT USAGE ON SCHEMA sksiamese TO reader;
        GRANT SELECT ON ALL TABLES IN SCHEMA sksiamese TO reader;

    and to add, update and remove items of existing galleries::

        GRANT USAGE ON SCHEMA sksiamese TO writer;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA sksiamese
            TO writer;

    (and ``ALTER DEFAULT PRIVILEGES IN SCHEMA sksiamese GRANT ... ON TABLES TO ...``,
    run by the owner, for galleries to come).

    Parameters
    ----------
    dsn : str
        Connection string of libpq.

    name : str
        Name of the gallery, up to 100 characters.

    metric : {"euclidean", "cosine"}
        Metric of the gallery. Distances are Euclidean in either case.

    index : {"auto", "flat", "hnsw"}
        Whether to compare with every item. "auto" does so up to 100,000 items, and with
        embeddings of more than 2,000 dimensions.

    Raises
    ------
    ValueError
        If a parameter is wrong or does not fit the gallery.

    ConnectionError
        If the server does not let us in.

    PermissionError
        If the role lacks a right.

    RuntimeError
        If the server lacks pgvector, or it is too old.
    """

    def __init__(self, dsn, name, metric, index):
        _check_name(name)
        if index == "ivfpq":
            raise ValueError(
                "index='ivfpq' is for memory and files; PostgreSQL can do 'auto',"
                " 'flat' and 'hnsw'."
            )
        self._metric, self._index = metric, index
        self._tables = GalleryTables(dsn, name)
        try:
            check_header(self.header, metric=metric)
        except BaseException:
            self.close()
            raise

    @property
    def place(self):
        """Where the gallery is, for people."""
        return self._tables.place

    @property
    def header(self):
        """What is known of the gallery; None while it holds no item."""
        row = self._tables.look()
        return row and row.header

    @property
    def index_description(self):
        """How it is searched, for people."""
        return describe_index(self._tables.look(), self._index)

    def __len__(self):
        row = self._tables.look()
        return 0 if row is None else row.n_items

    # --- questions -------------------------------------------------------------------

    def contains(self, ids):
        """Tell which ids are there.

        Parameters
        ----------
        ids : list of shape (n,)
            Ids.

        Returns
        -------
        bool ndarray of shape (n,)
            Whether each is there.
        """

        def work(connection, row):
            return known_ids(connection, row, ids)

        known = self._tables.read(work, set())
        return np.array([i in known for i in ids], dtype=bool)

    def all_ids(self):
        """List the ids.

        Returns
        -------
        int64 or str ndarray of shape (n_items,)
            Ids, in order of addition.
        """

        def work(connection, row):
            ids = [i for part in stream(connection, row, "id") for (i,) in part]
            return id_array(ids, row.id_kind if ids else "int")

        return self._tables.read(work, np.empty(0, np.int64))

    def fetch(self, ids):
        """Look up items.

        Parameters
        ----------
        ids : list of shape (n,)
            Items.

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

        def work(connection, row):
            check_known(connection, row, ids)
            return fetch_items(connection, row, ids)

        return self._tables.read(work, unknown_ids_error(ids))

    def labelled(self, key):
        """Fetch all embeddings with one value of their metadata, as of one moment.

        Parameters
        ----------
        key : str
            Of the value.

        Returns
        -------
        ids : int64 or str ndarray of shape (n_items,)
            Ids, in order of addition.

        embeddings : float32 ndarray of shape (n_items, dim)
            Embeddings.

        values : list
            Values, None where the key is missing.
        """

        def work(connection, row):
            return fetch_all(connection, row, "metadata -> %s::text", [key])

        return self._tables.read(work, _NOTHING)

    def snapshot(self):
        """Fetch everything, as of one moment.

        Returns
        -------
        header : Header or None
            What is known of the gallery.

        ids : int64 or str ndarray of shape (n_items,)
            Ids, in order of addition.

        embeddings : float32 ndarray of shape (n_items, dim)
            Embeddings.

        metadata : list of dict
            Metadata.

        next_id : int
            Where ids count on from: 1 + the largest ever given, 0 at first.
        """

        def work(connection, row):
            everything = fetch_all(connection, row, "metadata")
            return row.header, *everything, row.last_id + 1

        return self._tables.read(work, (None, *_NOTHING, 0))

    def search(self, queries, k, conditions, fingerprint, with_metadata):
        """Find the nearest items.

        Parameters
        ----------
        queries : float32 ndarray of shape (n, dim)
            Embeddings, at least one.

        k : int
            Items to find for each.

        conditions : list of Condition
            Which items may be found.

        fingerprint : str
            Of the embedder.

        with_metadata : bool
            Fetch metadata, too.

        Returns
        -------
        distances : float32 ndarray of shape (n, k)
            Euclidean distances, nearest first.

        ids : int64 or str ndarray of shape (n, k)
            Ids.

        metadata : list of lists of dict, or None
            Metadata.

        Raises
        ------
        ValueError
            If there are too few items, or another embedder filled the gallery.
        """

        def work(connection, row):
            check_header(row.header, dim=queries.shape[1], fingerprint=fingerprint)
            if k > row.n_items and not (conditions and row.n_items):
                raise too_few_error(k, row.n_items, [])
            return nearest(
                connection,
                self._tables.extension,
                row,
                queries,
                k,
                conditions,
                values=with_metadata,
                graph=uses_index(row, self._index, k, conditions),
            )

        return self._tables.read(work, too_few_error(k, 0, []))

    # --- changes ---------------------------------------------------------------------

    def add(self, embeddings, ids, id_kind, metadata, fingerprint, progress):
        """Add items: all of them, or none.

        Parameters
        ----------
        embeddings : float32 ndarray of shape (n, dim)
            Embeddings.

        ids : list of shape (n,) or None
            Ids; None counts on from the largest ever given.

        id_kind : {"int", "str"}
            Their type.

        metadata : list of dict
            Metadata.

        fingerprint : str
            Of the embedder.

        progress : callable or None
            Called with the number of items that were sent since its last call.

        Returns
        -------
        int64 or str ndarray of shape (n,)
            Ids.

        Raises
        ------
        ValueError
            If an id is there already, the gallery has other embeddings, or pgvector
            cannot store them.

        TypeError
            If the gallery has ids of the other type.

        ConnectionError
            If the server went away for good; says how many items are stored.
        """
        n, dim = embeddings.shape
        check_dim(dim, self._index)
        header = Header(dim, self._metric, fingerprint, id_kind)
        report = _report_once(progress)

        def work(connection, row):
            check_header(
                row.header, dim=dim, metric=self._metric, fingerprint=fingerprint
            )
            if row.id_kind != id_kind:
                raise id_kind_error(row.header, id_kind)
            new = new_ids(connection, row, ids, n)
            wanted = "hnsw" if row.is_indexed else self._index
            if is_index_in_the_way(connection, row, n):
                row = drop_index(connection, row)
            insert(connection, row, new, embeddings, metadata, report)
            if is_index_due(row, wanted, row.n_items + n):
                build_index(connection, self._tables.extension, row, row.n_items + n)
            return id_array(new, id_kind)

        given_up = f"0 of the {n:,} items of this call are stored."
        return self._tables.change(work, header=header, given_up=given_up)

    def update(self, ids, embeddings, metadata, fingerprint):
        """Replace embeddings or metadata of items: of all of them, or none.

        Parameters
        ----------
        ids : list of shape (n,)
            Items.

        embeddings : float32 ndarray of shape (n, dim) or None
            Their new embeddings.

        metadata : list of dict or None
            Their new metadata.

        fingerprint : str
            Of the embedder.

        Raises
        ------
        KeyError
            If an id is not there.

        ValueError
            If the gallery has other embeddings.
        """

        def work(connection, row):
            check_known(connection, row, ids)
            if embeddings is not None:
                dim = embeddings.shape[1]
                check_header(row.header, dim=dim, fingerprint=fingerprint)
                replace_embeddings(connection, row, ids, embeddings)
            if metadata is not None:
                replace_metadata(connection, row, ids, metadata)

        self._tables.change(work)

    def remove(self, ids):
        """Remove items: all of them, or none.

        Parameters
        ----------
        ids : list of shape (n,)
            Items.

        Raises
        ------
        KeyError
            If an id is not there.
        """

        def work(connection, row):
            check_known(connection, row, ids)
            delete(connection, row, ids)

        self._tables.change(work)

    def rebuild(self, embeddings, ids, fingerprint):
        """Replace all embeddings, by those of another embedder.

        Parameters
        ----------
        embeddings : float32 ndarray of shape (n_items, dim)
            Embeddings, of any length.

        ids : list of shape (n_items,)
            Their ids, which are those of the gallery in any order.

        fingerprint : str
            Of the embedder.

        Raises
        ------
        KeyError
            If an id is not there.

        ValueError
            If an id is left out, or pgvector cannot store the embeddings.
        """
        dim = embeddings.shape[1]
        check_dim(dim, self._index)

        def work(connection, row):
            check_known(connection, row, ids)
            new = refill(
                connection, self._tables.extension, row, ids, embeddings, fingerprint
            )
            wanted = "hnsw" if row.is_indexed else self._index
            if is_index_due(new, wanted, row.n_items):
                build_index(connection, self._tables.extension, new, row.n_items)

        self._tables.change(work)

    def save(self):
        """Do nothing, as every change is committed at once."""

    def close(self):
        """Close the connection."""
        self._tables.close()


def _check_name(name):
    """Check the name of a gallery, which may be any text."""
    if not isinstance(name, str) or not 1 <= len(name) <= 100:
        raise ValueError(f"name must be a string of 1 to 100 characters, got {name!r}.")
    if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in name):
        raise ValueError(
            f"name must not hold null characters or lone surrogates, got {name!r}."
        )


def _report_once(progress):
    """Report items that are sent, but not those that are sent again."""
    done = 0

    def report(n):
        nonlocal done
        if progress is not None and n > done:
            progress(n - done)
        done = max(done, n)

    return report
