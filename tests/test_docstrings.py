"""Docstrings are complete, and say the same where they speak of the same thing."""

import importlib
import inspect
import re
from pathlib import Path

import numpydoc.validate
import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc

import sksiamese
from sksiamese import SiameseClassifier, SiameseEmbedder

# GL01: the summary starts on the line of the quotes, as PEP 257 and ruff have it.
# ES01, SA01, EX01: not every method needs an extended summary, cross-references or an
# example of its own. YD01: generators are documented as context managers.
NOT_ASKED = {"GL01", "ES01", "SA01", "EX01", "YD01"}
PACKAGE = Path(sksiamese.__file__).parent
MODULES = [
    importlib.import_module(".".join(path.relative_to(PACKAGE.parent).parts)[:-3])
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.stem != "__init__"
]


def public_objects():
    """Full names of the classes, methods and functions that carry no underscore."""
    for module in MODULES:
        for name, thing in vars(module).items():
            if (
                name[0] == "_"
                or name == "BaseSiamese"
                or getattr(thing, "__module__", "") != module.__name__
            ):
                continue
            if not (inspect.isclass(thing) or inspect.isfunction(thing)):
                continue
            yield f"{module.__name__}.{name}"
            for member in vars(thing) if inspect.isclass(thing) else ():
                generated = re.fullmatch("set_.*_request", member)  # by scikit-learn
                if member[0] != "_" and not generated and callable(vars(thing)[member]):
                    yield f"{module.__name__}.{name}.{member}"


@pytest.mark.parametrize("name", list(public_objects()))
def test_docstring_is_complete(name):
    found = numpydoc.validate.validate(name)["errors"]
    assert not [error for error in found if error[0] not in NOT_ASKED]


def test_constructor_parameters_are_documented_in_order():
    for estimator in (SiameseClassifier, SiameseEmbedder):
        documented = {
            name: parameter.type
            for names, parameter in (
                (p.name, p) for p in ClassDoc(estimator)["Parameters"]
            )
            for name in names.split(", ")
        }
        signature = inspect.signature(estimator).parameters
        assert set(documented) == set(signature)
        for name, kind in documented.items():
            default = re.search(r"default=(.*)$", kind).group(1)
            stated = default.strip('"')
            assert stated == str(signature[name].default), name


def test_shared_parameters_have_one_text():
    texts = {}
    for estimator in (SiameseClassifier, SiameseEmbedder):
        for parameter in ClassDoc(estimator)["Parameters"]:
            texts.setdefault(parameter.name, set()).add(
                (parameter.type, "\n".join(parameter.desc))
            )
    assert all(len(versions) == 1 for versions in texts.values())


def test_defaults_are_shared():
    own, base = (
        inspect.signature(e).parameters for e in (SiameseClassifier, SiameseEmbedder)
    )
    for name, parameter in base.items():
        assert own[name].default == parameter.default


@pytest.mark.parametrize("estimator", [SiameseClassifier, SiameseEmbedder])
def test_fitted_attributes_are_documented(estimator, digits):
    X, y, _, _ = digits
    fitted = estimator(max_epochs=1, random_state=0).fit(X, y)
    attributes = {a for a in vars(fitted) if a.endswith("_") and a[0] != "_"}
    documented = {a.name for a in ClassDoc(estimator)["Attributes"]}
    assert attributes <= documented
    # These exist under conditions that their text names.
    unknown = {f"unknown_{name}_" for name in ("threshold", "label", "calibration")}
    assert documented - attributes <= {"feature_names_in_", "prototypes_", *unknown}


def test_methods_name_all_arguments():
    """What numpydoc cannot see: methods made available by a descriptor."""
    document = FunctionDoc(SiameseEmbedder(loss="logistic").pair_proba)
    assert [p.name for p in document["Parameters"]] == ["pairs"]
