"""The open set: what is promised, what is predicted, what becomes of it later."""

import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sksiamese import SiameseClassifier
from sksiamese._decision import PrototypeHead
from sksiamese._open_set import (
    add_label,
    calibrate_rejection,
    check_unknown_label,
    warn_of_promise,
)


def fast(**params):
    params = {"max_epochs": 6, "validation_fraction": 0.2, **params}
    return SiameseClassifier(unknown="reject", random_state=0, **params)


@pytest.fixture(scope="module")
def known(digits):
    """Digits 0 to 6 to train on; new images of all ten."""
    X, y, X_new, y_new = digits
    return X[y < 7], y[y < 7], X_new, y_new


@pytest.fixture(scope="module")
def fitted(known):
    """Fit a classifier of digits 0 to 6, to be read and never changed."""
    return fast(max_epochs=15).fit(*known[:2])


def copied(estimator):
    return pickle.loads(pickle.dumps(estimator))


# --- the promise, simulated ----------------------------------------------------------


def at_zero():
    """Head whose only prototype is 0, so that an embedding is its own distance."""
    return PrototypeHead().partial_fit(np.zeros((1, 1)), np.array([0]))


@pytest.mark.parametrize(
    ("n", "max_fpr"), [(59, 0.05), (100, 0.05), (500, 0.05), (299, 0.01), (40, 0.3)]
)
def test_promise_is_broken_as_often_as_the_binomial_says(n, max_fpr):
    """Of uniform distances the share beyond a threshold t is 1 - t."""
    rng, n_runs = np.random.default_rng(n), 2000
    broken = []
    for _ in range(n_runs):
        Z = rng.random((n, 1))
        threshold, report = calibrate_rejection(at_zero(), Z, np.zeros(n), max_fpr)
        assert report["promised"]
        broken.append(1 - threshold > max_fpr)
    count = max(c for c in range(n) if binom.cdf(c, n, max_fpr) <= 0.05)
    expected = binom.cdf(count, n, max_fpr)
    noise = np.sqrt(expected * (1 - expected) / n_runs)
    assert np.mean(broken) == pytest.approx(expected, abs=3 * noise)


def draw(rng, y):
    """Embeddings of overlapping classes."""
    return rng.normal(size=(len(y), 4)) + 2 * np.eye(4)[y]


