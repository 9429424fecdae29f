"""Folders of classes are told from other folders, and nothing is lost unseen."""

import re
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from sksiamese._image_folders import list_classes, list_images


@pytest.fixture
def folder(tmp_path):
    """Two classes of two images, one of them deeper."""
    for place in ("cat", "dog/big"):
        (tmp_path / "pets" / place).mkdir(parents=True)
        for k in range(2):
            pixels = Image.fromarray(np.zeros((2, 2), np.uint8))
            pixels.save(tmp_path / "pets" / place / f"{k}.png")
    return tmp_path / "pets"


def test_classes_are_the_folders_and_files_are_in_order(folder):
    path, names, labels = list_classes(folder)
    assert path == str(folder)
    assert labels == ["cat", "cat", "dog", "dog"]
    assert names == sorted(map(str, folder.rglob("*.png")))


def test_folder_is_named_in_full_and_home_is_known(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match=re.escape(str(folder / "nothing"))):
        list_classes("nothing")
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    assert len(list_classes("~/pets")[1]) == 4


@pytest.mark.parametrize("parts", [("train", "test"), ("Training", "Test", "val")])
def test_parts_of_a_split_are_no_classes(folder, tmp_path, parts):
    """As most sets are downloaded; a network would learn to tell train from test."""
    for part in parts:
        shutil.copytree(folder, tmp_path / "set" / part)
    with pytest.raises(ValueError, match="holds the parts of a split, T?t?est, "):
        list_classes(tmp_path / "set")
    assert set(list_classes(tmp_path / "set" / parts[0])[2]) == {"cat", "dog"}


def test_one_class_called_test_is_a_class(folder):
    (folder / "cat").rename(folder / "test")
    assert set(list_classes(folder)[2]) == {"test", "dog"}


def test_images_that_are_not_read_are_counted(folder):
    (folder / "__MACOSX").mkdir()
    for name in ("a.HEIC", "b.heic", "c.webp", "Thumbs.db", ".d.gif"):
        (folder / "cat" / name).write_bytes(b"")
    with pytest.warns(UserWarning, match=r"Passed over 2 \.heic, 1 \.webp below"):
        assert len(list_classes(folder)[1]) == 4
    unread = Counter()
    list_images(str(folder), unread)
    assert unread == {".heic": 2, ".webp": 1}
