"""Tables of galleries in PostgreSQL, and transactions on them (level 0.25)."""

import uuid
from typing import NamedTuple

from sksiamese.search._header import Header
from sksiamese.search._postgres import Session
from sksiamese.search._postgres_values import register_vectors

_FORMAT = 1  # of the tables; a higher one is of a newer version
_SETUP_LOCK = 0x736B7369616D  # number of the lock on making the schema

# A client that the network has cut off would keep all others waiting for hours.
_GUARDS = """
SET LOCAL tcp_keepalives_idle = 30;
SET LOCAL tcp_keepalives_interval = 10;
SET LOCAL tcp_keepalives_count = 3;
SET LOCAL idle_in_transaction_session_timeout = '5min'"""
# Limits that suit the queries of web pages are too short for COPY and for an index.
_WRITE = f"""
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;{_GUARDS};
SET LOCAL statement_timeout = 0;
SELECT set_config('transaction_timeout', '0', true)
WHERE current_setting('server_version_num')::integer >= 170000"""
# The lock comes before the moment that is seen is chosen: seen from before a rebuild
# that has ended since, the table would be empty.
_READ = f"""
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;{_GUARDS};
LOCK TABLE {{items}} IN ACCESS SHARE MODE"""

# IF NOT EXISTS would ask for CREATE on the database where an administrator has made it.
_LACKS_SCHEMA = "SELECT to_regnamespace('sksiamese') IS NULL"

_SETUP = """
CREATE TABLE IF NOT EXISTS sksiamese.galleries (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    format integer NOT NULL,
    metric text NOT NULL,
    dim integer NOT NULL,
    fingerprint text NOT NULL,
    id_kind text NOT NULL,
    n_items bigint NOT NULL DEFAULT 0,
    n_added bigint NOT NULL DEFAULT 0,
    last_id bigint NOT NULL DEFAULT -1
);
CREATE TABLE IF NOT EXISTS sksiamese.writes (
    gallery integer NOT NULL,
    token uuid NOT NULL,
    written timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (gallery, token)
)"""

_EXTENSION = """
SELECT extversion, nspname, t.oid, typarray
FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace
JOIN pg_type t ON typnamespace = n.oid AND typname = 'vector'
WHERE extname = 'vector'"""

_IS_SET_UP = "SELECT to_regclass('sksiamese.writes') IS NOT NULL"

_FIND = """
SELECT number, format, metric, dim, fingerprint, id_kind, n_items, n_added, last_id,
    to_regclass('sksiamese.items_' || number || '_hnsw') IS NOT NULL
FROM sksiamese.galleries WHERE name = %s"""

_START = """
INSERT INTO sksiamese.galleries (name, format, dim, metric, fingerprint, id_kind)
VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (name) DO NOTHING RETURNING number"""

_TABLE = """
CREATE TABLE {items} (
    id {id_type} PRIMARY KEY,
    position bigint NOT NULL,
    embedding {schema}.vector({dim}) NOT NULL,
    metadata jsonb NOT NULL
)"""

# Without items it may begin again, as another one; others keep their rights on it.
_RESHAPE = """
ALTER TABLE {items} ALTER id TYPE {id_type} USING NULL,
    ALTER embedding TYPE {schema}.vector({dim}) USING NULL"""
_RESTART = """
UPDATE sksiamese.galleries SET dim = %s, metric = %s, fingerprint = %s, id_kind = %s
WHERE number = %s"""

_IS_DONE = """
SELECT 1 FROM sksiamese.writes WHERE gallery = %(gallery)s AND token = %(token)s"""
# Tokens are needed only while somebody may not know whether a COMMIT took place; the
# hour begins with it, however long the change took.
_DONE = """
WITH old AS (
    DELETE FROM sksiamese.writes
    WHERE gallery = %(gallery)s AND written < now() - interval '1 hour'
)
INSERT INTO sksiamese.writes (gallery, token, written)
VALUES (%(gallery)s, %(token)s, clock_timestamp())"""

# Bytewise, so that no locale decides which ids are equal.
_ID_TYPES = {"int": "bigint", "str": 'text COLLATE "C"'}


class Extension(NamedTuple):
    """The extension pgvector of a database.

    Parameters
    ----------
    schema : str
        Where it lives.

    oid : int
        Of its type vector.

    array_oid : int
        Of the array type of that.
    """

    schema: str
    oid: int
    array_oid: int


