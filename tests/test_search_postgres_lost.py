"""A session outlives the loss of its connection, and changes take place once."""

import socket
import threading
import time
from collections import Counter

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import sksiamese.search._postgres as module
from sksiamese.search._pgvector import PostgresStore
from sksiamese.search._postgres import Session
from tests._postgres_server import PostgresServer

Z = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
COMMIT = b"COMMIT\0"  # the statement; BEGIN speaks of READ COMMITTED


@pytest.fixture(scope="module")
def server():
    """Give a server that may be stopped."""
    server = PostgresServer()
    yield server
    server.close()


def _add(store, metadata=None):
    return store.add(Z, None, "int", metadata or [{}] * len(Z), "f", None)


# --- losing the connection -----------------------------------------------------------


class Link:
    """A TCP link to the server that breaks once, when told what to break at.

    Parameters
    ----------
    dsn : str
        Of the server, on a Unix socket.
    """

    def __init__(self, dsn):
        params = conninfo_to_dict(dsn)
        self._target = f"{params['host']}/.s.PGSQL.{params.get('port', 5432)}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.dsn = make_conninfo(dsn, host="127.0.0.1", port=port)
        self.trigger, self.forward, self.is_down, self.n_breaks = None, None, False, 0
        threading.Thread(target=self._accept, daemon=True).start()

    def break_at(self, trigger, forward, stay_down=False):
        """Break at a text; it arrives "never", "before" the break or "late"."""
        self.trigger, self.forward, self._stay_down = trigger, forward, stay_down

    def close(self):
        self._listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.is_down:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            pair = client, server
            threading.Thread(target=self._send, args=pair, daemon=True).start()
            threading.Thread(target=self._receive, args=pair, daemon=True).start()

    def _send(self, client, server):
        while data := _receive(client):
            if self.trigger is not None and self.trigger in data:
                self._break(client, server, data)
                return
            server.sendall(data)
        _shut(server)

    def _receive(self, client, server):
        while data := _receive(server):
            try:
                client.sendall(data)
            except OSError:
                break
        _shut(client)

    def _break(self, client, server, data):
        forward, self.trigger = self.forward, None
        self.is_down = self._stay_down
        self.n_breaks += 1
        _shut(client)  # nothing goes back from here on
        if forward == "late":
            time.sleep(0.5)
        if forward != "never":
            server.sendall(data)
            time.sleep(0.3)
        _shut(server)


def _receive(connection):
    try:
        return connection.recv(65536)
    except OSError:
        return b""


def _shut(connection):
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


@pytest.fixture
def link(postgres):
    link = Link(postgres)
    yield link
    link.close()


@pytest.mark.parametrize("trigger", [b"BEGIN", b"FOR UPDATE", b"COPY", COMMIT])
@pytest.mark.parametrize("forward", ["never", "before", "late"])
def test_add_takes_place_once_wherever_the_connection_breaks(link, trigger, forward):
    store = PostgresStore(link.dsn, f"once {trigger} {forward}", "euclidean", "auto")
    assert _add(store).tolist() == [0, 1, 2, 3, 4]
    link.break_at(trigger, forward)
    progress = []
    ids = store.add(Z, None, "int", [{"a": 1}] * 5, "f", progress.append)
    assert link.n_breaks == 1
    assert ids.tolist() == [5, 6, 7, 8, 9]
    assert sum(progress) == 5  # rows sent twice are reported once
    assert store.all_ids().tolist() == list(range(10)) and len(store) == 10
    store.close()


@pytest.mark.parametrize("forward", ["never", "before", "late"])
def test_other_changes_take_place_once_when_commit_breaks(link, forward):
    store = PostgresStore(link.dsn, f"others {forward}", "euclidean", "auto")
    _add(store)
    link.break_at(COMMIT, forward)
    store.remove([1])
    assert store.all_ids().tolist() == [0, 2, 3, 4]
    link.break_at(COMMIT, forward)
    store.update([2], Z[:1], [{"b": 2}], "f")
    assert store.fetch([2])[1] == [{"b": 2}]
    link.break_at(COMMIT, forward)
    store.rebuild(Z[:4, :2].copy(), [0, 2, 3, 4], "g")
    assert store.header.dim == 2 and len(store) == 4
    assert link.n_breaks == 3
    store.close()


def test_first_add_that_breaks_at_commit_starts_the_gallery_once(link):
    for forward in ("never", "before", "late"):
        store = PostgresStore(link.dsn, f"first {forward}", "euclidean", "auto")
        link.break_at(COMMIT, forward)
        assert _add(store).tolist() == [0, 1, 2, 3, 4]
        assert len(store) == 5
        store.close()


