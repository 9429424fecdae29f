"""A session survives the server's restarts, and each transaction takes place once."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import sksiamese.search._postgres as module
from sksiamese.search._pgvector import PostgresStore
from sksiamese.search._postgres import Session
from tests._postgres_server import PostgresServer

Z = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
SECRET = "pass%word&=' x"


@pytest.fixture(scope="module")
def server():
    """Give a server that may be stopped."""
    server = PostgresServer()
    yield server
    server.close()


def _add(store, metadata=None):
    return store.add(Z, None, "int", metadata or [{}] * len(Z), "f", None)


# --- connecting ----------------------------------------------------------------------


@contextmanager
def _listener(backlog=1):
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as listener:
        yield listener.getsockname()[1]


def _refusal(dsn, kind=ConnectionError):
    """Error of a session that can not begin; nothing of it may tell the password."""
    with pytest.raises(kind) as caught:
        Session(dsn, lambda connection: None)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    for secret in (SECRET, "pass%word", "pass%25word"):
        assert secret not in shown
    return str(caught.value)


def test_server_that_never_answers_is_given_up_after_the_time_out():
    with _listener() as port:
        dsn = make_conninfo(
            host="127.0.0.1",
            port=port,
            dbname="images",
            password=SECRET,
            connect_timeout=2,
        )
        message = _refusal(dsn)
    assert f"127.0.0.1:{port}/images does not let us in" in message
    assert "timeout" in message


def test_connections_time_out_after_ten_seconds_unless_told(monkeypatch):
    assert module._parse("host=a")["connect_timeout"] == 10
    assert module._parse("host=a connect_timeout=3")["connect_timeout"] == "3"
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "4")
    assert "connect_timeout" not in module._parse("host=a")


def test_closed_port_is_refused():
    with _listener() as port:
        pass
    dsn = make_conninfo(host="127.0.0.1", port=port, password=SECRET, dbname="images")
    message = _refusal(dsn)
    assert f"127.0.0.1:{port}/images" in message and "refused" in message


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://me:pass%25word%zz@host/images",
        "postgresql://me:pass%25word@[host/images",
        "password='pass%25word",
        "pass%25word",
        "postgresql://me:pass%25word/more@127.0.0.1:1/images",
        "postgresql://me:5/pass%25word@127.0.0.1:1/images",
        "postgresql://me:more@pass%25word@127.0.0.1:1/images",
        "postgresql://me:more?more@pass%25word@127.0.0.1:1/images",
        "postgresql://me:5/pass%25word?more@127.0.0.1:1/images",
        "postgres://me:5/pass%25word@127.0.0.1",
        "postgresql://me:pass%25word\0@127.0.0.1/images",
        "postgresql://me:pass%25word\ud800@127.0.0.1/images",
        "postgresql://me:pass%25word@127.0.0.1:abc/images",
    ],
)
def test_malformed_dsn_is_refused_without_quoting_it(dsn):
    assert "not a valid address" in _refusal(dsn, ValueError)


def test_well_formed_dsn_may_hold_special_characters():
    dsn = "postgresql://me%40host:p%2Fa%40s:w#d?@one:1,two:2/d%40b?sslcert=a@b"
    params = module._parse(dsn)
    assert (params["user"], params["password"]) == ("me@host", "p/a@s:w#d?")
    assert (params["dbname"], params["port"]) == ("d@b", "1,2")


@pytest.mark.parametrize("seconds", ["abc", "2.5", ""])
def test_bad_time_out_is_named(seconds):
    dsn = f"postgresql://me:pass%25word@host/images?connect_timeout={seconds}"
    message = _refusal(dsn, ValueError)
    assert message == "connect_timeout in store must be a whole number of seconds."


def test_wrong_password_and_database_are_told_without_the_password(server):
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE locked LOGIN PASSWORD 'right'")
    rules = server.access_rules.read_text()
    server.access_rules.write_text(f"local all locked scram-sha-256\n{rules}")
    server.reload()
    message = _refusal(make_conninfo(server.dsn, user="locked", password=SECRET))
    assert "password authentication failed" in message
    dsn = make_conninfo(server.dsn, user="locked", password="right")
    session = Session(dsn, lambda connection: None)
    assert "right" not in repr(session) and "right" not in session.place
    session.close()
    message = _refusal(make_conninfo(server.dsn, password=SECRET, dbname="nowhere"))
    assert 'database "nowhere" does not exist' in message


def test_missing_psycopg_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ImportError, match=re.escape("'sksiamese[postgres]'")):
        PostgresStore("host=x", "a", "euclidean", "auto")


def test_closed_session_says_so(postgres):
    store = PostgresStore(postgres, "closed", "euclidean", "auto")
    store.close()
    store.close()
    with pytest.raises(ValueError, match="closed: open it anew"):
        len(store)


# --- what a server refuses -----------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "kind", "message"),
    [
        ("SELECT 1 / 0", RuntimeError, "division by zero.$"),
        (
            "SET LOCAL statement_timeout = 50; SELECT pg_sleep(60)",
            TimeoutError,
            "statement_timeout of the role",
        ),
        (
            "SET TRANSACTION READ ONLY; CREATE TABLE t (a integer)",
            PermissionError,
            "read-only transaction.*address of the primary server",
        ),
        # A standby says so by the same SQLSTATE.
        (
            "SELECT count(*) FROM pg_class FOR UPDATE",
            RuntimeError,
            "not allowed with aggregate functions.$",
        ),
    ],
)
def test_what_the_server_refuses_is_told_once(postgres, statement, kind, message):
    session = Session(postgres, lambda connection: None)
    with pytest.raises(kind, match=message) as caught:
        session.transact(lambda connection: connection.execute(statement), "BEGIN")
    assert session.place in str(caught.value)
    assert type(caught.value) is kind and not isinstance(caught.value, psycopg.Error)
    assert session.transact(lambda c: c.execute("SELECT 1").fetchone(), None) == (1,)
    session.close()


def test_too_many_parameters_are_refused_and_the_session_goes_on(postgres):
    store = PostgresStore(postgres, "conditions", "euclidean", "auto")
    _add(store)
    conditions = [(f"k{i}", "in", [None]) for i in range(40_000)]
    with pytest.raises(RuntimeError, match="parameters"):
        store.search(Z, 1, conditions, "f", False)
    assert len(store) == 5
    store.close()


def test_transaction_timeout_is_named_and_not_repeated(postgres):
    dsn = make_conninfo(postgres, options="-c transaction_timeout=200")
    session, n_runs = Session(dsn, lambda connection: None), []

    def work(connection):
        n_runs.append(1)
        connection.execute("SELECT pg_sleep(60)")

    with pytest.raises(TimeoutError, match="setting transaction_timeout"):
        session.transact(work, "BEGIN")
    assert len(n_runs) == 1
    assert session.transact(lambda c: c.execute("SELECT 1").fetchone(), None) == (1,)
    session.close()


def test_transaction_that_idled_too_long_is_repeated(postgres):
    session, n_runs = Session(postgres, lambda connection: None), []

    def work(connection):
        n_runs.append(1)
        if len(n_runs) == 1:
            connection.execute("SET LOCAL idle_in_transaction_session_timeout = 100")
            pid = connection.info.backend_pid
            query = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
            with psycopg.connect(postgres, autocommit=True) as other:
                while other.execute(query, [pid]).fetchone()[0]:
                    time.sleep(0.01)
        return connection.execute("SELECT 1").fetchone()

    assert session.transact(work, "BEGIN") == (1,) and len(n_runs) == 2
    session.close()


def test_standby_is_searched_and_says_that_it_is_read_only():
    server = PostgresServer()
    try:
        store = PostgresStore(server.dsn, "standby", "euclidean", "auto")
        _add(store)
        store.close()
        server.restart_as_standby()
        store = PostgresStore(server.dsn, "standby", "euclidean", "auto")
        assert store.search(Z, 1, [], "f", False)[1].ravel().tolist() == list(range(5))
        assert store.snapshot()[4] == 5 and store.contains([4]).all()
        for change in (lambda: _add(store), lambda: store.remove([0])):
            with pytest.raises(PermissionError, match="address of the primary server"):
                change()
        store.close()
    finally:
        server.close()


# --- threads and processes -----------------------------------------------------------


def test_threads_take_turns_on_one_session(postgres):
    store = PostgresStore(postgres, "threads", "euclidean", "auto")
    _add(store)
    wrong = []

    def work(row):
        for _ in range(20):
            if store.search(Z[row : row + 1], 1, [], "f", False)[1][0, 0] != row:
                wrong.append(row)
            store.update([row], None, [{"thread": row}], "f")

    threads = [threading.Thread(target=work, args=(row,)) for row in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert store.fetch([0, 1, 2, 3, 4])[1] == [{"thread": row} for row in range(5)]
    store.close()


def test_close_waits_for_what_other_threads_do(postgres):
    store = PostgresStore(postgres, "close", "euclidean", "auto")
    started, returned = threading.Event(), []

    def slowly(n):
        started.set()
        time.sleep(0.3)

    def add():
        returned.append(store.add(Z, None, "int", [{}] * 5, "f", slowly).tolist())

    thread = threading.Thread(target=add)
    thread.start()
    started.wait(60)
    store.close()
    assert store._tables._session._connection is None
    thread.join()
    assert returned == [[0, 1, 2, 3, 4]]
    with pytest.raises(ValueError, match="closed: open it anew"):
        len(store)
    assert store._tables._session._connection is None


def test_callback_that_closes_ends_the_change_and_waits_for_nothing(postgres):
    store = PostgresStore(postgres, "callback", "euclidean", "auto")
    with pytest.raises(ConnectionError, match="closed meanwhile.*0 of the 5"):
        store.add(Z, None, "int", [{}] * 5, "f", lambda n: store.close())
    store = PostgresStore(postgres, "callback", "euclidean", "auto")
    assert len(store) == 0
    store.close()


FORK = """
import os, sys
import numpy as np
from sksiamese.search._pgvector import PostgresStore

Z = np.eye(4, dtype=np.float32)
store = PostgresStore(sys.argv[1], "fork", "euclidean", "auto")
store.add(Z, None, "int", [{}] * 4, "f", None)
backend = store._tables._session._connection.info.backend_pid
child = os.fork()
for _ in range(5):
    store.add(Z, None, "int", [{}] * 4, "f", None)
    assert (store.search(Z, 1, [], "f", False)[0] == 0).all()
own = store._tables._session._connection.info.backend_pid
assert (own == backend) == bool(child)
store.close()
if child:
    assert os.waitpid(child, 0)[1] == 0
    ids = PostgresStore(sys.argv[1], "fork", "euclidean", "auto").all_ids()
    assert ids.tolist() == list(range(4 * 11))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_makes_its_own_connection(postgres):
    done = subprocess.run(
        [sys.executable, "-c", FORK, postgres], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
