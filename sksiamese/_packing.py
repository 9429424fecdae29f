"""Parameters as plain values, and back: no object comes out of a file but those below.

Layer 4, last step. What a file can not hold is replaced by :class:`Missing`.
"""

import enum
import importlib
import inspect
import io
import zipfile
from pathlib import Path, PurePath
from types import FunctionType

import numpy as np
import sklearn
import torch
from sklearn import config_context
from sklearn.base import BaseEstimator

from sksiamese._state_file import check_mersenne_twister
from sksiamese.augment import RandomAffine
from sksiamese.images import ImageReader
from sksiamese.losses import (
    ContrastiveLoss,
    LogisticLoss,
    MultiSimilarityLoss,
    SupervisedContrastiveLoss,
    TripletLoss,
)

_PLAIN = (type(None), bool, int, float, str, bytes, np.generic, np.ndarray)
_SCORES = "sklearn.feature_selection"
_LOSSES = {
    kind.__name__: kind
    for kind in (
        ContrastiveLoss,
        LogisticLoss,
        MultiSimilarityLoss,
        SupervisedContrastiveLoss,
        TripletLoss,
    )
}
# Modules of scikit-learn from which users import estimators.
_FOLDERS = {f"sklearn.{part}" for part in sklearn.__all__}
_FOLDERS |= {f"sklearn.feature_extraction.{part}" for part in ("image", "text")}
_LONGEST = 1 << 24  # embeddings
# What skops does not know, but holds numbers only.
_HARMLESS = ("sklearn.gaussian_process.kernels.", "sklearn.model_selection._split.")
# Methods to which scikit-learn routes metadata.
_METHODS = ("fit", "partial_fit", "predict", "score", "transform")
# Parameters that are folders to write to, on the machine that saved and nowhere else.
PLACES = ("cache_dir", "checkpoint_dir")
# What scikit-learn's estimators have beside parameters and what they learned.
_SETTINGS = {"_sklearn_output_config", "_metadata_request"}


class Missing:
    """Stands for a parameter that a file could not hold.

    Whatever needs the parameter fails and says what to do; predictions do not need it.

    Parameters
    ----------
    name : str
        Name of the parameter.

    was : str
        What it was.
    """

    def __init__(self, name, was):
        self.name = name
        self.was = was

    def __repr__(self):
        return (
            f"<{self.was}, which the file could not hold: give it to sksiamese.load or"
            " to set_params>"
        )

    def __call__(self, *args, **kwargs):
        raise ValueError(f"{self.name} is {self!r}.")


def pack(value, name, pack_estimator):
    """Make plain values of a parameter.

    Parameters
    ----------
    value : object
        The parameter.

    name : str
        Its name.

    pack_estimator : callable
        Called with an estimator of this package; returns plain values.

    Returns
    -------
    dict
        With one item: what it is, and what it is made of.
    """
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return {"value": value} if _is_plain(value) else _missing(value, name)
    if isinstance(value, (*_PLAIN, torch.Tensor)):
        return {"value": _without_subclass(value)}
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        items = [pack(v, name, pack_estimator) for v in value]
        return _first_missing(items) or {kind: items}
    if isinstance(value, dict) and all(isinstance(k, _PLAIN) for k in value):
        items = [pack(v, name, pack_estimator) for v in value.values()]
        return _first_missing(items) or {"dict": [list(value), items]}
    if isinstance(value, BaseEstimator):
        return pack_estimator(value) or _pack_other(value, name, pack_estimator)
    return _pack_object(value) or _missing(value, name)


def is_complete(packed):
    """Whether nothing is missing.

    Parameters
    ----------
    packed : dict
        What :func:`pack` has made.

    Returns
    -------
    bool
        False if something could not be packed.
    """
    return "missing" not in packed


def unpack(packed, name, unpack_estimator):
    """Make a parameter of plain values.

    Parameters
    ----------
    packed : dict
        What :func:`pack` has made.

    name : str
        Name of the parameter.

    unpack_estimator : callable
        Called with what ``pack_estimator`` returned; returns the estimator.

    Returns
    -------
    object
        The parameter, or :class:`Missing`.

    Raises
    ------
    ValueError
        If it names what this package would not have written.
    """
    [(kind, content)] = packed.items()
    if kind in ("list", "tuple"):
        items = [unpack(c, name, unpack_estimator) for c in content]
        return items if kind == "list" else tuple(items)
    if kind == "dict":
        values = [unpack(c, name, unpack_estimator) for c in content[1]]
        return dict(zip(content[0], values, strict=True))
    if kind == "missing":
        return Missing(name, str(content))
    if kind in _UNPACK_ESTIMATOR:
        return _UNPACK_ESTIMATOR[kind](content, name, unpack_estimator)
    if kind == "siamese":
        return unpack_estimator(content)
    if kind not in _UNPACK:
        raise ValueError(f"it holds a {kind!r}, which this version does not know")
    return _UNPACK[kind](content)


def _missing(value, name):
    """Describe what a file can not hold."""
    text = " ".join(f"{name}={value!r}".split())
    return {"missing": text if len(text) <= 100 else f"{text[:97]}..."}