class Row(NamedTuple):
    """What the registry says of a gallery.

    Parameters
    ----------
    number : int
        Part of the names of its table and index.

    format : int
        Version of the tables.

    metric, dim, fingerprint, id_kind : str, int, str, str
        As in :class:`~sksiamese.search._header.Header`.

    n_items : int
        Items it holds.

    n_added : int
        Items ever added.

    last_id : int
        Largest id ever given, if ids are whole numbers; -1 at first.

    is_indexed : bool
        Whether there is an HNSW index.
    """

    number: int
    format: int
    metric: str
    dim: int
    fingerprint: str
    id_kind: str
    n_items: int
    n_added: int
    last_id: int
    is_indexed: bool

    @property
    def header(self):
        """What every store knows of a gallery; None while it holds no item."""
        if not self.n_items:
            return None
        return Header(self.dim, self.metric, self.fingerprint, self.id_kind)


def compose(text, number, extension=None, **parts):
    """Fill names into SQL, quoted.

    Parameters
    ----------
    text : str
        SQL with ``{items}``, ``{index}``, ``{schema}``, ``{distance}`` and others.

    number : int
        Of the gallery.

    extension : Extension or None, default=None
        For ``{schema}`` and ``{distance}``.

    **parts : str or int
        SQL for the others; never what a user wrote.

    Returns
    -------
    psycopg.sql.Composed
        The SQL.
    """
    from psycopg import sql

    names = {key: sql.SQL(str(part)) for key, part in parts.items()}
    names["items"] = sql.Identifier("sksiamese", f"items_{number}")
    names["index"] = sql.Identifier(f"items_{number}_hnsw")
    if extension is not None:
        names["schema"] = sql.Identifier(extension.schema)
        names["distance"] = sql.SQL("OPERATOR({}.<->)").format(names["schema"])
    return sql.SQL(text).format(**names)


def drop_index(connection, row):
    """Drop the HNSW index of a gallery, if there is one.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection, in a transaction that has locked the gallery.

    row : Row
        Of the gallery.

    Returns
    -------
    Row
        Of the gallery, without index.
    """
    if row.is_indexed:
        connection.execute(compose("DROP INDEX sksiamese.{index}", row.number))
    return row._replace(is_indexed=False)


