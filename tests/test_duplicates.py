"""Copies are found, look-alikes are not, on real images."""

import io
import tracemalloc

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import cdist

from sksiamese import _duplicates, _image_statistics
from sksiamese._duplicates import find_duplicates
from sksiamese.datasets import fetch_images


def real(name, n=None, seed=0):
    try:
        images = fetch_images(name, download=False).images
    except FileNotFoundError:
        pytest.skip(f"needs the set {name}: set SKSIAMESE_DATA")
    if n is None:
        return images
    rng = np.random.default_rng(seed)
    return images[np.sort(rng.choice(len(images), n, replace=False))]


def jpeg(image, quality=75):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def resize(image, factor):
    height, width = (round(side * factor) for side in image.shape[:2])
    return np.asarray(Image.fromarray(image).resize((width, height), Image.BILINEAR))


def round_to_bytes(image):
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def shift(image):
    wider = np.pad(image, [(1, 1), (1, 1)] + [(0, 0)] * (image.ndim - 2), mode="edge")
    return wider[2:, 1:-1]


COPIES = {
    "jpeg_75": jpeg,
    "brighter": lambda i: round_to_bytes(i + 25.0),
    "less_contrast": lambda i: round_to_bytes(128 + (i - 128.0) * 0.8),
    "gamma": lambda i: round_to_bytes(255 * (i / 255.0) ** 0.8),
    "smaller": lambda i: resize(i, 0.75),
    "larger": lambda i: resize(i, 2),
    "noise": lambda i: round_to_bytes(
        i + np.random.default_rng(0).normal(0, 3, i.shape)
    ),
}
# Share of copies that are found at least, where not all are.
HARD = {("pneumoniamnist", "smaller"): 0.9, ("mnist", "smaller"): 0.85}


# Exact duplicates


def exact_oracle(a, b):
    """Rows that are part of any pair of equal images."""
    return {(i, j) for i, x in enumerate(a) for j, y in enumerate(b) if (x == y).all()}


@pytest.mark.parametrize("seed", range(3))
def test_duplicates_exact_name_every_row_that_has_one(seed):
    rng = np.random.default_rng(seed)
    pool = rng.integers(0, 256, (12, 5, 4), dtype=np.uint8)
    a, b = pool[rng.integers(0, 9, 15)], pool[rng.integers(4, 12, 20)]
    found = find_duplicates(a, b)
    pairs, expected = set(map(tuple, found.rows)), exact_oracle(a, b)
    assert pairs <= expected
    for side in (0, 1):
        assert {p[side] for p in pairs} == {p[side] for p in expected}
    assert len(found) <= len(a) + len(b)
    assert set(found.kind) == {"exact"}
    assert (found.distance == 0).all()


def test_duplicates_within_one_set_name_the_first():
    X = np.random.default_rng(0).integers(0, 256, (6, 5, 5), dtype=np.uint8)
    X[[3, 5]] = X[1]
    assert find_duplicates(X).rows.tolist() == [[1, 3], [1, 5]]


def test_duplicates_of_other_dtype_or_shape_are_not_exact():
    X = np.arange(24, dtype=np.uint8).reshape(1, 4, 6)
    assert len(find_duplicates(X, X.astype(float))) == 0
    assert len(find_duplicates(X, X.reshape(1, 6, 4))) == 0


def test_duplicates_of_many_blank_images_stay_few():
    X = np.zeros((3000, 16, 16), dtype=np.uint8)
    found = find_duplicates(X[:2000], X[2000:])
    assert len(found) == 2999


# Near duplicates


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize(
    "name", ["mnist", "pneumoniamnist", "malaria_cells", "ham10000", "cats_dogs"]
)
def test_duplicates_near_copies_are_found_and_nothing_else(name, copy):
    X = real(name, 700)
    X = np.delete(X, find_duplicates(X).rows[:, 1], axis=0)
    a, rest = X[:500], X[500:]
    b = np.stack([COPIES[copy](image) for image in np.concatenate([X[:60]])])
    if b.shape[1:] == rest.shape[1:]:
        b = np.concatenate([b, rest])
    found = find_duplicates(a, b)
    assert (found.rows[:, 0] == found.rows[:, 1]).all()
    assert len(found) >= 60 * HARD.get((name, copy), 0.98)
    assert found.distance.max() < 0.05


