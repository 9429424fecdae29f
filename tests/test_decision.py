"""Decision heads and the temperature against loops, grids and scikit-learn."""

import math
import warnings

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC, OneClassSVM

from sksiamese._decision import (
    PrototypeHead,
    RefittedHead,
    make_head,
)

NAMES = np.array(["cat", "dog", "eel"])


def labelled(n=60, classes=NAMES, seed=0, dtype=np.float32):
    """Overlapping classes in random order."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, len(classes), n)
    Z = rng.normal(size=(n, 4)) + 1.5 * codes[:, None]
    return Z.astype(dtype), classes[codes]


def logits_by_loop(head, Z):
    rows = []
    for z in Z.tolist():
        best = dict.fromkeys(head.classes_, -math.inf)
        for prototype, label in zip(head.prototypes_, head.labels_, strict=True):
            best[label] = max(best[label], -(math.dist(z, prototype) ** 2))
        rows.append([best[label] for label in head.classes_])
    return np.array(rows)


def test_prototypes_are_class_means():
    Z, y = labelled()
    head = PrototypeHead().partial_fit(Z, y)
    assert head.classes_.tolist() == head.labels_.tolist() == NAMES.tolist()
    assert head.prototypes_.dtype == np.float32
    for prototype, count, name in zip(
        head.prototypes_, head.counts_, NAMES, strict=True
    ):
        assert prototype == pytest.approx(Z[y == name].mean(axis=0), rel=1e-5)
        assert count == (y == name).sum()


@pytest.mark.parametrize("cut", [1, 20, 59])
def test_prototypes_enrolled_in_chunks_equal_those_of_all(cut):
    Z, y = labelled(dtype=np.float64)
    whole = PrototypeHead().partial_fit(Z, y)
    parts = PrototypeHead().partial_fit(Z[:cut], y[:cut]).partial_fit(Z[cut:], y[cut:])
    assert parts.labels_.tolist() == whole.labels_.tolist()
    np.testing.assert_allclose(parts.prototypes_, whole.prototypes_)
    np.testing.assert_allclose(parts.counts_, whole.counts_)


@pytest.mark.parametrize("n_prototypes", [1, 2])
def test_prototypes_of_known_classes_stay_when_a_new_one_is_enrolled(n_prototypes):
    Z, y = labelled()
    head = PrototypeHead(n_prototypes, 0).partial_fit(Z, y)
    before, owners = head.prototypes_, head.labels_
    head.partial_fit(Z[:6] + 20, np.full(6, "a new class"))
    assert head.classes_.tolist() == ["a new class", *NAMES]
    np.testing.assert_array_equal(
        head.prototypes_[head.labels_ != "a new class"], before
    )
    assert np.setdiff1d(head.labels_, owners).tolist() == ["a new class"]


def test_prototypes_several_are_the_clusters_of_a_class():
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0], [50, 0], [0, 90]])
    Z = np.repeat(centres, [5, 10, 15], axis=0) + rng.normal(size=(30, 2))
    head = PrototypeHead(3, 0).partial_fit(Z, np.zeros(30, dtype=int))
    order = np.argsort(head.counts_)
    assert head.counts_[order].tolist() == [5, 10, 15]
    means = [Z[:5].mean(0), Z[5:15].mean(0), Z[15:].mean(0)]
    np.testing.assert_allclose(head.prototypes_[order], means)


def test_prototypes_several_weigh_what_they_stand_for():
    """Old prototypes of 90 images are not moved to the middle by 10 new images."""
    rng = np.random.default_rng(0)
    old = np.repeat([[0.0], [100]], 45, axis=0) + rng.normal(size=(90, 1))
    head = PrototypeHead(2, 0).partial_fit(old, np.zeros(90, dtype=int))
    head.partial_fit(np.full((10, 1), 4.0), np.zeros(10, dtype=int))
    assert np.sort(head.counts_).tolist() == [45, 55]
    expected = np.sort([(old[:45].sum() + 40) / 55, old[45:].mean()])
    np.testing.assert_allclose(np.sort(head.prototypes_.ravel()), expected)


@pytest.mark.parametrize("n_distinct", [1, 2, 3])
def test_prototypes_of_few_distinct_embeddings_are_those(n_distinct):
    distinct = np.eye(4)[:n_distinct]
    Z = np.repeat(distinct, 3, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        head = PrototypeHead(5, 0).partial_fit(Z, np.zeros(len(Z), dtype=int))
    assert head.counts_.tolist() == [3] * n_distinct
    np.testing.assert_allclose(np.unique(head.prototypes_, axis=0), distinct[::-1])


@pytest.mark.parametrize("forgotten", [["cat"], ["dog"], ["eel"], ["cat", "eel"]])
def test_prototypes_after_forgetting_judge_the_rest(forgotten):
    Z, y = labelled()
    head = PrototypeHead(2, 0).partial_fit(Z, y).forget(forgotten)
    rest = [name for name in NAMES if name not in forgotten]
    assert head.classes_.tolist() == rest
    assert set(head.labels_) == set(rest)
    np.testing.assert_allclose(head.logits(Z), logits_by_loop(head, Z), atol=1e-9)


@pytest.mark.parametrize(
    "head", [PrototypeHead(), RefittedHead(KNeighborsClassifier(3))], ids=type
)
def test_head_forgotten_class_is_learned_anew(head):
    Z, y = labelled()
    eel = y == "eel"
    head.partial_fit(Z, y).forget(["eel", "unknown"]).partial_fit(Z[eel] + 9, y[eel])
    fresh = np.where(eel[:, None], Z + 9, Z)
    expected = make_head(
        "prototype" if isinstance(head, PrototypeHead) else "knn",
        n_prototypes=1,
        n_neighbors=3,
        random_state=0,
    ).partial_fit(fresh, y)
    np.testing.assert_allclose(head.logits(Z), expected.logits(Z), atol=1e-4)


@pytest.mark.parametrize(
    "head", [PrototypeHead(), RefittedHead(GaussianNB())], ids=type
)
def test_head_that_knows_nothing_forgets_nothing(head):
    assert head.forget([1, 2]) is head
    assert head.classes_ is None


@pytest.mark.parametrize("n_prototypes", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_prototype_logits_match_loop(dtype, n_prototypes):
    Z, y = labelled(dtype=dtype)
    head = PrototypeHead(n_prototypes, 0).partial_fit(Z, y)
    logits = head.logits(Z)
    assert logits.dtype == np.float64
    assert logits.max() <= 0
    np.testing.assert_allclose(logits, logits_by_loop(head, Z), atol=1e-9)


def nearest_by_loop(Z, known):
    return [min(math.dist(z, k) for k in known) for z in Z.tolist()]


@pytest.mark.parametrize("n_prototypes", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_prototype_novelty_is_the_distance_to_the_nearest(dtype, n_prototypes):
    Z, y = labelled(dtype=dtype)
    new, _ = labelled(seed=1, dtype=dtype)
    head = PrototypeHead(n_prototypes, 0).partial_fit(Z, y)
    novelty = head.novelty(new)
    assert novelty.dtype == np.float64
    expected = nearest_by_loop(new, head.prototypes_.tolist())
    np.testing.assert_allclose(novelty, expected, atol=1e-7)
    np.testing.assert_array_equal(head.novelty(new, head.logits(new)), novelty)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_refitted_head_novelty_is_the_distance_to_the_nearest_embedding(dtype):
    Z, y = labelled(dtype=dtype)
    new, _ = labelled(seed=1, dtype=dtype)
    head = RefittedHead(GaussianNB()).partial_fit(Z[:30], y[:30])
    before = head.novelty(new)
    head.partial_fit(Z[30:], y[30:])
    novelty = head.novelty(new)
    assert novelty.dtype == np.float64
    np.testing.assert_allclose(novelty, nearest_by_loop(new, Z.tolist()), atol=1e-5)
    assert (novelty <= before).all()
    assert (novelty < before).any()


CLASSIFIERS = [
    GaussianNB(),
    KNeighborsClassifier(3),
    LogisticRegression(),
    RadiusNeighborsClassifier(9.0),
    RandomForestClassifier(5, random_state=0),
    SVC(),
]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=lambda c: type(c).__name__)
def test_refitted_head_equals_classifier_fitted_on_all(classifier, n_classes):
    Z, y = labelled(classes=NAMES[:n_classes])
    head = RefittedHead(classifier)
    for rows in (slice(0, 25), slice(25, 60)):
        assert head.partial_fit(Z[rows], y[rows]) is head
    logits = head.logits(Z)
    assert logits.shape == (60, n_classes)
    assert np.isfinite(logits).all()
    expected = type(classifier)(**classifier.get_params()).fit(Z, y).predict(Z)
    assert (head.classes_[logits.argmax(axis=1)] == expected).all()
    assert not hasattr(classifier, "classes_")


@pytest.mark.parametrize("wrap", [lambda svm: svm, make_pipeline])
def test_make_head_of_pairwise_svm_is_refused(wrap):
    """With "ovo", the decision function has a column for each pair of classes."""
    with pytest.raises(ValueError, match="decision_function_shape='ovr'"):
        make_head(wrap(SVC(decision_function_shape="ovo")), 1, 1, 0)


def test_refitted_head_of_two_classes_gives_log_odds():
    Z, y = labelled(classes=NAMES[:2])
    head = RefittedHead(LogisticRegression()).partial_fit(Z, y)
    proba = head.classifier_.predict_proba(Z)
    odds = head.logits(Z) @ [-1, 1]
    np.testing.assert_allclose(odds, np.log(proba[:, 1] / proba[:, 0]), rtol=1e-4)


def test_refitted_head_too_many_neighbours_names_parameter():
    Z, y = labelled(3)
    with pytest.raises(ValueError, match="n_neighbors=5, but only 3 images"):
        RefittedHead(KNeighborsClassifier(5)).partial_fit(Z, y)


def test_make_head_classifier_without_scores_names_parameter():
    with pytest.raises(ValueError, match="classifier=.*neither decision_function"):
        make_head(object(), n_prototypes=1, n_neighbors=1, random_state=0)


def test_make_head_passes_parameters():
    options = {"n_prototypes": 3, "n_neighbors": 7, "random_state": 5}
    prototype = make_head("prototype", **options)
    assert (prototype.n_prototypes, prototype.random_state) == (3, 5)
    assert make_head("knn", **options).classifier.n_neighbors == 7
    own = OneClassSVM()
    assert make_head(own, **options).classifier is own


@pytest.mark.parametrize("n_prototypes", [1, 3])
def test_head_counts_what_it_learned(n_prototypes):
    Z, y = labelled()
    expected = [np.sum(y == name) for name in NAMES]
    for head in (PrototypeHead(n_prototypes, 0), RefittedHead(GaussianNB())):
        head.partial_fit(Z[:30], y[:30]).partial_fit(Z[30:], y[30:])
        assert head.counts().tolist() == expected
    assert head.assumed_priors() == pytest.approx(np.divide(expected, 60))


@pytest.mark.parametrize("n_prototypes", [1, 3])
def test_prototypes_assume_equal_frequencies(n_prototypes):
    Z, y = labelled()
    head = PrototypeHead(n_prototypes, 0).partial_fit(Z[y != "dog"], y[y != "dog"])
    assert head.assumed_priors().tolist() == [0.5, 0.5]
