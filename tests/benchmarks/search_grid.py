"""A grid search over margin and backbone, beside the same fits by hand.

    python -m tests.benchmarks.search_grid [--rounds 5]

runs ``GridSearchCV`` over three margins and two backbones with three folds (and a
refit) on 900 images of PneumoniaMNIST, five epochs each, prints a Markdown table and
writes ``search_grid.json``. *By hand* is a plain loop over the same fits; *plain
skorch* is its ``NeuralNet`` in the same search, scored by the nearest class mean.
"""

import argparse
import time
import warnings

import numpy as np
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, ParameterGrid, StratifiedKFold
from skorch import NeuralNet

from sksiamese import SiameseClassifier
from sksiamese.losses import ContrastiveLoss
from tests.benchmarks._contest import (
    print_ratios,
    read_images,
    run_contest,
    write_results,
)
from tests.benchmarks.training import UnitNet, standardised

GRID = {"margin": [0.75, 1.0, 1.25], "backbone": ["conv", "conv16-32-16"]}
FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)


def read():
    """Images and labels of the search."""
    images, labels = read_images("pneumonia")
    return images[:900], labels[:900]


def timed(search):
    """Make a function that returns the seconds of a search."""

    def play():
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            search()
        return time.perf_counter() - start

    return play


def classifier():
    """Build the estimator that is searched over."""
    return SiameseClassifier(max_epochs=5, random_state=0)


def by_hand():
    """Fit and score in a plain loop."""
    X, y = read()

    def search():
        scores = {}
        for k, params in enumerate(ParameterGrid(GRID)):
            scores[k] = 0
            for train, test in FOLDS.split(X, y):
                clf = clone(classifier()).set_params(**params).fit(X[train], y[train])
                scores[k] += clf.score(X[test], y[test]) / 3
        best = list(ParameterGrid(GRID))[max(scores, key=scores.get)]
        classifier().set_params(**best).fit(X, y)

    return timed(search)


def grid_search(n_jobs):
    """Run ``GridSearchCV``."""
    X, y = read()
    return timed(
        lambda: GridSearchCV(classifier(), GRID, cv=FOLDS, n_jobs=n_jobs).fit(X, y)
    )


class NearestMeanNet(NeuralNet):
    """Plain skorch that scores by the nearest class mean of its training images."""

    def fit(self, X, y):
        super().fit(X, y)
        known = self.predict(X)
        self.means_ = np.stack([known[y == c].mean(axis=0) for c in np.unique(y)])
        return self

    def score(self, X, y):
        squares = ((self.predict(X)[:, None] - self.means_) ** 2).sum(axis=2)
        return np.mean(squares.argmin(axis=1) == y)


def skorch_search():
    """Run the same search with plain skorch."""
    images, y = read()
    X = standardised(images).numpy()
    net = NearestMeanNet(
        UnitNet,
        ContrastiveLoss,
        module__input_shape=(1, 28, 28),
        optimizer=torch.optim.AdamW,
        lr=3e-3,
        batch_size=128,
        max_epochs=5,
        train_split=None,
        iterator_train__shuffle=True,
        verbose=0,
    )
    grid = {
        "criterion__margin": GRID["margin"],
        "module__backbone": GRID["backbone"],
    }
    return timed(lambda: GridSearchCV(net, grid, cv=FOLDS).fit(X, y))


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    figures = run_contest(
        {
            "by hand": (by_hand,),
            "sksiamese, GridSearchCV": (grid_search, 1),
            "sksiamese, GridSearchCV, n_jobs=2": (grid_search, 2),
            "plain skorch, GridSearchCV": (skorch_search,),
        },
        parser.parse_args().rounds,
    )
    title = "Grid search, 19 fits: seconds (less is better)"
    print_ratios(title, figures, "seconds", "by hand", digits=1)
    write_results("search_grid", figures)


if __name__ == "__main__":
    main()
