"""The file of a gallery: whole or not at all, and nothing that has changed since."""

import errno
import os
import stat
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest

from sksiamese import _archive
from sksiamese._archive import ArchiveReader, ArchiveWriter, locked

ARRAYS = {
    "vectors": np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32),
    "turned": np.arange(12.0).reshape(3, 4).T,
    "every_other": np.arange(100)[::2],
    "empty": np.empty((0, 5), np.float32),
    "one": np.array(7),
}


def write(path, arrays=ARRAYS, text="Grüße, 日本"):
    with ArchiveWriter(path, "gallery") as archive:
        for name, values in arrays.items():
            archive.array(name, values)
        archive.text("note", text)
        with archive.stream("graph") as stream:
            for i in range(50):
                stream.write(bytes([i]) * i)


def read(path):
    """All that a reader hands out, as bytes and shapes."""
    with ArchiveReader(path, "gallery") as archive:
        arrays = {name: archive.array(name) for name in ARRAYS if name in archive}
        parts = {n: (a.dtype.str, a.shape, a.tobytes()) for n, a in arrays.items()}
        parts["note"] = archive.text("note")
        stream = archive.stream("graph")
        parts["graph"] = [stream.read(7), stream.read()]
    return parts


def fail_with(number):
    def fail(*args):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.gallery"
    write(path)
    return path


def test_archive_gives_back_what_was_written(path):
    with ArchiveReader(path, "gallery") as archive:
        for name, values in ARRAYS.items():
            found = archive.array(name)
            assert found.dtype == values.dtype
            np.testing.assert_array_equal(found, values)
            assert found.flags.writeable or not found.ndim
        assert archive.text("note") == "Grüße, 日本"
        wanted = b"".join(bytes([i]) * i for i in range(50))
        assert archive.stream("graph").read() == wanted
        assert "vectors" in archive
        assert "note" in archive
        assert "other" not in archive
        with pytest.raises(ValueError, match=r"lacks 'other\.npy'"):
            archive.array("other")


def test_archive_is_read_by_numpy(path):
    with np.load(path) as archive:
        for name, values in ARRAYS.items():
            np.testing.assert_array_equal(archive[name], values)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


def test_archive_streams_read_side_by_side(path):
    with ArchiveReader(path, "gallery") as archive:
        first, second = archive.stream("graph"), archive.stream("note")
        pieces = [first.read(3), second.read(3), first.read(3), second.read()]
    assert pieces[0] + pieces[2] == b"\1\2\2\3\3\3"
    assert (pieces[1] + pieces[3]).decode() == "Grüße, 日本"


def test_archive_of_large_view_is_written_without_a_copy(tmp_path):
    import tracemalloc

    values = np.zeros((2_000_000, 8), np.float32)  # 64 MB
    tracemalloc.start()
    with ArchiveWriter(tmp_path / "x", "gallery") as archive:
        archive.array("all", values)
        archive.array("half", values[::2])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6  # NumPy's pieces of 16 MiB


def test_archive_refuses_python_objects(tmp_path):
    with (
        pytest.raises(ValueError, match="Object arrays"),
        ArchiveWriter(tmp_path / "x", "gallery") as archive,
    ):
        archive.array("objects", np.array([{}]))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
