"""Training throughput, beside the bare network and beside what is in use today.

    python -m tests.benchmarks.training [PART ...] [--rounds 5]

prints Markdown tables and writes ``training.json``. Parts: ``mnist``, ``pneumonia``,
``synthetic`` (images per second of training epochs, all contestants with the backbone
``conv`` and batches of 128) and ``fit`` (a whole default ``fit`` on PneumoniaMNIST).
Needs pytorch-metric-learning.

Contestants: the *bare loop* is forward, backward and optimizer step on one resident
random batch; the *pair loader* is the published recipe, pairs materialised and two
forward passes a step; *pytorch-metric-learning* follows that project's examples; *plain
skorch* is its ``NeuralNet`` with this library's loss.
"""

import argparse
import contextlib
import time
import warnings

import numpy as np
import torch
from skorch import NeuralNet
from torch import nn
from torch.nn import functional as F

from sksiamese import SiameseClassifier, SiameseEmbedder
from sksiamese._batches import ClassBalancedBatches
from sksiamese._memory import kept_memory
from sksiamese.backbones import make_backbone
from sksiamese.losses import ContrastiveLoss
from tests.benchmarks._contest import (
    print_ratios,
    print_table,
    ratios,
    read_images,
    run_contest,
    spread,
    write_results,
)

BATCH = 128
PARTS = ("mnist", "pneumonia", "synthetic", "fit")


def shape_of(images):
    """Channels, height and width."""
    return (images.shape[3] if images.ndim == 4 else 1, *images.shape[1:3])


def standardised(images):
    """Images as float32 channels-first tensors with mean 0 and deviation 1."""
    x = torch.from_numpy(images).float()
    x = x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2)
    return ((x - x.mean()) / x.std()).contiguous()


class UnitNet(nn.Module):
    """The backbone with embeddings of unit length, for those who lack that."""

    def __init__(self, input_shape, backbone="conv"):
        super().__init__()
        self.backbone = make_backbone(backbone, input_shape)[0]

    def forward(self, x):
        return F.normalize(self.backbone(x))


# --- contestants: each returns a function that trains and returns images per second ---


