"""Every display from fitted estimators, searches, pipelines and files."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import sksiamese.display
from sksiamese import SiameseClassifier, SiameseEmbedder, SiameseVerifier
from sksiamese.display import (
    DetDisplay,
    EmbeddingDisplay,
    HistoryDisplay,
    NeighborsDisplay,
    PairDistanceDisplay,
    PairGridDisplay,
)
from sksiamese.pairs import sample_pairs
from sksiamese.search import Gallery

FAST = {"max_epochs": 3, "random_state": 0}
PAIR_DISPLAYS = [PairDistanceDisplay, DetDisplay, PairGridDisplay]


class Halve(TransformerMixin, BaseEstimator):
    """A step before the network, for rows and images."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return np.asarray(X) / 2


@pytest.fixture(scope="module")
def fitted(digits):
    """Fit one estimator of each kind, on images."""
    X, y, *_ = digits
    return {
        "embedder": SiameseEmbedder(**FAST).fit(X, y),
        "classifier": SiameseClassifier(**FAST).fit(X, y),
        "verifier": SiameseVerifier(SiameseEmbedder(**FAST), random_state=0).fit(X, y),
        "pipeline": make_pipeline(Halve(), SiameseEmbedder(**FAST)).fit(X, y),
        "search": GridSearchCV(
            SiameseClassifier(**FAST), {"margin": [1.0]}, cv=2
        ).fit(X, y),
    }  # fmt: skip


@pytest.fixture(scope="module")
def pairs(digits):
    """Index pairs of new images, whether they are the same, and the images."""
    *_, X_new, y_new = digits
    return *sample_pairs(y_new, 200, random_state=0), X_new


