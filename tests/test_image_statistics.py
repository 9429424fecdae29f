"""Reading images in blocks, numbering them by pixels, and describing them."""

import numpy as np
import pandas as pd
import pytest
import torch

from sksiamese import _image_statistics
from sksiamese._image_statistics import ImageBlocks, image_statistics, pixel_codes


def statistic(images, name):
    values, names = image_statistics(ImageBlocks(images, "images"))
    return values[:, names.index(name)]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def mixed():
    """Images of several shapes and dtypes."""
    return [
        noise(9, 11),
        noise(20, 8, 3),
        noise(9, 11, seed=1),
        noise(9, 11) / 255,
        noise(20, 8, 3, seed=2),
    ]


# Reading


@pytest.mark.parametrize("block", [1, 500, 1 << 21])
def test_blocks_cover_all_images_in_place(block, monkeypatch):
    monkeypatch.setattr(_image_statistics, "_BLOCK", block)
    for images in (noise(7, 9, 11), noise(7, 9, 11, 3), mixed()):
        seen = []
        for places, pixels in ImageBlocks(images, "images").raw():
            seen.extend(places)
            for place, image in zip(places, pixels, strict=True):
                np.testing.assert_array_equal(image, images[place])
        assert sorted(seen) == list(range(len(images)))


def test_blocks_subset_counts_from_zero():
    for images in (noise(9, 9, 11), [*mixed(), *mixed()]):
        rows = np.array([1, 2, 5, 8])
        subset = ImageBlocks(images, "images").subset(rows)
        assert len(subset) == 4
        for places, pixels in subset.raw():
            for place, image in zip(places, pixels, strict=True):
                np.testing.assert_array_equal(image, images[rows[place]])
        inner = subset.subset(np.array([3]))
        np.testing.assert_array_equal(next(inner.raw())[1][0], images[8])


def test_blocks_of_a_mapped_file_equal_those_in_memory(tmp_path):
    images = noise(50, 12, 12)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    values = [image_statistics(ImageBlocks(X, "images"))[0] for X in (images, mapped)]
    np.testing.assert_array_equal(*values)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 100)), "X holds items of shape .*reshape"),
        (np.zeros((4, 3, 20, 20)), "X holds images .*channels-first"),
        (np.zeros((4, 0, 20)), "X holds an image .*without pixels"),
        (np.array(["a.png", "b.png"]), "X holds <U5.*read files"),
        ([np.zeros((4, 4)), np.zeros(4)], "X holds items of shape"),
        (np.float64(3), "X is a single"),
        (3, "X is a single"),
        (None, "X is a single"),
        ("folder", "X is a single"),
        (pd.DataFrame(np.zeros((4, 100))), "X holds items of shape"),
        (pd.Series(np.zeros(4)), "X holds items of shape"),
        (pd.Series(["a.png", "b.png"]), "X holds <U5.*read files"),
        (np.array(["a.png", "b.png"], dtype=object), "X holds <U5.*read files"),
        ([None, None], "X holds object"),
    ],
)
def test_blocks_of_no_images_raise(images, message):
    with pytest.raises(ValueError, match=message):
        ImageBlocks(images, "X")


def test_blocks_take_arrays_of_other_packages_and_tuples():
    for images in (torch.from_numpy(noise(7, 9, 11)), tuple(noise(7, 9, 11))):
        values = image_statistics(ImageBlocks(images, "X"))[0]
        expected = image_statistics(ImageBlocks(noise(7, 9, 11), "X"))[0]
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("bad", [1e13, -1e30, 1e300])
def test_blocks_with_values_too_large_name_the_row(bad):
    images = np.zeros((6, 8, 8))
    images[4, 2, 2] = bad
    message = r"X holds values beyond 1e\+12, first in row 4"
    with pytest.raises(ValueError, match=message):
        image_statistics(ImageBlocks(images, "X"))


