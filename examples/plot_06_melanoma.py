"""
Melanoma at 1 in 57: does balancing help?
=========================================

Pneumonia was frequent; melanomas are rare in screening, 1.8 % of the images of ISIC
2020. Here one training image in 57 shows one. Four ways to deal with that are compared
on the same split, with the scores that matter when one class is rare.
"""

# %%
# Split lesions, then thin out
# ----------------------------
# HAM10000's lesions are split 70/30, so that no lesion is on both sides. Of the
# training melanomas one for every 56 other lesions is kept. A part of the other
# training lesions is set aside to choose a threshold.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import make_pipeline
from scipy.stats import bootstrap
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    PrecisionRecallDisplay,
    RocCurveDisplay,
    f1_score,
    roc_auc_score,
)
from sklearn.model_selection import GroupShuffleSplit

from sksiamese import SiameseClassifier
from sksiamese.datasets import fetch_images
from sksiamese.display import EmbeddingDisplay
from sksiamese.imbalance import ImageSampler

plt.style.use("seaborn-v0_8-colorblind")
(folder := Path("figures")).mkdir(exist_ok=True)
try:
    data = fetch_images("ham10000")
    X, lesions = data.images, data.groups
    y = data.target == np.flatnonzero(data.target_names == "mel")
except OSError as error:
    print(f"{error}\n\nDigits of scikit-learn stand in: is it an 8?")
    data = load_digits()
    X, y, lesions = data.images, data.target == 8, np.arange(len(data.images))
y = y.astype(int)


def split(rows, share):
    """Split rows by lesion."""
    folds = GroupShuffleSplit(1, test_size=share, random_state=0)
    return [rows[i] for i in next(folds.split(rows, groups=lesions[rows]))]


train, test = split(np.arange(len(y)), 0.3)
others, melanomas = train[y[train] == 0], train[y[train] == 1]
others, set_aside = split(others, 0.15)
melanomas = np.random.default_rng(0).choice(melanomas, len(others) // 56, replace=False)
train = np.concatenate([others, melanomas])
print(f"Melanomas: {y[train].sum()} of {len(train)} training images,", end=" ")
print(f"{y[test].sum()} of {len(test)} test images")

# %%
# Four ways
# ---------
# ``pair_budget="natural"`` fills batches with images as they come, two melanomas in a
# batch of 128. A sampler repeats the melanomas. The default gives both classes half of
# each batch. The focal loss puts weight on pairs that are still wrong. All four turn
# the images by any angle and mirror them, since a lesion has no up or left, see them at
# 32 x 32 pixels and train six epochs: with 25 melanomas, more is learning by heart.
# That was chosen on other splits of the same lesions, which flatters all four.

common = {"augment": "isotropic", "image_size": 32, "max_epochs": 6,
          "weight_decay": 0.2, "random_state": 0}  # fmt: skip
natural = SiameseClassifier(pair_budget="natural", **common)
sampler = ImageSampler(RandomOverSampler(random_state=0))
models = {
    "no balancing": natural,
    "sampler": make_pipeline(sampler, clone(natural)),
    "balanced batches": SiameseClassifier(**common),
    "focal loss": SiameseClassifier(loss="focal_contrastive", **common),
}
scores, thresholds = {}, {}
for name, model in models.items():
    model.fit(X[train], y[train])
    scores[name] = model.predict_proba(X[test])[:, 1]
    # Specificity 0.75, judged on lesions that neither trained nor test.
    thresholds[name] = np.quantile(model.predict_proba(X[set_aside])[:, 1], 0.75)

# %%
# Scores that matter
# ------------------
# Accuracy says nothing here: "never a melanoma" is right for 98 % of such patients.


def interval(score, *arrays):
    """Score with its 95 % bootstrap interval."""
    low, high = bootstrap(
        arrays, score, paired=True, vectorized=False, n_resamples=300,
        method="percentile", random_state=0,
    ).confidence_interval  # fmt: skip
    return f"{score(*arrays):.2f} ({low:.2f}-{high:.2f})"


print("                  Area under the ROC   sensitivity        specificity        F1")
for name, p in scores.items():
    found = p >= thresholds[name]
    print(
        f"{name:17s} {interval(roc_auc_score, y[test], p):20s}"
        f" {interval(np.mean, found[y[test] == 1]):18s}"
        f" {interval(np.mean, ~found[y[test] == 0]):18s} {f1_score(y[test], found):.2f}"
    )

# %%
# Curves of all four:
fig, (roc, pr) = plt.subplots(1, 2, figsize=(8, 4.4), layout="constrained")
for name, p in scores.items():
    RocCurveDisplay.from_predictions(y[test], p, ax=roc, name=name)
    PrecisionRecallDisplay.from_predictions(y[test], p, ax=pr, name=name)
roc.set(title="Receiver operating characteristic")
pr.legend(loc="upper right")
pr.set(title=f"{y[test].mean():.0%} melanomas", xlabel="recall", ylabel="precision")
fig.savefig(folder / "melanoma.png", dpi=120)

# %%
# A closer look at one: errors at the threshold, and where test images lie.

best, labels = "balanced batches", np.array(["another", "melanoma"])
found = scores[best] >= thresholds[best]
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.8), layout="constrained")
ConfusionMatrixDisplay.from_predictions(
    labels[y[test]], labels[found.astype(int)], ax=left, colorbar=False, cmap="Blues"
)
left.set(title=f"Errors, {best}")
options = {"method": "tsne", "random_state": 0, "ax": right}
EmbeddingDisplay.from_estimator(models[best], X[test], labels[y[test]], **options)
right.set(title="Embedding of the test images", xlabel="", ylabel="")
fig.savefig(folder / "melanoma_embedding.png", dpi=120)

# %%
# What to take away
# -----------------
# Compare on one split, with intervals, and at a threshold that no test image chose.
# With so few melanomas intervals overlap: one split cannot rank the four. The benchmark
# ``tests/benchmarks/melanoma.py`` takes five, and :ref:`guide-imbalance` has more ways.
# Can pairs be trusted? :ref:`sphx_glr_auto_examples_plot_07_honest_pairs.py` is next.
