"""Checks of images, shapes, pairs and announced classes."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator

from sksiamese._validation import (
    check_classes,
    check_images,
    check_pairs,
    check_size,
    input_shape,
)

GREY = np.random.default_rng(0).integers(0, 255, (6, 4, 5), dtype=np.uint8)
RGB = np.random.default_rng(1).random((6, 4, 5, 3))
ROWS = GREY.reshape(6, -1)


class Estimator(BaseEstimator):
    """All that check_images asks of an estimator."""

    def __init__(self, image_shape=None):
        self.image_shape = image_shape


def check_in_fit(X, image_shape=None):
    return check_images(Estimator(image_shape), X, reset=True)


def check_after_fit(X_fit, X, image_shape=None):
    estimator = Estimator(image_shape)
    check_images(estimator, X_fit, reset=True)
    return check_images(estimator, X, reset=False)


@pytest.mark.parametrize(
    ("X", "image_shape", "seen", "n_features"),
    [
        (ROWS, None, (20,), 20),
        (GREY, None, (4, 5), 4),
        (RGB, None, (4, 5, 3), 4),
        (GREY[..., None], None, (4, 5, 1), 4),
        (GREY[:1], None, (4, 5), 4),
        (ROWS, (4, 5), (4, 5), 20),
        (ROWS, [5, 4], (5, 4), 20),
        (ROWS, (2, 5, 2), (2, 5, 2), 20),
        (GREY, (4, 5), (4, 5), 20),
        (RGB, np.array([4, 5, 3]), (4, 5, 3), 60),
    ],
)
def test_images_in_fit_record_their_shape(X, image_shape, seen, n_features):
    estimator = Estimator(image_shape)
    out = check_images(estimator, X, reset=True)
    assert estimator.image_shape_ == seen
    assert estimator.n_features_in_ == n_features
    np.testing.assert_array_equal(out, X.reshape(len(X), *seen), strict=True)


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.uint16, np.int64, np.float16, np.float32, np.float64, bool]
)
@pytest.mark.parametrize("image_shape", [None, (4, 5)])
def test_images_keep_their_dtype_and_memory(dtype, image_shape):
    X = ROWS.astype(dtype) if image_shape else GREY.astype(dtype)
    out = check_after_fit(X, X, image_shape)
    assert out.dtype == dtype and np.shares_memory(out, X)


@pytest.mark.parametrize("image_shape", [None, (4, 5)])
def test_memory_map_is_not_copied(image_shape, tmp_path):
    X = ROWS if image_shape else GREY
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    out = check_after_fit(mapped, mapped, image_shape)
    assert np.shares_memory(out, mapped) and out.shape == GREY.shape
    np.testing.assert_array_equal(out, GREY)


@pytest.mark.parametrize("convert", [list, np.ndarray.tolist, torch.from_numpy])
@pytest.mark.parametrize("X", [ROWS, GREY, RGB], ids=["rows", "grey", "rgb"])
def test_other_containers_give_the_same_array(X, convert):
    np.testing.assert_array_equal(check_after_fit(X, convert(X)), X)


def test_data_frame_keeps_its_feature_names():
    frame = pd.DataFrame(ROWS, columns=[f"pixel_{i}" for i in range(20)])
    estimator = Estimator((4, 5))
    np.testing.assert_array_equal(check_images(estimator, frame, reset=True), GREY)
    assert list(estimator.feature_names_in_) == list(frame.columns)
    np.testing.assert_array_equal(check_images(estimator, frame, reset=False), GREY)
    with pytest.raises(ValueError, match="feature names should match"):
        check_images(estimator, frame.iloc[:, ::-1], reset=False)


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity")])
@pytest.mark.parametrize("shape", [(6, 20), (6, 4, 5), (6, 4, 5, 3)])
def test_values_that_are_not_finite_raise(value, word, shape):
    X = np.zeros(shape)
    X[(-1,) * X.ndim] = value
    with pytest.raises(ValueError, match=f"X contains {word}"):
        check_in_fit(X)
    with pytest.raises(ValueError, match=f"X contains {word}"):
        check_after_fit(np.zeros(shape), X)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_first_images_raise_and_say_how_to_turn_them(channels):
    X = np.arange(2.0 * channels * 5 * 6).reshape(2, channels, 5, 6)
    with pytest.raises(ValueError, match=r"channels-first.*np\.moveaxis\(X, 1, -1\)"):
        check_in_fit(X)
    turned = check_in_fit(np.moveaxis(X, 1, -1))
    assert turned.shape == (2, 5, 6, channels)
    np.testing.assert_array_equal(turned[1, 2, 3], X[1, :, 2, 3])


@pytest.mark.parametrize("shape", [(2, 3, 9, 3), (2, 4, 4, 4), (2, 1, 9, 1)])
def test_low_images_with_channels_last_are_not_taken_for_channels_first(shape):
    assert check_in_fit(np.zeros(shape)).shape == shape


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((2, 3, 4, 5, 3)), r"X has 5 axes.*\(n, height, width, n_channels\)"),
        (np.zeros((2, 0, 5)), r"X has shape \(2, 0, 5\).*at least one pixel"),
        (np.zeros((2, 5, 0)), "at least one pixel"),
        (np.zeros((2, 5, 5, 0)), "at least one pixel"),
        (np.zeros((2, 0)), r"0 feature\(s\)"),
        (np.zeros((0, 4, 5)), r"0 sample\(s\)"),
        (np.zeros(5), "Expected 2D array"),
        (None, "X is None: image loaders without image_size"),
        ([["a", "b"]], "numeric"),
        (np.zeros((2, 3), complex), "Complex data"),
    ],
)
def test_input_that_is_no_images_raises(X, message):
    with pytest.raises(ValueError, match=message):
        check_in_fit(X)


@pytest.mark.parametrize("shape", [(), (4,), (4, 5, 3, 2), (4, 0), (-4, -5), (4.0, 5)])
@pytest.mark.parametrize("X", [ROWS, GREY], ids=["rows", "images"])
def test_image_shape_that_is_no_shape_raises(shape, X):
    expected = r"image_shape must be \(height, width\) or \(height, width, n_channels\)"
    with pytest.raises(ValueError, match=f"{expected}.*{re.escape(repr(shape))}"):
        check_in_fit(X, shape)


@pytest.mark.parametrize("shape", [(4, 4), (4, 5, 3), (20, 2)])
def test_rows_of_another_length_than_image_shape_raise(shape):
    with pytest.raises(ValueError, match="X has 20 columns, but image_shape=.*set"):
        check_in_fit(ROWS, shape)
    with pytest.raises(ValueError, match="X has 19 columns, but image_shape=.*set"):
        check_after_fit(ROWS, ROWS[:, :-1], (4, 5))


@pytest.mark.parametrize("shape", [(5, 4), (4, 4), (4, 5, 1), (2, 10)])
def test_images_of_another_shape_than_image_shape_raise(shape):
    expected = r"images of shape \(4, 5\), but image_shape=.*image_shape=None"
    with pytest.raises(ValueError, match=expected):
        check_in_fit(GREY, shape)


@pytest.mark.parametrize(
    ("X_fit", "X"),
    [
        (GREY, GREY[:, :-1]),
        (GREY, GREY[:, :, :-1]),
        (GREY, GREY.transpose(0, 2, 1)),
        (GREY, GREY[..., None]),
        (GREY, GREY[0]),
        (GREY, ROWS),
        (RGB, RGB[..., :2]),
        (RGB, RGB[0]),
        (ROWS, GREY),
        (ROWS, RGB),
    ],
)
def test_images_of_another_shape_than_in_fit_raise(X_fit, X):
    seen, given = (re.escape(str(a.shape[1:])) for a in (X_fit, X))
    expected = f"shape {given}, but Estimator was fitted on samples of shape {seen}"
    with pytest.raises(ValueError, match=f"{expected}: resize or reshape"):
        check_after_fit(X_fit, X)


@pytest.mark.parametrize(
    ("X_fit", "X", "mode"),
    [(RGB, RGB[..., 0], "rgb"), (GREY, np.stack([GREY] * 3, axis=-1), "grey")],
)
def test_images_of_other_channels_are_told_how_to_be_read(X_fit, X, mode):
    """New files may all be grey where the model was fitted in colour."""
    with pytest.raises(ValueError, match=f'read the files with mode="{mode}"'):
        check_after_fit(X_fit, X)


def test_vectors_of_another_length_than_in_fit_raise():
    with pytest.raises(ValueError, match="19 features, but Estimator is expecting 20"):
        check_after_fit(ROWS, ROWS[:, :-1])


@pytest.mark.parametrize(("X_fit", "X"), [(ROWS, GREY), (GREY, ROWS)])
def test_rows_and_images_of_image_shape_are_the_same_to_a_fitted_estimator(X_fit, X):
    """Not told apart by scikit-learn's count of features, the height for images."""
    np.testing.assert_array_equal(check_after_fit(X_fit, X, (4, 5)), GREY)


