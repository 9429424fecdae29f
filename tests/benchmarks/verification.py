"""Verification: same or different, on images whose like nobody trained on.

    python -m tests.benchmarks.verification [mnist malaria omniglot coverage]
        [--seeds 0 1 2] [--on test]

prints Markdown tables and writes ``verification.json``. Each seed fits
``SiameseVerifier(threshold="max_fpr")`` and judges it on pairs of new images: MNIST's
test images; malaria cells of a fifth of the patients, another fifth for each seed, in
pairs of two patients; Omniglot's evaluation alphabets, where different pairs are of any
two characters or, harder, of two of one alphabet. Embedders are ``SiameseEmbedder()``,
but for ``OMNIGLOT``, which was chosen on six of the background alphabets. ``--on
validation`` judges those instead, or a fifth of the training patients, or of MNIST's
training images.

Intervals hold 95 % and come from resampling images, patients or alphabets; they say
nothing of the training's luck, which the range over the seeds shows.

``coverage`` calibrates ``max_fpr=0.01`` on 1,000 images of MNIST's test set, 200 times,
and counts how often the rate is exceeded by all different pairs of 5,000 others.
"""

import argparse
import functools
import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import FunctionTransformer

from sksiamese import SiameseEmbedder, SiameseVerifier
from sksiamese.augment import RandomAffine
from sksiamese.datasets import fetch_images
from sksiamese.losses import SupervisedContrastiveLoss
from sksiamese.metrics import confidence_interval, equal_error_rate, tar_at_far
from sksiamese.pairs import sample_pairs
from tests.benchmarks._contest import print_table, read_split, write_results
from tests.benchmarks.accuracy import holdout

N_PAIRS, N_RESAMPLES = 200_000, 300
OMNIGLOT = {
    "loss": SupervisedContrastiveLoss(temperature=0.05),
    "embedding_dim": 128,
    "augment": RandomAffine(rotation=15, scale=0.2, shift=0.1, shear=0.2),
    "batch_size": 256,
    "classes_per_batch": 64,  # four drawings of each
    "max_epochs": 4,
    "validation_fraction": 0,
}


class Task(NamedTuple):
    """What one seed trains and judges."""

    train: tuple  # images, classes and groups
    new: tuple  # images and classes
    max_fpr: float  # a rate that the held-out images or groups suffice to promise
    settings: dict = {}  # of the embedder
    apart: np.ndarray | None = None  # members of new pairs are of two of these
    alphabets: np.ndarray | None = None  # of the new images
    runs: tuple | None = None  # one-shot runs among the new images


# --- what is judged ------------------------------------------------------------------


def mnist(on, seed):
    """Official split; validation is a fifth of the training images."""
    train = read_split("mnist", "train")
    if on == "test":
        return Task((*train, None), read_split("mnist", "test"), max_fpr=0.01)
    X, y, X_new, y_new = holdout(*train)
    return Task((X, y, None), (X_new, y_new), max_fpr=0.01)


def malaria(on, seed):
    """Fold of patients by the seed; validation is a fifth of the other patients."""
    data = fetch_images("malaria_cells", download=False)
    X, y, patients = data.images, data.target, data.groups

    def split(rows, fold, state):
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=state)
        parts = list(folds.split(rows, y[rows], patients[rows]))[fold]
        return (rows[part] for part in parts)

    train, new = split(np.arange(len(y)), seed % 5, 0)
    if on == "validation":
        train, new = split(train, 0, 1)
    return Task(
        (X[train], y[train], patients[train]),
        (X[new], y[new]),
        # 32 patients are 16 pairs of which no two share one, half of them different.
        max_fpr=0.5,
        apart=patients[new],
    )


