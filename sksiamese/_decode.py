"""From one image file to an array of 8-bit pixels (layer 0, step 1)."""

import dataclasses
import math
import os
import stat

import numpy as np

from sksiamese._dicom import is_dicom, is_grey_dicom, read_dicom

# The only formats that are tried: others, such as EPS, run programs of their own.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".dicom")
_SHORT_GREY, _WIDE_GREY = {"I;16", "I;16L", "I;16B", "I;16N"}, {"I", "F"}
_GREY = {"1", "L", "LA", "La"} | _SHORT_GREY | _WIDE_GREY
# Tags of EXIF and TIFF. Orientations above 4 swap height and width.
_ORIENTATION, _PHOTOMETRIC = 0x0112, 262
_TRANSPOSE = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_WHITE = 255


class ImageReadError(OSError):
    """An image file cannot be read.

    Raised for files that are missing, broken, too large or of a format that is not
    read. The loaders collect these errors in ``skipped`` instead under
    ``on_error="skip"``. Code that expects an ``OSError`` catches it too.

    Parameters
    ----------
    filename : str
        The file.

    reason : str
        What is wrong with it.

    Attributes
    ----------
    filename : str
        The file.

    reason : str
        What is wrong with it.

    See Also
    --------
    load_image_folder : Load what can be read and list what can not.
    ImageReader : Read files as a step of a pipeline.

    Examples
    --------
    >>> from sksiamese.images import ImageReader, ImageReadError
    >>> reader = ImageReader(mode="grey")
    >>> try:
    ...     pixels = reader.fit_transform(["lost.png"])
    ... except ImageReadError as error:
    ...     error.filename
    'lost.png'
    """

    def __init__(self, filename, reason):
        super().__init__(filename, reason)
        self.filename = filename
        self.reason = reason

    def __str__(self):
        return f"{self.filename} cannot be read: {self.reason}"

    def __reduce__(self):
        return type(self), (self.filename, self.reason)


class ColourFound(Exception):
    """A file taken to be grey is in colour."""


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How files become arrays.

    Parameters
    ----------
    size : tuple of int
        Height and width of the result, in pixels.

    mode : {"grey", "rgb"}
        Channels of the result.

    aspect : {"stretch", "crop", "pad"}
        What to do with another aspect ratio.

    value_range : tuple of float or None
        Values of grey files that become 0 and 255; None for the file's own range.
    """

    size: tuple
    mode: str = "rgb"
    aspect: str = "stretch"
    value_range: tuple | None = None

    @property
    def shape(self):
        """Shape of one image."""
        return self.size if self.mode == "grey" else (*self.size, 3)


def decode(path, decoding, *, refuse_colour=False):
    """Read one file.

    Parameters
    ----------
    path : str
        File in one of the formats PNG, JPEG, TIFF, BMP or DICOM.

    decoding : Decoding
        Size and form of the result.

    refuse_colour : bool, default=False
        Raise ``ColourFound`` for an image in colour.

    Returns
    -------
    uint8 ndarray of shape (height, width) or (height, width, 3)
        Pixels.

    Raises
    ------
    ImageReadError
        If the file is missing, too large, broken or of another format.
    """
    try:
        _check_file(path)
        with open(path, "rb") as file:
            image = _open(file, path, decoding.value_range)
            if refuse_colour and not _is_grey(image):
                raise ColourFound(path)
            return _shrink(image, decoding)
    except (ImageReadError, ColourFound):
        raise
    except Exception as error:  # decoders raise anything on broken files
        raise ImageReadError(path, _reason(error)) from error


def is_grey(path):
    """Tell from a file's header whether it is grey.

    Parameters
    ----------
    path : str
        File.

    Returns
    -------
    bool
        False for files in colour; of files that cannot be opened nothing is known.
    """
    from PIL import Image

    try:
        _check_file(path)
        with open(path, "rb") as file:
            if is_dicom(file):
                return is_grey_dicom(path)
            with Image.open(file, formats=_FORMATS) as image:
                return _is_grey(image)
    except Exception:  # decoding gives the reason
        return True


def _is_grey(image):
    """Whether a Pillow image has no colour."""
    return image.mode in _GREY


def _check_file(path):
    """Refuse what is no file: to open a pipe may wait for ever."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise ImageReadError(path, "there is no such file") from None
    if not stat.S_ISREG(mode):
        raise ImageReadError(path, "it is not a regular file")