@pytest.fixture(autouse=True)
def no_show_and_no_figures(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a display called plt.show")

    monkeypatch.setattr(plt, "show", refuse)
    yield
    plt.close("all")


def draw(name, estimator, pairs, **kwargs):
    """Draw any display."""
    index, same, X_new = pairs
    if name == "HistoryDisplay":
        return HistoryDisplay.from_estimator(estimator, **kwargs)
    if name == "EmbeddingDisplay":
        return EmbeddingDisplay.from_estimator(estimator, X_new[:100], **kwargs)
    if name == "NeighborsDisplay":
        embedder = getattr(estimator, "embedder_", estimator)  # of a verifier
        gallery = Gallery(embedder)
        gallery.add(X_new[:100])
        return NeighborsDisplay.from_gallery(gallery, X_new[100:103], X_new, **kwargs)
    display = getattr(sksiamese.display, name)
    return display.from_estimator(estimator, index, same, images=X_new, **kwargs)


@pytest.mark.parametrize("name", sksiamese.display.__all__)
@pytest.mark.parametrize(
    "kind", ["embedder", "classifier", "verifier", "pipeline", "search"]
)
def test_display_of_an_estimator_makes_one_figure(name, kind, fitted, pairs):
    display = draw(name, fitted[kind], pairs)
    assert plt.get_fignums() == [display.figure_.number]
    assert display.ax_.figure is display.figure_
    display.figure_.draw_without_rendering()


@pytest.mark.parametrize("name", sksiamese.display.__all__)
def test_display_on_given_axes_makes_no_figure(name, fitted, pairs):
    figure, axes = plt.subplots(2, 2)
    display = draw(name, fitted["verifier"], pairs, ax=axes[1, 0])
    assert plt.get_fignums() == [figure.number]
    assert display.ax_ is axes[1, 0]
    assert display.figure_ is figure
    assert not axes[0, 0].has_data()
    figure.draw_without_rendering()


@pytest.mark.parametrize("name", sksiamese.display.__all__)
def test_display_is_drawn_again_on_other_axes(name, fitted, pairs):
    display = draw(name, fitted["verifier"], pairs)
    first, (figure, ax) = display.figure_, plt.subplots()
    assert display.plot(ax=ax) is display
    assert display.figure_ is figure is not first


@pytest.mark.parametrize("display", PAIR_DISPLAYS)
def test_display_threshold_auto_is_that_of_a_verifier(display, fitted, pairs):
    index, same, X_new = pairs
    for kind in ("verifier", "embedder"):
        drawn = display.from_estimator(fitted[kind], index, same, images=X_new)
        assert drawn.threshold == getattr(fitted[kind], "threshold_", None)
    own = display.from_estimator(
        fitted["verifier"], index, same, images=X_new, threshold=0.123
    )
    assert own.threshold == 0.123
    none = display.from_estimator(
        fitted["verifier"], index, same, images=X_new, threshold=None
    )
    assert none.threshold is None


@pytest.mark.parametrize("display", PAIR_DISPLAYS)
def test_display_forms_of_pairs_have_equal_distances(display, fitted, pairs):
    index, same, X_new = pairs
    members = X_new[index[:, 0]], X_new[index[:, 1]]
    verifier = fitted["verifier"]
    drawn = [
        display.from_estimator(verifier, index, same, images=X_new),
        display.from_estimator(verifier, members, same),
        display.from_estimator(verifier, np.stack(members, axis=1), same),
    ]
    for other in drawn[1:]:
        assert np.allclose(other.distances, drawn[0].distances, atol=1e-6)
        assert np.array_equal(other.same, drawn[0].same)


def test_display_errors_in_the_legend_are_those_of_predict(fitted, pairs):
    index, same, X_new = pairs
    verifier = fitted["verifier"]
    wrong = verifier.predict((X_new[index[:, 0]], X_new[index[:, 1]])) != same
    display = PairDistanceDisplay.from_estimator(verifier, index, same, images=X_new)
    text = display.ax_.get_legend().get_texts()[-1].get_text()
    assert f"false accepts {100 * wrong[~same].mean():.3g} %" in text
    assert f"false rejects {100 * wrong[same].mean():.3g} %" in text
    grid = PairGridDisplay.from_estimator(
        verifier, index, same, images=X_new, order="given", n_pairs=200
    )
    verdicts = ["wrong" in text.get_text() for text in grid.texts_]
    assert verdicts == wrong.tolist()


def test_display_pipeline_transforms_pairs_before_the_network(fitted, pairs):
    index, same, X_new = pairs
    pipeline = fitted["pipeline"]
    display = PairDistanceDisplay.from_estimator(pipeline, index, same, images=X_new)
    Z = pipeline.transform(X_new)
    expected = np.linalg.norm(Z[index[:, 0]] - Z[index[:, 1]], axis=1)
    assert np.allclose(display.distances, expected, atol=1e-5)


def test_display_name_is_that_of_the_class_or_given(fitted, pairs):
    index, same, X_new = pairs
    for name, expected in ((None, "SiameseEmbedder"), ("mine", "mine")):
        display = PairDistanceDisplay.from_estimator(
            fitted["embedder"], index, same, images=X_new, name=name
        )
        assert display.ax_.get_title() == expected


@pytest.mark.parametrize("kind", ["embedder", "verifier", "pipeline", "search"])
def test_display_history_is_that_of_the_network_within(kind, fitted):
    display = HistoryDisplay.from_estimator(fitted[kind])
    inner = {
        "embedder": lambda e: e,
        "verifier": lambda e: e.embedder_,
        "pipeline": lambda e: e[-1],
        "search": lambda e: e.best_estimator_,
    }[kind](fitted[kind])
    assert list(display.lines_["loss"].get_ydata()) == inner.history_["loss"]


def test_display_embedding_images_true_are_those_of_x(fitted, digits):
    *_, X_new, y_new = digits
    display = EmbeddingDisplay.from_estimator(
        fitted["embedder"], X_new[:100], y_new[:100], images=True
    )
    row, thumbnail = next(iter(display.thumbnails_.items()))
    picture = np.asarray(thumbnail.offsetbox.get_data())
    assert np.allclose(picture[..., 0] * 255, X_new[row], atol=0.01)


def test_display_of_rows_takes_the_image_shape_of_the_estimator(digits):
    X, y, X_new, y_new = digits
    rows, new = X.reshape(len(X), -1), X_new.reshape(len(X_new), -1)
    embedder = SiameseEmbedder(image_shape=(8, 8), **FAST).fit(rows, y)
    index, same = sample_pairs(y_new, 20, random_state=0)
    grid = PairGridDisplay.from_estimator(
        embedder, index, same, images=new, order="given"
    )
    picture = np.asarray(grid.pictures_[0].get_array())
    assert np.allclose(picture[..., 0] * 255, X_new[index[0, 0]], atol=0.01)
    shown = EmbeddingDisplay.from_estimator(embedder, new[:50], images=True)
    assert shown.thumbnails_


def test_display_of_files_reads_them_as_the_estimator_does(digits, tmp_path):
    X, y, *_ = digits
    names = []
    for k in range(60):
        names.append(str(tmp_path / f"{k}.png"))
        Image.fromarray(X[k] * 15).save(names[-1])
    embedder = SiameseEmbedder(image_size=8, max_epochs=1, random_state=0)
    embedder.fit(names, y[:60])
    index, same = sample_pairs(y[:60], 20, random_state=0)
    for pairs, images in (
        (index, names),
        (np.array(names)[index], None),
        (([names[k] for k in index[:, 0]], [names[k] for k in index[:, 1]]), None),
    ):
        grid = PairGridDisplay.from_estimator(
            embedder, pairs, same, images=images, order="given", n_pairs=3
        )
        picture = np.asarray(grid.pictures_[1].get_array())
        expected = X[index[0, 1]] * 15 / 255
        assert np.allclose(picture[..., 0], expected, atol=0.01)
    shown = EmbeddingDisplay.from_estimator(embedder, names, images=True)
    assert shown.thumbnails_


def test_display_embedding_reads_the_files_it_draws(digits, tmp_path, monkeypatch):
    X, y, *_ = digits
    names = [str(tmp_path / f"{k}.png") for k in range(60)]
    for name, image in zip(names, X, strict=False):
        Image.fromarray(image * 15).save(name)
    embedder = SiameseEmbedder(image_size=8, max_epochs=1, random_state=0)
    embedder.fit(names, y[:60])
    read = []
    whole = sksiamese._pictures.read_images

    def count(estimator, names, *, reset):
        read.extend(names)
        return whole(estimator, names, reset=reset)

    monkeypatch.setattr(sksiamese._pictures, "read_images", count)
    shown = EmbeddingDisplay.from_estimator(
        embedder, names, images=True, thumbnail_size=60
    )
    rows = list(shown.thumbnails_)
    assert 0 < len(rows) < 30
    assert read == [names[0], *(names[row] for row in rows)]
    for row, thumbnail in shown.thumbnails_.items():
        picture = np.asarray(thumbnail.offsetbox.get_data())
        assert np.allclose(picture[..., 0] * 255, X[row] * 15.0, atol=0.01)
    with pytest.raises(ValueError, match=r"\(8, 8\), but image_shape=\(4, 4\)"):
        EmbeddingDisplay.from_estimator(
            embedder, names, images=True, image_shape=(4, 4)
        )


def test_display_all_is_sorted_and_public():
    names = sksiamese.display.__all__
    assert names == sorted(names)
    assert all(getattr(sksiamese.display, name).__doc__ for name in names)
