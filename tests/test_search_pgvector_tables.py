"""Who may make and use the tables of a gallery."""

import threading
import time
import uuid

import numpy as np
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

import sksiamese.search._pgvector_tables as module
from sksiamese.search._pgvector import PostgresStore
from sksiamese.search._pgvector_tables import GalleryTables
from sksiamese.search._postgres import _Attempt

Z = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def _run(dsn, *statements, **names):
    with psycopg.connect(dsn, autocommit=True) as connection:
        for text in statements:
            names_ = {key: sql.Identifier(name) for key, name in names.items()}
            connection.execute(sql.SQL(text).format(**names_))


def _add(store, n=6):
    return store.add(Z[:n], None, "int", [{"a": 1}] * n, "f", None)


@pytest.fixture
def database(postgres):
    """Give the DSN of a fresh database."""
    name = uuid.uuid4().hex
    _run(postgres, "CREATE DATABASE {name}", name=name)
    return make_conninfo(postgres, dbname=name)


@pytest.fixture
def roles(database):
    """Give DSNs of an owner, a writer and a reader with the documented rights."""
    tail = uuid.uuid4().hex[:8]
    names = {role: f"{role} {tail}" for role in ("owner", "writer", "reader")}
    _run(
        database,
        "CREATE EXTENSION vector",
        "CREATE ROLE {owner} LOGIN",
        "CREATE ROLE {writer} LOGIN",
        "CREATE ROLE {reader} LOGIN",
        "DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO %I',"
        f" current_database(), '{names['owner']}'); END $$",
        **names,
    )
    dsns = {role: make_conninfo(database, user=name) for role, name in names.items()}
    store = PostgresStore(dsns["owner"], "gallery", "euclidean", "auto")
    _add(store)
    store.close()
    # As the docstring of PostgresStore says.
    _run(
        dsns["owner"],
        "GRANT USAGE ON SCHEMA sksiamese TO {reader}",
        "GRANT SELECT ON ALL TABLES IN SCHEMA sksiamese TO {reader}",
        "GRANT USAGE ON SCHEMA sksiamese TO {writer}",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA sksiamese"
        " TO {writer}",
        **names,
    )
    return dsns


def test_reader_can_ask_everything_and_change_nothing(roles):
    store = PostgresStore(roles["reader"], "gallery", "euclidean", "auto")
    assert store.search(Z, 1, [], "f", True)[1].ravel().tolist() == list(range(6))
    assert len(store) == 6 and store.contains([5, 6]).tolist() == [True, False]
    assert store.snapshot()[3] == [{"a": 1}] * 6 and store.labelled("a")[2] == [1] * 6
    assert store.fetch([2])[1] == [{"a": 1}] and store.index_description
    for change in (
        lambda: _add(store),
        lambda: store.remove([0]),
        lambda: store.update([0], Z[:1], None, "f"),
        lambda: store.rebuild(Z, list(range(6)), "g"),
    ):
        with pytest.raises(
            PermissionError, match="permission denied for table.*INSERT"
        ):
            change()
    assert len(store) == 6
    store.close()
    other = PostgresStore(roles["reader"], "no such", "euclidean", "auto")
    assert other.header is None
    other.close()


def test_writer_can_change_items_but_makes_no_tables(roles):
    store = PostgresStore(roles["writer"], "gallery", "euclidean", "auto")
    assert _add(store, 2).tolist() == [6, 7]
    store.update([0], Z[1:2], [{"b": 2}], "f")
    store.remove([7])
    assert len(store) == 7 and store.fetch([0])[1] == [{"b": 2}]
    with pytest.raises(PermissionError, match="must be owner of table items_1.*owner"):
        store.rebuild(Z, list(range(7)), "g")
    assert store.header.fingerprint == "f"
    store.close()
    with pytest.raises(PermissionError, match="denied for schema sksiamese.*CREATE"):
        _add(PostgresStore(roles["writer"], "new", "euclidean", "auto"))
    owner = PostgresStore(roles["owner"], "new", "euclidean", "auto")
    assert owner.header is None
    owner.close()


