"""One file of arrays, streams and texts, written in one step (layer 0).

Galleries, models and checkpoints are such files. Each is an uncompressed ``.npz``, so
that NumPy reads its arrays without this package. Its last member lists place, length
and SHA-256 of all others.
"""

import errno
import hashlib
import io
import json
import math
import os
import re
import secrets
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# Newest version of each kind. The name of the first member, so at a fixed place, is the
# kind's.
VERSIONS = {"gallery": 1, "model": 1, "checkpoint": 1}
_CONTENTS = "contents"
_CHUNK = 2**20  # bytes; stays in the cache from one pass to the next


class ArchiveWriter:
    """Write a file anew: all of it, or nothing.

    The members go to a temporary file beside it. When the ``with`` block ends without
    an error, that is synchronised with the disk and takes the place of the old file;
    after an error it is removed.

    Parameters
    ----------
    path : path-like
        File to write. A symbolic link stays, and its target is written.

    kind : {"gallery", "model", "checkpoint"}
        What the file is, and what a reader must ask for.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from sksiamese._archive import ArchiveReader, ArchiveWriter
    >>> path = os.path.join(tempfile.mkdtemp(), "x.gallery")
    >>> with ArchiveWriter(path, "gallery") as archive:
    ...     archive.array("rows", np.arange(3))
    ...     archive.text("note", "kept")
    >>> with ArchiveReader(path, "gallery") as archive:
    ...     archive.array("rows"), archive.text("note"), "other" in archive
    (array([0, 1, 2]), 'kept', False)
    """

    def __init__(self, path, kind):
        self._path = Path(os.path.realpath(path))
        self._head = f"{_magic(kind)} {VERSIONS[kind]}\n"
        self._kind, self._members = kind, {}

    def __enter__(self):
        if self._path.exists() and not (self._path.is_file() or self._path.is_dir()):
            raise OSError(errno.EINVAL, "Not a regular file", str(self._path))
        self._temporary = _temporary(self._path, secrets.token_hex(8))
        self._file = open(self._temporary, "xb")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)
        try:
            with suppress(FileNotFoundError):
                # Before there is anything to read: what was private stays so.
                os.chmod(self._temporary, os.stat(self._path).st_mode & 0o777)
            self._zip.writestr(zipfile.ZipInfo(_magic(self._kind)), b"")
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(self, kind, error, traceback):
        try:
            if kind is None:
                self._finish()
        finally:
            self._discard()

    def array(self, name, values):
        """Write an array.

        Parameters
        ----------
        name : str
            Name of the member.

        values : ndarray
            Numbers; written piece by piece, so that a view is not copied whole.

        Raises
        ------
        ValueError
            If it holds Python objects.
        """
        with self.stream(f"{name}.npy") as stream:
            np.lib.format.write_array(stream, values, allow_pickle=False)

    def text(self, name, text):
        """Write a string.

        Parameters
        ----------
        name : str
            Name of the member.

        text : str
            Any valid Unicode.
        """
        with self.stream(name) as stream:
            stream.write(text.encode())

    @contextmanager
    def stream(self, name):
        """Open a member to be written piece by piece, one at a time.

        Parameters
        ----------
        name : str
            Name of the member.

        Yields
        ------
        binary file
            With ``write``.
        """
        with self._zip.open(name, "w", force_zip64=True) as member:
            start = self._file.tell()
            stream = _HashedStream(member)
            yield stream
        self._members[name] = [start, stream.size, stream.digest.hexdigest()]

    def _finish(self):
        """Write the contents, and put the file in its place once it is on the disk."""
        contents = json.dumps(self._members)
        head = f"{self._head}{_sha256(contents.encode())}\n"
        self._zip.writestr(zipfile.ZipInfo(_CONTENTS), head + contents)
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._temporary, self._path)
        _sync_folder(self._path.parent)

    def _discard(self):
        """Close what is open; the temporary file is there only after an error."""
        for part in (self._zip, self._file):
            # A full disk fails again here, and would hide the first error.
            with suppress(OSError, ValueError):
                part.close()
        self._temporary.unlink(missing_ok=True)


