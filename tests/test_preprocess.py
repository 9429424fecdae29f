"""Statistics against NumPy, and standardised batches against loops over pixels."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sksiamese import _preprocess
from sksiamese._preprocess import Preprocess, measure_statistics

DTYPES = ["u1", "u2", "f4", "f8", ">u2", "?"]
SHAPES = {
    "grey": (23, 5, 4),
    "one_channel": (23, 5, 4, 1),
    "rgb": (23, 5, 4, 3),
    "rows": (23, 6),
}


def raw(shape, dtype="f8", seed=0):
    """Values that fill the type's range, or are away from zero."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return (rng.normal(size=shape) * 3 + 40).astype(dtype)
    top = 2 if dtype.kind == "b" else np.iinfo(dtype).max + 1
    return rng.integers(0, top, shape).astype(dtype)


def statistics_by_numpy(X):
    X = X.astype(np.float64)
    if X.ndim == 3:
        return X.mean(keepdims=True).ravel(), X.std(keepdims=True).ravel()
    axes = tuple(range(X.ndim - 1))
    return X.mean(axis=axes), X.std(axis=axes)


@pytest.fixture(params=[1, 7, 40, 1 << 24])
def chunk_size(request, monkeypatch):
    """Chunks of one image, of some, with and without a rest, and of all."""
    monkeypatch.setattr(_preprocess, "_CHUNK_VALUES", request.param)


@pytest.mark.usefixtures("chunk_size")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_statistics_match_numpy(shape, dtype):
    X = raw(shape, dtype)
    mean, std = measure_statistics(X, np.arange(len(X)))
    assert mean.dtype == std.dtype == np.float64
    np.testing.assert_allclose((mean, std), statistics_by_numpy(X), rtol=1e-6)


@pytest.mark.usefixtures("chunk_size")
@pytest.mark.parametrize("rows", [[0], [3, 1, 4], np.arange(0, 23, 2)], ids=len)
def test_statistics_of_some_rows_are_theirs(rows):
    X = raw(SHAPES["rgb"], "u1")
    found = measure_statistics(X, np.array(rows))
    np.testing.assert_allclose(found, statistics_by_numpy(X[rows]))


@pytest.mark.usefixtures("chunk_size")
@pytest.mark.parametrize("offset", [1e3, 1e6, -1e9])
def test_statistics_of_large_offset_do_not_cancel(offset):
    X = raw(SHAPES["rows"]) + offset
    np.testing.assert_allclose(
        measure_statistics(X, np.arange(len(X))), statistics_by_numpy(X), rtol=1e-6
    )


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
def test_statistics_of_any_unit_match_numpy(scale):
    X = raw(SHAPES["rows"]) * scale
    np.testing.assert_allclose(
        measure_statistics(X, np.arange(len(X))), statistics_by_numpy(X), rtol=1e-6
    )


@pytest.mark.usefixtures("chunk_size")
@pytest.mark.parametrize("value", [0, 0.1, 255, 1e6 / 3])
def test_statistics_of_constant_channel_have_unit_deviation(value):
    X = raw(SHAPES["rgb"])
    X[..., 1] = value
    mean, std = measure_statistics(X, np.arange(len(X)))
    assert mean[1] == pytest.approx(value)
    assert std[1] == 1
    assert std[[0, 2]] == pytest.approx(X.std(axis=(0, 1, 2))[[0, 2]])


def test_statistics_read_memory_map(tmp_path):
    np.save(tmp_path / "images.npy", raw(SHAPES["grey"], "u2"))
    X = np.load(tmp_path / "images.npy", mmap_mode="r")
    found = measure_statistics(X, np.arange(len(X)))
    np.testing.assert_allclose(found, statistics_by_numpy(np.array(X)))


def standardised_by_loop(X, mean, std, n_channels):
    """Standardise pixel by pixel, channels first."""
    n, height, width = X.shape[:3]
    out = np.empty((n, n_channels, height, width))
    for i, c, h, w in np.ndindex(out.shape):
        pixel = X[i, h, w] if X.ndim == 3 else X[i, h, w, c % X.shape[3]]
        out[i, c, h, w] = (float(pixel) - mean[c % len(mean)]) / std[c % len(std)]
    return out


