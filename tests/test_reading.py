"""Many files to one array: order, modes, threads, errors."""

import threading
import time

import numpy as np
import pytest
from PIL import Image

from sksiamese._decode import ImageReadError
from sksiamese._reading import Reading, _in_threads, read_files

N = 70


@pytest.fixture
def files(tmp_path):
    """Write grey files of 4 x 5 pixels, the k-th all k."""
    names = [str(tmp_path / f"{k:03d}.png") for k in range(N)]
    for k, name in enumerate(names):
        Image.fromarray(np.full((4, 5), k, np.uint8)).save(name)
    return names


@pytest.mark.parametrize("n_jobs", [None, 1, 3, -1])
@pytest.mark.parametrize("cached", [False, True])
def test_read_files_keeps_order_and_repetitions(files, tmp_path, n_jobs, cached):
    reading = Reading(
        (4, 5), n_jobs=n_jobs, cache_dir=str(tmp_path / "cache") if cached else None
    )
    for rows in (range(N), np.random.default_rng(0).integers(0, N, 200)):
        images, failures = read_files([files[k] for k in rows], reading)
        assert images.shape == (len(rows), 4, 5)
        assert images[:, 2, 2].tolist() == list(rows)
        assert failures == {}


@pytest.mark.parametrize("colourful", [0, 33, N - 1])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_one_file_in_colour_makes_all_of_them(files, colourful, n_jobs):
    Image.new("RGB", (5, 4), (255, 0, 9)).save(files[colourful])
    images, _ = read_files(files, Reading((4, 5), n_jobs=n_jobs))
    assert images.shape == (N, 4, 5, 3)
    assert images[colourful, 0, 0].tolist() == [255, 0, 9]
    assert images[34, 0, 0].tolist() == [34] * 3 or colourful == 34


def test_colour_that_the_sample_of_headers_misses_is_found(tmp_path):
    """Of 200 files every third header is looked at first."""
    names = [str(tmp_path / f"{k:03d}.bmp") for k in range(200)]
    for k, name in enumerate(names):
        Image.new("RGB" if k == 100 else "L", (5, 4)).save(name)
    for cache_dir in (None, str(tmp_path / "cache")):
        images, _ = read_files(names, Reading((4, 5), cache_dir=cache_dir))
        assert images.shape == (200, 4, 5, 3)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_files_that_cannot_be_read_are_skipped_on_request(
    files, tmp_path, cached, n_jobs
):
    with open(files[5], "wb") as file:
        file.write(b"broken")
    missing = str(tmp_path / "none.png")
    names = [*files, missing, files[5]]
    reading = Reading(
        (4, 5), n_jobs=n_jobs, cache_dir=str(tmp_path / "cache") if cached else None
    )
    images, failures = read_files(names, reading, skip=True)
    assert images[:, 0, 0].tolist() == [k for k in range(N) if k != 5]
    assert list(failures) == [files[5], missing]
    assert "no such file" in failures[missing].reason
    with pytest.raises(ImageReadError, match="005.png"):
        read_files(names, reading)


def test_nothing_readable_gives_no_images(tmp_path):
    for cache_dir in (None, str(tmp_path / "cache")):
        names = [str(tmp_path / f"{k}.png") for k in range(40)]
        images, failures = read_files(
            names, Reading((4, 5), cache_dir=cache_dir), skip=True
        )
        assert images.shape == (0, 4, 5)
        assert len(failures) == 40


def test_threads_keep_order_and_do_not_run_ahead():
    started = []

    def work(item):
        started.append(item)
        time.sleep(0.002 * (item % 3))
        return item

    results = _in_threads(work, range(100), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    time.sleep(0.05)
    assert len(started) <= 10
    assert list(results) == list(range(3, 100))


def test_error_in_a_thread_ends_the_others():
    before = threading.active_count()

    def work(item):
        if item == 5:
            raise ValueError("five")
        return item

    with pytest.raises(ValueError, match="five"):
        list(_in_threads(work, range(1000), 2))
    assert threading.active_count() == before


def test_progress_is_shown_on_request(files, capsys):
    read_files(files, Reading((4, 5)))
    assert capsys.readouterr().err == ""
    read_files(files, Reading((4, 5), verbose=1))
    assert f"{N}/{N}" in capsys.readouterr().err
