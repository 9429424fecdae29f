"""From an estimator's parameters to an untrained network and its loss (layer 2)."""

from numbers import Integral

import numpy as np

from sksiamese._file_input import check_size
from sksiamese._module import EmbeddingNet
from sksiamese._preprocess import Preprocess, extremes, measure_statistics
from sksiamese._validation import input_shape
from sksiamese.augment import (
    RandomAffine,
    comes_from_torchvision,
    make_augmentation,
)
from sksiamese.backbones import (
    make_backbone,
    pretrained_statistics,
    resolve_backbone,
    uses_pretrained_weights,
)
from sksiamese.losses import make_loss


def make_module(params, image_shape, X, rows):
    """Build the network, from preprocessing to unit length, and the loss.

    Parameters
    ----------
    params : dict
        The estimator's parameters.

    image_shape : tuple of int
        Shape of one sample.

    X : ndarray of shape (n, *image_shape)
        Raw values.

    rows : int64 ndarray
        Rows to train on, whose mean and deviation standardise the input.

    Returns
    -------
    EmbeddingNet
        Untrained network.

    criterion : Module
        Loss.

    embedding_dim : int
        Length of the embeddings.
    """
    is_image = len(image_shape) > 1
    image_size = _check_image_size(params["image_size"], is_image)
    backbone, weights = params["backbone"], params["weights"]
    pretrained = uses_pretrained_weights(backbone, weights)
    to_rgb = pretrained and is_image and image_shape[2:] in ((), (1,))
    shape = input_shape(image_shape, image_size=image_size, to_rgb=to_rgb)
    network, embedding_dim = make_backbone(
        backbone, shape, embedding_dim=params["embedding_dim"], weights=weights
    )
    if pretrained:
        statistics = _scale_statistics(X, *pretrained_statistics(backbone, weights))
    else:
        statistics = measure_statistics(X, rows)
    form = {"image_size": image_size, "to_rgb": to_rgb}
    module = EmbeddingNet(
        Preprocess(*statistics, **form),
        network,
        **_augmentation(params["augment"], X, is_image, form),
        normalize=params["normalize"],
        trainable=params["trainable"],
    )
    module.origin = {
        "backbone": resolve_backbone(backbone, shape),
        "input_shape": tuple(int(n) for n in shape),
        "embedding_dim": embedding_dim,
        "pretrained": pretrained,
        "trainable": params["trainable"],
    }
    criterion = make_loss(
        params["loss"],
        embedding_dim=embedding_dim,
        margin=params["margin"],
        mining=params["mining"],
    )
    return module, criterion, embedding_dim


def _augmentation(augment, X, is_image, form):
    """Choose what augments, and in which unit and portions it gets the images."""
    augmentation = make_augmentation(augment, is_image=is_image)
    if augmentation is None or isinstance(augmentation, RandomAffine) or not is_image:
        return {"augmentation": augmentation}
    white = {"uint8": 255, "uint16": 65535}.get(X.dtype.name, 1)
    return {
        "augmentation": augmentation,
        "raw": Preprocess([0.0], [white], **form),
        "per_image": comes_from_torchvision(augmentation),
    }


def _check_image_size(image_size, is_image):
    """Height and width to resize to, or None."""
    if image_size is None:
        return None
    if not is_image:
        raise ValueError(
            f"image_size={image_size!r} resizes images, but X holds feature vectors:"
            " set image_shape if its rows are flattened images."
        )
    if isinstance(image_size, Integral):
        return int(image_size), int(image_size)
    return check_size("image_size", image_size, (2,))


def _scale_statistics(X, mean, std):
    """Statistics for values in [0, 1], in the unit of X."""
    white = 1 if X.dtype.kind in "fb" else 255
    low, high = extremes(X)
    if low < 0 or high > white * 1.001:  # resizing may overshoot by rounding
        raise ValueError(
            f"X ranges from {low:.4g} to {high:.4g}, but pretrained weights expect"
            f" {X.dtype} images between 0 and {white}: pass uint8 images, or divide X"
            " by its largest possible value."
        )
    return np.multiply(mean, white), np.multiply(std, white)
