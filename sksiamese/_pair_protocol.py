"""Training and test pairs in one form (layer 0, a late step): NumPy only."""

from dataclasses import dataclass

import numpy as np

from sksiamese._encoding import check_same, encode
from sksiamese._image_statistics import ImageBlocks, pixel_codes


@dataclass
class Protocol:
    """Training and test pairs as rows of images, and what is known of the images.

    Parameters
    ----------
    pairs : list of two int64 ndarray of shape (n_pairs, 2)
        Rows of the members of training and of test pairs.

    same : list of two bool ndarray of shape (n_pairs,)
        Which of them are of one class.

    images : ImageBlocks or None
        The images.

    groups : int64 ndarray of shape (n_images,) or None
        Group of each image.

    codes : int64 ndarray of shape (n_images,) or None
        Equal for images with equal pixels.

    n_images : int
        Number of images.

    by_pixels : bool
        Whether the images were given in the pairs and are told apart by their pixels.
    """

    pairs: list
    same: list
    images: ImageBlocks | None
    groups: np.ndarray | None
    codes: np.ndarray | None
    n_images: int
    by_pixels: bool

    def used(self):
        """List the images of each side.

        Returns
        -------
        list of two int64 ndarray
            Sorted rows.
        """
        return [np.unique(pairs) for pairs in self.pairs]


def read_protocol(train, test, images=None, groups=None):
    """Check pairs of rows or of images and bring both forms to one.

    Parameters
    ----------
    train, test : tuple of (pairs, same)
        As ``audit_pairs`` takes them.

    images : array-like, list or None, default=None
        Images that the pairs name.

    groups : array-like of shape (n_images,) or None, default=None
        Groups of the images that the pairs name.

    Returns
    -------
    Protocol
        The pairs and what is known of their images.

    Raises
    ------
    ValueError
        If something is of a wrong form, length or range.
    """
    names = "train", "test"
    sides = [
        _members(pairs, f"{name}_pairs")
        for (pairs, _), name in zip((train, test), names, strict=True)
    ]
    if isinstance(sides[0], tuple) != isinstance(sides[1], tuple):
        raise ValueError(
            "train_pairs and test_pairs are of different form: pass both as rows of"
            " images, or both as pairs of images."
        )
    if isinstance(sides[0], tuple):
        protocol = _read_images(sides, images, groups)
    else:
        protocol = _read_rows(sides, images, groups)
    protocol.same = [
        _labels(same, len(pairs), f"same_{name}")
        for (_, same), pairs, name in zip(
            (train, test), protocol.pairs, names, strict=True
        )
    ]
    return protocol


def _members(pairs, name):
    """Tell rows from images: an int array (n, 2), or a tuple of two sets of images."""
    if isinstance(pairs, tuple) and len(pairs) == 2:
        if max(map(_n_axes, pairs)) < 2:
            raise ValueError(
                f"{name} is a tuple of two flat sequences: pass rows of images as one"
                f" array of shape (n_pairs, 2), such as np.column_stack({name})."
            )
        first, second = pairs
    else:
        pairs = _as_array(pairs, name)
        if pairs.ndim > 2 or (pairs.dtype.kind == "O" and _n_axes(pairs[:, 0]) > 2):
            first, second = pairs[:, 0], pairs[:, 1]
        elif pairs.dtype.kind in "iu":
            first = second = pairs
        else:
            raise ValueError(
                f"{name} holds {pairs.dtype}: rows of images are integers."
            )
    if len(first) != len(second):
        raise ValueError(
            f"{name} has {len(first)} first but {len(second)} second members."
        )
    if len(first) == 0:
        raise ValueError(f"{name} is empty: pass at least one pair.")
    return pairs.astype(np.int64) if first is pairs else (first, second)


def _n_axes(values):
    """Count axes, also of lists and object arrays of images that differ in size."""
    kind = getattr(getattr(values, "dtype", None), "kind", None)
    if isinstance(values, (list, tuple)) or kind == "O":
        return 1 + max((np.ndim(item) for item in values), default=0)
    return np.ndim(values)


def _as_array(pairs, name):
    """Pairs as one array of shape (n_pairs, 2, ...)."""
    try:
        pairs = np.asarray(pairs)
    except ValueError as error:
        raise ValueError(
            f"{name} cannot be made an array: pass pairs of images that differ in size"
            f" as a tuple of two lists, first and second members ({error})."
        ) from error
    if pairs.ndim < 2 or pairs.shape[1] != 2 or pairs.ndim == 3:
        raise ValueError(
            f"{name} has shape {pairs.shape}: pass rows of images, of shape"
            " (n_pairs, 2), or pairs of images, as an array (n_pairs, 2, height,"
            " width, ...) or a tuple of two arrays."
        )
    if pairs.dtype == object and pairs.size and np.ndim(pairs[0, 0]) == 0:
        pairs = np.array(pairs.tolist())  # integers as pandas gives them
    return pairs


def _read_rows(sides, images, groups):
    """Read pairs of rows; images and groups have one entry a row."""
    n = 1 + max(int(pairs.max()) for pairs in sides)
    if images is not None:
        images = ImageBlocks(images, "images")
        n = len(images)
    if groups is not None:
        groups = encode(groups, "groups", None if images is None else n)
        n = len(groups)
    for pairs, name in zip(sides, ("train", "test"), strict=True):
        wrong = (pairs < 0) | (pairs >= n)
        if wrong.any():
            raise ValueError(
                f"{name}_pairs names row {pairs[wrong][0]}, but rows run from 0 to"
                f" {n - 1}."
            )
    used = np.unique(np.concatenate(sides))
    codes = None
    if images is not None:
        codes = np.arange(-n, 0)  # of images in no pair, which are not read
        codes[used] = pixel_codes(images.subset(used))[0]
    return Protocol(sides, [], images, groups, codes, n, False)


def _read_images(sides, images, groups):
    """Read pairs of images, known by their pixels."""
    for given, name in ((images, "images"), (groups, "groups")):
        if given is not None:
            raise ValueError(
                f"{name} belongs to pairs that are rows of images, but train_pairs and"
                " test_pairs hold the images themselves: leave it out, or pass rows."
            )
    names = "train_pairs", "test_pairs"
    members = [
        ImageBlocks(member, name)
        for side, name in zip(sides, names, strict=True)
        for member in side
    ]
    codes = pixel_codes(*members)
    pairs = [np.column_stack(codes[:2]), np.column_stack(codes[2:])]
    _, first = np.unique(np.concatenate(codes), return_index=True)
    starts = np.cumsum([0, *map(len, codes)])
    place = np.searchsorted(starts, first, "right") - 1
    every = [member for side in sides for member in side]
    distinct = [
        np.asarray(every[p][row - starts[p]])
        for p, row in zip(place, first, strict=True)
    ]
    images = ImageBlocks(distinct, "train_pairs or test_pairs")
    return Protocol(pairs, [], images, None, None, len(images), True)


def _labels(same, n_pairs, name):
    """Check which pairs are the same."""
    try:
        return check_same(same, n_pairs)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
