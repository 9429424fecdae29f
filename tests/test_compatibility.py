"""The versions that pyproject.toml allows, and the command that tries the oldest."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import sksiamese

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = {
    requirement.name: requirement
    for line in sum(EXTRAS.values(), PROJECT["dependencies"])
    for requirement in [Requirement(line)]
    if requirement.name != "sksiamese"
}


def oldest(requirement):
    """Version at which the range of a requirement begins, None where it is open."""
    starts = [s.version for s in requirement.specifier if s.operator == ">="]
    return Version(starts[0]) if starts else None


def imported_packages():
    """List top-level names that the package imports, those of Python left out."""
    for path in Path(sksiamese.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.module.partition(".")[0]


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_requirement_has_an_oldest_version_and_no_newest(name):
    requirement = REQUIREMENTS[name]
    assert oldest(requirement) is not None
    # A linter's new rules would fail the tests of a commit that has not changed.
    assert name == "ruff" or len(requirement.specifier) == 1


def test_oldest_python_is_known_to_the_linter_too():
    major, minor = re.fullmatch(r">=(\d+)\.(\d+)", PROJECT["requires-python"]).groups()
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    assert f'target-version = "py{major}{minor}"' in text


def test_every_import_is_of_a_declared_package():
    providers = packages_distributions()
    declared = {name.lower() for name in REQUIREMENTS} | {"sksiamese"}
    declared -= {Requirement(line).name for line in EXTRAS["test"]} - {"sksiamese"}
    for name in set(imported_packages()) - sys.stdlib_module_names:
        found = {provider.lower() for provider in providers.get(name, ())}
        assert found & declared, f"{name} is imported and not declared"


def test_test_extra_brings_all_that_users_may_need():
    (own,) = (
        requirement
        for requirement in map(Requirement, EXTRAS["test"])
        if requirement.name == "sksiamese"
    )
    assert own.extras == set(EXTRAS) - {"test", "docs"}  # which builds the site alone


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_command_lists_the_oldest_versions():
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    shown = subprocess.run(
        ["bash", ROOT / ".ci" / "oldest", "--list"],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    listed = [Requirement(line) for line in shown.stdout.splitlines()]
    exact = {r.name: str(r.specifier) for r in listed if r.name in REQUIREMENTS}
    assert set(exact) == set(REQUIREMENTS)
    for name, requirement in REQUIREMENTS.items():
        version = exact[name].removeprefix("==")
        assert Version(version) == oldest(requirement)
        assert requirement.specifier.contains(version)
    # What is left are versions that the oldest ones need beside them.
    left = [r for r in listed if r.name not in REQUIREMENTS]
    assert all(s.operator == "<" for r in left for s in r.specifier)