def simulated_fit(rng, n_classes=2, n=240, **params):
    """Classifier whose network is the identity, on simulated embeddings.

    Those that train lie closer together than new ones, as after a training that fitted
    them. A third is held out.
    """
    clf = SiameseClassifier(unknown="reject", **params)
    clf.net_ = SimpleNamespace(embed=lambda X: X)
    y = np.arange(n) % n_classes
    train, held_out = np.split(rng.permutation(n), [2 * n // 3])
    Z = draw(rng, y)
    Z[train] = (Z[train] + 2 * np.eye(4)[y[train]]) / 2
    clf._fit_head(Z, y, train, held_out, None, 0)
    assert clf.unknown_calibration_["promised"]
    return clf


def rejected(clf, Z):
    """Which of the embeddings are unknown."""
    return clf._novelty(Z) > clf.unknown_threshold_


@pytest.mark.parametrize(
    "params",
    [{}, {"n_prototypes": 3}, {"classifier": "knn"}],
    ids=["prototype", "prototypes", "knn"],
)
def test_promise_holds_after_the_head_has_learned_the_held_out_images(params):
    rng, n_runs, rates, found = np.random.default_rng(0), 200, [], []
    for _ in range(n_runs):
        clf = simulated_fit(rng, **params)
        rates.append(rejected(clf, draw(rng, rng.integers(0, 2, 3000))).mean())
        found.append(rejected(clf, draw(rng, np.full(100, 3)) + 4 * np.eye(4)[3]))
    noise = np.sqrt(0.05 * 0.95 / n_runs)
    assert np.mean(np.array(rates) > 0.05) <= 0.05 + 3 * noise
    assert np.mean(found) > 0.9  # a threshold beyond everything would keep it, too


@pytest.mark.parametrize("n_prototypes", [1, 3])
def test_promise_holds_when_enrolled_images_drag_the_prototypes_away(n_prototypes):
    rng, n_runs, rates = np.random.default_rng(1), 100, []
    for _ in range(n_runs):
        clf = simulated_fit(rng, n_prototypes=n_prototypes)
        before = clf.prototypes_
        clf.head_.partial_fit(rng.normal(size=(200, 4)) - 3, np.arange(200) % 2)
        assert np.abs(clf.prototypes_ - before).max() > 1
        rates.append(rejected(clf, draw(rng, rng.integers(0, 2, 3000))).mean())
    noise = np.sqrt(0.05 * 0.95 / n_runs)
    assert np.mean(np.array(rates) > 0.05) <= 0.05 + 3 * noise


def test_promise_for_new_groups_needs_groups():
    """Images of a patient share their distance: 20 of each are not 20 times as many."""
    rng, n_runs, n_groups = np.random.default_rng(0), 300, 70
    groups = np.repeat(np.arange(n_groups), 20)
    broken = {"groups": 0, "images": 0}
    for _ in range(n_runs):
        # The share of new images, of new patients, beyond t is 1 - t by symmetry.
        Z = rng.random(n_groups)[groups, None]
        for name, given in (("groups", groups), ("images", None)):
            threshold, report = calibrate_rejection(
                at_zero(), Z, np.zeros(len(Z)), 0.05, groups=given, random_state=0
            )
            assert report["promised"]
            broken[name] += 1 - threshold > 0.05
    assert broken["groups"] / n_runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / n_runs)
    assert broken["images"] / n_runs > 0.2


def test_groups_of_one_image_are_images():
    Z = np.random.default_rng(0).random((100, 1))
    names = np.array([f"patient {k}" for k in range(100)])
    plain, report = calibrate_rejection(at_zero(), Z, np.zeros(100), 0.05)
    grouped, grouped_report = calibrate_rejection(
        at_zero(), Z, np.zeros(100), 0.05, groups=names, random_state=3
    )
    assert plain == grouped
    assert (report["n_groups"], grouped_report["n_groups"]) == (None, 100)
    assert report["bound"] == grouped_report["bound"]


def test_threshold_of_too_few_images_is_their_largest_distance():
    Z = np.linspace(0, 1, 58)[:, None]
    threshold, report = calibrate_rejection(at_zero(), Z, np.zeros(58), 0.05)
    assert threshold == pytest.approx(1, abs=1e-4)
    assert threshold > 1  # so that rounding does not reject the farthest
    assert report["promised"] is False
    assert report["bound"] == pytest.approx(1 - 0.05 ** (1 / 58))
    with pytest.warns(UserWarning, match=r"takes 59 held-out images.*are 58.*0\.050"):
        warn_of_promise(report, 0.05, np.array([0]), stacklevel=2)


def test_threshold_of_too_few_groups_is_that_of_all_their_images():
    Z, groups = np.linspace(0, 1, 90)[:, None], np.arange(90) // 10
    threshold, report = calibrate_rejection(
        at_zero(), Z, np.zeros(90), 0.05, groups=groups, random_state=0
    )
    assert threshold == pytest.approx(1, abs=1e-4)
    with pytest.warns(UserWarning, match=r"takes 59 held-out groups.*are 9"):
        warn_of_promise(report, 0.05, np.array([0]), stacklevel=2)


def test_no_warning_where_all_is_promised():
    report = calibrate_rejection(at_zero(), np.ones((60, 1)), np.zeros(60), 0.05)[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_promise(report, 0.05, np.array([0]), stacklevel=2)


# --- the label -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "label", "expected", "dtype"),
    [
        (np.array(["cat", "dog"]), None, "unknown", "<U7"),
        (np.array(["cat", "dog"]), "a thing never seen", "a thing never seen", "<U18"),
        (np.array(["cat", "dog"], dtype=object), None, "unknown", object),
        (np.array([3, 7]), None, -1, np.int64),
        (np.array([3, 7]), 10**12, 10**12, np.int64),
        (np.array([3, 7], dtype=np.int8), None, -1, np.int8),
        (np.array([3, 7], dtype=np.int8), 1000, 1000, np.int64),
        (np.array([3, 7], dtype=np.uint8), None, -1, np.int64),
        (np.array([3, 7], dtype=np.uint64), None, -1, np.int64),
        (np.array([3, 2**63], dtype=np.uint64), 5, 5, np.uint64),
        (np.array([0.0, 1.0]), None, -1, np.float64),
        (np.array([0.0, 1.0], dtype=np.float32), np.float64(9), 9, np.float32),
    ],
)
def test_unknown_label_keeps_all_labels_whole(classes, label, expected, dtype):
    found = check_unknown_label(label, classes)
    assert found == expected
    both = add_label(classes, found)
    assert both.dtype == dtype
    assert both.tolist() == [*classes.tolist(), expected]


@pytest.mark.parametrize(
    ("classes", "label", "message"),
    [
        (np.array(["a", "unknown"]), None, "unknown_label='unknown' is one of"),
        (np.array(["a", "b"]), "a", "unknown_label='a' is one of.*another"),
        (np.array(["a", "b"], dtype=object), -1, "another kind.*give a string"),
        (np.array([-1, 1]), None, "unknown_label=-1 is one of"),
        (np.array([-1.0, 1.0]), None, "unknown_label=-1.0 is one of"),
        (np.array([0, 1]), "unknown", "another kind.*give a whole number"),
        (np.array([0, 1]), True, "True is of another kind"),
        (np.array([0, 1]), 0.5, "0.5 must be a whole number"),
        (np.array([0, 1]), np.nan, "nan must be a whole number"),
        (np.array([0, 1]), 10**30, "fit into no array.*set unknown_label"),
        (np.array([0, 2**63], dtype=np.uint64), None, "fit into no array"),
        (np.array([False, True]), None, "type bool: convert y"),
        (np.array([False, True]), 2, "type bool: convert y"),
    ],
)
def test_unknown_label_that_does_not_fit_is_refused(classes, label, message):
    with pytest.raises(ValueError, match=message):
        check_unknown_label(label, classes)


@pytest.mark.parametrize(
    "names",
    [np.array(list("abcdefg")), np.arange(7, dtype=np.uint8), np.arange(7) * 1.0],
    ids=["strings", "bytes", "floats"],
)
def test_predict_returns_whole_labels(known, names):
    X, y, X_new, y_new = known
    clf = fast(max_epochs=2).fit(X, names[y])
    predicted = clf.predict(X_new)
    assert set(predicted.tolist()) <= {*names.tolist(), clf.unknown_label_}
    assert clf.predict(X_new[y_new < 7][:1]).dtype == predicted.dtype
    assert clf.classes_.tolist() == names.tolist()
    unknown = predicted == clf.unknown_label_
    np.testing.assert_array_equal(
        unknown, clf.unknown_score(X_new) > clf.unknown_threshold_
    )
    assert 0 < unknown.sum() < len(X_new)


# --- real images ---------------------------------------------------------------------


def test_unknown_digits_are_told_and_known_ones_kept(known, fitted):
    _, _, X_new, y_new = known
    novel = y_new >= 7
    assert roc_auc_score(novel, fitted.unknown_score(X_new)) > 0.93
    predicted = fitted.predict(X_new)
    assert (predicted[~novel] == -1).mean() <= fitted.max_fpr
    assert (predicted[novel] == -1).mean() > 0.4
    report = fitted.unknown_calibration_
    assert report["promised"] is True
    assert report["n_images"] == fitted.calibration_["n_images"] > 59
    assert report["fpr"] <= report["bound"] <= 0.05
    assert report["classes"].tolist() == list(range(7))
    truth = np.where(novel, -1, y_new)  # so that its plain accuracy can be searched for
    assert fitted.score(X_new, truth) == (predicted == truth).mean()


def test_rejection_changes_no_probability(known, fitted):
    X, y, X_new, _ = known
    plain = clone(fitted).set_params(unknown=None).fit(X, y)
    np.testing.assert_array_equal(
        fitted.predict_proba(X_new), plain.predict_proba(X_new)
    )
    np.testing.assert_array_equal(
        fitted.decision_function(X_new), plain.decision_function(X_new)
    )
    predicted, kept = fitted.predict(X_new), plain.predict(X_new)
    accepted = predicted != -1
    np.testing.assert_array_equal(predicted[accepted], kept[accepted])
    assert not hasattr(plain, "unknown_threshold_")
    Z = plain.transform(X_new)
    gaps = np.linalg.norm(Z[:, None] - plain.prototypes_, axis=2).min(axis=1)
    np.testing.assert_allclose(plain.unknown_score(X_new), gaps, atol=1e-6)
    np.testing.assert_allclose(fitted.unknown_score(X_new), gaps, atol=0.1)


@pytest.mark.parametrize("classifier", ["knn", LogisticRegression()])
def test_other_classifiers_measure_to_the_nearest_labelled_image(known, classifier):
    X, y, X_new, y_new = known
    clf = fast(classifier=classifier).fit(X, y)
    Z, known_Z = clf.transform(X_new), clf.transform(X)
    gaps = np.linalg.norm(Z[:, None] - known_Z, axis=2).min(axis=1)
    score = clf.unknown_score(X_new)
    np.testing.assert_allclose(score, gaps, atol=1e-5)
    assert roc_auc_score(y_new >= 7, score) > 0.9
    predicted = clf.predict(X_new)
    np.testing.assert_array_equal(predicted == -1, score > clf.unknown_threshold_)
    assert (predicted[y_new < 7] == -1).mean() <= 0.05


def test_one_image_is_judged_as_among_others(known, fitted):
    X_new = known[2]
    alone = [fitted.predict(X_new[k : k + 1])[0] for k in range(60)]
    np.testing.assert_array_equal(alone, fitted.predict(X_new)[:60])


def test_patients_held_out_count_once(known):
    X, y, _, _ = known
    groups = np.arange(len(y)) // 5
    with pytest.warns(UserWarning, match="takes 59 held-out groups") as record:
        clf = fast(max_epochs=1).fit(X, y, groups=groups)
    assert record[0].filename == __file__
    report = clf.unknown_calibration_
    assert report["n_groups"] < report["n_images"] / 4
    assert report["promised"] is False
    assert report["fpr"] == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.set_params(max_fpr=0.15).fit(X, y, groups=groups)
    assert clf.unknown_calibration_["promised"] is True


def test_classes_without_held_out_images_are_named(known):
    X, y, _, _ = known
    rows = np.flatnonzero((y != 3) | (np.cumsum(y == 3) <= 9))
    with pytest.warns(UserWarning, match="Classes without held-out images.*: 3\\."):
        clf = fast(max_epochs=1).fit(X[rows], y[rows])
    assert clf.unknown_calibration_["classes"].tolist() == [0, 1, 2, 4, 5, 6]


# --- later ---------------------------------------------------------------------------


def test_enrolled_class_is_no_longer_unknown(digits, known, fitted):
    X, y, _, _ = digits
    _, _, X_new, y_new = known
    clf, seven = copied(fitted), y_new == 7
    before = clf.unknown_score(X_new)
    clf.enroll(X[y == 7], y[y == 7])
    assert clf.unknown_threshold_ == fitted.unknown_threshold_
    assert (clf.unknown_score(X_new) <= before).all()
    old, new = (c.predict(X_new) for c in (fitted, clf))
    rejected, still_rejected = ((p[seven] == -1).mean() for p in (old, new))
    assert rejected > 0.3
    # How many are left depends on the threshold, so on the seed and on PyTorch.
    assert still_rejected < rejected / 2
    assert (new[seven & (new != -1)] == 7).mean() > 0.8
    nearest = clf.classes_[clf.predict_proba(X_new).argmax(1)]
    unknown = clf.unknown_score(X_new) > clf.unknown_threshold_
    np.testing.assert_array_equal(new, np.where(unknown, -1, nearest))
    assert not ((new == -1) & (old != -1)).any()
    with pytest.raises(ValueError, match="unknown_label=-1 is one of the classes"):
        clf.enroll(X[:1], [-1])
    np.testing.assert_array_equal(clf.predict(X_new), new)


def test_enrolled_images_of_known_classes_leave_known_what_was(known, fitted):
    """Mislabelled ones drag the prototypes away from it."""
    X, y, X_new, _ = known
    clf = copied(fitted).enroll(X[:300], (y[:300] + 1) % 7)
    assert np.abs(clf.prototypes_ - fitted.prototypes_).max() > 0.05
    means = clf._unknown_head.prototypes_
    gaps = np.linalg.norm(clf.transform(X_new)[:, None] - means, axis=2).min(axis=1)
    unknown = clf.predict(X_new) == -1
    assert unknown.any()
    assert (gaps[unknown] > clf.unknown_threshold_).all()


def test_enrolled_long_name_fits_beside_the_unknown(known):
    X, y, X_new, _ = known
    clf = fast(max_epochs=1, unknown_label="?").fit(X, np.array(list("abcdefg"))[y])
    clf.enroll(X_new[:20], np.repeat("a name of its own", 20))
    assert set(clf.predict(X_new)) <= {*"abcdefg", "?", "a name of its own"}
    with pytest.raises(ValueError, match="unknown_label='\\?' is one of"):
        clf.enroll(X_new[:1], ["?"])


def test_fit_without_rejection_forgets_the_threshold(known, fitted):
    X, y, X_new, _ = known
    clf = copied(fitted).set_params(unknown=None)
    assert -1 in clf.predict(X_new)  # parameters count when it is fitted
    for method in ("fit", "partial_fit"):
        clf = copied(fitted).set_params(unknown=None, max_epochs=1)
        getattr(clf, method)(X, y)
        assert not [
            name
            for name in vars(clf)
            if name.startswith("unknown_") and name.endswith("_")
        ]
        assert -1 not in clf.predict(X_new)
        assert clf.unknown_score(X_new).shape == (len(X_new),)


def test_warm_start_calibrates_on_what_never_trained(known):
    X, y, X_new, _ = known
    clf = fast(max_epochs=1, warm_start=True).fit(X, y)
    first = clf.unknown_threshold_
    clf.fit(X, y)
    assert clf.unknown_threshold_ != first
    expected = clf.predict(X_new)
    with pytest.raises(ValueError, match="set warm_start=False"):
        clf.fit(X[::2], y[::2])
    np.testing.assert_array_equal(clf.predict(X_new), expected)


def test_nothing_held_out_is_refused_before_training(known):
    X, y, _, _ = known

    def fail(batch):
        raise AssertionError("trained")

    with pytest.raises(ValueError, match="needs held-out images.*validation_fraction"):
        fast(validation_fraction=0, augment=fail).fit(X, y)
    with pytest.raises(ValueError, match="unknown_label=4 is one of"):
        fast(unknown_label=4, augment=fail).fit(X, y)


@pytest.mark.parametrize("params", [{"priors": "train"}, {"class_weight": {0: 9.0}}])
def test_priors_leave_the_distance(known, params):
    """They move the decision between classes, not what is none of them."""
    X, y, X_new, _ = known
    clf = fast(max_epochs=1, priors="train").fit(X, y)
    plain = fast(max_epochs=1).fit(X, y)
    assert clf.unknown_threshold_ == plain.unknown_threshold_
    np.testing.assert_array_equal(clf.unknown_score(X_new), plain.unknown_score(X_new))


def test_copies_reject_the_same(known, fitted):
    X, y, X_new, _ = known
    np.testing.assert_array_equal(copied(fitted).predict(X_new), fitted.predict(X_new))
    again = clone(fitted).fit(X, y)
    assert again.unknown_threshold_ == fitted.unknown_threshold_
    np.testing.assert_array_equal(again.predict(X_new), fitted.predict(X_new))


def test_search_and_pipeline_take_rejecting_classifiers(known):
    X, y, X_new, y_new = known
    grid = {"max_fpr": [0.05, 0.2], "unknown": [None, "reject"]}
    search = GridSearchCV(fast(max_epochs=3), grid, cv=2).fit(X, y)
    # Images of known classes alone: whoever rejects none of them scores best.
    assert search.best_params_["unknown"] is None
    pipeline = make_pipeline(FunctionTransformer(), fast(max_epochs=3)).fit(X, y)
    assert -1 in pipeline.predict(X_new[y_new >= 7])
    assert pipeline.predict_proba(X_new).sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_add_label_keeps_the_precision_of_floats(kind):
    added = add_label(np.array([0, 1], kind), -1.0)
    assert added.dtype == kind
    assert add_label(np.array([0, 1], "f2"), 2049.0).tolist() == [0, 1, 2049]


@pytest.mark.parametrize("kind", ["?", "M8[D]", "S3"])
def test_check_unknown_label_refuses_labels_without_another(kind):
    with pytest.raises(ValueError, match="unknown='reject'.*convert y"):
        check_unknown_label(None, np.zeros(2, kind))
