"""Tell trainings apart by parameters, code, data and machine (layer 1)."""

import dis
import hashlib
import os
import random
import sys
import types
from pathlib import Path

import numpy as np
import torch

from sksiamese._memory import RowReader

_PLAIN = (type(None), bool, int, float, str, bytes)
_GENERATORS = (np.random.Generator, np.random.RandomState, random.Random)
_GENERATORS += (torch.Generator,)
# Those that all share, behind the functions of their modules.
_GLOBAL = (random.random.__self__, np.random.rand.__self__, torch.default_generator)
_LENGTH = 60  # characters of a description, about
_CODE = (types.FunctionType, type, staticmethod, classmethod, property)
# Parameters that change nothing, and those of which something else is compared.
_FREE = {"cache_dir", "checkpoint_dir", "n_jobs", "verbose"}
_RESOLVED = {"device", "precision", "random_state", "warm_start"}
_BYTES = 1 << 24  # of the data, hashed at a time
# Of classes: what Python or pickling adds.
_ADDED = {"__abstractmethods__", "__annotations__", "__dict__", "__doc__", "_abc_impl"}
_ADDED |= {"__module__", "__qualname__", "__slotnames__", "__weakref__"}
_ADDED |= {"__annotate_func__", "__annotations_cache__", "__firstlineno__"}
_ADDED |= {"__static_attributes__"}


