"""Pictures: images of any form and dtype, in colours of the screen."""

import numpy as np
import pytest

from sksiamese._pictures import load_images, make_pictures, open_images


def test_load_images_rows_unfold():
    images = np.arange(24).reshape(2, 3, 4)
    rows = images.reshape(2, -1)
    assert np.array_equal(load_images(rows, image_shape=(3, 4)), images)
    with pytest.raises(ValueError, match="12 columns, but image_shape=.* 9 pixels"):
        load_images(rows, image_shape=(3, 3))
    with pytest.raises(ValueError, match="pass image_shape"):
        load_images(rows)


def test_load_images_shape_that_differs_is_refused():
    images = np.zeros((5, 8, 8))
    assert load_images(images, image_shape=(8, 8)) is images
    with pytest.raises(
        ValueError, match=r"of shape \(8, 8\), but image_shape=\(4, 4\)"
    ):
        load_images(images, image_shape=(4, 4))


def test_load_images_channels_first_is_refused():
    images = np.zeros((60, 3, 32, 32))
    with pytest.raises(
        ValueError, match=r"channels-first.* np.moveaxis\(images, 1, -1"
    ):
        load_images(images)
    load_images(np.moveaxis(images, 1, -1))
    # Whoever says that the height is 3 is believed.
    assert load_images(images, image_shape=(3, 32, 32)) is images


def test_open_images_shape_of_no_images_is_refused():
    assert open_images(None) is None
    with pytest.raises(ValueError, match="image_shape is given, but images is None"):
        open_images(None, image_shape=(8, 8))


def test_load_images_file_names_without_a_reader_are_refused():
    with pytest.raises(ValueError, match="images holds file names"):
        load_images(["a.png", "b.png"])


RAMP = np.linspace(0, 1, 12).reshape(1, 3, 4)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ((RAMP * 255).round().astype(np.uint8), RAMP),
        ((RAMP * 100).round().astype(np.uint8), RAMP * 100 / 255),
        (RAMP * 0.5, RAMP * 0.5),
        (RAMP.astype(np.float16), RAMP),
        ((RAMP * 4095).round().astype(np.uint16), RAMP),
        ((RAMP * 3000 - 1000).round().astype(np.int16), RAMP),
        (RAMP * 7 - 3, RAMP),
        (RAMP > 0.5, RAMP > 0.5),
        (np.full((1, 3, 4), 500), np.zeros((1, 3, 4))),
    ],
)
@pytest.mark.parametrize("with_channel", [False, True])
def test_make_pictures_grey_of_any_dtype_is_brightness(images, expected, with_channel):
    pictures = make_pictures(images[..., None] if with_channel else images)
    assert pictures.shape == (1, 3, 4, 3)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    for channel in range(3):
        assert np.allclose(pictures[..., channel], expected, atol=0.01)


def test_make_pictures_colours_stay_and_other_channels_are_averaged():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5), dtype=np.uint8)
    assert np.allclose(make_pictures(images[..., :3]), images[..., :3] / 255)
    grey = images.mean(axis=-1) / 255
    assert np.allclose(make_pictures(images), grey[..., None])


def test_make_pictures_nan_is_refused():
    with pytest.raises(ValueError, match="images contains NaN"):
        make_pictures(np.full((1, 3, 4), np.nan))
