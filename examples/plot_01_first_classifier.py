"""
A first classifier
==================

The course begins with the whole in small: learn to read handwritten digits from 450
labelled images, see how sure the classifier is, and look at what it has learned. The
images ship with scikit-learn, so nothing is downloaded.
"""

# %%
# Real images, few labels
# -----------------------
# scikit-learn's digits are 1,797 real scans of 8x8 pixels. We label a quarter of them.
# The split comes first: no test image has any part in what follows, not even as one
# half of a pair.

from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.metrics import classification_report
from sklearn.model_selection import train_test_split

from sksiamese import SiameseClassifier
from sksiamese.display import EmbeddingDisplay, HistoryDisplay
from sksiamese.metrics import expected_calibration_error

plt.style.use("seaborn-v0_8-colorblind")
(folder := Path("figures")).mkdir(exist_ok=True)
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
# Left, a t-SNE map of test images, framed in the colour of their class. Right, the
# training: pairs of one class draw together, pairs of two classes move apart to the
# margin (dotted) and beyond, and held-out images, which train nothing, follow.

fig, (left, right) = plt.subplots(
    1, 2, figsize=(8.6, 4.2), layout="constrained", width_ratios=[1.25, 1]
)
EmbeddingDisplay.from_estimator(
    clf, X_test, y_test, method="tsne", images=True, thumbnail_size=12,
    random_state=0, ax=left,
)  # fmt: skip
left.set(title="Embedding of the test images", xlabel="", ylabel="")
curves = HistoryDisplay.from_estimator(clf, ax=right)
curves.axes_["distance"].axhline(clf.margin, color="black", linestyle=":")
right.set_title("Training")
fig.savefig(folder / "first_classifier.png", dpi=120)
print(f"Figure saved to {folder / 'first_classifier.png'}")

# %%
# What to take away
# -----------------
# A siamese network is three lines with :class:`sksiamese.SiameseClassifier`. Split
# before pairs are formed, and check the calibration on images that trained nothing. All
# of it is told in :ref:`guide-classify`; what the curves say, and when they deceive, is
# next: :ref:`sphx_glr_auto_examples_plot_02_learn_from_pairs.py`.
