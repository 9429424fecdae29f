"""Scores of neighbours against sorted lists, and against pytorch-metric-learning."""

import math

import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from sksiamese.metrics import (
    cumulative_match,
    mean_average_precision_at_r,
    r_precision,
    recall_at_k,
)

METRICS = [recall_at_k, cumulative_match, r_precision, mean_average_precision_at_r]


def ranked(probe, gallery, metric):
    """Is each item of the class? From near to far, other classes first among equals."""
    z, label = probe

    def distance(item):
        if metric == "cosine":
            product = sum(a * b for a, b in zip(z, item, strict=True))
            return 1 - product / math.hypot(*z) / math.hypot(*item)
        return sum((a - b) ** 2 for a, b in zip(z, item, strict=True))

    items = sorted((round(distance(i), 9), own == label) for i, own in gallery)
    return [own for _, own in items]


def oracle(probes, gallery=None, metric="euclidean", k=2):
    """Mean of each score over the probes that have an item of their class."""
    lists = []
    for i, probe in enumerate(probes):
        others = probes[:i] + probes[i + 1 :] if gallery is None else gallery
        lists.append(ranked(probe, others, metric))
    lists = [own for own in lists if any(own)]
    if not lists:
        return [math.nan] * 4
    recall, matches, precision, average = [], [], [], []
    for own in lists:
        recall.append(any(own[:k]))
        matches.append([any(own[:rank]) for rank in range(1, k + 1)])
        r = sum(own)
        precision.append(sum(own[:r]) / r)
        at = [sum(own[: i + 1]) / (i + 1) for i in range(r) if own[i]]
        average.append(sum(at) / r)
    return [np.mean(values, axis=0) for values in (recall, matches, precision, average)]


def scores(probes, gallery=None, metric="euclidean", k=2):
    """Score by the library."""
    arrays = [list(array) for array in zip(*probes, strict=True)]
    kwargs = {"metric": metric}
    if gallery is not None:
        names = "gallery", "gallery_labels"
        kwargs |= dict(zip(names, map(list, zip(*gallery, strict=True)), strict=True))
    depth = {recall_at_k: {"k": k}, cumulative_match: {"k": k}}
    return [score(*arrays, **kwargs, **depth.get(score, {})) for score in METRICS]


def items(min_size):
    """Labelled points of a coarse grid, so that many distances are tied."""
    point = st.tuples(st.integers(1, 3), st.integers(-2, 2))
    return st.lists(
        st.tuples(point, st.sampled_from("abc")), min_size=min_size, max_size=12
    )


@given(items(3), st.randoms())
@settings(max_examples=60, deadline=None)
def test_scores_among_themselves_match_loop(probes, random):
    expected = oracle(probes)
    shuffled = random.sample(probes, len(probes))
    for found, again, value in zip(
        scores(probes), scores(shuffled), expected, strict=True
    ):
        assert found == pytest.approx(value, nan_ok=True)
        assert again == pytest.approx(value, nan_ok=True)


@given(items(1), items(2))
@settings(max_examples=60, deadline=None)
def test_scores_in_a_gallery_match_loop(probes, gallery):
    for found, value in zip(
        scores(probes, gallery), oracle(probes, gallery), strict=True
    ):
        assert found == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("with_gallery", [False, True])
def test_scores_of_continuous_embeddings_match_loop(metric, with_gallery):
    rng = np.random.default_rng(0)

    def draw(n):
        rows = rng.normal(size=(n, 3)).tolist()
        return list(zip(rows, rng.integers(0, 5, n).tolist(), strict=True))

    probes, gallery = draw(30), draw(25) if with_gallery else None
    for k in (1, 3, 25):
        for found, value in zip(
            scores(probes, gallery, metric, k),
            oracle(probes, gallery, metric, k),
            strict=True,
        ):
            assert found == pytest.approx(value)


