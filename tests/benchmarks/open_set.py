"""Whether images of classes that never trained are told, and known ones kept.

    python -m tests.benchmarks.open_set [SET ...] [--seeds 0 1] [--set max_fpr=0.01 ...]

MNIST: six digits known, the other four unknown, in three splits; Omniglot: 100
characters known, 100 unknown, in three splits by another seed, 15 images of each known
one to train on. Test images are MNIST's official ones and the other five of each
character, and as many of unknown ones. Prints the area under the ROC curve of known
against unknown, the open-set classification rate, the accuracy that bounds it, and the
shares of known and of unknown test images that are rejected, beside the bound that was
promised for the former; mean with the smallest and the largest of all splits and seeds.
Writes ``open_set.json``.
"""

import argparse
import ast
import time

import numpy as np
from sklearn.metrics import roc_auc_score

from sksiamese import SiameseClassifier
from sksiamese.datasets import fetch_images
from sksiamese.metrics import open_set_classification_rate
from tests.benchmarks._contest import print_table, read_split, write_results

N_SPLITS = 3


def mnist(split):
    """Take six digits to train on, 6,000 images, and the test images of all ten."""
    known = np.random.default_rng(split).permutation(10)[:6]
    X, y = read_split("mnist", "train")
    rows = np.flatnonzero(np.isin(y, known))[:6000]
    return X[rows], y[rows], *read_split("mnist", "test")


def omniglot(split):
    """Take 15 images of 100 characters to train on; five are new, and 100 characters.

    Drawers are on both sides, as they are among the held-out images.
    """
    rng = np.random.default_rng(split)
    data = fetch_images("omniglot", download=False)
    chosen = rng.permutation(np.unique(data.target))[:200]
    rank = np.empty(len(data.target), dtype=int)
    for label in chosen:
        mine = np.flatnonzero(data.target == label)
        rank[mine] = rng.permutation(len(mine))
    known = np.isin(data.target, chosen[:100])
    train = known & (rank < 15)
    new = np.isin(data.target, chosen) & ~train & (rank >= 15)
    return data.images[train], data.target[train], data.images[new], data.target[new]


SETS = {
    "mnist": (mnist, {}),
    "omniglot": (omniglot, {"image_size": 32, "validation_fraction": 0.2}),
}


def evaluate(X, y, X_new, y_new, params):
    """Fit once; return the scores."""
    start = time.perf_counter()
    clf = SiameseClassifier(unknown="reject", **params).fit(X, y)
    seconds = time.perf_counter() - start
    novelty, novel = clf.unknown_score(X_new), ~np.isin(y_new, clf.classes_)
    best = clf.classes_[clf.predict_proba(X_new).argmax(axis=1)]
    rejected = clf.predict(X_new) == clf.unknown_label_
    return {
        "AUROC": roc_auc_score(novel, novelty),
        "OSCR": open_set_classification_rate(
            y_new, best, novelty, classes=clf.classes_
        ),
        "accuracy on known": float((best == y_new)[~novel].mean()),
        "known rejected": float(rejected[~novel].mean()),
        "bound promised": clf.unknown_calibration_["bound"],
        "unknown rejected": float(rejected[novel].mean()),
        "held-out images": clf.unknown_calibration_["n_images"],
        "fit seconds": seconds,
    }


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", choices=[[], *SETS], default=[])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--set", action="append", default=[], dest="params")
    options = parser.parse_args()
    pairs = (p.split("=", 1) for p in options.params)
    params = {key: ast.literal_eval(value) for key, value in pairs}
    results = {}
    for name in options.sets or SETS:
        read, own = SETS[name]
        runs = [
            evaluate(*read(split), {**own, "random_state": seed, **params})
            for split in range(N_SPLITS)
            for seed in options.seeds
        ]
        rows = []
        for key in runs[0]:
            values = [run[key] for run in runs]
            shown = 0 if key in ("held-out images", "fit seconds") else 4
            rows.append((key, *(f"{f(values):.{shown}f}" for f in (np.mean, min, max))))
        title = f"{name}, {N_SPLITS} splits, seeds {options.seeds}, {params or ''}"
        print_table(title, ("figure", "mean", "smallest", "largest"), rows)
        results[name] = runs
    write_results("open_set", results)


if __name__ == "__main__":
    main()
