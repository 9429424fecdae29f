"""What a training does about rare classes, from an estimator's parameters (layer 2)."""

from numbers import Real

import numpy as np
import torch
from sklearn.utils import compute_class_weight

from sksiamese._batches import share_batch
from sksiamese.augment import RandomAffine
from sksiamese.losses import ContrastiveLoss


def balance_classes(module, criterion, params, labels, codes):
    """Set what a network and its loss do about rare classes.

    Parameters
    ----------
    module : EmbeddingNet
        Network, which gets the strength of augmentation of each class.

    criterion : Module
        Loss, which gets the weight of each class.

    params : dict
        The estimator's parameters.

    labels : ndarray of shape (n_known,)
        Every label known; its place is its code.

    codes : int64 ndarray of shape (n,)
        Encoded labels of the training rows.

    Returns
    -------
    str or dict
        The pair budget; a dict has codes as keys.

    Raises
    ------
    ValueError
        If the parameters do not fit each other or the classes. Nothing is set then.
    """
    budget = _check_budget(params, labels, codes)
    strengths = _strengths(module, params, labels, codes)
    weights = _class_weights(criterion, params, labels, codes)
    device = module.preprocess.scale.device
    module.strengths = _as_tensor(strengths, device)
    # A loss of the caller's keeps the weights that it came with.
    if isinstance(params["loss"], str) and _is_contrastive(criterion):
        criterion.class_weight = _as_tensor(weights, device)
    return budget


def refuse_counts(params):
    """Refuse the parameters that need the counts of all classes, for a chunk of data.

    Parameters
    ----------
    params : dict
        The estimator's parameters.

    Raises
    ------
    ValueError
        If one is not at its default.
    """
    weight = params["class_weight"]
    # A classifier without priors derives them from its weights and these numbers.
    derives = weight is not None and params.get("priors", "unknown") is None
    instead = "None or a dict" if isinstance(weight, str) else "None, or give priors"
    known = {
        "augment_minority": (params["augment_minority"] != 1, "1.0"),
        "class_weight": (derives or isinstance(weight, str), instead),
        "priors": (isinstance(params.get("priors"), str), "None or a dict"),
    }
    for name, (needs_counts, instead) in known.items():
        if needs_counts:
            raise ValueError(
                f"{name}={params[name]!r} needs the number of images of each class in"
                " the whole data set, which partial_fit does not know: use fit, or set"
                f" {name} to {instead}."
            )


def _as_tensor(values, device):
    """Put values on the device, or nothing."""
    if values is None:
        return None
    return torch.tensor(values, dtype=torch.float32, device=device)


def _is_contrastive(criterion):
    """Whether a loss, compiled or not, is the contrastive one."""
    return isinstance(getattr(criterion, "_orig_mod", criterion), ContrastiveLoss)


def _by_code(name, given, labels, codes):
    """Numbers of the classes present, by code, from a dict by label."""
    for label, number in given.items():
        if not isinstance(number, Real) or not 0 < number < np.inf:
            raise ValueError(
                f"{name}[{label!r}] is {number!r}: it must be a finite number > 0."
            )
    present = np.unique(codes)
    named = {int(c): float(given[labels[c]]) for c in present if labels[c] in given}
    return named, labels[[c for c in present if c not in named]].tolist()


def _check_budget(params, labels, codes):
    """Pair budget by code, for which a batch has room."""
    budget, batch_size = params["pair_budget"], params["batch_size"]
    if budget != "balanced" and params["classes_per_batch"] != "auto":
        raise ValueError(
            f"classes_per_batch={params['classes_per_batch']} is for"
            f" pair_budget='balanced', but pair_budget={budget!r} says itself which"
            " classes fill a batch: leave classes_per_batch='auto'."
        )
    if isinstance(budget, str):
        return budget
    budget, lacking = _by_code("pair_budget", budget, labels, codes)
    if lacking:
        raise ValueError(
            f"pair_budget names no number for the classes {lacking}: name every class."
        )
    shares = np.array(list(budget.values()))
    room = 2 * len(shares) <= batch_size
    if not room or share_batch(batch_size, shares).min() < 2:
        raise ValueError(
            f"pair_budget={params['pair_budget']!r} leaves a class fewer than two"
            f" images of a batch of batch_size={batch_size}: raise batch_size, or the"
            " numbers of the classes that come short."
        )
    return budget


def _strengths(module, params, labels, codes):
    """Strength of augmentation of each class, or None where all are alike."""
    most = params["augment_minority"]
    if most == 1:
        return None
    if not isinstance(module.augmentation, RandomAffine):
        raise ValueError(
            f"augment_minority={most!r} widens the ranges of RandomAffine, but the"
            f" augmentation is {module.augmentation!r}: use a named strength or a"
            " sksiamese.augment.RandomAffine for images, or leave augment_minority=1.0."
        )
    counts = np.bincount(codes, minlength=len(labels)).clip(1)
    return np.minimum(most, counts.max() / counts)


def _class_weights(criterion, params, labels, codes):
    """Weight of each class in the loss, or None where all are alike."""
    given = params["class_weight"]
    if given is None:
        return None
    if not isinstance(params["loss"], str) or not _is_contrastive(criterion):
        raise ValueError(
            f"class_weight={given!r} weighs pairs for loss='contrastive' and"
            f" 'focal_contrastive', but the loss is {type(criterion).__name__}: use one"
            " of these by name, or leave class_weight=None."
        )
    if isinstance(given, dict):
        named, lacking = _by_code("class_weight", given, labels, codes)
        # A class that is left out has weight 1, as in scikit-learn, unless another
        # name is misspelt.
        if lacking and len(named) < len(given):
            raise ValueError(
                f"class_weight names other classes than y has, but not {lacking}: name"
                " the classes of y."
            )
        given = named
    present, weights = np.unique(codes), np.ones(len(labels))
    weights[present] = compute_class_weight(given, classes=present, y=codes)
    return weights
