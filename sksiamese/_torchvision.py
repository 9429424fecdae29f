"""torchvision's classification models as backbones (layer 1, below ``backbones``)."""

import os
import re

import torch
from torch import nn


def torchvision_models():
    """Import ``torchvision.models``, which costs a second, when it is needed.

    Returns
    -------
    module
        ``torchvision.models``.
    """
    from torchvision import models

    return models


def find_weights(name, weights):
    """Find the torchvision entry that ``weights`` names.

    Parameters
    ----------
    name : str
        Name of a model.

    weights : str or path-like
        Name of its weights, or a path.

    Returns
    -------
    torchvision.models.WeightsEnum or None
        None for a path.

    Raises
    ------
    ValueError
        If it is neither.
    """
    entries = torchvision_models().get_model_weights(name)
    if isinstance(weights, str) and weights in entries.__members__:
        return entries[weights]
    if os.path.exists(weights):
        return None
    raise ValueError(
        f"weights={str(weights)!r} is neither a file nor weights of {name!r}, which has"
        f" {', '.join(map(repr, entries.__members__))}."
    )


def torchvision_backbone(name, input_shape, embedding_dim, weights):
    """Build a torchvision model with a linear embedding layer as its classifier.

    Parameters
    ----------
    name : str
        Name of a model.

    input_shape : tuple of int
        Channels, height and width.

    embedding_dim : int
        Length of the embedding.

    weights : str, path-like or None
        Weights to start from.

    Returns
    -------
    Module
        The network.
    """
    n_channels, *sides = input_shape
    extra = _without_auxiliary(name)
    if weights is None:
        if name.startswith("vit"):
            # A side that patches do not divide is refused by the first forward pass.
            patch = int(name.rsplit("_", 1)[1])
            extra["image_size"] = max(patch, sides[0] // patch * patch)
        model = torchvision_models().get_model(name, weights=None, **extra)
    elif n_channels != 3:
        raise ValueError(
            f"weights={str(weights)!r} are for grey or RGB images, but X has"
            f" {n_channels} channels: use weights=None or a subset of the channels."
        )
    else:
        model = _pretrained_model(name, weights, extra)
    _adapt_stem(model, n_channels, min(sides), keep_kernel=weights is not None)
    _replace_classifier(model, embedding_dim)
    return model


def torchvision_structure(name, input_shape, embedding_dim):
    """Build a backbone as for pretrained weights, but without any.

    Parameters
    ----------
    name : str
        Name of a model.

    input_shape : tuple of int
        Channels, height and width.

    embedding_dim : int
        Length of the embedding.

    Returns
    -------
    Module
        The network, with weights at random.
    """
    extra = _without_auxiliary(name)
    if extra:
        extra["transform_input"] = True
    if name.startswith("vit"):  # takes images of the one size only
        extra["image_size"] = input_shape[1]
    model = torchvision_models().get_model(name, weights=None, **extra)
    _adapt_stem(model, input_shape[0], min(input_shape[1:]), keep_kernel=True)
    _replace_classifier(model, embedding_dim)
    return model


def _without_auxiliary(name):
    """Arguments of the models that have auxiliary classifiers.

    These have no meaning for an embedding, and 1000-class weight initialisation by
    rejection sampling takes half a minute.
    """
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": False}
    return {}


def _pretrained_model(name, weights, extra):
    """Build a model and load its weights, published ones or those of a file."""
    entry = find_weights(name, weights)
    if entry is None:
        state = _read_state_dict(weights)
    else:
        state = _published_state(name, entry)
        if name.startswith("vit"):
            extra["image_size"] = entry.meta["min_size"][0]
    if "aux_logits" in extra:
        extra["transform_input"] = True  # as published weights expect
    # torchvision itself would unpickle whatever is in the file of published weights.
    model = torchvision_models().get_model(name, weights=None, **extra)
    _load_state(model, state, weights, name)
    return model


def _published_state(name, entry):
    """Read published weights, downloaded first where they are not yet."""
    folder = os.path.join(torch.hub.get_dir(), "checkpoints")
    file = os.path.basename(entry.url)
    try:
        return _current_names(entry.get_state_dict(check_hash=True, weights_only=True))
    except OSError as error:
        raise ValueError(
            f"weights={entry.name!r} of {name!r} could not be downloaded ({error})."
            f" Fetch {entry.url} on a machine with network access and put {file} into"
            f" {folder}, or pass the path of a state dict as weights."
        ) from error
    except Exception as error:  # torch.load has a dozen ways to dislike a file
        raise ValueError(
            f"weights={entry.name!r} of {name!r} could not be read"
            f" ({type(error).__name__}): {file} is not what {entry.url} should give."
            f" Remove it from {folder} if it is there."
        ) from error


def _adapt_stem(model, n_channels, shorter_side, *, keep_kernel):
    """Fit the first convolution to the channels, and to images under 64 pixels.

    A 7x7 stride-2 convolution followed by pooling leaves 7x7 pixels of a 28x28 image
    for a network that halves it three times more. Small images get stride 1, no
    pooling, and a 3x3 kernel where no pretrained one is to be kept.
    """
    name, stem = next(
        (n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)
    )
    patches = stem.stride == stem.kernel_size  # ViT, Swin, ConvNeXt: not a stem to thin
    small = shorter_side < 64 and not patches
    stride, kernel, padding = stem.stride, stem.kernel_size, stem.padding
    if small:
        stride = (1, 1)
        if not keep_kernel and kernel[0] > 3:
            kernel, padding = (3, 3), (1, 1)
        for pool in ("maxpool", "features.pool0", "maxpool1"):
            _set_if_there(model, pool, nn.Identity())
    if keep_kernel:
        stem.stride = stride
    elif small or n_channels != stem.in_channels:
        shape = n_channels, stem.out_channels, kernel, stride, padding
        new = nn.Conv2d(*shape, bias=stem.bias is not None)
        _set_if_there(model, name, new)


def _set_if_there(model, path, new):
    """Replace a submodule by its dotted path."""
    parent_path, _, child = path.rpartition(".")
    try:
        parent = model.get_submodule(parent_path)
        parent.get_submodule(child)
    except AttributeError:
        return
    setattr(parent, child, new)


def _replace_classifier(model, embedding_dim):
    """Put a linear embedding layer in the place of the classifier."""
    if type(model).__name__ == "SqueezeNet":  # its classifier is a convolution
        model.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, embedding_dim)
        )
        return
    name, last = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear)][
        -1
    ]
    _set_if_there(model, name, nn.Linear(last.in_features, embedding_dim))


