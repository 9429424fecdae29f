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

PACKAGE = Path(sksiamese.__file__).parent
NAMES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in sorted(PACKAGE.rglob("*.py"))
]
MODULES = [importlib.import_module(name.removesuffix(".__init__")) for name in NAMES]
PUBLIC = [module for module in MODULES if "._" not in module.__name__]
# What is not public need not have examples, references to others or more than a
# sentence. GL01: its summary starts on the line of the quotes, as PEP 257 has it. YD01:
# its generators are documented as the context managers that they are.
NOT_ASKED_INSIDE = {"GL01", "ES01", "SA01", "EX01", "YD01"}


def is_generated(name):
    """Tell whether a method was made by scikit-learn, such as `set_fit_request`."""
    return re.fullmatch("set_.*_request", name) is not None


def public_members(thing):
    """Names of a class's methods and properties that this package defines."""
    for name in dir(thing) if inspect.isclass(thing) else ():
        owner = next(c for c in inspect.getmro(thing) if name in vars(c))
        if (
            name[0] != "_"
            and not is_generated(name)
            and owner.__module__.startswith("sksiamese")
            and (
                callable(getattr(thing, name, None))
                or inspect.isdatadescriptor(vars(owner)[name])
            )
        ):
            yield name


def public_objects():
    """Full names of what `__all__` offers, and of their methods and properties."""
    for module in PUBLIC:
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                yield f"{module.__name__}.{name}"
                for member in public_members(thing):
                    yield f"{module.__name__}.{name}.{member}"


def internal_objects():
    """Full names of classes, methods and functions that no `__all__` offers."""
    offered = {
        id(getattr(module, name)) for module in PUBLIC for name in module.__all__
    }
    for module in MODULES:
        for name, thing in vars(module).items():
            if (
                name[0] == "_"
                or name == "BaseSiamese"  # whose methods are those of its subclasses
                or id(thing) in offered
                or getattr(thing, "__module__", "") != module.__name__
                or not (inspect.isclass(thing) or inspect.isfunction(thing))
            ):
                continue
            yield f"{module.__name__}.{name}"
            for member in vars(thing) if inspect.isclass(thing) else ():
                if member[0] != "_" and callable(vars(thing)[member]):
                    if not is_generated(member):
                        yield f"{module.__name__}.{name}.{member}"


@pytest.mark.parametrize("name", sorted(public_objects()))
def test_public_docstring_passes_every_check(name):
    assert not numpydoc.validate.validate(name)["errors"]


@pytest.mark.parametrize("name", sorted(internal_objects()))
def test_internal_docstring_is_complete(name):
    found = numpydoc.validate.validate(name)["errors"]
    assert not [error for error in found if error[0] not in NOT_ASKED_INSIDE]


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
