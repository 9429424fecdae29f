"""Grids of pairs: which, in what order, with what verdict, at what size."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sksiamese.display import PairGridDisplay

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 6, 6), dtype=np.uint8)
PAIRS = RNG.integers(0, 40, (30, 2))
SAME = RNG.random(30) < 0.5
DISTANCES = RNG.random(30) * 2


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def shown(display):
    """Texts under the pairs, as kind, distance and verdict."""
    return [text.get_text().split() for text in display.texts_]


def grid(**kwargs):
    kwargs = {"images": IMAGES, "threshold": 0.9, **kwargs}
    return PairGridDisplay.from_predictions(PAIRS, SAME, DISTANCES, **kwargs)


def test_grid_hardest_first_is_by_how_far_wrong():
    display = grid(n_pairs=30)
    errors = [
        (d - 0.9 if kind else 0.9 - d, f"{d:#.3g}", "same" if kind else "different")
        for kind, d in zip(SAME, DISTANCES, strict=True)
    ]
    errors.sort(key=lambda e: -e[0])
    assert shown(display) == [
        [kind, text, "wrong" if error > 0 else "right"] for error, text, kind in errors
    ]


def test_grid_shows_the_images_of_the_pairs():
    display = grid(order="given", n_pairs=5)
    assert len(display.pictures_) == 10
    for k, row in enumerate(PAIRS[:5].ravel()):
        drawn = np.asarray(display.pictures_[k].get_array())
        assert np.allclose(drawn[..., 0] * 255, IMAGES[row], atol=0.01)


def test_grid_forms_of_pairs_look_alike():
    first, second = IMAGES[PAIRS[:, 0]], IMAGES[PAIRS[:, 1]]
    rows = IMAGES.reshape(40, -1)
    displays = [
        grid(),
        PairGridDisplay.from_predictions(
            (first, second), SAME, DISTANCES, threshold=0.9
        ),
        PairGridDisplay.from_predictions(
            np.stack([first, second], axis=1), SAME, DISTANCES, threshold=0.9
        ),
        grid(images=rows, image_shape=(6, 6)),
        grid(images=list(IMAGES)),
    ]
    for other in displays[1:]:
        assert shown(other) == shown(displays[0])
        for a, b in zip(other.pictures_, displays[0].pictures_, strict=True):
            assert np.array_equal(a.get_array(), b.get_array())
            assert a.get_extent() == b.get_extent()


def test_grid_wrong_pairs_differ_in_more_than_colour():
    display = grid(n_pairs=30)
    for frame, text in zip(display.frames_, display.texts_, strict=True):
        wrong = "wrong" in text.get_text()
        assert (frame.get_linestyle() == "--") == wrong
        assert (text.get_fontweight() == "bold") == wrong


def test_grid_without_a_threshold_gives_no_verdict():
    display = grid(threshold=None, n_pairs=30)
    middle = np.mean([DISTANCES[SAME].mean(), DISTANCES[~SAME].mean()])
    errors = np.where(SAME, DISTANCES - middle, middle - DISTANCES)
    expected = [f"{DISTANCES[k]:#.3g}" for k in np.argsort(-errors)]
    assert [text[1] for text in shown(display)] == expected
    assert all(len(text) == 2 for text in shown(display))
    assert display.ax_.get_title() == ""


def test_grid_one_kind_without_a_threshold_is_shown():
    display = PairGridDisplay.from_predictions(
        PAIRS[SAME], SAME[SAME], DISTANCES[SAME], images=IMAGES, n_pairs=3
    )
    farthest = np.sort(DISTANCES[SAME])[::-1][:3]
    assert [float(text[1]) for text in shown(display)] == pytest.approx(
        farthest, abs=0.01
    )


def test_grid_random_order_follows_its_seed():
    first, second, other = (
        shown(grid(order="random", random_state=seed)) for seed in (0, 0, 1)
    )
    assert first == second != other


@pytest.mark.parametrize("threshold", [0.987, None])
@pytest.mark.parametrize("n_pairs", [1, 2, 5, 12, 100])
@pytest.mark.parametrize("shape", [(6, 6), (4, 12), (12, 4), (5, 5, 3), (5, 5, 1)])
def test_grid_cells_lie_within_the_axes_and_apart(n_pairs, shape, threshold):
    images = RNG.random((40, *shape))
    display = grid(images=images, n_pairs=n_pairs, threshold=threshold)
    assert len(display.frames_) == min(n_pairs, 30)
    display.figure_.draw_without_rendering()
    figure = display.figure_.bbox
    cells = []
    for frame, text in zip(display.frames_, display.texts_, strict=True):
        cells.append(
            [frame.get_window_extent().bounds, text.get_window_extent().bounds]
        )
    if threshold is not None:
        cells.append([display.ax_.title.get_window_extent().bounds])
    boxes = np.concatenate(cells)  # x, y, width, height
    assert (boxes[:, :2] >= figure.min - 2).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= figure.max + 2).all()
    for k, a in enumerate(boxes):
        for b in boxes[k + 1 :]:
            overlap = np.minimum(a[:2] + a[2:], b[:2] + b[2:]) - np.maximum(
                a[:2], b[:2]
            )
            assert (overlap <= 1).any()


@pytest.mark.parametrize("size", [(2, 2), (4, 1.5), (3, 8)])
def test_grid_fills_the_axes_it_is_given(size):
    figure, ax = plt.subplots(figsize=size)
    display = grid(ax=ax)
    assert display.ax_ is ax
    assert plt.get_fignums() == [figure.number]
    corners = {frame.get_xy() for frame in display.frames_}
    n_columns = len({x for x, _ in corners})
    n_rows = len({y for _, y in corners})
    assert n_columns * n_rows >= 12
    assert (n_columns > n_rows) == (size[0] > size[1]) or size == (2, 2)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"order": "easiest"}, "order must be one of hardest, random, given"),
        ({"n_pairs": 0}, "n_pairs must be a whole number"),
        ({"n_pairs": 2.5}, "n_pairs must be a whole number"),
        ({"threshold": "auto"}, "threshold must be a distance"),
        ({"images": None}, "pass the images they point into"),
        ({"images": IMAGES[:5]}, "images has 5 rows"),
        ({"images": IMAGES.reshape(40, -1)}, "pass image_shape"),
        ({"image_shape": (4, 9)}, r"\(6, 6\), but image_shape=\(4, 9\)"),
        ({"images": np.zeros((40, 3, 8, 8))}, "looks channels-first"),
    ],
)
def test_grid_bad_input_is_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        grid(**kwargs)
    assert not plt.get_fignums()


def test_grid_members_of_two_shapes_are_named():
    first, second = IMAGES[PAIRS[:, 0]], IMAGES[PAIRS[:, 1], :4]
    message = r"first members of shape \(12, 6, 6\), .* of shape \(12, 4, 6\)"
    with pytest.raises(ValueError, match=message):
        PairGridDisplay.from_predictions((first, second), SAME, DISTANCES)
    assert not plt.get_fignums()


def test_grid_of_anything_with_pair_distance_is_drawn():
    class Model:
        def pair_distance(self, pairs):
            return np.abs(np.subtract(*pairs, dtype=float)).mean(axis=(1, 2))

    display = PairGridDisplay.from_estimator(
        Model(), PAIRS, SAME, images=IMAGES, order="given", n_pairs=1
    )
    a, b = IMAGES[PAIRS[0]].astype(float)
    assert display.distances == pytest.approx([np.abs(a - b).mean()])


def test_grid_lengths_that_differ_are_named():
    with pytest.raises(ValueError, match="same has 30 entries, but there are 29"):
        PairGridDisplay.from_predictions(PAIRS, SAME, DISTANCES[1:], images=IMAGES)
    with pytest.raises(ValueError, match="distances has 30 entries.* 29 pairs"):
        PairGridDisplay.from_predictions(PAIRS[1:], SAME, DISTANCES, images=IMAGES)
