"""Images of any form and dtype as pictures for the screen (layer 4)."""

import math

import numpy as np
from sklearn.utils.validation import check_array

from sksiamese._file_input import check_paths, check_size, read_images


def load_images(images, *, image_shape=None, siamese=None):
    """Bring images to a form that has height and width.

    Parameters
    ----------
    images : array-like of shape (n, height, width), (n, height, width, n_channels), \
(n, n_features) or (n,)
        Images, rows or file names.

    image_shape : tuple of int or None, default=None
        Shape that rows unfold to; None is the shape that ``siamese`` unfolds them to.

    siamese : estimator or None, default=None
        Fitted estimator that reads the files.

    Returns
    -------
    ndarray of shape (n, height, width) or (n, height, width, n_channels)
        Images.

    Raises
    ------
    ValueError
        If they cannot be shown as images, look channels-first or have a shape other
        than ``image_shape``.
    """
    names = check_paths(images)
    if names is not None:
        if siamese is None:
            raise ValueError(
                "images holds file names: read them first, for example by"
                " sksiamese.images.ImageReader."
            )
        images = read_images(siamese, names, reset=False)
    images = np.asarray(images)
    if image_shape is not None:
        image_shape = check_size("image_shape", image_shape, (2, 3))
        if images.ndim > 2 and images.shape[1:] != image_shape:
            raise ValueError(
                f"images holds images of shape {images.shape[1:]}, but image_shape="
                f"{image_shape}: leave image_shape=None for images that are not"
                " flattened."
            )
    return _unfold(images, image_shape or getattr(siamese, "image_shape_", ()))


def _unfold(images, image_shape):
    """Make images of rows; refuse what cannot be shown."""
    if images.ndim == 2 and len(image_shape) > 1:
        if images.shape[1] != math.prod(image_shape):
            raise ValueError(
                f"images has {images.shape[1]} columns, but image_shape={image_shape}"
                f" has {math.prod(image_shape)} pixels."
            )
        return images.reshape(len(images), *image_shape)
    shape = images.shape
    if len(shape) not in (3, 4):
        hint = ": pass image_shape if these are flattened images" * (len(shape) == 2)
        raise ValueError(
            f"images has shape {shape}, but only images (n, height, width) or"
            f" (n, height, width, n_channels) can be shown{hint}."
        )
    if len(shape) == 4 and shape[1] <= 4 < shape[3] and shape[1:] != image_shape:
        raise ValueError(
            f"images of shape {shape} looks channels-first: pass channels-last images,"
            " np.moveaxis(images, 1, -1)."
        )
    return images


def open_images(images, *, image_shape=None, siamese=None):
    """Check images of which some will be shown; files are read when they are.

    Parameters
    ----------
    images : array-like of shape (n, ...) or None
        Images, rows or file names.

    image_shape : tuple of int or None, default=None
        Shape that rows unfold to; None is the shape that ``siamese`` unfolds them to.

    siamese : estimator or None, default=None
        Fitted estimator that reads the files.

    Returns
    -------
    ndarray of shape (n, height, width[, n_channels]), _Files or None
        Images, to be had by ``images[rows]``.

    Raises
    ------
    ValueError
        If they cannot be shown as images, or there is a shape of none.
    """
    if images is None:
        if image_shape is not None:
            raise ValueError(
                "image_shape is given, but images is None: pass images, or neither."
            )
        return None
    names = check_paths(images)
    if names is None:
        return load_images(images, image_shape=image_shape, siamese=siamese)
    return _Files(names, image_shape, siamese)


class _Files:
    """Files that pass for an array of images, of which rows are read when taken."""

    def __init__(self, names, image_shape, siamese):
        self._names, self._siamese = names, siamese
        first = load_images(names[:1], image_shape=image_shape, siamese=siamese)
        self.shape = len(names), *first.shape[1:]

    def __len__(self):
        return len(self._names)

    def __getitem__(self, rows):
        return load_images([self._names[k] for k in rows], siamese=self._siamese)


def make_pictures(images):
    """Scale images to colours for the screen.

    Bytes and floats in [0, 1] keep their brightness; other values are stretched from
    the smallest to the largest one of all images given. Images of one channel are grey,
    of three in colour, and of others the mean of the channels.

    Parameters
    ----------
    images : ndarray of shape (n, height, width) or (n, height, width, n_channels)
        Images of any numeric dtype.

    Returns
    -------
    float32 ndarray of shape (n, height, width, 3)
        Red, green and blue, in [0, 1].
    """
    images = check_array(images, allow_nd=True, dtype="numeric", input_name="images")
    is_byte = images.dtype == np.uint8
    pictures = images.astype(np.float64)
    low, high = pictures.min(), pictures.max()
    if is_byte:
        pictures /= 255
    elif low < 0 or high > 1:
        pictures = (pictures - low) / ((high - low) or 1)
    if pictures.ndim == 3:
        pictures = pictures[..., None]
    if pictures.shape[-1] != 3:
        grey = pictures.mean(axis=-1, keepdims=True)
        pictures = np.repeat(grey, 3, axis=-1)
    return pictures.astype(np.float32)