def test_archive_after_error_keeps_old_file(path, error):
    before = path.read_bytes()
    with pytest.raises(error), ArchiveWriter(path, "gallery") as archive:
        archive.array("vectors", np.zeros(9))
        raise error
    with (
        pytest.raises(error),
        ArchiveWriter(path, "gallery") as archive,
        archive.stream("graph") as stream,
    ):
        stream.write(b"half")
        raise error
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["a.gallery"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_archive_after_error_at_the_end_keeps_old_file(path, monkeypatch, step):
    before = path.read_bytes()

    monkeypatch.setattr(os, step, fail_with(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        write(path, text="new")
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["a.gallery"]


FULL_DISK = """
import resource, signal, sys
import numpy as np
from sksiamese._archive import ArchiveWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (100, 20_000, 1_000_000, 4_000_100):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        with ArchiveWriter(sys.argv[1], "gallery") as archive:
            archive.array("vectors", np.ones(500_000))
            archive.text("note", "new")
    except OSError as error:
        print(error.errno)
"""


def test_archive_on_full_disk_keeps_old_file(path):
    """The limit on the size of files fails as a full disk does, in the same calls."""
    pytest.importorskip("resource")
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL_DISK, path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["27"] * 4
    assert done.stderr == ""
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["a.gallery"]


def test_archive_keeps_permissions_and_links(path):
    os.chmod(path, 0o600)
    link = path.parent / "link"
    link.symlink_to(path)
    write(link, text="new")
    assert link.is_symlink()
    assert read(path)["note"] == "new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_reader_keeps_the_file_that_it_opened(path):
    with ArchiveReader(path, "gallery") as archive:
        write(path, {}, text="new")
        assert archive.text("note") == "Grüße, 日本"
        np.testing.assert_array_equal(archive.array("vectors"), ARRAYS["vectors"])


def test_reader_of_truncated_file_raises(path):
    data = path.read_bytes()
    cuts = {len(data) * i // 20 for i in range(20)} | {1, 3, 40, len(data) - 1}
    for cut in cuts:
        path.write_bytes(data[:cut])
        with pytest.raises(ValueError, match=r"not a gallery|truncated"):
            read(path)
        if cut > 60:
            with pytest.raises(ValueError, match="truncated or damaged"):
                read(path)


def test_reader_of_file_cut_while_it_is_open_raises(path):
    with ArchiveReader(path, "gallery") as archive:
        os.truncate(path, 500)
        with pytest.raises(ValueError, match="checksum"):
            archive.array("vectors")


def test_reader_of_flipped_bit_raises_or_reads_the_same(path):
    data, wanted = path.read_bytes(), read(path)
    rng = np.random.default_rng(0)
    harmless = 0
    for place in rng.choice(len(data), 400, replace=False):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            found = read(path)
        except ValueError:
            continue
        assert found == wanted
        harmless += 1
    assert harmless < 60  # bits of the zip format, which are not read


def test_reader_of_each_damaged_byte_in_headers_raises_or_reads_the_same(tmp_path):
    """All bytes of a tiny file: mostly headers, names and the list of contents."""
    path = tmp_path / "tiny"
    write(path, {"one": np.array(7)}, text="")
    data, wanted = path.read_bytes(), read(path)
    for place in range(0, len(data), 2):
        damaged = bytearray(data)
        damaged[place] ^= 255
        path.write_bytes(damaged)
        try:
            found = read(path)
        except ValueError:
            continue
        assert found == wanted


def test_reader_of_changed_array_names_it(path):
    data = path.read_bytes()
    place = data.index(ARRAYS["vectors"].tobytes()[:100])
    path.write_bytes(data[:place] + b"\0\0" + data[place + 2 :])
    with ArchiveReader(path, "gallery") as archive:
        assert archive.text("note") == "Grüße, 日本"
        with pytest.raises(ValueError, match=r"checksum of 'vectors\.npy' is wrong"):
            archive.array("vectors")


@pytest.mark.parametrize(
    "content", [b"", b"PK\3\4", b"hello", os.urandom(3000), b"\x89PNG" * 100]
)
def test_reader_of_other_file_says_so(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match="is not a gallery"):
        ArchiveReader(tmp_path / "x", "gallery")


def test_reader_of_other_archive_says_so(tmp_path):
    np.savez(tmp_path / "x.npz", vectors=np.zeros((3, 4)))
    with pytest.raises(ValueError, match="is not a gallery"):
        ArchiveReader(tmp_path / "x.npz", "gallery")
    with pytest.raises(FileNotFoundError):
        ArchiveReader(tmp_path / "y", "gallery")


def test_reader_of_newer_version_says_so(path, monkeypatch):
    monkeypatch.setitem(_archive.VERSIONS, "gallery", 2)
    write(path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="newer version of sksiamese"):
        ArchiveReader(path, "gallery")


def test_lock_lets_one_in_at_a_time_and_leaves_nothing(path):
    inside, most, errors = [], [], []

    def enter():
        try:
            for _ in range(20):
                with locked(path):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=enter) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(most) == 120
    assert max(most) == 1
    assert os.listdir(path.parent) == ["a.gallery"]


def test_lock_removes_what_killed_writers_left_and_nothing_else(path):
    names = [
        ".a.gallery.0123456789abcdef.tmp",
        ".a.gallery.backup.tmp",
        ".a.gallery.b.0123456789abcdef.tmp",
        ".b.gallery.0123456789abcdef.tmp",
    ]
    for name in names:
        (path.parent / name).touch()
    with locked(path):
        pass
    assert sorted(os.listdir(path.parent)) == sorted([*names[1:], "a.gallery"])


@pytest.mark.parametrize("system", ["drive without locks", "Windows"])
def test_lock_where_there_is_none_is_passed(path, monkeypatch, system):
    if system == "Windows":
        monkeypatch.setattr(_archive, "fcntl", None)
    else:
        monkeypatch.setattr(_archive.fcntl, "flock", fail_with(errno.ENOTSUP))
    (path.parent / ".a.gallery.0123456789abcdef.tmp").touch()
    with locked(path):
        write(path, text="new")
    assert read(path)["note"] == "new"
    assert len(os.listdir(path.parent)) == 2  # its writer may be alive


def test_lock_that_fails_otherwise_raises(path, monkeypatch):
    monkeypatch.setattr(_archive.fcntl, "flock", fail_with(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"), locked(path):
        pass


def test_archive_in_folder_that_can_not_be_synchronised_is_written(path, monkeypatch):
    sync = os.fsync

    def sync_files(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", sync_files)
    number = errno.EINVAL
    write(path, text="new")
    assert read(path)["note"] == "new"
    number = errno.EIO
    with pytest.raises(OSError, match="Input/output error"):
        write(path, text="newer")
    monkeypatch.undo()
    monkeypatch.setattr(os, "open", fail_with(errno.EACCES))
    write(path, text="newest")
    assert read(path)["note"] == "newest"


def test_archive_that_can_not_be_begun_leaves_nothing(path, monkeypatch):
    monkeypatch.setattr(os, "chmod", fail_with(errno.EPERM))
    with pytest.raises(PermissionError):
        write(path)
    assert os.listdir(path.parent) == ["a.gallery"]


@pytest.mark.parametrize(
    "members",
    [
        [],
        {"note": [1, 2]},
        {"note": ["1", 2, "x"]},
        {"note": [-1, 2, "x"]},
        {"note": [1, -2, "x"]},
        {"note": [1, 2**70, "x"]},
        {"note": [1.5, 2, "x"]},
        {"note": [1, 2, None]},
    ],
)
def test_reader_of_forged_contents_says_so(tmp_path, members):
    with ArchiveWriter(tmp_path / "x", "gallery") as archive:
        archive._members = members
    with pytest.raises(ValueError, match="is not a whole gallery: its list of content"):
        ArchiveReader(tmp_path / "x", "gallery")


@pytest.mark.parametrize(
    "header", ["(99999999999999,)", "(-2, -4)", "(2.0,)", "(2**9,)", "'(2,)'", ""]
)
def test_reader_of_forged_array_says_so_before_it_takes_memory(tmp_path, header):
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {header}, }}"
    with (
        ArchiveWriter(tmp_path / "x", "gallery") as archive,
        archive.stream("values.npy") as stream,
    ):
        stream.write(b"\x93NUMPY\1\0" + (117 + 1).to_bytes(2, "little"))
        stream.write(head.ljust(117).encode() + b"\n" + bytes(64))
    with (
        ArchiveReader(tmp_path / "x", "gallery") as archive,
        pytest.raises(ValueError, match="is not a whole gallery: 'values' is no array"),
    ):
        archive.array("values")
