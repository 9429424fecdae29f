"""The head of the classifier: enrolment, chunks, wanted class frequencies."""

import pickle
import warnings

import numpy as np
import pytest
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from sksiamese import SiameseClassifier


def fast(**params):
    return SiameseClassifier(**{"max_epochs": 6, "random_state": 0, **params})


@pytest.mark.parametrize(
    ("classifier", "least"),
    [("prototype", 0.4), ("knn", 0.2), (LogisticRegression(), 0)],
)
def test_enroll_adds_new_classes_without_training(digits, classifier, least):
    X, y, X_new, y_new = digits
    seen = y < 8
    clf = fast(max_epochs=15, classifier=classifier).fit(X[seen], y[seen])
    before = clf.transform(X_new)
    support = np.concatenate([np.flatnonzero(y == c)[:15] for c in (8, 9)])
    assert clf.enroll(X[support], y[support]) is clf
    np.testing.assert_array_equal(clf.transform(X_new), before)
    np.testing.assert_array_equal(clf.classes_, np.arange(10))
    assert clf.predict_proba(X_new).shape == (len(X_new), 10)
    new = y_new >= 8
    assert accuracy_score(y_new[~new], clf.predict(X_new[~new])) > 0.9
    # Chance is 1 in 10 for classes that the network never saw; a linear model fitted
    # to 675 images of the known ones and 30 of these finds few.
    assert accuracy_score(y_new[new], clf.predict(X_new[new])) > least


def test_enroll_of_known_classes_moves_prototypes_to_the_mean_of_all(digits):
    X, y, X_new, y_new = digits
    clf = fast().fit(X, y)
    clf.enroll(X_new, y_new)
    Z, labels = clf.transform(np.concatenate([X, X_new])), np.concatenate([y, y_new])
    expected = [Z[labels == c].mean(axis=0) for c in clf.classes_]
    np.testing.assert_allclose(clf.prototypes_, expected, atol=1e-6)


def test_enroll_takes_one_image_of_one_class(digits):
    X, y, _, _ = digits
    clf = fast().fit(X[y < 9], y[y < 9])
    nine = X[y == 9]
    clf.enroll(nine[:1], [9])
    Z = clf.transform(nine[:1])
    np.testing.assert_allclose(clf.prototypes_[9:], Z, atol=1e-6)
    assert clf.predict(nine[:1]) == [9]


def test_partial_fit_learns_from_chunks(digits):
    X, y, X_new, y_new = digits
    clf = fast()
    for _ in range(5):
        for start in range(0, len(X), 300):
            clf.partial_fit(X[start : start + 300], y[start : start + 300])
    assert clf.score(X_new, y_new) > 0.9


def test_partial_fit_with_classes_announced(digits):
    X, y, X_new, _ = digits
    few = y < 5
    clf = fast().partial_fit(X[few], y[few], classes=np.arange(10))
    np.testing.assert_array_equal(clf.classes_, np.arange(10))
    assert clf.predict(X_new).max() < 5
    proba = clf.predict_proba(X_new)
    assert np.isfinite(proba).all()
    assert (proba[:, 5:] == 0).all()
    clf.partial_fit(X[~few], y[~few])
    assert set(clf.predict(X_new)) > {7}
    with pytest.raises(ValueError, match=r"labels \[77\].*enroll"):
        clf.partial_fit(X, np.where(y == 3, 77, y))
    with pytest.raises(ValueError, match="differs from the classes"):
        clf.partial_fit(X, y, classes=[1, 2])


def test_more_neighbours_than_images_is_an_error(digits):
    X, y, _, _ = digits
    with pytest.raises(ValueError, match="n_neighbors=50.*smaller"):
        fast(classifier="knn", n_neighbors=50).fit(X[:40], y[:40] % 2)


def test_more_neighbours_than_training_images_is_refused_before_training(digits):
    """Of 40 images four are held out, and the head is judged on those."""
    X, labels = digits[0][:40], np.arange(40) % 2

    def fail(batch):
        raise AssertionError("trained")

    with pytest.raises(ValueError, match="n_neighbors=38, but only 36"):
        fast(classifier="knn", n_neighbors=38, augment=fail).fit(X, labels)


def test_chunk_smaller_than_the_number_of_neighbours_is_learned(digits):
    X, y, X_new, _ = digits
    clf = fast(classifier="knn").partial_fit(X, y)
    pair = np.flatnonzero(y == 1)[:2], np.flatnonzero(y == 2)[:2]
    chunk = np.concatenate(pair)
    clf.partial_fit(X[chunk], y[chunk])
    assert len(clf.classes_) == 10
    assert np.isfinite(clf.predict_proba(X_new)).all()


