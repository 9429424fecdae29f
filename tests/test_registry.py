"""What is written down of the public sets, against those who publish them."""

import re

import pytest

from sksiamese._registry import MEDMNIST, SETS


@pytest.mark.parametrize("name", MEDMNIST)
def test_medmnist_set_is_as_its_publisher_has_it(name, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))  # where medmnist makes a folder
    facts = pytest.importorskip("medmnist").INFO[name]
    spec = MEDMNIST[name]
    assert spec.title == facts["python_class"]
    assert spec.classes == tuple(
        facts["label"][str(i)] for i in range(len(spec.classes))
    )
    assert len(spec.classes) == len(facts["label"])
    assert spec.splits == tuple(facts["n_samples"])
    assert spec.image_shape == (28, 28, 3)[: 2 + (facts["n_channels"] == 3)]
    assert spec.multi_label == facts["task"].startswith("multi-label")
    assert spec.licence == facts["license"]


def test_medmnist_has_all_flat_sets(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    published = pytest.importorskip("medmnist").INFO
    assert set(MEDMNIST) == {name for name in published if not name.endswith("3d")}


@pytest.mark.parametrize("name", SETS)
def test_set_is_described_in_full(name):
    spec = SETS[name]
    assert spec.title and spec.paper and spec.licence and spec.remarks
    assert spec.about.endswith(".") and spec.remarks.strip().endswith(".")
    assert spec.page.startswith("https://")
    assert re.fullmatch(r"[a-z0-9_]+\.npz", spec.file)
    assert len(set(spec.classes)) == len(spec.classes)
    assert spec.groups is None or spec.groups in spec.fields
    taken = {"images", "target", "target_names", "groups", "split", "DESCR"}
    assert not taken & set(spec.fields)


def test_files_differ():
    assert len({spec.file for spec in SETS.values()}) == len(SETS)
