"""What is seen of an image at a glance: its size, tones, colours and sharpness.

Layer 0, step 0.1: NumPy only. Also the reading of images in blocks of one shape, which
the search for duplicates shares.
"""

import copy
import hashlib
import re

import numpy as np

from sksiamese._memory import RowReader

# Values of one block, in which work on images is done.
_BLOCK = 1 << 21
# Beyond, powers of tones overflow in single precision.
_LARGEST = 1e12
_N_BINS = 64


class ImageBlocks:
    """Images of one or several sizes, read in blocks of one shape.

    Parameters
    ----------
    images : array-like of shape (n, height, width) or (n, height, width, n_channels), \
or list of n arrays
        Images; a list's may differ in size. Memory-mapped arrays are read in parts.

    name : str
        Name of the argument, for messages.

    Raises
    ------
    ValueError
        If these are no images.
    """

    def __init__(self, images, name):
        self._name = name
        if not isinstance(images, (list, tuple)):
            if not isinstance(getattr(images, "dtype", None), np.dtype):
                images = np.asarray(images)  # data frames, tensors of other packages
            if not images.ndim:
                raise ValueError(f"{name} is a single {images.dtype}: pass an array.")
            images = list(images) if images.dtype == object else images
        if isinstance(images, (list, tuple)):
            images = [np.asarray(image) for image in images]
            kinds = [(image.shape, image.dtype.str) for image in images]
        else:
            kinds = [(images.shape[1:], images.dtype.str)] * len(images)
        for shape, dtype in set(kinds):
            _check_kind(shape, np.dtype(dtype), name)
        self._images = images
        if not isinstance(images, list):
            self._reader = RowReader(images)
        self._kinds, self._rows = kinds, np.arange(len(images))

    def __len__(self):
        return len(self._rows)

    def subset(self, rows):
        """Select images.

        Parameters
        ----------
        rows : int64 ndarray of shape (n_selected,)
            Sorted rows.

        Returns
        -------
        ImageBlocks
            Those images, which count from 0.
        """
        selected = copy.copy(self)
        selected._rows = self._rows[rows]
        return selected

    @property
    def sizes(self):
        """Height and width of each image, int64 (n, 2)."""
        sizes = [self._kinds[row][0][:2] for row in self._rows]
        return np.array(sizes, dtype=np.int64).reshape(-1, 2)

    def _parts(self):
        """Places of the images of each shape and dtype."""
        if not isinstance(self._images, list):
            return [np.arange(len(self))] if len(self) else []
        members = {}
        for place, row in enumerate(self._rows):
            members.setdefault(self._kinds[row], []).append(place)
        return [np.array(places) for places in members.values()]

    def raw(self):
        """Read all images, as they are.

        Yields
        ------
        rows : int64 ndarray of shape (n_block,)
            Rows of the block.

        block : ndarray of shape (n_block, height, width, ...)
            Their pixels.
        """
        for part in self._parts():
            pixels = int(np.prod(self._kinds[self._rows[part[0]]][0]))
            step = max(1, _BLOCK // pixels)
            for start in range(0, len(part), step):
                places = part[start : start + step]
                rows = self._rows[places]
                if isinstance(self._images, list):
                    yield places, np.stack([self._images[row] for row in rows])
                elif rows[-1] - rows[0] + 1 == len(rows):  # a view, where it can be
                    yield places, self._reader.take(slice(rows[0], rows[-1] + 1))
                else:
                    yield places, self._reader.take(rows)

    def floats(self):
        """Read all images as floats, with a channel axis.

        Yields
        ------
        rows : int64 ndarray of shape (n_block,)
            Rows of the block.

        block : float32 ndarray of shape (n_block, height, width, n_channels)
            Their pixels.

        Raises
        ------
        ValueError
            If an image holds NaN, infinity or values beyond 1e12.
        """
        for rows, block in self.raw():
            with np.errstate(over="ignore"):
                floats = block.astype(np.float32)
            good = (np.abs(floats) <= _LARGEST).reshape(len(block), -1).all(axis=1)
            if not good.all():
                row = int(np.argmin(good))
                finite = np.isfinite(block[row]).all()
                what = f"values beyond {_LARGEST:g}" if finite else "NaN or infinity"
                raise ValueError(
                    f"{self._name} holds {what}, first in row {rows[row]}:"
                    f" {'rescale' if finite else 'replace'} them, or leave that image"
                    " out."
                )
            yield rows, floats if block.ndim == 4 else floats[..., None]


def _check_kind(shape, dtype, name):
    """Refuse what is no image."""
    if dtype.kind not in "buif":
        raise ValueError(
            f"{name} holds {dtype}, but pixels are integers or floats: read files by"
            " sksiamese.images first."
        )
    if len(shape) not in (2, 3):
        raise ValueError(
            f"{name} holds items of shape {shape}: pass images of shape (height, width)"
            " or (height, width, n_channels); rows of pixels are images after"
            " rows.reshape(-1, height, width)."
        )
    if 0 in shape:
        raise ValueError(f"{name} holds an image of shape {shape}, without pixels.")
    if len(shape) == 3 and shape[0] <= 4 < shape[2]:
        raise ValueError(
            f"{name} holds images of shape {shape}, which looks channels-first: pass"
            " np.moveaxis(images, 1, -1)."
        )


def pixel_codes(*sets):
    """Give images numbers, equal ones for equal pixels, shape and dtype.

    Parameters
    ----------
    *sets : ImageBlocks
        Images.

    Returns
    -------
    list of int64 ndarray
        Numbers of the images of each set, from 0 in order of first occurrence in a
        block.
    """
    known, all_codes = {}, []
    for images in sets:
        codes = np.empty(len(images), dtype=np.int64)
        for rows, block in images.raw():
            form = repr((block.shape[1:], block.dtype.str)).encode()
            for row, image in zip(rows, np.ascontiguousarray(block), strict=True):
                # 128 bits: two different images among a billion collide with odds of
                # one in 10^20.
                digest = hashlib.blake2b(form, digest_size=16)
                digest.update(image)
                codes[row] = known.setdefault(digest.digest(), len(known))
        all_codes.append(codes)
    return all_codes


def image_statistics(images):
    """Describe each image by a few figures that know nothing of its content.

    Parameters
    ----------
    images : ImageBlocks
        Images. Grey ones among coloured ones count as three equal channels.

    Returns
    -------
    statistics : float64 ndarray of shape (n, n_statistics)
        Size, tones, colours, sharpness and border of each image.

    names : list of str
        What they are.

    Raises
    ------
    ValueError
        If an image holds NaN, infinity or values beyond 1e12.
    """
    found = [(rows, _describe(block)) for rows, block in images.floats()]
    names = max((list(named) for _, named in found), key=len)
    statistics = np.zeros((len(images), len(names)))
    for rows, named in found:
        for column, name in enumerate(names):
            # Grey images among coloured ones: equal channels, no saturation.
            same = named.get(re.sub(r"channel \d+", "channel 1", name), 0.0)
            statistics[rows, column] = named.get(name, same)
    return statistics, names


def _describe(block):
    """Describe a block of images of one shape by figures of shape (n,)."""
    n, height, width, n_channels = block.shape
    grey = block.mean(axis=3)
    flat = grey.reshape(n, -1)
    named = {"height": np.full(n, height), "width": np.full(n, width)}
    for channel in range(n_channels):
        values = block[..., channel].reshape(n, -1)
        named[f"mean of channel {channel + 1}"] = values.mean(axis=1)
        # In single precision powers of small values vanish.
        named[f"spread of channel {channel + 1}"] = values.std(axis=1, dtype=float)
    centred = flat - flat.mean(axis=1, keepdims=True, dtype=float)
    spread = np.sqrt((centred**2).mean(axis=1))
    safe = np.where(spread > 0, spread, 1)
    named["darkest"], named["brightest"] = flat.min(axis=1), flat.max(axis=1)
    named["skewness"] = (centred**3).mean(axis=1) / safe**3
    named["entropy"] = _entropy(flat, named["darkest"], named["brightest"])
    named.update(_sharpness(grey, safe))
    named.update(_border(grey))
    if n_channels > 1:
        named["saturation"] = (block.max(axis=3) - block.min(axis=3)).mean(axis=(1, 2))
    return named


def _entropy(flat, low, high):
    """Entropy in nats of the tones between the darkest and the brightest."""
    scale = (_N_BINS - 1e-3) / np.where(high > low, high - low, 1)
    bins = ((flat - low[:, None]) * scale[:, None]).astype(np.int64)
    bins += np.arange(len(flat))[:, None] * _N_BINS
    counts = np.bincount(bins.ravel(), minlength=len(flat) * _N_BINS)
    shares = counts.reshape(len(flat), _N_BINS) / flat.shape[1]
    return -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=1)


