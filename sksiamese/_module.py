"""The whole network as one module (layer 1: torch only)."""

import torch
from torch import nn
from torch.nn import functional as F


class EmbeddingNet(nn.Module):
    """Raw array in, embedding out: preprocessing, augmentation, backbone, unit length.

    Parameters
    ----------
    preprocess : Module
        Standardises raw values.

    backbone : Module
        Maps standardised inputs to embeddings.

    augmentation : callable or None, default=None
        Applied to standardised batches in training only.

    raw : Preprocess or None, default=None
        If given, the augmentation sees images as they come out of this one, and they
        are standardised after it.

    per_image : bool, default=False
        Call the augmentation once for each image instead of once for a batch.

    normalize : bool, default=True
        Scale embeddings to unit length.

    trainable : "all", "head" or int, default="all"
        Layers of the backbone that train, see :func:`freeze`.

    Attributes
    ----------
    strengths : float32 Tensor of shape (n_classes,) or None
        How strongly images of each class are augmented, the augmentation's second
        argument; None calls it without.
    """

    def __init__(
        self,
        preprocess,
        backbone,
        *,
        augmentation=None,
        raw=None,
        per_image=False,
        normalize=True,
        trainable="all",
    ):
        super().__init__()
        self.preprocess = preprocess
        self.backbone = backbone
        self.augmentation = augmentation
        self.raw = raw
        self.per_image = per_image
        # No part of what is learned.
        self.register_buffer("strengths", None, persistent=False)
        self.normalize = normalize
        self.frozen = freeze(backbone, trainable)

    def train(self, mode=True):
        """Switch to training mode, except what is frozen.

        Parameters
        ----------
        mode : bool, default=True
            Training or evaluation.

        Returns
        -------
        EmbeddingNet
            The module.
        """
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def forward(self, x, labels=None):
        """Embed a batch.

        Parameters
        ----------
        x : Tensor of shape (n, height, width[, n_channels]) or (n, n_features)
            Raw values of any dtype.

        labels : int64 Tensor of shape (n,) or None, default=None
            Encoded labels, needed in training where ``strengths`` are set.

        Returns
        -------
        float32 Tensor of shape (n, embedding_dim)
            Embeddings.
        """
        if self.training and self.augmentation is not None:
            x = self._augment(x, labels)
        else:
            x = self.preprocess(x)
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        z = self.backbone(x).float()
        return F.normalize(z) if self.normalize else z

    def _augment(self, x, labels):
        """Preprocess and augment a batch."""
        if self.raw is None:
            strength = () if self.strengths is None else (self.strengths[labels],)
            return self._changed(self.preprocess(x), *strength)
        # Others' transforms expect what they are given, not half of its digits.
        with torch.autocast(x.device.type, enabled=False):
            images = self.raw(x).contiguous()
            if self.per_image:
                images = torch.stack([self._changed(image) for image in images])
            else:
                images = self._changed(images)
            return _convert(images.float(), self.raw, self.preprocess)

    def _changed(self, x, *strength):
        """Augment a batch or an image, which must keep its shape."""
        changed = self.augmentation(x, *strength)
        if not isinstance(changed, torch.Tensor) or not changed.is_floating_point():
            found = getattr(changed, "dtype", type(changed).__name__)
            raise ValueError(
                f"augment={self.augmentation!r} made {found} out of a {x.dtype} tensor:"
                " it must return a tensor of floats in the unit of its input."
            )
        if changed.shape != x.shape:
            raise ValueError(
                f"augment={self.augmentation!r} made a batch of shape"
                f" {tuple(changed.shape)} out of {tuple(x.shape)}: it must keep it."
            )
        return changed


def _convert(images, given, wanted):
    """Convert images from the unit of one preprocessing to that of another."""
    offset = (wanted.mean - given.mean) * given.scale
    scale = wanted.scale / given.scale
    return (images - offset.float().view(-1, 1, 1)) * scale.view(-1, 1, 1)


def freeze(backbone, trainable):
    """Freeze the first layers of a backbone, their normalisation statistics included.

    Parameters
    ----------
    backbone : Module
        Changed in place.

    trainable : "all", "head" or int
        ``k`` trains the last k convolutions or linear layers, in the order in which the
        module defines them, and what comes after the first of them; ``"head"`` is 1.

    Returns
    -------
    list of Module
        Modules that must stay in evaluation mode.

    Raises
    ------
    ValueError
        If the backbone has fewer layers.
    """
    if trainable == "all":  # but for what the caller has frozen
        return []
    modules = list(backbone.modules())
    weighted = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    layers = [i for i, m in enumerate(modules) if isinstance(m, weighted)]
    n_trained = 1 if trainable == "head" else trainable
    if n_trained > len(layers):
        raise ValueError(
            f"trainable={trainable!r}, but the backbone has {len(layers)} convolutions"
            " and linear layers: use a smaller number or 'all'."
        )
    first = layers[-n_trained]
    trained = {id(p) for m in modules[first:] for p in m.parameters()}
    for parameter in backbone.parameters():
        parameter.requires_grad_(id(parameter) in trained)
    # Containers of a trained layer come before it but hold nothing to freeze.
    return [m for m in modules[:first] if not any(m.children())]
