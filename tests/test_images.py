"""Folders and tables of files: labels, groups, and what is skipped or refused."""

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sksiamese.images import ImageReadError, load_image_folder, load_image_table

NAMES = ["0007", "0008", "0100", "0101", "0102", "0103"]


@pytest.fixture
def collection(tmp_path):
    """Write six grey files, the k-th all 10 k, and return their folder."""
    for k, name in enumerate(NAMES):
        Image.fromarray(np.full((6, 8), 10 * k, np.uint8)).save(
            tmp_path / f"{name}.png"
        )
    return tmp_path


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "image_name": NAMES,
            "patient_id": ["IP_1", "IP_1", "IP_2", "IP_2", "IP_3", "IP_3"],
            "target": [0, 0, 1, 0, 1, 0],
            "benign_malignant": [*["benign"] * 2, *["malignant", "benign"] * 2],
        }
    )


def read(table, collection, **kwargs):
    """Load the table of the tests."""
    given = {
        "image_size": (6, 8),
        "image_column": "image_name",
        "label_column": "target",
        "root": collection,
        "suffix": ".png",
        **kwargs,
    }
    return load_image_table(table, **given)


@pytest.fixture
def folder(collection):
    """Sort the six files into folders of two classes, one with a folder inside."""
    for k, name in enumerate(NAMES):
        place = collection / "classes" / ["benign", "malignant/deep"][k % 2]
        place.mkdir(parents=True, exist_ok=True)
        (collection / f"{name}.png").rename(place / f"C{k // 2}_{name}.png")
    return collection / "classes"


# --- folders --------------------------------------------------------------------------


def test_folder_gives_images_labels_and_names(folder):
    (folder / "benign" / "notes.txt").write_text("not an image")
    (folder / "benign" / ".hidden.png").write_bytes(b"")
    (folder / ".cache").mkdir()
    data = load_image_folder(folder, (6, 8))
    assert data.images[:, 0, 0].tolist() == [0, 20, 40, 10, 30, 50]
    assert data.images.dtype == np.uint8
    assert data.target.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.target_names.tolist() == ["benign", "malignant"]
    assert data.filenames[3].endswith("C0_0008.png")
    assert data.groups is None
    assert data.skipped == []


def test_folder_without_size_reads_nothing(folder):
    (folder / "benign" / "broken.png").write_bytes(b"broken")
    data = load_image_folder(folder)
    assert data.images is None
    assert len(data.filenames) == len(data.target) == 7


def test_folder_reads_groups_from_names(folder):
    data = load_image_folder(folder, 4, group_pattern=r"C(\d+)_")
    assert data.groups.tolist() == ["0", "1", "2", "0", "1", "2"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"C\d+_", "has 0 groups in parentheses"),
        (r"(C)(\d+)_", "has 2 groups in parentheses"),
        (r"C([12])?\d?_", "finds no group in 2 of 6 names"),
    ],
)
def test_folder_with_pattern_that_does_not_fit_raises(folder, pattern, message):
    with pytest.raises(ValueError, match=message):
        load_image_folder(folder, 4, group_pattern=pattern)


def test_folder_that_is_none_or_empty_raises(folder, tmp_path):
    with pytest.raises(ValueError, match="is not a folder"):
        load_image_folder(folder / "nothing", 4)
    with pytest.raises(ValueError, match="holds no folders"):
        load_image_folder(folder / "benign", 4)
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty has no image"):
        load_image_folder(folder, 4)


def test_folder_skips_broken_files_on_request(folder):
    (folder / "benign" / "broken.png").write_bytes(b"broken")
    with pytest.raises(ImageReadError, match=r'png cannot .*; on_error="skip"'):
        load_image_folder(folder, 4)
    with pytest.warns(UserWarning, match=r"Skipped 1 of 7 images.*broken\.png"):
        data = load_image_folder(folder, 4, on_error="skip", group_pattern="/(.*)_?")
    assert len(data.images) == len(data.target) == len(data.filenames) == 6
    assert len(data.groups) == 6
    assert [e.filename for e in data.skipped] == [str(folder / "benign/broken.png")]