class ArchiveReader:
    """Read a file of :class:`ArchiveWriter`, and nothing that has changed since.

    Parameters
    ----------
    path : path-like
        File to read. It stays open, so that a writer who replaces it does not matter.

    kind : {"gallery", "model", "checkpoint"}
        What it has to be.

    Raises
    ------
    FileNotFoundError
        If it is not there.

    ValueError
        If it is no such file, truncated, damaged or of a newer version.
    """

    def __init__(self, path, kind):
        self._path, self._kind = os.fspath(path), kind
        self._file = open(path, "rb")
        try:
            self._members = self._read_contents()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._file.close()

    def __contains__(self, name):
        return name in self._members or f"{name}.npy" in self._members

    def array(self, name):
        """Read an array.

        Parameters
        ----------
        name : str
            Name of the member.

        Returns
        -------
        ndarray
            In memory of its own.

        Raises
        ------
        ValueError
            If it is not there or has changed since it was written.
        """
        start, size = self._check(f"{name}.npy")
        self._file.seek(start)
        try:
            np.lib.format.read_magic(self._file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(self._file)
        except ValueError as error:
            raise self.broken(f"{name!r} is no array ({error})") from error
        n_bytes = self._file.tell() - start + math.prod(shape) * dtype.itemsize
        # Before memory is taken for it.
        unfilled = dtype.itemsize == 0 and math.prod(shape) > 0
        if dtype.hasobject or unfilled or min(shape, default=0) < 0 or n_bytes != size:
            raise self.broken(f"{name!r} is no array of the length that it says")
        self._file.seek(start)
        return np.lib.format.read_array(self._file, allow_pickle=False)

    def text(self, name):
        """Read a string.

        Parameters
        ----------
        name : str
            Name of the member.

        Returns
        -------
        str
            The string.

        Raises
        ------
        ValueError
            If it is not there or has changed since it was written.
        """
        start, size = self._check(name)
        self._file.seek(start)
        try:
            return self._file.read(size).decode()
        except UnicodeDecodeError as error:
            raise self.broken(f"{name!r} is no text ({error})") from error

    def stream(self, name):
        """Open a member to be read piece by piece, while the reader is open.

        Parameters
        ----------
        name : str
            Name of the member.

        Returns
        -------
        binary file
            With ``read``.

        Raises
        ------
        ValueError
            If it is not there or has changed since it was written.
        """
        return io.BufferedReader(_Section(self._file, *self._check(name)), _CHUNK)

    def broken(self, why):
        """Make the error for what this package would not have written.

        Parameters
        ----------
        why : str
            What is wrong.

        Returns
        -------
        ValueError
            To be raised.
        """
        return ValueError(
            f"{self._path} is not a whole {self._kind}: {why}. Restore it from a copy."
        )

    def _read_contents(self):
        """Place, length and checksum of each member."""
        kind = self._kind
        magic = _magic(kind).encode()
        head = self._file.read(30 + len(magic))
        if head[:4] != b"PK\3\4" or head[30:] != magic:
            raise ValueError(
                f"{self._path} is not a {kind} of sksiamese: it does not begin like"
                f" one. Check the path, or choose another file for a new {kind}."
            )
        try:
            with zipfile.ZipFile(self._file) as archive:
                if archive.getinfo(_CONTENTS).compress_type != zipfile.ZIP_STORED:
                    raise ValueError("it is packed")  # to how much, it need not say
                version, digest, contents = archive.read(_CONTENTS).split(b"\n", 2)
            version = int(version.split()[1])
        except Exception as error:  # broken bytes raise errors of any type
            raise ValueError(
                f"{self._path} is truncated or damaged: its list of contents can not be"
                f" read ({error}). Restore it from a copy."
            ) from error
        if version > VERSIONS[kind]:
            raise ValueError(
                f"{self._path} was written by a newer version of sksiamese (format"
                f" {version}, this one knows {VERSIONS[kind]}): update sksiamese."
            )
        if _sha256(contents) != digest.decode("latin-1"):
            raise self._changed("its list of contents")
        return self._check_members(contents)

    def _check_members(self, contents):
        """Read place, length and checksum of each member, all within the file."""
        try:
            members = json.loads(contents)
            size = os.fstat(self._file.fileno()).st_size
            whole = all(
                type(start) is type(length) is int
                and 0 <= start <= start + length <= size
                and isinstance(digest, str)
                for start, length, digest in members.values()
            )
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise self.broken(f"its list of contents is none: {error}") from error
        if not whole:
            raise self.broken("its list of contents leads out of the file")
        return members

    def _check(self, name):
        """Compare a member with its checksum; return its place and length."""
        if name not in self._members:
            raise self.broken(f"it lacks {name!r}")
        start, size, wanted = self._members[name]
        digest, left = hashlib.sha256(), size
        self._file.seek(start)
        while left:
            data = self._file.read(min(left, _CHUNK))
            if not data:
                break
            digest.update(data)
            left -= len(data)
        if left or digest.hexdigest() != wanted:
            raise self._changed(repr(name))
        return start, size

    def _changed(self, what):
        """Make the error for what does not fit its checksum."""
        return ValueError(
            f"{self._path} has changed since it was written: the checksum of {what} is"
            " wrong. Restore it from a copy."
        )


class _HashedStream(io.RawIOBase):
    """A file to write to that counts bytes and computes their checksum."""

    def __init__(self, file):
        self._file, self.digest, self.size = file, hashlib.sha256(), 0

    def writable(self):
        return True

    def write(self, data):
        data = memoryview(data).cast("B")
        for start in range(0, len(data), _CHUNK):
            piece = data[start : start + _CHUNK]
            self.digest.update(piece)
            self._file.write(piece)
        self.size += len(data)
        return len(data)


class _Section(io.RawIOBase):
    """A part of a file as a file to read from."""

    def __init__(self, file, start, size):
        self._file, self._at, self._end = file, start, start + size

    def readable(self):
        return True

    def readinto(self, buffer):
        self._file.seek(self._at)
        n = self._file.readinto(memoryview(buffer)[: self._end - self._at])
        self._at += n
        return n


@contextmanager
def locked(path):
    """Let one process at a time write a file, and remove what killed ones have left.

    Who holds the lock knows that the writers of all temporary files are dead, as theirs
    would be held as long as they live. Where files can not be locked, which are some
    network drives, and Windows, nothing is locked and nothing removed.

    Parameters
    ----------
    path : path-like
        File to be written.

    Yields
    ------
    None
    """
    path = Path(os.path.realpath(path))
    lock = path.with_name(f".{path.name}.lock")
    file = _lock(lock) if fcntl else None
    if file is None:
        yield
        return
    try:
        leftover = _temporary(path, "@").name
        leftover = re.compile(re.escape(leftover).replace("@", "[0-9a-f]{16}"))
        for other in path.parent.iterdir():
            if leftover.fullmatch(other.name):
                other.unlink(missing_ok=True)
        yield
    finally:
        lock.unlink(missing_ok=True)  # while it is held; _lock sees that it is gone
        file.close()


def _lock(path):
    """Wait for the lock of a file; return the open file, or None if it has no locks."""
    while True:
        file = open(path, "ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                file.close()
                raise
            path.unlink(missing_ok=True)
            file.close()
            return None
        # It was removed by the one who held it, and another file may have its name.
        file.close()


def _magic(kind):
    """Name of the first member, by which a file is known."""
    return f"sksiamese-{kind}"


def _temporary(path, token):
    """Name of a temporary file beside a file."""
    return path.with_name(f".{path.name}.{token}.tmp")


def _sha256(data):
    """Checksum of bytes."""
    return hashlib.sha256(data).hexdigest()


def _sync_folder(folder):
    """Bring a renamed file's new name to the disk, where folders can be opened."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows, and folders that may not be listed
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network drives know no such thing
            raise
    finally:
        os.close(descriptor)
