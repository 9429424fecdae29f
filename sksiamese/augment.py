"""Random transformations of whole batches on the device (layer 1: torch only)."""

import copy

import torch
from torch import nn
from torch.nn import functional as F


class RandomAffine(nn.Module):
    """Rotate, scale, shift, shear, mirror and relight each image of a batch at random.

    One affine map per image, applied to the whole batch in a single resampling on the
    device that holds it. Pixels from outside the image repeat its border.

    Mirror images are off by default: they change the label where laterality matters
    (hearts, left and right hands, letters and digits). Switch them on for subjects that
    have no left and right, such as cells or skin lesions.

    Parameters
    ----------
    rotation : float, default=8
        Largest rotation either way, in degrees.

    scale : float, default=0.1
        Largest relative change of size; ``0.1`` draws from 0.9 to 1.1.

    shift : float, default=0.06
        Largest shift along each axis, as a fraction of the image's side.

    shear : float, default=0.1
        Largest horizontal shear; ``0.1`` moves a row by a tenth of its height.

    brightness : float, default=0.1
        Largest change of brightness and contrast, in standard deviations of the
        training images.

    horizontal_flip, vertical_flip : bool, default=False
        Mirror half of the images along that axis.

    Examples
    --------
    >>> import torch
    >>> from sksiamese.augment import RandomAffine
    >>> RandomAffine(rotation=180, horizontal_flip=True)(torch.rand(8, 3, 32, 32)).shape
    torch.Size([8, 3, 32, 32])
    """

    def __init__(
        self,
        rotation=8.0,
        scale=0.1,
        shift=0.06,
        shear=0.1,
        brightness=0.1,
        horizontal_flip=False,
        vertical_flip=False,
    ):
        super().__init__()
        self.rotation = rotation
        self.scale = scale
        self.shift = shift
        self.shear = shear
        self.brightness = brightness
        self.horizontal_flip = horizontal_flip
        self.vertical_flip = vertical_flip

    def forward(self, images):
        """Transform a batch, each image in its own way.

        Parameters
        ----------
        images : Tensor of shape (n, n_channels, height, width)
            Standardised images, as the network sees them.

        Returns
        -------
        Tensor of shape (n, n_channels, height, width)
            Transformed images of the same dtype.
        """
        grid = _sampling_grid(self._sample_maps(images), *images.shape[2:])
        images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
        if self.brightness:
            contrast, light = self._uniform(images, self.brightness, 2).T
            images *= (1 + contrast)[:, None, None, None]
            images += light[:, None, None, None]
        return images

    def _sample_maps(self, images):
        """Draw an affine map per image, from output to input coordinates in [-1, 1]."""
        turn, size, shear, *shift = self._uniform(images, 1.0, 5).T
        angle, size = turn * (self.rotation * torch.pi / 180), 1 + size * self.scale
        # Coordinates run over the image's side, so a turn of an oblong image needs
        # its aspect ratio to stay a turn.
        height, width = images.shape[2:]
        cos, sin = size * angle.cos(), size * angle.sin()
        across = self._mirror(images, self.horizontal_flip)
        down = self._mirror(images, self.vertical_flip)
        maps = torch.stack(
            [
                cos * across,
                (shear * self.shear - sin) * down * (height / width),
                shift[0] * (2 * self.shift),
                sin * across * (width / height),
                cos * down,
                shift[1] * (2 * self.shift),
            ],
            dim=1,
        )
        return maps.view(-1, 2, 3)

    @staticmethod
    def _uniform(images, bound, columns):
        """Draw from ``[-bound, bound)``, shape ``(n, columns)``."""
        shape = len(images), columns
        sample = torch.rand(shape, device=images.device, dtype=images.dtype)
        return (2 * sample - 1) * bound

    @staticmethod
    def _mirror(images, wanted):
        """Draw -1 or 1 per image with even odds, or 1 where no mirroring is wanted."""
        if not wanted:
            return 1.0
        drawn = torch.randint(2, (len(images),), device=images.device)
        return 2 * drawn.to(images.dtype) - 1


def _sampling_grid(maps, height, width):
    """Where each output pixel comes from, ``(n, height, width, 2)``.

    The values of ``torch.nn.functional.affine_grid``, which multiplies a matrix for
    each pixel. Here they are sums of a row and a column, at a tenth of the time.
    """

    def centres(count):
        edge = 1 - 1 / count
        return torch.linspace(-edge, edge, count, dtype=maps.dtype, device=maps.device)

    by_x, by_y, offset = maps.unbind(dim=2)  # (n, 2) each
    across = by_x[:, None] * centres(width)[:, None]  # (n, width, 2)
    down = by_y[:, None] * centres(height)[:, None] + offset[:, None]
    return across[:, None] + down[:, :, None]


def make_augmentation(augment, *, is_image):
    """Build the augmentation that an estimator's ``augment`` describes.

    Parameters
    ----------
    augment : "auto", None or callable
        ``"auto"`` is :class:`RandomAffine` with its defaults for images and nothing for
        feature vectors; ``None`` is nothing; a callable maps a batch of standardised
        inputs to one of the same shape.

    is_image : bool
        Whether the inputs are images.

    Returns
    -------
    callable or None
        Callable on a batch tensor, a copy of the caller's.

    Raises
    ------
    ValueError
        If images are to be moved that are none.
    """
    if augment == "auto":
        return RandomAffine() if is_image else None
    if isinstance(augment, RandomAffine) and not is_image:
        raise ValueError(
            f"augment={augment!r} is for images, but X holds feature vectors: use None,"
            " or set image_shape if the rows of X are flattened images."
        )
    return copy.deepcopy(augment)
