"""What a gallery is kept in is told by one argument."""

import os

import numpy as np
import pytest

from sksiamese.search._memory_store import MemoryStore
from sksiamese.search._pgvector import PostgresStore
from sksiamese.search._stores import close_store, open_store

Z = np.eye(3, dtype=np.float32)


def test_stores_are_told_by_their_address(tmp_path, postgres):
    store, place = open_store("memory", "euclidean", "auto", None, None)
    assert isinstance(store, MemoryStore) and place == "memory"
    path = tmp_path / "a.gallery"
    for given in (path, str(path)):
        store, place = open_store(given, "euclidean", "auto", None, None)
        assert isinstance(store, MemoryStore) and place == str(path)
    store, place = open_store(postgres, "euclidean", "auto", None, "stores")
    assert isinstance(store, PostgresStore) and "'stores'" in place
    store.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("memory", "euclidean", "tree", None, None), "index must be one of"),
        (("memory", "euclidean", "auto", -1, None), "memory_budget must be a number"),
        (("memory", "euclidean", "auto", None, "a"), "name is for galleries"),
        (("sqlite:///x", "euclidean", "auto", None, None), "got 'sqlite://...'"),
        (("postgres://x/y", "euclidean", "auto", 5, None), "not for databases"),
    ],
)
def test_settings_that_mean_nothing_there_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        open_store(*arguments)


def test_only_the_process_that_opened_a_store_saves_it(tmp_path):
    path = tmp_path / "a.gallery"
    store, _ = open_store(path, "euclidean", "auto", None, None)
    store.add(Z, None, "int", [{}] * 3, "", None)
    close_store(store, os.getpid() + 1)
    assert not path.exists()
    close_store(store, os.getpid())
    assert path.exists()