@pytest.mark.parametrize("name", ["mnist", "ham10000", "cats_dogs"])
def test_duplicates_shifted_by_a_pixel_are_found(name):
    X = real(name, 400)
    b = np.stack([shift(image) for image in X[:60]])
    found = find_duplicates(X, b)
    assert (found.rows[:, 0] == found.rows[:, 1]).all()
    assert len(found) >= 59


@pytest.mark.parametrize(
    ("name", "n"), [("mnist", 6000), ("malaria_cells", 3000), ("ham10000", 2961)]
)
def test_duplicates_look_alikes_are_not_near(name, n):
    assert len(find_duplicates(real(name, n))) == 0


@pytest.mark.parametrize("copy", ["exact", "jpeg_75"])
def test_duplicates_planted_in_brain_images_are_found_all(copy):
    real("brain_mri")
    data = fetch_images("brain_mri", download=False)
    train, test = (data.images[data.split == s] for s in ("train", "test"))
    rows = np.random.default_rng(0).choice(len(train), 189, replace=False)
    planted = train[rows]
    if copy != "exact":
        planted = np.stack([COPIES[copy](image) for image in planted])
    found = find_duplicates(train, np.concatenate([test, planted]))
    places = found.rows[:, 1] - len(test)
    assert set(places[places >= 0]) == set(range(189))
    expected = dict(zip(range(189), rows, strict=True))
    kind = "exact" if copy == "exact" else "near"
    hits = [
        (row, place)
        for (row, _), place, k in zip(found.rows, places, found.kind, strict=True)
        if place >= 0 and k == kind and expected[place] == row
    ]
    assert len(hits) == 189
    # Nothing else than the copies of training images, in another encoding or contrast,
    # that the public test set has besides.
    others = set(found.rows[places < 0, 1])
    sure, most = (
        set(find_duplicates(train, test, max_distance=limit).rows[:, 1])
        for limit in (0.002, 0.04)
    )
    assert sure <= others <= most
    assert not (found.kind[places < 0] == "exact").any()


def test_duplicates_within_brain_test_images_are_the_thirty_known():
    real("brain_mri")
    data = fetch_images("brain_mri", download=False)
    found = find_duplicates(data.images[data.split == "test"], max_distance=0)
    assert len(found) == 30


def test_duplicates_of_colour_turned_grey_are_found():
    X = real("ham10000", 300)
    grey = round_to_bytes(X[:50] @ [0.299, 0.587, 0.114])
    found = find_duplicates(X, grey)
    assert np.array_equal(found.rows, np.repeat(np.arange(50)[:, None], 2, axis=1))


def test_duplicates_in_lists_of_many_sizes_are_found():
    X = real("cats_dogs", 60)
    a = [resize(x, f) for x, f in zip(X, np.linspace(0.7, 1.5, 60), strict=True)]
    b = [resize(x, f) for x, f in zip(X[:30], np.linspace(1.4, 0.6, 30), strict=True)]
    found = find_duplicates(a, b)
    assert np.array_equal(found.rows, np.repeat(np.arange(30)[:, None], 2, axis=1))


