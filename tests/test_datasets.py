"""Public sets of images: where files lie, what they hold, and the real ones."""

import os
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from sksiamese._registry import SETS
from sksiamese.datasets import fetch_images
from tests._publisher import assert_is, digit_images, leave_home, medmnist_file

FOLDER = os.environ.get("SKSIAMESE_DATA")
real = pytest.mark.skipif(
    FOLDER is None, reason="SKSIAMESE_DATA names no folder of real data sets"
)


@pytest.fixture(autouse=True)
def _home(monkeypatch, tmp_path):
    leave_home(monkeypatch, tmp_path)


def pets(count=6):
    """Make the arrays of a small file of cats and dogs."""
    rng = np.random.default_rng(0)
    labels = np.arange(count, dtype=np.uint8) % 2
    arrays = {"class_names": np.array(["cat", "dog"])}
    for split in ("train", "test"):
        images = rng.integers(0, 256, (count, 64, 64), dtype=np.uint8)
        arrays[f"{split}_images"] = images
        arrays[f"{split}_labels"] = labels
        arrays[f"{split}_number"] = np.arange(count, dtype=np.int16)
    return arrays


def save_pets(folder, count=6, **changed):
    folder.mkdir(parents=True, exist_ok=True)
    arrays = pets(count) | changed
    arrays = {name: array for name, array in arrays.items() if array is not None}
    np.savez(folder / "cats_dogs_64_gray.npz", **arrays)
    return folder


@pytest.mark.parametrize("given, shared, own, found", [
    (1, 2, 3, 1),
    (0, 2, 3, 2),
    (0, None, 3, 3),
    (0, 0, 3, 3),
    (None, 2, 3, None),
    (0, 0, 0, None),
])  # fmt: skip
def test_folders_are_searched_in_order(
    tmp_path, monkeypatch, given, shared, own, found
):
    """Number of images in each folder; 0 leaves a folder out, None leaves it empty."""
    home = tmp_path / "home" / "sksiamese_data"
    for folder, count in (("given", given), ("shared", shared)):
        (tmp_path / folder).mkdir()
        if count:
            save_pets(tmp_path / folder, count)
    if own:
        save_pets(home, own)
    if shared != 0:
        monkeypatch.setenv("SKSIAMESE_DATA", str(tmp_path / "shared"))
    options = {} if given == 0 else {"data_home": tmp_path / "given"}
    if found is None:
        with pytest.raises(
            FileNotFoundError, match="There is no cats_dogs_64_gray.npz"
        ):
            fetch_images("cats_dogs", **options)
    else:
        assert len(fetch_images("cats_dogs", **options).images) == 2 * found


def test_tilde_is_the_users_folder(tmp_path):
    save_pets(tmp_path / "home" / "mine")
    assert len(fetch_images("cats_dogs", data_home="~/mine").images) == 12


@pytest.mark.parametrize(
    "name", ["malaria_cells", "ham10000", "brain_mri", "cats_dogs"]
)
def test_sets_without_download_say_how_to_make_the_file(name, tmp_path):
    spec = SETS[name]
    with pytest.raises(FileNotFoundError) as caught:
        fetch_images(name, data_home=tmp_path)
    message = str(caught.value)
    assert "download=True" not in message
    for part in (spec.page, spec.licence, str(tmp_path / spec.file), *spec.classes):
        assert part in message
    # The file made after the message is taken.
    form = re.findall(r"(\w+) \((\w+), \(n,([ \d,]*)\)\)", message)
    kinds = {"uint8": "u1", "integer": "i4", "str": "U9"}
    np.savez(tmp_path / spec.file, **{
        array: np.zeros((3, *map(int, row.replace(",", " ").split())), kinds[kind])
        for array, kind, row in form
    })  # fmt: skip
    data = fetch_images(name, data_home=tmp_path)
    assert len(data.images) == 3 * max(1, len(spec.splits))
    assert set(spec.fields) <= set(data)


@pytest.mark.parametrize("name", ["cifar10", None, ["mnist"]])
def test_unknown_name_is_refused(name):
    with pytest.raises(
        ValueError, match="name must be one of mnist, omniglot, pathmnist"
    ):
        fetch_images(name)


def test_columns_run_through_the_splits(tmp_path):
    arrays = pets()
    data = fetch_images("cats_dogs", data_home=save_pets(tmp_path))
    assert_is(data, {
        "images": np.r_[arrays["train_images"], arrays["test_images"]],
        "target": [0, 1] * 6,
        "number": [*range(6)] * 2,
        "split": ["train"] * 6 + ["test"] * 6,
        "target_names": ["cat", "dog"],
    })  # fmt: skip
    assert data.groups is None
    assert data.number.dtype == np.int64
    assert "train (6 images): cat: 3; dog: 3." in data.DESCR


