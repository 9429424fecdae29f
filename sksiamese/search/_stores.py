"""What a gallery is kept in: memory, a file or a database (level 0, late step)."""

import contextlib
import os
import re
import weakref
from numbers import Real

from sksiamese.search._memory_store import MemoryStore
from sksiamese.search._pgvector import PostgresStore

_INDEXES = "auto", "flat", "hnsw", "ivfpq"
_open_files = weakref.WeakKeyDictionary()  # process and path of each store


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
    is_number = isinstance(memory_budget, Real) and not isinstance(memory_budget, bool)
    if memory_budget is not None and not (is_number and memory_budget > 0):
        raise ValueError(
            f"memory_budget must be a number of bytes > 0, got {memory_budget!r}."
        )
    text = store if isinstance(store, str) else ""
    scheme = re.match(r"([^/]*)://", text)
    # Their text may hold a password, so errors do not show it.
    if scheme is None and re.search(r"\b(host|dbname|user|password|service)\s*=", text):
        raise ValueError(
            "store looks like settings of a database; give its address,"
            " 'postgresql://user@host/database'."
        )
    if scheme is None:
        if name is not None:
            raise ValueError("name is for galleries in a database; a file has its own.")
        if not isinstance(store, str | os.PathLike):
            raise TypeError(
                f"store must be 'memory', a path or 'postgresql://...', got {store!r}."
            )
        if text == "memory":
            return MemoryStore(None, metric, index, memory_budget), text
        path = os.fspath(store)
        return _open_file(path, metric, index, memory_budget), path
    if scheme[1] not in ("postgresql", "postgres"):
        raise ValueError(
            "store must be 'memory', a path or 'postgresql://...', got"
            f" {scheme[0] + '...'!r}."
        )
    if memory_budget is not None:
        raise ValueError("memory_budget is not for databases, which have their own.")
    database = PostgresStore(store, "gallery" if name is None else name, metric, index)
    return database, database.place


def _open_file(path, metric, index, memory_budget):
    """Open a file; what others of this process have changed in it is saved first.

    In a notebook a gallery is often opened again before the last one is gone.
    """
    key = os.getpid(), os.path.realpath(path)
    for earlier, other in list(_open_files.items()):
        if other == key:
            with contextlib.suppress(ValueError):  # it will say so when it is closed
                earlier.save()
    store = MemoryStore(path, metric, index, memory_budget)
    _open_files[store] = key
    return store


def copy_store(store, path):
    """Write a copy of a store to a file.

    Parameters
    ----------
    store : MemoryStore or PostgresStore
        The store.

    path : str
        File that is not there yet.
    """
    if isinstance(store, PostgresStore):
        store = MemoryStore.of_snapshot(*store.snapshot(), "auto", None)
    store.save(path)


def close_store(store, pid, save=True):
    """Save and close a store, unless it belongs to a parent process.

    Parameters
    ----------
    store : MemoryStore or PostgresStore
        The store.

    pid : int
        Process that opened it.

    save : bool, default=True
        Write what has changed.
    """
    if os.getpid() == pid:
        if save:
            store.save()
        _open_files.pop(store, None)
        store.close()
