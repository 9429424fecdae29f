"""Embedding and prediction, beside the bare network and what is in use today.

    python -m tests.benchmarks.inference [--rounds 5]

prints Markdown tables and writes ``inference.json``: ``transform`` in images per second
and ``predict`` of one image in microseconds. All contestants have the backbone
``conv``; the *bare forward* is the network on resident, standardised tensors, in chunks
of the size that was fastest for it.
"""

import argparse
import contextlib
import io
import itertools
import statistics
import time
import warnings

import numpy as np
import torch
from skorch import NeuralNet

from sksiamese import SiameseClassifier
from tests.benchmarks._contest import (
    print_ratios,
    read_images,
    run_contest,
    write_results,
)
from tests.benchmarks.training import UnitNet, shape_of, standardised

N_IMAGES = {"pneumonia": 4096, "synthetic": 1024}


def read(name):
    """Images and labels, a round number of them."""
    images, labels = read_images(name)
    return images[: N_IMAGES[name]], labels[: N_IMAGES[name]]


def fitted(name):
    """Train a classifier just enough to have one, and return its network too."""
    images, labels = read(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clf = SiameseClassifier(max_epochs=1, random_state=0)
        clf.fit(images[:1000], labels[:1000])
    return clf, clf.net_.module_.eval(), images


def standardised_layout(images):
    """Resident input of a bare forward pass."""
    return standardised(images).contiguous(memory_format=torch.channels_last)


# --- many images: images per second -----------------------------------------------


def throughput(embed, n_images):
    """Make a function that embeds once and returns images per second."""

    def play():
        start = time.perf_counter()
        embed()
        return n_images / (time.perf_counter() - start)

    return play


def bare_forward(name):
    """Run the backbone on resident tensors."""
    _, module, images = fitted(name)
    x = standardised_layout(images)

    def embed(step):
        with torch.inference_mode():
            for part in x.split(step):
                module.backbone(part)

    rates = {
        step: max(throughput(lambda s=step: embed(s), len(x))() for _ in range(3))
        for step in (16, 32, 64, 128, 256, 512)
    }
    best = max(rates, key=rates.get)
    return throughput(lambda: embed(best), len(x))


def transform(name):
    """Run ``transform`` on the caller's uint8 array."""
    clf, _, images = fitted(name)
    return throughput(lambda: clf.transform(images), len(images))


def skorch_forward(name):
    """Run ``NeuralNet.predict`` with batches of 128."""
    images, _ = read(name)
    net = NeuralNet(UnitNet(shape_of(images)), torch.nn.MSELoss, batch_size=128)
    net.initialize()
    x = standardised(images).numpy()
    return throughput(lambda: net.predict(x), len(x))


def metric_learning_forward(name):
    """Run pytorch-metric-learning's tester, which its examples embed with."""
    from pytorch_metric_learning import testers
    from torchvision import transforms

    from tests.benchmarks.training import PillowSet

    images, labels = read(name)
    steps = (
        transforms.ToTensor(),
        transforms.Normalize([0.5] * shape_of(images)[0], 0.25),
    )
    data = PillowSet(images, labels, transforms.Compose(steps))
    tester = testers.BaseTester(
        dataloader_num_workers=0, batch_size=128, data_device="cpu"
    )
    net = UnitNet(shape_of(images)).eval()

    def embed():
        with contextlib.redirect_stderr(io.StringIO()):  # a progress bar
            tester.get_all_embeddings(data, net)

    return throughput(embed, len(data))


# --- one image: microseconds ------------------------------------------------------


def latency(call, n_calls=300):
    """Make a function that returns the median microseconds of a call."""

    def play():
        seconds = []
        for _ in range(n_calls):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds) * 1e6

    return play


def one_bare(name):
    """Run the backbone on one resident, standardised image."""
    _, module, images = fitted(name)
    x = standardised_layout(images)[:1]

    def call():
        with torch.inference_mode():
            module.backbone(x)

    return latency(call)


def one_module(name):
    """Run the whole network, preprocessing included, on one resident image."""
    _, module, images = fitted(name)
    x = torch.from_numpy(images[:1])

    def call():
        with torch.inference_mode():
            module(x)

    return latency(call)


def one_predict(name):
    """Run ``predict`` on one image."""
    clf, _, images = fitted(name)
    return latency(lambda: clf.predict(images[:1]))


def one_skorch(name):
    """Run ``NeuralNet.predict`` on one standardised image."""
    images, _ = read(name)
    net = NeuralNet(UnitNet(shape_of(images)), torch.nn.MSELoss).initialize()
    x = standardised(images).numpy()[:1].astype(np.float32)
    return latency(lambda: net.predict(x))


# What is asked, its unit, and who answers; the first is what the others are held to.
CONTESTS = {
    "transform": (
        "images/s",
        {
            "bare forward": bare_forward,
            "sksiamese, transform": transform,
            "plain skorch": skorch_forward,
            "pytorch-metric-learning": metric_learning_forward,
        },
    ),
    "one image": (
        "microseconds",
        {
            "bare forward": one_bare,
            "bare forward with preprocessing": one_module,
            "sksiamese, predict": one_predict,
            "plain skorch": one_skorch,
        },
    ),
}


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    results = {}
    for (contest, (unit, builders)), name in itertools.product(
        CONTESTS.items(), N_IMAGES
    ):
        contestants = {who: (build, name) for who, build in builders.items()}
        figures = run_contest(contestants, rounds)
        print_ratios(f"{contest}, {name}: {unit}", figures, unit, "bare forward")
        results[f"{contest} {name}"] = figures
    write_results("inference", results)


if __name__ == "__main__":
    main()