def test_names_of_classes_may_be_left_out(tmp_path):
    data = fetch_images("cats_dogs", data_home=save_pets(tmp_path, class_names=None))
    assert data.target_names.tolist() == ["cat", "dog"]


def test_multi_label_set_has_a_column_for_each_finding(tmp_path):
    images, _ = digit_images(9)
    findings = np.random.default_rng(0).integers(0, 2, (9, 14), dtype=np.uint8)
    findings[0] = 0
    np.savez(tmp_path / "chestmnist.npz", **medmnist_file(images, findings))
    data = fetch_images("chestmnist", data_home=tmp_path)
    assert_is(data, {"images": images, "target": findings})
    assert len(data.target_names) == 14
    assert f"train (3 images): atelectasis: {findings[:3, 0].sum()};" in data.DESCR
    assert "target has a column for each class" in data.DESCR


def test_colour_set_keeps_its_channels_last(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (9, 28, 28, 3), dtype=np.uint8)
    labels = np.arange(9, dtype=np.uint8)[:, None]
    np.savez(tmp_path / "pathmnist.npz", **medmnist_file(images, labels))
    data = fetch_images("pathmnist", data_home=tmp_path)
    assert_is(data, {"images": images, "target": np.arange(9)})
    assert data.target_names[8] == "colorectal adenocarcinoma epithelium"


def changed(**arrays):
    return lambda path: save_pets(path.parent, **arrays)


def cut(path):
    save_pets(path.parent)
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    save_pets(path.parent)
    content = bytearray(path.read_bytes())
    content[content.index(pets()["train_images"].tobytes()[:64]) + 5] ^= 1
    path.write_bytes(content)


def save_one_array(path):
    with open(path, "wb") as file:
        np.save(file, pets()["train_images"])


