"""SiameseClassifier: decisions, probabilities, enrolment."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC, LinearSVC
from skorch.callbacks import Callback

from sksiamese import SiameseClassifier
from sksiamese.metrics import expected_calibration_error


def fast(**params):
    return SiameseClassifier(**{"max_epochs": 6, "random_state": 0, **params})


@pytest.fixture(scope="module")
def fitted(digits):
    """Fit a classifier with default parameters, to be read and never changed."""
    X, y, _, _ = digits
    return SiameseClassifier(random_state=0).fit(X, y)


def test_predict_beats_nearest_neighbours_on_pixels(digits, fitted):
    X, y, X_new, y_new = digits
    pixels = KNeighborsClassifier(1).fit(X.reshape(len(X), -1), y)
    baseline = pixels.score(X_new.reshape(len(X_new), -1), y_new)
    assert fitted.score(X_new, y_new) >= max(0.98, baseline)


def test_prototypes_are_the_mean_embeddings_of_all_images(digits, fitted):
    X, y, _, _ = digits
    Z = fitted.transform(X)
    expected = [Z[y == c].mean(axis=0) for c in fitted.classes_]
    np.testing.assert_allclose(fitted.prototypes_, expected, atol=1e-6)


def test_probabilities_are_calibrated_on_unseen_images(digits, fitted):
    _, _, X_new, y_new = digits
    assert fitted.calibration_["held_out"] is True
    assert fitted.calibration_["n_images"] == 90
    assert fitted.calibration_["n_classes"] == 10
    # Of 90 calibrated predictions in 15 bins, 0.05 and more are expected by chance.
    assert fitted.calibration_["expected_calibration_error"] <= 0.1
    proba = fitted.predict_proba(X_new)
    assert expected_calibration_error(y_new, proba, classes=fitted.classes_) <= 0.05
    assert log_loss(y_new, proba) < 0.15


def test_calibration_without_held_out_images_says_so(digits):
    X, y, _, _ = digits
    clf = fast(validation_fraction=0).fit(X, y)
    assert clf.calibration_["held_out"] is False
    assert np.isnan(clf.calibration_["expected_calibration_error"])
    assert np.isnan(clf.history_["validation_score"]).all()


def test_calibration_without_the_rare_class_says_so(digits):
    X, y, _, _ = digits
    keep = (y == 0) | ((y == 8) & (np.cumsum(y == 8) <= 15))
    clf = fast(max_epochs=1).fit(X[keep], y[keep])
    assert clf.calibration_["held_out"] is True
    assert clf.calibration_["n_classes"] == 1
    assert np.isnan(clf.history_["validation_score"]).all()


def test_several_prototypes_serve_a_class_of_several_kinds(digits):
    """Odd and even: each class is five digits, which one mean cannot represent."""
    X, y, X_new, y_new = digits
    clf = fast(n_prototypes=5).fit(X, y % 2)
    assert clf.prototypes_.shape == (10, 64)
    assert clf.score(X_new, y_new % 2) > 0.95


@pytest.mark.parametrize(
    "head",
    [
        "knn",
        LogisticRegression(),
        RandomForestClassifier(random_state=0),
        SVC(),
        LinearSVC(),
    ],
    ids=lambda head: head if isinstance(head, str) else type(head).__name__,
)
@pytest.mark.parametrize("n_classes", [2, 10])
def test_any_classifier_decides_on_the_embedding(digits, head, n_classes):
    X, y, X_new, y_new = digits
    y, y_new = y % n_classes, y_new % n_classes
    clf = fast(classifier=head).fit(X, y)
    assert clf.score(X_new, y_new) > 0.93
    proba = clf.predict_proba(X_new)
    assert proba.shape == (len(X_new), n_classes)
    if not isinstance(head, SVC):  # its ten-class scores are ranks, not log-odds
        assert expected_calibration_error(y_new, proba) <= 0.08
    if not isinstance(head, str):
        assert not hasattr(head, "classes_")  # the caller's stays unfitted


def test_knn_equals_scikit_learns_on_the_embeddings(digits):
    X, y, X_new, _ = digits
    clf = fast(classifier="knn", n_neighbors=3).fit(X, y)
    knn = KNeighborsClassifier(3).fit(clf.transform(X), y)
    np.testing.assert_array_equal(clf.predict(X_new), knn.predict(clf.transform(X_new)))


def test_class_with_one_image_has_a_prototype(digits):
    X, y, _, _ = digits
    keep = (y != 4) | (np.cumsum(y == 4) == 1)
    with pytest.warns(UserWarning, match="Classes with one image: 4"):
        clf = fast().fit(X[keep], y[keep])
    np.testing.assert_array_equal(clf.classes_, np.arange(10))
    assert len(clf.prototypes_) == 10


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["cat", "dog", "ox"]),
        np.array([3, 7, 100]),
        np.array([False, True]),
        np.array([-1.0, 2.0]),
        np.array(["a", 1, "c"], dtype=object)[[0, 2]],
    ],
    ids=["strings", "gaps", "booleans", "floats", "objects"],
)
def test_labels_of_any_kind_come_back(digits, labels):
    X, y, X_new, y_new = digits
    n = len(labels)
    few, few_new = y < n, y_new < n
    clf = fast().fit(X[few], labels[y[few]])
    np.testing.assert_array_equal(clf.classes_, labels)
    assert clf.predict(X_new[few_new]).dtype == labels.dtype
    assert clf.score(X_new[few_new], labels[y_new[few_new]]) > 0.95


def test_groups_keep_held_out_images_apart(digits):
    """Every group appears on one side only, shown by a leak that would be obvious."""
    X, y, _, _ = digits
    groups = np.arange(len(y)) // 30
    clf = fast(max_epochs=2)
    seen = {}
    original = clf._train

    def spy(X, codes, train, held_out, *rest):
        seen.update(train=train, held_out=held_out)
        return original(X, codes, train, held_out, *rest)

    clf._train = spy
    clf.fit(X, y, groups=groups)
    assert len(seen["held_out"]) >= 60
    assert not set(groups[seen["train"]]) & set(groups[seen["held_out"]])


def test_randomised_head_is_seeded(digits):
    X, y, X_new, _ = digits
    proba = [
        fast(max_epochs=1, classifier=RandomForestClassifier(5)).fit(X, y)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*(clf.predict_proba(X_new) for clf in proba))


def test_ctrl_c_leaves_a_classifier_that_predicts(digits):
    X, y, X_new, y_new = digits

    class Interrupt(Callback):
        def on_batch_end(self, net, **kwargs):
            if len(net.history) == 6:
                raise KeyboardInterrupt

    with pytest.warns(ConvergenceWarning, match="interrupted after 5 epochs"):
        clf = fast(max_epochs=50, callbacks=[Interrupt()]).fit(X, y)
    assert clf.score(X_new, y_new) > 0.5


def test_labels_of_pandas_and_torch_are_taken(digits):
    X, y, X_new, y_new = digits
    frame = pd.DataFrame(X.reshape(len(X), -1), index=np.arange(len(X))[::-1])
    labels = pd.Series(np.array(list("abcdefghij"))[y], dtype="category")
    clf = fast(image_shape=(8, 8)).fit(frame, labels)
    assert set(clf.predict(X_new)) <= set("abcdefghij")
    tensors = fast().fit(torch.from_numpy(X.copy()), torch.from_numpy(y.copy()))
    assert tensors.score(X_new, y_new) > 0.9
