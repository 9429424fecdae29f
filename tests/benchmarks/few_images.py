"""A siamese network beside a plain one, at 10 to 100 images a class.

    python -m tests.benchmarks.few_images [--on validation] [--draws 3] [--lr 0.003 ...]

trains both with the same backbone, augmentation, batches and epochs as the example
``plot_03_few_images`` does, and prints balanced accuracy: mean and range of the draws,
and how far the siamese network is ahead on the same draw. ``--on test`` judges by 600
images of the official test split; ``--on validation`` by training images that no draw
takes, which is where learning rates may be chosen. Writes ``few_images.json``.
"""

import argparse

import numpy as np
from sklearn.metrics import balanced_accuracy_score
from torch import nn

from sksiamese import SiameseClassifier, SiameseEmbedder
from sksiamese.datasets import fetch_images
from sksiamese.pairs import find_duplicates
from tests.benchmarks._contest import print_table, write_results

SETS, SIZES = ("brain_mri", "pneumoniamnist"), (10, 20, 50, 100)


def read(name, on):
    """Images, labels, rows to draw from and rows that judge."""
    data, rng = fetch_images(name), np.random.default_rng(0)
    train, test = (np.flatnonzero(data.split == split) for split in ("train", "test"))
    copies = find_duplicates(data.images[train], data.images[test]).rows[:, 0]
    train = rng.permutation(np.delete(train, copies))
    test = rng.permutation(test)[:600]
    if on == "validation":
        train, test = train[len(train) // 3 :], train[: len(train) // 3]
    images = data.images
    if name == "brain_mri":  # each pixel becomes the mean of a block of 4 x 4
        images = images.reshape(-1, 32, 4, 32, 4).mean(axis=(2, 4)).astype(np.uint8)
    return images, data.target, train, test


def fit_siamese(X, y, options):
    """Train an embedding, in which the nearest prototype decides."""
    return SiameseClassifier(**options).fit(X, y).predict


def fit_plain(X, y, options):
    """Train a plain network by cross-entropy."""
    loss, n_classes = nn.CrossEntropyLoss(), len(np.unique(y))
    network = SiameseEmbedder(
        embedding_dim=n_classes, normalize=False, loss=loss, **options
    ).fit(X, y)
    return lambda X_new: network.transform(X_new).argmax(axis=1)


METHODS = {"siamese": fit_siamese, "plain": fit_plain}


def play(data, n_draws, lr):
    """Balanced accuracy of each method by size and draw."""
    X, y, train, test = data
    scores = {method: np.empty((len(SIZES), n_draws)) for method in METHODS}
    for k, draw in np.ndindex(len(SIZES), n_draws):
        rng = np.random.default_rng(draw)
        by_class = (train[y[train] == label] for label in np.unique(y))
        rows = np.concatenate([rng.permutation(r)[: SIZES[k]] for r in by_class])
        options = {
            "max_epochs": 600 // SIZES[k],
            "batch_size": 32,
            "validation_fraction": 0,
            "random_state": draw,
            "lr": lr,
        }
        for method, fit in METHODS.items():
            found = fit(X[rows], y[rows], options)(X[test])
            scores[method][k, draw] = balanced_accuracy_score(y[test], found)
    return scores


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--on", choices=("validation", "test"), default="test")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--lr", type=float, nargs="+", default=[0.003])
    options = parser.parse_args()
    results = {}
    for name in SETS:
        data, rows, means = read(name, options.on), [], {}
        for lr in options.lr:
            for method, values in play(data, options.draws, lr).items():
                results[f"{name}, {method}, lr={lr}"] = values.tolist()
                means[method, lr] = values
                cells = (
                    f"{v.mean():.3f} ({v.min():.2f}-{v.max():.2f})" for v in values
                )
                rows.append((method, lr, *cells, f"{values.mean():.3f}"))
        header = ("method", "lr", *(f"{size} a class" for size in SIZES), "mean")
        print_table(f"{name}, {options.on}, {options.draws} draws", header, rows)
        best = {m: max(options.lr, key=lambda lr: means[m, lr].mean()) for m in METHODS}
        ahead = means["siamese", best["siamese"]] - means["plain", best["plain"]]
        print(f"\nWith the best rate of each, {best}: siamese ahead in", end=" ")
        print(f"{(ahead > 0).sum()} of {ahead.size} by {ahead.mean():+.3f}", end=" ")
        print(f"(standard deviation {ahead.std(ddof=1):.3f})")
    write_results("few_images", results)


if __name__ == "__main__":
    main()
