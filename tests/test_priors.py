"""Class frequencies: what is asked for, and what classifiers assume."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksiamese._priors import (
    assumed_priors,
    check_priors,
    representing_weights,
    wanted_priors,
)

CLASSES = np.array(["cat", "dog", "eel"])


@pytest.mark.parametrize(
    "given",
    [
        [0.5, 0.2, 0.3],
        (0.5, 0.2, 0.3),
        np.array([0.5, 0.2, 0.3]),
        {"eel": 0.3, "cat": 0.5, "dog": 0.2},
    ],
    ids=lambda g: type(g).__name__,
)
def test_priors_of_any_form_come_in_the_order_of_classes(given):
    np.testing.assert_allclose(check_priors(given, CLASSES), [0.5, 0.2, 0.3])


def test_priors_of_classes_to_come_are_left_out():
    given = {"ape": 0.5, "cat": 0.1, "dog": 0.1, "eel": 0.3}
    np.testing.assert_allclose(check_priors(given, CLASSES), [0.2, 0.2, 0.6])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([0.5, 0.5], r"shape \(2,\).*\['cat', 'dog', 'eel'\]"),
        ([[0.5, 0.3, 0.2]], r"shape \(1, 3\)"),
        ([0.5, 0.3, 0.3], "add up to 1"),
        ([0.5, 0.5, 0.0], "greater than 0"),
        ([0.5, 0.7, -0.2], "greater than 0"),
        ([0.5, 0.5, np.nan], "greater than 0"),
        ({"cat": 0.5, "dog": 0.5}, r"lacks the classes \['eel'\].*name every"),
        ({"cat": 0.5, "dog": 0.3, "eel": 0.2, "fly": 0.1}, "add up to 1"),
        ({"cat": 0.5, "dog": 0.3, "eel": 0.2, "fly": 0.0}, "greater than 0"),
    ],
)
def test_priors_that_are_none_are_refused(given, message):
    with pytest.raises(ValueError, match=f"priors.*{message}"):
        check_priors(given, CLASSES)


SHARES = [0.7, 0.2, 0.1]


@pytest.mark.parametrize(
    ("classifier", "expected"),
    [
        (KNeighborsClassifier(3), SHARES),
        (LogisticRegression(), SHARES),
        (LogisticRegression(class_weight="balanced"), [1 / 3] * 3),
        (RandomForestClassifier(5, class_weight="balanced_subsample"), [1 / 3] * 3),
        (LogisticRegression(class_weight={0: 1, 1: 2, 2: 5}), [0.4375, 0.25, 0.3125]),
        (GaussianNB(), SHARES),
        (GaussianNB(priors=[0.2, 0.3, 0.5]), [0.2, 0.3, 0.5]),
        (LinearDiscriminantAnalysis(priors=[0.2, 0.3, 0.5]), [0.2, 0.3, 0.5]),
        (
            make_pipeline(
                StandardScaler(), LogisticRegression(class_weight="balanced")
            ),
            [1 / 3] * 3,
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_assumed_priors_are_those_of_training_or_the_classifiers_own(
    classifier, expected
):
    y = np.repeat([0, 1, 2], [70, 20, 10])
    Z = np.random.default_rng(0).normal(size=(100, 2)) + y[:, None]
    classifier.fit(Z, y)
    np.testing.assert_allclose(assumed_priors(classifier, y), expected)


def test_representing_weights_give_each_class_its_share():
    codes = np.repeat([0, 1, 2], [50, 5, 20])
    priors = np.array([0.1, 0.3, 0.6])
    weights = representing_weights(codes, priors)
    totals = [weights[codes == c].sum() / weights.sum() for c in range(3)]
    assert totals == pytest.approx(priors.tolist())
    assert weights.mean() == pytest.approx(1)


def test_representing_weights_without_a_class_share_the_rest():
    weights = representing_weights(np.array([0, 0, 2]), np.array([0.2, 0.5, 0.3]))
    assert weights[:2].sum() / weights[2] == pytest.approx(0.2 / 0.3)


@pytest.mark.parametrize(
    ("priors", "class_weight", "expected"),
    [
        (None, None, None),
        ("train", None, [0.5, 0.4, 0.1]),
        ("train", "balanced", [0.5, 0.4, 0.1]),
        ([0.2, 0.2, 0.6], "balanced", [0.2, 0.2, 0.6]),
        (None, "balanced", [1 / 3] * 3),
        (None, {"eel": 6.0, "dog": 0.5}, [2 / 39, 1 / 39, 36 / 39]),
    ],
)
def test_wanted_priors_follow_counts_and_weights(priors, class_weight, expected):
    counts, assumed = np.array([50, 40, 10]), np.array([0.2, 0.2, 0.6])
    found = wanted_priors(priors, class_weight, CLASSES, counts, assumed)
    assert found is None if expected is None else found == pytest.approx(expected)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 7.0, 2: 0.5}], ids=str)
def test_wanted_priors_of_weights_are_those_a_weighted_classifier_learns(class_weight):
    y = np.repeat([0, 1, 2], [70, 20, 10])
    Z = np.random.default_rng(0).normal(size=(100, 2)) + y[:, None]
    peer = LogisticRegression(class_weight=class_weight).fit(Z, y)
    counts = np.array([70, 20, 10])
    found = wanted_priors(None, class_weight, np.arange(3), counts, counts / 100)
    np.testing.assert_allclose(found, assumed_priors(peer, y))
