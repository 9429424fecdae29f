"""Few-shot episodes against an explicit loop over the same draws."""

import math

import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

from sksiamese.metrics import few_shot_accuracy

LABELS = np.repeat(np.arange(8), 12)
SIZES = {"n_way": 3, "n_shot": 2, "n_query": 4, "n_episodes": 20}


def embeddings(spread, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(8, 3))[LABELS] * spread + rng.normal(size=(96, 3))


def test_accuracy_matches_scikit_learn_episode_by_episode():
    Z = embeddings(1.0)
    rng = np.random.default_rng(3)  # draws as the function does
    accuracies = []
    for _ in range(20):
        classes = rng.choice(8, 3, replace=False)
        rows = [rng.choice(np.flatnonzero(LABELS == c), 6, False) for c in classes]
        support, query = (
            np.concatenate([r[part] for r in rows])
            for part in (slice(2), slice(2, None))
        )
        head = NearestCentroid().fit(Z[support], LABELS[support])
        accuracies.append(head.score(Z[query], LABELS[query]))
    found = few_shot_accuracy(Z, LABELS, **SIZES, random_state=3)
    half = 1.959964 * np.std(accuracies, ddof=1) / math.sqrt(20)
    assert found.estimate == pytest.approx(np.mean(accuracies))
    assert found.low == pytest.approx(found.estimate - half)
    assert found.high == pytest.approx(found.estimate + half)


def test_accuracy_of_coinciding_embeddings_is_chance():
    found = few_shot_accuracy(np.ones((96, 2)), LABELS, n_query=5, random_state=0)
    assert found.estimate == pytest.approx(1 / 5)


def test_accuracy_of_unrelated_embeddings_is_chance():
    sizes = SIZES | {"n_episodes": 600}
    found = few_shot_accuracy(embeddings(0.0), LABELS, **sizes, random_state=0)
    assert found.low - 0.02 < 1 / 3 < found.high + 0.02


def test_accuracy_rises_with_shots_and_falls_with_ways():
    def accuracy(**kwargs):
        sizes = SIZES | {"n_episodes": 200} | kwargs
        return few_shot_accuracy(
            embeddings(1.0), LABELS, **sizes, random_state=0
        ).estimate

    assert accuracy(n_shot=1) < accuracy(n_shot=2) < accuracy(n_shot=8)
    assert accuracy(n_way=2) > accuracy(n_way=3) > accuracy(n_way=8)


def test_interval_covers_the_mean_of_all_episodes():
    Z = embeddings(1.0)
    sizes = SIZES | {"n_episodes": 4000}
    truth = few_shot_accuracy(Z, LABELS, **sizes, random_state=99).estimate
    covered = 0
    for seed in range(100):
        found = few_shot_accuracy(Z, LABELS, **SIZES, random_state=seed)
        covered += found.low <= truth <= found.high
    assert 88 <= covered <= 100


def test_interval_stays_within_0_and_1_and_follows_the_level():
    Z = embeddings(5.0)
    narrow, wide = (
        few_shot_accuracy(Z, LABELS, **SIZES, confidence_level=p, random_state=0)
        for p in (0.8, 0.999)
    )
    assert (
        0 <= wide.low < narrow.low <= narrow.estimate <= narrow.high <= wide.high <= 1
    )
    certain = few_shot_accuracy(LABELS[:, None] * 9.0, LABELS, **SIZES)
    assert certain == (1.0, 1.0, 1.0)


def test_equal_seeds_give_equal_episodes():
    a, b, c = (
        few_shot_accuracy(embeddings(1.0), LABELS, **SIZES, random_state=seed)
        for seed in (1, 1, 2)
    )
    assert a == b != c


def test_small_classes_take_no_part():
    """Class 9 has one image, far away, which would be told with certainty."""
    Z, labels = np.append(np.zeros((96, 1)), [[99.0]], axis=0), np.append(LABELS, 9)
    sizes = SIZES | {"n_way": 8, "n_query": 10}
    assert few_shot_accuracy(Z, labels, **sizes).estimate == pytest.approx(1 / 8)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"n_way": 9}, "labels has 8 classes .* n_way=9 are needed"),
        ({"n_query": 11}, r"labels has 0 classes of n_shot \+ n_query = 13 samples"),
        ({"n_way": 1}, "n_way=1 must be an integer >= 2"),
        ({"n_shot": 0}, "n_shot=0 must be"),
        ({"n_query": 1.5}, "n_query=1.5 must be"),
        ({"n_episodes": 1}, "n_episodes=1 must be"),
        ({"confidence_level": 95}, "confidence_level=95 must be"),
        ({"labels": LABELS[1:]}, "labels has shape"),
        ({"labels": [*LABELS[1:], None]}, "labels has missing values"),
        ({"labels": np.where(LABELS == 3, np.nan, LABELS)}, "labels has missing"),
        ({"embeddings": np.full((96, 2), np.nan)}, "embeddings contains NaN"),
    ],
)
def test_bad_input_raises(kwargs, message):
    arrays = {"embeddings": embeddings(1.0), "labels": LABELS}
    with pytest.raises(ValueError, match=message):
        few_shot_accuracy(**(arrays | SIZES | kwargs))