@pytest.mark.parametrize("with_gallery", [False, True])
def test_scores_match_pytorch_metric_learning(with_gallery):
    pytest.importorskip("faiss", reason="pytorch-metric-learning searches by faiss")
    reason = "compares with pytorch-metric-learning"
    peer = pytest.importorskip(
        "pytorch_metric_learning.utils.accuracy_calculator", reason=reason
    )
    rng = np.random.default_rng(0)
    # Class 8 has one image, and the gallery none of it.
    labels = np.append(rng.integers(0, 8, 199), 8)
    means = rng.normal(size=(9, 8))
    probes = (means[labels] + rng.normal(size=(200, 8))).astype(np.float32)
    kwargs, reference = {}, {}
    if with_gallery:
        gallery_labels = rng.integers(0, 8, 150)
        gallery = means[gallery_labels] + rng.normal(size=(150, 8))
        gallery = gallery.astype(np.float32)
        kwargs = {"gallery": gallery, "gallery_labels": gallery_labels}
        reference = {"reference": gallery, "reference_labels": gallery_labels}
    names = "precision_at_1", "r_precision", "mean_average_precision_at_r"
    calculator = peer.AccuracyCalculator(include=names, k="max_bin_count")
    expected = calculator.get_accuracy(probes, labels, **reference)
    ours = recall_at_k, r_precision, mean_average_precision_at_r
    for score, name in zip(ours, names, strict=True):
        assert score(probes, labels, **kwargs) == pytest.approx(expected[name])


def test_recall_at_1_is_leave_one_out_accuracy_of_scikit_learn(digits):
    X, y, _, _ = digits
    X, y = X[:200].reshape(200, -1), y[:200]
    predicted = cross_val_predict(KNeighborsClassifier(1), X, y, cv=LeaveOneOut())
    assert recall_at_k(X, y) == pytest.approx(accuracy_score(y, predicted))


@pytest.mark.parametrize("score", METRICS)
def test_values_per_probe_have_the_mean_and_nan_where_left_out(score):
    rng = np.random.default_rng(0)
    embeddings, labels = rng.normal(size=(20, 2)), np.append(np.arange(19) % 4, 9)
    values = score(embeddings, labels, per_probe=True)
    assert np.isnan(values[-1]).all()
    assert not np.isnan(values[:-1]).any()
    assert values[:-1].mean(axis=0) == pytest.approx(score(embeddings, labels))


@pytest.mark.parametrize("score", METRICS)
def test_chunks_do_not_change_the_result(score):
    rng = np.random.default_rng(0)
    embeddings, labels = rng.normal(size=(400, 3)), rng.integers(0, 9, 400)
    whole = score(embeddings, labels, per_probe=True)
    with sklearn.config_context(working_memory=0.05):
        assert np.array_equal(score(embeddings, labels, per_probe=True), whole)


def test_coinciding_embeddings_earn_nothing():
    """A collapsed network; in the order of the rows it would seem to know class 0."""
    labels = np.repeat([0, 1, 2], 5)
    embeddings = np.full((15, 7), 0.1)
    assert recall_at_k(embeddings, labels, k=10) == 0
    assert recall_at_k(embeddings, labels, k=11) == 1
    assert r_precision(embeddings, labels) == 0
    assert mean_average_precision_at_r(embeddings, labels) == 0


def test_equal_rows_tie_wherever_they_are():
    """By way of a matrix product they do not."""
    rng = np.random.default_rng(0)
    item = rng.normal(size=(1, 61)) + 100
    gallery = np.repeat(item, 101, axis=0)
    gallery_labels = np.r_[np.zeros(100), 1]
    for row in (0, 50, 100):
        labels = np.roll(gallery_labels, row)
        kwargs = {"gallery": gallery, "gallery_labels": labels, "k": 100}
        assert recall_at_k(item + rng.normal(size=(1, 61)), [1], **kwargs) == 0


@pytest.mark.parametrize("score", METRICS)
def test_no_probe_with_an_item_of_its_class_is_nan(score):
    kwargs = {} if score in METRICS[2:] else {"k": 2}
    assert np.isnan(score(np.eye(3), ["a", "b", "c"], **kwargs)).all()


def test_cumulative_match_rises_to_one():
    rng = np.random.default_rng(0)
    curve = cumulative_match(rng.normal(size=(30, 2)), np.arange(30) % 3, k=29)
    assert (np.diff(curve) >= 0).all()
    assert curve[-1] == 1


