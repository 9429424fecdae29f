"""A PostgreSQL connection that outlives restarts of the server (level 0.2)."""

import contextlib
import os
import threading
import time

RETRY_SECONDS = 30.0  # how long a lost connection is tried anew
_CONNECT_SECONDS = 10  # how long one attempt may take, unless the DSN says
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between attempts
_MOST_RUNS = 5  # of one transaction, which may be what brings the server down
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
_READ_ONLY = (
    "To change items, give the address of the primary server and a role and database"
    " that are not read-only."
)
_STANDBY_REFUSES = "0A000"  # what a standby says to a transaction that would write
# Errors that people can do something about, by SQLSTATE.
_REFUSALS = {
    "42501": (PermissionError, _RIGHTS),
    "25006": (PermissionError, _READ_ONLY),
    _STANDBY_REFUSES: (PermissionError, _READ_ONLY),
    "57014": (
        TimeoutError,
        "Unless somebody cancelled it, the setting statement_timeout of the role,"
        " database or server is too short for it.",
    ),
    "55P03": (
        TimeoutError,
        "Another change of the gallery goes on for longer than the setting lock_timeout"
        " lets this one wait.",
    ),
    "25P04": (
        TimeoutError,
        "The setting transaction_timeout of the role, database or server is too short"
        " for it.",
    ),
}

_MALFORMED = (
    "store is not a valid address of a database; it has the form"
    " postgresql://user@host:port/database, with special characters in percent"
    " encoding."
)


class Session:
    """Transactions on one server, each of which takes place once.

    A lost connection is made anew, with growing pauses, and the transaction that it
    broke is repeated, a few times at most. Whether a broken COMMIT took place only the
    transaction itself can find out, so work that writes has to look first. Threads take
    turns; a forked child makes its own connection.

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
        If the DSN is malformed, or holds a password that is not in percent encoding.

    ConnectionError
        If the server does not let us in, within the DSN's ``connect_timeout`` or 10 s.
    """

    def __init__(self, dsn, greet):
        self._params = _parse(dsn)
        self._greet = greet
        # Reentrant, as a progress bar's callback that closes must not wait for itself.
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._inherited = []  # connections of parents: never used, never closed
        self._connection = None
        self._closed = False

        import psycopg

        try:
            self._connect()
        except psycopg.Error as error:
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
            If the server was away for longer than ``RETRY_SECONDS``, or left each time.

        PermissionError
            If the role lacks a right, or the server is read-only.

        TimeoutError
            If a limit of the server on time has passed.

        RuntimeError
            If the server fails in another way.

        ValueError
            If the session is closed.
        """
        if os.getpid() != self._pid:
            self._leave_parent()
        with self._lock:
            if self._closed:
                raise ValueError("The gallery is closed: open it anew.")
            return self._persist(_Attempt(work, begin), given_up)

    def close(self):
        """Close the connection, when what goes on has ended; nothing is tried again."""
        self._closed = True
        if os.getpid() == self._pid:
            with self._lock:
                self._drop()

    def _persist(self, attempt, given_up):
        """Run a transaction until it takes place."""
        give_up, n_runs = None, 0
        while True:
            lost = self._try(attempt)
            if lost is None:
                return attempt.result
            now = time.monotonic()
            if give_up is None or attempt.n_runs > n_runs:  # the server was there
                give_up, pause = now + RETRY_SECONDS, _FIRST_PAUSE
            n_runs = attempt.n_runs
            if self._closed or n_runs == _MOST_RUNS or now + pause > give_up:
                raise self._gave_up(attempt, lost, given_up) from None
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _try(self, attempt):
        """Run a transaction once; return the error if the connection was lost."""
        import psycopg

        try:
            if self._connection is None:
                self._connect()
            attempt.run(self._connection)
        except psycopg.Error as error:
            if self._is_lost(error):
                self._drop()
                return error
            refusal = self._refusal(error)
            self._roll_back()
            raise refusal from None
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
        import psycopg

        if isinstance(error, psycopg.errors.TransactionTimeout):
            return False  # it would end the next one, too
        fatal = error.diag.severity_nonlocalized in ("FATAL", "PANIC")
        return fatal or self._connection is None or self._connection.closed

    def _refusal(self, error):
        """Make the error for what the server does not do."""
        text = error.diag.message_primary or self._tell(error)
        kind, advice = _REFUSALS.get(error.sqlstate, (RuntimeError, ""))
        if error.sqlstate == _STANDBY_REFUSES:  # others say so of much else
            status = self._connection.info.parameter_status("in_hot_standby")
            if status != "on":
                kind, advice = RuntimeError, ""
        return kind(f"{self.place}: {text}. {advice}".rstrip())

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
        self._lock = threading.RLock()

    def _gave_up(self, attempt, error, given_up):
        """Make the error for a server that stays away."""
        if attempt.committing:
            given_up = (
                "The connection broke during COMMIT, so that either all of it took"
                " place or nothing: look before you repeat it."
            )
        if self._closed:
            end = "the gallery was closed meanwhile"
        elif attempt.n_runs == _MOST_RUNS:
            end = f"so were the {_MOST_RUNS - 1} repeats"
        else:
            end = f"did not come back within {RETRY_SECONDS:g} s"
        text = self._tell(error)
        return ConnectionError(f"{self.place} was lost and {end}: {text}. {given_up}")

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
        self.n_runs = 0
        self.result = None

    def run(self, connection):
        """Run it on a connection."""
        self.n_runs += 1
        if self._begin is None:
            self.result = self._work(connection)
            return
        connection.execute(self._begin)
        self.result = self._work(connection)
        self.committing = True
        connection.execute("COMMIT")


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
    except (psycopg.Error, UnicodeError):
        params = None
    # The reason would quote the DSN, and with it the password.
    if params is None or _is_torn(dsn, params):
        raise ValueError(_MALFORMED)
    try:
        int(params.get("connect_timeout", _CONNECT_SECONDS))
    except ValueError:
        raise ValueError(
            "connect_timeout in store must be a whole number of seconds."
        ) from None
    if "PGCONNECT_TIMEOUT" not in os.environ:
        params.setdefault("connect_timeout", _CONNECT_SECONDS)
    for name, value in _DEFAULTS.items():
        params.setdefault(name, value)
    params["client_encoding"] = "utf8"
    return params


def _is_torn(dsn, params):
    """Whether a special character of a password has cut a DSN at the wrong place.

    What comes after it would be shown as host, port or name of the database.
    """
    if "\0" in dsn or not set(params.get("port", "")) <= set("0123456789,"):
        return True
    if not dsn.startswith(("postgresql://", "postgres://")):
        return False
    address = dsn.partition("://")[2]
    user, _, rest = address.partition("@")
    if "/" not in user:  # libpq looks for the end of a password up to here only
        address = rest
    return "@" in address.partition("?")[0]