@pytest.mark.parametrize(("name", "n_originals"), [("ham10000", 40), ("mnist", 20)])
def test_duplicates_of_images_with_many_copies_are_found(name, n_originals):
    originals, rng = real(name, n_originals), np.random.default_rng(0)
    copies = []
    for original in originals:
        for _ in range(400 // n_originals):
            lit = original * rng.uniform(0.85, 1.1) + rng.uniform(-10, 10)
            copies.append(jpeg(round_to_bytes(lit), int(rng.integers(50, 90))))
    a, b = np.stack(copies[::2]), np.stack(copies[1::2])
    of = np.repeat(np.arange(n_originals), len(a) // n_originals)
    found = find_duplicates(a, b)
    assert len(np.unique(found.rows[:, 1])) >= 0.99 * len(b)
    assert (of[found.rows[:, 0]] == of[found.rows[:, 1]]).all()


def test_duplicates_of_images_that_all_look_alike_are_none():
    """Unrelated to the eye of the measure: all agree as much as copies might."""
    rng = np.random.default_rng(0)
    template = np.kron(rng.normal(size=(8, 8)), np.ones((8, 8)))
    detail = rng.normal(size=(300, 64, 64))
    X = template + 0.1 * np.stack([resize(d[::8, ::8], 8) for d in detail])
    correlation = np.corrcoef(X[:20].reshape(20, -1))
    assert np.median(correlation) > 0.96
    assert len(find_duplicates(X)) == 0


def test_duplicates_of_equal_rows_that_have_near_copies_are_all_named():
    X = real("cats_dogs", 30)
    copies = np.stack([jpeg(x) for x in X[:4]])
    found = find_duplicates(np.concatenate([X, X[:4]]), copies)
    assert set(found.kind) == {"near"}
    expected = [(k, k) for k in range(4)] + [(30 + k, k) for k in range(4)]
    assert list(map(tuple, found.rows)) == expected
    within = find_duplicates(np.concatenate([X, X[:4], copies]))
    expected = {(k, 30 + k): "exact" for k in range(4)}
    expected |= {(k, 34 + k): "near" for k in range(4)}
    kinds = zip(map(tuple, within.rows), within.kind, strict=True)
    assert dict(kinds) == expected


@pytest.mark.parametrize("n", [1, 60])
def test_duplicates_of_crowded_images_are_still_found(n, monkeypatch):
    """Only the closest in each block are confirmed where nearly all are close."""
    rng, counts = np.random.default_rng(0), []
    X = rng.integers(0, 256, (64, 64)) + rng.normal(0, 8, (600, 64, 64))
    X = round_to_bytes(X)
    monkeypatch.setattr(_duplicates, "_CLOSEST", n)
    distances = _duplicates._ImageSearch.distances

    def count(search, a, b):
        counts.append(len(a))
        return distances(search, a, b)

    monkeypatch.setattr(_duplicates._ImageSearch, "distances", count)
    found = find_duplicates(X, max_distance=0.1)
    assert set(found.rows.ravel()) == set(range(600))
    # Two searches of two blocks each.
    assert sum(counts) <= 2 * n * (600 + 2 * 600)


def test_duplicates_of_one_image_many_times_are_searched_once(monkeypatch):
    X = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 20, 20)), 3000, axis=0)
    sizes, measure = [], _duplicates.Waves.measure

    def count(waves, images):
        sizes.append(len(images))
        return measure(waves, images)

    monkeypatch.setattr(_duplicates.Waves, "measure", count)
    assert len(find_duplicates(X)) == 2999
    assert sizes == [1]


@pytest.mark.parametrize("scale", [1e-30, 1e9])
def test_duplicates_do_not_depend_on_the_scale_of_tones(scale):
    X = real("cats_dogs", 60)
    b = np.stack([jpeg(x) for x in X[:20]])
    found = find_duplicates(X * scale, b * scale)
    np.testing.assert_array_equal(found.rows, find_duplicates(X, b).rows)
    assert len(found) == 20


@pytest.mark.parametrize("block", [7, 64])
def test_duplicates_do_not_depend_on_blocks(block, monkeypatch):
    X = real("cats_dogs", 200)
    X = np.concatenate([X, [jpeg(x) for x in X[::3]], X[::7]])
    expected = find_duplicates(X), find_duplicates(X[:150], X[150:])
    for name in ("_BLOCK_A", "_BLOCK_B", "_CONFIRMED"):
        monkeypatch.setattr(_duplicates, name, block)
    found = find_duplicates(X), find_duplicates(X[:150], X[150:])
    for one, two in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one.rows, two.rows)
        np.testing.assert_allclose(one.distance, two.distance, atol=1e-6)


def test_duplicates_max_distance_bounds_the_distance():
    X = real("cats_dogs", 300)
    small = np.stack([resize(resize(x, 0.3), 1 / 0.3)[:64, :64] for x in X[:100]])
    small = np.stack([resize(s, 64 / s.shape[0]) for s in small])
    counts = []
    for limit in (0, 0.02, 0.1, 0.3):
        found = find_duplicates(X, small, max_distance=limit)
        assert (found.distance <= limit).all()
        counts.append(len(found))
    assert counts == sorted(counts)
    assert counts[0] == 0 < counts[-1]