@pytest.mark.parametrize("trigger", [b"SELECT", b"LOCK", b"unnest", COMMIT])
def test_search_is_repeated_when_the_connection_breaks(link, trigger):
    store = PostgresStore(link.dsn, f"search {trigger}", "euclidean", "auto")
    _add(store)
    expected = store.search(Z, 2, [], "f", False)
    link.break_at(trigger, "never")
    found = store.search(Z, 2, [], "f", False)
    assert link.n_breaks == 1
    np.testing.assert_array_equal(found[1], expected[1])
    store.close()


def test_server_that_stays_away_is_given_up_and_says_how_far_it_came(link, monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.5)
    store = PostgresStore(link.dsn, "gone", "euclidean", "auto")
    _add(store)
    link.break_at(b"COPY", "never", stay_down=True)
    with pytest.raises(ConnectionError, match="0 of the 5 items of this call"):
        _add(store)
    with pytest.raises(ConnectionError, match="did not come back within 0.5 s"):
        len(store)
    link.is_down = False
    assert len(store) == 5  # it may be used again
    link.break_at(COMMIT, "before", stay_down=True)
    with pytest.raises(ConnectionError, match="either all of it took place or nothing"):
        _add(store)
    link.is_down = False
    assert len(store) == 10
    store.close()


def test_load_ends_complete_though_the_server_stops_twice(server):
    store = PostgresStore(server.dsn, "load", "euclidean", "auto")
    enough, returned = threading.Event(), {}

    def load():
        batch = 0
        while not enough.is_set():
            returned[batch] = _add(store, [{"batch": batch}] * len(Z)).tolist()
            batch += 1

    thread = threading.Thread(target=load)
    thread.start()
    for _ in range(2):
        n = len(returned)
        while len(returned) < n + 5 and thread.is_alive():
            time.sleep(0.01)
        server.stop()
        time.sleep(0.2)
        server.start()
    n = len(returned)
    while len(returned) < n + 5 and thread.is_alive():
        time.sleep(0.01)
    enough.set()
    thread.join()
    ids, _, batches = store.labelled("batch")
    assert Counter(batches) == dict.fromkeys(returned, len(Z))
    assert ids.tolist() == [i for batch in returned.values() for i in batch]
    assert len(set(ids.tolist())) == len(ids) == len(store)
    store.close()


def test_server_that_stops_for_good_ends_the_load_with_an_error(server, monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.5)
    store = PostgresStore(server.dsn, "stopped", "euclidean", "auto")
    _add(store)
    server.stop()
    try:
        with pytest.raises(ConnectionError, match="0 of the 5 items"):
            _add(store)
    finally:
        server.start()
    assert len(store) == 5
    store.close()


def test_lost_idle_connection_is_made_anew(postgres):
    store = PostgresStore(postgres, "idle", "euclidean", "auto")
    _add(store)
    _terminate(postgres, store._tables._session._connection)
    assert len(store) == 5
    store.close()


def _terminate(postgres, connection):
    """End a connection, from another one."""
    pid = connection.info.backend_pid
    with psycopg.connect(postgres, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def test_time_to_give_up_begins_anew_when_the_server_was_back(postgres, monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.5)
    session, n_runs = Session(postgres, lambda connection: None), []

    def work(connection):
        n_runs.append(1)
        time.sleep(0.6)  # longer than that
        if len(n_runs) < 4:
            _terminate(postgres, connection)
        return connection.execute("SELECT 1").fetchone()

    assert session.transact(work, "BEGIN") == (1,) and len(n_runs) == 4
    session.close()


def test_transaction_that_breaks_each_connection_is_given_up(postgres):
    session, n_runs = Session(postgres, lambda connection: None), []

    def work(connection):
        n_runs.append(1)
        _terminate(postgres, connection)
        connection.execute("SELECT 1")

    with pytest.raises(ConnectionError, match="so were the 4 repeats"):
        session.transact(work, "BEGIN")
    assert len(n_runs) == 5
    session.close()


def test_interrupted_change_is_undone_and_the_session_goes_on(postgres):
    store = PostgresStore(postgres, "interrupted", "euclidean", "auto")
    _add(store)

    def interrupt(n):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.add(Z, None, "int", [{}] * 5, "f", interrupt)
    assert len(store) == 5
    assert _add(store).tolist() == [5, 6, 7, 8, 9]
    store.close()


def test_nothing_is_tried_again_after_close(postgres):
    session, errors = Session(postgres, lambda connection: None), []
    started, closing = threading.Event(), threading.Event()

    def work(connection):
        started.set()
        closing.wait(60)
        while not session._closed:
            time.sleep(0.01)
        _terminate(postgres, connection)
        connection.execute("SELECT 1")

    def run():
        with pytest.raises(ConnectionError, match="was closed meanwhile") as caught:
            session.transact(work, "BEGIN")
        errors.append(caught.value)

    thread = threading.Thread(target=run)
    thread.start()
    started.wait(60)
    closing.set()
    session.close()
    thread.join()
    assert len(errors) == 1 and session._connection is None
