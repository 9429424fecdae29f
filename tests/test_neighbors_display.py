"""Probes beside what a gallery finds: which images, which verdicts, at what size."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.preprocessing import FunctionTransformer

from sksiamese import SiameseEmbedder
from sksiamese.display import NeighborsDisplay
from sksiamese.search import Gallery

RNG = np.random.default_rng(0)
N, N_PROBES = 60, 4
Z, PROBES = RNG.normal(size=(N, 3)), RNG.normal(size=(N_PROBES, 3))
IMAGES = RNG.integers(0, 256, (N, 6, 6), dtype=np.uint8)
SHOWN = RNG.integers(0, 256, (N_PROBES, 6, 6), dtype=np.uint8)
LABELS = RNG.choice(["nv", "mel", "bkl"], N)
Y = np.array(["mel", "nv", "nv", "bkl"])
METADATA = [
    {"label": str(label), "site": "arm" if k % 2 else "leg"}
    for k, label in enumerate(LABELS)
]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def gallery():
    gallery = Gallery(None)
    gallery.add(Z, metadata=METADATA)
    return gallery


def show(gallery, images=IMAGES, y=Y, **kwargs):
    kwargs = {"probe_images": SHOWN, "k": 3, **kwargs}
    return NeighborsDisplay.from_gallery(gallery, PROBES, images, y, **kwargs)


def flatten(X):
    return np.reshape(X, (len(X), -1)).astype(float)


def texts(display):
    return [text.get_text() for text in display.texts_]


def grey(picture):
    """Bytes of a grey image that was drawn."""
    drawn = np.asarray(picture.get_array())
    assert np.ptp(drawn, axis=-1).max() == 0
    return np.rint(drawn[..., 0] * 255).astype(int)


def nearest(k, rows=range(N)):
    """Rows and distances of the k nearest of some items, the slow way."""
    for probe in PROBES:
        found = sorted((np.linalg.norm(Z[row] - probe), row) for row in rows)
        yield [row for _, row in found[:k]], [distance for distance, _ in found[:k]]


def test_neighbors_captions_and_images_are_those_of_a_slow_search(gallery):
    display = show(gallery)
    expected, images = [], []
    for (rows, distances), y, image in zip(nearest(3), Y, SHOWN, strict=True):
        expected.append(f"{y}\nprobe")
        images.append(image)
        for row, distance in zip(rows, distances, strict=True):
            verdict = "right" if LABELS[row] == y else "wrong"
            expected.append(f"{LABELS[row]}\n{distance:#.3g} {verdict}")
            images.append(IMAGES[row])
    assert texts(display) == expected
    for picture, image in zip(display.pictures_, images, strict=True):
        assert np.array_equal(grey(picture), image)
    n_right = sum("right" in text for text in expected)
    assert display.ax_.get_title() == f"{n_right} of 12 neighbours right"
    assert 0 < n_right < 12


def test_neighbors_where_searches_only_what_it_admits(gallery):
    display = show(gallery, y=None, label="site", where={"site": "leg"})
    for k, (rows, _) in enumerate(nearest(3, range(0, N, 2))):
        for place, row in enumerate(rows, start=4 * k + 1):
            assert np.array_equal(grey(display.pictures_[place]), IMAGES[row])
            assert texts(display)[place].startswith("leg\n")


def test_neighbors_forms_of_images_look_alike(gallery, tmp_path):
    names = [tmp_path / f"{k}.png" for k in range(N)]
    for image, name in zip(IMAGES, names, strict=True):
        Image.fromarray(image).resize((224, 224), Image.Resampling.NEAREST).save(name)
    order = RNG.permutation(N)
    alike = [
        show(gallery, list(IMAGES)),
        show(gallery, {int(k): IMAGES[k] for k in order}),
        show(gallery, pd.Series([IMAGES[k] for k in order], index=order)),
        show(gallery, IMAGES.reshape(N, -1), probe_images=list(SHOWN.reshape(4, -1)),
             image_shape=(6, 6)),
        show(gallery, pd.DataFrame(IMAGES.reshape(N, -1)[order], index=order),
             probe_images=pd.DataFrame(SHOWN.reshape(4, -1)), image_shape=(6, 6)),
    ]  # fmt: skip
    first = show(gallery)
    for display in alike:
        assert texts(display) == texts(first)
        for a, b in zip(display.pictures_, first.pictures_, strict=True):
            assert np.array_equal(a.get_array(), b.get_array())
    for images in (names, pd.Series(map(str, names)), np.array(names, dtype=str)):
        display = show(gallery, images, probe_images=names[:N_PROBES])
        for k, picture in enumerate(display.pictures_):
            small = np.array(Image.fromarray(np.uint8(grey(picture))).resize((6, 6), 0))
            if k % 4 == 0:
                assert np.array_equal(small, IMAGES[k // 4])
            else:
                assert np.array_equal(small, grey(first.pictures_[k]))


def test_neighbors_string_ids_are_looked_up_by_name(gallery):
    named = Gallery(None)
    named.add(Z, ids=[f"case {k}" for k in range(N)], metadata=METADATA)
    display = show(named, {f"case {k}": image for k, image in enumerate(IMAGES)})
    assert texts(display) == texts(show(gallery))


def test_neighbors_wrong_ones_differ_in_more_than_colour(gallery):
    display = show(gallery, k=6)
    for frame, text in zip(display.frames_, display.texts_, strict=True):
        wrong = "wrong" in text.get_text()
        assert (frame.get_linestyle() == "--") == wrong
        assert (text.get_fontweight() == "bold") == wrong
    colors = {
        verdict: {
            frame.get_edgecolor()
            for frame, text in zip(display.frames_, display.texts_, strict=True)
            if text.get_text().endswith(verdict)
        }
        for verdict in ("right", "wrong", "probe")
    }
    assert all(len(found) == 1 for found in colors.values())
    assert len(set.union(*colors.values())) == 3


def test_neighbors_without_y_have_labels_and_no_verdict(gallery):
    display = show(gallery, y=None)
    assert texts(display)[0] == "probe"
    assert not any("right" in text or "wrong" in text for text in texts(display))
    assert len({frame.get_edgecolor() for frame in display.frames_}) == 1
    assert display.ax_.get_title() == ""
    assert texts(display)[1].split("\n")[0] in LABELS
    bare = show(gallery, y=None, label=None)
    assert all("\n" not in text for text in texts(bare))


def test_neighbors_gallery_without_metadata_shows_distances():
    gallery = Gallery(None)
    gallery.add(Z)
    distances = [d for _, found in nearest(3) for d in found]
    shown = [t for t in texts(show(gallery, y=None)) if t != "probe"]
    assert shown == [f"{d:#.3g}" for d in distances]
    with pytest.raises(ValueError, match="label='label' is in the metadata of none"):
        show(gallery)


def test_neighbors_item_without_a_label_gets_no_verdict():
    display = NeighborsDisplay(
        probes=SHOWN[:1],
        neighbors=[IMAGES[:3]],
        distances=[[0.1, 0.2, 0.3]],
        labels=[[3, None, 4]],
        y=[3],
    ).plot()
    assert texts(display) == [
        "3\nprobe",
        "3\n0.100 right",
        "?\n0.200",
        "4\n0.300 wrong",
    ]
    assert display.ax_.get_title() == "1 of 2 neighbours right"
    neutral, probe = display.frames_[2], display.frames_[0]
    assert neutral.get_edgecolor() == probe.get_edgecolor()


@pytest.mark.parametrize(
    ("kind", "dtype"), [(int, np.int64), (bool, np.bool_), (float, np.float32)]
)
def test_neighbors_labels_of_json_equal_those_of_numpy(kind, dtype):
    display = NeighborsDisplay(
        probes=SHOWN[:2],
        neighbors=[IMAGES[:2], IMAGES[2:4]],
        distances=[[0.1, 0.2]] * 2,
        labels=[[kind(0), kind(1)]] * 2,
        y=np.array([1, 0], dtype=dtype),
    ).plot()
    assert [text.split()[-1] for text in texts(display)] == [
        "probe", "wrong", "right", "probe", "right", "wrong",
    ]  # fmt: skip


def test_neighbors_embedder_tells_the_shape_of_rows(digits):
    X, y, X_new, y_new = digits
    rows, rows_new = X.reshape(len(X), -1), X_new.reshape(len(X_new), -1)
    embedder = SiameseEmbedder(image_shape=(8, 8), max_epochs=3, random_state=0)
    gallery = Gallery(embedder.fit(rows, y))
    gallery.add(rows, metadata=[{"digit": int(label)} for label in y])
    display = NeighborsDisplay.from_gallery(
        gallery, rows_new[:5], rows, y_new[:5], label="digit"
    )
    _, ids = gallery.search(rows_new[:5])
    assert len(display.pictures_) == 30
    for k, picture in enumerate(display.pictures_):
        row = X_new[k // 6] if k % 6 == 0 else X[ids[k // 6, k % 6 - 1]]
        assert np.array_equal(grey(picture), row)
    n_right = np.sum(y[ids] == y_new[:5, None])
    assert display.ax_.get_title().startswith(f"{n_right} of 25 ")


def test_neighbors_of_files_are_embedded_and_shown(tmp_path, digits):
    X, y, _, _ = digits
    names = [str(tmp_path / f"{k}.png") for k in range(40)]
    for image, name in zip(X, names, strict=False):
        Image.fromarray(15 * image).save(name)
    embedder = SiameseEmbedder(image_size=8, max_epochs=1, random_state=0)
    gallery = Gallery(embedder.fit(names, y[:40] % 2))
    gallery.add(names, ids=names)
    files = {name: name for name in names}
    display = NeighborsDisplay.from_gallery(gallery, names[:3], files, k=1)
    for k in range(0, 6, 2):  # each file is nearest to itself
        drawn = [p.get_array() for p in display.pictures_[k : k + 2]]
        assert np.array_equal(*drawn)


def test_neighbors_images_of_several_shapes_keep_their_proportions():
    shapes = [(6, 6), (4, 12), (12, 4, 3), (5, 5, 1), (7, 9, 2)]
    images = [RNG.random(shape) for shape in shapes]
    display = NeighborsDisplay(
        probes=[images[0]], neighbors=[images[1:]], distances=[[1.0, 2, 3, 4]]
    ).plot()
    for picture, image in zip(display.pictures_, images, strict=True):
        left, right, bottom, top = picture.get_extent()
        size = bottom - top, right - left
        assert np.allclose(size, np.array(image.shape[:2]) / max(image.shape[:2]))
        mean = image.mean(axis=2) if image.shape[2:] in ((1,), (2,)) else image
        if mean.ndim == 2:
            mean = mean[..., None]
        assert np.allclose(picture.get_array(), mean, atol=1e-6)


def test_neighbors_wide_values_share_one_scale():
    probe, item = np.array([[0.0, 500]]), np.array([[-1000.0, 1000], [0, 0]])
    display = NeighborsDisplay(
        probes=[probe], neighbors=[[item, SHOWN[0]]], distances=[[1.0, 2.0]]
    ).plot()
    drawn = [np.asarray(picture.get_array())[..., 0] for picture in display.pictures_]
    assert np.allclose(drawn[0], [[0.5, 0.75]])
    assert np.allclose(drawn[1], [[0, 1], [0.5, 0.5]])
    assert np.array_equal(grey(display.pictures_[2]), SHOWN[0])


def test_neighbors_square_frame_of_rows_shows_rows():
    gallery = Gallery(None)
    gallery.add(np.eye(36))
    frame = pd.DataFrame(IMAGES[:36].reshape(36, 36))  # as many columns as rows
    display = NeighborsDisplay.from_gallery(
        gallery, np.eye(36)[3:4], frame, k=1, image_shape=(6, 6), probe_images=SHOWN[:1]
    )
    assert np.array_equal(grey(display.pictures_[1]), IMAGES[3])


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.float16])
def test_neighbors_whole_range_of_a_small_type_keeps_its_order(dtype):
    limits = np.finfo(dtype) if dtype is np.float16 else np.iinfo(dtype)
    image = np.array([[limits.min, limits.max]], dtype=dtype)
    display = NeighborsDisplay(
        probes=[image], neighbors=[[image]], distances=[[1.0]]
    ).plot()
    for picture in display.pictures_:
        assert np.array_equal(np.asarray(picture.get_array())[..., 0], [[0, 1]])


@pytest.mark.parametrize(("n", "k"), [(1, 1), (1, 12), (4, 5), (25, 2)])
@pytest.mark.parametrize("shape", [(6, 6), (4, 12), (12, 4, 3)])
@pytest.mark.parametrize("labels", [True, False])
def test_neighbors_cells_lie_within_the_figure_and_apart(n, k, shape, labels):
    images = RNG.random((n, k, *shape))
    names = np.array(
        [["mmmmmmmm", "acral melanoma of the foot"][i % 2] for i in range(k)]
    )
    display = NeighborsDisplay(
        probes=images[:, 0],
        neighbors=images,
        distances=RNG.random((n, k)),
        labels=[names.tolist()] * n if labels else None,
        y=["mmmmmmmm"] * n if labels else None,
    ).plot()
    display.figure_.draw_without_rendering()
    figure = display.figure_.bbox
    boxes = np.array([
        part.get_window_extent().bounds
        for part in (*display.frames_, *display.texts_, display.ax_.title)
        if part is not display.ax_.title or labels
    ])  # x, y, width, height  # fmt: skip
    assert (boxes[:, :2] >= figure.min - 2).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= figure.max + 2).all()
    ends = boxes[:, :2] + boxes[:, 2:]
    overlap = np.minimum(ends[:, None], ends) - np.maximum(
        boxes[:, None, :2], boxes[:, :2]
    )
    together = (overlap > 1).all(axis=2)
    assert np.array_equal(together, np.eye(len(boxes), dtype=bool))


@pytest.mark.parametrize("size", [(2, 2), (4, 1.5), (3, 8)])
def test_neighbors_fill_the_axes_they_are_given(gallery, size):
    figure, ax = plt.subplots(figsize=size)
    display = show(gallery, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]


def test_neighbors_drawn_again_look_the_same(gallery):
    display = show(gallery)
    before = texts(display), [p.get_array() for p in display.pictures_]
    assert display.plot() is display
    assert texts(display) == before[0]
    for picture, array in zip(display.pictures_, before[1], strict=True):
        assert np.array_equal(picture.get_array(), array)


def test_neighbors_labels_are_shown_as_they_are_but_short():
    names = ["$x_1$ & $y$", "immature granulocytes(myelocytes)", 7.5]
    display = NeighborsDisplay(
        probes=SHOWN[:1], neighbors=[IMAGES[:3]], distances=[[1, 2, 3]], labels=[names]
    ).plot()
    shown = [text.split("\n")[0] for text in texts(display)[1:]]
    assert shown == ["$x_1$ & $y$", "immature granu…", "7.5"]
    assert not any(text.get_parse_math() for text in display.texts_)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"k": 0}, ValueError, "k must be a whole number from 1 to 25, got 0"),
        ({"k": 26}, ValueError, "k must be a whole number from 1 to 25, got 26"),
        ({"k": 2.5}, ValueError, "k must be a whole number"),
        ({"images": IMAGES[:5]}, KeyError, "images has no entry for the id"),
        ({"images": {}}, KeyError, r"the ids? \d+, \d+, \d+, \.\.\. of the gallery"),
        ({"images": np.zeros((N, 3, 8, 8))}, ValueError, "looks channels-first"),
        ({"images": IMAGES.reshape(N, -1)}, ValueError, "pass image_shape"),
        ({"images": np.zeros((N, 0, 6))}, ValueError, r"images .* shape \(0, 6\).* no"),
        ({"images": np.full((N, 6, 6), np.inf)}, ValueError, "images contains inf"),
        ({"images": pd.DataFrame(IMAGES.reshape(N, -1))}, ValueError, "pass image_sh"),
        ({"images": pd.Series([IMAGES[0]] * 2 * N, [*range(N)] * 2)}, ValueError,
         r"images has an index with an entry .* twice: .*index\.duplicated\(\)\]"),
        ({"probe_images": SHOWN[:, :, :0]}, ValueError, "^probe_images has .* no pix"),
        ({"probe_images": np.full((4, 6, 6), np.inf)}, ValueError, "probe_images con"),
        ({"probe_images": dict(enumerate(SHOWN))}, TypeError,
         "probe_images must be a sequence of 4 images.*, got dict"),
        ({"probe_images": iter(SHOWN)}, TypeError, "probe_images must be a sequence"),
        ({"image_shape": (4, 9)}, ValueError, r"\(6, 6\), but image_shape=\(4, 9\)"),
        ({"probe_images": None}, ValueError, "pass the images of the probes as probe_"),
        ({"probe_images": SHOWN[:2]}, ValueError, "probe_images has 2 .* X has 4"),
        ({"label": "dx"}, ValueError, "label='dx' .* have 'label', 'site': "),
        ({"label": None}, ValueError, "y is given, but there are no labels"),
        ({"y": Y[:2]}, ValueError, r"y has shape \(2,\).* which are 4"),
        ({"y": [1, 2, 3, 4]}, ValueError, "y and labels have values of kinds that"),
        ({"y": ["nv", None, "nv", "nv"]}, ValueError, "y has .*missing"),
        ({"where": {"site": "eye"}}, ValueError, "where"),
    ],
)  # fmt: skip
def test_neighbors_bad_input_is_named(gallery, kwargs, error, message):
    with pytest.raises(error, match=message):
        show(gallery, **kwargs)
    assert not plt.get_fignums()


def test_neighbors_number_of_probes_is_bounded(gallery):
    for n in (0, 26):
        with pytest.raises(
            ValueError, match=rf"X has {n} probes, but 1 to 25 .*X\[:5\]"
        ):
            NeighborsDisplay.from_gallery(gallery, np.zeros((n, 3)), IMAGES)


def test_neighbors_negative_id_does_not_count_from_the_end():
    gallery = Gallery(None)
    gallery.add(Z[:3], ids=[-1, 5, 6])
    with pytest.raises(KeyError, match="no entry for the id.* -1"):
        show(gallery, y=None)
    images = {-1: IMAGES[0], 5: IMAGES[1], 6: IMAGES[2]}
    assert len(show(gallery, images, y=None).pictures_) == 16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probes": SHOWN[:1]}, "probes holds 1 images, but there are 2 rows"),
        ({"neighbors": [IMAGES[:3]]}, r"neighbors must hold 2 rows of 3.* \[3\]"),
        ({"labels": [["a"] * 3, ["b"] * 2]}, r"labels must hold 2 .* holds \[3, 2\]"),
        ({"distances": [[0.1, np.nan, 1]] * 2}, "distances contains NaN"),
        ({"distances": [0.1, 0.2]}, "Expected 2D array"),
        ({"probes": SHOWN[:2] * np.nan}, "probes contains NaN"),
        ({"probes": SHOWN[:2, :0]}, r"probes has an image of shape \(0, 6\)"),
        ({"neighbors": np.full((2, 3, 6, 6), -np.inf)}, "neighbors contains"),
        ({"neighbors": np.zeros((2, 3, 0, 0))}, "neighbors has an .* no pixels"),
    ],
)
def test_neighbors_parts_that_do_not_fit_are_named(change, message):
    parts = {
        "probes": SHOWN[:2],
        "neighbors": [IMAGES[:3], IMAGES[3:6]],
        "distances": [[0.1, 0.2, 0.3]] * 2,
    }
    with pytest.raises(ValueError, match=message):
        NeighborsDisplay(**{**parts, **change}).plot()
    assert not plt.get_fignums()


def test_neighbors_of_any_transformer_are_drawn():
    gallery = Gallery(FunctionTransformer(flatten).fit(IMAGES))
    gallery.add(IMAGES)
    display = NeighborsDisplay.from_gallery(gallery, IMAGES[:2], IMAGES, k=1)
    assert texts(display) == ["probe", "0.00"] * 2