def _first_missing(items):
    """Find what makes a list or a dict something that a file can not hold."""
    return next((item for item in items if not is_complete(item)), None)


def _pack_object(value):
    """Pack an object of a class that is known here; None if it is not."""
    if isinstance(value, PurePath):
        return {"path": str(value)}
    if isinstance(value, np.random.RandomState):
        if value.get_state(legacy=False)["bit_generator"] != "MT19937":
            return None
        return {"random": value.get_state(legacy=True)}
    if type(value) is RandomAffine:
        return {"augmentation": _arguments(value)}
    if type(value) in _LOSSES.values():
        arguments = _loss_arguments(value)
        learned = any(isinstance(v, torch.nn.Parameter) for v in arguments.values())
        return None if learned else {"loss": [type(value).__name__, arguments]}
    if isinstance(value, type) and _is_optimizer(value):
        return {"optimizer": value.__name__}
    if isinstance(value, type) and issubclass(value, np.generic):
        return {"type": np.dtype(value).str}
    ours = isinstance(value, FunctionType) and value.__module__.startswith(_SCORES)
    if ours and _find_score(value.__name__) is value:
        return {"score": value.__name__}
    return None


def _without_subclass(value):
    """Make plain text or numbers of members of an enumeration."""
    if isinstance(value, enum.Enum):
        return value.value
    return value


def _is_plain(array):
    """Whether an array of objects holds values that a file can."""
    return all(isinstance(v, (*_PLAIN[:5], np.generic)) for v in array.ravel())


def _is_optimizer(kind):
    """Whether a class is one of PyTorch's optimizers."""
    known = getattr(torch.optim, kind.__name__, None) is kind
    return known and issubclass(kind, torch.optim.Optimizer)


def _arguments(module):
    """Arguments of a module that keeps all of them, as numbers and names."""
    names = inspect.signature(type(module)).parameters
    return {name: getattr(module, name) for name in names}


def _loss_arguments(loss):
    """Arguments of a loss of this package."""
    if type(loss) is LogisticLoss:
        n_weights = loss.weight.numel()
        return {"embedding_dim": n_weights, "on": loss.on, "mining": loss.mining}
    return _arguments(loss)


def _unpack_loss(content):
    """Build a loss of this package."""
    name, arguments = content
    if name not in _LOSSES:
        raise ValueError(f"there is no loss {name!r} in this version")
    if arguments.get("embedding_dim", 0) > _LONGEST:
        raise ValueError("its loss is for embeddings of no length that there is")
    return _LOSSES[name](**arguments)


def _unpack_optimizer(name):
    """Find one of PyTorch's optimizers."""
    kind = getattr(torch.optim, name, None)
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
        raise ValueError(f"there is no optimizer {name!r} in PyTorch")
    return kind


def _find_score(name):
    """Find one of scikit-learn's functions that score features."""
    scores = importlib.import_module(_SCORES)  # takes a while to load
    score = getattr(scores, name, None)
    if not isinstance(score, FunctionType) or name not in scores.__all__:
        raise ValueError(f"there is no score {name!r} in scikit-learn")
    return score


def _unpack_random(state):
    """Build a generator in the state it was in."""
    generator = np.random.RandomState()
    generator.set_state(check_mersenne_twister(state))
    return generator


# --- scikit-learn -------------------------------------------------------------------


def _pack_other(estimator, name, pack_estimator):
    """Pack an estimator of another package: its parameters, or all that it learned."""
    folder, kind = _public_folder(type(estimator)), type(estimator).__name__
    is_reader = type(estimator) is ImageReader
    if not is_reader and _find_sklearn(folder, kind) is not type(estimator):
        return _missing(estimator, name)
    params = estimator.get_params(deep=False)
    if params.get("memory") is not None:
        return _missing(estimator, name)
    # Marks of parameters that are on their way out, and unknown to older versions.
    params = {k: v for k, v in params.items() if not _is_text(v, "deprecated")}
    fresh = type(estimator)(**params)
    learned = vars(estimator).keys() - vars(fresh).keys() - _SETTINGS
    settings = {
        "output": getattr(estimator, "_sklearn_output_config", None),
        "requests": pack_requests(estimator),
    }
    if is_reader:
        params = {k: v for k, v in params.items() if k not in PLACES}
        attributes = {k: vars(estimator)[k] for k in learned}
        return {"reader": [pack(params, name, pack_estimator), attributes, settings]}
    packed = pack(params, name, pack_estimator)
    if learned or not is_complete(packed):
        return _pack_whole(estimator, name, learned) or packed
    return {"sklearn": [folder, kind, packed, settings]}


def _unpack_sklearn(content, name, unpack_estimator):
    """Build an unfitted estimator of scikit-learn, or one of fitted parts."""
    folder, kind, params, settings = content
    found = _find_sklearn(folder, kind)
    if found is None:
        raise ValueError(
            f"scikit-learn {sklearn.__version__} has no {folder}.{kind}: give"
            f" {name}=..., or load it under the version that the file names"
        )
    params = unpack(params, name, unpack_estimator)
    if params.get("memory") is not None:  # a folder of pickles, which fit would read
        raise ValueError(f"{kind} has a cache, which this package never writes")
    try:
        estimator = found(**params)
    except TypeError as error:
        raise ValueError(
            f"{kind} of scikit-learn {sklearn.__version__} takes other parameters"
            f" ({error}): give {name}=..., or load it under the version that the file"
            " names"
        ) from error
    return _restore(estimator, {}, settings)


