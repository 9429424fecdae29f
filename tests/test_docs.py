"""The site's pages are true: their code runs, and they name all that is public."""

import ast
import doctest
import importlib
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import sksiamese

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
MADE = {"_build", "auto_examples", "api"}  # by the build
PAGES = [
    path
    for path in sorted(DOCS.rglob("*.md"))
    if path.relative_to(DOCS).parts[0] not in MADE
]
PUBLIC = ["sksiamese"] + [
    f"sksiamese.{path.stem if path.is_file() else path.name}"
    for path in sorted((ROOT / "sksiamese").iterdir())
    if path.stem[0] != "_" and (path.suffix == ".py" or (path / "__init__.py").exists())
]


def python_blocks(path):
    """Return the blocks of Python on a page."""
    return re.findall(r"^```python\n(.*?)^```", path.read_text("utf-8"), re.M | re.S)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_code_on_page_is_true(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.testfile(str(path), module_relative=False, optionflags=flags)
    assert result.failed == 0
    if path.parent.name == "user_guide" and path.stem != "index":
        assert result.attempted >= 5


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_python_on_page_is_run(path):
    if path.name != "index.md" or path.parent != DOCS:  # which has a test of its own
        assert all(block.startswith(">>> ") for block in python_blocks(path))


def bound_and_used(source):
    """Return the names that some code binds, and those that it reads."""
    nodes = list(ast.walk(ast.parse(source)))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    bound = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {a.asname or a.name.split(".")[0] for a in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
    return bound, {node.id for node in names if isinstance(node.ctx, ast.Load)}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_what_a_reader_copies_needs_nothing_hidden(path):
    """No block uses a name that only an HTML comment binds."""
    page = path.read_text("utf-8")
    shown = re.sub(r"<!--.*?-->", "", page, flags=re.S)
    parse = doctest.DocTestParser().get_examples
    known, everything = set(), set()
    for example in parse(page):
        everything |= bound_and_used(example.source)[0]
    for example in parse(shown):
        bound, used = bound_and_used(example.source)
        missing = (used - bound - known) & everything
        assert not missing, f"{missing} in {example.source}"
        known |= bound


def test_landing_page_leads_from_a_folder_of_images_to_a_saved_model(
    tmp_path, monkeypatch, capsys
):
    """Its blocks run as they are copied, one after the other."""
    monkeypatch.chdir(tmp_path)
    digits = load_digits()
    for k, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        if k < 300:
            folder = tmp_path / "my_images" / f"digit {label}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = Image.fromarray((255 - 15 * image).astype(np.uint8))
            pixels = pixels.resize((100, 120)).convert("RGB")
            pixels.save(folder / f"{k}.jpg")
            if k < 5:
                (tmp_path / "new_images").mkdir(exist_ok=True)
                pixels.save(tmp_path / "new_images" / f"{k}.jpg")
    # Small images, for time's sake.
    blocks = (b.replace("size=64", "size=12") for b in python_blocks(DOCS / "index.md"))
    short, train, keep = blocks
    images, labels = digits.images[:300], digits.target[:300]
    names = {"images": images, "labels": labels, "new_images": images[:3]}
    exec(short, names)
    assert names["probabilities"].shape == (3, 10)

    exec(train, {})
    out = capsys.readouterr().out
    assert float(re.search(r"accuracy +(\S+)", out)[1]) > 0.8
    assert (tmp_path / "my_model.siamese").exists()

    exec(keep, {})
    out = capsys.readouterr().out
    found = re.findall(r"(\d)\.jpg: digit (\d), probability [01]\.\d\d", out)
    assert len(found) == 5
    assert sum(digits.target[int(k)] == int(label) for k, label in found) >= 4


def listed():
    """Return the full names in `docs/api.rst`, in its order."""
    names, module, inside = [], None, False
    for line in (DOCS / "api.rst").read_text("utf-8").splitlines():
        if found := re.match(r"\.\. module:: (\S+)", line):
            module = found[1]
        if line.startswith(".. "):
            inside = line.startswith(".. autosummary::")
        elif inside and re.match(r"   \w", line):
            names.append(f"{module}.{line.strip()}")
    return names


def test_api_lists_each_public_object_once():
    assert listed()
    assert len(listed()) == len(set(listed()))
    public = [
        f"{name}.{each}"
        for name in PUBLIC
        for each in importlib.import_module(name).__all__
    ]
    assert sorted(listed()) == sorted(public)


def test_public_object_has_one_path():
    seen = {}
    for name in listed():
        module, _, short = name.rpartition(".")
        thing = getattr(importlib.import_module(module), short)
        assert seen.setdefault(id(thing), name) == name


def test_extra_packages_are_all_on_the_install_page():
    page = (DOCS / "install.md").read_text("utf-8")
    rows = set(re.findall(r"^\| `(\w+)` \|", page, re.M))
    assert rows == set(
        importlib.metadata.metadata(sksiamese.__name__).get_all("Provides-Extra")
    )