def batch(X):
    return torch.from_numpy(X.astype(X.dtype.newbyteorder("=")))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "to_rgb", "n_channels"),
    [
        ("grey", False, 1),
        ("grey", True, 3),
        ("one_channel", False, 1),
        ("one_channel", True, 3),
        ("rgb", False, 3),
        ("rgb", True, 3),
    ],
)
@pytest.mark.parametrize("own_per_channel", [False, True])
def test_images_match_loop(name, to_rgb, n_channels, dtype, own_per_channel):
    X = raw(SHAPES[name], dtype)[:4]
    mean, std = [100.0, 30.0, 5.0], [10.0, 20.0, 0.5]
    if not own_per_channel or n_channels == 1:
        mean, std = mean[:1], std[:1]
    x = Preprocess(mean, std, to_rgb=to_rgb)(batch(X))
    assert x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    expected = standardised_by_loop(X, mean, std, n_channels)
    np.testing.assert_allclose(x.numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_match_loop(dtype):
    X = raw(SHAPES["rows"], dtype)
    mean, std = np.arange(6.0), np.arange(1.0, 7)
    x = Preprocess(mean, std)(batch(X))
    assert x.dtype == torch.float32
    for i, j in np.ndindex(X.shape):
        expected = (float(X[i, j]) - mean[j]) / std[j]
        assert x[i, j].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", SHAPES)
def test_measured_statistics_standardise(name):
    X = raw(SHAPES[name], "u1")
    x = Preprocess(*measure_statistics(X, np.arange(len(X))))(batch(X))
    axes = (0, 2, 3) if x.ndim == 4 else 0
    np.testing.assert_allclose(x.mean(dim=axes), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(dim=axes, correction=0), 1, rtol=1e-4)


@pytest.mark.parametrize(
    ("dtype", "offset"), [("u2", 60_000), ("f4", 10_000), ("i4", 2**24), ("f8", 1e9)]
)
def test_large_offset_is_gone_before_rounding(dtype, offset):
    X = (offset + 8 * np.arange(12).reshape(6, 2)).astype(dtype)
    x = Preprocess(*measure_statistics(X, np.arange(6)))(batch(X))
    mean, std = statistics_by_numpy(X)
    np.testing.assert_allclose(x.numpy(), (X - mean) / std, atol=1e-3)


def test_constant_feature_stays_finite():
    x = Preprocess([5.0, 5.0], [0.0, 1.0])(torch.full((3, 2), 5.0))
    assert (x == 0).all()


def resized_by_loop(image, height, width):
    """Bilinear resizing whose triangle spans the pixels that are merged."""

    def weights(n_in, n_out):
        ratio = n_in / n_out
        reach = max(1.0, ratio)
        table = np.zeros((n_out, n_in))
        for o in range(n_out):
            for i in range(n_in):
                gap = abs((o + 0.5) * ratio - (i + 0.5))
                table[o, i] = max(0.0, 1 - gap / reach)
        return table / table.sum(axis=1, keepdims=True)

    return weights(image.shape[0], height) @ image @ weights(image.shape[1], width).T


@pytest.mark.parametrize("name", ["grey", "rgb"])
@pytest.mark.parametrize("size", [(10, 12), (2, 3), (5, 8), (3, 4), (5, 4)])
def test_resized_images_match_loop(name, size):
    X = raw(SHAPES[name], "u1")[:3]
    mean, std = [100.0], [30.0]
    x = Preprocess(mean, std, image_size=size)(batch(X))
    n_channels = X.shape[3] if X.ndim == 4 else 1
    assert x.shape == (3, n_channels, *size)
    assert x.is_contiguous(memory_format=torch.channels_last)
    before = standardised_by_loop(X, mean, std, n_channels)
    for i, c in np.ndindex(before.shape[:2]):
        expected = resized_by_loop(before[i, c], *size)
        np.testing.assert_allclose(x[i, c].numpy(), expected, atol=1e-4)


def test_resized_rgb_of_grey_matches_interpolation():
    X = raw(SHAPES["grey"], "u2")
    x = Preprocess([1.0, 2, 3], [4.0, 5, 6], image_size=(8, 8), to_rgb=True)(batch(X))
    plain = Preprocess([1.0, 2, 3], [4.0, 5, 6], to_rgb=True)(batch(X))
    expected = F.interpolate(plain, (8, 8), mode="bilinear", antialias=True)
    torch.testing.assert_close(x, expected)


def test_statistics_travel_with_the_state_but_do_not_train():
    module = Preprocess([1.0, 2.0], [3.0, 4.0])
    assert not list(module.parameters())
    other = Preprocess([0.0, 0.0], [1.0, 1.0])
    other.load_state_dict(module.state_dict())
    x = torch.rand(5, 2)
    torch.testing.assert_close(other(x), module(x))


def test_extremes_are_found_chunk_by_chunk(monkeypatch):
    monkeypatch.setattr(_preprocess, "_CHUNK_VALUES", 30)
    X = np.random.default_rng(0).normal(size=(17, 3, 4))
    assert _preprocess.extremes(X) == (X.min(), X.max())