class Description:
    """A value in few words, the same words for the same value in every process.

    Plain values, and dicts and lists of them, are written out. Of others the class is
    named, and a checksum stands for what they are made of: attributes, weights, the
    code of functions and methods. The user's own functions and classes count with what
    they find in global variables and in modules of the user's, and with their base
    classes; classes of installed libraries count with the library's version.

    Parameters
    ----------
    value : object
        Any value.

    shared : bool, default=True
        Whether global variables and class attributes that hold no code count too.

    learned : bool, default=True
        Whether weights and buffers of modules count. If not, their mode, the names of
        their weights, and what may be a library's memory of its last call do not
        count either.

    Attributes
    ----------
    text : str
        The words.

    has_generator : bool
        Whether it holds, or a function in it reads, a random generator of its own.

    Examples
    --------
    >>> from sksiamese._describe import Description
    >>> Description({"lr": 1.0}).text
    "{'lr': 1}"
    >>> Description(lambda x: x + 1).text == Description(lambda x: x + 2).text
    False
    """

    def __init__(self, value, *, shared=True, learned=True):
        self.shared, self.learned = shared, learned
        self.has_generator = False
        self._known = {}
        self._kept = []  # else new objects could get the ids of those let go
        try:
            text = repr(_simplify(value))
            if len(text) > _LENGTH:
                text = f"{text[:_LENGTH]}... ({_hash(text)})"
        except TypeError:
            named = isinstance(value, _CODE[:2])
            name = value.__qualname__ if named else type(value).__qualname__
            text = f"{name} ({self._digest(value)})"
        self.text = text

    def _digest(self, value):
        """Checksum of a value."""
        if isinstance(value, _PLAIN):
            return _hash(f"{type(value).__name__} {value!r}")
        if any(value is shared for shared in _GLOBAL):
            return "a global generator"
        if id(value) in self._known:
            return self._known[id(value)]
        self._known[id(value)] = "a part of itself"  # until its checksum is known
        self._kept.append(value)
        self.has_generator |= isinstance(value, _GENERATORS)
        for kind, take_apart in _PARTS.items():
            if isinstance(value, kind):
                parts = take_apart(self, value)
                break
        else:
            parts = _reduce(value)
        digests = [type(value).__qualname__, *map(self._digest, parts)]
        self._known[id(value)] = _hash(" ".join(digests))
        return self._known[id(value)]

    def _function(self, function):
        """Take a function apart; what it reads comes with the user's own."""
        yield from (_module_name(function), function.__qualname__, function.__code__)
        yield from (function.__defaults__, function.__kwdefaults__, vars(function))
        if not _is_installed(function):
            yield from self._globals(function)
        for cell in function.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # nothing in it yet
                yield "empty"

    def _globals(self, function):
        """Names and values that a function finds outside itself."""
        names, attributes = set(), set()
        _find_names(function.__code__, names, attributes)
        spaces = [(function.__globals__, names)]
        modules = set()
        for space, wanted in spaces:  # which grows
            for name in sorted(wanted & space.keys()):
                value = space[name]
                if not isinstance(value, types.ModuleType):
                    if self._counts(value):
                        yield from (name, value)
                elif not _is_installed(value) and value.__name__ not in modules:
                    modules.add(value.__name__)
                    spaces.append((vars(value), attributes))

    def _counts(self, value):
        is_code = isinstance(value, _CODE) or hasattr(value, "__wrapped__")
        return self.shared or is_code

    def _mapping(self, mapping):
        for key, value in mapping.items():
            yield from (key, value)

    def _set(self, values):
        return sorted(map(self._digest, values))  # in no order, that of strings differs

    def _class(self, kind):
        yield from (_module_name(kind), kind.__qualname__)
        if _is_installed(kind):
            top = sys.modules.get(kind.__module__.partition(".")[0])
            yield str(getattr(top, "__version__", None))
            return
        yield kind.__bases__
        for name, value in sorted(vars(kind).items()):
            if hasattr(value, "hooked"):  # by PyTorch, when an optimizer is first built
                value = value.__wrapped__
                if _is_installed(value):  # found in a base class
                    continue
            if name not in _ADDED and self._counts(value):
                yield from (name, value)

    def _module(self, module):
        """Take a module apart; the keys of hooks count on through the process."""
        kind, parts = type(module), vars(module).copy()
        parts.pop("_compiled_call_impl", None)
        hooks = [name for name in parts if name in _OWN and "_hooks" in name]
        keys = sorted({key for name in hooks for key in parts[name]})
        for name in hooks:
            parts[name] = {keys.index(k): hook for k, hook in parts[name].items()}
        return [kind, parts if self.learned else self._unlearned(module, parts)]

    def _unlearned(self, module, parts):
        """Take from a module what training may change beside its state dict."""
        if type(module).get_extra_state is not torch.nn.Module.get_extra_state:
            return parts["_modules"]
        weights, installed = module._parameters, _is_installed(type(module))
        kept = {"_modules": parts["_modules"]}
        for name, value in parts.items():
            cached = name.startswith("_") or isinstance(value, _FOUND)
            added = name in _OWN or (installed and cached)
            # spectral_norm and weight_norm compute weights anew in each call.
            computed = f"{name}_orig" in weights or f"{name}_g" in weights
            if not (added or computed):
                kept[name] = value
        return kept

    def _array(self, array):
        values = array.tolist() if array.dtype.hasobject else array.tobytes()
        return [array.dtype.str, array.shape, values]

    def _tensor(self, tensor):
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        values = flat.view(torch.uint8).numpy().tobytes()
        return [str(tensor.dtype), tuple(tensor.shape), tensor.requires_grad, values]


_OWN = {*vars(torch.nn.Module())}  # attributes of each module
_FOUND = (type(None), torch.dtype, torch.device)  # out by transforms, when called


# The first that fits says what a value is made of.
_PARTS = {
    types.FunctionType: Description._function,
    types.MethodType: lambda self, method: [method.__self__, method.__func__],
    types.CodeType: lambda self, code: [
        code.co_code,
        code.co_consts,
        code.co_names,
        code.co_varnames,
    ],
    types.ModuleType: lambda self, module: [module.__name__],
    type: Description._class,
    staticmethod | classmethod: lambda self, method: [method.__func__],
    property: lambda self, found: [found.fget, found.fset, found.fdel],
    torch.nn.Module: Description._module,
    np.ndarray: Description._array,
    torch.Tensor: Description._tensor,
    dict: Description._mapping,
    list | tuple: lambda self, values: values,
    set | frozenset: Description._set,
}


