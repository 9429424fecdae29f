"""Ask fitted models side by side and compare with the answers of one thread.

``python -m tests._parallel_answers`` fits, asks, and asks again in threads, forked and
spawned processes and by joblib, with one and with two threads of PyTorch in the parent;
it fails unless all answers are equal bit for bit.
"""

import functools
import multiprocessing
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import torch
from sklearn.datasets import load_digits

from sksiamese import SiameseClassifier, SiameseEmbedder, SiameseVerifier
from sksiamese.pairs import sample_pairs
from sksiamese.search import Gallery

# Ways, and numbers of threads of PyTorch in the parent; fresh processes have their own.
HERE = [(kind, n) for n in (1, 2) for kind in ("threads", "fork", "joblib-threading")]
KINDS = [*HERE, ("spawn", 2), ("joblib-loky", 2)]
N = 240  # rows asked for: enough that PyTorch and scikit-learn divide the work


def load():
    """Digits as rows, as read-only images of one byte, and in colour at 32 x 32."""
    rows, y = load_digits(return_X_y=True)
    rows, y = rows[:N], y[:N]
    images = rows.reshape(-1, 8, 8).astype(np.uint8)
    images.flags.writeable = False
    large = np.kron(images, np.ones((4, 4, 1), np.uint8).reshape(1, 4, 4))
    return rows, images, large, y


def fit_models():
    """Fit models of all kinds; return names, bound methods and what to ask them."""
    rows, images, large, y = load()
    small = {"max_epochs": 1, "random_state": 0}
    mlp = SiameseClassifier("mlp", classifier="knn", **small).fit(rows, y)
    conv = SiameseClassifier(unknown="reject", max_fpr=0.2, n_prototypes=2, **small)
    conv.fit(images, y)
    resnet = SiameseEmbedder("resnet18", loss="logistic", **small)
    resnet.fit(large[:40], y[:40])
    verifier = SiameseVerifier(SiameseEmbedder(**small), random_state=0).fit(images, y)
    gallery = Gallery(conv)
    gallery.add(images)
    pairs = sample_pairs(y, 60, random_state=0)[0].T
    asked = []
    for name, model, X in [("mlp", mlp, rows), ("conv", conv, images)]:
        methods = ("predict", "predict_proba", "decision_function", "unknown_score")
        asked += [(f"{name}.{m}", getattr(model, m), X) for m in methods]
        asked.append((f"{name}.transform", model.transform, X))
        asked.append((f"{name}.pair_distance", model.pair_distance, tuple(X[pairs])))
    asked.append(("resnet.transform", resnet.transform, large[:20]))
    asked.append(("resnet.pair_proba", resnet.pair_proba, tuple(large[pairs[:, :8]])))
    asked.append(("verifier.predict", verifier.predict, tuple(images[pairs])))
    asked.append(("verifier.proba", verifier.predict_proba, tuple(images[pairs])))
    search = functools.partial(distances_and_ids, gallery)
    return [*asked, ("gallery.search", search, images)]


def distances_and_ids(gallery, X):
    """Ask a gallery; one array."""
    ids, distances = gallery.search(X, 4)
    return np.stack([np.asarray(ids, float), distances])


def answers(asked, first=0):
    """Ask all, beginning at one of them."""
    order = [*asked[first:], *asked[:first]]
    return {name: method(X) for name, method, X in order}


def differing(asked, expected, first=0, barrier=None):
    """Ask all and name those whose answer is another one."""
    if barrier is not None:
        barrier.wait(300)
    found = answers(asked, first % len(asked))
    return [k for k in expected if not np.array_equal(found[k], expected[k])]


def put(queue, *args):
    """Send what differs, with the number of threads, to the parent."""
    queue.put((differing(*args), torch.get_num_threads()))


def in_threads(asked, expected):
    """Ask in 8 threads that begin together, twice."""
    barrier = threading.Barrier(8)
    with ThreadPoolExecutor(8) as pool:
        ask = functools.partial(differing, asked, expected, barrier=barrier)
        return list(pool.map(ask, range(16)))


def in_processes(asked, expected, method):
    """Ask in two processes at once."""
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    workers = [
        context.Process(target=put, args=(queue, asked, expected, first))
        for first in (0, 5)
    ]
    for worker in workers:
        worker.start()
    found = [queue.get(timeout=300) for _ in workers]
    for worker in workers:
        worker.join(300)
        assert worker.exitcode == 0
    if method == "fork":  # two would wait for those of the parent
        assert [n_threads for _, n_threads in found] == [1, 1]
    return [names for names, _ in found]


def in_joblib(asked, expected, backend):
    """Ask by joblib with two workers."""
    with joblib.parallel_config(backend, n_jobs=2):
        return joblib.Parallel()(
            joblib.delayed(differing)(asked, expected, first) for first in range(4)
        )


def by(kind, asked, expected):
    """Ask side by side in one way; names of what differs, once for each time asked."""
    if kind in ("spawn", "joblib-loky"):  # a gallery in memory stays where it is
        asked = [a for a in asked if a[0] != "gallery.search"]
        expected = {name: expected[name] for name, *_ in asked}
    if kind == "threads":
        return in_threads(asked, expected)
    if kind.startswith("joblib-"):
        return in_joblib(asked, expected, kind.removeprefix("joblib-"))
    return in_processes(asked, expected, kind)


def main():
    """Fit, ask, ask side by side, compare."""
    warnings.simplefilter("ignore")  # tiny models learn little
    torch.set_num_threads(1)
    asked = fit_models()
    expected = answers(asked)
    generators = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    for kind, n_threads in KINDS:
        torch.set_num_threads(n_threads)
        assert differing(asked, expected) == []  # OpenMP has its threads by now
        found = by(kind, asked, expected)
        assert not any(found), (kind, n_threads, found)
        assert torch.get_num_threads() == n_threads
        print(f"{kind}, {n_threads}: {len(found)} times equal", flush=True)
    assert torch.equal(torch.get_rng_state(), generators[0])
    np.testing.assert_array_equal(np.random.get_state()[1], generators[1])  # noqa: NPY002
    print("generators are as before")


if __name__ == "__main__":
    main()
