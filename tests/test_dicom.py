"""DICOM as a radiologist sees it, on the files that pydicom brings along."""

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from sksiamese._decode import Decoding, ImageReadError, decode, is_grey

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def read(name, mode="grey", value_range=None, size=None):
    """Decode a file of pydicom's, by default in its own size."""
    path = name if "/" in name else get_testdata_file(name)
    header = pydicom.dcmread(path, stop_before_pixels=True)
    size = (header.Rows, header.Columns) if size is None else size
    return decode(path, Decoding(size, mode, value_range=value_range))


@pytest.fixture
def ct(tmp_path):
    """Write a changed copy of a computed tomography image and return its path."""

    def write(**changes):
        dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
        for name, value in changes.items():
            setattr(dataset, name, value)
        path = str(tmp_path / "ct.dcm")
        dataset.save_as(path)
        return path

    return write


def hounsfield():
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
    return dataset.pixel_array * slope + intercept


def scaled(values, low, high):
    return np.rint(np.clip((values - low) / (high - low), 0, 1) * 255)


def test_rescale_comes_before_the_value_range():
    pixels = read("CT_small.dcm", value_range=(-1000.0, 1000.0))
    np.testing.assert_array_equal(pixels, scaled(hounsfield(), -1000, 1000))


def test_without_a_window_the_extremes_are_black_and_white():
    values = hounsfield()
    expected = scaled(values, values.min(), values.max())
    np.testing.assert_array_equal(read("CT_small.dcm"), expected)


def test_window_of_the_file_is_applied(ct):
    path = ct(WindowCenter=40, WindowWidth=400, VOILUTFunction="LINEAR_EXACT")
    expected = scaled(hounsfield(), 40 - 200, 40 + 200)
    assert np.abs(read(path) - expected).max() <= 1  # ties
    path = ct(WindowCenter=[40, 300], WindowWidth=[401, 2000])  # linear, first of two
    assert np.abs(read(path) - scaled(hounsfield(), 39.5 - 200, 39.5 + 200)).max() <= 1
    sigmoid = ct(WindowCenter=40, WindowWidth=400, VOILUTFunction="SIGMOID")
    expected = np.rint(255 / (1 + np.exp(-4 * (hounsfield() - 40) / 400)))
    assert np.abs(read(sigmoid) - expected).max() <= 1


def test_value_range_replaces_the_window(ct):
    path = ct(WindowCenter=40, WindowWidth=400)
    expected = read("CT_small.dcm", value_range=(0.0, 500.0))
    np.testing.assert_array_equal(read(path, value_range=(0.0, 500.0)), expected)


@pytest.mark.parametrize("changes", [{}, {"WindowCenter": 40, "WindowWidth": 400}])
@pytest.mark.parametrize("value_range", [None, (-200.0, 700.0)])
def test_smallest_values_of_monochrome1_are_white(ct, changes, value_range):
    usual = read(ct(**changes), value_range=value_range).astype(int)
    inverse = ct(**changes, PhotometricInterpretation="MONOCHROME1")
    inverse = read(inverse, value_range=value_range)
    assert np.abs(usual + inverse - 255).max() <= 1  # ties


def test_table_of_the_file_is_applied(ct):
    item = pydicom.Dataset()
    item.LUTDescriptor = [4, 0, 16]
    item.LUTData = (
        np.array([2570, 25700, 51400, 64250], np.uint16).view(np.uint8).tobytes()
    )
    path = ct(VOILUTSequence=[item], RescaleSlope=1, RescaleIntercept=0)
    raw = pydicom.dcmread(path).pixel_array
    expected = np.array([10, 100, 200, 250])[np.clip(raw, 0, 3)]
    np.testing.assert_array_equal(read(path), expected)


def test_constant_image_is_black(ct):
    path = ct(RescaleSlope=0, RescaleIntercept=7)
    assert (read(path) == 0).all()


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_dcmtk_+eb+cr.dcm",  # red, green and blue
        "SC_ybr_full_422_uncompressed.dcm",
        "SC_rgb_rle.dcm",
        "SC_rgb_rle_16bit.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "examples_palette.dcm",
    ],
)
def test_colours_come_out_red_green_and_blue(name):
    pixels = read(name, "rgb")
    assert not is_grey(get_testdata_file(name))
    assert pixels.ndim == 3
    if name.startswith("SC"):  # bars: red at the top, white below
        np.testing.assert_allclose(pixels[5, 50], [255, 0, 0], atol=3)
        np.testing.assert_allclose(pixels[95, 50], [255, 255, 255], atol=3)


def test_grey_in_every_encoding_is_the_same():
    expected = read("MR_small.dcm")
    assert is_grey(get_testdata_file("MR_small.dcm"))
    for name in ("RLE", "bigendian", "implicit", "jp2klossless", "padded"):
        np.testing.assert_array_equal(read(f"MR_small_{name}.dcm"), expected)


def test_dicom_is_resized():
    assert read("MR_small.dcm", "rgb", size=(20, 30)).shape == (20, 30, 3)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("SC_rgb_rle_2frame.dcm", "2 frames"),
        ("image_dfl.dcm", "deflated"),
        ("rtplan.dcm", "no image"),
        ("MR_truncated.dcm", "less than expected"),
    ],
)
def test_what_is_no_single_image_names_the_reason(name, reason):
    path = get_testdata_file(name)
    with pytest.raises(ImageReadError, match=reason):
        decode(path, Decoding((8, 8), "grey"))


def test_bomb_is_refused_before_its_pixels_are_read(ct):
    path = ct(Rows=60_000, Columns=60_000)
    with pytest.raises(ImageReadError, match="MAX_IMAGE_PIXELS"):
        decode(path, Decoding((8, 8), "grey"))


def test_without_pydicom_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    path = get_testdata_file("CT_small.dcm")
    with pytest.raises(ImageReadError, match=r"sksiamese\[dicom\]"):
        decode(path, Decoding((8, 8), "grey"))


@pytest.mark.parametrize("kind", ["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("window", [{}, {"WindowCenter": 40, "WindowWidth": 400}])
def test_padding_is_black_and_no_extreme(ct, kind, window):
    raw = pydicom.dcmread(get_testdata_file("CT_small.dcm")).pixel_array.copy()
    assert raw[5:].min() == raw.min()  # what is covered holds no extreme
    assert raw[5:].max() == raw.max()
    raw[:5] = -2000
    expected = read(ct(PhotometricInterpretation=kind, **window))[5:]
    path = ct(
        PhotometricInterpretation=kind,
        PixelData=raw.tobytes(),
        PixelPaddingValue=-2000,
        **window,
    )
    pixels = read(path)
    assert (pixels[:5] == 0).all()
    np.testing.assert_array_equal(pixels[5:], expected)
