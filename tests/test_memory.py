"""Resident memory: what a training keeps and what a mapped file does not take."""

import os
import platform
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from sksiamese import _memory
from sksiamese._memory import RowReader, kept_memory

linux_only = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the system has no /proc"
)


def run_python(code, **environment):
    """Run a script in a fresh process, whose allocator nobody has touched."""
    tuning = "MALLOC_", "GLIBC_TUNABLES"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(tuning)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**clean, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture
def tuned(monkeypatch):
    """Record the settings of the allocator."""
    calls = []

    class Libc:
        def mallopt(self, parameter, value):
            calls.append((parameter, value))

        def malloc_trim(self, pad):
            calls.append("trim")

    monkeypatch.setattr(_memory, "_tunable_libc", Libc)
    return calls


def test_kept_memory_tunes_and_restores(tuned):
    with kept_memory("cpu"):
        assert tuned == list(_memory._KEEP.items())
        tuned.clear()
    assert tuned == [*_memory._USUAL.items(), "trim"]


def test_kept_memory_restores_after_an_error(tuned):
    with pytest.raises(ZeroDivisionError), kept_memory("cpu"):
        1 / 0  # noqa: B018
    assert tuned[-1] == "trim"


def test_kept_memory_lasts_until_the_last_block_ends(tuned):
    inside, leave = threading.Event(), threading.Event()

    def other():
        with kept_memory("cpu"):
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with kept_memory("cpu"):
        thread.start()
        inside.wait()
    assert "trim" not in tuned
    leave.set()
    thread.join()
    assert tuned.count("trim") == 1


def test_accelerators_need_no_kept_memory(tuned):
    with kept_memory("cuda"):
        assert not tuned


@pytest.mark.parametrize(
    "name, value",
    [("MALLOC_ARENA_MAX", "2"), ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1")],
)
def test_kept_memory_leaves_an_allocator_that_the_user_tuned(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert _memory._tunable_libc() is None
    with kept_memory("cpu"):
        pass


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is tuned"
)
def test_kept_memory_maps_the_pages_of_a_step_once():
    faults, kept, left = map(
        float,
        run_python(
            """
            import resource
            import numpy as np
            from sksiamese._memory import kept_memory

            def resident():
                with open("/proc/self/statm") as file:
                    return int(file.read().split()[1]) * 4096 / 2**20

            def steps():
                before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
                for _ in range(10):
                    np.full(5_000_000, 1.0)  # 40 MB, more than glibc ever keeps
                return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

            before = resident()
            faults = steps()
            with kept_memory("cpu"):
                steps()
                kept = steps()
            print(faults, kept, resident() - before)
            """
        ),
    )
    assert kept < faults / 5
    assert left < 20


def resident_file():
    """Bytes of mapped files that are resident."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("RssFile"))
    return int(line.split()[1]) * 1024


@pytest.fixture
def mapped(tmp_path):
    """Open a mapped array of 400 MB, a file without content."""

    def open_map(mode):
        path = tmp_path / "images.bin"
        path.touch()
        os.truncate(path, 400 << 20)
        return np.memmap(path, np.uint8, mode, shape=(400 << 4, 1 << 16))

    return open_map


@linux_only
@pytest.mark.parametrize("view", [np.asarray, lambda X: X.reshape(-1, 64, 1024)])
@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize("order", ["sliced", "shuffled"])
def test_reading_a_mapped_array_does_not_fill_the_memory(mapped, mode, view, order):
    X = view(mapped(mode))
    reader = RowReader(X)
    before, most = resident_file(), 0
    shuffled = np.random.default_rng(0).permutation(len(X))
    for start in range(0, len(X), 100):
        rows = slice(start, start + 100)
        rows = rows if order == "sliced" else shuffled[rows]
        reader.take(rows).max()
        most = max(most, resident_file() - before)
    assert most < 160 << 20
    assert X.max() == 0


@pytest.mark.parametrize("mode", ["r+", "c", None])
def test_reading_changes_nothing(mapped, mode, monkeypatch):
    monkeypatch.setattr(_memory, "_MAPPED_BYTES", -1)  # drop at each read
    X = np.zeros((90, 4), np.uint8) if mode is None else mapped(mode)
    X[5], X[70] = 7, 8
    reader = RowReader(X[:80])
    rows = np.array([70, *range(60), 5, 70])
    taken = reader.take(rows)
    np.testing.assert_array_equal(taken, X[rows])
    assert taken[0, 0] == taken[-1, 0] == 8
    assert taken[-2, 0] == 7
    np.testing.assert_array_equal(reader.take(slice(60, 80)), X[60:80])


@linux_only
def test_pages_of_earlier_readers_are_dropped(mapped):
    X = mapped("r")
    before = resident_file()
    for start in range(0, len(X), 100):
        RowReader(X[start : start + 100]).take(slice(None)).max()
    assert resident_file() - before < 160 << 20


def test_pages_that_cannot_be_dropped_are_read_all_the_same(mapped, monkeypatch):
    def fail():
        raise OSError("no /proc here")

    X = mapped("r+")
    X[5] = 7
    monkeypatch.setattr(_memory, "_resident_file_bytes", fail)
    reader = RowReader(X)
    assert (reader.take(np.array([5, 6, 5]))[:, 0] == [7, 0, 7]).all()


@linux_only
def test_fit_and_transform_of_a_mapped_array_stay_small(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (9000, 160, 160), np.uint8)
    np.save(tmp_path / "images.npy", images)  # 230 MB
    most = run_python(
        """
        import os, threading, time, warnings
        import numpy as np
        from sksiamese import SiameseEmbedder

        def resident_file():
            with open("/proc/self/status") as file:
                line = next(line for line in file if line.startswith("RssFile"))
            return int(line.split()[1]) / 1024

        warnings.simplefilter("ignore")
        small = dict(backbone="dense128", image_size=16, augment=None, max_epochs=1)
        X, y = np.zeros((64, 160, 160), np.uint8), np.arange(9000) % 3
        SiameseEmbedder(**small).fit(X, y[:64])  # loads libraries
        X = np.load(os.environ["IMAGES"], mmap_mode="r")
        before, most, done = resident_file(), 0, False

        def watch():
            global most
            while not done:
                most = max(most, resident_file() - before)
                time.sleep(0.002)

        thread = threading.Thread(target=watch)
        thread.start()
        SiameseEmbedder(**small, random_state=0).fit(X, y).transform(X)
        done = True
        thread.join()
        print(most)
        """,
        IMAGES=str(tmp_path / "images.npy"),
    )
    assert float(most[0]) < 150
