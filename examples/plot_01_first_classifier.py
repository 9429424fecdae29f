"""
A first classifier
==================

Learn to read handwritten digits from 450 labelled images, see how sure the classifier
is, and look at the embedding it has learned. The images ship with scikit-learn, so
nothing is downloaded.
"""

# %%
# Real images, few labels
# -----------------------
# scikit-learn's digits are 1,797 real scans of 8x8 pixels. We label a quarter of them.
# The split comes first: no test image has any part in what follows, not even as one
# half of a pair.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.manifold import TSNE
from sklearn.metrics import classification_report
from sklearn.model_selection import train_test_split

from sksiamese import SiameseClassifier
from sksiamese.metrics import expected_calibration_error

digits = load_digits()
X_train, X_test, y_train, y_test = train_test_split(
    digits.images, digits.target, train_size=450, stratify=digits.target, random_state=0
)
print(f"{len(X_train)} labelled images of shape {X_train.shape[1:]}")

# %%
# Train
# -----
# Images go in as they are. Pairs are formed within each batch; 10 % of the labelled
# images are held out to follow the progress and to calibrate the probabilities.

clf = SiameseClassifier(random_state=0, verbose=1).fit(X_train, y_train)

# %%
# Report
# ------
# ``predict``, ``predict_proba`` and ``score`` are those of any scikit-learn classifier.
# The calibration error says how far the probabilities are from the truth: 0.02 means
# that of 100 predictions made with 90 % probability about 88 to 92 are right.

print(classification_report(y_test, clf.predict(X_test), digits=3))
error = expected_calibration_error(y_test, clf.predict_proba(X_test))
print(f"Expected calibration error on the test images: {error:.3f}")

# %%
# Look at what was learned
# ------------------------
# Left, a t-SNE map of the test images, coloured by their true class, with the prototype
# of each class. Right, the distances during training: pairs of one class draw together,
# pairs of two classes move apart to the margin and beyond.

Z = clf.transform(X_test)
embedding_map = TSNE(random_state=0).fit_transform(np.concatenate([Z, clf.prototypes_]))
fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")

left.scatter(*embedding_map[: len(Z)].T, c=y_test, cmap="tab10", s=8, linewidths=0)
for label, (x, y) in zip(clf.classes_, embedding_map[len(Z) :], strict=True):
    left.annotate(
        str(label), (x, y), ha="center", va="center", weight="bold",
        bbox={"boxstyle": "circle", "fc": "white", "ec": plt.cm.tab10(label)},
    )  # fmt: skip
left.set(title="Embedding of the test images (t-SNE)", xticks=[], yticks=[])

epochs = np.arange(1, clf.n_iter_ + 1)
right.plot(epochs, clf.history_["positive_distance"], label="same class")
right.plot(epochs, clf.history_["negative_distance"], label="different classes")
right.axhline(clf.margin, color="gray", linestyle=":", label="margin")
right.set(
    title="Mean distance of training pairs",
    xlabel="epoch",
    ylabel="Euclidean distance",
    ylim=(0, None),
)
right.legend()

folder = Path("figures")
folder.mkdir(exist_ok=True)
fig.savefig(folder / "first_classifier.png", dpi=120)
print(f"Figure saved to {folder / 'first_classifier.png'}")

# %%
# What to take away
# -----------------
# A siamese network is three lines with :class:`sksiamese.SiameseClassifier`. Split
# before pairs are formed, check the calibration on images that trained nothing, and
# look at the distance curves: when the two do not part, nothing was learned.
