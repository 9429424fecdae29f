"""A PostgreSQL connection that outlives restarts of the server (level 0.2)."""

import contextlib
import os
import threading
import time

RETRY_SECONDS = 30.0  # how long a lost connection is tried anew
_CONNECT_SECONDS = 10  # how long one attempt may take, unless the DSN says
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between attempts
_DEFAULTS = {
    "application_name": "sksiamese",
    # A server that the network has cut off would be waited for for hours.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_SECRETS = "password", "sslpassword", "oauth_client_secret"

_RIGHTS = (
    "To search, a role needs USAGE on the schema sksiamese and SELECT on its tables; to"
    " change items, INSERT, UPDATE and DELETE as well. New galleries, the index and"
    " rebuild are for the owner of the tables, who needs CREATE on the schema. The"
    " first use needs CREATE on the database."
)


class Session:
    """Transactions on one server, each of which takes place once.

    A lost connection is made anew, with growing pauses, and the transaction that it
    broke is repeated. Whether a broken COMMIT took place only the transaction itself
    can find out, so work that writes has to look first. Threads take turns; a forked
    child makes its own connection.

    Parameters
    ----------
    dsn : str
        Connection string of libpq.

    greet : callable
        Called with each new connection.

    Raises
    ------
    ImportError
        If psycopg is not installed.

    ValueError
        If the DSN is malformed.

    ConnectionError
        If the server does not let us in, within the DSN's ``connect_timeout`` or 10 s.
    """

    def __init__(self, dsn, greet):
        self._params = _parse(dsn)
        self._greet = greet
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._inherited = []  # connections of parents: never used, never closed
        self._connection = None
        self._closed = False
        try:
            self._connect()
        except _operational_error() as error:
            raise ConnectionError(
                f"{self.place} does not let us in: {self._tell(error)}."
            ) from None

    @property
    def place(self):
        """Where the server is, without user and password."""
        host = self._params.get("host") or self._params.get("hostaddr")
        host = host or os.environ.get("PGHOST", "")
        port = self._params.get("port") or os.environ.get("PGPORT")
        name = self._params.get("dbname") or os.environ.get("PGDATABASE", "")
        return f"postgresql://{host}{f':{port}' if port else ''}/{name}"

    def transact(self, work, begin, given_up="Nothing was changed."):
        """Run a transaction, again if the connection is lost.

        Parameters
        ----------
        work : callable
            Called with the connection; may run more than once.

        begin : str, Composed or None
            Statement that begins it. None if ``work`` is a single statement.

        given_up : str
            What to say if there is no connection any more and nothing was committed.

        Returns
        -------
        object
            Result of ``work``.

        Raises
        ------
        ConnectionError
            If the server was away for longer than ``RETRY_SECONDS``.

        PermissionError
            If the role lacks a right.

        ValueError
            If the session is closed.
        """
        if os.getpid() != self._pid:
            self._leave_parent()
        with self._lock:
            if self._closed:
                raise ValueError("The gallery is closed: open it anew.")
            attempt = _Attempt(work, begin)
            give_up, pause = None, _FIRST_PAUSE
            while True:
                lost = self._try(attempt)
                if lost is None:
                    return attempt.result
                now = time.monotonic()
                give_up = give_up or now + RETRY_SECONDS
                if now + pause > give_up:
                    raise self._gave_up(attempt, lost, given_up) from None
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def close(self):
        """Close the connection, if it is this process's and open."""
        self._closed = True
        if self._connection is not None and os.getpid() == self._pid:
            self._connection.close()
            self._connection = None

    def _try(self, attempt):
        """Run a transaction once; return the error if the connection was lost."""
        import psycopg

        try:
            if self._connection is None:
                self._connect()
            attempt.run(self._connection)
        except psycopg.OperationalError as error:
            if not self._is_lost(error):
                self._roll_back()
                raise
            self._drop()
            return error
        except psycopg.errors.InsufficientPrivilege as error:
            self._roll_back()
            denied = error.diag.message_primary
            raise PermissionError(f"{self.place}: {denied}. {_RIGHTS}") from None
        except BaseException:
            self._roll_back()
            raise
        return None

    def _connect(self):
        """Connect, and greet."""
        import psycopg

        # Without prepared statements, so that poolers of connections can stand between.
        self._connection = psycopg.connect(
            **self._params, autocommit=True, prepare_threshold=None
        )
        try:
            self._greet(self._connection)
        except BaseException:
            self._drop()
            raise

    def _is_lost(self, error):
        """Whether an error ended the connection, or there was none."""
        fatal = error.diag.severity_nonlocalized in ("FATAL", "PANIC")
        return fatal or self._connection is None or self._connection.closed

    def _roll_back(self):
        """End a transaction that failed, or the connection if that fails too."""
        if self._connection is None:
            return
        try:
            self._connection.rollback()
        except Exception:
            self._drop()

    def _drop(self):
        """Let go of a connection that is of no more use."""
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
        self._connection = None

    def _leave_parent(self):
        """Start anew in a forked child, without a word on the parent's connection."""
        if self._connection is not None:
            self._inherited.append(self._connection)
        self._connection, self._pid = None, os.getpid()
        self._lock = threading.Lock()

    def _gave_up(self, attempt, error, given_up):
        """Make the error for a server that stays away."""
        if attempt.committing:
            given_up = (
                "The connection broke during COMMIT, so that either all of it took"
                " place or nothing: look before you repeat it."
            )
        return ConnectionError(
            f"{self.place} was lost and did not come back within"
            f" {RETRY_SECONDS:g} s: {self._tell(error)}. {given_up}"
        )

    def _tell(self, error):
        """Say what the server said, but no secrets."""
        text = " ".join(str(error).split()).rstrip(".")
        for name in _SECRETS:
            secret = self._params.get(name)
            if secret:
                text = text.replace(str(secret), "***")
        return text


class _Attempt:
    """A transaction, and how far it came."""

    def __init__(self, work, begin):
        self._work, self._begin = work, begin
        self.committing = False
        self.result = None

    def run(self, connection):
        """Run it on a connection."""
        if self._begin is None:
            self.result = self._work(connection)
            return
        connection.execute(self._begin)
        self.result = self._work(connection)
        self.committing = True
        connection.execute("COMMIT")


def _operational_error():
    """Psycopg's error for trouble with the server."""
    import psycopg

    return psycopg.OperationalError


def _parse(dsn):
    """Take a DSN apart, and add what it leaves open."""
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
    except ImportError:
        raise ImportError(
            "A gallery in PostgreSQL needs psycopg: pip install 'sksiamese[postgres]'."
        ) from None
    try:
        params = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        # The reason would quote the DSN, and with it the password.
        raise ValueError(
            "store is not a valid address of a database; it has the form"
            " postgresql://user@host:port/database, with special characters in percent"
            " encoding."
        ) from None
    if "PGCONNECT_TIMEOUT" not in os.environ:
        params.setdefault("connect_timeout", _CONNECT_SECONDS)
    for name, value in _DEFAULTS.items():
        params.setdefault(name, value)
    params["client_encoding"] = "utf8"
    return params