def test_writer_begins_an_emptied_gallery_anew_as_far_as_its_table_allows(roles):
    store = PostgresStore(roles["writer"], "gallery", "euclidean", "auto")
    store.remove(list(range(6)))
    with pytest.raises(PermissionError, match="must be owner of table items_1.*owner"):
        store.add(Z[:, :2].copy(), None, "int", [{}] * 6, "g", None)
    assert store.header is None
    store.add(Z, None, "int", [{}] * 6, "g", None)
    store.close()
    reader = PostgresStore(roles["reader"], "gallery", "euclidean", "auto")
    assert reader.header.fingerprint == "g"
    reader.close()
    owner = PostgresStore(roles["owner"], "gallery", "euclidean", "auto")
    owner.remove(list(range(6, 12)))
    owner.add(Z[:, :2].copy(), list("abcdef"), "str", [{}] * 6, "h", None)
    owner.close()
    # The rights of others on the table remain.
    reader = PostgresStore(roles["reader"], "gallery", "euclidean", "auto")
    assert reader.header.dim == 2 and reader.all_ids().tolist() == list("abcdef")
    reader.close()


def test_writer_that_crosses_the_limit_adds_and_tells_what_the_owner_can_do(roles):
    store = PostgresStore(roles["writer"], "gallery", "euclidean", "hnsw")
    with pytest.warns(UserWarning, match="Let the owner run: CREATE INDEX") as caught:
        _add(store)
    assert len(store) == 12 and "exact" in store.index_description
    statement = str(caught[0].message).split("run: ")[1]
    _run(roles["owner"], statement)
    assert "HNSW" in store.index_description
    store.close()


def test_role_without_any_right_is_told_which_it_needs(roles, database):
    name = uuid.uuid4().hex
    _run(database, "CREATE ROLE {name} LOGIN", name=name)
    with pytest.raises(PermissionError, match="denied for schema sksiamese.*USAGE"):
        PostgresStore(
            make_conninfo(database, user=name), "gallery", "euclidean", "auto"
        )


def test_missing_extension_asks_for_an_administrator(database):
    name = uuid.uuid4().hex
    _run(database, "CREATE ROLE {name} LOGIN", name=name)
    dsn = make_conninfo(database, user=name)
    with pytest.raises(PermissionError, match="once: CREATE EXTENSION vector;"):
        PostgresStore(dsn, "gallery", "euclidean", "auto")
    _run(database, "CREATE EXTENSION vector")
    with pytest.raises(PermissionError, match="permission denied for database"):
        PostgresStore(dsn, "gallery", "euclidean", "auto")


def test_schema_that_an_administrator_made_is_enough(database):
    name = uuid.uuid4().hex
    _run(
        database,
        "CREATE ROLE {name} LOGIN",
        "CREATE EXTENSION vector",
        "CREATE SCHEMA sksiamese AUTHORIZATION {name}",
        name=name,
    )
    dsn = make_conninfo(database, user=name)
    store = PostgresStore(dsn, "gallery", "euclidean", "hnsw")
    assert _add(store).tolist() == list(range(6))
    store.close()


def test_extension_in_a_schema_of_its_own_is_found(database):
    _run(
        database,
        "CREATE SCHEMA {schema}",
        "CREATE EXTENSION vector SCHEMA {schema}",
        schema='exten"sions',
    )
    store = PostgresStore(database, "gallery", "euclidean", "hnsw")
    _add(store)
    assert store.search(Z, 1, [], "f", False)[1].ravel().tolist() == list(range(6))
    store.rebuild(Z[:, :2].copy(), list(range(6)), "g")
    assert "HNSW" in store.index_description
    store.close()


def test_database_that_is_not_unicode_is_refused(postgres):
    name = uuid.uuid4().hex
    _run(
        postgres,
        "CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
        name=name,
    )
    with pytest.raises(RuntimeError, match="encoding LATIN1.*ENCODING 'UTF8'"):
        PostgresStore(make_conninfo(postgres, dbname=name), "g", "euclidean", "auto")


def test_tables_of_a_newer_version_are_refused(database):
    store = PostgresStore(database, "gallery", "euclidean", "auto")
    _add(store)
    _run(database, "UPDATE sksiamese.galleries SET format = 2")
    with pytest.raises(ValueError, match="newer version of sksiamese"):
        len(store)
    with pytest.raises(ValueError, match="newer version of sksiamese"):
        _add(store)
    store.close()