def imbalanced(digits, n_rare=12):
    """Odd digits to even ones as 1 to 30, for training and for testing alike."""
    X, y, X_new, y_new = digits
    parts = []
    for images, labels, n in ((X, y % 2, n_rare), (X_new, y_new % 2, n_rare)):
        rows = np.r_[np.flatnonzero(labels == 0)[: 30 * n], np.flatnonzero(labels)[:n]]
        parts += [images[rows], labels[rows]]
    return parts


@pytest.mark.parametrize("classifier", ["prototype", "knn", LogisticRegression()])
def test_priors_of_training_are_better_probabilities_under_imbalance(
    digits, classifier
):
    X, y, X_new, y_new = imbalanced(digits, n_rare=40)
    options = {"classifier": classifier, "validation_fraction": 0.4, "max_epochs": 3}
    plain, corrected = (
        fast(priors=priors, **options).fit(X, y) for priors in (None, "train")
    )
    assert plain.priors_ is None
    assert corrected.priors_ == pytest.approx(np.bincount(y) / len(y))
    losses = [log_loss(y_new, clf.predict_proba(X_new)) for clf in (plain, corrected)]
    if classifier == "prototype":
        assert losses[1] < losses[0]
    else:  # they knew
        assert losses[1] == pytest.approx(losses[0], abs=1e-2)
    scores = [clf.decision_function(X_new) for clf in (plain, corrected)]
    aucs = [roc_auc_score(y_new, score) for score in scores]
    assert aucs[0] == pytest.approx(aucs[1], abs=1e-9)


@pytest.mark.parametrize("priors", [[0.3, 0.7], {0: 0.3, 1: 0.7}, "train"], ids=str)
def test_priors_shift_the_log_odds_by_their_ratio(digits, priors):
    X, y, X_new, _ = digits
    y = y % 2
    clf = fast(priors=priors, max_epochs=2).fit(X[:200], y[:200])
    assert clf.priors_.sum() == pytest.approx(1)
    assert clf.predict_proba(X_new).sum(axis=1) == pytest.approx(1)
    squares = ((clf.transform(X_new)[:, None] - clf.prototypes_) ** 2).sum(axis=2)
    expected = (squares[:, 0] - squares[:, 1]) / clf.temperature_
    expected += logit(clf.priors_[1])
    odds = clf.decision_function(X_new)
    np.testing.assert_allclose(odds, expected, atol=1e-3)
    np.testing.assert_array_equal(clf.predict(X_new), (odds > 0).astype(int))


def test_priors_set_after_fit_change_nothing_until_the_next(digits):
    X, y, X_new, _ = digits
    clf = fast(max_epochs=1, priors=np.full(10, 0.1)).fit(X, y)
    expected = clf.predict_proba(X_new)
    clf.set_params(priors=None)
    np.testing.assert_array_equal(clf.predict_proba(X_new), expected)


def test_priors_of_training_follow_enrolled_images(digits):
    X, y, _, _ = digits
    seen = y < 8
    clf = fast(max_epochs=1, priors="train").fit(X[seen], y[seen])
    temperature = clf.temperature_
    clf.enroll(X[~seen], y[~seen])
    assert clf.priors_ == pytest.approx(np.bincount(y) / len(y))
    assert clf.temperature_ == temperature
    assert clf.predict_proba(X).shape == (len(X), 10)


@pytest.mark.parametrize("form", [list, dict])
def test_enroll_of_a_class_that_priors_lack_changes_nothing(digits, form):
    X, y, _, _ = digits
    seen = y < 9
    priors = [1 / 9] * 9 if form is list else dict.fromkeys(range(9), 1 / 9)
    clf = fast(max_epochs=1, priors=priors).fit(X[seen], y[seen])
    before = pickle.dumps(clf.__dict__)
    with pytest.raises(ValueError, match="priors.* fit with .*set_params alone"):
        clf.enroll(X[~seen], y[~seen])
    assert pickle.dumps(clf.__dict__) == before
    clf.enroll(X[seen][:5], y[seen][:5])  # known ones join


