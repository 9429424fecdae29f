"""Small runs on real medical data; the long ones are in ``tests/benchmarks``.

Read from the folder that ``SKSIAMESE_DATA`` names, and skipped without it.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupShuffleSplit

from sksiamese import SiameseClassifier
from sksiamese.metrics import expected_calibration_error

FOLDER = os.environ.get("SKSIAMESE_DATA")
pytestmark = pytest.mark.skipif(
    FOLDER is None, reason="SKSIAMESE_DATA names no folder of real data sets"
)


def read(name, *keys):
    with np.load(Path(FOLDER) / name) as arrays:
        return tuple(arrays[key] for key in keys)


def test_pneumonia_is_told_in_unseen_x_rays():
    X, y, X_new, y_new = read(
        "pneumoniamnist.npz", "train_images", "train_labels", "val_images", "val_labels"
    )
    y, y_new = y.ravel(), y_new.ravel()
    clf = SiameseClassifier(max_epochs=6, random_state=0).fit(X, y)
    proba = clf.predict_proba(X_new)
    assert roc_auc_score(y_new, proba[:, 1]) > 0.98
    assert expected_calibration_error(y_new, proba) <= 0.05
    assert clf.calibration_["expected_calibration_error"] <= 0.05


def test_malaria_is_told_in_cells_of_unseen_patients():
    X, y, patient = read("malaria_cells_50_gray.npz", "images", "labels", "patient")
    splitter = GroupShuffleSplit(1, train_size=40, test_size=40, random_state=0)
    train, test = next(splitter.split(X, y, patient))
    clf = SiameseClassifier(max_epochs=5, random_state=0)
    clf.fit(X[train], y[train], groups=patient[train])
    score = roc_auc_score(y[test], clf.predict_proba(X[test])[:, 1])
    assert score > 0.93


def test_colour_images_of_rare_classes_train():
    X, y = read("ham10000_subset_64.npz", "images", "malignant")
    rng = np.random.default_rng(0)
    rows = np.r_[rng.choice(np.flatnonzero(y == 1), 100), np.flatnonzero(y == 0)[:900]]
    clf = SiameseClassifier(backbone="conv16-32-64", max_epochs=4, random_state=0)
    clf.fit(X[rows], y[rows])
    assert clf.transform(X[:5]).shape == (5, 128)
    rest = np.setdiff1d(np.arange(len(y)), rows)[:600]
    assert roc_auc_score(y[rest], clf.predict_proba(X[rest])[:, 1]) > 0.65
