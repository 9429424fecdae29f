"""Accuracy and fit time of ``SiameseClassifier()`` with default parameters.

    python -m tests.benchmarks.accuracy [SET ...] [--seeds 0 1 2] [--on validation]

prints a Markdown table and writes ``accuracy.json``. Sets: mnist, pneumonia, malaria,
digits; all but the last are read from ``$SKSIAMESE_DATA``. Splits are the official
ones; malaria cells are split by patient, digits are cross-validated. ``--on
validation`` scores images (patients) held out from the training set instead of the test
set: defaults were chosen on those. ``--set name=value`` changes a parameter.
"""

import argparse
import ast
import json
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from sksiamese import SiameseClassifier
from sksiamese.datasets import fetch_images
from sksiamese.metrics import expected_calibration_error
from tests.benchmarks._contest import read_split


def holdout(X, y, groups=None, seed=1):
    """Split off a fifth; whole groups where there are any."""
    if groups is None:
        splitter = StratifiedKFold(5, shuffle=True, random_state=seed)
    else:
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    train, test = next(splitter.split(X, y, groups))
    return X[train], y[train], X[test], y[test]


def mnist(on, seed):
    """Official split; validation is a fifth of the training images."""
    train = read_split("mnist", "train")
    if on == "validation":
        return [holdout(*train)]
    return [(*train, *read_split("mnist", "test"))]


def pneumonia(on, seed):
    """Official split."""
    new = read_split("pneumoniamnist", "val" if on == "validation" else "test")
    return [(*read_split("pneumoniamnist", "train"), *new)]


def malaria(on, seed):
    """Hold out a fifth of the patients; validation is a fifth of the others."""
    data = fetch_images("malaria_cells", download=False)
    X, y, patients = data.images, data.target, data.groups
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    train, test = next(folds.split(X, y, patients))
    if on == "validation":
        return [holdout(X[train], y[train], patients[train])]
    return [(X[train], y[train], X[test], y[test])]


def digits(on, seed):
    """Five folds, drawn by the seed; validation uses other folds."""
    X, y = load_digits(return_X_y=True)
    X = X.reshape(-1, 8, 8)
    state = seed + 1000 * (on == "validation")
    folds = StratifiedKFold(5, shuffle=True, random_state=state).split(X, y)
    return [(X[a], y[a], X[b], y[b]) for a, b in folds]


SETS = {f.__name__: f for f in (mnist, pneumonia, malaria, digits)}


def evaluate(splits, seed, params):
    """Mean scores over the splits."""
    rows = []
    for X, y, X_new, y_new in splits:
        clf = SiameseClassifier(random_state=seed, **params)
        start = time.perf_counter()
        clf.fit(X, y)
        seconds = time.perf_counter() - start
        proba = clf.predict_proba(X_new)
        row = {
            "accuracy": clf.score(X_new, y_new),
            "calibration error": expected_calibration_error(
                y_new, proba, classes=clf.classes_
            ),
            "fit seconds": seconds,
            "epochs": clf.n_iter_,
        }
        if len(clf.classes_) == 2:
            row["AUC"] = roc_auc_score(y_new, proba[:, 1])
        rows.append(row)
    return {key: float(np.mean([r[key] for r in rows])) for key in rows[0]}


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", choices=[[], *SETS], default=[])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--on", choices=["test", "validation"], default="test")
    parser.add_argument("--set", action="append", default=[], dest="params")
    options = parser.parse_args()
    pairs = (p.split("=", 1) for p in options.params)
    params = {}
    for key, value in pairs:
        try:
            params[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            params[key] = value
    results = {}
    print(
        f"Scored on {options.on} data, seeds {options.seeds}, {params or 'defaults'}\n"
    )
    print("| set | figure | mean | smallest | largest |")
    print("|---|---|---|---|---|")
    for name in options.sets or SETS:
        runs = [evaluate(SETS[name](options.on, s), s, params) for s in options.seeds]
        results[name] = runs
        for key in runs[0]:
            values = [run[key] for run in runs]
            digits_shown = 1 if key in ("fit seconds", "epochs") else 4
            cells = (f"{f(values):.{digits_shown}f}" for f in (np.mean, min, max))
            print(f"| {name} | {key} | {' | '.join(cells)} |", flush=True)
    Path("accuracy.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
