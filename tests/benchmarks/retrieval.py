"""Retrieval: four medical sets in one gallery, asked an easy and a hard question.

    python -m tests.benchmarks.retrieval [--seeds 0 1 2] [--on test] [--size 32]
        [--set max_epochs=12 ...]

prints Markdown tables, mean and range over the seeds, and writes ``retrieval.json``.
The sets are chest X-rays, skin lesions, magnetic resonance images of brains and blood
smears, shrunk to one size with three channels. Test images are set apart first: by the
official split of the X-rays and brains, a fifth of the lesions, another fifth for each
seed, and a fifth of the patients of the smears. A tenth of the training images, again
by lesion and patient, sets the thresholds; ``--on validation`` is judged on another
tenth instead of the test images. Training images that are copies or near copies of
images set apart are left out: of brains many, of X-rays a few.

Two embedders are trained per seed. For "same set?" the class of an image is its set;
a logistic regression on the mean and the deviation of each channel stands beside it.
For "same diagnosis?" the class is set and diagnosis, and pairs are of one set, half of
them the same, of two patients where patients are known. The gallery holds the training
images of all sets, and the probes are the judged images: precision@k is the share of
the k nearest that are of the probe's class.
"""

import argparse
import ast
import time
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksiamese import SiameseEmbedder, SiameseVerifier
from sksiamese.datasets import fetch_images
from sksiamese.metrics import equal_error_rate
from sksiamese.pairs import find_duplicates, hold_out, sample_pairs
from sksiamese.search import Gallery
from tests.benchmarks._contest import print_table, write_results

SETS = {
    "pneumoniamnist": "X-rays",
    "ham10000": "skin lesions",
    "brain_mri": "brains",
    "malaria_cells": "blood smears",
}
N_PAIRS = 10_000
# All else is at its default.
EASY, HARD = {"max_epochs": 3}, {"max_epochs": 8}


class Images(NamedTuple):
    """Images of one role: train, calibrate or judge."""

    X: np.ndarray
    set_name: np.ndarray
    diagnosis: np.ndarray  # with the set in front
    unit: np.ndarray  # patient or lesion, else the image itself

    def take(self, rows):
        """Take some rows."""
        return Images(*(column[rows] for column in self))


# --- images --------------------------------------------------------------------------


def shrink(images, size):
    """Bring images to one size and three channels."""
    from PIL import Image

    box = Image.Resampling.BOX
    shrunk = (
        Image.fromarray(image).convert("RGB").resize((size, size), box)
        for image in images
    )
    return np.stack([np.asarray(image) for image in shrunk])


def split_rows(data, seed):
    """Rows to train on and rows to test on."""
    if data.split is None:
        train, test = hold_out(data.target, 0.2, groups=data.groups, random_state=seed)
    else:
        test = np.flatnonzero(data.split == "test")
        train = np.flatnonzero(data.split != "test")
    return drop_copies(data.images, train, test), test


def drop_copies(images, rows, others):
    """Drop rows of images that are copies or near copies of others."""
    return np.delete(rows, find_duplicates(images[rows], images[others]).rows[:, 0])


def read_sets(seed, size):
    """Training and test images of all sets."""
    parts = [], []
    for name, title in SETS.items():
        data = fetch_images(name, download=False)
        X = shrink(data.images, size)
        unit = np.arange(len(X)) if data.groups is None else data.groups
        columns = (
            X,
            np.repeat(title, len(X)),
            np.array([f"{title}: {data.target_names[k]}" for k in data.target]),
            np.array([f"{name} {u}" for u in unit]),
        )
        for part, rows in zip(parts, split_rows(data, seed), strict=True):
            part.append(Images(*columns).take(rows))
    return (Images(*map(np.concatenate, zip(*p, strict=True))) for p in parts)


def read_roles(seed, size, on):
    """Images to train on, to set thresholds on, and to judge."""
    train, judged = read_sets(seed, size)
    if on == "validation":
        train, judged = divide(train, seed)
    return *divide(train, seed), judged


def divide(images, seed):
    """Set a tenth apart, by patient and lesion; copies of it leave the others."""
    rows, apart = hold_out(images.diagnosis, 0.1, groups=images.unit, random_state=seed)
    parts = []
    for title in SETS.values():  # images of two sets are of other kinds, never copies
        old, new = (r[images.set_name[r] == title] for r in (rows, apart))
        parts.append(drop_copies(images.X, old, new))
    return images.take(np.concatenate(parts)), images.take(apart)


# --- judging -------------------------------------------------------------------------


def draw_pairs(images, labels, seed):
    """Draw pairs of judged images, half of them the same, of two patients each."""
    n_pairs = min(N_PAIRS, 20 * len(labels))  # validation parts have few
    return sample_pairs(labels, n_pairs, groups=images.unit, random_state=seed)