def describe_params(params):
    """Tell the parameters of trainings apart.

    Parameters
    ----------
    params : dict
        The estimator's parameters that decide on the network.

    Returns
    -------
    dict of str
        Words by name, those of ``net_params`` one by one.

    Raises
    ------
    ValueError
        If a parameter has a random generator of its own, which no seed resets.
    """
    texts, values = {}, {n: params[n] for n in params.keys() - _FREE - _RESOLVED}
    for key, value in (values.pop("net_params") or {}).items():
        values[f"net_params[{key!r}]"] = value
    for name, value in sorted(values.items()):
        # A callback of the caller's says itself what is to be kept.
        own = name == "callbacks"
        description = Description(value, shared=not own)
        if description.has_generator and not own:
            raise ValueError(
                f"{name}={value!r} has a random generator of its own, which"
                " checkpoint_dir can not bring back: let it draw from the global"
                " generators of PyTorch, NumPy or Python, which random_state seeds."
            )
        texts[name] = description.text
    weights = values["weights"]
    if weights is not None and os.path.isfile(weights):
        with open(weights, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        texts["weights"] = f"a file ({digest[:12]})"
    return texts


def describe_data(X, codes, train, held_out, labels):
    """Tell the data of trainings apart by every value in it.

    Parameters
    ----------
    X : ndarray of shape (n, ...)
        Images.

    codes : ndarray of shape (n,)
        Encoded labels.

    train, held_out : ndarrays of int
        Rows that train, rows held out.

    labels : ndarray of shape (n_classes,)
        Labels in the order of their codes.

    Returns
    -------
    dict of str
        Words by what they are of.
    """
    reader, digest = RowReader(X), hashlib.sha256()
    step = max(1, _BYTES // max(1, X[:1].nbytes))
    for start in range(0, len(X), step):
        digest.update(reader.take(slice(start, start + step)).tobytes())
    split = hashlib.sha256(train.tobytes() + b"held out" + held_out.tobytes())
    coded = hashlib.sha256(codes.tobytes() + repr(labels.tolist()).encode())
    return {
        "X": f"{X.dtype} {X.shape} ({digest.hexdigest()[:12]})",
        "y": f"{len(labels)} classes ({coded.hexdigest()[:12]})",
        "the held-out part": f"{len(held_out)} images ({split.hexdigest()[:12]})",
    }


def describe_machine(device):
    """Tell machines and libraries apart that may round or draw otherwise.

    Parameters
    ----------
    device : str or torch.device
        Where to train.

    Returns
    -------
    dict of str
        Words by what they are of.
    """
    from sksiamese import __version__

    kind = torch.device(device).type
    described = {
        "the kind of device": kind,
        "the version of sksiamese": __version__,
        "the version of PyTorch": str(torch.__version__),
        "the version of NumPy": np.__version__,
    }
    if kind == "cpu":
        described["the number of threads"] = str(torch.get_num_threads())
    return described


def _simplify(value):
    """Write plain values in one way, whatever types they came in."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, dict):
        items = sorted(value.items(), key=lambda item: str(item[0]))
        return {_simplify(key): _simplify(v) for key, v in items}
    if isinstance(value, list | tuple):
        return [_simplify(v) for v in value]
    if type(value) not in _PLAIN:
        raise TypeError(f"{type(value)} is no plain type")
    whole = type(value) is float and value.is_integer()
    return int(value) if whole else value


def _find_names(code, names, attributes):
    """Collect the global names and the attributes that code reads, inner code too."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            names.add(step.argval)
    attributes.update(code.co_names)
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            _find_names(part, names, attributes)


def _module_name(value):
    """Name of the module of a function or class, one for a script in all processes."""
    name = str(value.__module__)
    return "__main__" if name == "__mp_main__" else name


def _is_installed(value):
    """Whether a module, or that of a class or function, is no code of the user's."""
    is_module = isinstance(value, types.ModuleType)
    name = value.__name__ if is_module else _module_name(value)
    top = name.partition(".")[0]
    if top == "__main__":
        return False
    # The version of this library is told beside.
    if top in sys.stdlib_module_names or top == __name__.partition(".")[0]:
        return True
    file = getattr(sys.modules.get(top), "__file__", None) or ""
    return not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)


def _reduce(value):
    """Take an object apart as pickling would, without writing anything."""
    try:
        # functools' cache gives the name of its function, which it also has.
        return [value.__reduce_ex__(4), getattr(value, "__wrapped__", None)]
    except Exception:  # what can not be pickled raises errors of any type
        return [type(value)]


def _hash(text):
    """Short checksum of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
