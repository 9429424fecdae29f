"""Decoded pixels on disk: what counts as the same file, and what is never read."""

import gc
import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from joblib import Parallel, delayed
from PIL import Image

from sksiamese._decode import ImageReadError
from sksiamese._pixel_cache import PixelCache
from sksiamese._reading import Reading, read_files

N = 100


@pytest.fixture
def files(tmp_path):
    """Write a hundred grey files of 4 x 5 pixels, the k-th all k."""
    folder = tmp_path / "files"
    folder.mkdir()
    names = [str(folder / f"{k:03d}.png") for k in range(N)]
    for k, name in enumerate(names):
        paint(name, k)
    return names


def paint(name, value):
    Image.fromarray(np.full((4, 5), value, np.uint8)).save(name, compress_level=0)


@pytest.fixture
def reading(tmp_path):
    return Reading((4, 5), cache_dir=str(tmp_path / "cache"))


def values(images):
    """Value of each image, which must be constant."""
    assert images.shape[1:] == (4, 5)
    assert (images == images[:, :1, :1]).all()
    return images[:, 0, 0].tolist()


def segments(reading):
    return sorted(p for p in os.listdir(only_folder(reading)) if p.endswith(".u8"))


def only_folder(reading):
    (name,) = os.listdir(reading.cache_dir)
    return os.path.join(reading.cache_dir, name)


