"""Reading image files, beside a bare Pillow loop, and training on them.

    python -m tests.benchmarks.reading [--files 20000] [--rounds 5]

writes JPEG files of 600 x 450 pixels into a temporary folder (60 kB each), prints
Markdown tables and writes ``reading.json``: images per second of reading them to
64 x 64, and seconds of a training epoch on the files, whose pixels are cached, beside
the same images as an array in memory. The *bare loop* opens, drafts and resizes each
file with Pillow, in as many processes.
"""

import argparse
import functools
import multiprocessing
import os
import shutil
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from sksiamese import SiameseEmbedder
from sksiamese.datasets import fetch_images
from sksiamese.images import load_image_table
from tests.benchmarks._contest import print_ratios, run_contest, write_results

SIZE, N_JOBS, DISTINCT = (64, 64), 2, 1000


def write_files(folder, count):
    """Write enlarged, noisy skin lesions; beyond a thousand, copies of them."""
    images = fetch_images("ham10000").images
    rng = np.random.default_rng(0)
    for k in range(min(count, DISTINCT)):
        large = Image.fromarray(images[k]).resize((600, 450), Image.Resampling.BICUBIC)
        noise = rng.normal(0, 3, (450, 600, 1))
        pixels = np.clip(np.asarray(large) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{k:05d}.jpg", quality=90)
    for k in range(DISTINCT, count):
        shutil.copyfile(folder / f"{k % DISTINCT:05d}.jpg", folder / f"{k:05d}.jpg")


def names_in(folder):
    """Paths of the files."""
    return sorted(entry.path for entry in os.scandir(folder))


def per_second(read, count):
    """Make a function that reads once and returns images per second."""

    def play():
        start = time.perf_counter()
        read()
        return count / (time.perf_counter() - start)

    return play


def read_bare(names):
    """Read some files with nothing but Pillow."""
    return [
        np.asarray(_drafted(name).resize(SIZE, Image.Resampling.BILINEAR))
        for name in names
    ]


def _drafted(name):
    """Open a file at a fraction of its size."""
    image = Image.open(name)
    image.draft("RGB", SIZE)
    return image


def bare_loop(folder):
    """Bare Pillow in processes that are there already."""
    names = names_in(folder)
    parts = [names[i : i + 32] for i in range(0, len(names), 32)]
    pool = multiprocessing.Pool(N_JOBS)
    return per_second(
        lambda: np.concatenate(pool.map(read_bare, parts, chunksize=1)), len(names)
    )


def ours(folder, cached):
    """Read with this library, into memory or into a new cache."""
    import pandas as pd

    names = names_in(folder)
    table = pd.DataFrame({"file": names, "label": 0})
    load = functools.partial(
        load_image_table,
        table,
        SIZE,
        image_column="file",
        label_column="label",
        n_jobs=N_JOBS,
    )
    if not cached:
        return per_second(load, len(names))

    def read():
        with tempfile.TemporaryDirectory(dir=Path(folder).parent) as cache:
            load(cache_dir=cache)

    return per_second(read, len(names))


def epochs(folder, as_files):
    """Seconds of a training epoch, the median of three."""
    names = names_in(folder)[:4096]
    cache = tempfile.TemporaryDirectory(dir=Path(folder).parent)
    y = np.arange(len(names)) % 4
    embedder = SiameseEmbedder(
        image_size=SIZE,
        max_epochs=3,
        validation_fraction=0,
        random_state=0,
        n_jobs=N_JOBS,
        cache_dir=cache.name,
    )
    X = np.array(names) if as_files else np.concatenate([read_bare(names)])

    def play():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of labels nothing is learned
            embedder.fit(X, y)
        return float(np.median(embedder.history_["seconds"]))

    play.cache = cache  # lives as long as the contestant
    return play


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "files"
        folder.mkdir()
        write_files(folder, options.files)
        rates = run_contest(
            {
                "bare Pillow loop": (bare_loop, folder),
                "sksiamese, to memory": (ours, folder, False),
                "sksiamese, to a cache": (ours, folder, True),
            },
            options.rounds,
        )
        title = f"{options.files:,} JPEG files of 600 x 450 to 64 x 64"
        print_ratios(title, rates, "images/s", "bare Pillow loop")
        seconds = run_contest(
            {
                "array in memory": (epochs, folder, False),
                "files, cached": (epochs, folder, True),
            },
            options.rounds,
        )
        title = "An epoch of 4,096 images of 64 x 64"
        print_ratios(title, seconds, "seconds", "array in memory", digits=2)
    write_results("reading", {"images/s": rates, "seconds": seconds})


if __name__ == "__main__":
    main()
