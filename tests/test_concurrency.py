"""Threads and processes side by side get the answers of one thread alone."""

import os
import random
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV

from sksiamese import SiameseClassifier, SiameseEmbedder
from sksiamese._device import isolated_random_state
from sksiamese._memory import kept_memory
from tests._parallel_answers import KINDS

ROOT = Path(__file__).parents[1]
SMALL = {"max_epochs": 2, "random_state": 0, "batch_size": 32}
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def run(*command, timeout=900):
    """Run Python in a process of its own, whose hanging fails the test."""
    # Threads that wait for work would take the time of those that have some.
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
    del environment["OMP_NUM_THREADS"]  # as many as a user has
    done = subprocess.run(
        [sys.executable, *command],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def generators():
    """State of all global generators on the CPU, comparable."""
    numpys = np.random.get_state()  # noqa: NPY002
    return (
        torch.get_rng_state().numpy().tobytes(),
        random.getstate(),
        numpys[1].tobytes(),
        numpys[2],
    )


@needs_fork
def test_answers_side_by_side_are_those_of_one_thread():
    lines = run("-m", "tests._parallel_answers").splitlines()
    assert len(lines) == len(KINDS) + 1
    for (kind, n_threads), line in zip(KINDS, lines, strict=False):
        assert line.startswith(f"{kind}, {n_threads}: ")
        assert line.endswith(" times equal")
    assert lines[-1] == "generators are as before"


FORKED = """
import os, sys, threading, time, warnings
import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin
from sksiamese import SiameseClassifier
from sksiamese._device import isolated_random_state
from sksiamese._memory import kept_memory

warnings.simplefilter("ignore")
torch.set_num_threads(2)
rng = np.random.default_rng(0)
X, y = rng.integers(0, 256, (60, 8, 8), np.uint8), np.arange(60) % 3

def compute():
    # What runs in parallel: PyTorch, MKL, scikit-learn; then a whole training.
    a = torch.ones(700, 700)
    sums = float((a @ a).sum()), float(a.sin().sum())
    near = pairwise_distances_argmin(rng.random((5000, 9)), np.eye(9)).sum()
    clf = SiameseClassifier(max_epochs=1, n_prototypes=3, random_state=0).fit(X, y)
    return clf.predict_proba(X)

torch.set_num_threads(1)  # as in the child: steps of training round differently
alone = compute()
torch.set_num_threads(2)
compute()
inside, leave = threading.Event(), threading.Event()

def train():
    with isolated_random_state(0, "cpu"), kept_memory("cpu"):
        inside.set()
        leave.wait()

thread = threading.Thread(target=train)
thread.start()
inside.wait()
child = os.fork()
if not child:
    same = np.array_equal(compute(), alone)
    from sksiamese import _memory
    os._exit(0 if same and _memory._users == [] else 3)
status = os.waitpid(child, 0)[1]
leave.set()
thread.join()
print("status", status, "threads", torch.get_num_threads())
"""


@needs_fork
def test_fork_while_another_thread_trains_gives_a_child_that_can_train():
    assert run("-c", FORKED).split() == ["status", "0", "threads", "2"]


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
def test_fork_within_a_block_leaves_it_in_the_child_too():
    with isolated_random_state(3, "cpu"), kept_memory("cpu"):
        child = os.fork()
        first = torch.rand(4)
        if child == 0:
            code = 1
            try:
                with isolated_random_state(3, "cpu"), kept_memory("cpu"):
                    code = 0 if torch.equal(torch.rand(4), first) else 2
            finally:
                os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def fit_alone(params, X, y):
    """Fit one model."""
    return SiameseClassifier(**{**SMALL, **params}).fit(X, y)


@pytest.fixture(scope="module")
def few(digits):
    """Take the first of the digits."""
    X, y, _, _ = digits
    return X[:150], y[:150]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fits_in_threads_give_the_models_of_fits_in_turn(few):
    X, y = few
    # NumPy's and Python's global generators count too.
    settings = [
        {"random_state": 1},
        {"random_state": 2, "augment": jitter},
        {"backbone": "mlp", "loss": "logistic"},
        {"n_prototypes": 2, "classifier": "prototype"},
    ]
    expected = [fit_alone(params, X, y).transform(X) for params in settings]
    before = generators()
    barrier = threading.Barrier(4)

    def fit(params):
        barrier.wait(30)
        return fit_alone(params, X, y).transform(X)

    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(fit, params) for params in settings]
        for one, alone in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one.result(timeout=120), alone)
    assert generators() == before


def jitter(x):
    """Augment by all global generators."""
    shift = random.random() + np.random.random() + torch.rand(())  # noqa: NPY002
    return x + 0.01 * shift


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_grid_search_in_threads_gives_the_results_of_one_in_turn(few):
    X, y = few
    grid = {"margin": [0.5, 1.25], "backbone": ["mlp", "conv"]}
    search = GridSearchCV(SiameseClassifier(**SMALL), grid, cv=2)
    expected = search.fit(X, y).cv_results_
    before = generators()
    with joblib.parallel_config("threading", n_jobs=2):
        search.fit(X, y)
    found = search.cv_results_
    for key in expected:
        if not key.endswith("_time"):
            np.testing.assert_array_equal(found[key], expected[key])
    assert generators() == before


def test_partial_fits_in_threads_give_the_models_of_calls_in_turn(few):
    X, y = few

    def stream(seed):
        embedder = SiameseEmbedder(**{**SMALL, "random_state": seed})
        for _ in range(3):
            embedder.partial_fit(X, y)
        return embedder.transform(X)

    expected = [stream(seed) for seed in range(3)]
    before = generators()
    with ThreadPoolExecutor(3) as pool:
        for found, alone in zip(pool.map(stream, range(3)), expected, strict=True):
            np.testing.assert_array_equal(found, alone)
    assert generators() == before


def test_fit_that_fails_in_a_thread_lets_others_train(few):
    X, y = few
    with ThreadPoolExecutor(1) as pool:
        failing = pool.submit(fit_alone, {"backbone": "resnet17"}, X, y)
        with pytest.raises(ValueError, match="resnet17"):
            failing.result(timeout=60)
        diverging = pool.submit(fit_alone, {"augment": fail}, X, y)
        with pytest.raises(ZeroDivisionError):
            diverging.result(timeout=60)
    done = threading.Event()

    def enter():
        with isolated_random_state(0, "cpu"):
            done.set()

    thread = threading.Thread(target=enter, daemon=True)
    thread.start()
    assert done.wait(30)


def fail(x):
    """Augment not at all."""
    raise ZeroDivisionError


def test_predictions_go_on_while_another_thread_trains(few):
    X, y = few
    clf = fit_alone({}, X, y)
    expected = clf.predict_proba(X)
    with isolated_random_state(0, "cpu"), ThreadPoolExecutor(2) as pool:
        for found in [pool.submit(clf.predict_proba, X) for _ in range(4)]:
            np.testing.assert_array_equal(found.result(timeout=60), expected)


def test_predictions_in_threads_leave_the_filters_of_warnings_alone(few):
    X, y = few  # read-only images, of which PyTorch would warn
    clf = fit_alone({}, X, y)
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(clf.transform, [X[:3]] * 400):
            pass
    assert warnings.filters == before