@pytest.mark.parametrize("shape", [(40, 8, 8), (40, 20, 20)])
def test_duplicates_of_one_tone_or_tiny_are_not_near(shape):
    rng = np.random.default_rng(0)
    tones = np.broadcast_to(rng.random((shape[0], 1, 1)) * 255, shape)
    assert len(find_duplicates(tones[:20], tones[20:])) == 0


# Embeddings


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-3, 1, 1e4])
def test_duplicates_of_embeddings_are_the_nearest_within_a_radius(scale, dtype):
    rng = np.random.default_rng(0)
    a = (rng.normal(size=(80, 6)) * scale + 5 * scale).astype(dtype)
    b = (rng.normal(size=(90, 6)) * scale + 5 * scale).astype(dtype)
    distances = cdist(a, b)
    radius = np.quantile(distances, 0.05)
    found = find_duplicates(a, b, max_distance=radius)
    expected = set()
    for i in np.flatnonzero((distances <= radius).any(axis=1)):
        expected.add((i, distances[i].argmin()))
    for j in np.flatnonzero((distances <= radius).any(axis=0)):
        expected.add((distances[:, j].argmin(), j))
    assert set(map(tuple, found.rows)) == expected
    np.testing.assert_allclose(found.distance, distances[tuple(found.rows.T)])
    assert set(found.kind) == {"near"}


def test_duplicates_of_embeddings_within_one_set():
    Z = np.random.default_rng(0).normal(size=(50, 4))
    Z[20], Z[30] = Z[3] + 1e-3, Z[4]
    found = find_duplicates(Z, max_distance=0.01)
    assert found.rows.tolist() == [[3, 20], [4, 30]]
    assert found.kind.tolist() == ["near", "exact"]
    assert find_duplicates(Z).rows.tolist() == [[4, 30]]


# Bad and empty input


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((3, 9), int), None, "X_a holds rows of int64"),
        (np.full((3, 9), np.nan), None, "X_a holds NaN"),
        (np.zeros((3, 9, 9)), np.full((3, 9, 9), np.nan), "X_b holds NaN"),
        (np.zeros((3, 9, 9)), np.zeros((3, 9)), "X_b holds items of shape"),
        (np.zeros((3, 3, 9, 9)), None, "channels-first"),
    ],
)
def test_duplicates_bad_input_names_the_argument(a, b, message):
    with pytest.raises(ValueError, match=message):
        find_duplicates(a, b)


@pytest.mark.parametrize("limit", [None, 0, 1])
def test_duplicates_of_embeddings_of_two_widths_raise(limit):
    with pytest.raises(ValueError, match="X_b has 5 columns, but X_a has 4"):
        find_duplicates(np.ones((3, 4)), np.ones((3, 5)), max_distance=limit)


def test_duplicates_of_a_list_of_embeddings_say_how_to_pass_them():
    with pytest.raises(ValueError, match=r"X_b is a list of rows: .*np.stack\(X_b\)"):
        find_duplicates(np.ones((3, 4)), list(np.ones((3, 4))))


@pytest.mark.parametrize("limit", [-1, np.nan, "0.1", True, 2.5])
def test_duplicates_bad_distance_raises(limit):
    with pytest.raises(ValueError, match="max_distance"):
        find_duplicates(np.zeros((3, 9, 9)), max_distance=limit)


def test_duplicates_of_nothing_are_none():
    X = np.zeros((4, 20, 20))
    for a, b in ((X[:0], X), (X, X[:0]), (X[:0], None), (X[:1], None)):
        found = find_duplicates(a, b)
        assert found.rows.shape == (0, 2)
        assert repr(found) == "<Duplicates: 0 exact, 0 near>"


def test_duplicates_take_memory_for_images_not_for_pairs(monkeypatch):
    monkeypatch.setattr(_duplicates, "_BLOCK_A", 256)
    monkeypatch.setattr(_duplicates, "_BLOCK_B", 256)
    monkeypatch.setattr(_image_statistics, "_BLOCK", 1 << 16)
    X = np.random.default_rng(0).integers(0, 256, (8000, 16, 16), dtype=np.uint8)
    tracemalloc.start()
    find_duplicates(X[:4000], X[4000:])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 4000**2  # bytes of all products