def test_folder_with_cache_is_mapped(folder, tmp_path):
    names = [folder / "benign" / f"{k}.png" for k in range(40)]
    for name in names:
        Image.new("L", (8, 6)).save(name)
    data = load_image_folder(folder, 4, cache_dir=tmp_path / "cache", n_jobs=2)
    assert isinstance(data.images, np.memmap)


# --- tables ---------------------------------------------------------------------------


def test_table_gives_labels_and_patients(collection, table):
    data = read(table, collection, group_column="patient_id")
    assert data.images[:, 0, 0].tolist() == [0, 10, 20, 30, 40, 50]
    assert data.target.tolist() == table["target"].tolist()
    assert data.target_names.tolist() == [0, 1]
    assert data.groups.tolist() == table["patient_id"].tolist()


def test_table_with_text_labels_sorts_them(collection, table):
    data = read(table, collection, label_column="benign_malignant")
    assert data.target.tolist() == table["target"].tolist()
    assert data.target_names.tolist() == ["benign", "malignant"]


def test_csv_keeps_leading_zeros_and_finds_files_beside_it(collection, table):
    path = collection / "truth.csv"
    table.to_csv(path, index=False)
    data = read(path, None)
    assert data.filenames[0] == str(collection / "0007.png")
    assert read(str(path), collection).target.tolist() == data.target.tolist()


def test_table_of_one_column_per_class_keeps_their_order(collection, table):
    table["MEL"], table["AKIEC"] = table["target"] * 1.0, 1.0 - table["target"]
    data = read(table, collection, label_column=["MEL", "AKIEC"])
    assert data.target_names.tolist() == ["MEL", "AKIEC"]
    assert data.target.tolist() == (1 - table["target"]).tolist()


@pytest.mark.parametrize("row", [(0, 0), (1, 1), (0.5, 0.5), (np.nan, 1)])
def test_table_with_rows_of_no_single_class_raises(collection, table, row):
    table["MEL"], table["NV"] = 1.0, 0.0
    table.loc[3, ["MEL", "NV"]] = row
    with pytest.raises(ValueError, match=r"row 3|Row 3"):
        read(table, collection, label_column=["MEL", "NV"])


@pytest.mark.parametrize("column", ["image_name", "target", "patient_id"])
def test_table_with_empty_cells_names_column_and_row(collection, table, column):
    table[column] = table[column].astype(object)
    table.loc[2, column] = None
    message = f"Column '{column}' is empty in 1 of 6 rows, such as row 2"
    with pytest.raises(ValueError, match=message):
        read(table, collection, group_column="patient_id")


def test_table_with_labels_of_two_kinds_raises(collection, table):
    table["target"] = [0, "no", 1, 0, 1, 0]
    with pytest.raises(ValueError, match="'target' mixes text and numbers"):
        read(table, collection)


def test_table_without_column_or_rows_raises(collection, table):
    with pytest.raises(ValueError, match="no column 'age', only"):
        read(table, collection, group_column="age")
    with pytest.raises(ValueError, match="no rows"):
        read(table[:0], collection)


def test_table_skips_missing_files_on_request(collection, table):
    (collection / "0100.png").unlink()
    with pytest.raises(ImageReadError, match="there is no such file"):
        read(table, collection)
    with pytest.warns(UserWarning, match="Skipped 1 of 6"):
        data = read(table, collection, on_error="skip", group_column="patient_id")
    assert data.target.tolist() == [0, 0, 0, 1, 0]
    assert data.groups.tolist() == ["IP_1", "IP_1", "IP_2", "IP_3", "IP_3"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"value_range": (5, 5)}, "value_range must be (black, white)"),
        ({"value_range": (1, 2, 3)}, "value_range must be (black, white)"),
        ({"image_size": (0, 4)}, "image_size must be (height, width)"),
        ({"image_size": (3, 4, 5)}, "image_size must be (height, width)"),
        ({"mode": "gray"}, "'mode' parameter of load_image_table"),
        ({"aspect": "keep"}, "'aspect' parameter of load_image_table"),
        ({"on_error": "ignore"}, "'on_error' parameter of load_image_table"),
    ],
)
def test_wrong_parameter_is_named(collection, table, params, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read(table, collection, **params)
