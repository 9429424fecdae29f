"""Time and memory of drawing pairs, auditing them and finding duplicates.

    python -m tests.benchmarks.pairs

draws 10 million pairs, audits 100,000 pairs of 20,000 images of MNIST at 28 x 28 and
64 x 64 pixels, compares 100,000 images with 100,000 others (digits of MNIST, moved so
that they differ, a thousand of them on both sides), prints seconds and the memory of
the process at its peak, each in a process of its own, and writes ``pairs.json``.
"""

import argparse
import multiprocessing
import resource
import time

import numpy as np

from sksiamese.pairs import audit_pairs, find_duplicates, sample_pairs, split_pairs
from tests.benchmarks._contest import print_table, read_split, write_results


def draw(n_images, n_classes, n_groups):
    """Prepare to draw 10 million pairs."""
    rng = np.random.default_rng(0)
    y = rng.integers(n_classes, size=n_images)
    groups = rng.integers(n_groups, size=n_images) if n_groups else None
    return lambda: sample_pairs(y, 10_000_000, groups=groups, random_state=0)


def audit(size):
    """Prepare to audit 100,000 pairs of 20,000 images."""
    X, y = (array[:20_000] for array in read_split("mnist", "train"))
    nearest = np.arange(size) * X.shape[1] // size
    X = X[:, nearest[:, None], nearest]
    train, test = split_pairs(y, n_pairs=(80_000, 20_000), random_state=0)
    return lambda: audit_pairs(*train, *test, images=X)


def compare():
    """Prepare to compare 100,000 images with as many others."""
    digits = np.concatenate([read_split("mnist", s)[0] for s in ("train", "test")])
    moved = np.roll(digits[:30_000], (3, 6), (1, 2))
    X_a = np.concatenate([digits, moved])
    X_b = np.roll(X_a, (5, 10), (1, 2))[np.random.default_rng(0).permutation(len(X_a))]
    X_b[:1000] = X_a[:1000]
    return lambda: find_duplicates(X_a, X_b)


CASES = {
    "sample_pairs, 12,500 images": (draw, 12_500, 2, 0),
    "sample_pairs, 12,500 images in 200 groups": (draw, 12_500, 2, 200),
    "sample_pairs, a million images in 5,000 groups": (draw, 1_000_000, 1000, 5000),
    "audit_pairs, 28 x 28": (audit, 28),
    "audit_pairs, 64 x 64": (audit, 64),
    "find_duplicates": (compare,),
}


def measure(name):
    """Seconds, and gigabytes at the peak of the process, data included."""
    prepare, *args = CASES[name]
    run = prepare(*args)
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    results = {}
    for name in CASES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            results[name] = pool.apply(measure, (name,))
    rows = [(name, f"{s:.1f}", f"{peak:.2f}") for name, (s, peak) in results.items()]
    print_table("Pairs", ("case", "seconds", "GB at the peak"), rows)
    write_results("pairs", results)


if __name__ == "__main__":
    main()
