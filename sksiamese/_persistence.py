"""Fitted estimators in files that nothing is run from (layer 5)."""

import contextlib
import importlib.metadata
import platform

import torch
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from sksiamese._archive import locked
from sksiamese._decision import PrototypeHead
from sksiamese._packing import PLACES, is_complete, pack, pack_requests, unpack
from sksiamese._rebuild import describe_net
from sksiamese._restore import CLASSES, N_PROBES, PROTOTYPES, Restorer
from sksiamese._state_file import read_state, write_state

_SAVED = (*CLASSES.values(), Pipeline)
_VERSIONS = ("sksiamese", "torch", "torchvision", "scikit-learn", "skorch", "numpy")
# Attributes that are not plain values.
_OBJECTS = {"net_", "head_", "_unknown_head", "embedder_", "_trained"}
_OBJECTS |= {"_metadata_request"}
# Parts of a network, and the parameters that they come from.
_PARTS = {
    "augmentation": "augment",
    "criterion": "loss",
    "optimizer": "net_params",
    "compile": "net_params",
}


def save(estimator, path):
    """Save an estimator to a file that can be opened without trusting it.

    The file holds the parameters as JSON, the weights as safetensors and arrays as
    NumPy's, with a checksum of everything; no pickle. It is written beside ``path``
    and put in its place in one step when it is whole, so that no program that is
    killed leaves half a model.

    Read more in the :ref:`User Guide <guide-save>`.

    Parameters
    ----------
    estimator : SiameseClassifier, SiameseEmbedder, SiameseVerifier or Pipeline
        Fitted or not. Steps of a pipeline, and the embedder of a verifier, may be
        scikit-learn's; those that are fitted need the package skops.

    path : path-like
        File to write; what is there is replaced. Its folder must exist.

    Raises
    ------
    TypeError
        If it is another object, or holds fitted parts that only a pickle could keep.
        No file is touched then.

    See Also
    --------
    load : Read it again.

    Notes
    -----
    Functions, modules and classes of your own, such as a ``backbone`` that is not a
    name, are not in the file, only the weights are: give them to :func:`load` again.

    Examples
    --------
    >>> import os, tempfile
    >>> from sklearn.datasets import load_digits
    >>> import sksiamese
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X.reshape(-1, 8, 8)
    >>> clf = sksiamese.SiameseClassifier(max_epochs=2, random_state=0)
    >>> path = os.path.join(tempfile.mkdtemp(), "digits.model")
    >>> sksiamese.save(clf.fit(X[:500], y[:500]), path)
    >>> loaded = sksiamese.load(path)
    >>> bool((loaded.predict_proba(X) == clf.predict_proba(X)).all())
    True
    """
    kind = type(estimator)
    if kind not in _SAVED:
        raise TypeError(
            f"estimator is {kind.__module__}.{kind.__qualname__}, but save takes only"
            f" {', '.join(CLASSES)} and scikit-learn's Pipeline of them: save the"
            " step or the best_estimator_ that is one."
        )
    packed = pack(estimator, "estimator", _pack_own)
    if not is_complete(packed):
        raise TypeError(
            f"estimator has a step that only a pickle could keep, with"
            f" {packed['missing']}: leave it out, or save with joblib and trust the"
            " file."
        )
    state = {"versions": _versions(), "estimator": packed}
    with locked(path):
        write_state(path, "model", state)


def load(path, **parameters):
    """Load an estimator that :func:`save` has written.

    Nothing is run from the file, and nothing else is made of it than this package's
    and scikit-learn's estimators, numbers and names. Predictions equal those of the
    estimator that was saved, bit for bit on the same machine with the same number of
    threads and the same versions.

    Read more in the :ref:`User Guide <guide-save>`.

    Parameters
    ----------
    path : path-like
        File to read.

    **parameters : dict
        Parameters that the file could not hold, by name: ``backbone``, if it was a
        module, class or function of your own; ``classifier``, if it is not
        scikit-learn's, which is then fitted again on the embeddings in the file;
        ``loss``, ``augment``, ``callbacks`` and ``net_params``, without which the
        estimator predicts, but raises an error when it is to train. Also ``device``,
        which replaces that in the file, and ``cache_dir`` and ``checkpoint_dir``,
        which are folders of the machine that saved, are not in the file and otherwise
        None.

    Returns
    -------
    estimator
        As it was saved. If it was on a device that is not here, ``device`` is
        ``"auto"``, and a warning says so.

    Raises
    ------
    OSError
        If there is no such file, or it can not be read.

    ValueError
        If it is no model, damaged or of a newer version; if a backbone or classifier
        must be given, or one that is given does not fit the file.

    Warns
    -----
    UserWarning
        If a scikit-learn classifier on the embeddings decides otherwise than it did
        under the versions that saved it, if the device is another, or if a stream of
        ``partial_fit`` can not go on with its optimizer.

    See Also
    --------
    save : Write it.

    Examples
    --------
    A backbone of your own is not in the file, only its weights are:

    >>> import os, tempfile
    >>> from sklearn.datasets import load_digits
    >>> from torch import nn
    >>> import sksiamese
    >>> X, y = load_digits(return_X_y=True)
    >>> backbone = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16))
    >>> embedder = sksiamese.SiameseEmbedder(backbone, max_epochs=1, random_state=0)
    >>> path = os.path.join(tempfile.mkdtemp(), "digits.model")
    >>> sksiamese.save(embedder.fit(X[:500], y[:500]), path)
    >>> loaded = sksiamese.load(path, backbone=backbone)
    >>> bool((loaded.transform(X) == embedder.transform(X)).all())
    True
    """
    with torch.inference_mode(False), _float32():
        return _load(path, Restorer(parameters))


