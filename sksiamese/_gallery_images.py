"""Images of what a gallery holds, from wherever they are kept (layer 4, step 1)."""

import os

import numpy as np
from sklearn.utils.validation import check_array

from sksiamese._file_input import check_paths
from sksiamese._pictures import load_images
from sksiamese._reading import Reading, read_files

_FILE_SIZE = 224, 224


def find_entries(images, ids):
    """Look up the images of items by their ids.

    Parameters
    ----------
    images : array-like or mapping
        Where ``images[id]`` is the image of an item, its row or its file name.

    ids : iterable of str or int
        Ids of the items.

    Returns
    -------
    dict
        From id to entry.

    Raises
    ------
    KeyError
        If an id has no entry.

    ValueError
        If the index of a Series or DataFrame holds an id twice.
    """
    if not getattr(getattr(images, "index", None), "is_unique", True):
        raise ValueError(
            "images has an index with an entry that is there twice: pass one image of"
            " each id, such as images[~images.index.duplicated()]."
        )
    # Without loc, a DataFrame gives columns.
    entries = getattr(images, "loc", images)
    found, missing = {}, []
    for key in ids:
        try:
            # A negative row number would count from the end.
            if not hasattr(images, "keys") and key < 0:
                raise IndexError(key)
            found[key] = entries[key]
        except (KeyError, IndexError, TypeError):
            missing.append(key)
    if missing:
        shown = ", ".join(map(repr, missing[:3])) + ", ..." * (len(missing) > 3)
        raise KeyError(
            f"images has no entry for the id {shown} of the gallery: pass a dict or"
            " Series from id to image, or an array whose row numbers are the ids."
        )
    return found


def list_probes(images, n):
    """Take the images of probes as a sequence.

    Parameters
    ----------
    images : array-like of shape (n, ...) or sequence of str
        Images, rows or file names.

    n : int
        Number of probes.

    Returns
    -------
    sequence of length n
        Images, rows or file names, one by one.

    Raises
    ------
    TypeError
        If it is no sequence.

    ValueError
        If it has another length.
    """
    given, names = images, check_paths(images)
    if names is not None:
        images = names
    elif not isinstance(images, (list, tuple)):
        images = np.asarray(images)
        if not images.ndim:
            raise TypeError(
                f"probe_images must be a sequence of {n} images, rows or file names, in"
                f" the order of X, got {type(given).__name__}: pass a list."
            )
    if len(images) != n:
        raise ValueError(f"probe_images has {len(images)} entries, but X has {n}.")
    return images


def load_image(entry, name, image_shape, siamese):
    """Make one image of an image, a row or a file name.

    Parameters
    ----------
    entry : array-like, str or path-like
        What stands for the image; files are read at 224 by 224 pixels, padded.

    name : str
        Where it comes from, for the message.

    image_shape : tuple of int or None
        Shape that a row unfolds to; None is that of ``siamese``.

    siamese : estimator or None
        Fitted estimator that tells the shape of rows.

    Returns
    -------
    ndarray of shape (height, width) or (height, width, n_channels)
        Image.

    Raises
    ------
    ValueError
        If it cannot be shown.
    """
    if isinstance(entry, (str, os.PathLike)):
        reading = Reading(_FILE_SIZE, "auto", aspect="pad")
        return read_files([os.fspath(entry)], reading)[0][0]
    entry = check_image(entry, name)[None]
    return load_images(entry, image_shape=image_shape, siamese=siamese)[0]


def check_image(image, name):
    """Refuse an image that has no pixels, or values that no colour stands for.

    Parameters
    ----------
    image : array-like
        Image or row.

    name : str
        Where it comes from, for the message.

    Returns
    -------
    ndarray
        The same.

    Raises
    ------
    ValueError
        If it is empty or holds NaN, infinity or no numbers.
    """
    image = check_array(
        np.asarray(image),
        dtype="numeric",
        ensure_2d=False,
        allow_nd=True,
        ensure_min_samples=0,
        ensure_min_features=0,
        input_name=name,
    )
    if not image.size:
        raise ValueError(
            f"{name} has an image of shape {image.shape}, which has no pixels: replace"
            " it."
        )
    return image
