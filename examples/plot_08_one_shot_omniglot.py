"""
One shot: characters of alphabets that nobody trained on
=========================================================

Images were new so far, classes were not. Show a person one example of a new character,
and they will find it among others. Omniglot asks the same of a network: it learns from
30 alphabets what makes two drawings the same character, and is judged on 20 others.
"""

# %%
# Alphabets to learn from, and new ones
# -------------------------------------
# 964 characters for training, 659 for judging, 20 drawings of each, every one by
# another person. They are shrunk to 32 x 32 pixels, white on black.

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from sksiamese import SiameseClassifier
from sksiamese.datasets import fetch_images
from sksiamese.display import PairDistanceDisplay
from sksiamese.metrics import confidence_interval, equal_error_rate
from sksiamese.pairs import sample_pairs

plt.style.use("seaborn-v0_8-colorblind")
(folder := Path("figures")).mkdir(exist_ok=True)
rng = np.random.default_rng(0)
try:
    from PIL import Image

    data, n_drawings = fetch_images("omniglot"), 20
    shrunk = (Image.fromarray(255 - x).resize((32, 32), 4) for x in data.images)  # box
    X, y = np.stack([np.asarray(image) for image in shrunk]), data.target
    known, alphabet, drawing = data.split == "background", data.alphabet, data.drawer
except (ImportError, OSError) as error:
    print(f"{error}\n\nDigits of scikit-learn stand in: 0 to 5 known, 6 to 9 new.")
    data, n_drawings = load_digits(), 100
    y = data.target
    drawing = np.array([np.sum(y[:k] == c) for k, c in enumerate(y)])
    X, y, drawing = (a[drawing < 100] for a in (data.images, y, drawing))
    known, alphabet = y < 6, (y >= 6).astype(int)
first_new = y[~known].min()
print(f"{known.sum()} drawings to learn from, {(~known).sum()} of new characters")

# %%
# Train
# -----
# A batch holds four drawings each of up to 64 characters. With turned characters as
# further classes and four passes, ``python -m tests.benchmarks.verification omniglot``
# gets 93 % of the runs below right, and an equal error rate of 3.4 % (of three seeds).

clf = SiameseClassifier(
    loss="supervised_contrastive", embedding_dim=128, augment="strong", batch_size=256,
    classes_per_batch=min(64, len(np.unique(y[known]))), max_epochs=3, random_state=0,
)  # fmt: skip
clf.fit(X[known], y[known])
X_new, y_new, alphabet = X[~known], y[~known], alphabet[~known]
Z_new = clf.transform(X_new)

# %%
# Twenty one-shot runs
# --------------------
# In each run 20 characters of *one* alphabet are shown once, in one hand, and drawings
# of them in another hand are assigned. The published runs are a file of their own.

row_of = np.empty((len(np.unique(y_new)), n_drawings), dtype=int)
row_of[y_new - first_new, drawing[~known]] = np.arange(len(y_new))
path = Path(os.environ.get("SKSIAMESE_DATA", "."), "omniglot_oneshot_runs.npz")
runs, alphabets = [], np.unique(alphabet)
if n_drawings == 20 and path.exists():
    file = np.load(path)
    shown, asked = (row_of[file[f"{part}_character"], file[f"{part}_drawer"]]
                    for part in ("train", "test"))  # fmt: skip
    runs = list(zip(np.take_along_axis(shown, file["answer"], 1), asked, strict=True))
else:
    print("The published runs are not there: these are drawn anew.")
    for k in range(20):
        one = alphabet == alphabets[k // 2 % len(alphabets)]
        characters = rng.permutation(np.unique(y_new[one]))[:20] - first_new
        runs.append(row_of[characters][:, rng.permutation(n_drawings)[:2]].T)

chosen = []
for shown, asked in runs:
    nearest = KNeighborsClassifier(n_neighbors=1).fit(Z_new[shown], shown)
    chosen.append(nearest.predict(Z_new[asked]))
right = [np.equal(c, shown) for c, (shown, _) in zip(chosen, runs, strict=True)]
accuracy = np.array([np.mean(r) for r in right])
interval = confidence_interval(np.mean, accuracy, random_state=0)
print(f"One-shot accuracy, {len(runs)} runs with 95 % interval: {interval}")

# %%
# Enrol new characters
# --------------------
# The trained classifier takes up new classes without training. It then has to tell
# them from each other *and* from all that it learned.

for hands in (row_of[:, :1], row_of[:, 1:5]):
    clf.enroll(X_new[hands.ravel()], y_new[hands.ravel()])
    others = row_of[:, 5:].ravel()
    score = clf.score(X_new[others], y_new[others])
    print(f"{hands.shape[1]} more of each enrolled: accuracy {score:.3f}", end=" ")
    print(f"among {len(clf.classes_)} classes")

# %%
# The same character, or not?
# ---------------------------
# Pairs of new drawings, of any two alphabets. The interval resamples alphabets where
# there are several: another study would have others.

pairs, same = sample_pairs(y_new, 20_000, random_state=0)
distances = np.linalg.norm(Z_new[pairs[:, 0]] - Z_new[pairs[:, 1]], axis=1)
interval = confidence_interval(
    equal_error_rate, same, -distances, pairs=pairs, n_resamples=200,
    groups=alphabet if len(alphabets) > 1 else None, random_state=0,
)  # fmt: skip
print(f"Equal error rate with 95 % interval: {interval}")

# %%
# Pictures
# --------
# The run whose accuracy is nearest to the mean: what was asked, above what was chosen.

k = np.argmin(np.abs(accuracy - accuracy.mean()))
half = (len(chosen[k]) + 1) // 2
fig, axes = plt.subplots(4, half, figsize=(8, 4.2), layout="constrained")
for n, ok in enumerate(right[k]):
    places = axes[:2, n] if n < half else axes[2:, n - half]
    for axis, row in zip(places, (runs[k][1][n], chosen[k][n]), strict=True):
        axis.imshow(X_new[row], cmap="gray")
    places[1].set_xlabel("right" if ok else "WRONG", color="C0" if ok else "C2")
plt.setp(axes, xticks=[], yticks=[])
fig.suptitle(f"One run: asked (above) and chosen, {accuracy[k]:.0%} right")
fig.savefig(folder / "one_shot.png", dpi=120)

# %%
# Distances of pairs of new characters:
fig = PairDistanceDisplay.from_predictions(same, distances).figure_
fig.savefig(folder / "one_shot_distances.png", dpi=120)

# %%
# What to take away
# -----------------
# The embedding carries over to classes that it never saw, so that new ones need an
# example, not a training (:ref:`guide-one-shot`). Judge that on new classes, and
# resample *those*. Last, search: :doc:`/auto_examples/plot_09_similarity_search`.
