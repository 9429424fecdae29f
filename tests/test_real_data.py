"""Small runs on real medical data; the long ones are in ``tests/benchmarks``.

Read from the folder that ``SKSIAMESE_DATA`` names, and skipped without it.
"""

import os

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupShuffleSplit

from sksiamese import SiameseClassifier
from sksiamese.datasets import fetch_images
from sksiamese.metrics import expected_calibration_error

FOLDER = os.environ.get("SKSIAMESE_DATA")
pytestmark = pytest.mark.skipif(
    FOLDER is None, reason="SKSIAMESE_DATA names no folder of real data sets"
)


def test_pneumonia_is_told_in_unseen_x_rays():
    data = fetch_images("pneumoniamnist", download=False)
    train, new = data.split == "train", data.split == "val"
    X_new, y_new = data.images[new], data.target[new]
    clf = SiameseClassifier(max_epochs=6, random_state=0)
    clf.fit(data.images[train], data.target[train])
    proba = clf.predict_proba(X_new)
    assert roc_auc_score(y_new, proba[:, 1]) > 0.98
    assert expected_calibration_error(y_new, proba) <= 0.05
    assert clf.calibration_["expected_calibration_error"] <= 0.05


def test_malaria_is_told_in_cells_of_unseen_patients():
    data = fetch_images("malaria_cells", download=False)
    X, y, patient = data.images, data.target, data.groups
    splitter = GroupShuffleSplit(1, train_size=40, test_size=40, random_state=0)
    train, test = next(splitter.split(X, y, patient))
    clf = SiameseClassifier(max_epochs=5, random_state=0)
    clf.fit(X[train], y[train], groups=patient[train])
    score = roc_auc_score(y[test], clf.predict_proba(X[test])[:, 1])
    assert score > 0.93


def test_colour_images_of_rare_classes_train():
    data = fetch_images("ham10000", download=False)
    X, y = data.images, data.malignant
    rng = np.random.default_rng(0)
    rows = np.r_[rng.choice(np.flatnonzero(y == 1), 100), np.flatnonzero(y == 0)[:900]]
    clf = SiameseClassifier(backbone="conv16-32-64", max_epochs=4, random_state=0)
    clf.fit(X[rows], y[rows])
    assert clf.transform(X[:5]).shape == (5, 128)
    rest = np.setdiff1d(np.arange(len(y)), rows)[:600]
    assert roc_auc_score(y[rest], clf.predict_proba(X[rest])[:, 1]) > 0.65
