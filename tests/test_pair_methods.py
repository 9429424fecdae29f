"""Distance, score and probability of pairs."""

import numpy as np
import pytest
import torch

from sksiamese import SiameseEmbedder


def fast(**params):
    return SiameseEmbedder(**{"max_epochs": 3, "random_state": 0, **params})


def test_pair_distance_is_the_euclidean_distance_of_embeddings(digits):
    X, y, _, _ = digits
    embedder = fast().fit(X, y)
    Z = embedder.transform(X[:20]).astype(float)
    expected = [np.sqrt(((Z[i] - Z[i + 10]) ** 2).sum()) for i in range(10)]
    as_tuple = embedder.pair_distance((X[:10], X[10:20]))
    as_array = embedder.pair_distance(np.stack([X[:10], X[10:20]], axis=1))
    np.testing.assert_allclose(as_tuple, expected, rtol=1e-5)
    np.testing.assert_array_equal(as_tuple, as_array)
    np.testing.assert_array_equal(embedder.pair_score((X[:10], X[10:20])), -as_tuple)


@pytest.mark.parametrize("loss", ["logistic", "logistic_distance"])
def test_pair_proba_tells_pairs_apart(digits, loss):
    X, y, X_new, y_new = digits
    embedder = fast(loss=loss, max_epochs=10).fit(X, y)
    start = embedder.net_.criterion_.__class__(64, embedder.net_.criterion_.on)
    assert not torch.equal(embedder.net_.criterion_.weight, start.weight)  # it trained
    half = len(X_new) // 2
    proba = embedder.pair_proba((X_new[:half], X_new[half : 2 * half]))
    same = y_new[:half] == y_new[half : 2 * half]
    assert proba.min() >= 0
    assert proba.max() <= 1
    assert proba[same].mean() > 0.7
    assert proba[~same].mean() < 0.3


def test_pair_proba_is_absent_without_a_learned_head(digits):
    assert not hasattr(SiameseEmbedder(), "pair_proba")
    assert hasattr(SiameseEmbedder(loss="logistic"), "pair_proba")