@pytest.mark.parametrize("value", [(2, 3), [2, 3], np.array([2, 3]), (np.int8(2), 3)])
def test_size_is_returned_as_tuple_of_int(value):
    out = check_size("image_size", value, (2,))
    assert out == (2, 3) and [type(part) for part in out] == [int, int]


@pytest.mark.parametrize("value", [(2,), (2, 3, 1), (0, 3), (2, -1), (2.5, 3), "ab"])
def test_size_of_wrong_form_raises(value):
    expected = rf"image_size must be \(height, width\) in pixels, got .*{value[0]}"
    with pytest.raises(ValueError, match=expected):
        check_size("image_size", value, (2,))


@pytest.mark.parametrize(
    ("image_shape", "options", "expected"),
    [
        ((7,), {}, (7,)),
        ((4, 5), {}, (1, 4, 5)),
        ((4, 5, 2), {}, (2, 4, 5)),
        ((4, 5), {"to_rgb": True}, (3, 4, 5)),
        ((4, 5, 1), {"to_rgb": True, "image_size": (8, 9)}, (3, 8, 9)),
        ((4, 5, 4), {"image_size": (2, 3)}, (4, 2, 3)),
    ],
)
def test_input_shape_is_that_of_the_preprocessed_sample(image_shape, options, expected):
    assert input_shape(image_shape, **options) == expected


