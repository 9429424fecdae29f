"""Random transformations of whole batches on the device (layer 1: torch only)."""

import copy
from numbers import Real

import torch
from torch import nn
from torch.nn import functional as F

from sksiamese._validation import Interval, validate_params

__all__ = ["RandomAffine"]

# Ranges of the named augmentations. None mirrors but the one for subjects that have
# neither up nor left: mirror images change the label of hearts, hands and letters.
AUGMENTATIONS = {
    "light": {
        "rotation": 4.0,
        "scale": 0.05,
        "shift": 0.03,
        "shear": 0.05,
        "brightness": 0.05,
    },
    "medium": {},
    "strong": {
        "rotation": 16.0,
        "scale": 0.2,
        "shift": 0.12,
        "shear": 0.2,
        "brightness": 0.2,
    },
    "isotropic": {
        "rotation": 180.0,
        "horizontal_flip": True,
        "vertical_flip": True,
    },
}
# Where the ranges of size, contrast and shift stop growing with an image's strength:
# sizes and contrasts stay positive, and half of the image stays in view.
_MOST = 0.5
_AT_LEAST_0 = Interval(Real, 0, None, closed="left")


class RandomAffine(nn.Module):
    """Rotate, scale, shift, shear, mirror and relight each image of a batch at random.

    One affine map per image, applied to the whole batch in a single resampling on the
    device that holds it. Pixels from outside the image repeat its border.

    Mirror images are off by default: they change the label where laterality matters
    (hearts, left and right hands, letters and digits). Switch them on for subjects that
    have no left and right, such as cells or skin lesions.

    Pass one to an estimator as ``augment=``, whose names ``"light"``, ``"medium"``,
    ``"strong"`` and ``"isotropic"`` are such transforms too. Random numbers are drawn
    from PyTorch's global generator, which estimators seed while they train and put back
    after.

    Read more in the :ref:`User Guide <guide-classify>`.

    Parameters
    ----------
    rotation : float, default=8
        Largest rotation either way, in degrees, >= 0.

    scale : float, default=0.1
        Largest relative change of size, in [0, 1); ``0.1`` draws from 0.9 to 1.1.

    shift : float, default=0.06
        Largest shift along each axis, as a fraction of the image's side, >= 0.

    shear : float, default=0.1
        Largest horizontal shear, >= 0; ``0.1`` moves a row by a tenth of its height.

    brightness : float, default=0.1
        Largest change of brightness and contrast, in standard deviations of the
        training images, >= 0.

    horizontal_flip, vertical_flip : bool, default=False
        Mirror half of the images along that axis.

    See Also
    --------
    sksiamese.SiameseClassifier : Takes it, or its name, as ``augment``.
    torchvision.transforms.v2.RandomAffine : One map for all images of a call.

    Examples
    --------
    Cells have neither up nor left.

    >>> from sksiamese import SiameseClassifier
    >>> from sksiamese.augment import RandomAffine
    >>> turn = RandomAffine(rotation=180, horizontal_flip=True, vertical_flip=True)
    >>> classifier = SiameseClassifier(augment=turn)

    Each image of a batch is changed in its own way.

    >>> import torch
    >>> cells = torch.rand(1, 3, 32, 32).repeat(2, 1, 1, 1)
    >>> first, second = turn(cells)
    >>> torch.equal(first, second)
    False
    """

    @validate_params(
        {
            "rotation": [_AT_LEAST_0],
            "scale": [Interval(Real, 0, 1, closed="left")],
            "shift": [_AT_LEAST_0],
            "shear": [_AT_LEAST_0],
            "brightness": [_AT_LEAST_0],
            "horizontal_flip": ["boolean"],
            "vertical_flip": ["boolean"],
        },
        prefer_skip_nested_validation=True,
    )
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

    def forward(self, images, strength=None):
        """Transform a batch, each image in its own way.

        The batch itself is not changed. Estimators with ``augment_minority`` above 1
        call this with a ``strength`` that is larger for images of rare classes.

        Parameters
        ----------
        images : Tensor of shape (n, n_channels, height, width)
            Standardised images, as the network sees them.

        strength : Tensor of shape (n,) or None, default=None
            What all ranges of each image are multiplied by, > 0; None is 1. The ranges
            of scale, shift and contrast grow to no more than 0.5, or to the one given
            if that is larger, so that no image vanishes or turns into its negative.

        Returns
        -------
        Tensor of shape (n, n_channels, height, width)
            Transformed images of the same dtype.

        See Also
        --------
        sksiamese.SiameseClassifier : Calls it on each batch that it trains on.

        Examples
        --------
        >>> import torch
        >>> from sksiamese.augment import RandomAffine
        >>> relight = RandomAffine(0, 0, 0, 0, brightness=0.1)
        >>> changes = relight(torch.zeros(100, 1, 8, 8), torch.tensor([1.0, 5.0] * 50))
        >>> changes = changes[:, 0, 0, 0].abs()
        >>> bool(changes[::2].max() < 0.11), bool(changes[1::2].max() > 0.11)
        (True, True)
        """
        strength = 1.0 if strength is None else strength.to(images.dtype)
        grid = _sampling_grid(self._sample_maps(images, strength), *images.shape[2:])
        images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
        if self.brightness:
            contrast, light = self._uniform(images, 2).T
            contrast = 1 + contrast * _bounded(self.brightness, strength)
            images *= contrast[:, None, None, None]
            images += (light * (self.brightness * strength))[:, None, None, None]
        return images

    def _sample_maps(self, images, strength):
        """Draw an affine map per image, from output to input coordinates in [-1, 1]."""
        turn, size, shear, *shift = self._uniform(images, 5).T
        angle = turn * (self.rotation * torch.pi / 180 * strength)
        size = 1 + size * _bounded(self.scale, strength)
        shear = shear * (self.shear * strength)
        reach = 2 * _bounded(self.shift, strength)
        # Coordinates run over the image's side, so a turn of an oblong image needs
        # its aspect ratio to stay a turn.
        height, width = images.shape[2:]
        cos, sin = size * angle.cos(), size * angle.sin()
        across = self._mirror(images, self.horizontal_flip)
        down = self._mirror(images, self.vertical_flip)
        maps = torch.stack(
            [
                cos * across,
                (shear - sin) * down * (height / width),
                shift[0] * reach,
                sin * across * (width / height),
                cos * down,
                shift[1] * reach,
            ],
            dim=1,
        )
        return maps.view(-1, 2, 3)

    @staticmethod
    def _uniform(images, columns):
        """Draw from ``[-1, 1)``, shape ``(n, columns)``."""
        shape = len(images), columns
        sample = torch.rand(shape, device=images.device, dtype=images.dtype)
        return 2 * sample - 1

    @staticmethod
    def _mirror(images, wanted):
        """Draw -1 or 1 per image with even odds, or 1 where no mirroring is wanted."""
        if not wanted:
            return 1.0
        drawn = torch.randint(2, (len(images),), device=images.device)
        return 2 * drawn.to(images.dtype) - 1


