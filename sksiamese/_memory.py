"""Resident memory: keep what the next step needs, drop what a file can give again.

Layer 0: NumPy only.
"""

import contextlib
import ctypes
import mmap
import os
import sys
import threading

import numpy as np

# Names in glibc's malloc.h, and what its own adjustment settles at in a process that
# has freed large blocks: thresholds of 32 and 64 MiB, and 65,536 mapped blocks.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_KEEP = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1}  # no mapped blocks, no trimming
_USUAL = {
    _M_MMAP_MAX: 1 << 16,
    _M_TRIM_THRESHOLD: 1 << 26,
    _M_MMAP_THRESHOLD: 1 << 25,
}
# Bytes of a mapped file that may stay resident, and rows read between two looks at it.
_MAPPED_BYTES, _ROWS = 1 << 26, 32

_lock = threading.Lock()
_users = []  # the thread of each block


@contextlib.contextmanager
def kept_memory(device):
    """Let the process keep what it frees within a block, and give it back after.

    glibc hands large blocks back to the system as soon as they are freed, so each step
    of a training would map its activations anew and wait while the system clears every
    page: an eighth of the time of a small network on images of 28 x 28, three tenths
    at 64 x 64 in colour. Within the block they are kept. Without glibc, or where the
    environment tunes its allocator, nothing is changed.

    glibc cannot tell its settings, so those left behind are not the ones found but the
    thresholds that its own adjustment reaches in a process with large blocks.

    Parameters
    ----------
    device : str or torch.device
        Where the block computes; nothing is done for accelerators.

    Yields
    ------
    None
        Blocks may overlap, in several threads too: the last one gives back.
    """
    libc = _tunable_libc() if str(device).startswith("cpu") else None
    if libc is None:
        yield
        return
    with _lock:
        _users.append(threading.get_ident())
        if len(_users) == 1:
            _tune(libc, _KEEP)
    try:
        yield
    finally:
        with _lock:
            _users.remove(threading.get_ident())
            if not _users:
                _give_back(libc)


def _give_back(libc):
    """Return freed memory to the system, now and from now on."""
    _tune(libc, _USUAL)
    libc.malloc_trim(0)


def _leave_others_behind():
    """End the blocks of threads that a forked process does not have."""
    global _lock
    _lock = threading.Lock()  # its holder may be one of them
    own = [thread for thread in _users if thread == threading.get_ident()]
    if _users and not own:
        _give_back(_tunable_libc())
    _users[:] = own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_others_behind)


def give_back():
    """Give what was freed back to the system, also while :func:`kept_memory` holds."""
    libc = _tunable_libc()
    if libc is not None:
        libc.malloc_trim(0)


def _tunable_libc():
    """Load the C library if it is glibc and nobody else has tuned its allocator."""
    tuned = any(name.startswith("MALLOC_") for name in os.environ)
    if tuned or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return None
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None  # else musl


def _tune(libc, settings):
    """Set parameters of the allocator."""
    for parameter, value in settings.items():
        libc.mallopt(parameter, value)


class RowReader:
    """Reads rows of an array; of a memory-mapped one without filling the memory.

    The pages of a file that were read stay in the system's cache, from which the next
    read takes them, but when they get many they no longer count as this process's
    memory. Memory maps whose changes live in memory only (mode ``"c"``) are left alone.

    Parameters
    ----------
    X : ndarray of shape (n, ...)
        The array.
    """

    def __init__(self, X):
        self.X = X
        self._map = _find_map(X)
        self._base = -_MAPPED_BYTES  # drop what earlier readers have left
        self._drop_many()

    def take(self, rows):
        """Take some rows.

        Parameters
        ----------
        rows : slice or int64 ndarray of shape (n_taken,)
            Rows to take.

        Returns
        -------
        ndarray of shape (n_taken, ...)
            The rows: a view for a slice, a copy otherwise.
        """
        if self._map is None or isinstance(rows, slice):
            self._drop_many()
            return self.X[rows]
        # A single row may map pages of 2 MiB around it.
        taken = np.empty((len(rows), *self.X.shape[1:]), self.X.dtype)
        for start in range(0, len(rows), _ROWS):
            self._drop_many()
            part = rows[start : start + _ROWS]
            taken[start : start + len(part)] = self.X[part]
        return taken

    def _drop_many(self):
        """Drop the file's pages from this process when they are many."""
        if self._map is None:
            return
        try:
            held = _resident_file_bytes()
            if held - self._base > _MAPPED_BYTES:
                self._map.madvise(mmap.MADV_DONTNEED)
                held = self._base = _resident_file_bytes()
            self._base = min(self._base, held)
        except OSError:  # no /proc, or pages are locked: only memory is lost
            self._map = None


def _resident_file_bytes():
    """Read how much of mapped files this process holds."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[2]) * mmap.PAGESIZE


def _find_map(X):
    """Find the file's map behind an array, if its pages can be dropped without loss."""
    if not sys.platform.startswith("linux"):
        return None  # elsewhere dropping may lose what was written
    while isinstance(X, np.ndarray):
        if isinstance(X, np.memmap) and X._mmap is not None:
            return X._mmap if X.mode != "c" else None
        X = X.base
    return None
