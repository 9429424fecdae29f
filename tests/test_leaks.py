"""A thousand fits, and as many that fail, leave nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
needs_proc = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="needs /proc to count what is open"
)

# Resident memory is that of a process of its own, after a garbage collection.
COUNT = """
import gc, os, tempfile, threading, warnings
import numpy as np
import torch
from sksiamese import SiameseClassifier, SiameseEmbedder
from sksiamese.search import Gallery

warnings.simplefilter("ignore")  # tiny models learn little
torch.set_num_threads(1)
rng = np.random.default_rng(0)
y = np.arange(24) % 3
images = rng.integers(0, 256, (24, 6, 6), dtype=np.uint8)
vectors = rng.random((24, 5))
SMALL = {"max_epochs": 1, "batch_size": 12}
KINDS = [
    (vectors, {"backbone": "mlp"}),
    (images, {"n_prototypes": 2}),
    (images, {"loss": "logistic", "early_stopping": True, "validation_fraction": 0.3}),
    (vectors, {"classifier": "knn", "n_neighbors": 2, "max_epochs": 2}),
]

def children():
    found = []
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/children") as file:
            found += file.read().split()
    return len(found)

def look():
    gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return {
        "memory": pages * os.sysconf("SC_PAGE_SIZE"),
        "threads": len(os.listdir("/proc/self/task")),
        "python threads": threading.active_count(),
        "open files": len(os.listdir("/proc/self/fd")),
        "processes": children(),
        "temporary files": len(os.listdir(tempfile.gettempdir())),
    }

def measure(do, n_warm, n):
    for i in range(n_warm):
        do(i)
    before = look()
    for i in range(n_warm, n):
        do(i)
    after = look()
    growth = after.pop("memory") / before.pop("memory") - 1
    assert after == before, (before, after)
    print(f"{n} times: memory {growth:+.4f}", flush=True)
    assert growth < 0.05

def fit(i):
    X, params = KINDS[i % 4]
    SiameseClassifier(random_state=i, **{**SMALL, **params}).fit(X, y).predict(X)
"""

FITS = COUNT + "measure(fit, 100, 1000)"

FAILURES = (
    COUNT
    + """
def raise_it(x):
    raise ZeroDivisionError

embedder = SiameseEmbedder(random_state=0, **SMALL).fit(images, y)

def fail(i):
    # Before, within and after the training; and a fitted one that stays as it was.
    params, error = [
        ({"backbone": "resnet17"}, ValueError),
        ({"augment": raise_it}, ZeroDivisionError),
        ({"lr": 1e30, "lr_schedule": "constant", "normalize": False}, ValueError),
    ][i % 3]
    model = embedder if i % 2 else SiameseEmbedder(random_state=0)
    model.set_params(**{**SiameseEmbedder().get_params(), **SMALL, **params})
    try:
        model.fit(images, y)
    except error:
        return
    raise AssertionError(f"{params} did not fail")

measure(fail, 60, 300)
"""
)

QUESTIONS = (
    COUNT
    + """
models = []
for X, params in KINDS:
    model = SiameseClassifier(random_state=0, **{**SMALL, **params}).fit(X, y)
    models.append((X, model))
embedder = SiameseEmbedder(random_state=0, **SMALL).partial_fit(images, y)
with tempfile.TemporaryDirectory() as folder:
    mapped = np.lib.format.open_memmap(f"{folder}/x.npy", "w+", np.uint8, images.shape)
    mapped[:] = images

    def ask(i):
        X, model = models[i % 4]
        model.predict_proba(X)
        model.pair_distance((X, X[::-1]))
        models[1][1].predict(mapped)
        if i % 20 == 0:
            embedder.partial_fit(mapped, y)
            model.enroll(X[:2], y[:2]) if i < 60 else None  # a head may grow
            gallery = Gallery(embedder)
            gallery.add(images)
            gallery.search(images, 2)
            gallery.close()
        if i % 3 == 0:
            try:
                model.predict(X[:, 1:])
            except ValueError:
                pass

    measure(ask, 200, 1000)
"""
)


def run(script, tmp_path):
    """Run a script in a process with temporary files of its own."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    left = {path.name.split("_")[0] for path in tmp_path.iterdir()}
    assert left <= {"torchinductor"}  # PyTorch's own cache


@needs_proc
def test_a_thousand_fits_leave_nothing_behind(tmp_path):
    run(FITS, tmp_path)


@needs_proc
def test_fits_that_fail_leave_nothing_behind(tmp_path):
    run(FAILURES, tmp_path)


@needs_proc
def test_thousands_of_questions_leave_nothing_behind(tmp_path):
    run(QUESTIONS, tmp_path)