def bare_loop(name, bfloat16, channels_last, keep=False):
    """Forward, backward, step, on one batch: what the backbone alone costs."""
    images, _ = read_images(name)
    shape = shape_of(images)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = make_backbone("conv", shape)[0].train().to(memory_format=layout)
    x = torch.randn(BATCH, *shape).contiguous(memory_format=layout)
    target = torch.randn(BATCH, 64)
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3, fused=True)
    n_steps = max(20, len(images) // BATCH)

    def play():
        start = time.perf_counter()
        with kept_memory("cpu") if keep else contextlib.nullcontext():
            for _ in range(n_steps):
                with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                    z = net(x)
                loss = (z.float() - target).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return n_steps * BATCH / (time.perf_counter() - start)

    return play


def sample_pairs(labels, rng):
    """Draw one positive and one negative partner for each image, as recipes do."""
    rows = {c: np.flatnonzero(labels == c) for c in np.unique(labels)}
    others = {c: np.flatnonzero(labels != c) for c in rows}
    positive = [rng.choice(rows[c]) for c in labels]
    negative = [rng.choice(others[c]) for c in labels]
    first = np.arange(len(labels))
    pairs = np.concatenate(
        [np.stack([first, positive], 1), np.stack([first, negative], 1)]
    )
    return pairs, np.repeat([1.0, 0.0], len(labels)).astype(np.float32)


def pair_loader_parts(images, labels, net):
    """Build the loader and the step of the published recipe."""
    x = standardised(images)
    pairs, same = sample_pairs(labels, np.random.default_rng(0))
    data = torch.utils.data.TensorDataset(
        x[pairs[:, 0]], x[pairs[:, 1]], torch.from_numpy(same)
    )
    loader = torch.utils.data.DataLoader(data, BATCH, shuffle=True)
    optimizer = torch.optim.Adam(net.train().parameters(), 1e-3)

    def step(first, second, is_same):
        distance = F.pairwise_distance(net(first), net(second))
        apart = F.relu(1 - distance)
        loss = (is_same * distance**2 + (1 - is_same) * apart**2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return 2 * len(first)

    return loader, step


def pair_loader(name):
    """Throughput of the published recipe; two images a pair."""
    images, labels = read_images(name)
    images, labels = images[:1280], labels[:1280]  # it is slow
    loader, step = pair_loader_parts(images, labels, UnitNet(shape_of(images)))
    return _timed(lambda: sum(step(*batch) for batch in loader))


def _timed(epoch):
    """Make a function that runs an epoch and returns its images per second."""

    def play():
        start = time.perf_counter()
        count = epoch()
        return count / (time.perf_counter() - start)

    return play


class PillowSet(torch.utils.data.Dataset):
    """Images as torchvision's data sets give them: one Pillow image at a time."""

    def __init__(self, images, labels, transform):
        self.images = images
        self.labels = labels
        self.transform = transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        from PIL import Image

        return self.transform(Image.fromarray(self.images[i])), int(self.labels[i])


def metric_learning(name):
    """pytorch-metric-learning as in its examples."""
    from pytorch_metric_learning import losses, samplers
    from torchvision import transforms

    images, labels = read_images(name)
    n_channels = shape_of(images)[0]
    steps = transforms.ToTensor(), transforms.Normalize([0.5] * n_channels, [0.25])
    data = PillowSet(images, labels, transforms.Compose(steps))
    sampler = samplers.MPerClassSampler(
        labels, m=BATCH // len(np.unique(labels)), length_before_new_iter=len(labels)
    )
    loader = torch.utils.data.DataLoader(data, BATCH, sampler=sampler)
    net = UnitNet(shape_of(images)).train()
    criterion = losses.ContrastiveLoss()
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)

    def epoch():
        count = 0
        for x, y in loader:
            optimizer.zero_grad()
            criterion(net(x), y).backward()
            optimizer.step()
            count += len(x)
        return count

    return _timed(epoch)


def plain_skorch(name):
    """Run skorch's own iterators and loop with this library's loss, all pairs."""
    images, labels = read_images(name)
    x = standardised(images).numpy()
    net = NeuralNet(
        UnitNet(shape_of(images)),
        ContrastiveLoss,
        optimizer=torch.optim.AdamW,
        lr=3e-3,
        batch_size=BATCH,
        max_epochs=1,
        train_split=None,
        iterator_train__shuffle=True,
        verbose=0,
    ).initialize()

    def epoch():
        net.partial_fit(x, labels)
        return len(x)

    return _timed(epoch)


def _n_trained(labels):
    """Images that one epoch embeds: whole batches of P x K."""
    batches = ClassBalancedBatches(labels, BATCH, random_state=None)
    return len(batches) * batches.n_classes_ * batches.n_images_


def ours(name, params):
    """Training epochs of ``fit``, as ``history_`` records their seconds."""
    images, labels = read_images(name)
    n_epochs = max(3, 8_000 // len(images))

    def play():
        embedder = SiameseEmbedder(
            max_epochs=n_epochs, validation_fraction=0, random_state=0, **params
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of noise nothing is learned
            embedder.fit(images, labels)
        return n_epochs * _n_trained(labels) / sum(embedder.history_["seconds"])

    return play


# --- a whole fit ----------------------------------------------------------------------


def whole_fit(name, augment):
    """Images per second of a default ``fit``, everything counted in."""
    images, labels = read_images(name)

    def play():
        start = time.perf_counter()
        clf = SiameseClassifier(augment=augment, random_state=0).fit(images, labels)
        seconds = time.perf_counter() - start
        steps = sum(clf.net_.history[:, "train_batch_count"])
        return steps * BATCH / seconds  # two classes of 64

    return play


# --- the command ----------------------------------------------------------------------


def throughput(name, rounds):
    """Print the table of one set and return its figures."""
    still, exact = {"augment": None}, {"precision": "float32"}
    figures = run_contest(
        {
            "bare loop, bfloat16": (bare_loop, name, True, True),
            "bare loop, bfloat16, memory kept": (bare_loop, name, True, True, True),
            "bare loop, float32 channels last": (bare_loop, name, False, True),
            "bare loop, float32 channels last, memory kept": (
                bare_loop,
                name,
                False,
                True,
                True,
            ),
            "bare loop, float32": (bare_loop, name, False, False),
            "sksiamese": (ours, name, {}),
            "sksiamese, augment=None": (ours, name, still),
            "sksiamese, float32": (ours, name, exact),
            "sksiamese, float32, augment=None": (ours, name, still | exact),
            "pair loader": (pair_loader, name),
            "pytorch-metric-learning": (metric_learning, name),
            "plain skorch": (plain_skorch, name),
        },
        rounds,
    )
    title = f"Training, {name}: images per second"
    print_ratios(title, figures, "images/s", "bare loop, bfloat16")
    rows = []
    for who in ("sksiamese", "sksiamese, augment=None", "sksiamese, float32"):
        row = [who]
        for peer in (
            "bare loop, float32 channels last",
            "pair loader",
            "pytorch-metric-learning",
            "plain skorch",
        ):
            row.append(spread(ratios(figures, peer)[who], 2))
        rows.append(row)
    header = "", "/ bare float32 channels last", "/ pair loader"
    header += "/ pytorch-metric-learning", "/ plain skorch"
    print_table(f"Training, {name}: ratios", header, rows)
    return figures


def pairs_ratio(name, figures):
    """Print pairs per second beside the pair loader's."""
    _, labels = read_images(name)
    batches = ClassBalancedBatches(labels, BATCH, random_state=None)
    per_image = (batches.n_classes_ * batches.n_images_ - 1) / 2
    times = [
        own * per_image / (theirs / 2)
        for own, theirs in zip(
            figures["sksiamese"], figures["pair loader"], strict=True
        )
    ]
    pairs = [own * per_image for own in figures["sksiamese"]]
    print_table(
        f"Training, {name}: pairs formed per second",
        ("contestant", "pairs/s", "ratio to pair loader"),
        [
            ("sksiamese", spread(pairs, 0), spread(times, 0)),
            ("pair loader", spread([v / 2 for v in figures["pair loader"]], 0), 1),
        ],
    )


def fit_contest(rounds):
    """Run a whole default fit beside the bare loop."""
    figures = run_contest(
        {
            "bare loop, bfloat16": (bare_loop, "pneumonia", True, True),
            "bare loop, bfloat16, memory kept": (
                bare_loop,
                "pneumonia",
                True,
                True,
                True,
            ),
            "sksiamese, whole fit": (whole_fit, "pneumonia", "auto"),
            "sksiamese, whole fit, augment=None": (whole_fit, "pneumonia", None),
        },
        rounds,
    )
    title = "SiameseClassifier().fit on PneumoniaMNIST: images trained per second"
    print_ratios(title, figures, "images/s", "bare loop, bfloat16")
    return figures


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    results = {}
    for part in options.parts or PARTS:
        if part == "fit":
            results[part] = fit_contest(options.rounds)
        else:
            results[part] = throughput(part, options.rounds)
            pairs_ratio(part, results[part])
    write_results("training", results)


if __name__ == "__main__":
    main()
