"""What a classifier says about images: its answers agree with one another."""

import numpy as np
import pytest
from scipy.special import softmax

from sksiamese import SiameseClassifier


def fast(**params):
    return SiameseClassifier(**{"max_epochs": 6, "random_state": 0, **params})


@pytest.fixture(scope="module")
def fitted(digits):
    """Fit a classifier, to be read and never changed."""
    X, y, _, _ = digits
    return fast().fit(X, y)


def test_predict_takes_the_nearest_prototype(digits, fitted):
    _, _, X_new, _ = digits
    Z = fitted.transform(X_new)
    expected = [
        min(range(10), key=lambda c: ((z - fitted.prototypes_[c]) ** 2).sum())
        for z in Z
    ]
    np.testing.assert_array_equal(fitted.predict(X_new), fitted.classes_[expected])


def test_methods_agree(digits, fitted):
    _, _, X_new, _ = digits
    proba = fitted.predict_proba(X_new)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_allclose(proba, softmax(fitted.decision_function(X_new), axis=1))
    predicted = fitted.classes_[proba.argmax(axis=1)]
    np.testing.assert_array_equal(fitted.predict(X_new), predicted)


def test_two_classes_have_one_decision_value(digits):
    X, y, X_new, y_new = digits
    clf = fast().fit(X, y % 2)
    scores = clf.decision_function(X_new)
    assert scores.shape == (len(X_new),)
    proba = clf.predict_proba(X_new)
    np.testing.assert_allclose(proba[:, 1], 1 / (1 + np.exp(-scores)))
    np.testing.assert_array_equal(clf.predict(X_new), clf.classes_[1 * (scores > 0)])
