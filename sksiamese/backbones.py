"""Backbones: from a standardised image to its embedding (layer 1: torch only).

A backbone maps a float32 tensor of shape ``(n, n_channels, height, width)``, or
``(n, n_features)``, to embeddings of shape ``(n, embedding_dim)``.
"""

import copy
import difflib
import inspect

import torch
from torch import nn

from sksiamese._networks import (
    conv,
    conv4_16_tanh,
    conv16_32_16,
    conv16_32_64,
    dense128,
    mlp,
)
from sksiamese._torchvision import (
    find_weights,
    load_state_file,
    torchvision_backbone,
    torchvision_models,
)

__all__ = [
    "conv",
    "conv16_32_16",
    "conv16_32_64",
    "conv4_16_tanh",
    "dense128",
    "list_backbones",
    "mlp",
]


_NAMED = {
    "mlp": mlp,
    "conv": conv,
    "conv16-32-64": conv16_32_64,
    "conv16-32-16": conv16_32_16,
    "conv4-16-tanh": conv4_16_tanh,
    "dense128": dense128,
}
# Of these the input may be a feature vector.
_TAKES_VECTORS = ("mlp", "dense128")


def list_backbones():
    """List the names that ``backbone=`` accepts.

    Beside them, estimators take ``backbone="auto"``, which is ``"conv"`` for images and
    ``"mlp"`` for feature vectors, and modules, classes and functions of your own.
    torchvision's models get a linear layer of ``embedding_dim`` units in place of their
    classifier, and can start from pretrained ``weights``. Where images are too small
    for one of them, ``fit`` says so.

    Returns
    -------
    list of str
        The small networks of this package, then the classification models of
        ``torchvision.models``.

    See Also
    --------
    conv : The default for images.
    mlp : The default for feature vectors.
    torchvision.models.list_models : All models of torchvision.

    Examples
    --------
    >>> from sksiamese.backbones import list_backbones
    >>> names = list_backbones()
    >>> names[:6]
    ['mlp', 'conv', 'conv16-32-64', 'conv16-32-16', 'conv4-16-tanh', 'dense128']
    >>> [name for name in names if name.startswith("densenet")]
    ['densenet121', 'densenet161', 'densenet169', 'densenet201']
    """
    return [*_NAMED, *torchvision_models().list_models(module=torchvision_models())]


def make_backbone(backbone, input_shape, *, embedding_dim=None, weights=None):
    """Build the backbone that an estimator's parameters describe.

    Parameters
    ----------
    backbone : str, Module, class or callable
        ``"auto"``, a name of :func:`list_backbones`, a module, which is copied, or a
        class or callable that returns one. A callable that has arguments named
        ``input_shape`` or ``embedding_dim`` is given them.

    input_shape : tuple of int
        ``(n_channels, height, width)`` or ``(n_features,)``.

    embedding_dim : int or None, default=None
        Length of the embedding; None takes the backbone's own.

    weights : str, path-like or None, default=None
        Name of torchvision weights, ``"DEFAULT"``, or the path of a state dict, which
        is read without unpickling anything but tensors.

    Returns
    -------
    Module
        The backbone, in evaluation mode.

    embedding_dim : int
        Length of its embeddings, found by passing zeros through it.

    Raises
    ------
    ValueError
        If the name is unknown, the weights do not fit or are not there, the input is
        too small or the output has the wrong shape. The message says what to do.
    """
    if isinstance(backbone, str):
        name = resolve_backbone(backbone, input_shape)
        module = named_backbone(name, input_shape, embedding_dim, weights)
    else:
        module = _custom_backbone(backbone, input_shape, embedding_dim)
        if weights is not None:
            _count_outputs(module, input_shape, backbone)  # gives lazy layers a shape
            load_state_file(module, weights, backbone)
    n_outputs = _count_outputs(module, input_shape, backbone)
    if embedding_dim not in (None, n_outputs):
        raise ValueError(
            f"backbone={backbone!r} returns {n_outputs} values per sample, but"
            f" embedding_dim={embedding_dim}: set embedding_dim={n_outputs} or None, or"
            " change the module's last layer."
        )
    return module, n_outputs


def resolve_backbone(backbone, input_shape):
    """Find the name of a backbone.

    Parameters
    ----------
    backbone : str, Module, class or callable
        The estimator's parameter.

    input_shape : tuple of int
        ``(n_channels, height, width)`` or ``(n_features,)``.

    Returns
    -------
    str or None
        Name of :func:`list_backbones`; None for a backbone of the caller's own.
    """
    if backbone == "auto":
        return "conv" if len(input_shape) == 3 else "mlp"
    return backbone if isinstance(backbone, str) else None


