"""Backbones: from a standardised image to its embedding (layer 1: torch only).

A backbone maps a float32 tensor of shape ``(n, n_channels, height, width)``, or
``(n, n_features)``, to embeddings of shape ``(n, embedding_dim)``.
"""

import copy
import difflib
import inspect
import math

import torch
from torch import nn

from sksiamese._torchvision import (
    find_weights,
    load_state_file,
    torchvision_backbone,
    torchvision_models,
)


def mlp(input_shape, embedding_dim=64):
    """Two hidden layers of 128 units; for feature vectors.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of one input, without the batch axis.

    embedding_dim : int, default=64
        Length of the embedding.

    Returns
    -------
    Module
        Untrained network.
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(input_shape), 128),
        nn.ReLU(),
        nn.Linear(128, 128),
        nn.ReLU(),
        nn.Linear(128, embedding_dim),
    )


def conv(input_shape, embedding_dim=64):
    """Convolution blocks whose number follows the image size, then a linear layer.

    Each block is a 3x3 convolution, 2x2 max-pooling, batch normalisation and ReLU, in
    the order that costs least: pooling commutes with ReLU, and normalising a quarter
    of the pixels takes a quarter of the time. Blocks halve the image until its shorter
    side is about three pixels.

    Parameters
    ----------
    input_shape : tuple of int
        Channels, height and width.

    embedding_dim : int, default=64
        Length of the embedding.

    Returns
    -------
    Module
        Untrained network.
    """
    channels, *sides = input_shape
    n_blocks = min(6, max(1, math.floor(math.log2(max(2, min(sides)) / 2))))
    layers = []
    for k in range(n_blocks):
        width = min(32 << k, 128)
        layers += [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        channels = width
        sides = [math.ceil(side / 2) for side in sides]
    return nn.Sequential(
        *layers,
        # Whole channels drop out: as good as single values, and the random numbers,
        # which the CPU draws one by one, are fewer.
        nn.Dropout2d(0.2),
        nn.Flatten(),
        nn.Linear(channels * math.prod(sides), embedding_dim),
    )


def conv16_32_64(input_shape, embedding_dim=128):
    """Three convolution blocks of 16, 32 and 64, 512 units, a 128-d embedding.

    The small network of published work on skin lesions at 1:56.

    Parameters
    ----------
    input_shape : tuple of int
        Channels, height and width; at least 8x8 pixels.

    embedding_dim : int, default=128
        Length of the embedding.

    Returns
    -------
    Module
        Untrained network.
    """
    layers, n_values = _plain_blocks(input_shape, (16, 32, 64))
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(n_values, 512),
        nn.ReLU(),
        nn.Linear(512, embedding_dim),
    )


def conv16_32_16(input_shape, embedding_dim=64):
    """Three convolution blocks of 16, 32 and 16 with dropout.

    The small network of published work on malaria cells.

    Parameters
    ----------
    input_shape : tuple of int
        Channels, height and width; at least 8x8 pixels.

    embedding_dim : int, default=64
        Length of the embedding.

    Returns
    -------
    Module
        Untrained network.
    """
    layers, n_values = _plain_blocks(input_shape, (16, 32, 16), dropout=0.2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(n_values, embedding_dim))


def conv4_16_tanh(input_shape, embedding_dim=10):
    """Two 5x5 convolutions with tanh and average pooling, a 10-d tanh embedding.

    The network of published work on medical similarity search, after the Keras example
    "Image similarity estimation using a Siamese Network with a contrastive loss".

    Parameters
    ----------
    input_shape : tuple of int
        Channels, height and width; at least 16x16 pixels.

    embedding_dim : int, default=10
        Length of the embedding.

    Returns
    -------
    Module
        Untrained network.
    """
    channels, *sides = input_shape
    sides = [((side - 4) // 2 - 4) // 2 for side in sides]
    n_values = 16 * math.prod(max(side, 0) for side in sides)
    return nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, 4, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 16, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.BatchNorm1d(n_values),
        nn.Linear(n_values, embedding_dim),
        nn.Tanh(),
    )


def dense128(input_shape, embedding_dim=128):
    """One dense layer of 128 units with ReLU, as in introductory work on MNIST.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of one input, without the batch axis.

    embedding_dim : int, default=128
        Length of the embedding.

    Returns
    -------
    Module
        Untrained network.
    """
    return nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(input_shape), embedding_dim), nn.ReLU()
    )


def _plain_blocks(input_shape, widths, dropout=0.0):
    """Blocks of convolution, ReLU and pooling; also the number of values they leave."""
    channels, *sides = input_shape
    layers = []
    for width in widths:
        layers += [
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        if dropout:
            layers.append(nn.Dropout(dropout))
        channels = width
        sides = [side // 2 for side in sides]
    return layers, channels * math.prod(sides)


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

    Returns
    -------
    list of str
        The small networks of this package, then the classification models of
        ``torchvision.models``.

    Examples
    --------
    >>> from sksiamese.backbones import list_backbones
    >>> names = list_backbones()
    >>> names[:2], "resnet18" in names
    (['mlp', 'conv'], True)
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
