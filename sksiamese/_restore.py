"""Estimators of a file, from plain values (layer 4, last step)."""

import copy
import math
import warnings

import numpy as np
import torch
from torch import nn

from sksiamese._classifier import SiameseClassifier
from sksiamese._decision import PrototypeHead, RefittedHead
from sksiamese._device import resolve_device
from sksiamese._embedder import SiameseEmbedder
from sksiamese._packing import (
    PLACES,
    Missing,
    check_attributes,
    is_complete,
    set_requests,
    unpack,
)
from sksiamese._rebuild import rebuild_net
from sksiamese._validation import input_shape
from sksiamese._verifier import SiameseVerifier

CLASSES = {
    kind.__name__: kind
    for kind in (SiameseClassifier, SiameseEmbedder, SiameseVerifier)
}
PROTOTYPES = ("classes_", "prototypes_", "labels_", "counts_")
# Embeddings by which a head that is fitted again is compared with what it was.
N_PROBES = 64
# What fit sets and predictions need.
_FITTED = {"_dtype", "_known_labels", "_n_features_out", "_reads_files", "_streaming"}
_FITTED |= {"_takes_rows", "history_", "image_shape_", "n_features_in_", "n_iter_"}
_CLASSIFIES = {"_population", "calibration_", "classes_", "priors_", "temperature_"}
_LARGEST = 1 << 24  # values of a blank image that a network is tried on


class Restorer:
    """Builds the estimators of one file, with the parameters that the caller gives.

    Parameters
    ----------
    given : dict
        Parameters by name.
    """

    def __init__(self, given):
        self._given, self._used = given, {"device", *PLACES}

    def check_used(self):
        """Refuse parameters that the file has itself.

        Raises
        ------
        ValueError
            If one was given that nothing lacked.
        """
        unused = sorted(set(self._given) - self._used)
        if unused:
            raise ValueError(
                f"{', '.join(unused)} was given, but the file holds it or knows no such"
                " parameter: leave it out, and use set_params on what is loaded"
            )

    def estimator(self, content):
        """Build an estimator of this package.

        Parameters
        ----------
        content : list
            Name of the class, and the parts of the estimator.

        Returns
        -------
        estimator
            As it was saved.

        Raises
        ------
        ValueError
            If the parts do not fit each other, or the caller must give more.
        """
        name, parts = content
        if name not in CLASSES:
            raise ValueError(f"there is no {name!r} in this version")
        params = {k: self._parameter(k, v) for k, v in parts["params"].items()}
        params |= {k: v for k, v in self._given.items() if k in PLACES}
        device = None if name == "SiameseVerifier" else self._choose_device(params)
        estimator = CLASSES[name](**params)
        check_attributes(estimator, parts["attributes"])
        vars(estimator).update(parts["attributes"])
        set_requests(estimator, parts["requests"])
        if "net" in parts:
            _check_attributes_of_fit(estimator)
            _check_shape(estimator, parts["net"]["module"])
            estimator.net_ = self._net(parts["net"], device, estimator)
        if "head" in parts:
            other = parts["unknown_head"]
            estimator.head_ = self._head(parts["head"])
            estimator._unknown_head = None if other is None else self._head(other)
            _check_classes(estimator)
            _try_head(estimator, _try_net(estimator))
        elif "net" in parts:
            _try_net(estimator)
        if "embedder" in parts:
            self._finish_verifier(estimator, parts)
        return estimator

    def _parameter(self, name, packed):
        """Build a parameter, or take the caller's for what the file can not hold."""
        if is_complete(packed):
            return unpack(packed, name, self.estimator)
        if name in self._given:
            self._used.add(name)
            return self._given[name]
        return unpack(packed, name, self.estimator)

    def _choose_device(self, params):
        """Find the device; one that is not here becomes ``"auto"``."""
        params.setdefault("device", "auto")
        if not isinstance(params["device"], str):
            raise ValueError(f"its device is {params['device']!r}, not a name")
        if "device" in self._given:
            params["device"] = self._given["device"]
            return resolve_device(params["device"])
        try:
            return resolve_device(params["device"])
        except ValueError as error:
            warnings.warn(f"{error} device is now 'auto'.", UserWarning, stacklevel=6)
            params["device"] = "auto"
            return resolve_device("auto")

    def _take(self, name):
        """Take a parameter that the caller must give."""
        if name not in self._given:
            raise ValueError(
                f"{name} was something that a file can not hold: give it again,"
                f" load(path, {name}=...)"
            )
        self._used.add(name)
        return self._given[name]

    def _net(self, packed, device, estimator):
        """Build the network."""
        own = packed["module"]["origin"]["backbone"] is None
        parts = {
            "optimizer": self._optimizer(packed, estimator),
            "augmentation": self._augmentation(packed),
            "compile": {},
        }
        if is_complete(packed["compile"]):
            parts["compile"] = unpack(packed["compile"], "net_params", None)
        if is_complete(packed["criterion"]):
            parts["criterion"] = unpack(packed["criterion"], "loss", None)
        elif packed["scores_pairs"] or "loss" in self._given:
            parts["criterion"] = copy.deepcopy(self._take("loss"))
        else:
            parts |= {"criterion": _NoLoss(), "criterion_state": {}}
        return rebuild_net(
            {**packed, **parts},
            device=device,
            backbone=self._take("backbone") if own else None,
            callbacks=estimator.callbacks if estimator._streaming else None,
        )

    def _optimizer(self, packed, estimator):
        """Find the optimizer that a stream goes on with, or None."""
        if packed["optimizer"] is None:
            return None
        incomplete = isinstance(estimator.callbacks, Missing)
        if is_complete(packed["optimizer"]) and not incomplete:
            return unpack(packed["optimizer"], "net_params", None)
        if "net_params" in self._given and not incomplete:
            given = self._take("net_params")
            options = {k: v for k, v in given.items() if k.startswith("optimizer__")}
            return {"class": given["optimizer"], **options}
        estimator._streaming = False
        warnings.warn(
            "The stream of partial_fit can not go on with its optimizer, but begins a"
            " new one: give callbacks and net_params to sksiamese.load to go on.",
            UserWarning,
            stacklevel=7,
        )
        return None

    def _augmentation(self, packed):
        """Build the augmentation, without which a network can embed."""
        if is_complete(packed["augmentation"]) or "augment" not in self._given:
            return unpack(packed["augmentation"], "augment", None)
        return copy.deepcopy(self._take("augment"))

    def _head(self, packed):
        """Build what decides on embeddings."""
        if "prototypes_" in packed:
            head = PrototypeHead(packed["n_prototypes"], packed["random_state"])
            vars(head).update({k: packed[k] for k in PROTOTYPES})
            _check_rows(head.prototypes_, head.labels_, head.counts_)
            return head
        if is_complete(packed["classifier"]):
            classifier = unpack(packed["classifier"], "classifier", self.estimator)
        else:
            classifier = self._take("classifier")
        head = RefittedHead(classifier, packed["random_state"])
        embeddings = packed["embeddings"]
        _check_rows(embeddings, packed["labels"])
        head.partial_fit(embeddings, packed["labels"])
        probe = head.logits(embeddings[:N_PROBES])
        if not np.allclose(probe, packed["probe"], rtol=1e-4, atol=1e-6):
            warnings.warn(
                f"{classifier!r} was fitted again on the embeddings in the file, and"
                " now gives other scores: by up to"
                f" {np.abs(probe - packed['probe']).max():.2g} for images it knows.",
                UserWarning,
                stacklevel=7,
            )
        return head

    def _finish_verifier(self, verifier, parts):
        """Give a verifier its embedder."""
        packed = parts["embedder"]
        verifier.embedder_ = verifier.embedder
        if packed is not None:
            verifier.embedder_ = unpack(packed, "embedder", self.estimator)
        if parts["trained"]:
            verifier._trained = verifier.embedder