@pytest.mark.parametrize("scale", [1e-30, 1e9])
def test_statistics_of_scaled_images_are_scaled_or_the_same(scale):
    images = noise(5, 16, 16, 3) / 255
    values, names = image_statistics(ImageBlocks(images, "X"))
    scaled, _ = image_statistics(ImageBlocks(images * scale, "X"))
    words = ("mean", "spread", "darkest", "brightest", "brightness", "saturation")
    tones = [name.startswith(words) for name in names]
    np.testing.assert_allclose(scaled, values * np.where(tones, scale, 1), rtol=1e-2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_blocks_with_nan_name_the_row(bad):
    images = np.zeros((6, 8, 8))
    images[4, 2, 2] = bad
    with pytest.raises(ValueError, match="X holds NaN or infinity, first in row 4"):
        image_statistics(ImageBlocks(images, "X"))


# Numbers of pixels


def test_pixel_codes_are_equal_for_equal_pixels_shape_and_dtype():
    first, second = noise(5, 8, 6), noise(5, 8, 6, seed=1)
    second[3] = first[1]
    a, b = pixel_codes(ImageBlocks(first, "a"), ImageBlocks(second, "b"))
    assert len(set(a)) == 5
    assert b[3] == a[1]
    assert len(set(a) | set(b)) == 9


@pytest.mark.parametrize(
    "other",
    [noise(5, 6, 8), noise(5, 8, 6).astype(np.int16), noise(5, 8, 6)[..., None]],
    ids=["shape", "dtype", "channel"],
)
def test_pixel_codes_differ_for_other_shape_or_dtype(other):
    same = noise(5, 8, 6)
    other = other if other.shape[1:] == same.shape[1:] else other.reshape(other.shape)
    a, b = pixel_codes(ImageBlocks(same, "a"), ImageBlocks(other, "b"))
    assert not set(a) & set(b)


def test_pixel_codes_of_views_equal_those_of_copies():
    images = noise(6, 20, 20)[:, ::2, ::-1]
    a, b = pixel_codes(ImageBlocks(images, "a"), ImageBlocks(images.copy(), "b"))
    np.testing.assert_array_equal(a, b)


# Statistics


def test_statistics_equal_an_oracle():
    images = noise(4, 12, 10, 3)
    grey = images.mean(axis=3)
    for channel in range(3):
        expected = images[..., channel].mean(axis=(1, 2))
        found = statistic(images, f"mean of channel {channel + 1}")
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    saturation = [
        np.mean([p.max() - p.min() for p in i.reshape(-1, 3).astype(int)])
        for i in images
    ]
    np.testing.assert_allclose(statistic(images, "saturation"), saturation, rtol=1e-5)
    skew = [((g - g.mean()) ** 3).mean() / g.std() ** 3 for g in grey]
    np.testing.assert_allclose(statistic(images, "skewness"), skew, rtol=1e-3)
    border = [np.r_[g[0], g[-1], g[:, 0], g[:, -1]].mean() for g in grey]
    found = statistic(images, "brightness of the border")
    np.testing.assert_allclose(found, border, rtol=1e-5)


def test_statistics_entropy_is_that_of_the_histogram():
    images = noise(3, 16, 16)
    for image, found in zip(images, statistic(images, "entropy"), strict=True):
        counts = np.histogram(image, bins=64)[0] / image.size
        expected = -sum(c * np.log(c) for c in counts if c)
        assert found == pytest.approx(expected, abs=0.05)
    assert statistic(np.full((1, 16, 16), 7), "entropy")[0] == 0


def test_statistics_see_what_they_are_named_for():
    sharp = noise(20, 16, 16)
    soft = sharp.astype(float)
    for axis in (1, 2):
        soft = (soft + np.roll(soft, 1, axis)) / 2
    assert (statistic(soft, "sharpness") < statistic(sharp, "sharpness")).all()
    padded = sharp.copy()
    padded[:, :3] = 0
    assert (statistic(padded, "blank rows") == 3 / 16).all()
    assert (statistic(sharp, "blank rows") == 0).all()
    seams = np.repeat(np.repeat(noise(5, 4, 4), 8, axis=1), 8, axis=2)
    assert (statistic(seams, "blocks of 8") > 5).all()


def test_statistics_of_mixed_images_are_finite_and_of_one_form():
    values, names = image_statistics(ImageBlocks(mixed(), "images"))
    assert values.shape == (5, len(names))
    assert np.isfinite(values).all()
    assert values[:, names.index("height")].tolist() == [9, 20, 9, 9, 20]
    # A grey image is one with three equal channels.
    grey = mixed()[0]
    pair = [grey, np.repeat(grey[..., None], 3, axis=2)]
    a, b = image_statistics(ImageBlocks(pair, "images"))[0]
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (3, 3), (1, 30)])
def test_statistics_of_tiny_images_are_finite(shape):
    values, _ = image_statistics(ImageBlocks(noise(3, *shape), "images"))
    assert np.isfinite(values).all()
