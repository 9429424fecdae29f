"""One image file to 8-bit pixels: formats, orientation, resizing, what is refused."""

import os
import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from sksiamese._decode import ColourFound, Decoding, ImageReadError, decode, is_grey

SHAPE = 12, 18


@pytest.fixture(scope="module")
def colours():
    """Smooth colours, which JPEG keeps nearly as they are."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.stack([10 * y + 50, 9 * x + 20, 200 - 8 * y], axis=2).astype(np.uint8)


def whole(mode="rgb", **kwargs):
    """Decode without resizing."""
    return Decoding(SHAPE, mode, **kwargs)


LOSSLESS = {
    "L.png": ("L", {}),
    "1.png": ("1", {}),
    "P.png": ("P", {}),
    "LA.png": ("LA", {}),
    "RGB.png": ("RGB", {}),
    "RGBA.png": ("RGBA", {}),
    "L.bmp": ("L", {}),
    "RGB.bmp": ("RGB", {}),
    "P.bmp": ("P", {}),
    "L.tif": ("L", {}),
    "1-g4.tif": ("1", {"compression": "group4"}),
    "RGB.tiff": ("RGB", {}),
    "RGB-lzw.tif": ("RGB", {"compression": "tiff_lzw"}),
    "RGB-deflate.tif": ("RGB", {"compression": "tiff_adobe_deflate"}),
    "CMYK.tif": ("CMYK", {}),
    "RGBA-packbits.tif": ("RGBA", {"compression": "packbits"}),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_decode_gives_the_pixels_of_lossless_formats(tmp_path, colours, name):
    mode, kwargs = LOSSLESS[name]
    path = str(tmp_path / name)
    image = Image.fromarray(colours).convert(mode)
    image.save(path, **kwargs)
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(decode(path, whole()), expected)
    grey = image if mode in ("1", "L", "LA") else image.convert("RGB")
    expected = np.asarray(grey.convert("L"))
    np.testing.assert_array_equal(decode(path, whole("grey")), expected)
    assert is_grey(path) == (mode in ("1", "L", "LA"))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_decode_reads_jpeg(tmp_path, colours, mode):
    path = str(tmp_path / "a.jpg")
    image = Image.fromarray(colours).convert(mode)
    image.save(path, quality=95)
    expected = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(decode(path, whole()) - expected).mean() < 3


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_decode_scales_16_bits(tmp_path, extension):
    path = str(tmp_path / f"a.{extension}")
    values = np.linspace(0, 65535, 216).reshape(SHAPE).astype(np.uint16)
    Image.fromarray(values).save(path)
    expected = np.rint(values / 257)
    np.testing.assert_array_equal(decode(path, whole("grey")), expected)
    np.testing.assert_array_equal(decode(path, whole())[..., 1], expected)
    assert is_grey(path)
    narrow = decode(path, whole("grey", value_range=(1000.0, 5000.0)))
    expected = np.rint(np.clip((values - 1000.0) / 4000, 0, 1) * 255)
    np.testing.assert_array_equal(narrow, expected)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_decode_of_32_bits_needs_a_value_range(tmp_path, dtype):
    path = str(tmp_path / "a.tif")
    values = np.linspace(-100, 300, 216).reshape(SHAPE).astype(dtype)
    Image.fromarray(values).save(path)
    with pytest.raises(ImageReadError, match="set value_range"):
        decode(path, whole("grey"))
    pixels = decode(path, whole("grey", value_range=(-100.0, 300.0)))
    expected = np.rint((values + 100.0) / 400 * 255)
    np.testing.assert_allclose(pixels, expected, atol=1)  # ties


def test_decode_of_nan_raises(tmp_path):
    path = str(tmp_path / "a.tif")
    Image.fromarray(np.full(SHAPE, np.nan, np.float32)).save(path)
    with pytest.raises(ImageReadError, match="NaN or infinite"):
        decode(path, whole("grey", value_range=(0.0, 1.0)))


@pytest.mark.parametrize("aspect", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("extension", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_decode_applies_orientation(tmp_path, orientation, extension, aspect):
    """All ways agree with transposing the whole image first."""
    y, x = np.mgrid[:120, :200]
    pixels = np.stack([x, y, (x > 150) * 200], axis=2).astype(np.uint8)
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = orientation
    path = str(tmp_path / f"a.{extension}")
    image.save(path, exif=exif, **({"quality": 95} if extension == "jpg" else {}))
    with Image.open(path) as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    size, bilinear = (30, 20), Image.Resampling.BILINEAR
    expected = {
        "stretch": lambda: upright.resize(size, bilinear),
        "crop": lambda: ImageOps.fit(upright, size, bilinear),
        "pad": lambda: ImageOps.pad(upright, size, bilinear),
    }[aspect]()
    result = decode(path, Decoding((20, 30), "rgb", aspect)).astype(int)
    difference = np.abs(result - np.asarray(expected).astype(int))
    assert difference.mean() < 2
    assert np.median(difference) <= 1


def test_decode_of_16_bits_keeps_orientation(tmp_path):
    path = str(tmp_path / "a.png")
    image = Image.fromarray(np.arange(6, dtype=np.uint16).reshape(2, 3) * 257)
    exif = image.getexif()
    exif[0x0112] = 6  # a quarter turn clockwise
    image.save(path, exif=exif)
    expected = np.rot90(np.arange(6).reshape(2, 3), -1)
    np.testing.assert_array_equal(decode(path, Decoding((3, 2), "grey")), expected)


def test_decode_of_large_jpeg_is_near_a_full_decoding(tmp_path):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((1200, 900), Image.Resampling.BICUBIC)
    path = str(tmp_path / "a.jpg")
    image.save(path, quality=95)
    expected = np.asarray(image.resize((64, 48), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(decode(path, Decoding((48, 64))) - expected).mean() < 3


def test_decode_of_two_files_in_one_takes_first_preview_but_no_page(tmp_path, colours):
    camera, pages = str(tmp_path / "a.jpg"), str(tmp_path / "a.tif")
    for path, kwargs in [(camera, {"format": "MPO", "quality": 95}), (pages, {})]:
        # Saving leaves settings of the format behind in Pillow's images.
        first, second = Image.fromarray(colours), Image.fromarray(colours[::-1].copy())
        first.save(path, save_all=True, append_images=[second], **kwargs)
    assert np.abs(decode(camera, whole()) - colours.astype(int)).mean() < 3
    with pytest.raises(ImageReadError, match="several pages"):
        decode(pages, whole())


def test_decode_refuses_colour_on_request(tmp_path, colours):
    path = str(tmp_path / "a.png")
    Image.fromarray(colours).save(path)
    with pytest.raises(ColourFound):
        decode(path, whole("grey"), refuse_colour=True)


def png_that_claims(width, height):
    """Few bytes that open as a huge PNG."""

    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(100))
    body = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [9_500, 50_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decode_refuses_decompression_bombs(tmp_path, side):
    path = tmp_path / "a.png"
    path.write_bytes(png_that_claims(side, side))
    with pytest.raises(ImageReadError, match=r"MAX_IMAGE_PIXELS|decompression bomb"):
        decode(str(path), whole())


def test_decode_of_what_is_no_file_names_the_reason(tmp_path):
    for path, reason in [
        (tmp_path / "none.png", "no such file"),
        (tmp_path, "not a regular file"),
    ]:
        with pytest.raises(ImageReadError, match=reason) as caught:
            decode(str(path), whole())
        assert caught.value.filename == str(path)
    if hasattr(os, "mkfifo"):
        pipe = tmp_path / "pipe.png"
        os.mkfifo(pipe)  # opening it would wait for a writer
        with pytest.raises(ImageReadError, match="not a regular file"):
            decode(str(pipe), whole())


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_decode_of_other_formats_names_those_it_knows(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ImageReadError, match="neither PNG, JPEG, TIFF, BMP nor DICOM"):
        decode(str(path), whole())
    assert is_grey(str(path))  # as far as one can tell


@pytest.mark.parametrize("extension", ["png", "jpg", "tif", "bmp"])
def test_decode_of_truncated_file_raises(tmp_path, extension):
    path = tmp_path / f"a.{extension}"
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(ImageReadError, match=str(path)):
        decode(str(path), whole())


def test_error_survives_pickling():
    error = pickle.loads(pickle.dumps(ImageReadError("a.png", "it is broken")))
    assert str(error) == "a.png cannot be read: it is broken"
    assert (error.filename, error.reason) == ("a.png", "it is broken")


def test_any_crop_of_any_size_is_possible(tmp_path):
    """Rounding must not ask for pixels outside of the image."""
    rng = np.random.default_rng(0)
    sizes = [((450, 600), (224, 224)), ((333, 500), (150, 150))]
    sizes += [(rng.integers(1, 700, 2), rng.integers(1, 300, 2)) for _ in range(300)]
    path = str(tmp_path / "a.bmp")
    for original, wanted in sizes:
        Image.new("L", tuple(map(int, original[::-1])), 9).save(path)
        pixels = decode(path, Decoding(tuple(map(int, wanted)), "grey", "crop"))
        assert (pixels == 9).all()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_header_of_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert is_grey(str(tmp_path / "pipe.png"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_whose_zero_is_white_is_inverted(tmp_path, dtype):
    path, top = str(tmp_path / "a.tif"), np.iinfo(dtype).max
    values = np.linspace(0, top, 216).reshape(SHAPE).astype(dtype)
    Image.fromarray(values).save(path, tiffinfo={262: 0})
    with Image.open(path) as opened:
        assert opened.tag_v2[262] == 0
    # Pillow stores 8 bits inverted, so that they read as they were; 16 bits not.
    stored = values if dtype is np.uint8 else top - values
    expected = np.rint(stored / (top / 255))
    np.testing.assert_array_equal(decode(path, whole("grey")), expected)
    as_is = whole("grey", value_range=(0.0, float(top)))
    np.testing.assert_array_equal(decode(path, as_is), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_broken_exif_does_not_spoil_an_image(tmp_path, dtype):
    path = str(tmp_path / "a.png")
    values = np.full(SHAPE, 7, dtype)
    Image.fromarray(values).save(path, exif=b"Exif\0\0garbage of another kind")
    assert (decode(path, whole("grey")) == (7 if dtype is np.uint8 else 0)).all()


@pytest.mark.filterwarnings("error")
def test_transparency_is_ignored_without_a_warning(tmp_path, colours):
    path = str(tmp_path / "a.png")
    image = Image.fromarray(colours).convert("P")
    image.save(path, transparency=bytes(range(256)))
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(decode(path, whole()), expected)