BROKEN = {
    "no array": (changed(test_number=None), "it has no array test_number"),
    "float": (
        changed(train_images=np.zeros((6, 64, 64))),
        "of type float64, not uint8",
    ),
    "size": (
        changed(train_images=np.zeros((6, 28, 28), np.uint8)),
        r"train_images has shape \(6, 28, 28\), not \(6, 64, 64\)",
    ),
    "colour": (
        changed(train_images=np.zeros((6, 64, 64, 3), np.uint8)),
        r"train_images has shape \(6, 64, 64, 3\)",
    ),
    "length": (
        changed(test_labels=np.zeros(5, int)),
        r"test_labels has shape \(5,\), not \(6,\)",
    ),
    "empty": (
        changed(test_images=np.zeros((0, 64, 64), np.uint8)),
        r"test_images has shape \(0, 64, 64\), not \(n, 64, 64\)",
    ),
    "scalar": (changed(train_images=np.uint8(1)), r"train_images has shape \(\)"),
    "kind": (changed(train_number=np.zeros(6)), "train_number is of type float64"),
    "label": (
        changed(test_labels=np.full(6, 2)),
        "labels run from 0 to 2, where 0 to 1",
    ),
    "negative": (changed(test_labels=np.full(6, -1)), "labels run from -1 to 1"),
    "classes": (
        changed(class_names=np.array(["dog", "cat"])),
        r"class_names are \['dog', 'cat'\], not \['cat', 'dog'\]",
    ),
    "pickle": (changed(train_number=np.full(6, None)), "allow_pickle=False"),
    "text": (lambda path: path.write_text("<html>Not found</html>"), "no npz archive"),
    "nothing": (lambda path: path.write_bytes(b""), "no npz archive"),
    "array": (save_one_array, "no npz archive"),
    "cut": (cut, "no npz archive, or not all of one"),
    "flipped": (flip, "Bad CRC-32"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_file_is_refused_with_its_name_and_the_reason(case, tmp_path):
    save, reason = BROKEN[case]
    path = tmp_path / "cats_dogs_64_gray.npz"
    save(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=reason) as caught:
        fetch_images("cats_dogs", data_home=tmp_path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


COUNTS = {
    "mnist": {
        "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    },
    "pneumoniamnist": {"train": [1214, 3494], "val": [135, 389], "test": [234, 390]},
    "omniglot": {"background": [20] * 964, "evaluation": [0] * 964 + [20] * 659},
    "ham10000": {None: [183, 264, 583, 60, 491, 1300, 80]},
    "malaria_cells": {None: [6000, 6493]},
    "brain_mri": {"train": [400] * 4, "test": [300, 306, 405, 300]},
    "cats_dogs": {"train": [2000, 2000], "test": [500, 500]},
}


@pytest.fixture(scope="module")
def load():
    """Load each real set once."""
    loaded = {}

    def load(name):
        if name not in loaded:
            loaded[name] = fetch_images(name, data_home=FOLDER, download=False)
        return loaded[name]

    return load


@real
@pytest.mark.parametrize("name", COUNTS)
def test_real_set_has_its_images_and_classes(name, load):
    data = load(name)
    n = sum(map(sum, COUNTS[name].values()))
    assert data.images.shape == (n, *SETS[name].image_shape)
    assert data.images.dtype == np.uint8
    assert data.target.dtype == np.int64
    for split, counts in COUNTS[name].items():
        rows = slice(None) if split is None else data.split == split
        found = np.bincount(data.target[rows], minlength=len(counts))
        np.testing.assert_array_equal(found, counts)
    assert (data.split is None) == (None in COUNTS[name])
    assert len(data.target_names) == len(set(data.target_names)) > data.target.max()
    for column in (data.split, data.groups, *(data[f] for f in SETS[name].fields)):
        assert column is None or column.shape == (n,)


@real
@pytest.mark.parametrize("name", ["mnist", "pneumoniamnist", "brain_mri", "cats_dogs"])
def test_real_rows_are_those_of_the_file(name, load):
    spec, data = SETS[name], load(name)
    with np.load(Path(FOLDER) / spec.file) as arrays:
        for split in spec.splits:
            rows = data.split == split
            np.testing.assert_array_equal(data.images[rows], arrays[f"{split}_images"])
            labels = arrays[f"{split}_labels"].ravel()
            np.testing.assert_array_equal(data.target[rows], labels)
            for field in spec.fields:
                np.testing.assert_array_equal(
                    data[field][rows], arrays[f"{split}_{field}"]
                )


@real
def test_real_groups_are_patients_and_lesions(load):
    cells = load("malaria_cells")
    named = [int(re.match(r"C(\d+)", name)[1]) for name in cells.cell_name]
    np.testing.assert_array_equal(cells.groups, named)
    assert len(set(named)) == 200
    sick = {g for g, y in zip(named, cells.target, strict=True) if y == 1}
    assert len(sick) == 150
    skin = load("ham10000")
    assert skin.groups.dtype == np.int64
    assert len(np.unique(skin.groups)) == len(set(skin.lesion_id.tolist())) == 2961
    np.testing.assert_array_equal(np.sort(skin.lesion_id)[skin.groups], skin.lesion_id)
    malignant = np.isin(skin.target_names[skin.target], ["mel", "bcc", "akiec"])
    np.testing.assert_array_equal(skin.malignant, malignant)
    assert skin.malignant.sum() == 938


@real
def test_real_file_names_tell_the_class(load):
    brain = load("brain_mri")
    told = [name.split("/")[1] for name in brain.names]
    np.testing.assert_array_equal(brain.target_names[brain.target], told)


@real
def test_real_omniglot_is_that_of_the_one_shot_runs(load):
    """Another file holds 800 of its images and says which they are."""
    data = load("omniglot")
    with np.load(Path(FOLDER) / "omniglot_oneshot_runs.npz") as runs:
        for part in ("train", "test"):
            ink = np.unpackbits(runs[f"{part}_packed"].reshape(400, -1), axis=1)
            where = (runs[f"{part}_character"] + 964) * 20 + runs[f"{part}_drawer"]
            found = data.images[where.ravel()].reshape(400, -1)
            np.testing.assert_array_equal(found, np.where(ink[:, :11025], 0, 255))
    np.testing.assert_array_equal(data.target * 20 + data.drawer, np.arange(32460))


@real
def test_real_omniglot_has_its_alphabets(load):
    data = load("omniglot")
    assert len(data.alphabet_names) == 50
    np.testing.assert_array_equal(data.groups, data.alphabet)
    assert not set(data.groups[:19280]) & set(data.groups[19280:])
    for i in (0, 19279, 19280, 32459):
        name = data.alphabet_names[data.alphabet[i]]
        expected = f"{name}/character{data.character_in_alphabet[i]:02d}"
        assert data.target_names[data.target[i]] == expected
    assert data.target_names[964] == "Angelic/character01"
    assert 0.8 < (data.images == 255).mean() < 0.99  # paper


@real
def test_real_omniglot_takes_little_more_than_its_images():
    tracemalloc.start()
    images = fetch_images("omniglot", data_home=FOLDER, download=False).images
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.4 * images.nbytes