def test_cosine_ignores_lengths_and_euclidean_does_not():
    rng = np.random.default_rng(0)
    embeddings, labels = rng.normal(size=(60, 2)), rng.integers(0, 3, 60)
    scaled = embeddings * 2.0 ** rng.integers(-3, 4, (60, 1))
    cosine = {"metric": "cosine"}
    expected = r_precision(embeddings, labels, **cosine)
    assert r_precision(scaled, labels, **cosine) == expected
    assert r_precision(scaled, labels) != r_precision(embeddings, labels)


def test_inputs_are_not_changed():
    embeddings, labels = np.arange(8.0).reshape(4, 2), np.array([0, 0, 1, 1])
    embeddings.flags.writeable = labels.flags.writeable = False
    recall_at_k(embeddings, labels, metric="cosine")


Z, Y = np.arange(8.0).reshape(4, 2) + 1, [0, 0, 1, 1]


@pytest.mark.parametrize("score", METRICS)
@pytest.mark.parametrize(
    ("embeddings", "labels", "kwargs", "message"),
    [
        (np.where(Z > 7, np.nan, Z), Y, {}, "Input embeddings contains NaN"),
        (Z, Y[:3], {}, r"labels has shape \(3,\): .* which are 4"),
        (Z, [0, 0, 1, None], {}, "labels has missing values"),
        (Z, [0, 0, 1, math.nan], {}, "labels has missing values"),
        (Z, [0, 0, 1, "a"], {}, "labels has values of kinds"),
        (
            Z,
            Y,
            {"gallery": Z, "gallery_labels": [0, 1, 1, None]},
            "gallery_labels has missing values",
        ),
        (Z, [Y], {}, "labels has shape"),
        (Z, Y, {"gallery": Z}, "gallery and gallery_labels must be passed together"),
        (Z, Y, {"gallery_labels": Y}, "gallery and gallery_labels must be passed"),
        (Z, Y, {"gallery": Z * np.nan, "gallery_labels": Y}, "Input gallery contains"),
        (Z, Y, {"gallery": Z, "gallery_labels": Y[1:]}, "gallery_labels has shape"),
        (Z, Y, {"gallery": Z[:, :1], "gallery_labels": Y}, "gallery has 1 columns"),
        (
            Z,
            Y,
            {"gallery": Z, "gallery_labels": list("aabb")},
            "labels and gallery_labels have values of kinds",
        ),
        (Z, Y, {"metric": "l1"}, "metric='l1' must be"),
        (Z * [[0], [1], [1], [1]], Y, {"metric": "cosine"}, "row of zeros at 0"),
    ],
)
def test_bad_input_raises(score, embeddings, labels, kwargs, message):
    with pytest.raises(ValueError, match=message):
        score(embeddings, labels, **kwargs)


@pytest.mark.parametrize("score", METRICS)
def test_labels_of_probes_and_gallery_may_differ_in_dtype(score):
    """Numbers of 2 ** 53 and above are one as floats."""
    kwargs = {"k": 2} if score in METRICS[:2] else {}
    gallery = Z + [[0.1], [3], [-0.1], [0.2]]
    own, other = np.array([5, 5, 2**53, 2**53]), np.array([5, 2**53, 2**53 + 1, 5])
    values = [
        score(
            Z,
            own.astype(kind),
            gallery=gallery,
            gallery_labels=other.astype(gallery_kind),
            **kwargs,
        )
        for kind in (np.int64, np.uint64, object)
        for gallery_kind in (np.int64, np.uint64, object)
    ]
    assert all(np.array_equal(value, values[0]) for value in values)


@pytest.mark.parametrize("score", METRICS[:2])
@pytest.mark.parametrize("k", [0, -1, 1.5, 4, None])
def test_k_outside_the_gallery_raises(score, k):
    with pytest.raises(ValueError, match=f"k={k} must be .* 1 to the 3 items"):
        score(Z, Y, k=k)
    if k == 4:  # with a gallery, no item is the probe itself
        score(Z, Y, k=4, gallery=Z, gallery_labels=Y)