class GalleryTables:
    """The tables of one gallery, which may not be there yet, in one database.

    Parameters
    ----------
    dsn : str
        Connection string of libpq.

    name : str
        Of the gallery.

    Attributes
    ----------
    extension : Extension
        Where pgvector is.

    Raises
    ------
    ValueError
        If the DSN is malformed, or a newer version made the tables.

    ConnectionError
        If the server does not let us in.

    PermissionError
        If the role lacks a right.

    RuntimeError
        If the server lacks pgvector, or it is too old.
    """

    def __init__(self, dsn, name):
        self._name, self._number = name, None  # its number never changes once known
        self.extension = None
        self._session = Session(dsn, self._greet)
        try:
            if not self._session.transact(_is_set_up, None) or self.extension is None:
                self._session.transact(_set_up, _WRITE)
                self._session.transact(self._greet, None)
        except BaseException:
            self.close()
            raise

    @property
    def place(self):
        """Where the gallery is, for people."""
        return f"{self._session.place}, {self._name!r}"

    def look(self):
        """Look the gallery up.

        Returns
        -------
        Row or None
            None if there is none yet.
        """
        row = self._session.transact(self._find, None)
        self._number = row and row.number
        return row

    def read(self, work, otherwise):
        """Ask something, as of one moment.

        Parameters
        ----------
        work : callable
            Called with the connection and the row of the gallery.

        otherwise : object
            What to return if there is no gallery; an exception is raised.

        Returns
        -------
        object
            Result of ``work``.
        """
        if self._number is None and self.look() is None:
            if isinstance(otherwise, Exception):
                raise otherwise
            return otherwise
        return self._session.transact(
            lambda connection: work(connection, self._find(connection)),
            compose(_READ, self._number),
        )

    def change(self, work, *, header=None, given_up="Nothing was changed."):
        """Change the gallery, once, while other changes of it wait.

        Parameters
        ----------
        work : callable
            Called with the connection and the row of the gallery, None if there is
            none.

        header : Header or None, default=None
            With which to begin the gallery if there is none, or none with items; None
            does not.

        given_up : str, default="Nothing was changed."
            What to say if the server went away for good before the change.

        Returns
        -------
        object
            Result of ``work``.
        """
        token, results = uuid.uuid4(), []

        def attempt(connection):
            row = self._find(connection, " FOR UPDATE")
            if row is None and header is None:
                return work(connection, None)
            if row is None:
                row = self._start(connection, header)
            # The lock has waited for an earlier attempt whose COMMIT we lost sight of.
            mark = {"gallery": row.number, "token": token}
            if connection.execute(_IS_DONE, mark).fetchone() is None:
                if header is not None and not row.n_items:
                    row = self._restart(connection, row, header)
                results.append(work(connection, row))
                connection.execute(_DONE, mark)
            return results[-1]

        return self._session.transact(attempt, _WRITE, given_up)

    def close(self):
        """Close the connection."""
        self._session.close()

    def _greet(self, connection):
        """Learn where pgvector is in the database of a new connection."""
        self.extension = _find_extension(connection)
        if self.extension is not None:
            register_vectors(connection, self.extension.oid, self.extension.array_oid)

    def _find(self, connection, lock=""):
        """Look the gallery up, and lock it if asked to; None if there is none yet."""
        found = connection.execute(_FIND + lock, [self._name]).fetchone()
        if found is None:
            return None
        row = Row(*found)
        if row.format > _FORMAT:
            raise ValueError(
                f"A newer version of sksiamese made the gallery {self._name!r}: update"
                " sksiamese."
            )
        return row

    def _start(self, connection, header):
        """Begin the gallery, unless another process did just now, and lock it."""
        values = [self._name, _FORMAT, *header]
        found = connection.execute(_START, values).fetchone()
        if found is not None:
            self._shape(connection, _TABLE, found[0], header)
        return self._find(connection, " FOR UPDATE")

    def _restart(self, connection, row, header):
        """Begin the gallery, which holds no items, with a header."""
        new = row._replace(**header._asdict())
        if (row.dim, row.id_kind) != (header.dim, header.id_kind):
            new = drop_index(connection, new)
            self._shape(connection, _RESHAPE, row.number, header)
        if new != row:
            connection.execute(_RESTART, [*header, row.number])
        return new

    def _shape(self, connection, text, number, header):
        """Give the table of items the types that a header asks for."""
        id_type, dim = _ID_TYPES[header.id_kind], int(header.dim)
        query = compose(text, number, self.extension, id_type=id_type, dim=dim)
        connection.execute(query)


def _find_extension(connection):
    """Find pgvector in the database, and check both."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise RuntimeError(
            f"The database has the encoding {encoding}; a gallery needs one made with"
            " ENCODING 'UTF8'."
        )
    found = connection.execute(_EXTENSION).fetchone()
    if found is None:
        return None
    version = found[0]
    if tuple(map(int, version.split(".")[:2])) < (0, 8):
        raise RuntimeError(
            f"The database has pgvector {version}, but 0.8 or later is needed: update"
            " it on the server, then run ALTER EXTENSION vector UPDATE."
        )
    return Extension(*found[1:])


def _is_set_up(connection):
    """Tell whether the last table of the schema is there."""
    return connection.execute(_IS_SET_UP).fetchone()[0]


def _set_up(connection):
    """Make the extension and the schema, unless another process did just now."""
    import psycopg

    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_SETUP_LOCK])
    if _find_extension(connection) is None:
        try:
            connection.execute("CREATE EXTENSION vector")
        except psycopg.errors.InsufficientPrivilege:
            raise PermissionError(
                f"The database {connection.info.dbname!r} lacks the extension pgvector,"
                f" and the role {connection.info.user!r} may not create it. Ask an"
                " administrator to run there, once: CREATE EXTENSION vector;"
            ) from None
        except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile):
            raise RuntimeError(
                "The server lacks pgvector: install it there (package"
                " postgresql-<version>-pgvector), see github.com/pgvector/pgvector."
            ) from None
    if not _is_set_up(connection):
        if connection.execute(_LACKS_SCHEMA).fetchone()[0]:
            connection.execute("CREATE SCHEMA sksiamese")
        connection.execute(_SETUP)
