"""The files beside the package: changelog, README, examples, metadata."""

import doctest
import re
import runpy
import subprocess
import sys
from importlib.metadata import metadata, version
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import sksiamese

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))


def test_version_is_written_once():
    assert sksiamese.__version__ == version("sksiamese")
    assert metadata("sksiamese")["License-Expression"] == "BSD-3-Clause"


def test_changelog_keeps_its_form():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.M)
    assert headings[0] == "[Unreleased]" or sksiamese.__version__ in headings[0]
    for heading in headings[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading)
    for section in re.split(r"^### ", text, flags=re.M)[1:]:
        kind, _, body = section.partition("\n")
        assert kind in {"Added", "Changed", "Deprecated", "Removed", "Fixed"} | {
            "Performance"
        }
        assert re.match(r"\s*- `", body), "a section is a list of named objects"


def test_readme_examples_are_true():
    result = doctest.testfile(
        str(ROOT / "README.md"),
        module_relative=False,
        optionflags=doctest.NORMALIZE_WHITESPACE,
    )
    assert result.attempted > 5
    assert result.failed == 0


def test_readme_fits_on_a_screen_and_has_both_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("\n") <= 70
    commands = re.findall(r"^python3 -m venv .*$", text, re.M)
    assert len(commands) == 2
    assert "examples/plot_01_first_classifier.py" in commands[0]
    assert commands[1].endswith("python -m pytest -n 2")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example_runs(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    with plt.rc_context():  # examples choose a style
        runpy.run_path(str(path), run_name="__main__")
    n_figures = len(plt.get_fignums())  # the gallery shows those left open
    plt.close("all")
    figures = list((tmp_path / "figures").glob("*.png"))
    assert len(figures) == n_figures > 0
    assert all(figure.stat().st_size > 10_000 for figure in figures)
    out = capsys.readouterr().out
    assert "accuracy" in out or "Area under the ROC" in out
    assert not re.search(r"\bnan\b", out)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example_reads_as_a_course(path):
    text = path.read_text(encoding="utf-8")
    number = EXAMPLES.index(path)
    assert re.fullmatch(rf"plot_0{number + 1}_[a-z_]+", path.stem)
    assert text.count("\n") <= 150
    takeaway = text.partition("# What to take away\n# -----------------\n")[2]
    assert len(takeaway) > 100
    if number + 1 < len(EXAMPLES):
        assert EXAMPLES[number + 1].stem in takeaway
    for label in re.findall(r":ref:`([a-z-]+)`", text):  # pages of the user guide
        pages = (ROOT / "docs").glob("**/*.md")
        assert any(f"({label})=" in p.read_text(encoding="utf-8") for p in pages)


def test_import_leaves_slow_packages_alone():
    slow = ["torchvision", "matplotlib", "pandas", "imblearn", "tqdm"]
    code = (
        "import sys, torch, sklearn, skorch; before = set(sys.modules);"
        "import sksiamese; new = set(sys.modules) - before;"
        f"print([m for m in {slow} if m in new])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"
