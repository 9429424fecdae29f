"""Estimators that a notebook shows link to the page of their own."""

import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

import sksiamese
from sksiamese import SiameseClassifier, SiameseEmbedder, SiameseVerifier
from sksiamese.images import ImageReader

PYPROJECT = Path(sksiamese.__file__).parents[1] / "pyproject.toml"
SITE = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]["urls"]["Documentation"]
PAGES = {
    getattr(module, name): f"{SITE}api/{module.__name__}.{name}.html"
    for module in (
        sksiamese,
        importlib.import_module("sksiamese.images"),
        importlib.import_module("sksiamese.imbalance"),
    )
    for name in module.__all__
    if inspect.isclass(getattr(module, name))
    and issubclass(getattr(module, name), BaseEstimator)
}


def links(estimator):
    """Pages of this package that the representation links to."""
    # Newer versions of scikit-learn link parameters to their places on the page.
    found = re.findall(rf'href="({re.escape(SITE)}[^"#]*)', estimator._repr_html_())
    return set(found)


def build(kind):
    """Make one; the verifier has no default for what it embeds with."""
    return kind(PCA()) if kind is SiameseVerifier else kind()


def test_pages_are_of_all_public_estimators():
    assert {kind.__name__ for kind in PAGES} == {
        "ImageReader",
        "ImageSampler",
        "SiameseClassifier",
        "SiameseEmbedder",
        "SiameseVerifier",
    }


@pytest.mark.parametrize("kind", PAGES, ids=lambda kind: kind.__name__)
def test_unfitted_estimator_links_to_its_page(kind):
    assert links(build(kind)) == {PAGES[kind]}


def test_fitted_estimator_links_to_its_page(digits):
    X, y, _, _ = digits
    for kind in (SiameseClassifier, SiameseEmbedder):
        fitted = kind(max_epochs=1, random_state=0).fit(X[:100], y[:100])
        assert links(fitted) == {PAGES[kind]}
    rows = X.reshape(len(X), -1)
    verifier = SiameseVerifier(PCA(8), random_state=0).fit(rows, y)
    assert links(verifier) == {PAGES[SiameseVerifier]}
    reader = ImageReader(mode="grey").fit(["a.png"])
    assert links(reader) == {PAGES[ImageReader]}


def test_estimators_within_others_link_to_their_pages():
    pipeline = make_pipeline(ImageReader(), SiameseVerifier(SiameseEmbedder()))
    expected = {PAGES[k] for k in (ImageReader, SiameseVerifier, SiameseEmbedder)}
    assert links(pipeline) == expected


def test_estimator_derived_by_somebody_else_links_nowhere():
    class Own(SiameseClassifier):
        pass

    assert not links(Own())
    assert not re.findall(r'href="http', Own()._repr_html_())
