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

    normalize : bool, default=True
        Scale embeddings to unit length.

    trainable : "all", "head" or int, default="all"
        Layers of the backbone that train, see :func:`freeze`.
    """

    def __init__(
        self,
        preprocess,
        backbone,
        *,
        augmentation=None,
        normalize=True,
        trainable="all",
    ):
        super().__init__()
        self.preprocess = preprocess
        self.backbone = backbone
        self.augmentation = augmentation
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

    def forward(self, x):
        """Embed a batch.

        Parameters
        ----------
        x : Tensor of shape (n, height, width[, n_channels]) or (n, n_features)
            Raw values of any dtype.

        Returns
        -------
        float32 Tensor of shape (n, embedding_dim)
            Embeddings.
        """
        x = self.preprocess(x)
        if self.training and self.augmentation is not None:
            x = self._augment(x)
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        z = self.backbone(x).float()
        return F.normalize(z) if self.normalize else z

    def _augment(self, x):
        """Augment a batch, which must keep its shape."""
        augmented = self.augmentation(x)
        if augmented.shape != x.shape:
            raise ValueError(
                f"augment={self.augmentation!r} made a batch of shape"
                f" {tuple(augmented.shape)} out of {tuple(x.shape)}: it must keep it."
            )
        return augmented


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