@pytest.mark.parametrize("sample", [(20,), (4, 5), (4, 5, 3)])
@pytest.mark.parametrize("form", ["array", "list", "tuple", "lists"])
def test_pairs_are_taken_apart(sample, form):
    first, second = np.random.default_rng(0).random((2, 7, *sample))
    pairs = {
        "array": np.stack([first, second], axis=1),
        "list": list(zip(first, second, strict=True)),
        "tuple": (first, second),
        "lists": (first.tolist(), second.tolist()),
    }[form]
    out = check_pairs(pairs)
    np.testing.assert_array_equal(out[0], first)
    np.testing.assert_array_equal(out[1], second)


def test_pairs_keep_dtype_and_memory():
    pairs = np.stack([GREY, GREY[::-1]], axis=1)
    for member in check_pairs(pairs):
        assert member.dtype == np.uint8 and np.shares_memory(member, pairs)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ((GREY,), r"pairs is a tuple of 1: pass \(first, second\)"),
        ((GREY, GREY, GREY), r"tuple of 3: pass \(first, second\)"),
        ((GREY, GREY[:-1]), "pairs has 6 first but 5 second members"),
        (np.zeros((5, 3, 7)), r"shape \(5, 3, 7\).*\(n_pairs, 2, ...\) or a tuple"),
        (np.zeros((5, 2)), r"shape \(5, 2\).*\(n_pairs, 2, ...\) or a tuple"),
        ([GREY, GREY], r"shape \(2, 6, 4, 5\).*or a tuple of two arrays"),
        (np.full((5, 2, 3), np.nan), "contains NaN"),
        (np.zeros((0, 2, 3)), r"0 sample\(s\)"),
    ],
)
def test_pairs_of_wrong_form_raise(pairs, message):
    with pytest.raises(ValueError, match=message):
        check_pairs(pairs)


@pytest.mark.parametrize(
    ("y", "classes", "known", "expected"),
    [
        ([3, 1, 3], None, None, [1, 3]),
        ([3, 1], [5, 3, 1], None, [1, 3, 5]),
        ([3, 3], None, np.array([1, 3]), [1, 3]),
        ([3, 3], [3, 1, 1], np.array([1, 3]), [1, 3]),
        (["b"], ["b", "a"], None, ["a", "b"]),
    ],
)
def test_classes_are_sorted_and_remembered(y, classes, known, expected):
    assert list(check_classes(y, classes, known)) == expected


@pytest.mark.parametrize(
    ("y", "classes", "known", "message"),
    [
        ([1, 9], [1, 2], None, r"y has labels \[9\].*classes \[1 2\].*first call"),
        ([1, 9], None, np.array([1, 2]), r"y has labels \[9\].*enroll"),
        ([1, 2], [1, 2, 3], np.array([1, 2]), r"classes=\[1, 2, 3\] differs.*leave"),
    ],
)
def test_classes_that_were_not_announced_raise(y, classes, known, message):
    with pytest.raises(ValueError, match=message):
        check_classes(y, classes, known)


def test_integer_images_of_the_fitted_shape_need_no_check(monkeypatch):
    estimator = Estimator()
    check_images(estimator, GREY, reset=True)
    with monkeypatch.context() as patch:
        patch.delattr("sksiamese._validation.validate_data")
        assert check_images(estimator, GREY, reset=False) is GREY
    for wrong in (GREY[:0], GREY[:, 1:], GREY[None], ROWS):
        with pytest.raises(ValueError):
            check_images(estimator, wrong, reset=False)
    floats = GREY.astype(np.float32)
    floats[1, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        check_images(estimator, floats, reset=False)