def _unpack_reader(content, name, unpack_estimator):
    """Build a reader of files."""
    params, learned, settings = content
    reader = ImageReader(**unpack(params, name, unpack_estimator))
    return _restore(reader, learned, settings)


def _restore(estimator, learned, settings):
    """Set what an estimator learned, the form of its output and what it asks for."""
    check_attributes(estimator, learned)
    vars(estimator).update(learned)
    set_requests(estimator, settings["requests"])
    if settings["output"] is not None:
        estimator.set_output(**settings["output"])
    return estimator


def pack_requests(estimator):
    """List the metadata that an estimator asks scikit-learn to route to its methods.

    Parameters
    ----------
    estimator : estimator
        Any.

    Returns
    -------
    dict
        Method to dict; empty if nothing was asked for.
    """
    if "_metadata_request" not in vars(estimator):
        return {}
    routing = estimator.get_metadata_routing()
    requests = {m: dict(getattr(routing, m).requests) for m in _METHODS}
    return {method: given for method, given in requests.items() if given}


def set_requests(estimator, requests):
    """Ask for metadata as an estimator did that was packed.

    Parameters
    ----------
    estimator : estimator
        Changed in place.

    requests : dict
        What :func:`pack_requests` gave.
    """
    with config_context(enable_metadata_routing=True):
        for method in requests:
            if method not in _METHODS:
                raise ValueError(f"it asks for metadata of a method {method!r}")
            getattr(estimator, f"set_{method}_request")(**requests[method])


def check_attributes(estimator, attributes):
    """Refuse attributes that would hide what the class has.

    Parameters
    ----------
    estimator : estimator
        Estimator that they are for.

    attributes : dict
        Attributes of a file.

    Raises
    ------
    ValueError
        If one is no name, or that of a method, a property or a constant.
    """
    for name in attributes:
        if not str(name).isidentifier() or hasattr(type(estimator), name):
            raise ValueError(f"{type(estimator).__name__} has no attribute {name!r}")


def _is_text(value, text):
    """Whether a value, perhaps an array, is a text."""
    return isinstance(value, str) and value == text


def _public_folder(kind):
    """Name of the module of scikit-learn from which users import a class."""
    name = kind.__module__
    return name if name in _FOLDERS else ".".join(name.split(".")[:2])


def _find_sklearn(folder, kind):
    """Find a public estimator of scikit-learn, or None.

    Only what scikit-learn exports is looked at, so that a file can make nothing else
    be imported.
    """
    if folder not in _FOLDERS or kind.startswith("_"):
        return None
    found = getattr(importlib.import_module(folder), kind, None)
    if not (isinstance(found, type) and issubclass(found, BaseEstimator)):
        return None
    return found if f"{found.__module__}.".startswith(f"{folder}.") else None


def _pack_whole(estimator, name, learned):
    """Pack an estimator of scikit-learn by skops, if that trusts all in it.

    That is what it takes to keep what was learned, or unusual parameters.
    """
    try:
        skops = _import_skops(f"{type(estimator).__name__} that is fitted")
    except ImportError:
        if learned:
            raise
        return None
    try:
        data = skops.dumps(estimator)
        if all(t.startswith(_HARMLESS) for t in skops.get_untrusted_types(data=data)):
            return {"skops": data}
    except Exception:  # skops says in many ways that it knows no way
        pass
    return _missing(estimator, name) if learned else None


def _unpack_whole(data):
    """Build an estimator of scikit-learn from what skops made of it."""
    skops = _import_skops("an estimator of scikit-learn that is fitted")
    with zipfile.ZipFile(io.BytesIO(data)) as parts:
        if any(p.compress_type != zipfile.ZIP_STORED for p in parts.infolist()):
            raise ValueError("it holds a packed archive")
    unknown = skops.get_untrusted_types(data=data)
    if not all(name.startswith(_HARMLESS) for name in unknown):
        raise ValueError(f"it holds types that skops does not trust: {unknown[:3]}")
    return skops.loads(data, trusted=unknown)


def _import_skops(what):
    """Import the package that writes fitted estimators of scikit-learn."""
    try:
        import skops.io
    except ImportError as error:
        raise ImportError(
            f'A file with {what} needs skops: pip install "sksiamese[skops]"'
        ) from error
    return skops.io


_UNPACK_ESTIMATOR = {"sklearn": _unpack_sklearn, "reader": _unpack_reader}
_UNPACK = {
    "value": lambda content: content,
    "path": Path,
    "random": _unpack_random,
    "augmentation": lambda content: RandomAffine(**content),
    "loss": _unpack_loss,
    "optimizer": _unpack_optimizer,
    "type": lambda content: np.dtype(content).type,
    "score": _find_score,
    "skops": _unpack_whole,
}
