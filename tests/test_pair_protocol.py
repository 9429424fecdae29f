"""Both forms of pairs become one; bad input names the argument."""

import numpy as np
import pandas as pd
import pytest

from sksiamese._pair_protocol import read_protocol

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 6, 5), dtype=np.uint8)
TRAIN, TEST = np.array([[0, 1], [1, 2], [0, 3]]), np.array([[4, 5], [4, 7]])
SAME = [True, False, True], [1, 0]
RAGGED = [image[: 6 - k % 2] for k, image in enumerate(IMAGES)]


def read(train=TRAIN, test=TEST, same=SAME, **kwargs):
    return read_protocol((train, same[0]), (test, same[1]), **kwargs)


def test_protocol_of_rows_keeps_them():
    protocol = read(images=IMAGES, groups=list("aabbccdd"))
    for found, expected in zip(protocol.pairs, (TRAIN, TEST), strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.int64
    assert [used.tolist() for used in protocol.used()] == [[0, 1, 2, 3], [4, 5, 7]]
    assert protocol.groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [same.dtype for same in protocol.same] == [bool, bool]
    # Codes tell the used images apart; the unused one has a code of its own.
    assert len(set(protocol.codes)) == 8


@pytest.mark.parametrize("form", ["array", "tuple", "lists"])
def test_protocol_of_images_knows_them_by_their_pixels(form):
    def give(pairs):
        if form == "array":
            return IMAGES[pairs]
        first, second = IMAGES[pairs[:, 0]], IMAGES[pairs[:, 1]]
        return (first, second) if form == "tuple" else (list(first), list(second))

    protocol = read(give(TRAIN), give(TEST))
    assert protocol.by_pixels
    assert protocol.n_images == 7
    blocks = {}
    for places, pixels in protocol.images.raw():
        blocks.update(zip(places, pixels, strict=True))
    for found, expected in zip(protocol.pairs, (TRAIN, TEST), strict=True):
        for row, (a, b) in zip(found, expected, strict=True):
            np.testing.assert_array_equal(blocks[row[0]], IMAGES[a])
            np.testing.assert_array_equal(blocks[row[1]], IMAGES[b])


@pytest.mark.parametrize("form", ["lists", "object columns", "object array"])
def test_protocol_of_images_of_differing_size_knows_them(form):
    def give(pairs):
        table = np.empty(pairs.shape, dtype=object)
        for place in np.ndindex(pairs.shape):
            table[place] = RAGGED[pairs[place]]
        if form == "object array":
            return table
        columns = table[:, 0], table[:, 1]
        return tuple(map(list, columns)) if form == "lists" else columns

    protocol = read(give(TRAIN), give(TEST))
    images = dict(
        pair
        for places, block in protocol.images.raw()
        for pair in zip(places, block, strict=True)
    )
    for found, expected in zip(protocol.pairs, (TRAIN, TEST), strict=True):
        for row, image in zip(found.ravel(), expected.ravel(), strict=True):
            np.testing.assert_array_equal(images[row], RAGGED[image])


def test_protocol_takes_what_pandas_and_json_give():
    train = pd.DataFrame(TRAIN).astype("Int64")
    same = np.array(SAME[0], dtype=object), pd.Series([True, False], dtype="boolean")
    protocol = read(train, TEST.tolist(), same)
    np.testing.assert_array_equal(protocol.pairs[0], TRAIN)
    assert [s.tolist() for s in protocol.same] == [SAME[0], [True, False]]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"train": [[0, 8]], "images": IMAGES}, "train_pairs names row 8, .* to 7"),
        ({"test": [[-1, 2], [0, 1]]}, "test_pairs names row -1"),
        ({"train": [[0, 9], [0, 1], [1, 2]], "groups": range(9)}, "names row 9"),
        ({"images": IMAGES, "groups": range(7)}, r"groups has shape \(7,\)"),
        ({"groups": [0, 1, None, 3, 4, 5, 6, 7]}, "groups has missing"),
        ({"train": np.zeros((3, 3), int)}, r"train_pairs has shape \(3, 3\)"),
        ({"train": np.zeros((3, 2, 4))}, "train_pairs has shape"),
        ({"test": np.zeros((2, 2))}, "test_pairs holds float64"),
        ({"test": np.zeros((0, 2), int)}, "test_pairs is empty"),
        ({"test": (IMAGES[:2], IMAGES[:2])}, "of different form"),
        ({"train": (IMAGES[:3], IMAGES[:2])}, "train_pairs has 3 first but 2 second"),
        ({"same": ([1, 0], [1, 0])}, "same_train: same has 2 entries.* 3 pairs"),
        ({"same": ([1, 0, 2], [1, 0])}, "same_train: same holds values other"),
        ({"same": (SAME[0], [0.5, 0])}, "same_test: same holds values other"),
        ({"same": (SAME[0], ["a", "b"])}, "same_test: same holds values other"),
        ({"same": (SAME[0], [np.nan, 1])}, "same_test: same holds values other"),
        ({"images": IMAGES.reshape(8, -1)}, "images holds items of shape"),
        ({"groups": 3}, r"groups has shape \(\)"),
        ({"test": ([0, 1], [2, 3])}, "test_pairs is a tuple .*column_stack"),
        ({"test": tuple(TEST)}, "test_pairs is a tuple .*column_stack"),
        ({"test": [RAGGED[:2], RAGGED[2:4]]}, "test_pairs cannot .*tuple of two lists"),
        ({"test": np.array([["a", "b"]])}, "test_pairs holds <U1"),
    ],
)
def test_protocol_bad_input_names_the_argument(kwargs, message):
    with pytest.raises(ValueError, match=message):
        read(**kwargs)


@pytest.mark.parametrize("name", ["images", "groups"])
def test_protocol_of_images_takes_nothing_by_row(name):
    with pytest.raises(ValueError, match=f"{name} belongs to pairs that are rows"):
        read(IMAGES[TRAIN], IMAGES[TEST], **{name: IMAGES})