def _reason(error):
    """Say what was wrong, without the decoder's inner names."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "it is neither PNG, JPEG, TIFF, BMP nor DICOM, or its header is broken"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _open(file, path, value_range):
    """Open a file as a Pillow image, nothing but 8-bit values when it is loaded."""
    from PIL import Image

    if is_dicom(file):
        most = Image.MAX_IMAGE_PIXELS or math.inf
        return Image.fromarray(_to_eight_bits(*read_dicom(path, most, value_range)))
    image = Image.open(file, formats=_FORMATS)
    n_pixels = math.prod(image.size)
    if n_pixels > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise ValueError(
            f"its {n_pixels:,} pixels are more than PIL.Image.MAX_IMAGE_PIXELS ="
            f" {Image.MAX_IMAGE_PIXELS:,}; raise that if you trust the file"
        )
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise ValueError("it has several pages; store each one as a file of its own")
    if not _is_grey(image):
        return image
    if image.mode in _WIDE_GREY and value_range is None:
        raise ValueError(
            f"its values are of 32 bits (mode {image.mode!r}), of which nobody knows"
            " the white; set value_range=(black, white)"
        )
    if value_range is None and image.mode not in _SHORT_GREY:
        return image
    black, white = value_range or (0, 65535)
    if image.mode not in _SHORT_GREY | _WIDE_GREY:
        image = image.convert("L")
    elif image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0:
        black, white = white, black  # Pillow inverts 8 bits only
    values = np.asarray(image)
    exif = Image.Exif()
    exif[_ORIENTATION] = _orientation(image)
    image = Image.fromarray(_to_eight_bits(values, black, white))
    image.info["exif"] = exif.tobytes()
    return image


def _orientation(image):
    """Orientation that EXIF asks for; 1, which is upright, if it cannot be read."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # what is no EXIF at all
        return 1


def _to_eight_bits(values, low, high):
    """Map values between low and high linearly to 0 ... 255 and clip the others."""
    if values.dtype == np.uint8 and (low, high) == (0, _WHITE):
        return values
    if not (np.isfinite(values).all() and math.isfinite(high - low)):
        raise ValueError("it holds values that are NaN or infinite")
    if values.dtype == np.uint16:  # an eighth of the memory
        return _to_eight_bits(np.arange(1 << 16), low, high)[values]
    scaled = values.astype(np.float64)
    scaled -= low
    scaled *= _WHITE / (high - low)
    np.clip(np.rint(scaled, out=scaled), 0, _WHITE, out=scaled)
    return scaled.astype(np.uint8)


def _shrink(image, decoding):
    """Bring an image to the wanted size and mode."""
    from PIL import Image

    mode = "L" if decoding.mode == "grey" else "RGB"
    size = decoding.size[::-1]  # width first
    image.draft(mode, (max(size), max(size)))  # JPEG: decode fewer pixels
    image.load()  # TIFF: turned by this, and the tag is gone
    orientation = _orientation(image)
    image.info.pop("transparency", None)  # Pillow warns of what is ignored
    if image.mode not in ("L", "RGB"):  # palettes and others cannot be resampled
        image = image.convert("L" if _is_grey(image) else "RGB")
    if image.mode != mode:
        image = image.convert(mode)
    if orientation in _TRANSPOSE:
        image = _resize(image, size[::-1] if orientation > 4 else size, decoding.aspect)
        method = getattr(Image.Transpose, _TRANSPOSE[orientation])
        return np.asarray(image.transpose(method))
    return np.asarray(_resize(image, size, decoding.aspect))


def _resize(image, size, aspect):
    """Resample to a size, from the whole image or its centre, or pad with black."""
    from PIL import Image, ImageOps

    bilinear = Image.Resampling.BILINEAR  # averages over all pixels when shrinking
    if aspect == "pad":
        return ImageOps.pad(image, size, bilinear)
    box = None
    if aspect == "crop":
        scale = min(image.width / size[0], image.height / size[1])
        width, height = size[0] * scale, size[1] * scale
        # Rounding must not put the box a trace outside of the image.
        left, top = max(0, image.width - width) / 2, max(0, image.height - height) / 2
        right, bottom = left + width, top + height
        box = left, top, min(right, image.width), min(bottom, image.height)
    return image.resize(size, bilinear, box=box, reducing_gap=3.0)