def _check_rows(embeddings, *columns):
    """Refuse embeddings and what belongs to them if their numbers differ."""
    if embeddings.ndim != 2 or any(c.shape != embeddings.shape[:1] for c in columns):
        raise ValueError("its head has embeddings and labels of different number")
    if embeddings.dtype != np.float32 or not np.isfinite(embeddings).all():
        raise ValueError("its head has embeddings that are none")


def _check_attributes_of_fit(estimator):
    """Refuse a fitted estimator that lacks what predictions need."""
    needed = _FITTED
    if isinstance(estimator, SiameseClassifier):
        needed = needed | _CLASSIFIES
    lacking = needed - vars(estimator).keys()
    if lacking:
        raise ValueError(f"it lacks {', '.join(sorted(lacking))}")


def _check_shape(estimator, module):
    """Refuse a network for other images than the estimator's."""
    form = {k: module[k] for k in ("image_size", "to_rgb")}
    if input_shape(estimator.image_shape_, **form) != module["origin"]["input_shape"]:
        raise ValueError("its network is for images of another shape")


def _try_net(estimator):
    """Embed a blank image: what fails would fail in each prediction."""
    net = estimator.net_
    module = getattr(net.module_, "_orig_mod", net.module_)  # compiled when it is used
    shape = module.origin["input_shape"]
    if math.prod(shape) > _LARGEST:
        return np.zeros((1, estimator._n_features_out), np.float32)
    with torch.no_grad():
        blank = torch.zeros(1, *shape, device=net.device)
        return module.backbone(blank).float().cpu().numpy()


def _try_head(classifier, Z):
    """Decide on an embedding: what fails would fail in each prediction."""
    scores = classifier.head_.logits(Z)
    classifier._calibrated(scores)
    classifier._novelty(Z, scores)


def _check_classes(classifier):
    """Refuse a head for other embeddings or classes."""
    dim = classifier._n_features_out
    for head in (classifier.head_, classifier._unknown_head):
        if head is not None and (
            getattr(head, "prototypes_", getattr(head, "embeddings_", None)).shape[1]
            != dim
            or not np.isin(head.classes_, classifier.classes_).all()
        ):
            raise ValueError("its head is of other embeddings or classes")


class _NoLoss(nn.Module):
    """Stands for a loss that the file could not hold."""

    def forward(self, embeddings, labels):
        """Refuse to train."""
        raise ValueError(
            "loss was an object of your own, which a file can not hold: give it to"
            " sksiamese.load, or to set_params and fit anew."
        )
