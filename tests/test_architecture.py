"""The layers of the house, its file sizes and its names, read off the source."""

import ast
import re
from pathlib import Path

import pytest

import sksiamese

PACKAGE = Path(sksiamese.__file__).parent
TESTS = Path(__file__).parent

# A module may import modules of lower levels only. Whole numbers are the layers of
# docs/development/architecture.md; the half steps are the few places where a module
# builds on another of its layer.
LEVELS = {
    "_calibration": 0.5,
    "_decision": 0.5,
    "_diagnosis": 0,
    "_decode": 0.1,
    "_dicom": 0,
    "_documentation": 0,
    "_file_input": 0.3,
    "_registry": 0,
    "datasets": 0.5,
    "_image_folders": 0.6,
    "_image_reader": 0.6,
    "_memory": 0,
    "_pixel_cache": 0.1,
    "_reading": 0.2,
    "images": 0.7,
    "imbalance": 0.7,
    "_validation": 0.5,
    "_priors": 0,
    "_image_statistics": 0.1,
    "_verification_metrics": 0.05,
    "_retrieval_metrics": 0.05,
    "_classification_metrics": 0.05,
    "_confidence": 0,
    "_intervals": 0.1,
    "_few_shot": 0.1,
    "_pair_sampling": 0.6,
    "_pair_protocol": 0.7,
    "_duplicates": 0.6,
    "_shortcut": 0,
    "_waves": 0,
    "_pair_split": 0.7,
    "_audit": 0.75,
    "_audit_report": 0,
    "_scorers": 0.7,
    "pairs": 0.8,
    "metrics": 0.8,
    "_open_set": 0.5,
    "_threshold": 0,
    "_versions": 1,
    "_independent_pairs": 0,
    "_pair_calibration": 0.9,
    "_encoding": 0,
    "_image_split": 0.1,
    "_batches": 1,
    "_device": 1,
    "_module": 1,
    "_networks": 1,
    "_preprocess": 1,
    "_torchvision": 1,
    "augment": 1,
    "mining": 1,
    "backbones": 1.5,
    "losses": 1.5,
    "_build": 2,
    "_callbacks": 2,
    "_class_balance": 2,
    "_net": 2.5,
    "_head_methods": 3,
    "_pair_methods": 3,
    "_prediction_methods": 3,
    "_training_methods": 3,
    "_base": 3.5,
    "_classifier": 4,
    "_embedder": 4,
    "_embedder_interface": 3.8,
    "_verdict_methods": 3.9,
    "_verifier": 4,
    "_pictures": 4,
    "_plotting": 4,
    "_embedding_map": 4.1,
    "_gallery_images": 4.1,
    "_embedding_display": 4.2,
    "_history_display": 4.2,
    "_pair_displays": 4.2,
    "_pair_grid_display": 4.2,
    "_neighbors_display": 4.2,
    "display": 4.4,
    "search._header": 0,
    "search._checks": 0.05,
    "search._where": 0.1,
    "_archive": 0,
    "_state_file": 1,
    "_describe": 1,
    "_loss_parameters": 1.25,
    "_similarity_losses": 1.4,
    "_checkpoint": 1.9,
    "_faults": 1.9,
    "_onnx": 2,
    "_rebuild": 2.6,
    "_packing": 4.5,
    "_restore": 4.7,
    "_persistence": 5,
    "search._exact": 0.1,
    "search._faiss": 0.2,
    "search._faiss_compressed": 0.25,
    "search._faiss_graph": 0.25,
    "search._columns": 0.2,
    "search._ids": 0.2,
    "search._index": 0.3,
    "search._items": 0.35,
    "search._memory_store": 0.4,
    "search._postgres": 0.2,
    "search._postgres_values": 0.2,
    "search._pgvector_tables": 0.25,
    "search._pgvector_index": 0.3,
    "search._pgvector_queries": 0.3,
    "search._pgvector_changes": 0.35,
    "search._pgvector": 0.4,
    "search._stores": 0.5,
    "search._embedding": 0.6,
    "search._contents": 0.7,
    "search._fingerprint": 3.8,
    "search._lookup": 3.9,
    "search._gallery": 4,
    "search": 4.1,
    "__init__": 6,
}


def dotted(path):
    """Name of a module within the package; a folder's is that of its __init__."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {dotted(path): path for path in sorted(PACKAGE.rglob("*.py"))}
MAX_FILE_LINES, MAX_BODY_LINES = 500, 40


def imported(path, *, at_load=False):
    """Dotted names of everything a module imports, in functions too unless at_load."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if at_load else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def roots(path, **kwargs):
    return {name.split(".")[0] for name in imported(path, **kwargs)}


def test_every_module_has_a_level():
    assert set(MODULES) == set(LEVELS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_go_down(module):
    for name in imported(MODULES[module]):
        other = name.removeprefix("sksiamese.")
        if other != name and other in LEVELS:
            # A module is imported by way of its folder, which may lie above it.
            if module.startswith(f"{other}."):
                continue
            assert LEVELS[other] < LEVELS[module], f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_skorch_is_imported_for_the_loop_alone(module):
    assert ("skorch" in roots(MODULES[module])) == (module in ("_net", "_callbacks"))


@pytest.mark.parametrize("module", MODULES)
def test_lowest_layer_needs_no_torch(module):
    if LEVELS[module] < 1:
        assert not {"torch", "skorch"} & roots(MODULES[module])


@pytest.mark.parametrize("module", MODULES)
def test_slow_and_optional_packages_load_when_needed(module):
    slow = {"torchvision", "matplotlib", "pandas", "PIL", "imblearn", "tqdm"}
    slow |= {"faiss", "psycopg", "medmnist", "pydicom", "umap"}
    if module == "imbalance":  # has a base class there, and is loaded on its own
        slow -= {"imblearn"}
    assert not slow & roots(MODULES[module], at_load=True)


@pytest.mark.parametrize("module", MODULES)
def test_private_scikit_learn_is_imported_in_one_place(module):
    names = imported(MODULES[module])
    private = [name for name in names if re.match(r"sklearn\..*\b_[a-z]", name)]
    assert not private or module == "_validation", private


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_stay_short(module):
    text = MODULES[module].read_text(encoding="utf-8")
    assert text.count("\n") <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[bool(ast.get_docstring(node)) :]
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert length <= MAX_BODY_LINES, f"{node.name}: {length} lines"


@pytest.mark.parametrize("module", MODULES)
def test_module_has_docstring_and_test_file(module):
    path = MODULES[module]
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if path.stem != "__init__":
        name = module.replace("._", "_").lstrip("_")
        assert (TESTS / f"test_{name}.py").exists()


def test_all_is_sorted_and_importable():
    assert sksiamese.__all__ == sorted(sksiamese.__all__)
    for name in sksiamese.__all__:
        assert getattr(sksiamese, name).__doc__
