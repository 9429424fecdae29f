"""What SECURITY.md promises: no code of the package runs what a file asks it to."""

import ast
import os
from pathlib import Path

import pytest
import torch
from torchvision import models

import sksiamese
from sksiamese.backbones import make_backbone

ROOT = Path(__file__).parent.parent
SOURCES = sorted(Path(sksiamese.__file__).parent.rglob("*.py"))

# Calls that run, or may run, what they are given.
RUN = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}
UNPICKLERS = {
    f"{module}.{name}"
    for module in ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal")
    for name in ("load", "loads", "Unpickler")
} | {
    "pandas.read_pickle",
    "shelve.open",
    "yaml.load",
    "torch.hub.load",
    "torch.jit.load",
}
# Calls that are harmless with one argument only, and what that must be.
GUARDED = {
    "torch.load": ("weights_only", True),
    "torch.hub.load_state_dict_from_url": ("weights_only", True),
    "get_state_dict": ("weights_only", True),  # of torchvision's weights
    "numpy.load": ("allow_pickle", False),
    "read_array": ("allow_pickle", False),
}


def full_names(tree):
    """Map each imported name to what it stands for, as ``np`` to ``numpy``."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def offences(text):
    """List what a source calls, names or passes on that SECURITY.md rules out."""
    tree = ast.parse(text)
    names, found = full_names(tree), []
    guarded = {}  # the functions of calls with the argument that makes them harmless
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for word in node.keywords:
                if isinstance(word.value, ast.Constant):
                    given = guarded.setdefault(id(node.func), set())
                    given.add((word.arg, word.value.value))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Name | ast.Attribute):
            continue
        root, *rest = ast.unparse(node).split(".")
        full = ".".join([names.get(root, root), *rest])
        last = full.rpartition(".")[2]
        if full in RUN | UNPICKLERS:
            found.append(f"{node.lineno}: {full}")
        wanted = GUARDED.get(full) or (GUARDED.get(last) if rest else None)
        if wanted and wanted not in guarded.get(id(node), ()):
            found.append(f"{node.lineno}: {full} without {wanted[0]}={wanted[1]}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_source_runs_nothing_from_files(path):
    assert not offences(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.load(f)",
        "import pickle as p\np.Unpickler(f).load()",
        "from joblib import load\nload(f)",
        "import joblib\nread = joblib.load",
        "import torch\ntorch.load(f)",
        "import torch\ntorch.load(f, weights_only=False)",
        "import torch\ntorch.load(f, weights_only=trusted)",
        "from torch import load as read\nread(f)",
        "import numpy as np\nnp.load(f)",
        "import numpy as np\nnp.load(f, allow_pickle=True)",
        "import numpy as np\nnp.lib.format.read_array(f)",
        "entry.get_state_dict(check_hash=True)",
        "eval(text)",
        "map(exec, lines)",
    ],
)
def test_offence_is_found_whatever_its_form(source):
    assert offences(source)


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "re.compile('x')",
        "import pickle\npickle.dumps(x)",
        "import torch\ntorch.load(f, map_location='cpu', weights_only=True)",
        "import numpy as np\nnp.load(f, allow_pickle=False)",
    ],
)
def test_harmless_call_is_no_offence(source):
    assert not offences(source)


class Malicious:
    """Runs code when it is unpickled: it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("by", ["name", "path"])
def test_weights_that_run_code_are_refused_unrun(by, tmp_path, monkeypatch):
    """A file that was planted among torchvision's downloads is unpickled no more."""
    trap, folder = tmp_path / "trap", tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = models.get_model_weights("squeezenet1_1").DEFAULT.url
    path = folder / os.path.basename(url)
    torch.save({"x": Malicious(trap)}, path)
    weights = "DEFAULT" if by == "name" else path
    with pytest.raises(ValueError, match="weights=.*UnpicklingError"):
        make_backbone("squeezenet1_1", (3, 64, 64), weights=weights)
    assert not trap.exists()
    torch.load(path, weights_only=False)  # it would have worked
    assert trap.exists()


def test_security_notes_name_what_they_speak_of():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert text.count("\n") < 100
    for word in ("pickle", "joblib", "weights_only=True", "allow_pickle=False"):
        assert word in text
    for name in (
        "sksiamese.load",
        "weights=",
        "checkpoint_dir",
        "cache_dir",
        "Gallery",
    ):
        assert name in text