def load_state_file(module, weights, backbone):
    """Load a state dict from a file; a last layer of another width is left out.

    Parameters
    ----------
    module : Module
        Changed in place.

    weights : str or path-like
        Path of the file, which is read without unpickling anything but tensors.

    backbone : object
        The estimator's parameter, for messages.

    Raises
    ------
    ValueError
        If there is no such file or it belongs to another network.
    """
    if not os.path.exists(weights):
        raise ValueError(
            f"weights={str(weights)!r} is not a file, and backbone={backbone!r} has no"
            " named weights: pass None or the path of a state dict."
        )
    _load_state(module, _read_state_dict(weights), weights, backbone)


def _load_state(module, state, weights, backbone):
    """Load a state dict; a last layer of another width is left out."""
    own = module.state_dict()
    # A classifier of other classes is left out, but not one of other features.
    last = list(own)[-1].rpartition(".")[0] if own else ""
    head = {key for key in own if key.rpartition(".")[0] == last}
    misfits = [k for k in state if k in own and state[k].shape != own[k].shape]
    left_out = {
        k for k in misfits if k in head and state[k].shape[1:] == own[k].shape[1:]
    }
    state = {k: v for k, v in state.items() if k not in left_out}
    # Files from before PyTorch 0.4.1 do not count batches.
    optional = head | {key for key in own if key.endswith("num_batches_tracked")}
    missing = [k for k in own if k not in state and k not in optional]
    unknown = [k for k in state if k not in own]
    bad = [k for k in misfits if k not in left_out]
    if missing or unknown or bad:
        listed = ", ".join((missing + unknown + bad)[:5])
        raise ValueError(
            f"weights={str(weights)!r} does not fit backbone={backbone!r}:"
            f" {len(missing)} entries are missing, {len(unknown)} unknown and"
            f" {len(bad)} of another shape, among them {listed}."
        )
    own.update(state)  # it has the layers' versions, which MNASNet asks for
    module.load_state_dict(own)


def _read_state_dict(path):
    """Read a state dict from a file."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"it holds a {type(state).__name__}")
    except Exception as error:  # torch.load has a dozen ways to dislike a file
        raise ValueError(
            f"weights={str(path)!r} is not the file of a state dict, as torch.save("
            f"module.state_dict(), path) writes it: {type(error).__name__}"
        ) from error
    return _current_names(state)


def _current_names(state):
    """Rename the entries of published files as torchvision's modules have them now."""
    # DenseNet's published files name layers in a way that modules no longer allow;
    # auxiliary classifiers have no place in an embedding.
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
    auxiliary = ("aux1.", "aux2.", "AuxLogits.")
    return {
        old.sub(r"\1\2", key): value
        for key, value in state.items()
        if not key.startswith(auxiliary)
    }
