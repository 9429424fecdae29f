"""The HNSW index of a gallery in PostgreSQL (level 0.3)."""

import warnings

from sksiamese.search._pgvector_tables import compose

_EXACT_ITEMS = 100_000  # up to here index="auto" compares with every item
_MAX_DIM, _MAX_INDEXED_DIM = 16_000, 2_000  # of pgvector's type and of its HNSW
_MAX_INDEXED_K = 250  # more neighbours are searched exactly
# Neighbours of a node of the graph, and nodes kept while it is built. With the 64 of
# pgvector, parts of clustered galleries were out of reach of any walk.
_M, _EF_CONSTRUCTION = 16, 200
_MANY = 1000  # items that may be worth a new index
_QUICKER = 0.5  # adding so many times what is there takes longer than a new index
_MAX_MEMORY = 2**31  # bytes for building the graph

_INDEX = """
CREATE INDEX {index} ON {items} USING hnsw (embedding {schema}.vector_l2_ops)
WITH (m = {m}, ef_construction = {ef})"""

_CAN_BUILD = """
SELECT pg_has_role(relowner, 'USAGE') AND has_schema_privilege('sksiamese', 'CREATE')
FROM pg_class
WHERE oid = ('sksiamese.items_' || %s)::regclass"""

_MEMORY = """
SELECT set_config('maintenance_work_mem', greatest(%s::bigint, pg_size_bytes(
    current_setting('maintenance_work_mem')) / 1024) || 'kB', true)"""


def check_dim(dim, index):
    """Check that pgvector can store embeddings, and index them if it must.

    Parameters
    ----------
    dim : int
        Their length.

    index : {"auto", "flat", "hnsw"}
        How neighbours are searched.

    Raises
    ------
    ValueError
        If it can not.
    """
    if dim > _MAX_DIM:
        raise ValueError(
            f"X gives embeddings of length {dim:,}, but pgvector stores at most"
            f" {_MAX_DIM:,}: use an embedder with a smaller embedding_dim."
        )
    if dim > _MAX_INDEXED_DIM and index == "hnsw":
        raise ValueError(
            f"index='hnsw' takes at most {_MAX_INDEXED_DIM:,} dimensions in PostgreSQL,"
            f" but X gives embeddings of length {dim:,}: use 'auto' or 'flat'."
        )


def describe_index(row, index):
    """Say how a gallery is searched.

    Parameters
    ----------
    row : Row or None
        Of the gallery; None if there is none yet.

    index : {"auto", "flat", "hnsw"}
        How neighbours are searched.

    Returns
    -------
    str
        For people.
    """
    if row is not None and index != "flat":
        if row.is_indexed:
            return f"HNSW (pgvector, M={_M})"
        if row.dim > _MAX_INDEXED_DIM:
            return (
                f"exact search (pgvector, whose HNSW takes at most {_MAX_INDEXED_DIM:,}"
                " dimensions)"
            )
    return "exact search (pgvector)"


def uses_index(row, index, k, conditions):
    """Tell whether a search may use the index.

    Parameters
    ----------
    row : Row
        Of the gallery.

    index : {"auto", "flat", "hnsw"}
        How neighbours are searched.

    k : int
        How many.

    conditions : list of Condition
        Which items may be found.

    Returns
    -------
    bool
        Whether there is one, and it finds nearly all. Where few of the items around a
        probe match it finds any that match, not the nearest: half of them, where half
        of the classes were wanted.
    """
    few = k <= _MAX_INDEXED_K and not conditions
    return row.is_indexed and index != "flat" and few


def is_index_due(row, index, n_items):
    """Tell whether it is time to build the index.

    Parameters
    ----------
    row : Row
        Of the gallery.

    index : {"auto", "flat", "hnsw"}
        How neighbours are searched.

    n_items : int
        Items it holds by now.

    Returns
    -------
    bool
        Whether it is.
    """
    wanted = index == "hnsw" or (index == "auto" and n_items > _EXACT_ITEMS)
    return wanted and not row.is_indexed and row.dim <= _MAX_INDEXED_DIM


def is_index_in_the_way(connection, row, n):
    """Tell whether to drop the index before items are added, and to build it anew.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection.

    row : Row
        Of the gallery.

    n : int
        Items to add.

    Returns
    -------
    bool
        Whether that is quicker, and the role may.
    """
    many = n >= max(_MANY, _QUICKER * row.n_items)
    return row.is_indexed and many and _can_build(connection, row)


def build_index(connection, extension, row, n_items):
    """Build the index, or warn if the role may not.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection, in a transaction that has locked the gallery.

    extension : Extension
        Where pgvector is.

    row : Row
        Of the gallery.

    n_items : int
        Items it holds by now.
    """
    import psycopg

    query = compose(_INDEX, row.number, extension, m=_M, ef=_EF_CONSTRUCTION)
    if not _can_build(connection, row):
        statement = " ".join(query.as_string(connection).split())
        warnings.warn(
            "This gallery is searched item by item, which takes long, as only the owner"
            f" of its table may make an index. Let the owner run: {statement};",
            UserWarning,
            stacklevel=2,
        )
        return
    # Vectors, links and what comes with them, as measured.
    memory = min(n_items * (4 * row.dim + 100 * _M), _MAX_MEMORY)
    connection.execute(_MEMORY, [memory // 1024])
    try:
        with connection.transaction():
            connection.execute(query)
    except psycopg.errors.DiskFull:
        # Of the memory that workers share: containers often have 64 MB of it.
        connection.execute("SET LOCAL max_parallel_maintenance_workers = 0")
        connection.execute(query)


def _can_build(connection, row):
    """Whether the role may drop and build the index."""
    return connection.execute(_CAN_BUILD, [row.number]).fetchone()[0]
