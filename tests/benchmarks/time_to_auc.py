"""Seconds of training until PneumoniaMNIST's validation set reaches an AUC.

    python -m tests.benchmarks.time_to_auc [--rounds 5] [--target 0.99]

prints a Markdown table and writes ``time_to_auc.json``. Each round is another seed. The
*pair loader* is the published recipe of ``training.py``; its pairs are drawn before the
clock starts, and both clocks stand still while the AUC is measured.
"""

import argparse
import contextlib
import itertools
import math
import time
import warnings

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from skorch.callbacks import Callback

from sksiamese import SiameseEmbedder
from tests.benchmarks._contest import (
    print_ratios,
    read_split,
    run_contest,
    write_results,
)
from tests.benchmarks.training import UnitNet, pair_loader_parts

CHECK_EVERY = 5  # steps between two looks at the AUC


class Clock:
    """Seconds that pass while it runs."""

    def __init__(self):
        self.seconds = 0.0
        self.started = time.perf_counter()

    @contextlib.contextmanager
    def paused(self):
        self.seconds += time.perf_counter() - self.started
        yield
        self.started = time.perf_counter()


def validation_auc(embed, data):
    """AUC of PneumoniaMNIST's validation set by the distance to two prototypes."""
    train, labels, images, truth = data
    Z, new = embed(train), embed(images)
    normal, sick = (Z[labels == c].mean(axis=0) for c in (0, 1))
    nearer = np.linalg.norm(new - normal, axis=1) - np.linalg.norm(new - sick, axis=1)
    return roc_auc_score(truth, nearer)


def read_pneumonia():
    """Training and validation images with their labels."""
    train, new = (read_split("pneumoniamnist", part) for part in ("train", "val"))
    return *train, *new


class StopAt(Callback):
    """Stop the training at an AUC; the clock stands still while it is measured."""

    def __init__(self, data, clock, target):
        self.data = data
        self.clock = clock
        self.target = target
        self.step = 0

    def __deepcopy__(self, memo):
        return self  # the clock is ours, not a copy's

    def on_batch_end(self, net, training=False, **kwargs):
        self.step += 1
        if self.step % CHECK_EVERY == 0:
            with self.clock.paused():
                self.auc = validation_auc(net.embed, self.data)
            if self.auc >= self.target:
                raise KeyboardInterrupt


def ours(target, params):
    """Seconds of ``fit``, from the call to the step that reaches the AUC."""
    data, seeds = read_pneumonia(), itertools.count(-1)  # the first is the warm-up

    def play():
        clock = Clock()
        stop = StopAt(data, clock, target)
        embedder = SiameseEmbedder(
            random_state=max(0, next(seeds)),
            validation_fraction=0,
            callbacks=[stop],
            **params,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the interruption
            embedder.fit(*data[:2])
        return clock.seconds if stop.auc >= target else math.nan

    return play


def pair_loader(target, most=3000):
    """Seconds of the published recipe, its pairs drawn before the clock starts."""
    data, seeds = read_pneumonia(), itertools.count(-1)
    mean, std = data[0].mean(), data[0].std()

    def play():
        torch.manual_seed(max(0, next(seeds)))
        net = UnitNet((1, 28, 28))

        @torch.no_grad()
        def embed(images):
            net.eval()
            x = (torch.from_numpy(images).float()[:, None] - mean) / std
            return torch.cat([net(part) for part in x.split(256)]).numpy()

        loader, step = pair_loader_parts(*data[:2], net)
        clock = Clock()
        for taken, batch in enumerate(
            itertools.chain.from_iterable(itertools.repeat(loader)), 1
        ):
            step(*batch)
            if taken % CHECK_EVERY == 0:
                with clock.paused():
                    auc = validation_auc(embed, data)
                    net.train()
                if auc >= target:
                    return clock.seconds
            if taken == most:
                return math.nan

    return play


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--target", type=float, default=0.99)
    options = parser.parse_args()
    figures = run_contest(
        {
            "pair loader": (pair_loader, options.target),
            "sksiamese": (ours, options.target, {}),
            "sksiamese, max_epochs=2": (ours, options.target, {"max_epochs": 2}),
        },
        options.rounds,
    )
    title = f"PneumoniaMNIST: seconds of training to validation AUC {options.target}"
    print_ratios(title, figures, "seconds", "pair loader", digits=1)
    write_results("time_to_auc", {"seconds": figures})


if __name__ == "__main__":
    main()