def omniglot(on, seed):
    """Background alphabets against evaluation ones, or six of the former."""
    data, images = shrunk_omniglot()
    y, alphabets = data.target, data.alphabet
    known = data.split == "background"
    new = ~known
    if on == "validation":
        drawn = np.random.default_rng(7).permutation(np.unique(alphabets[known]))[:6]
        new = np.isin(alphabets, drawn)
        known &= ~new
    # A character on its side is another character, so there are four times as many.
    X = np.concatenate([np.rot90(images[known], k, axes=(1, 2)) for k in range(4)])
    turned = np.concatenate([y[known] + len(data.target_names) * k for k in range(4)])
    return Task(
        (X, turned, np.tile(y[known], 4)),
        (images[new], y[new]),
        max_fpr=0.05,  # a fifth of the characters are 96 pairs that share none
        settings=OMNIGLOT,
        alphabets=alphabets[new],
        runs=read_runs(data, new) if on == "test" else None,
    )


@functools.cache
def shrunk_omniglot():
    """Omniglot, and its images at 32 x 32, white on black."""
    from PIL import Image

    data = fetch_images("omniglot", download=False)
    size, average = (32, 32), Image.Resampling.BOX
    images = [
        Image.fromarray(255 - image).resize(size, average) for image in data.images
    ]
    return data, np.stack([np.asarray(image) for image in images])


def read_runs(data, new):
    """Find supports, queries and answers of the 20 published runs, each (20, 20)."""
    path = Path(os.environ.get("SKSIAMESE_DATA", "."), "omniglot_oneshot_runs.npz")
    if not path.exists():
        return None
    runs, y = np.load(path), data.target[new]
    row_of = np.empty((y.max() - y.min() + 1, 20), dtype=int)
    row_of[y - y.min(), data.drawer[new]] = np.arange(len(y))
    support, query = (
        row_of[runs[f"{part}_character"], runs[f"{part}_drawer"]]
        for part in ("train", "test")
    )
    return support, query, runs["answer"]


SETS = {f.__name__: f for f in (mnist, malaria, omniglot)}


# --- judging -------------------------------------------------------------------------


def accepted_share(same, accepted, kind=False, sample_weight=None):
    """Share of the pairs of one kind that are accepted."""
    weight = (same == kind) * (1 if sample_weight is None else sample_weight)
    return float(np.average(accepted, weights=weight))


FIGURES = {
    "EER": equal_error_rate,
    "AUC": roc_auc_score,
    "TAR at FAR 0.01": tar_at_far,
}


def judge_pairs(task, verifier, Z, seed):
    """Figures of pairs of new images, with their intervals."""
    y = task.new[1]
    units = task.alphabets if task.apart is None else task.apart
    pairs, same = sample_pairs(y, N_PAIRS, groups=task.apart, random_state=seed)
    distances = np.linalg.norm(np.subtract(*Z[pairs.T]), axis=1)
    interval = functools.partial(
        confidence_interval, n_resamples=N_RESAMPLES, groups=units, random_state=0
    )
    figures = {
        name: interval(metric, same, -distances, pairs=pairs)
        for name, metric in FIGURES.items()
    }
    accepted = (distances <= verifier.threshold_).astype(float)
    for name, kind in (("false", False), ("true", True)):
        figures[f"{name}-positive rate at max_fpr={task.max_fpr}"] = interval(
            accepted_share, same, accepted, kind=kind, pairs=pairs
        )
    if task.alphabets is not None:
        others, _ = sample_pairs(
            y, 10 * N_PAIRS, positive_fraction=0.0, random_state=seed
        )
        others = others[np.equal(*task.alphabets[others.T])]
        near = np.linalg.norm(np.subtract(*Z[others.T]), axis=1)
        figures["EER within alphabets"] = interval(
            equal_error_rate,
            np.concatenate([same[same], np.zeros(len(near), dtype=bool)]),
            -np.concatenate([distances[same], near]),
            pairs=np.concatenate([pairs[same], others]),
        )
    return figures


def judge_runs(runs, Z):
    """Accuracy over one-shot runs, each of which is resampled as one."""
    support, query, answer = runs
    nearest = np.einsum("rqd,rsd->rqs", Z[query], Z[support]).argmax(axis=2)
    return confidence_interval(
        lambda right: float(np.mean(right)),
        (nearest == answer).mean(axis=1),
        random_state=0,
    )