def _bounded(reach, strength):
    """Multiply a range by the strength of each image, up to a bound."""
    if isinstance(strength, float):
        return reach * strength
    return (reach * strength).clamp(max=max(reach, _MOST))


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
    augment : "auto", str, None or callable
        ``"auto"`` is ``"medium"`` for images and nothing for feature vectors; other
        names are those of ``AUGMENTATIONS``, for :class:`RandomAffine`; ``None`` is
        nothing; a callable maps a batch to one of the same shape.

    is_image : bool
        Whether the inputs are images.

    Returns
    -------
    callable or None
        Callable on a batch tensor, a copy of the caller's.

    Raises
    ------
    ValueError
        If images are to be moved that are none, or normalised twice.
    """
    if augment == "auto":
        augment = "medium" if is_image else None
    named = isinstance(augment, str)
    if not is_image and (named or isinstance(augment, RandomAffine)):
        raise ValueError(
            f"augment={augment!r} is for images, but X holds feature vectors: use None,"
            " or set image_shape if the rows of X are flattened images."
        )
    if named:
        return RandomAffine(**AUGMENTATIONS[augment])
    if is_image and any(type(part).__name__ == "Normalize" for part in _parts(augment)):
        raise ValueError(
            f"augment={augment!r} contains a Normalize, but the network standardises"
            " images itself after augmenting them: leave it out."
        )
    return copy.deepcopy(augment)


def comes_from_torchvision(augment):
    """Whether torchvision made a transform, or the parts of one.

    Its transforms draw random numbers once per call, so they are called image by image.

    Parameters
    ----------
    augment : callable
        Transform.

    Returns
    -------
    bool
        True for transforms of either version, subclasses and sequences of them.
    """
    return any(
        kind.__module__.startswith("torchvision.transforms")
        for part in _parts(augment)
        for kind in type(part).__mro__
    )


def _parts(augment):
    """Yield a transform and, in turn, those that it is composed of."""
    yield augment
    parts = list(augment.children()) if isinstance(augment, nn.Module) else []
    listed = getattr(augment, "transforms", None)  # torchvision's sequences
    parts += listed if isinstance(listed, list | tuple) else []
    for part in parts:
        yield from _parts(part)
