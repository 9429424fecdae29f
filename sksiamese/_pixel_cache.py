"""Decoded pixels, kept in memory or in files that are mapped (layer 0, step 1)."""

import contextlib
import hashlib
import json
import os
import tempfile
import time
import uuid
import weakref
from pathlib import Path

import numpy as np

from sksiamese._memory import RowReader

_ROWS = 256  # images copied at a time
_DAY = 86_400


class MemoryPixels:
    """Pixels of files, in one array.

    Parameters
    ----------
    n_files : int
        Most files that will be added.

    shape : tuple of int
        Shape of one image.
    """

    def __init__(self, n_files, shape):
        self.images = np.empty((n_files, *shape), np.uint8)
        self.rows = {}

    @contextlib.contextmanager
    def adding(self, only_grey):
        """Open the store for new images.

        Parameters
        ----------
        only_grey : bool
            Ignored here.

        Yields
        ------
        callable
            Called with a list of files and an array of their images.
        """
        yield self._add

    def _add(self, paths, images):
        """Append the images of some files."""
        start = len(self.rows)
        self.images[start : start + len(paths)] = images
        self.rows.update({path: start + i for i, path in enumerate(paths)})

    def take(self, paths):
        """Give the images of some files.

        Parameters
        ----------
        paths : list of str
            Files, in any order and number.

        Returns
        -------
        uint8 ndarray of shape (n, height, width[, 3])
            Images.
        """
        if paths == list(self.rows):
            return self.images[: len(paths)]
        return self.images[[self.rows[path] for path in paths]]


class PixelCache:
    """Pixels of files, kept on disk between calls and processes.

    Each call that decodes writes a segment of its own, ``<name>.u8`` with one image
    after the other, and then, in one step, ``<name>.json`` that names the files. A
    segment without that does not count, so that nothing half-written is ever read and
    processes need not wait for each other. A file counts as the same while its path,
    size and time of change are.

    Parameters
    ----------
    cache_dir : path-like
        Folder, made if need be.

    decoding : Decoding
        How the files became images; each way has a folder of its own.
    """

    def __init__(self, cache_dir, decoding):
        digest = hashlib.sha256(f"1 {decoding!r}".encode()).hexdigest()[:12]
        height, width = decoding.size
        name = f"{height}x{width}-{decoding.mode}-{digest}"
        self.folder = Path(cache_dir).expanduser() / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.shape = decoding.shape
        self.keys, self.places = {}, {}

    def missing(self, paths, only_grey=False):
        """List the files whose pixels are not here.

        Parameters
        ----------
        paths : list of str
            Files.

        only_grey : bool, default=False
            Whether it must be known that they are grey.

        Returns
        -------
        list of str
            Files to read.
        """
        known = {}
        for index in self.folder.glob("*.json"):
            known.update(self._read_index(index, only_grey))
        for path in paths:
            with contextlib.suppress(OSError):  # reading it will say what is wrong
                status = os.stat(path)
                key = os.path.abspath(path), status.st_size, status.st_mtime_ns
                self.keys[path] = key
                if key in known:
                    self.places[path] = known[key]
        return [path for path in paths if path not in self.places]

    def _read_index(self, index, only_grey):
        """Places of the files of one segment, nothing if it is not whole."""
        segment = index.with_suffix(".u8")
        try:
            content = json.loads(index.read_text(encoding="utf-8"))
            keys = [tuple(key) for key in content["files"]]
            whole = segment.stat().st_size == len(keys) * int(np.prod(self.shape))
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        if not whole or (only_grey and not content.get("only_grey")):
            return {}
        return {key: (segment, row) for row, key in enumerate(keys)}

    @contextlib.contextmanager
    def adding(self, only_grey):
        """Open a new segment; what was added counts, whatever ends the block.

        Parameters
        ----------
        only_grey : bool
            Whether only grey files are added.

        Yields
        ------
        callable
            Called with a list of files and an array of their images.
        """
        self._remove_leftovers()
        segment = self.folder / f"{uuid.uuid4().hex}.u8"
        added = []

        def add(paths, images):
            file.write(np.ascontiguousarray(images).data)
            added.extend(paths)

        file = open(segment, "wb")
        try:
            yield add
        finally:
            self._finish(file, segment, added, only_grey)

    def _finish(self, file, segment, added, only_grey):
        """Make a segment count, or remove it if nothing was added."""
        try:
            with file:
                file.flush()
                file.truncate(len(added) * int(np.prod(self.shape)))
                os.fsync(file.fileno())
            if not added:
                segment.unlink()
                return
            content = {"only_grey": only_grey, "files": [self.keys[p] for p in added]}
            part = segment.with_suffix(".part")
            part.write_text(json.dumps(content), encoding="utf-8")
            os.replace(part, segment.with_suffix(".json"))
        except OSError:  # the disk is full
            segment.unlink(missing_ok=True)
            raise
        self.places.update({p: (segment, row) for row, p in enumerate(added)})

    def _remove_leftovers(self):
        """Remove what processes that were killed left behind more than a day ago."""
        for segment in [*self.folder.glob("*.u8"), *self.folder.glob("*.copy")]:
            with contextlib.suppress(OSError):
                old = time.time() - segment.stat().st_mtime > _DAY
                if old and not segment.with_suffix(".json").exists():
                    segment.unlink()

    def take(self, paths):
        """Give the images of some files.

        Parameters
        ----------
        paths : list of str
            Files, in any order and number.

        Returns
        -------
        uint8 ndarray of shape (n, height, width[, 3])
            Images, memory-mapped and not writable: of the segment itself where they
            follow each other there, otherwise of a copy, removed with the last array.
        """
        if not paths:
            return np.empty((0, *self.shape), np.uint8)
        segments = sorted({self.places[path][0] for path in paths})
        numbers = {segment: i for i, segment in enumerate(segments)}
        owner = np.array([numbers[self.places[path][0]] for path in paths])
        rows = np.array([self.places[path][1] for path in paths])
        maps = [self._map(segment) for segment in segments]
        if len(maps) == 1 and (np.diff(rows) == 1).all():
            return maps[0][rows[0] : rows[-1] + 1]
        readers = [RowReader(images) for images in maps]
        # Named, since joblib hands maps to other processes by their names.
        handle, name = tempfile.mkstemp(suffix=".copy", dir=self.folder)
        try:
            with open(handle, "wb") as file:
                for start in range(0, len(rows), _ROWS):
                    part = slice(start, start + _ROWS)
                    block = np.empty((len(rows[part]), *self.shape), np.uint8)
                    for number in np.unique(owner[part]):
                        mine = owner[part] == number
                        block[mine] = readers[number].take(rows[part][mine])
                    file.write(block.data)
            images = np.memmap(name, np.uint8, "r", shape=(len(rows), *self.shape))
        except BaseException:
            os.unlink(name)
            raise
        weakref.finalize(images._mmap, _remove, name)
        return images

    def _map(self, segment):
        """Map a segment."""
        n_images = segment.stat().st_size // int(np.prod(self.shape))
        return np.memmap(segment, np.uint8, "r", shape=(n_images, *self.shape))


def _remove(name):
    """Remove a file that may be gone."""
    with contextlib.suppress(OSError):
        os.unlink(name)
