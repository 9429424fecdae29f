"""Pixels of DICOM files as a radiologist sees them (layer 0: NumPy, pydicom)."""

import numpy as np

# Such files are inflated as a whole, whatever their size, when they are opened.
_DEFLATED = "1.2.840.10008.1.2.1.99"


def is_dicom(file):
    """Tell by its magic number whether an open file is DICOM.

    Parameters
    ----------
    file : binary file
        Left at its start.

    Returns
    -------
    bool
        Whether it is.
    """
    start = file.read(132)
    file.seek(0)
    return start[128:] == b"DICM"


def is_grey_dicom(path):
    """Tell from its header whether a DICOM file is grey.

    Parameters
    ----------
    path : str
        File.

    Returns
    -------
    bool
        Whether its photometric interpretation is a monochrome one.
    """
    pydicom = _import_pydicom()
    header = pydicom.dcmread(path, specific_tags=["PhotometricInterpretation"])
    return header.PhotometricInterpretation.startswith("MONOCHROME")


def read_dicom(path, max_pixels, value_range=None):
    """Read the image of a DICOM file.

    Rescale slope and intercept (or the modality table), the window and the photometric
    interpretation are applied, in this order; padding is black.

    Parameters
    ----------
    path : str
        File with one frame.

    max_pixels : float
        Most pixels to read.

    value_range : tuple of float or None, default=None
        Rescaled grey values, such as Hounsfield units, that are black and white; None
        takes the window of the file (or its table).

    Returns
    -------
    values : ndarray of shape (height, width) or (height, width, 3)
        Grey values or colours.

    low, high : float
        Values that are black and white, those of the image itself where the file has no
        window. Low is the larger one where the file's smallest values are white.

    Raises
    ------
    ImportError
        If pydicom is not installed.

    ValueError
        If the file has several frames, too many pixels or no image.
    """
    pydicom = _import_pydicom()
    if (
        pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID")
        == _DEFLATED
    ):
        raise ValueError("it is a deflated data set; store it in another syntax")
    header = pydicom.dcmread(path, stop_before_pixels=True)
    n_frames = int(header.get("NumberOfFrames") or 1)
    if n_frames > 1:
        raise ValueError(f"it has {n_frames} frames; store each as a file of its own")
    n_pixels = int(header.get("Rows", 0)) * int(header.get("Columns", 0))
    if not n_pixels:
        raise ValueError("it holds no image")
    if n_pixels > max_pixels:
        raise ValueError(
            f"its {n_pixels:,} pixels are more than PIL.Image.MAX_IMAGE_PIXELS ="
            f" {max_pixels:,}; raise that if you trust the file"
        )
    return _interpret(pydicom.dcmread(path), value_range)


def _import_pydicom():
    """Import the optional package."""
    try:
        import pydicom
    except ImportError as error:
        raise ImportError(
            'DICOM files need pydicom: pip install "sksiamese[dicom]"'
        ) from error
    return pydicom


def _interpret(dataset, value_range):
    """Values, black and white of a data set that is known to be harmless."""
    from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array

    values = pixel_array(dataset)  # red, green and blue, if in colour
    kind = dataset.PhotometricInterpretation
    if kind == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
        return values, 0, np.iinfo(values.dtype).max
    if values.ndim == 3:
        return values, 0, 2**dataset.BitsStored - 1
    padding = _find_padding(values, dataset)
    values = apply_modality_lut(values, dataset)
    if value_range is not None:
        low, high = value_range
    else:
        values, low, high = _apply_window(values, dataset, ~padding)
    if kind == "MONOCHROME1":
        low, high = high, low
    return np.where(padding, low, values), low, high


def _find_padding(values, dataset):
    """Mark stored values that stand for "outside of the image", which are black."""
    first = dataset.get("PixelPaddingValue")
    if first is None:
        return np.zeros(values.shape, dtype=bool)
    last = dataset.get("PixelPaddingRangeLimit", first)
    return (values >= min(first, last)) & (values <= max(first, last))


def _apply_window(values, dataset, inside):
    """Apply the table or the window of the file, the first one if there are several."""
    from pydicom.pixels import apply_voi, apply_windowing

    if dataset.get("VOILUTSequence"):
        n_bits = dataset.VOILUTSequence[0].LUTDescriptor[2]
        return apply_voi(values, dataset), 0, 2**n_bits - 1
    if dataset.get("WindowCenter") is None or dataset.get("WindowWidth") is None:
        shown = values[inside] if inside.any() else values
        low, high = float(shown.min()), float(shown.max())
        return values, low, high if high > low else low + 1
    # What becomes of two values from far outside are the limits of the window.
    far = np.append(values.astype(np.float64).ravel(), [-1e9, 1e9])
    with np.errstate(over="ignore"):
        windowed = apply_windowing(far, dataset)
    return windowed[:-2].reshape(values.shape), *map(float, windowed[-2:])