def uses_pretrained_weights(backbone, weights):
    """Whether a backbone brings the normalisation of the weights it starts from.

    Parameters
    ----------
    backbone : object
        The estimator's parameter.

    weights : object
        The estimator's parameter.

    Returns
    -------
    bool
        True for a torchvision model with weights.
    """
    own = not isinstance(backbone, str) or backbone == "auto" or backbone in _NAMED
    return weights is not None and not own


def pretrained_statistics(backbone, weights):
    """Channel means and deviations that pretrained weights expect.

    Parameters
    ----------
    backbone : str
        Name of a torchvision model.

    weights : str or path-like
        Name of its weights; a path is taken to be normalised like the default ones.

    Returns
    -------
    mean : list of float
        Means for values in [0, 1], one per RGB channel.

    std : list of float
        Deviations, likewise.
    """
    entry = find_weights(backbone, weights)
    if entry is None:
        entry = torchvision_models().get_model_weights(backbone).DEFAULT
    transforms = entry.transforms()
    return transforms.mean, transforms.std


def named_backbone(name, input_shape, embedding_dim, weights=None):
    """Build a backbone by name.

    Parameters
    ----------
    name : str
        Name of :func:`list_backbones`.

    input_shape : tuple of int
        ``(n_channels, height, width)`` or ``(n_features,)``.

    embedding_dim : int or None
        Length of the embedding; None takes the backbone's own.

    weights : str, path-like or None, default=None
        Weights to start from.

    Returns
    -------
    Module
        The backbone.

    Raises
    ------
    ValueError
        If the name is unknown, or the weights do not fit or are not there.
    """
    is_image = len(input_shape) == 3
    if name in _NAMED:
        if not (is_image or name in _TAKES_VECTORS):
            raise ValueError(_needs_images(name))
        given = {} if embedding_dim is None else {"embedding_dim": embedding_dim}
        module = _NAMED[name](input_shape, **given)
        if weights is not None:
            load_state_file(module, weights, name)
        return module
    known = list_backbones()
    if name not in known:
        close = difflib.get_close_matches(name, ["auto", *known], n=3)
        hint = f" Did you mean {', '.join(map(repr, close))}?" if close else ""
        raise ValueError(
            f"backbone={name!r} is unknown.{hint} See"
            " sksiamese.backbones.list_backbones() for all names."
        )
    if not is_image:
        raise ValueError(_needs_images(name))
    return torchvision_backbone(name, input_shape, embedding_dim or 64, weights)


def _needs_images(name):
    return (
        f"backbone={name!r} needs images, but X holds feature vectors: set image_shape"
        " if the rows of X are flattened images, or use backbone='mlp'."
    )


def _custom_backbone(backbone, input_shape, embedding_dim):
    """Copy the user's module, or call the user's class or function for one."""
    if isinstance(backbone, nn.Module):
        return copy.deepcopy(backbone)
    accepted = inspect.signature(backbone).parameters
    offered = {"input_shape": input_shape, "embedding_dim": embedding_dim}
    if not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
        offered = {k: v for k, v in offered.items() if k in accepted}
    own_default = accepted.get("embedding_dim")
    if embedding_dim is None and own_default is not None:
        if own_default.default is not own_default.empty:
            del offered["embedding_dim"]
    try:
        module = backbone(**offered)
    except TypeError as error:
        raise ValueError(
            f"backbone={backbone!r} could not be called with {sorted(offered)}: give it"
            f" defaults for its other arguments, or pass a module. It said: {error}"
        ) from error
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"backbone={backbone!r} returned a {type(module).__name__}, not a"
            " torch.nn.Module."
        )
    return copy.deepcopy(module)  # a callable may give out the same one each time


def _count_outputs(module, input_shape, backbone):
    """Length of the embedding, by a forward pass of zeros."""
    module.eval()
    try:
        with torch.no_grad():
            output = module(torch.zeros(2, *input_shape))
    except Exception as error:  # a module may fail in any way
        raise ValueError(
            f"backbone={backbone!r} cannot take inputs of shape {tuple(input_shape)}"
            " (channels, height, width): set image_size to the size it needs, or"
            f" choose another backbone. It said: {error}"
        ) from error
    shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output)
    if not isinstance(shape, tuple) or len(shape) != 2 or shape[0] != 2:
        raise ValueError(
            f"backbone={backbone!r} must return a tensor of shape (n, embedding_dim),"
            f" but a batch of 2 gave {shape}."
        )
    return shape[1]
