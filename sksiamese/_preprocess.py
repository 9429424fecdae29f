"""The module in front of the backbone: raw arrays in, standardised tensors out.

Layer 1: torch and NumPy only. Scaling, channel order, grey to RGB and resizing happen
inside the network, so that training, prediction and exported models share one path and
``uint8`` images travel and rest as ``uint8``.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from sksiamese._memory import RowReader

# Values measured at a time.
_CHUNK_VALUES = 1 << 22
# Types that hold values which float32 would round.
_WIDE = (torch.float64, torch.int32, torch.int64, torch.uint32, torch.uint64)


class Preprocess(nn.Module):
    """Standardise a batch as it comes from the caller's array.

    Parameters
    ----------
    mean, std : array-like of shape (n_channels,) or (n_features,)
        What to subtract and to divide by, in the unit of the raw values.

    image_size : tuple of int or None, default=None
        Height and width to resize to; None keeps the size.

    to_rgb : bool, default=False
        Repeat a grey image in three channels.
    """

    def __init__(self, mean, std, *, image_size=None, to_rgb=False):
        super().__init__()
        std = np.maximum(np.asarray(std, dtype=np.float64), 1e-12)
        mean = np.asarray(mean, dtype=np.float64)
        self.register_buffer("scale", torch.tensor(1 / std, dtype=torch.float32))
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64))
        self.image_size = image_size
        self.to_rgb = to_rgb

    def forward(self, x):
        """Standardise a batch.

        Parameters
        ----------
        x : Tensor of shape (n, height, width), (n, height, width, n_channels) or \
(n, n_features)
            Raw values of any dtype.

        Returns
        -------
        float32 Tensor of shape (n, n_channels, height, width) or (n, n_features)
            Standardised values; images are laid out channels last in memory.
        """
        if x.ndim == 2:
            return self._standardise(x)
        if x.ndim == 3:
            x = x[..., None]
        if self.to_rgb:
            x = x.expand(-1, -1, -1, 3)
        x = self._standardise(x).permute(0, 3, 1, 2)
        if self.image_size is not None and tuple(x.shape[2:]) != self.image_size:
            x = F.interpolate(x, self.image_size, mode="bilinear", antialias=True)
        return x

    def _standardise(self, x):
        """Subtract before rounding, so that large common offsets leave no trace."""
        exact = torch.float64 if x.dtype in _WIDE else torch.float32
        mean, scale, shape = self.mean.to(exact), self.scale, x.shape
        if len(scale) > 1 and x.ndim == 4:
            # Rows of pixels fill a processor's vector registers, single pixels do not.
            x, mean, scale = (
                x.flatten(2),
                mean.repeat(shape[2]),
                scale.repeat(shape[2]),
            )
        return ((x.to(exact) - mean).to(torch.float32) * scale).view(shape)


def measure_statistics(X, rows):
    """Mean and standard deviation of each channel or feature, chunk by chunk.

    Parameters
    ----------
    X : ndarray of shape (n, height, width[, n_channels]) or (n, n_features)
        Raw values, possibly memory-mapped.

    rows : int64 ndarray of shape (n_used,)
        Rows to measure.

    Returns
    -------
    mean : float64 ndarray of shape (n_channels,) or (n_features,)
        Means.

    std : float64 ndarray of shape (n_channels,) or (n_features,)
        Deviations; that of a constant channel or feature is 1.
    """
    if X.ndim == 3:
        X = X[..., None]
    axes = tuple(range(X.ndim - 1))
    step = max(1, _CHUNK_VALUES // max(1, X[:1].size))
    # Sums of differences from a first value do not cancel when the spread is small
    # beside the mean.
    reader = RowReader(X)
    origin = reader.take(rows[:step]).astype(np.float64).mean(axis=axes)
    total, squares = np.zeros_like(origin), np.zeros_like(origin)
    for start in range(0, len(rows), step):
        chunk = reader.take(rows[start : start + step]) - origin
        total += chunk.sum(axis=axes)
        squares += np.square(chunk).sum(axis=axes)
    n_values = len(rows) * math.prod(X.shape[1:-1])
    offset = total / n_values
    variance = np.maximum(squares / n_values - offset**2, 0)
    std = np.sqrt(variance)
    constant = std <= 1e-10 * np.abs(origin)
    return origin + offset, np.where(constant, 1.0, std)


def extremes(X):
    """Smallest and largest value, chunk by chunk.

    Parameters
    ----------
    X : ndarray of shape (n, ...)
        Raw values, possibly memory-mapped.

    Returns
    -------
    low : float
        Smallest value.

    high : float
        Largest value.
    """
    step = max(1, _CHUNK_VALUES // max(1, X[:1].size))
    reader = RowReader(X)
    chunks = (reader.take(slice(k, k + step)) for k in range(0, len(X), step))
    lows, highs = zip(*((chunk.min(), chunk.max()) for chunk in chunks), strict=True)
    return float(min(lows)), float(max(highs))
