"""Images of what a gallery holds: looked up, listed, loaded and checked."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sksiamese._gallery_images import (
    check_image,
    find_entries,
    list_probes,
    load_image,
)

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 6), dtype=np.uint8)


@pytest.mark.parametrize("form", [np.asarray, list, lambda x: dict(enumerate(x))])
def test_find_entries_forms_give_the_same_images(form):
    found = find_entries(form(IMAGES), [4, 0])
    assert list(found) == [4, 0]
    for key, image in found.items():
        assert np.array_equal(image, IMAGES[key])


def test_find_entries_rows_of_a_table_go_by_the_index():
    rows = pd.DataFrame(IMAGES.reshape(5, -1), index=list("abcde"))
    found = find_entries(rows, ["d"])
    assert np.array_equal(found["d"], IMAGES[3].ravel())
    with pytest.raises(ValueError, match="index with an entry that is there twice"):
        find_entries(pd.concat([rows, rows]), ["d"])


@pytest.mark.parametrize("key", [-1, 5, "a", None])
def test_find_entries_id_without_an_image_is_named(key):
    with pytest.raises(KeyError, match=f"no entry for the id {key!r}"):
        find_entries(IMAGES, [0, key])


def test_list_probes_of_another_number_or_kind_are_named():
    assert list_probes(IMAGES, 5) is IMAGES
    assert list(list_probes(("a.png", "b.png"), 2)) == ["a.png", "b.png"]
    with pytest.raises(ValueError, match="probe_images has 5 entries, but X has 4"):
        list_probes(IMAGES, 4)
    with pytest.raises(TypeError, match="must be a sequence of 4"):
        list_probes({0: IMAGES[0]}, 4)


def test_load_image_of_an_image_a_row_and_a_file_look_alike(tmp_path):
    image = np.full((4, 6), 80, dtype=np.uint8)
    assert load_image(image, "X", None, None) is not None
    row = load_image(image.ravel(), "X", (4, 6), None)
    assert np.array_equal(row, image)
    Image.fromarray(image).save(tmp_path / "a.png")
    read = load_image(tmp_path / "a.png", "X", None, None)
    assert read.shape[:2] == (224, 224)
    assert (read[112, 112] == 80).all()  # what is not square is padded around


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 4)), r"probes has an image of shape \(0, 4\).*no pixels"),
        (np.full((4, 4), np.nan), "probes contains NaN"),
        (np.full((4, 4), np.inf), "probes contains infinity"),
    ],
)
def test_check_image_without_colours_is_named(image, message):
    with pytest.raises(ValueError, match=message):
        check_image(image, "probes")
