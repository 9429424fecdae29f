"""
Learn from pairs, and read the curves
=====================================

The first example hid the pairs. Here are two ways to learn from them, a head that gives
the probability of "same" and distances with a margin, and the curves that tell whether
anything was learned, on digits, brains, chests and pets.
"""

# %%
# Images first, pairs second
# --------------------------
# All four sets have official training and test images. Training images that have a copy
# among the test images, as many brains do, are left out. Pairs are drawn last, among
# test images only. A fifth set is to fail: the first one, with labels by a coin.

import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.utils import Bunch
from torch import nn
from torchvision.models import DenseNet

from sksiamese import SiameseEmbedder
from sksiamese.datasets import fetch_images
from sksiamese.display import HistoryDisplay, PairDistanceDisplay, PairGridDisplay
from sksiamese.metrics import confidence_interval
from sksiamese.pairs import find_duplicates, sample_pairs

plt.style.use("seaborn-v0_8-colorblind")
(folder := Path("figures")).mkdir(exist_ok=True)
NAMES, rng = ("mnist", "brain_mri", "pneumoniamnist"), np.random.default_rng(0)
try:
    sets = {name: fetch_images(name) for name in (*NAMES, "cats_dogs")}
except (ImportError, OSError) as error:
    print(f"{error}\n\nDigits of scikit-learn stand in.")
    sets = {"digits": load_digits()}
    sets["digits"].split = np.resize(["train", "train", "test"], 1797)
first = next(iter(sets.values()))
sets["coin"] = Bunch(**{**first, "target": rng.integers(2, size=len(first.target))})


def draw(data, n_train, n_test):
    """Draw images, without training images that have a copy in the test."""
    train, test = (
        rng.permutation(np.flatnonzero(data.split == split))[:n]
        for split, n in (("train", n_train), ("test", n_test))
    )
    copies = find_duplicates(data.images[train], data.images[test]).rows[:, 0]
    rows = np.delete(train, copies), test
    return tuple(a[part] for part in rows for a in (data.images, data.target))


def judge(same, distances, pairs):
    """Area under the ROC curve; its 95 % interval resamples images, not pairs."""
    return confidence_interval(
        roc_auc_score, same, -distances, pairs=pairs, n_resamples=100, random_state=0
    )


# %%
# A learned head, or distances
# ----------------------------
# Introductory work on MNIST has one dense layer for both members of a pair, a head that
# turns the differences :math:`|a - b|` of their embeddings into the probability of
# "same", and binary cross-entropy: that is ``loss="logistic"``. The contrastive loss
# pulls pairs of one class together, and pushes others apart as far as ``margin``.

X, y, X_test, y_test = draw(first, 3000, 1500)
pairs, same = sample_pairs(y_test, 5000, random_state=0)
members = tuple(X_test[pairs.T])
options = {"backbone": "dense128", "max_epochs": 20, "random_state": 0}
head = SiameseEmbedder(loss="logistic", **options).fit(X, y)
metric = SiameseEmbedder(loss="contrastive", **options).fit(X, y)
unlike, distances = 1 - head.pair_proba(members), metric.pair_distance(members)
print(f"Learned head: accuracy at one half {np.mean((unlike <= 0.5) == same):.3f}")
print(f"Learned head: area under the ROC {judge(same, unlike, pairs)}")
print(f"Contrastive:  area under the ROC {judge(same, distances, pairs)}")

fig, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3.6), layout="constrained")
PairDistanceDisplay.from_predictions(same, unlike, threshold=0.5, ax=left)
left.set(title="Learned head", xlabel="Probability of two classes")
PairDistanceDisplay.from_predictions(same, distances, ax=right)
right.axvline(metric.margin, color="black", linestyle=":")
right.set(title="Contrastive (dotted: margin)", ylabel="")
fig.savefig(folder / "head_or_distance.png")

# %%
# Both rank pairs. Where both kinds are as frequent, the head's one half will do as a
# threshold; a distance gets one from further images (:ref:`guide-verify`). The worst:

given = {"images": X_test, "threshold": 0.5, "n_pairs": 8}
fig = PairGridDisplay.from_predictions(pairs, same, unlike, **given).figure_
fig.savefig(folder / "hardest_pairs.png")

# %%
# Curves to read
# --------------
# A DenseNet and the contrastive loss, as in published work on these sets. That has
# ``backbone="densenet121"`` with 58 dense layers; this one has 10, trains in seconds,
# and goes in as any network of your own does (:ref:`guide-extend`).


def small_densenet(input_shape, embedding_dim=64):
    """Dense blocks of 2, 4 and 4 layers, behind a layer that keeps the image's size."""
    network = DenseNet(16, (2, 4, 4), 32, num_classes=embedding_dim)
    network.features.conv0 = nn.Conv2d(input_shape[0], 32, 3, padding=1, bias=False)
    return network


embedder = SiameseEmbedder(
    small_densenet, image_size=32, max_epochs=10, batch_size=64, random_state=0
)
fig = plt.figure(figsize=(7.5, 3.2 * len(sets)), layout="constrained")
axes = fig.subplots(len(sets), 2)
for (left, right), (name, data) in zip(axes, sets.items(), strict=True):
    X, y, X_test, y_test = draw(data, 600, 600)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        embedder.fit(X, y)
    pairs, same = sample_pairs(y_test, 5000, random_state=0)
    a, b = embedder.transform(X_test)[pairs.T]
    distances = np.linalg.norm(a - b, axis=1)
    print(f"{name:14s} area under the ROC {judge(same, distances, pairs)}")
    print(*(f"{warning.message}\n" for warning in caught), end="")
    curves = {key: embedder.history_[key] for key in embedder.history_ if key != "loss"}
    HistoryDisplay.from_history(curves, ax=left).ax_.set_title(f"{name}: training")
    PairDistanceDisplay.from_predictions(same, distances, name="test pairs", ax=right)
    right.margins(y=0.5)
fig.savefig(folder / "curves.png")

# %%
# The curves are of training pairs; read them beside the area of held-out pairs.
#
# - *They part, and the area rises*: learned, as on MNIST.
# - *A gap stays, and the area falls short*: partly learned, as on brains and chests. A
#   test area below the held-out one may tell of other patients or another hospital.
# - *They part, but the area stays near one half*: learned by heart, as on cats and
#   dogs. More epochs mean nothing; take more images, or pretrained ``weights``.
# - *They stay together*: nothing is learned, as by the coin. Check labels, then ``lr``.
#
# What to take away
# -----------------
# A head gives probabilities, a distance an embedding to build on (:ref:`guide-losses`).
# Curves of training pairs alone never show that anything was learned. Is it more than
# a plain network learns? :ref:`sphx_glr_auto_examples_plot_03_few_images.py` tells.
