"""What a gallery is kept in: memory, a file or a database (level 0, late step)."""

import os
import re

from sksiamese.search._memory_store import MemoryStore
from sksiamese.search._pgvector import PostgresStore

_INDEXES = "auto", "flat", "hnsw", "ivfpq"


def open_store(store, metric, index, memory_budget, name):
    """Open what a gallery is kept in.

    Parameters
    ----------
    store : str or path-like
        ``"memory"``, a path or the URI of a database.

    metric : {"euclidean", "cosine"}
        Distance of a new gallery, and what that of an old one must be.

    index : {"auto", "flat", "hnsw", "ivfpq"}
        How neighbours are searched.

    memory_budget : int or None
        Bytes for the index; not for databases.

    name : str or None
        Name in a database; for databases only.

    Returns
    -------
    store : MemoryStore or PostgresStore
        The store.

    place : str
        Where that is, without secrets.

    Raises
    ------
    ValueError
        If a setting has a wrong value or means nothing for that store.
    """
    if index not in _INDEXES:
        raise ValueError(f"index must be one of {_INDEXES}, got {index!r}.")
    if memory_budget is not None and not memory_budget > 0:
        raise ValueError(f"memory_budget must be > 0 bytes, got {memory_budget!r}.")
    scheme = re.match(r"(\w+)://", store) if isinstance(store, str) else None
    if scheme is None:
        if name is not None:
            raise ValueError("name is for galleries in a database; a file has its own.")
        if not isinstance(store, str | os.PathLike):
            raise TypeError(
                f"store must be 'memory', a path or 'postgresql://...', got {store!r}."
            )
        path = None if store == "memory" else os.fspath(store)
        return MemoryStore(path, metric, index, memory_budget), path or "memory"
    if scheme[1] not in ("postgresql", "postgres"):
        raise ValueError(
            "store must be 'memory', a path or 'postgresql://...', got"
            f" '{scheme[0]}...'."
        )
    if memory_budget is not None:
        raise ValueError("memory_budget is not for databases, which have their own.")
    database = PostgresStore(store, name or "gallery", metric, index)
    return database, database.place


def close_store(store, pid):
    """Save and close a store, unless it belongs to a parent process.

    Parameters
    ----------
    store : MemoryStore or PostgresStore
        The store.

    pid : int
        Process that opened it.
    """
    if os.getpid() == pid:
        store.save()
        store.close()