def change_unseen(name, value):
    """Change a file so that neither its size nor its time tells."""
    before = os.stat(name)
    paint(name, value)
    os.utime(name, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(name).st_size == before.st_size


def test_second_read_decodes_nothing(files, reading):
    images, _ = read_files(files, reading)
    assert values(images) == list(range(N))
    assert isinstance(images, np.memmap)
    assert not images.flags.writeable
    change_unseen(files[3], 200)  # what a decoding would show
    assert values(read_files(files, reading)[0]) == list(range(N))
    assert len(segments(reading)) == 1


def test_changed_file_is_decoded_again(files, reading):
    read_files(files, reading)
    paint(files[7], 250)
    os.utime(files[7], ns=(1, 1))
    expected = [*range(7), 250, *range(8, N)]
    assert values(read_files(files, reading)[0]) == expected
    assert len(segments(reading)) == 2


def test_any_selection_comes_from_the_same_pixels(files, reading):
    """Folds of a cross-validation and samples with repetition decode nothing anew."""
    read_files(files[:60], reading)
    read_files(files, reading)
    assert len(segments(reading)) == 2
    for name in files:
        change_unseen(name, 255)
    rng = np.random.default_rng(0)
    for rows in (range(10, 50), rng.permutation(N), rng.integers(0, N, 300)):
        images, _ = read_files([files[k] for k in rows], reading)
        assert values(images) == list(rows)
        assert isinstance(images, np.memmap)
    assert len(segments(reading)) == 2


def test_selection_travels_to_other_processes_and_leaves_no_file(files, reading):
    read_files(files, reading)
    images, _ = read_files(files[::-1], reading)
    (copy,) = (p for p in os.listdir(only_folder(reading)) if p.endswith(".copy"))
    sums = Parallel(n_jobs=2, max_nbytes=1)(delayed(np.sum)(images) for _ in range(2))
    assert sums == [images.sum()] * 2
    part = images[3:5]
    del images
    assert values(part) == [96, 95]
    del part
    gc.collect()
    assert copy not in os.listdir(only_folder(reading))


def test_few_files_come_from_the_cache_but_make_no_segment(files, reading):
    read_files(files[:31], reading)
    assert segments(reading) == []
    read_files(files, reading)
    change_unseen(files[4], 200)
    assert values(read_files(files[3:6], reading)[0]) == [3, 4, 5]


def test_home_folder_is_understood(files, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    read_files(files, Reading((4, 5), cache_dir="~/pixels"))
    assert (tmp_path / "pixels").is_dir()


def test_ways_of_reading_are_kept_apart(files, reading, tmp_path):
    read_files(files, reading)
    other = Reading((2, 3), cache_dir=reading.cache_dir)
    assert read_files(files, other)[0].shape == (N, 2, 3)
    colour = Reading((4, 5), "rgb", cache_dir=reading.cache_dir)
    assert read_files(files, colour)[0].shape == (N, 4, 5, 3)


def test_pixels_of_colour_files_read_as_grey_are_no_proof_of_grey(files, reading):
    Image.new("RGB", (5, 4), (255, 0, 0)).save(files[50])
    grey = Reading((4, 5), "grey", cache_dir=reading.cache_dir)
    assert read_files(files, grey)[0].shape == (N, 4, 5)
    assert read_files(files, reading)[0].shape == (N, 4, 5, 3)


def test_error_keeps_what_was_decoded_before(files, reading):
    with open(files[80], "wb") as file:
        file.write(b"broken")
    with pytest.raises(ImageReadError, match="080.png"):
        read_files(files, reading)
    for name in files[:70]:
        change_unseen(name, 255)
    paint(files[80], 80)
    result = values(read_files(files, reading)[0])
    assert result[:64] == list(range(64))  # whole tasks of 32 files
    assert result[80:] == list(range(80, N))


@pytest.mark.parametrize("damage", ["index", "pixels", "foreign", "gone"])
def test_damaged_segment_is_decoded_again(files, reading, damage):
    read_files(files, reading)
    folder = only_folder(reading)
    (segment,) = segments(reading)
    pixels = os.path.join(folder, segment)
    index = pixels.replace(".u8", ".json")
    if damage == "index":
        os.truncate(index, 100)
    elif damage == "pixels":
        os.truncate(pixels, 4 * 5 * N - 1)
    elif damage == "foreign":
        with open(index, "w") as file:
            json.dump([1, 2], file)
    else:
        os.remove(pixels)
    assert values(read_files(files, reading)[0]) == list(range(N))


def test_leftovers_of_a_killed_process_are_removed_after_a_day(files, reading):
    read_files(files[:50], reading)
    folder = only_folder(reading)
    for name, age in [("old.u8", 2 * 86_400), ("new.u8", 0)]:
        path = os.path.join(folder, name)
        with open(path, "wb") as file:
            file.write(bytes(10))
        time = os.stat(path).st_mtime - age
        os.utime(path, (time, time))
    read_files(files, reading)
    assert "new.u8" in segments(reading)
    assert "old.u8" not in segments(reading)


def test_relative_and_absolute_names_are_one_file(files, reading, monkeypatch):
    read_files(files, reading)
    monkeypatch.chdir(os.path.dirname(files[0]))
    read_files([os.path.basename(name) for name in files], reading)
    assert len(segments(reading)) == 1


def run(code, files, reading):
    """Run code in a process of its own; what it prints, and errors."""
    script = f"""
    import sys
    from sksiamese._reading import Reading, read_files
    files, reading = {files!r}, {reading!r}
    {textwrap.indent(textwrap.dedent(code), "    ").strip()}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True
    )
    return done.stdout, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_full_disk_raises_and_leaves_nothing_broken(files, reading):
    code = """
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        read_files(files, reading)
    except OSError as error:
        print(type(error).__name__, error.strerror)
    """
    out, err = run(code, files, reading)
    assert "File too large" in out, err
    assert segments(reading) == []
    assert values(read_files(files, reading)[0]) == list(range(N))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_need_not_wait_for_each_other(files, reading):
    # Forked by one that has imported all, so that they do begin at once.
    code = """
    import os
    readers = []
    for _ in range(3):
        readers.append(os.fork())
        if not readers[-1]:
            try:
                print(int(read_files(files, reading)[0].sum()), flush=True)
                os._exit(0)
            finally:
                os._exit(1)
    assert [os.waitpid(reader, 0)[1] for reader in readers] == [0] * 3
    """
    out, err = run(code, files, reading)
    assert out.split() == [str(20 * sum(range(N)))] * 3, err
    assert err == ""
    assert values(read_files(files, reading)[0]) == list(range(N))


def test_interrupted_reading_keeps_whole_images(files, reading, monkeypatch):
    cache = PixelCache(reading.cache_dir, Reading((4, 5)).decoding("grey"))
    cache.missing(files)
    with pytest.raises(KeyboardInterrupt), cache.adding(only_grey=True) as add:
        add(files[:40], np.zeros((40, 4, 5), np.uint8))
        raise KeyboardInterrupt
    assert len(PixelCache.missing(cache, files)) == 60
