"""Maps of embeddings: labels, legends, thumbnails."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics import pairwise_distances
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from sksiamese.display import EmbeddingDisplay

RNG = np.random.default_rng(0)
Y = np.arange(120) % 4
Z = RNG.normal(size=(120, 8)) + 4 * RNG.normal(size=(4, 8))[Y]


@pytest.fixture(autouse=True)
def close_figures():
    # Threads of t-SNE wait for each other when the machine is busy.
    with threadpool_limits(1):
        yield
    plt.close("all")


def legend_texts(display):
    legend = display.ax_.get_legend()
    return legend and [text.get_text() for text in legend.get_texts()]


def offsets(display):
    return np.concatenate([np.asarray(p.get_offsets()) for p in display.points_])


def test_embedding_pca_is_that_of_scikit_learn_and_tells_the_variance():
    display = EmbeddingDisplay.from_predictions(Z, Y)
    pca = PCA(2).fit(Z)
    shares = 100 * pca.explained_variance_ratio_
    assert display.ax_.get_xlabel() == f"PC 1 ({shares[0]:.3g} % of variance)"
    assert display.ax_.get_ylabel() == f"PC 2 ({shares[1]:.3g} % of variance)"
    assert np.allclose(
        pairwise_distances(display.coordinates),
        pairwise_distances(pca.transform(Z)),
        atol=1e-6,
    )
    for k, points in enumerate(display.points_):
        assert np.allclose(points.get_offsets(), display.coordinates[Y == k])
    assert legend_texts(display) == ["0", "1", "2", "3"]


def test_embedding_axes_keep_distances_true():
    display = EmbeddingDisplay.from_predictions(Z, Y)
    display.figure_.draw_without_rendering()
    a, b = np.diff(display.ax_.transData.transform([(0, 0), (1, 1)]), axis=0)[0]
    assert a == pytest.approx(b, rel=0.01)


def test_embedding_on_shared_axes_can_be_drawn():
    figure, axes = plt.subplots(1, 2, sharex=True, sharey=True)
    EmbeddingDisplay.from_predictions(Z, Y, ax=axes[0])
    figure.draw_without_rendering()


def test_embedding_of_a_map_without_units_has_no_ticks():
    display = EmbeddingDisplay.from_predictions(Z[:20], method="tsne", random_state=0)
    assert display.ax_.get_xlabel() == "t-SNE 1"
    assert not len(display.ax_.get_xticks())
    assert not len(display.ax_.get_yticks())


def test_embedding_leaves_the_global_generator_alone():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    EmbeddingDisplay.from_predictions(Z[:20], method="tsne")
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("with_steps", [False, True])
def test_embedding_transformer_without_a_seed_follows_that_of_the_display(with_steps):
    method = TSNE(perplexity=5, init="random", max_iter=250)
    if with_steps:
        method = make_pipeline(PCA(3), method)
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    maps = [
        EmbeddingDisplay.from_predictions(Z[:30], method=method, random_state=seed)
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    assert np.array_equal(maps[0].coordinates, maps[1].coordinates)
    assert not np.array_equal(maps[0].coordinates, maps[2].coordinates)


def test_embedding_without_labels_has_no_legend():
    display = EmbeddingDisplay.from_predictions(Z)
    assert len(display.points_) == 1
    assert len(offsets(display)) == 120
    assert legend_texts(display) is None


@pytest.mark.parametrize("n_classes", [2, 10, 11, 20])
def test_embedding_up_to_20_classes_differ_in_colour_or_shape(n_classes):
    y = np.arange(120) % n_classes
    display = EmbeddingDisplay.from_predictions(Z, y)
    assert legend_texts(display) == [str(k) for k in range(n_classes)]
    looks = [
        (tuple(p.get_facecolor()[0]), p.get_paths()[0].vertices.tobytes())
        for p in display.points_
    ]
    assert len(set(looks)) == n_classes
    for k in range(2):
        assert len({look[k] for look in looks}) == min(n_classes, 10)


def test_embedding_more_classes_have_a_colour_bar():
    y = np.arange(120) % 40
    display = EmbeddingDisplay.from_predictions(Z, y)
    (points,) = display.points_
    assert np.array_equal(points.get_array(), y)
    assert legend_texts(display) is None
    assert len(display.figure_.axes) == 2
    texts = [t.get_text() for t in display.figure_.axes[1].get_yticklabels()]
    assert texts == ["0", "8", "16", "23", "31", "39"]


@pytest.mark.parametrize(
    "y",
    [
        [0.0, 1.0, np.nan] * 40,
        [0, 1, None] * 40,
        pd.array([0, 1, None] * 40, dtype="Int64"),
        pd.Series(pd.Categorical(["0", "1", None] * 40)),
    ],
)
def test_embedding_missing_labels_are_grey_crosses(y):
    display = EmbeddingDisplay.from_predictions(Z, y)
    assert legend_texts(display) == ["unlabelled", "0", "1"]
    assert [len(p.get_offsets()) for p in display.points_] == [40, 40, 40]
    assert len(set(display.points_[0].get_edgecolor()[0][:3])) == 1


def test_embedding_without_any_label_shows_all_points():
    display = EmbeddingDisplay.from_predictions(Z, [None] * 120)
    assert legend_texts(display) == ["unlabelled"]


def test_embedding_names_of_classes_are_kept_short_and_apart():
    display = EmbeddingDisplay.from_predictions(Z, ["a" * 100, "b"] * 60)
    assert [len(text) for text in legend_texts(display)] == [24, 1]
    display = EmbeddingDisplay.from_predictions(Z, [1, "1"] * 60)
    assert legend_texts(display) == ["1", "'1'"]


@pytest.mark.parametrize("layout", ["constrained", None])
def test_embedding_legend_stays_within_the_figure(layout):
    figure, axes = plt.subplots(2, 2, layout=layout)
    for ax in axes.flat:
        EmbeddingDisplay.from_predictions(Z, np.arange(120) % 10, ax=ax)
    figure.draw_without_rendering()
    box = axes[0, 1].get_legend().get_window_extent()
    assert box.x1 <= figure.bbox.x1
    others = axes[0, 1].get_window_extent()
    box = axes[0, 0].get_legend().get_window_extent()
    assert box.x1 <= others.x0


@pytest.mark.parametrize("shape", [(6, 6), (4, 8), (5, 5, 3)])
def test_embedding_thumbnails_are_at_their_points_and_apart(shape):
    images = RNG.random((120, *shape))
    display = EmbeddingDisplay.from_predictions(Z, Y, images=images)
    assert 10 < len(display.thumbnails_) < 120
    display.figure_.draw_without_rendering()
    renderer = display.figure_.canvas.get_renderer()
    boxes = []
    for row, thumbnail in display.thumbnails_.items():
        assert np.array_equal(thumbnail.xy, display.coordinates[row])
        boxes.append(thumbnail.get_window_extent(renderer))
        color = display.points_[Y[row]].get_facecolor()[0]
        assert np.allclose(thumbnail.patch.get_edgecolor(), color)
    for k, a in enumerate(boxes):
        assert not any(a.overlaps(b) for b in boxes[k + 1 :])
    # No room is left: each image left out would overlap one that is drawn.
    centres = display.ax_.transData.transform(display.coordinates)
    width, height = boxes[0].width + 4, boxes[0].height + 4
    kept = list(display.thumbnails_)
    gaps = np.abs(centres[:, None] - centres[kept])
    assert (gaps <= (width, height)).all(axis=2).any(axis=1).all()


def test_embedding_thumbnails_of_many_classes_have_the_frames_of_their_points():
    y = np.where(np.arange(120) % 3, np.arange(120) % 40, np.nan)
    display = EmbeddingDisplay.from_predictions(Z, y, images=np.zeros((120, 4, 4)))
    _, points = display.points_
    codes = dict(zip(np.flatnonzero(~np.isnan(y)), points.get_array(), strict=True))
    kinds = set()
    for row, thumbnail in display.thumbnails_.items():
        edge = thumbnail.patch.get_edgecolor()
        kinds.add(row in codes)
        expected = points.to_rgba(codes[row]) if row in codes else (0.75, 0.75, 0.75, 1)
        assert np.allclose(edge, expected)
    assert kinds == {True, False}


def test_embedding_on_a_part_of_a_figure_has_thumbnails():
    figure = plt.figure(layout="constrained")
    part = figure.subfigures(1, 2)[1]
    display = EmbeddingDisplay.from_predictions(
        Z, Y, images=np.zeros((120, 4, 4)), ax=part.subplots()
    )
    assert display.figure_ is part
    assert display.thumbnails_
    figure.draw_without_rendering()


def test_embedding_larger_thumbnails_are_fewer():
    images = RNG.random((120, 6, 6))
    small, large = (
        EmbeddingDisplay.from_predictions(Z, images=images, thumbnail_size=size)
        for size in (12, 40)
    )
    assert len(large.thumbnails_) < len(small.thumbnails_)


def test_embedding_keywords_reach_the_points():
    display = EmbeddingDisplay.from_predictions(Z, Y, s=7, alpha=0.5)
    assert display.points_[0].get_sizes() == [7]
    assert display.points_[0].get_alpha() == 0.5


def test_embedding_keywords_have_their_short_names():
    for name in ("lw", "linewidth", "linewidths"):
        display = EmbeddingDisplay.from_predictions(Z, Y, **{name: 2})
        assert display.points_[0].get_linewidths() == [2]


@pytest.mark.parametrize("color", ["red", (1.0, 0.0, 0.0)])
def test_embedding_given_colour_is_that_of_points_and_frames(color):
    display = EmbeddingDisplay.from_predictions(
        Z, images=np.zeros((120, 4, 4)), color=color
    )
    assert np.allclose(display.points_[0].get_facecolor(), [1, 0, 0, 1])
    for thumbnail in display.thumbnails_.values():
        assert np.allclose(thumbnail.patch.get_edgecolor(), [1, 0, 0, 1])


@pytest.mark.parametrize(
    ("name", "n_classes"),
    [("c", 2), ("label", 2), ("c", 40), ("label", 40), ("color", 40), ("fc", 40)],
)
def test_embedding_keywords_that_are_taken_are_named(name, n_classes):
    full = {"fc": "facecolor"}.get(name, name)
    with pytest.raises(TypeError, match=f"{full} cannot be passed"):
        EmbeddingDisplay.from_predictions(
            Z, np.arange(120) % n_classes, **{name: "red"}
        )
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("Z_bad", "kwargs", "message"),
    [
        (np.full((5, 2), np.nan), {}, "embeddings contains NaN"),
        (Z[:2], {}, "embeddings must hold at least three points.*got 2"),
        (np.ones((9, 3)), {}, "embeddings must hold .* not all at one place"),
        (Z[:, :1], {}, "minimum of 2 is required"),
        (Z, {"y": Y[1:]}, "y has 119 entries, but there are 120 embeddings"),
        (Z, {"y": np.zeros((120, 2))}, r"y has shape \(120, 2\)"),
        (Z, {"images": np.zeros((3, 4, 4))}, "images has 3 entries"),
        (Z, {"images": np.zeros((120, 16))}, "pass image_shape"),
        (Z, {"images": True}, "images has shape"),
        (Z, {"method": "lda"}, "method must be one of pca, tsne, umap"),
        (Z, {"images": False}, "images has shape"),
        (Z, {"image_shape": (4, 4)}, "image_shape is given, but images is None"),
        (Z, {"images": np.zeros((120, 3, 8, 8))}, "looks channels-first"),
        (Z, {"thumbnail_size": 0}, "thumbnail_size must be above 0, got 0"),
        (Z, {"thumbnail_size": "18"}, "thumbnail_size must be above 0"),
        (Z, {"thumbnail_size": np.nan}, "thumbnail_size must be above 0"),
    ],
)
def test_embedding_bad_input_is_named(Z_bad, kwargs, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingDisplay.from_predictions(Z_bad, **kwargs)
    assert not plt.get_fignums()


def test_embedding_method_or_estimator_of_another_kind_is_named():
    with pytest.raises(TypeError, match="method must be one of"):
        EmbeddingDisplay.from_predictions(Z, method=LogisticRegression())
    with pytest.raises(TypeError, match="estimator must have transform"):
        EmbeddingDisplay.from_estimator(LogisticRegression(), Z)
