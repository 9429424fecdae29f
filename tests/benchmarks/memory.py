"""Peak memory of training, embedding and neighbour search, each in a fresh process.

    python -m tests.benchmarks.memory [PART ...]

prints Markdown tables and writes ``memory.json``. Parts: ``mapped`` (``fit`` and
``transform`` on a memory-mapped ``uint8`` array of 2 GB: how far the resident set
rises), ``losses`` (how the peak of a loss grows with the batch) and ``knn`` (prediction
against 1,000,000 embeddings of 64 values, beside FAISS' flat index where that is
installed). Needs Linux and 2 GB of disk for a while.
"""

import argparse
import multiprocessing
import os
import tempfile
import threading
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import torch

from sksiamese import SiameseClassifier, SiameseEmbedder
from sksiamese.losses import LOSSES, make_loss
from tests.benchmarks._contest import print_table, spread, write_results

PARTS = ("mapped", "losses", "knn")
MEGABYTE = 1 << 20


def resident():
    """Bytes of the resident set."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf(
        "SC_PAGESIZE"
    )


class Peak:
    """How far the resident set rises within a block, looked at every millisecond."""

    def __enter__(self):
        self.before = self.most = resident()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        self.start = time.perf_counter()
        return self

    def _watch(self):
        while not self.done.wait(0.001):
            self.most = max(self.most, resident())

    def __exit__(self, *error):
        self.seconds = time.perf_counter() - self.start
        self.done.set()
        self.thread.join()
        self.megabytes = (max(self.most, resident()) - self.before) / MEGABYTE


def alone(function, *args):
    """Call a function in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(function, args)


# --- a memory-mapped array --------------------------------------------------------


def write_images(path, n_images):
    """Write noise that two classes tell apart by its brightness."""
    rng = np.random.default_rng(0)
    shape = (n_images, 64, 64, 3)
    X = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    for start in range(0, n_images, 8192):
        part = X[start : start + 8192]
        part[:] = rng.integers(0, 200, part.shape, np.uint8)
        part[1::2] += 50
    X.flush()


def mapped_use(path):
    """Rise of the resident set in ``fit`` and in ``transform``."""
    small = np.random.default_rng(0).integers(0, 256, (256, 64, 64, 3), np.uint8)
    X = np.load(path, mmap_mode="r")
    y = np.arange(len(X)) % 2
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # What the libraries load and compile once is not the array's.
        SiameseEmbedder(max_epochs=1).fit(small, y[:256])
        with Peak() as peak:
            embedder = SiameseEmbedder(max_epochs=1, random_state=0).fit(X, y)
        rows.append(("fit, one epoch", peak.megabytes, peak.seconds))
        X = np.load(path, mmap_mode="r")  # the pages of the first map go with it
        with Peak() as peak:
            embedder.transform(X)
        rows.append(("transform", peak.megabytes, peak.seconds))
    return X.nbytes / 1e9, rows


def mapped():
    """Print the table of the memory-mapped array."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        write_images(path, 163_000)
        gigabytes, rows = alone(mapped_use, path)
    print_table(
        f"Memory-mapped uint8 array of {gigabytes:.2f} GB",
        ("call", "rise of the resident set, MB", "seconds"),
        [(name, f"{mb:.0f}", f"{s:.0f}") for name, mb, s in rows],
    )
    return rows


# --- losses -----------------------------------------------------------------------


def loss_peak(name, mining, n_images, embedding_dim=64):
    """Most bytes that a loss and its gradient hold at a time.

    PyTorch's peak and NumPy's are added, though they need not fall together.
    """
    torch.manual_seed(0)
    loss = make_loss(name, embedding_dim=embedding_dim, mining=mining)
    Z = torch.nn.functional.normalize(torch.randn(n_images, embedding_dim))
    Z.requires_grad_()
    labels = torch.arange(n_images) % 8
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities):
        pass  # what the profiler loads is not the loss's
    tracemalloc.start()
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        loss(Z, labels).backward()
    numpy_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    held = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most + numpy_peak


def losses():
    """Print how the peak of each loss grows with the batch."""
    sizes = (128, 256, 512, 1024)
    rows, results = [], {}
    for name in LOSSES:
        minings = ["all"]
        if name != "supervised_contrastive":
            minings.append("semihard")
        for mining in minings:
            peaks = [loss_peak(name, mining, n) for n in sizes]
            results[f"{name}, {mining}"] = peaks
            exponent = np.polyfit(np.log(sizes), np.log(peaks), 1)[0]
            matrices = peaks[-1] / (4 * sizes[-1] ** 2)
            cells = [f"{p / MEGABYTE:.1f}" for p in peaks]
            rows.append((name, mining, *cells, f"{exponent:.2f}", f"{matrices:.0f}"))
    header = ("loss", "mining", *(f"B = {n}, MB" for n in sizes))
    header += ("exponent", "float32 matrices of B x B at the last")
    print_table("Peak of a loss with its gradient", header, rows)
    return results


# --- neighbours -------------------------------------------------------------------


def neighbours(n_known=1_000_000, n_features=64, n_queries=1000, rounds=5):
    """Prediction against a million embeddings, and FAISS on the same ones."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_known, n_features)).astype(np.float32)
    y = (X[:, :3] > 0) @ [1, 2, 4]
    Q = rng.normal(size=(n_queries, n_features)).astype(np.float32)
    clf = SiameseClassifier(
        "mlp", embedding_dim=64, classifier="knn", max_epochs=5, random_state=0
    )
    clf.fit(X[:2000], y[:2000]).enroll(X[2000:], y[2000:])
    clf.predict(Q[:10])
    with Peak() as peak:
        clf.predict(Q)
    result = {"rise_megabytes": peak.megabytes, "seconds": {"sksiamese": []}}
    try:
        import faiss
    except ImportError:
        faiss = None
    else:
        index = faiss.IndexFlatL2(64)
        index.add(clf.head_.embeddings_)
        Z = clf.transform(Q)
        result["seconds"]["FAISS, IndexFlatL2"] = []
        found = index.search(Z, 5)[1]
        exact = clf.head_.classifier_.kneighbors(Z, return_distance=False)
        result["same neighbours"] = float(np.mean(np.sort(found) == np.sort(exact)))
    for _ in range(rounds):
        start = time.perf_counter()
        clf.predict(Q)
        result["seconds"]["sksiamese"].append(time.perf_counter() - start)
        if faiss is not None:
            start = time.perf_counter()
            index.search(Z, 5)
            took = time.perf_counter() - start
            result["seconds"]["FAISS, IndexFlatL2"].append(took)
    return result


def knn():
    """Print the table of the neighbour search."""
    result = alone(neighbours)
    print_table(
        "classifier='knn', 1,000 images against 1,000,000 embeddings of 64 values",
        ("contestant", "seconds"),
        [(name, spread(values, 2)) for name, values in result["seconds"].items()],
    )
    print(f"\nRise of the resident set in predict: {result['rise_megabytes']:.0f} MB")
    if "same neighbours" in result:
        print(f"Neighbours that agree with FAISS: {result['same neighbours']:.5f}")
    return result


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    parts = {"mapped": mapped, "losses": losses, "knn": knn}
    chosen = parser.parse_args().parts or PARTS
    write_results("memory", {name: parts[name]() for name in chosen})


if __name__ == "__main__":
    main()