def judge_pairs(embedder, calibration, judged, labels, seed):
    """Accuracy, error rate and area of pairs at a threshold set on other images."""
    verifier = SiameseVerifier(embedder, threshold="accuracy", random_state=seed)
    verifier.calibrate(calibration.X, labels[0], groups=calibration.unit)
    pairs, same = draw_pairs(judged, labels[1], seed)
    Z = embedder.transform(judged.X).astype(np.float64)
    distances = np.linalg.norm(np.subtract(*Z[pairs.T]), axis=1)
    return {
        "pair accuracy": accuracy_score(same, distances <= verifier.threshold_),
        "EER": equal_error_rate(same, -distances),
        "AUC": roc_auc_score(same, -distances),
    }


def judge_search(gallery, Z, labels):
    """Figures of what probes find."""
    near = gallery.search(Z, k=4, return_metadata=True)[2]
    right = [[item["label"] for item in row] for row in near] == labels[:, None]
    figures = gallery.evaluate(Z, labels, k=1)
    return {
        "recall@1": figures["recall_at_1"],
        "precision@4": np.mean(right),
        "R-precision": figures["r_precision"],
        "mAP@R": figures["mean_average_precision_at_r"],
    }


def judge_statistics(train, judged, seed):
    """Accuracy of "same set?" by the mean and the deviation of each channel."""

    def describe(X):
        return np.concatenate([X.mean(axis=(1, 2)), X.std(axis=(1, 2))], axis=1)

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(describe(train.X), train.set_name)
    found = model.predict(describe(judged.X))
    pairs, same = draw_pairs(judged, judged.set_name, seed)
    return accuracy_score(same, np.equal(*found[pairs.T]))


def fill_gallery(embedder, parts, labels):
    """Gallery of the embeddings of training images."""
    Z = np.concatenate([embedder.transform(part.X) for part in parts])
    gallery = Gallery(None)
    gallery.add(Z, metadata={"label": np.concatenate(labels)})
    return gallery


def ask_easy(roles, seed, settings):
    """Figures of "same set?"."""
    train, calibration, judged = roles
    labels = [part.set_name for part in roles]
    embedder = fit(train.X, labels[0], seed, settings)
    gallery = fill_gallery(embedder, roles[:2], labels[:2])
    Z = embedder.transform(judged.X)
    return {
        **judge_pairs(embedder, calibration, judged, labels[1:], seed),
        **judge_search(gallery, Z, labels[2]),
        "pair accuracy by mean and deviation": judge_statistics(train, judged, seed),
    }


def ask_hard(roles, seed, settings):
    """Figures of "same diagnosis?", within each set."""
    embedder = fit(roles[0].X, roles[0].diagnosis, seed, settings)
    gallery = fill_gallery(embedder, roles[:2], [part.diagnosis for part in roles[:2]])
    figures = {}
    for title in SETS.values():
        calibration, judged = (p.take(p.set_name == title) for p in roles[1:])
        labels = calibration.diagnosis, judged.diagnosis
        Z = embedder.transform(judged.X)
        figures[title] = {
            **judge_pairs(embedder, calibration, judged, labels, seed),
            **judge_search(gallery, Z, labels[1]),
        }
    return figures


def fit(X, y, seed, settings):
    """Fit an embedder; nothing is held out, as other images set the thresholds."""
    return SiameseEmbedder(validation_fraction=0, random_state=seed, **settings).fit(
        X, y
    )


def run(seed, options):
    """Figures of both questions of one seed."""
    start = time.perf_counter()
    roles = read_roles(seed, options.size, options.on)
    counts = ", ".join(f"{len(role.X):,}" for role in roles)
    print(f"seed {seed}: images to train, calibrate, judge: {counts}", flush=True)
    figures = {"same set?": ask_easy(roles, seed, EASY)}
    print(figures["same set?"], flush=True)
    hard = {**HARD, **dict(options.set)}
    for title, found in ask_hard(roles, seed, hard).items():
        figures[f"same diagnosis? {title}"] = found
    figures["both"] = {"seconds": time.perf_counter() - start}
    return figures


def parse_setting(text):
    """Name and value of a parameter; what is no literal is a string."""
    name, value = text.split("=", 1)
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--on", choices=["test", "validation"], default="test")
    parser.add_argument("--size", type=int, default=32, help="pixels a side")
    parser.add_argument(
        "--set",
        nargs="*",
        default=[],
        metavar="NAME=VALUE",
        type=parse_setting,
        help='parameters of the embedder of "same diagnosis?"',
    )
    options = parser.parse_args()
    runs = [run(seed, options) for seed in options.seeds]
    rows = []
    for question, figures in runs[0].items():
        for figure in figures:
            values = [found[question][figure] for found in runs]
            spread = f"{np.mean(values):.4f} ({min(values):.4f} - {max(values):.4f})"
            rows.append((question, figure, spread))
    title = f"{options.on} images, seeds {options.seeds}, {options.size} pixels"
    print_table(title, ("question", "figure", "mean of seeds (range)"), rows)
    write_results("retrieval", {"settings": vars(options), "runs": runs})


if __name__ == "__main__":
    main()
