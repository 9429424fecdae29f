"""From embeddings to a plane: each method against its package."""

import sys

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import pairwise_distances
from threadpoolctl import threadpool_limits

from sksiamese._embedding_map import map_embeddings

RNG = np.random.default_rng(0)
Y = np.arange(120) % 4
Z = RNG.normal(size=(120, 8)) + 4 * RNG.normal(size=(4, 8))[Y]


@pytest.fixture(autouse=True)
def one_thread():
    # Threads of t-SNE wait for each other when the machine is busy.
    with threadpool_limits(1):
        yield


def test_map_pca_is_that_of_scikit_learn_and_tells_the_variance():
    coordinates, labels = map_embeddings(Z, "pca", 0)
    pca = PCA(2).fit(Z)
    assert np.allclose(np.abs(coordinates), np.abs(pca.transform(Z)))
    shares = 100 * pca.explained_variance_ratio_
    assert labels == [f"PC {k + 1} ({shares[k]:.3g} % of variance)" for k in range(2)]


@pytest.mark.parametrize("n", [3, 4, 20])
def test_map_tsne_of_few_is_the_same_again(n):
    (first, labels), (second, _) = (map_embeddings(Z[:n], "tsne", 0) for _ in range(2))
    assert first.shape == (n, 2)
    assert np.isfinite(first).all()
    assert np.array_equal(first, second)
    assert labels == ["t-SNE 1", "t-SNE 2"]


@pytest.mark.parametrize("n", [3, 40])
def test_map_umap_keeps_classes_together(n, monkeypatch):
    # Compiling takes a minute where nothing is cached yet; so few points need it not.
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    pytest.importorskip("umap", reason="umap-learn is not installed")
    coordinates, labels = map_embeddings(Z[:n], "umap", 0)
    assert labels == ["UMAP 1", "UMAP 2"]
    assert np.isfinite(coordinates).all()
    if n == 40:
        distances = pairwise_distances(coordinates)
        np.fill_diagonal(distances, np.inf)
        assert (Y[distances.argmin(axis=1)] == Y[:n]).mean() > 0.9


def test_map_umap_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match="pip install umap-learn"):
        map_embeddings(Z, "umap", 0)


def test_map_transformer_is_cloned_and_checked():
    tsne = TSNE(perplexity=5, random_state=3)
    coordinates, labels = map_embeddings(Z, tsne, 0)
    again = TSNE(perplexity=5, random_state=3).fit_transform(Z)
    assert np.allclose(coordinates, again)
    assert not hasattr(tsne, "embedding_")
    assert labels == ["TSNE 1", "TSNE 2"]
    with pytest.raises(ValueError, match=r"method gives an array of shape \(120, 3\)"):
        map_embeddings(Z, PCA(3), 0)


def test_map_other_methods_are_named():
    with pytest.raises(ValueError, match="pca, tsne, umap or a transformer, got 'lda'"):
        map_embeddings(Z, "lda", 0)
    with pytest.raises(TypeError, match="pca, tsne, umap or have fit_transform"):
        map_embeddings(Z, 2, 0)
