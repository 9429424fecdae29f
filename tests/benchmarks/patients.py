"""Malaria cells, cross-validated by patient.

    python -m tests.benchmarks.patients [--folds 5] [--set max_epochs=12 ...]

prints accuracy and area under the ROC curve: mean and range of the folds, and the score
of all cells, each predicted by the model that saw neither it nor its patient, with a
95 % interval from resampling patients. Writes ``patients.json``.
"""

import argparse
import ast
import time

import numpy as np
from sklearn import config_context
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_validate

from sksiamese import SiameseClassifier
from sksiamese.datasets import fetch_images
from tests.benchmarks._contest import print_table, write_results

SCORES = {
    "accuracy": lambda y, p: accuracy_score(y, p >= 0.5),
    "AUC": roc_auc_score,
}


def resample(score, y, proba, patients, n_resamples=1000):
    """95 % interval of a score over resampled patients."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(patients == p) for p in np.unique(patients)]
    values = []
    for _ in range(n_resamples):
        drawn = rng.integers(0, len(members), len(members))
        rows = np.concatenate([members[k] for k in drawn])
        values.append(score(y[rows], proba[rows]))
    return np.quantile(values, [0.025, 0.975])


def out_of_fold(data, n_folds, params):
    """Probability of each cell by the model of its fold, and the fold of each."""
    X, y, patients = data.images, data.target, data.groups
    clf = SiameseClassifier(augment="isotropic", random_state=0, **params)
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=0)
    with config_context(enable_metadata_routing=True):
        done = cross_validate(
            clf.set_fit_request(groups=True),
            X,
            y,
            params={"groups": patients},
            cv=folds,
            return_estimator=True,
            return_indices=True,
        )
    proba, fold = np.empty(len(y)), np.empty(len(y), dtype=int)
    for k, rows in enumerate(done["indices"]["test"]):
        proba[rows] = done["estimator"][k].predict_proba(X[rows])[:, 1]
        fold[rows] = k
    return proba, fold


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], dest="params")
    options = parser.parse_args()
    pairs = (p.split("=", 1) for p in options.params)
    params = {key: ast.literal_eval(value) for key, value in pairs}
    data = fetch_images("malaria_cells")
    start = time.perf_counter()
    proba, fold = out_of_fold(data, options.folds, params)
    seconds = time.perf_counter() - start
    rows, results = [], {"seconds": seconds}
    for name, score in SCORES.items():
        each = [
            score(data.target[fold == k], proba[fold == k])
            for k in range(options.folds)
        ]
        low, high = resample(score, data.target, proba, data.groups)
        every = score(data.target, proba)
        results[name] = {"folds": each, "all": every, "interval": [low, high]}
        spread = f"{np.mean(each):.4f} ({min(each):.4f} - {max(each):.4f})"
        rows.append((name, spread, f"{every:.4f} ({low:.4f} - {high:.4f})"))
    header = "score", "mean of folds (range)", "all cells (95 % interval, by patient)"
    print_table(f"Malaria cells by patient, {seconds:.0f} s", header, rows)
    write_results("patients", results)


if __name__ == "__main__":
    main()
