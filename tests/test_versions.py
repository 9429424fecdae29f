"""`show_versions` says what a report of a bug should contain."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import torch

import sksiamese
from sksiamese import _versions


def shown(capsys):
    """Return what is printed, as a section's name to its lines."""
    sksiamese.show_versions()
    sections, lines = {}, None
    for line in capsys.readouterr().out.splitlines():
        if line[0] != " ":
            lines = sections.setdefault(line, {})
        else:
            name, _, value = line.strip().partition(": ")
            lines[name] = value
    return sections


def test_every_requirement_is_named_with_its_version(capsys):
    path = Path(__file__).parent.parent / "pyproject.toml"
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    for tools in ("docs", "test"):
        del optional[tools]
    lines = project["dependencies"] + [
        line for some in optional.values() for line in some
    ]
    required = {re.match(r"[\w-]+", line)[0] for line in lines}
    packages = shown(capsys)["Packages"]
    assert set(packages) == required | {"sksiamese"}
    assert packages["sksiamese"] == sksiamese.__version__
    assert packages["torch"] == version("torch")


def test_system_threads_and_devices_are_named(capsys):
    sections = shown(capsys)
    assert list(sections) == ["System", "Packages", "Threads", "Devices"]
    assert sections["System"]["python"].startswith("3.")
    assert sections["Threads"]["PyTorch"] == str(torch.get_num_threads())
    assert sections["Devices"]["processor"]


def test_missing_package_is_said_to_be_missing(capsys, monkeypatch):
    monkeypatch.setattr(_versions, "requires", lambda name: ["no-such-package>=1"])
    assert shown(capsys)["Packages"]["no-such-package"] == "not installed"
