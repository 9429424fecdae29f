"""Images become embeddings that a store may take, or an error names the image."""

import numpy as np
import pytest
from sklearn.ensemble import RandomTreesEmbedding
from sklearn.preprocessing import FunctionTransformer

from sksiamese.search import _embedding
from sksiamese.search._embedding import check_embeddings, count_images, embed_images

Z = np.random.default_rng(0).normal(size=(300, 4))


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    monkeypatch.setattr(_embedding, "CHUNK", 100)


def embed(function, X=Z, *, unit=False):
    done = []
    found = embed_images(
        FunctionTransformer(function), X, unit=unit, progress=done.append
    )
    assert sum(done) == len(X)
    return found


def test_pieces_are_joined_in_order():
    np.testing.assert_array_equal(embed(None), Z.astype(np.float32))
    lengths = np.linalg.norm(embed(None, unit=True), axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-6)


@pytest.mark.parametrize("function", [lambda X: X[1:], lambda X: np.repeat(X, 2, 0)])
def test_an_embedder_that_drops_or_doubles_images_is_refused(function):
    with pytest.raises(ValueError, match="of 100 images; each image needs one"):
        embed(function)


@pytest.mark.parametrize(
    ("value", "unit", "message"),
    [(np.nan, False, "infinite, the first in row 250"), (0, True, "in row 250")],
)
def test_errors_name_the_row_among_all(value, unit, message):
    X = Z.copy()
    X[250] = value
    with pytest.raises(ValueError, match=message):
        embed(None, X, unit=unit)


def test_embeddings_that_are_no_array_are_refused():
    trees = RandomTreesEmbedding(3, random_state=0).fit(Z)  # gives a sparse matrix
    with pytest.raises(ValueError, match="X must give embeddings, numbers of shape"):
        embed_images(trees, Z, unit=False, progress=None)
    with pytest.raises(ValueError, match="X is empty"):
        check_embeddings(np.empty((0, 3)), unit=False)


def test_images_are_counted_in_any_form():
    assert count_images(Z) == count_images(list(Z)) == 300
    assert count_images(np.float64(3)) == 0
    for X in (iter([1]), None):
        with pytest.raises(TypeError, match="whose number of images is not known"):
            count_images(X)
