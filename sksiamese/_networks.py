"""Small networks: one image, or feature vector, to one embedding (layer 1)."""

import math

from torch import nn


def mlp(input_shape, embedding_dim=64):
    """Build two hidden layers of 128 units, for feature vectors.

    Estimators build it by ``backbone="mlp"``, and by ``"auto"`` if ``X`` holds feature
    vectors. Images are flattened first, so their neighbourhoods mean nothing to it.

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

    See Also
    --------
    conv : For images.
    list_backbones : All names that ``backbone=`` accepts.

    Examples
    --------
    >>> import torch
    >>> from sksiamese.backbones import mlp
    >>> network = mlp((30,), embedding_dim=8)
    >>> network(torch.rand(5, 30)).shape
    torch.Size([5, 8])
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
    """Build convolution blocks, as many as the image size asks for.

    Each block is a 3x3 convolution, 2x2 max-pooling, batch normalisation and ReLU, in
    the order that costs least: pooling commutes with ReLU, and normalising a quarter
    of the pixels takes a quarter of the time. Blocks halve the image until its shorter
    side is about three pixels; a linear layer follows. Estimators build it by
    ``backbone="conv"``, and by ``"auto"`` if ``X`` holds images.

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

    See Also
    --------
    mlp : For feature vectors.
    conv16_32_64 : A network of a fixed depth.
    list_backbones : All names that ``backbone=`` accepts.

    Examples
    --------
    >>> import torch
    >>> from sksiamese.backbones import conv
    >>> network = conv((3, 28, 28))
    >>> network(torch.rand(5, 3, 28, 28)).shape
    torch.Size([5, 64])
    >>> [len([m for m in conv((1, side, side)) if isinstance(m, torch.nn.Conv2d)])
    ...  for side in (8, 28, 64)]
    [2, 3, 5]
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
    """Build three convolution blocks of 16, 32 and 64 channels, then 512 units.

    The small network of published work on skin lesions at 1:56.

    Estimators build it by ``backbone="conv16-32-64"``. It has no normalisation and no
    dropout, and its number of weights grows with the number of pixels.

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

    See Also
    --------
    conv : Depth follows the image size, with normalisation and dropout.
    conv16_32_16 : A smaller one with dropout.

    Examples
    --------
    >>> import torch
    >>> from sksiamese.backbones import conv16_32_64
    >>> network = conv16_32_64((3, 64, 64))
    >>> network(torch.rand(2, 3, 64, 64)).shape
    torch.Size([2, 128])
    >>> sum(weights.numel() for weights in network.parameters())
    2186912
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
    """Build three convolution blocks of 16, 32 and 16 channels with dropout.

    The small network of published work on malaria cells.

    Estimators build it by ``backbone="conv16-32-16"``. A fifth of the values drops out
    after each block while it trains.

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

    See Also
    --------
    conv : Depth follows the image size, with normalisation and dropout.
    conv16_32_64 : A larger one without dropout.

    Examples
    --------
    >>> import torch
    >>> from sksiamese.backbones import conv16_32_16
    >>> network = conv16_32_16((1, 50, 50), embedding_dim=32)
    >>> network(torch.rand(2, 1, 50, 50)).shape
    torch.Size([2, 32])
    """
    layers, n_values = _plain_blocks(input_shape, (16, 32, 16), dropout=0.2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(n_values, embedding_dim))


def conv4_16_tanh(input_shape, embedding_dim=10):
    """Build two 5x5 convolutions with tanh and average pooling, then tanh units.

    The network of published work on medical similarity search, after the Keras example
    "Image similarity estimation using a Siamese Network with a contrastive loss".

    Estimators build it by ``backbone="conv4-16-tanh"``. Values of the embedding lie
    between -1 and 1, so without ``normalize`` no distance exceeds
    ``2 * sqrt(embedding_dim)``; choose the margin below it.

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

    See Also
    --------
    conv : The default for images, with an unbounded embedding.
    sksiamese.search.Gallery : Similarity search.

    Examples
    --------
    >>> import torch
    >>> from sksiamese.backbones import conv4_16_tanh
    >>> z = conv4_16_tanh((1, 28, 28))(torch.rand(4, 1, 28, 28))
    >>> z.shape, bool(z.abs().max() <= 1)
    (torch.Size([4, 10]), True)
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
    """Build one dense layer with ReLU, as in introductory work on MNIST.

    Estimators build it by ``backbone="dense128"``, for images and for feature vectors.
    The ReLU at its end keeps all values of the embedding at 0 or above.

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

    See Also
    --------
    mlp : Two hidden layers, and an embedding of any sign.
    list_backbones : All names that ``backbone=`` accepts.

    Examples
    --------
    >>> import torch
    >>> from sksiamese.backbones import dense128
    >>> z = dense128((1, 28, 28))(torch.rand(4, 1, 28, 28))
    >>> z.shape, bool(z.min() >= 0)
    (torch.Size([4, 128]), True)
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
