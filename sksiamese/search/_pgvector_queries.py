"""Questions to the items of a gallery in PostgreSQL (level 0.3)."""

import numpy as np

from sksiamese.search._header import too_few_error, unknown_ids_error
from sksiamese.search._ids import id_array
from sksiamese.search._pgvector_tables import compose
from sksiamese.search._postgres_values import Vectors, unpack, where_sql

ARRAYS = {"int": "%s::bigint[]", "str": "%s::text[]"}
ROWS = 4096  # sent or fetched at a time
_FOUND = 50_000  # neighbours fetched at a time
_EF_SEARCH = 400  # nodes kept while walking the graph

# The scan goes on where items that were removed leave too few.
_SETTINGS = """
SELECT set_config('hnsw.ef_search', %s, true), set_config('jit', 'off', true),
    set_config('hnsw.iterative_scan', 'relaxed_order', true)"""

# Probes are decoded, and the items that match are found, once and not for each other.
_SEARCH = """
WITH probes AS MATERIALIZED (
    SELECT place, probe FROM unnest(%s) WITH ORDINALITY AS u (probe, place)
), matching AS {materialized} (
    SELECT id, position, metadata, embedding FROM {items} {where}
)
SELECT near.distance, near.id{metadata} FROM probes CROSS JOIN LATERAL (
    SELECT * FROM (
        SELECT id, position, metadata, embedding {distance} probe AS distance
        FROM matching {fence}
    ) AS measured ORDER BY distance{ties} LIMIT {k}
) AS near ORDER BY place, near.distance, position"""
_BY_GRAPH = {"fence": "", "ties": ""}
# The planner does not look through the fence, so that it compares with every item, and
# measures each distance once.
_EXACTLY = {"fence": "OFFSET 0", "ties": ", position"}


def known_ids(connection, row, ids):
    """Tell which ids are there.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection.

    row : Row or None
        Of the gallery; None if there is none.

    ids : list
        Ids of one type.

    Returns
    -------
    set
        Those that are.
    """
    if (
        row is None
        or not ids
        or row.id_kind != ("str" if isinstance(ids[0], str) else "int")
    ):
        return set()
    query = "SELECT id FROM {items} WHERE id = ANY ({array})"
    query = compose(query, row.number, array=ARRAYS[row.id_kind])
    return {i for (i,) in connection.execute(query, [ids], binary=True)}


def check_known(connection, row, ids):
    """Check that all ids are there.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection.

    row : Row or None
        Of the gallery; None if there is none.

    ids : list
        Ids of one type.

    Raises
    ------
    KeyError
        If one is not.
    """
    known = known_ids(connection, row, ids)
    if len(known) < len(ids):
        raise unknown_ids_error([i for i in ids if i not in known])


def fetch_items(connection, row, ids):
    """Look up items.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection.

    row : Row
        Of the gallery.

    ids : list of shape (n,)
        Ids that are there.

    Returns
    -------
    embeddings : float32 ndarray of shape (n, dim)
        Their embeddings.

    metadata : list of dict
        Their metadata.
    """
    query = "SELECT id, embedding, metadata FROM {items} WHERE id = ANY ({array})"
    query = compose(query, row.number, array=ARRAYS[row.id_kind])
    found = {i: rest for i, *rest in connection.execute(query, [ids], binary=True)}
    items = [found[i] for i in ids]
    return unpack([item[0] for item in items], row.dim), [item[1] for item in items]


def stream(connection, row, columns, params=()):
    """Fetch columns of all items, in order of addition.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection, in a transaction.

    row : Row
        Of the gallery.

    columns : str
        SQL.

    params : sequence, default=()
        For its placeholders.

    Yields
    ------
    list of tuple
        Some thousand rows.
    """
    query = "SELECT {columns} FROM {items} ORDER BY position"
    with connection.cursor("items") as cursor:
        query = compose(query, row.number, columns=columns)
        cursor.execute(query, params, binary=True)
        while part := cursor.fetchmany(ROWS):
            yield part


def fetch_all(connection, row, value, params=()):
    """Fetch ids, embeddings and one more value of all items, in order of addition.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection, in a transaction.

    row : Row
        Of the gallery.

    value : str
        SQL of the value.

    params : sequence, default=()
        For its placeholders.

    Returns
    -------
    ids : int64 or str ndarray of shape (n_items,)
        Ids.

    embeddings : float32 ndarray of shape (n_items, dim)
        Embeddings.

    values : list
        Values.
    """
    dim = row.dim if row.n_items else 0  # what is next may have another
    embeddings = np.empty((row.n_items, dim), dtype=np.float32)
    ids, values = [], []
    for part in stream(connection, row, f"id, embedding, {value}", params):
        part_ids, vectors, part_values = zip(*part, strict=True)
        embeddings[len(ids) : len(ids) + len(part)] = unpack(vectors, row.dim)
        ids += part_ids
        values += part_values
    return id_array(ids, row.id_kind if ids else "int"), embeddings, values


def nearest(connection, extension, row, queries, k, conditions, *, values, graph):
    """Find the nearest items.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection, in a transaction.

    extension : Extension
        Where pgvector is.

    row : Row
        Of the gallery.

    queries : float32 ndarray of shape (n, dim)
        Embeddings, at least one.

    k : int
        Items to find for each.

    conditions : list of Condition
        Which items may be found.

    values : bool
        Fetch metadata, too.

    graph : bool
        Use the HNSW index. Where it leads to fewer than ``k`` items, all are compared.

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
        If fewer than ``k`` match.
    """
    connection.execute(_SETTINGS, [str(_EF_SEARCH)])
    where, params = where_sql(conditions)
    columns = ", near.metadata" if values else ""
    found, step = [], max(1, min(ROWS, _FOUND // k))
    for start in range(0, len(queries), step):
        probes = queries[start : start + step]
        for way in [_BY_GRAPH, _EXACTLY] if graph else [_EXACTLY]:
            query = compose(
                _SEARCH,
                row.number,
                extension,
                metadata=columns,
                materialized="MATERIALIZED" if conditions else "NOT MATERIALIZED",
                where=where,
                k=k,
                **way,
            )
            cursor = connection.execute(query, [Vectors(probes), *params], binary=True)
            part = cursor.fetchall()
            if len(part) == k * len(probes):
                break
        else:
            raise too_few_error(k, len(part) // len(probes), conditions)
        found += part
    distances, ids, *metadata = zip(*found, strict=True)
    return (
        np.array(distances, dtype=np.float32).reshape(-1, k),
        id_array(ids, row.id_kind).reshape(-1, k),
        [list(metadata[0][i : i + k]) for i in range(0, len(found), k)]
        if values
        else None,
    )