def test_first_use_by_many_at_once_makes_the_schema_once(database):
    failures = []

    def use():
        try:
            GalleryTables(database, "gallery").close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_search_during_a_rebuild_sees_all_of_the_old_or_all_of_the_new(database):
    first = PostgresStore(database, "gallery", "euclidean", "auto")
    _add(first)
    second = PostgresStore(database, "gallery", "euclidean", "auto")
    stop, seen = threading.Event(), set()

    def look():
        while not stop.is_set():
            header, ids, embeddings, _, _ = second.snapshot()
            wide = np.repeat(Z[:, :1], header.dim, axis=1)
            whole = len(ids) == 6 and (embeddings[:, :1] == wide).all()
            seen.add((header.fingerprint == f"{header.dim}" or whole, len(ids)))

    thread = threading.Thread(target=look)
    thread.start()
    for dim in (2, 3, 4, 5, 6, 2, 3, 4, 5, 6):
        first.rebuild(np.repeat(Z[:, :1], dim, axis=1), list(range(6)), f"{dim}")
    stop.set()
    thread.join()
    assert seen == {(True, 6)}
    first.close()
    second.close()


def test_tokens_of_old_changes_are_removed(database):
    store = PostgresStore(database, "gallery", "euclidean", "auto")
    _add(store)
    _add(store)
    _run(database, "UPDATE sksiamese.writes SET written = now() - interval '2 hours'")
    _add(store)
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT * FROM sksiamese.writes").fetchall()
    assert len(rows) == 1
    store.close()


def test_token_is_kept_for_an_hour_after_a_change_of_any_length(database, monkeypatch):
    monkeypatch.setattr(module, "_DONE", module._DONE.replace("1 hour", "1 second"))
    first, second = (
        PostgresStore(database, "gallery", "euclidean", "auto") for _ in range(2)
    )
    _add(first)
    run = _Attempt.run

    def lose(attempt, connection):
        run(attempt, connection)
        if attempt.committing:
            # Another process changes the gallery while this one connects again.
            monkeypatch.setattr(_Attempt, "run", run)
            _add(second, 1)
            connection.close()
            raise psycopg.OperationalError("lost during COMMIT")

    monkeypatch.setattr(_Attempt, "run", lose)
    ids = first.add(Z, None, "int", [{}] * 6, "f", lambda n: time.sleep(1.5))
    assert ids.tolist() == list(range(6, 12))
    assert first.all_ids().tolist() == list(range(13))
    first.close()
    second.close()


def test_limits_of_the_server_do_not_end_changes(database):
    limits = "-c statement_timeout=400 -c transaction_timeout=600"
    limited = make_conninfo(database, options=limits)
    store = PostgresStore(limited, "gallery", "euclidean", "flat")
    store.add(Z, None, "int", [{}] * 6, "f", lambda n: time.sleep(1))

    def work(connection, row):
        connection.execute("SELECT pg_sleep(1)")
        return row.n_items

    assert store._tables.change(work) == 6
    with pytest.raises(TimeoutError, match="statement timeout.*statement_timeout"):
        store._tables.read(work, None)
    assert len(store) == 6
    store.close()


@pytest.mark.parametrize("way", ["read", "change"])
def test_client_that_the_network_cut_off_is_not_waited_for(database, way):
    store = PostgresStore(database, "gallery", "euclidean", "flat")
    _add(store)

    def work(connection, row):
        query = "SELECT current_setting('idle_in_transaction_session_timeout')"
        return connection.execute(query).fetchone()[0]

    ask = {
        "read": lambda: store._tables.read(work, None),
        "change": lambda: store._tables.change(work),
    }[way]
    assert ask() == "5min"
    store.close()


def test_lock_timeout_is_named(database):
    first = PostgresStore(database, "gallery", "euclidean", "flat")
    _add(first)
    dsn = make_conninfo(database, options="-c lock_timeout=200")
    second = PostgresStore(dsn, "gallery", "euclidean", "flat")
    errors = []

    def meanwhile(n):
        with pytest.raises(TimeoutError, match="lock_timeout lets") as caught:
            _add(second)
        errors.append(caught.value)

    first.add(Z, None, "int", [{}] * 6, "f", meanwhile)
    assert len(errors) == 1
    assert _add(second).tolist() == list(range(12, 18))
    first.close()
    second.close()
