"""Intervals against explicit resamples, against SciPy, and by how often they cover."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap, norm
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    log_loss,
    recall_score,
    roc_auc_score,
)

from sksiamese.metrics import (
    confidence_interval,
    cumulative_match,
    d_prime,
    equal_error_rate,
    expected_calibration_error,
    open_set_classification_rate,
    pair_roc_auc,
    r_precision,
    recall_at_k,
    tar_at_far,
)
from sksiamese.pairs import sample_pairs

FEW = {"n_resamples": 100, "random_state": 7}


def draws(n_units):
    """Units of each resample, as the function draws them."""
    rng = np.random.default_rng(FEW["random_state"])
    for _ in range(FEW["n_resamples"]):
        yield rng.integers(n_units, size=n_units).tolist()


def bounds(values):
    return tuple(np.quantile(values, [0.025, 0.975]))


def labelled_rows(n=60, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    return y, np.where(rng.random(n) < 0.8, y, 1 - y), np.arange(n) // 4


def scored_pairs(n_images=40, n_pairs=200, seed=0, sd=0.5, noise=0.5):
    """Hard images lower the scores of their same pairs and raise the others.

    Both kinds are normal around +1 and -1; their rates cross at 0.
    """
    rng = np.random.default_rng(seed)
    effect = sd * rng.normal(size=n_images)
    pairs, same = sample_pairs(np.arange(n_images) % 4, n_pairs, random_state=seed)
    signs = 2.0 * same - 1
    scores = signs * (1 + effect[pairs].sum(axis=1)) + noise * rng.normal(size=n_pairs)
    return pairs, same, scores


def pairs_by_loop(metric, pairs, same, scores, unit_of):
    """Draw units, form every pair that their copies have, repeat its row."""
    units = sorted({unit_of[i] for pair in pairs.tolist() for i in pair})
    values = []
    for drawn in draws(len(units)):
        copies = [(units[number], copy) for copy, number in enumerate(drawn)]
        rows = []
        for row, (i, j) in enumerate(pairs.tolist()):
            if unit_of[i] == unit_of[j]:  # a pair within each copy of its unit
                rows += [row for unit, _ in copies if unit == unit_of[i]]
            else:
                rows += [
                    row
                    for (one, _), (other, _) in itertools.product(copies, copies)
                    if (one, other) == (unit_of[i], unit_of[j])
                ]
        values.append(metric(same[rows], scores[rows]))
    return bounds(values)


@pytest.mark.parametrize("metric", [equal_error_rate, tar_at_far, roc_auc_score])
def test_pairs_resample_their_images(metric):
    pairs, same, scores = scored_pairs(n_images=20, n_pairs=60, sd=1)
    found = confidence_interval(metric, same, scores, pairs=pairs, **FEW)
    expected = pairs_by_loop(metric, pairs, same, scores, list(range(20)))
    assert found == pytest.approx((metric(same, scores), *expected))


def test_pairs_with_groups_resample_groups():
    pairs, same, scores = scored_pairs(n_images=24, n_pairs=60)
    groups = [f"patient {i // 3}" for i in range(24)]
    assert any(groups[i] == groups[j] for i, j in pairs)
    found = confidence_interval(
        d_prime, same, scores, pairs=pairs, groups=groups, **FEW
    )
    expected = pairs_by_loop(d_prime, pairs, same, scores, groups)
    assert found[1:] == pytest.approx(expected)


def test_pairs_that_share_no_image_are_resampled_themselves():
    rng = np.random.default_rng(0)
    same, scores = np.arange(80) % 2 == 0, np.sort(rng.normal(size=80))
    pairs = rng.permutation(160).reshape(80, 2)
    found = confidence_interval(d_prime, same, scores, pairs=pairs, **FEW)
    assert found == confidence_interval(d_prime, same, scores, **FEW)


def test_pair_roc_auc_resamples_images():
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 3
    embeddings = rng.normal(size=(30, 2)) + labels[:, None]
    pairs = np.stack(np.triu_indices(30, 1), axis=1)
    same = labels[pairs[:, 0]] == labels[pairs[:, 1]]
    scores = -np.linalg.norm(np.subtract(*embeddings[pairs.T]), axis=1)
    for groups in (None, np.arange(30) // 2):
        kwargs = FEW | {"groups": groups}
        found = confidence_interval(pair_roc_auc, embeddings, labels, **kwargs)
        expected = confidence_interval(
            roc_auc_score, same, scores, pairs=pairs, **kwargs
        )
        assert found == pytest.approx(expected)
    assert found.estimate == pytest.approx(pair_roc_auc(embeddings, labels))


def test_rows_are_resampled_as_scipy_does():
    rng = np.random.default_rng(0)
    same, scores = np.arange(150) % 2 == 0, rng.normal(size=150)
    scores = scores + same
    found = confidence_interval(d_prime, same, scores, n_resamples=2000, random_state=0)
    expected = bootstrap(
        (same, scores),
        d_prime,
        paired=True,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        random_state=np.random.default_rng(1),
    ).confidence_interval
    width = expected.high - expected.low
    assert found[1:] == pytest.approx(tuple(expected), abs=0.06 * width)


def test_metric_without_weights_is_given_repeated_rows():
    y, predicted, groups = labelled_rows()

    def unweighted(y_true, y_pred):
        return accuracy_score(y_true, y_pred)

    for kwargs in (FEW, FEW | {"groups": groups}):
        found = confidence_interval(unweighted, y, predicted, **kwargs)
        expected = confidence_interval(accuracy_score, y, predicted, **kwargs)
        assert found == pytest.approx(expected)


@pytest.mark.parametrize("metric", [accuracy_score, recall_at_k])
def test_copies_of_a_row_in_one_group_count_as_one_row(metric):
    y, predicted, _ = labelled_rows()
    kwargs = dict(FEW)
    if metric is recall_at_k:
        kwargs |= {"gallery": [[0.0], [1.0]], "gallery_labels": [0, 1]}
        y, predicted = predicted[:, None].astype(float), y
    found = confidence_interval(
        metric,
        np.repeat(y, 5, 0),
        np.repeat(predicted, 5),
        groups=np.arange(300) // 5,
        **kwargs,
    )
    expected = confidence_interval(metric, y, predicted, **kwargs)
    assert found == pytest.approx(expected)


def test_sample_weight_follows_its_rows():
    y, predicted, _ = labelled_rows()
    weight = np.random.default_rng(0).random(60)
    found = confidence_interval(
        accuracy_score, y, predicted, sample_weight=weight, **FEW
    )
    values = []
    for drawn in draws(60):
        values.append(
            accuracy_score(y[drawn], predicted[drawn], sample_weight=weight[drawn])
        )
    assert found[1:] == pytest.approx(bounds(values))
    pairs, same, scores = scored_pairs()
    order = np.random.default_rng(1).permutation(len(same))
    weight = np.random.default_rng(2).random(len(same))
    one, other = (
        confidence_interval(
            d_prime, same[o], scores[o], pairs=pairs[o], sample_weight=weight[o], **FEW
        )
        for o in (np.arange(len(same)), order)
    )
    assert one == pytest.approx(other)


@pytest.mark.parametrize("metric", [partial(recall_at_k, k=2), r_precision])
def test_neighbours_resample_probes_and_keep_the_gallery(metric):
    rng = np.random.default_rng(0)
    labels = np.append(np.arange(39) % 3, 9)  # class 9 has nothing to find
    embeddings = rng.normal(size=(40, 2)) + labels[:, None]
    values = metric(embeddings, labels, per_probe=True)[:39]
    found = confidence_interval(metric, embeddings, labels, **FEW)
    expected = bounds([values[drawn].mean() for drawn in draws(39)])
    assert found == pytest.approx((values.mean(), *expected))
    groups = np.arange(40) // 4
    found = confidence_interval(metric, embeddings, labels, groups=groups, **FEW)
    members = [np.flatnonzero(groups[:39] == g) for g in range(10)]
    expected = bounds(
        [
            np.concatenate([values[members[g]] for g in drawn]).mean()
            for drawn in draws(10)
        ]
    )
    assert found[1:] == pytest.approx(expected)


@pytest.mark.parametrize("method", ["bootstrap", "exact"])
def test_cumulative_match_has_an_interval_for_each_rank(method):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 6
    embeddings = rng.normal(size=(90, 2)) + np.arange(90)[:, None] % 6
    gallery = {"gallery": embeddings[60:], "gallery_labels": np.arange(30) % 6}
    probes = embeddings[:60], labels
    found = confidence_interval(
        cumulative_match, *probes, k=4, method=method, **gallery, **FEW
    )
    assert found.estimate == pytest.approx(cumulative_match(*probes, k=4, **gallery))
    for k in range(4):
        expected = confidence_interval(
            recall_at_k, *probes, k=k + 1, method=method, **gallery, **FEW
        )
        assert [bound[k] for bound in found] == pytest.approx(list(expected))
    assert "array" not in repr(found)


@pytest.mark.parametrize("n_wrong", [0, 1, 12, 60])
def test_exact_interval_is_that_of_clopper_and_pearson(n_wrong):
    y = np.arange(60) % 2
    predicted = np.where(np.arange(60) < n_wrong, 1 - y, y)
    kwargs = {"method": "exact", "confidence_level": 0.9}
    found = confidence_interval(accuracy_score, y, predicted, **kwargs)
    expected = binomtest(60 - n_wrong, 60).proportion_ci(0.9, method="exact")
    assert found == pytest.approx((1 - n_wrong / 60, expected.low, expected.high))
    gallery = {"gallery": [[0.0], [1.0]], "gallery_labels": [0, 1]}
    as_probes = confidence_interval(
        recall_at_k, predicted[:, None], y, **gallery, **kwargs
    )
    assert as_probes == pytest.approx(found)
    held = partial(recall_at_k, **gallery)
    assert confidence_interval(held, predicted[:, None], y, **kwargs) == as_probes


def test_exact_interval_of_a_column_is_that_of_its_rows():
    y = np.arange(40) % 2
    predicted = np.where(np.arange(40) < 4, 1 - y, y)
    found = confidence_interval(
        accuracy_score, y[:, None], predicted.tolist(), method="exact"
    )
    assert found == confidence_interval(accuracy_score, y, predicted, method="exact")


def test_any_mean_has_an_interval():
    values = np.random.default_rng(0).normal(size=50)
    found = confidence_interval(np.mean, values, **FEW)
    expected = bounds([values[drawn].mean() for drawn in draws(50)])
    assert found == pytest.approx((values.mean(), *expected))


def test_metrics_of_rows_have_an_interval():
    rng = np.random.default_rng(0)
    y, predicted, groups = labelled_rows(200)
    proba = np.clip(np.where(y, 0.7, 0.3) + 0.2 * rng.normal(size=200), 0, 1)
    for found in (
        confidence_interval(
            expected_calibration_error, y, np.stack([1 - proba, proba], 1), **FEW
        ),
        confidence_interval(
            open_set_classification_rate,
            np.where(np.arange(200) < 30, 5, y),
            predicted,
            rng.random(200),
            classes=[0, 1],
            groups=groups,
            **FEW,
        ),
        confidence_interval(f1_score, y, predicted, average="macro", **FEW),
    ):
        assert found.low < found.estimate + 0.05 and found.estimate < found.high + 0.05
        assert found.low < found.high


def coverage(n_repeats, metric, truth, **sizes):
    """Share of intervals that hold the truth: of images, and of pairs alone."""
    hits = np.zeros(2)
    for seed in range(n_repeats):
        pairs, same, scores = scored_pairs(seed=seed, **sizes)
        for kind, known in enumerate((pairs, None)):
            low, high = confidence_interval(
                metric, same, scores, pairs=known, n_resamples=100, random_state=seed
            )[1:]
            hits[kind] += low <= truth <= high
    return hits / n_repeats


def test_intervals_of_pairs_cover_the_truth_which_those_without_images_do_not():
    """Each image is in 18 pairs; scores vary by image as much as within."""
    sizes = {"n_images": 60, "n_pairs": 540}
    deviation = math.sqrt(0.5**2 * 2 + 0.5**2)
    right, naive = coverage(30, equal_error_rate, norm.cdf(-1 / deviation), **sizes)
    assert right >= 0.9
    assert naive <= 0.75
    right, naive = coverage(100, d_prime, 2 / deviation, **sizes)
    assert 0.9 <= right < 1
    assert naive <= 0.7


def test_intervals_of_grouped_probes_cover_the_truth_which_others_do_not():
    """Probes of a patient share a rate of success, drawn around 0.7."""
    hits = np.zeros(2)
    gallery = {"gallery": [[0.0], [1.0]], "gallery_labels": [0, 1]}
    groups = np.arange(300) // 10
    for seed in range(200):
        rng = np.random.default_rng(seed)
        found = rng.random(300) < rng.beta(1.4, 0.6, 30)[groups]
        for kind, known in enumerate((groups, None)):
            low, high = confidence_interval(
                recall_at_k,
                1.0 - found[:, None],
                np.zeros(300),
                groups=known,
                n_resamples=200,
                random_state=seed,
                **gallery,
            )[1:]
            hits[kind] += low <= 0.7 <= high
    right, naive = hits / 200
    assert right >= 0.9
    assert naive <= 0.75


def probes_of_two_classes(seed, n=60):
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=n)
    return rng.normal(size=(n, 2)) + 1.2 * labels[:, None], labels


def test_exact_intervals_of_probes_cover_the_truth_of_a_gallery():
    vectors, labels = probes_of_two_classes(10**7, 50)
    gallery = {"gallery": vectors, "gallery_labels": labels}
    truth = recall_at_k(*probes_of_two_classes(10**6, 100_000), **gallery)
    hits = 0
    for seed in range(200):
        low, high = confidence_interval(
            recall_at_k, *probes_of_two_classes(seed), method="exact", **gallery
        )[1:]
        hits += low <= truth <= high
    assert hits >= 0.94 * 200


def test_intervals_of_probes_that_are_their_gallery_are_too_narrow():
    """What the notes say of the bootstrap, and why "exact" is refused there."""
    shares = [recall_at_k(*probes_of_two_classes(10**6 + s)) for s in range(500)]
    hits = {"bootstrap": 0, "exact": 0}
    for seed in range(200):
        probes = probes_of_two_classes(seed)
        low, high = confidence_interval(
            recall_at_k, *probes, n_resamples=100, random_state=seed
        )[1:]
        hits["bootstrap"] += low <= np.mean(shares) <= high
        n_hits = round(60 * recall_at_k(*probes))
        low, high = binomtest(n_hits, 60).proportion_ci()
        hits["exact"] += low <= np.mean(shares) <= high
    assert hits["bootstrap"] <= 0.88 * 200
    assert hits["exact"] <= 0.93 * 200


def test_wider_confidence_is_wider():
    pairs, same, scores = scored_pairs()
    narrow, wide = (
        confidence_interval(
            equal_error_rate, same, scores, pairs=pairs, confidence_level=level, **FEW
        )
        for level in (0.5, 0.99)
    )
    assert wide.low < narrow.low < narrow.high < wide.high


def test_equal_seeds_give_equal_intervals():
    same, scores = np.arange(40) % 2, np.random.default_rng(0).normal(size=40)
    one, two, other = (
        confidence_interval(d_prime, same, scores, random_state=seed)
        for seed in (1, 1, 2)
    )
    assert one == two != other


def test_errors_that_did_not_occur_are_warned_of():
    pairs, same, _ = scored_pairs()
    with pytest.warns(UserWarning, match="equal_error_rate have one value, 0.0"):
        found = confidence_interval(equal_error_rate, same, same, pairs=pairs, **FEW)
    assert found == (0, 0, 0)
    with pytest.warns(UserWarning, match="errors that did not occur"):
        confidence_interval(accuracy_score, [0, 1], [0, 1], **FEW)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("metric", [roc_auc_score, equal_error_rate])
def test_resamples_without_a_class_are_left_out(metric):
    """With four rows of a class, one resample in 55 lacks it."""
    y, scores = np.arange(60) < 4, np.random.default_rng(0).normal(size=60)
    values = []
    for drawn in draws(60):
        if y[drawn].any():
            values.append(metric(y[drawn], scores[drawn]))
    assert len(values) < 100
    found = confidence_interval(metric, y, scores, **FEW)
    assert found[1:] == pytest.approx(bounds(values))


def test_resamples_whose_score_is_undefined_are_left_out():
    """Without a positive, scikit-learn's recall is 0, and a warning."""
    y = np.repeat([0, 1], [92, 4])
    predicted = np.where(np.arange(96) == 95, 0, y)
    values = [
        recall_score(y[drawn], predicted[drawn])
        for drawn in draws(96)
        if y[drawn].any()
    ]
    assert len(values) < 100
    found = confidence_interval(recall_score, y, predicted, **FEW)
    assert found[1:] == pytest.approx(bounds(values))
    said = confidence_interval(recall_score, y, predicted, zero_division=0.0, **FEW)
    assert said.low < found.low