def run(make_task, on, seed):
    """Fit one verifier and judge it."""
    task = make_task(on, seed)
    embedder = SiameseEmbedder(random_state=seed, **task.settings)
    verifier = SiameseVerifier(
        embedder, threshold="max_fpr", max_fpr=task.max_fpr, random_state=seed
    )
    start = time.perf_counter()
    verifier.fit(*task.train)
    seconds = time.perf_counter() - start
    Z = verifier.transform(task.new[0]).astype(np.float64)
    figures = judge_pairs(task, verifier, Z, seed)
    if task.runs is not None:
        figures["one-shot accuracy, 20 runs"] = judge_runs(task.runs, Z)
    return {
        "figures": {name: interval._asdict() for name, interval in figures.items()},
        "calibration": verifier.calibration_,
        "seconds": seconds,
    }


# --- does the promise hold? ----------------------------------------------------------


def coverage(seed, n_repetitions=200, max_fpr=0.01):
    """False-positive rate of each of many calibrations on images of one test set."""
    X, y = read_split("mnist", "train")
    X_new, y_new = read_split("mnist", "test")
    Z = SiameseEmbedder(random_state=seed).fit(X, y).transform(X_new)
    verifier = SiameseVerifier(
        FunctionTransformer().fit(Z), threshold="max_fpr", max_fpr=max_fpr
    )
    rng, rates = np.random.default_rng(seed), []
    for repetition in range(n_repetitions):
        drawn = rng.permutation(len(Z))
        few, others = drawn[:1000], drawn[1000:6000]
        verifier.set_params(random_state=repetition).calibrate(Z[few], y_new[few])
        # Unit vectors: the squared distance is 2 - 2 cos.
        accepted = 2 - 2 * Z[others] @ Z[others].T <= verifier.threshold_**2
        different = y_new[others][:, None] != y_new[others]
        rates.append(float(accepted[different].mean()))
    return rates


# --- tables --------------------------------------------------------------------------


def summary(result):
    """First figures of one seed, in a line."""
    figures = list(result["figures"].items())[:2]
    return ", ".join(f"{name} {value['estimate']:.4f}" for name, value in figures)


def tabulate(name, runs):
    """Rows of the table of one set."""
    rows = []
    for figure in runs[0]["figures"]:
        results = [r["figures"][figure] for r in runs]
        values = [result["estimate"] for result in results]
        spread = f"{np.mean(values):.4f} ({min(values):.4f} - {max(values):.4f})"
        bounds = (f"{r['low']:.4f} - {r['high']:.4f}" for r in results)
        rows.append((name, figure, spread, "; ".join(bounds)))
    seconds = [r["seconds"] for r in runs]
    spread = f"{np.mean(seconds):.0f} ({min(seconds):.0f} - {max(seconds):.0f})"
    promised = sum(r["calibration"]["promised"] for r in runs)
    return [
        *rows,
        (name, "rate promised", f"{promised} of {len(runs)}", ""),
        (name, "fit seconds", spread, ""),
    ]


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    choices = [*SETS, "coverage"]
    parser.add_argument("sets", nargs="*", choices=[[], *choices], default=[])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--on", choices=["test", "validation"], default="test")
    options = parser.parse_args()
    results = {}
    header = "set", "figure", "mean of seeds (range)", "95 % interval, seed by seed"
    for name in options.sets or choices:
        if name == "coverage":
            rates = results[name] = coverage(options.seeds[0])
            exceeded = np.mean(np.array(rates) > 0.01)
            shown = *(f"{f(rates):.4f}" for f in (np.mean, max)), f"{exceeded:.1%}"
            columns = "mean rate", "largest", "exceeded 0.01"
            print_table("Coverage of max_fpr=0.01, MNIST", columns, [shown])
            continue
        results[name] = []
        for seed in options.seeds:
            results[name].append(run(SETS[name], options.on, seed))
            print(f"{name}, seed {seed}: {summary(results[name][-1])}", flush=True)
        title = f"{name}, {options.on} images, seeds {options.seeds}"
        print_table(title, header, tabulate(name, results[name]))
    write_results("verification", results)


if __name__ == "__main__":
    main()