def _sharpness(grey, spread):
    """Measure changes from pixel to pixel, also where blocks of JPEG meet."""
    n, height, width = grey.shape
    named = dict.fromkeys(("contrast of neighbours", "sharpness", "blocks of 8"), 0.0)
    if min(height, width) < 3:
        return {name: np.zeros(n) for name in named}
    down, across = np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=2))
    change = (down.mean(axis=(1, 2)) + across.mean(axis=(1, 2))) / 2
    inner = grey[:, 1:-1, 1:-1]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1]
    around += grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    curvature = np.abs(4 * inner - around).mean(axis=(1, 2))
    named["contrast of neighbours"] = change / spread
    named["sharpness"] = curvature / np.where(change > 0, change, 1)
    seams = across[:, :, 7::8].mean(axis=(1, 2)) if width > 8 else change
    named["blocks of 8"] = seams / np.where(change > 0, change, 1)
    return named


def _border(grey):
    """Describe the frame, and count rows and columns of one tone."""
    frame = np.concatenate(
        [grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], axis=1
    )
    same_row = (grey == grey[:, :, :1]).all(axis=2).mean(axis=1)
    same_column = (grey == grey[:, :1, :]).all(axis=1).mean(axis=1)
    return {
        "brightness of the border": frame.mean(axis=1),
        "spread of the border": frame.std(axis=1, dtype=float),
        "blank rows": same_row,
        "blank columns": same_column,
    }
