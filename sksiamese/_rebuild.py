"""A trained network as plain values and weights, and back (layer 2, last step)."""

import copy

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from sksiamese._checkpoint import load_optimizer, load_weights
from sksiamese._module import EmbeddingNet
from sksiamese._net import SiameseNet
from sksiamese._preprocess import Preprocess
from sksiamese._torchvision import torchvision_structure
from sksiamese.backbones import make_backbone, named_backbone

# Arguments of a network that a stream of chunks goes on with.
_ARGUMENTS = (
    "lr",
    "max_epochs",
    "batch_size",
    "classes_per_batch",
    "pair_budget",
    "batch_seed",
    "bfloat16",
)
# What a callback may have put into the history beside what is trained by.
_RECORDED = (bool, int, float, str, np.generic)


def describe_module(module):
    """Tell how a network is built, and what it has learned.

    Parameters
    ----------
    module : EmbeddingNet
        Network that :func:`make_module` has built.

    Returns
    -------
    dict
        Plain values and tensors, for :func:`rebuild_module`. Augmentation is not among
        them, and of a backbone of the caller's own only the weights are.
    """
    state = module.state_dict()
    return {
        "origin": module.origin,
        "image_size": module.preprocess.image_size,
        "to_rgb": module.preprocess.to_rgb,
        "augments_raw": module.raw is not None,
        "per_image": module.per_image,
        "normalize": module.normalize,
        "strengths": module.strengths,
        "state": {k: v for k, v in state.items() if not k.startswith("augmentation.")},
    }


def rebuild_module(description, *, backbone=None, augmentation=None):
    """Build a network that has learned already.

    Parameters
    ----------
    description : dict
        What :func:`describe_module` told.

    backbone : Module, class, callable or None, default=None
        The caller's own backbone. None is the named one of the description.

    augmentation : callable or None, default=None
        Changes training images.

    Returns
    -------
    EmbeddingNet
        The network, on the CPU.

    Raises
    ------
    ValueError
        If the weights are those of another network. Nothing larger than they are has
        been allocated then, unless the backbone is the caller's own.
    """
    origin, state = description["origin"], description["state"]
    if backbone is None:
        network = _rebuild_backbone(origin, state)
    else:
        shape, dim = origin["input_shape"], origin["embedding_dim"]
        with torch.random.fork_rng([]):  # without waiting for trainings elsewhere
            network, _ = make_backbone(backbone, shape, embedding_dim=dim)
    form = {k: description[k] for k in ("image_size", "to_rgb")}
    blank = np.ones(len(state["preprocess.mean"]))
    module = EmbeddingNet(
        Preprocess(blank, blank, **form),
        network,
        raw=Preprocess([0.0], [1.0], **form) if description["augments_raw"] else None,
        per_image=description["per_image"],
        normalize=description["normalize"],
        trainable=origin["trainable"],
    )
    _check_state(module.state_dict(), state, backbone or origin["backbone"])
    load_weights(module, state)
    module.augmentation, module.strengths = augmentation, description["strengths"]
    module.origin = origin
    return module


def _rebuild_backbone(origin, state):
    """Build a named backbone, without weights, for those that it had before."""
    name, shape = origin["backbone"], origin["input_shape"]
    build = torchvision_structure if origin["pretrained"] else named_backbone
    with _Unallocated():  # whatever sizes the description has
        network = build(name, shape, origin["embedding_dim"])
    prefix = "backbone."
    learned = {k.removeprefix(prefix): state[k] for k in state if k.startswith(prefix)}
    _check_state(network.state_dict(), learned, name)
    return network.to_empty(device="cpu").eval()


def _check_state(own, state, given, name="backbone"):
    """Refuse weights of another network."""
    bad = [key for key in state if key not in own]
    bad += [
        key
        for key, value in own.items()
        if key not in state or not _alike(state[key], value)
    ]
    if bad:
        raise ValueError(
            f"{name}={given!r} does not fit the weights: {len(bad)} of {len(own)}"
            " entries are missing, unknown or of another shape or type, among them"
            f" {', '.join(map(str, bad[:5]))}."
        )


def _alike(a, b):
    """Whether tensors have one form; what else a module keeps, it checks itself."""
    if not isinstance(b, torch.Tensor):
        return not isinstance(a, torch.Tensor)
    return isinstance(a, torch.Tensor) and (a.shape, a.dtype) == (b.shape, b.dtype)


class _Unallocated(TorchFunctionMode):
    """Makes tensors that have a shape but no memory.

    ``torch.device("meta")`` would do so to the short ones too by which RegNets work out
    their sizes.
    """

    _sized = (torch.empty, torch.zeros, torch.ones, torch.full)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in self._sized and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


def describe_net(net):
    """Tell what a trained network needs to embed, and to go on with its stream.

    Parameters
    ----------
    net : SiameseNet
        Trained network.

    Returns
    -------
    dict
        Plain values and tensors, for :func:`rebuild_net`; and what may be the caller's
        own: ``"criterion"``, ``"optimizer"``, ``"augmentation"`` and ``"compile"``.
    """
    module, criterion = (
        getattr(m, "_orig_mod", m)  # if compiled
        for m in (net.module_, net.criterion_)
    )
    options = {k: v for k, v in vars(net).items() if k.startswith("optimizer__")}
    compiled = {k: v for k, v in vars(net).items() if k.startswith("compile")}
    return {
        "module": describe_module(module),
        "augmentation": module.augmentation,
        "criterion": criterion,
        "criterion_state": criterion.state_dict(),
        "optimizer": {"class": net.optimizer, **options},
        "optimizer_state": net.optimizer_.state_dict(),
        "arguments": {name: getattr(net, name) for name in _ARGUMENTS},
        "compile": compiled,
        "history": [
            {k: v for k, v in epoch.items() if isinstance(v, _RECORDED)}
            for epoch in net.history
        ],
        "interrupted": net.interrupted_,
        "started_from": getattr(net, "started_from_", None),
    }


def rebuild_net(description, *, device, backbone=None, callbacks=None):
    """Build a network that has been trained already.

    Parameters
    ----------
    description : dict
        What :func:`describe_net` told. An optimizer of None is not gone on with.

    device : str
        PyTorch device.

    backbone : Module, class, callable or None, default=None
        The caller's own backbone. None is the named one of the description.

    callbacks : list or None, default=None
        The caller's callbacks, for a stream that goes on.

    Returns
    -------
    SiameseNet
        Initialised network.

    Raises
    ------
    ValueError
        If the weights are those of another network.
    """
    criterion = description["criterion"]
    options = dict(description["optimizer"] or {"class": torch.optim.AdamW})
    module = rebuild_module(
        description["module"],
        backbone=backbone,
        augmentation=description["augmentation"],
    )
    state = description["criterion_state"]
    _check_state(criterion.state_dict(), state, criterion, "loss")
    load_weights(criterion, state)
    net = SiameseNet(
        module,
        criterion,
        optimizer=options.pop("class"),
        device=device,
        train_split=None,
        verbose=0,
        callbacks=copy.deepcopy(callbacks),
        **description["arguments"],
        **description["compile"],
        **options,
    ).initialize()
    if description["optimizer"] is not None:
        load_optimizer(net.optimizer_, description["optimizer_state"])
    net.history.extend(description["history"])
    net.interrupted_, net.stopped_by_callback_ = description["interrupted"], False
    net.started_from_ = description["started_from"]
    return net
