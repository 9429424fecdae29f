"""Changes of the items of a gallery in PostgreSQL, in its transaction (level 0.35)."""

import numpy as np

from sksiamese.search._header import incomplete_ids_error, known_ids_error
from sksiamese.search._pgvector_queries import ARRAYS, ROWS, known_ids, stream
from sksiamese.search._pgvector_tables import compose, drop_index
from sksiamese.search._postgres_values import Vectors, pack, to_json

_COPY = """
COPY {items} (id, position, embedding, metadata) FROM STDIN (FORMAT BINARY)"""

_UPDATE = """
UPDATE {items} SET {column} = new.value
FROM unnest({array}, {values}) AS new (id, value) WHERE {items}.id = new.id"""

_COUNT = """
UPDATE sksiamese.galleries SET n_items = n_items + %s, n_added = n_added + %s,
    last_id = greatest(last_id, %s)
WHERE number = %s"""

_REFILLED = """
UPDATE sksiamese.galleries SET dim = %s, fingerprint = %s WHERE number = %s"""

_EMPTY = """
ALTER TABLE {items} ALTER embedding DROP NOT NULL,
    ALTER embedding TYPE {schema}.vector({dim}) USING NULL"""


def new_ids(connection, row, ids, n):
    """Check the ids of new items, or give them some.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection.

    row : Row
        Of the gallery.

    ids : list of shape (n,) or None
        Ids; None counts on from the largest ever given.

    n : int
        Number of items.

    Returns
    -------
    list of shape (n,)
        Ids.

    Raises
    ------
    ValueError
        If one is there already, or numbers run out.
    """
    if ids is None:
        first = row.last_id + 1
        if first + n > 2**63:
            raise ValueError(
                f"ids=None would count on from {row.last_id}, beyond 64 bits: pass ids."
            )
        return list(range(first, first + n))
    known = known_ids(connection, row, ids)
    if known:
        raise known_ids_error([i for i in ids if i in known])
    return ids


def insert(connection, row, ids, embeddings, metadata, report):
    """Add items, by COPY in binary form, the fastest way in.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection.

    row : Row
        Of the gallery.

    ids : list of shape (n,)
        Ids, none of which is there.

    embeddings : float32 ndarray of shape (n, dim)
        Embeddings.

    metadata : list of dict
        Metadata.

    report : callable
        Called with the number of items sent so far.
    """
    with (
        connection.cursor() as cursor,
        cursor.copy(compose(_COPY, row.number)) as copy,
    ):
        # COPY states no types, so that bytes stand for anything in its binary form.
        id_type = {"int": "int8", "str": "text"}[row.id_kind]
        copy.set_types([id_type, "int8", "bytea", "bytea"])
        n_sent = 0
        for part in _shuffled(len(ids)):
            for i, vector in zip(part.tolist(), pack(embeddings[part]), strict=True):
                document = b"\x01" + to_json(metadata[i]).encode()
                copy.write_row((ids[i], row.n_added + i, vector, document))
            n_sent += len(part)
            report(n_sent)
    last = max(ids) if row.id_kind == "int" else -1
    connection.execute(_COUNT, [len(ids), len(ids), last, row.number])


def _shuffled(n):
    """Yield the rows of new embeddings in random order, some thousand at a time.

    The index takes them up in this order. From items that come class by class, as from
    folders, it makes a graph for each, too few of which are linked.
    """
    order = np.random.default_rng(0).permutation(n)
    for start in range(0, n, ROWS):
        yield order[start : start + ROWS]


def delete(connection, row, ids):
    """Remove items.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection.

    row : Row
        Of the gallery.

    ids : list
        Items that are there.
    """
    query = "DELETE FROM {items} WHERE id = ANY ({array})"
    query = compose(query, row.number, array=ARRAYS[row.id_kind])
    connection.execute(query, [ids])
    connection.execute(_COUNT, [-len(ids), 0, -1, row.number])


def replace_embeddings(connection, row, ids, embeddings):
    """Replace the embeddings of items.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection.

    row : Row
        Of the gallery.

    ids : list of shape (n,)
        Items that are there.

    embeddings : float32 ndarray of shape (n, dim)
        Embeddings.
    """
    _replace(connection, row, ids, "embedding", "%s", embeddings, Vectors)


def replace_metadata(connection, row, ids, metadata):
    """Replace the metadata of items.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection.

    row : Row
        Of the gallery.

    ids : list of shape (n,)
        Items that are there.

    metadata : list of dict
        Metadata.
    """

    def encode(part):
        return [to_json(item) for item in part]

    values = "%s::text[]::jsonb[]"
    _replace(connection, row, ids, "metadata", values, metadata, encode)


def _replace(connection, row, ids, column, placeholder, values, encode):
    """Replace a column of items."""
    array = ARRAYS[row.id_kind]
    query = compose(_UPDATE, row.number, column=column, array=array, values=placeholder)
    for start in range(0, len(ids), ROWS):
        part = slice(start, start + ROWS)
        connection.execute(query, [ids[part], encode(values[part])])


def refill(connection, extension, row, ids, embeddings, fingerprint):
    """Replace all embeddings, by some of another length if need be.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection.

    extension : Extension
        Where pgvector is.

    row : Row
        Of the gallery.

    ids : list of shape (n,)
        Items that are there.

    embeddings : float32 ndarray of shape (n, dim)
        Embeddings.

    fingerprint : str
        Of the embedder.

    Returns
    -------
    Row
        Of the gallery, which has no index any more.

    Raises
    ------
    ValueError
        If an item is left out.
    """
    if len(ids) < row.n_items:
        given, parts = set(ids), stream(connection, row, "id")
        raise incomplete_ids_error(
            [i for part in parts for (i,) in part if i not in given]
        )
    dim = embeddings.shape[1]
    row = drop_index(connection, row)
    # In place, as a new table would lack the rights that others have on this one.
    connection.execute(compose(_EMPTY, row.number, extension, dim=dim))
    for part in _shuffled(len(ids)):
        part_ids = [ids[i] for i in part.tolist()]
        replace_embeddings(connection, row, part_ids, embeddings[part])
    full = "ALTER TABLE {items} ALTER embedding SET NOT NULL"
    connection.execute(compose(full, row.number))
    connection.execute(_REFILLED, [dim, fingerprint, row.number])
    return row._replace(dim=dim)
