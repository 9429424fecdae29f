"""Waves of medium length, by which copies of an image are known (layer 0: NumPy)."""

import numpy as np

# Images are compared by their waves of 2 to 11 periods a side: slower ones are alike in
# most images of a kind, faster ones are lost in coding.
_SIDE, _LOW, _HIGH, _COARSE, _SHIFTED = 32, 2, 11, 7, 9


class Waves:
    """Waves by which images are compared.

    Parameters
    ----------
    smallest : ndarray of shape (2,)
        Height and width of the smallest image, which limits the waves.
    """

    def __init__(self, smallest):
        down = np.fft.fftfreq(_SIDE, 1 / _SIDE)[:, None]
        across = np.arange(_SIDE // 2 + 1)[None]
        down, across = np.broadcast_arrays(down, across)
        length = np.hypot(down, across)
        self._used = (length >= _LOW) & (length <= min(_HIGH, 0.4 * smallest.min()))
        self._used &= (across > 0) | (down > 0)  # the others mirror these
        down, across, length = (w[self._used] for w in (down, across, length))
        self.coarse, self.shifted = length <= _COARSE, length <= _SHIFTED
        # What a shift of a pixel does to the product of two spectra.
        step = np.arange(-1, 2)
        turn = (step[:, None, None] * down / smallest[0]) + (
            step[:, None] * across / smallest[1]
        )
        turn = 2 * np.pi * turn.reshape(9, -1)
        shifts = np.concatenate([np.cos(turn), -np.sin(turn)], axis=1)
        self.shifts = shifts.T.astype(np.float32)
        fade = np.sqrt(np.sin(np.pi * (np.arange(_SIDE) + 0.5) / _SIDE))
        self._window = np.outer(fade, fade).astype(np.float32)

    def measure(self, images):
        """Measure the waves of images.

        Parameters
        ----------
        images : ImageBlocks
            Images.

        Returns
        -------
        complex64 ndarray of shape (n, n_waves)
            Their waves, of unit length, or 0 for images of one tone.
        """
        spectra = np.zeros((len(images), self._used.sum()), dtype=np.complex64)
        for rows, block in images.floats():
            loudest = np.abs(block).max(axis=(1, 2, 3), keepdims=True)
            small = _resize((block / np.where(loudest > 0, loudest, 1)).mean(axis=3))
            small -= small.mean(axis=(1, 2), keepdims=True)
            waves = np.fft.rfft2(small * self._window)[:, self._used]
            # What is left of one tone is rounding, and correlates with nothing.
            waves[np.linalg.norm(waves, axis=1) < 1e-4] = 0
            spectra[rows] = unit(waves)
        return spectra


def _resize(grey):
    """Average grey images over a grid of cells, (n, _SIDE, _SIDE)."""
    for _ in range(2):  # columns, then rows
        size = grey.shape[2]
        edges, pixels = np.linspace(0, size, _SIDE + 1), np.arange(size)
        overlap = np.minimum(edges[1:, None], pixels + 1)
        overlap -= np.maximum(edges[:-1, None], pixels)
        weights = (overlap.clip(0) * (_SIDE / size)).astype(np.float32)
        shape = (*grey.shape[:2], _SIDE)
        grey = (grey.reshape(-1, size) @ weights.T).reshape(shape).transpose(0, 2, 1)
    return np.ascontiguousarray(grey)


def as_real(spectra):
    """Put real and imaginary parts side by side; their products are correlations.

    Parameters
    ----------
    spectra : complex64 ndarray of shape (n, n_waves)
        Waves of images.

    Returns
    -------
    float32 ndarray of shape (n, 2 * n_waves)
        The same as real numbers.
    """
    return np.concatenate([spectra.real, spectra.imag], axis=1)


def unit(vectors):
    """Scale vectors to length one; those of length zero stay.

    Parameters
    ----------
    vectors : ndarray of shape (n, n_features)
        Vectors.

    Returns
    -------
    ndarray of shape (n, n_features)
        The same of length one.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)