def test_priors_that_name_a_new_class_count_only_after_the_next_fit(digits):
    X, y, _, _ = digits
    seen = y < 9
    named = {**dict.fromkeys(range(9), 1 / 18), 9: 0.5}
    clf = fast(max_epochs=1, priors=[1 / 9] * 9).fit(X[seen], y[seen])
    with pytest.raises(ValueError, match="with a dict that names them too"):
        clf.set_params(priors=named).enroll(X[~seen], y[~seen])
    clf.fit(X[seen], y[seen]).enroll(X[~seen], y[~seen])
    assert clf.priors_[9] == pytest.approx(0.5)


def test_enroll_of_a_class_that_priors_name_takes_its_frequency(digits):
    X, y, _, _ = digits
    seen = y < 9
    priors = {**dict.fromkeys(range(9), 1 / 18), 9: 0.5}
    clf = fast(max_epochs=1, priors=priors).fit(X[seen], y[seen])
    assert clf.priors_ == pytest.approx([1 / 9] * 9)
    clf.enroll(X[~seen], y[~seen])
    assert clf.priors_ == pytest.approx(list(priors.values()))


def test_partial_fit_with_priors_of_announced_classes(digits):
    X, y, X_new, _ = digits
    few = y < 5
    priors = np.arange(1, 11) / 55
    clf = fast(priors=priors).partial_fit(X[few], y[few], classes=np.arange(10))
    np.testing.assert_allclose(clf.priors_, priors)
    proba = clf.predict_proba(X_new)
    assert (proba[:, 5:] == 0).all()
    assert proba.sum(axis=1) == pytest.approx(1)
    with pytest.raises(ValueError, match=r"priors has shape \(10,\)"):
        fast(priors=priors).partial_fit(X[few], y[few])


def test_priors_are_refused_before_training(digits):
    X, y, _, _ = digits

    def fail(batch):
        raise AssertionError("trained")

    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match="priors.*add up to 1"):
            getattr(fast(priors=[0.3] * 10, augment=fail), method)(X, y)


def test_class_weight_moves_decisions_as_in_scikit_learn(digits):
    """Images of a class weigh as much as if each were there several times."""
    X, y, X_new, _ = digits
    y = y % 2
    options = {"classifier": "knn", "n_neighbors": 25, "max_epochs": 2}
    share = [
        (fast(class_weight=weight, **options).fit(X, y).predict(X_new) == 1).mean()
        for weight in ({0: 100.0}, None, {1: 100.0})
    ]
    assert share[0] < share[1] - 0.05
    assert share[2] > share[1] + 0.05


def test_class_weight_balanced_takes_classes_for_equally_frequent(digits):
    X, y, _, _ = imbalanced(digits)
    clf = fast(max_epochs=1, class_weight="balanced").fit(X, y)
    assert clf.priors_.tolist() == [0.5, 0.5]
    clf.enroll(X[:3], [5, 5, 5])
    assert clf.priors_ == pytest.approx([1 / 3] * 3)


def test_partial_fit_with_class_weights_and_priors(digits):
    X, y, _, _ = digits
    priors = np.full(10, 0.1)
    clf = fast(class_weight={0: 2.0}, priors=priors).partial_fit(X, y)
    assert clf.net_.criterion_.class_weight.tolist() == [2] + [1] * 9
    np.testing.assert_allclose(clf.priors_, priors)


def test_equal_class_weights_change_no_prediction(digits):
    """Whatever the frequencies; a larger weight never makes its class rarer."""
    X, y, X_new, _ = digits
    rows = np.concatenate([np.flatnonzero(y == 3), np.flatnonzero(y == 8)[:6]])
    found = {}
    for name, weights in [("none", None), ("ones", {3: 1.0, 8: 1.0}), ("rare", {8: 5})]:
        clf = SiameseClassifier(max_epochs=1, random_state=0, class_weight=weights)
        clf.fit(X[rows], y[rows])
        found[name] = clf.decision_function(X_new)
        assert (weights is None) == (clf.priors_ is None)
    same = np.corrcoef(found["none"], found["ones"])[0, 1]
    assert same > 0.999
    np.testing.assert_array_equal(found["none"] > 0, found["ones"] > 0)
    assert (found["rare"] > 0).mean() >= (found["none"] > 0).mean()


def test_enroll_of_one_image_of_each_of_many_classes_is_no_regression(digits):
    X, y, _, _ = digits
    clf = fast(max_epochs=1).fit(X[:60], y[:60])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.enroll(X[:30], np.arange(100, 130))
    assert len(clf.classes_) == 40
