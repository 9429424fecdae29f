"""From many image files to one array, decoded once (layer 0, step 2)."""

import collections
import concurrent.futures
import dataclasses

import numpy as np
from joblib import effective_n_jobs

from sksiamese._decode import ColourFound, Decoding, ImageReadError, decode, is_grey
from sksiamese._pixel_cache import MemoryPixels, PixelCache

# Files that one task decodes, and headers that are looked at to guess the mode.
_CHUNK, _GUESSED = 32, 64


@dataclasses.dataclass(frozen=True)
class Reading:
    """How many files are read.

    Parameters
    ----------
    size : tuple of int
        Height and width of the result, in pixels.

    mode : {"auto", "grey", "rgb"}, default="auto"
        ``"auto"`` is grey if all files are.

    aspect : {"stretch", "crop", "pad"}, default="stretch"
        What to do with another aspect ratio.

    value_range : tuple of float or None, default=None
        Values of grey files that become 0 and 255.

    n_jobs : int or None, default=None
        Threads that decode.

    cache_dir : path-like or None, default=None
        Folder in which decoded pixels are kept; None keeps them in memory.

    verbose : int, default=0
        Whether to show a progress bar.
    """

    size: tuple
    mode: str = "auto"
    aspect: str = "stretch"
    value_range: tuple | None = None
    n_jobs: int | None = None
    cache_dir: str | None = None
    verbose: int = 0

    def decoding(self, mode):
        """How one file becomes an array.

        Parameters
        ----------
        mode : {"grey", "rgb"}
            Mode that was settled on.

        Returns
        -------
        Decoding
            Size and form of the result.
        """
        return Decoding(self.size, mode, self.aspect, self.value_range)


def read_files(paths, reading, *, skip=False):
    """Read files into one array.

    A file that is named twice is decoded once. With a cache, what it holds is not
    decoded again, and what was decoded before an error or Ctrl-C is kept.

    Parameters
    ----------
    paths : sequence of str
        Files.

    reading : Reading
        How to read them.

    skip : bool, default=False
        Leave out files that cannot be read instead of raising.

    Returns
    -------
    images : uint8 ndarray of shape (n_read, height, width[, 3])
        Pixels; memory-mapped and not writable if there is a cache.

    failures : dict of str to ImageReadError
        Files that were left out.

    Raises
    ------
    ImageReadError
        If a file cannot be read and ``skip`` is false.
    """
    mode = reading.mode
    if mode == "auto":
        sample = paths[:: max(1, len(paths) // _GUESSED)]
        mode = "grey" if all(map(is_grey, sample)) else "rgb"
    guessed = reading.mode == "auto" and mode == "grey"
    try:
        return _read(paths, reading, mode, guessed, skip)
    except ColourFound:
        return _read(paths, reading, "rgb", False, skip)


def _read(paths, reading, mode, only_grey, skip):
    """Read files in a known mode; refuse the first one in colour if only grey count."""
    decoding = reading.decoding(mode)
    unique, failures = list(dict.fromkeys(paths)), {}
    store, missing = None, unique
    if reading.cache_dir is not None:
        store = PixelCache(reading.cache_dir, decoding)
        missing = store.missing(unique, only_grey)
    if store is None or (missing and len(unique) < _CHUNK):
        # So few are read at once, and would make a segment of their own in the cache.
        store, missing = MemoryPixels(len(unique), decoding.shape), unique
    if missing:
        with store.adding(only_grey) as add:
            for read, images, errors in _decode_all(
                missing, decoding, reading, only_grey
            ):
                add(read, images)
                if errors and not skip:
                    raise errors[0]
                failures.update({error.filename: error for error in errors})
    return store.take([path for path in paths if path not in failures]), failures


def _decode_all(paths, decoding, reading, only_grey):
    """Decode files in threads, which Pillow lets run side by side; yield in order."""

    def decode_some(some):
        read, images, errors = [], [], []
        for path in some:
            try:
                images.append(decode(path, decoding, refuse_colour=only_grey))
                read.append(path)
            except ImageReadError as error:
                errors.append(error)
        images = np.stack(images) if images else np.empty((0, *decoding.shape), "u1")
        return read, images, errors

    chunks = [paths[i : i + _CHUNK] for i in range(0, len(paths), _CHUNK)]
    with _progress(len(paths), reading.verbose) as bar:
        for done in _in_threads(decode_some, chunks, effective_n_jobs(reading.n_jobs)):
            yield done
            bar.update(len(done[0]) + len(done[2]))


def _in_threads(function, items, n_threads):
    """Map in threads, in order and never far ahead of who takes the results."""
    if n_threads == 1:
        yield from map(function, items)
        return
    waiting = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(n_threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * n_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _progress(total, verbose):
    """Progress bar, or nothing that looks like one."""
    from tqdm.auto import tqdm

    return tqdm(total=total, unit=" files", disable=not verbose)