def _load(path, restorer):
    """Load an estimator, or say why not."""
    state = read_state(path, "model")
    try:
        estimator = unpack(state["estimator"], "estimator", restorer.estimator)
        if type(estimator) not in _SAVED:
            raise ValueError(f"it holds a {type(estimator).__name__}")
        restorer.check_used()
    except (ImportError, MemoryError):
        raise
    except ValueError as error:
        raise ValueError(f"{path}: {error}{_written(state)}") from error
    except Exception as error:  # whatever a stranger's file makes fail
        raise ValueError(
            f"{path} is not a whole model: {type(error).__name__}: {error}"
            f"{_written(state)}"
        ) from error
    return estimator


def _versions():
    """Versions that a file is written with."""
    known = {name: importlib.metadata.version(name) for name in _VERSIONS}
    return {**known, "python": platform.python_version()}


def _written(state):
    """Say which versions wrote a file."""
    versions = state.get("versions") if isinstance(state, dict) else None
    if not isinstance(versions, dict):
        return "."
    listed = ", ".join(f"{k} {v}" for k, v in versions.items())
    return f". It was written by {listed}."


# --- to plain values ------------------------------------------------------------------


def _pack_own(estimator):
    """Pack an estimator of this package; None for others."""
    name = type(estimator).__name__
    if CLASSES.get(name) is not type(estimator):
        return None
    params = estimator.get_params(deep=False)
    params = {k: v for k, v in params.items() if k not in PLACES}
    classifier = params.get("classifier")
    if hasattr(classifier, "get_params"):  # clones are all that is made of it
        params["classifier"] = clone(classifier)
    attributes = {
        k: v
        for k, v in vars(estimator).items()
        if k not in {*params, *_OBJECTS, *PLACES}
    }
    parts = {
        "params": {k: pack(v, k, _pack_own) for k, v in params.items()},
        "attributes": attributes,
        "requests": pack_requests(estimator),
    }
    if hasattr(estimator, "net_"):
        parts["net"] = _pack_net(estimator)
    if hasattr(estimator, "head_"):
        parts["head"] = _pack_head(estimator.head_)
        other = estimator._unknown_head
        parts["unknown_head"] = None if other is None else _pack_head(other)
    if hasattr(estimator, "embedder_"):
        parts["embedder"] = _pack_embedder(estimator)
        parts["trained"] = getattr(estimator, "_trained", None) is estimator.embedder
    return {"siamese": [name, parts]}


def _pack_net(estimator):
    """Pack a network; with the optimizer only for a stream that it can go on with."""
    packed = describe_net(estimator.net_)
    scores_pairs = hasattr(packed["criterion"], "pair_logit")
    for part, name in _PARTS.items():
        packed[part] = pack(packed[part], name, _pack_own)
    if not estimator._streaming:  # the next training begins with a new one
        packed["optimizer"] = packed["optimizer_state"] = None
    return {**packed, "scores_pairs": scores_pairs}


def _pack_head(head):
    """Pack what decides on embeddings."""
    if isinstance(head, PrototypeHead):
        settings = {k: vars(head)[k] for k in ("n_prototypes", "random_state")}
        return {**settings, **{k: getattr(head, k) for k in PROTOTYPES}}
    return {
        "classifier": pack(clone(head.classifier), "classifier", _pack_own),
        "random_state": head.random_state,
        "embeddings": head.embeddings_,
        "labels": head.labels_,
        "probe": head.logits(head.embeddings_[:N_PROBES]),
    }


def _pack_embedder(verifier):
    """Pack a verifier's fitted embedder, unless it is the parameter itself."""
    if verifier.embedder_ is verifier.embedder:
        return None
    packed = pack(verifier.embedder_, "embedder", _pack_own)
    if not is_complete(packed):
        raise TypeError(
            "embedder_ of the verifier has something that only a pickle could keep,"
            f" {packed['missing']}: use an embedder of sksiamese, or of scikit-learn"
            " without functions of your own, or save with joblib and trust the file."
        )
    return packed


@contextlib.contextmanager
def _float32():
    """Build modules of float32, whatever the caller builds his of."""
    before = torch.get_default_dtype()
    if before == torch.float32:  # do not touch what all threads share
        yield
        return
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
