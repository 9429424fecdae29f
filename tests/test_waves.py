"""Waves of images: alike for copies, whatever their size, brightness and contrast."""

import numpy as np
import pytest

from sksiamese._image_statistics import ImageBlocks
from sksiamese._waves import Waves, as_real, unit


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def measure(*sets):
    """Waves of several sets, comparable with each other, as real numbers."""
    smallest = np.min([np.shape(images)[1:3] for images in sets], axis=0)
    waves = Waves(smallest)
    found = [as_real(waves.measure(ImageBlocks(images, "X"))) for images in sets]
    return waves, found


def test_waves_have_unit_length_and_as_many_as_their_number():
    waves, (found,) = measure(noise(5, 40, 36))
    assert found.shape == (5, len(waves.shifts))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 0.3, 1e9])
def test_waves_are_those_of_a_brighter_image_of_other_contrast(scale):
    X = noise(5, 40, 36)
    _, (one, two) = measure(X, scale * (X + 2))
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_waves_are_those_of_a_larger_image():
    X = noise(5, 40, 36)
    _, (one, two) = measure(X, np.kron(X, np.ones((1, 3, 2))))
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_waves_of_one_tone_are_none():
    X = np.full((2, 40, 40), 0.3) * [[[1]], [[1e-20]]]
    assert not measure(X)[1][0].any()


def test_waves_turn_back_a_shift_by_a_pixel():
    X = noise(6, 60, 60)
    X = np.stack([np.cumsum(np.cumsum(x - 0.5, 0), 1) for x in X])  # smooth
    waves, (one, two) = measure(X[:, 1:], X[:, :-1])
    one, two = (
        v[:, : v.shape[1] // 2] + 1j * v[:, v.shape[1] // 2 :] for v in (one, two)
    )
    product = as_real(np.conj(one) * two)
    unshifted = product[:, : one.shape[1]].sum(axis=1)
    assert ((product @ waves.shifts).max(axis=1) > unshifted).all()


def test_unit_leaves_zeros():
    vectors = np.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(unit(vectors), [[0.6, 0.8], [0, 0]])