def test_ranks_without_error_are_not_warned_of_beside_others(recwarn):
    labels, Z = np.arange(60) % 2, np.random.default_rng(0).normal(size=(60, 1))
    found = confidence_interval(cumulative_match, Z, labels, k=59, **FEW)
    assert found.low[-1] == found.high[-1] == 1 > found.high[0]
    assert not recwarn
    with pytest.warns(UserWarning, match="All resamples of cumulative_match"):
        confidence_interval(cumulative_match, labels[:, None], labels, k=3, **FEW)


def test_pairs_of_a_metric_of_probabilities_resample_their_images():
    pairs, same, scores = scored_pairs()
    chance = 1 / (1 + np.exp(-scores))
    weight = np.random.default_rng(0).random(len(same))
    found, expected = (
        confidence_interval(
            log_loss, same, proba, pairs=pairs, sample_weight=weight, **FEW
        )
        for proba in (np.stack([1 - chance, chance], axis=1), chance)
    )
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("metric", "arrays"),
    [
        (equal_error_rate, scored_pairs()[1:]),
        (recall_at_k, (np.arange(60.0)[:, None] ** 2, np.arange(60) // 3 % 2)),
        (pair_roc_auc, (np.arange(60.0)[:, None] ** 2, np.arange(60) // 3 % 2)),
    ],
)
def test_weights_of_none_are_no_weights(metric, arrays):
    found = confidence_interval(metric, *arrays, sample_weight=None, **FEW)
    assert found == confidence_interval(metric, *arrays, **FEW)
    if metric is equal_error_rate:
        as_partial = partial(metric, sample_weight=None)
        assert confidence_interval(as_partial, *arrays, **FEW) == found


@pytest.mark.parametrize("metric", [roc_auc_score, equal_error_rate])
def test_too_many_resamples_without_a_class_raise(metric):
    with pytest.raises(ValueError, match="of 100 resamples of 60 .* have no value"):
        confidence_interval(metric, np.arange(60) < 1, np.arange(60.0), **FEW)
