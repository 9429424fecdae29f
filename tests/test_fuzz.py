"""Mutated files of each format load or raise the documented error.

``pytest -s tests/test_fuzz.py`` lists the faults.
"""

import collections
import io
import re
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file

from sksiamese._decode import Decoding, ImageReadError, decode, is_grey

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:pydicom"),
]

DECODING = Decoding((8, 8), "rgb")
EXTREMES = [
    bytes(4),
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x00\x01",
]


def saved(image, format, **kwargs):
    """Bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **kwargs)
    return buffer.getvalue()


def seeds():
    """Genuine small files of each format, in several encodings."""
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (16, 24, 3), dtype=np.uint8))
    grey, palette = colour.convert("L"), colour.convert("P")
    deep = Image.fromarray(rng.integers(0, 65536, (16, 24), dtype=np.uint16))
    exif = colour.getexif()
    exif[0x0112] = 6
    dicom = "CT_small", "SC_rgb_rle", "MR_small_jp2klossless", "SC_rgb_jpeg_dcmtk"
    dicom += ("examples_palette", "MR_small_bigendian")
    return {
        "PNG": [saved(i, "PNG", exif=exif) for i in (colour, grey, palette, deep)],
        "JPEG": [
            saved(colour, "JPEG", exif=exif),
            saved(grey, "JPEG"),
            saved(colour, "JPEG", progressive=True),
            saved(colour.convert("CMYK"), "JPEG"),
        ],
        "TIFF": [
            saved(image, "TIFF", compression=compression)
            for image, compression in [
                (colour, None),
                (colour, "tiff_lzw"),
                (colour, "jpeg"),
                (grey, "tiff_adobe_deflate"),
                (deep, "packbits"),
                (colour.convert("1"), "group4"),
            ]
        ],
        "BMP": [saved(i, "BMP") for i in (colour, grey, palette)],
        "DICOM": [open(get_testdata_file(f"{n}.dcm"), "rb").read() for n in dicom],
    }


SEEDS = seeds()


@st.composite
def mutated(draw, format):
    """Draw a file with up to three mutations, half of them near its start."""
    content = bytearray(draw(st.sampled_from(SEEDS[format])))
    for _ in range(draw(st.integers(1, 3))):
        last = max(0, len(content) - 1)
        where = draw(st.integers(min(8, last), min(400, last)) | st.integers(0, last))
        kind = draw(st.sampled_from(["flip", "extreme", "cut", "double", "insert"]))
        if kind == "flip" and content:
            content[where] ^= draw(st.integers(1, 255))
        elif kind == "extreme":
            extreme = draw(st.sampled_from(EXTREMES))
            content[where : where + len(extreme)] = extreme
        elif kind == "cut":
            del content[where : where + draw(st.integers(1, 64) | st.just(10**6))]
        elif kind == "double":
            content[where:where] = content[where : where + 64]
        else:
            content[where:where] = draw(st.binary(max_size=16))
    if format == "PNG" and draw(st.booleans()):
        return with_checksums(content)
    return bytes(content)


def with_checksums(content):
    """Make the checksums of a PNG right, so that its chunks are read at all."""
    content, start = bytearray(content), 8
    while start + 12 <= len(content):
        length = int.from_bytes(content[start : start + 4], "big")
        end = start + 8 + length
        content[end : end + 4] = zlib.crc32(content[start + 4 : end]).to_bytes(4, "big")
        start = end + 4
    return bytes(content)


@pytest.mark.parametrize("format", SEEDS)
def test_mutated_files_load_or_raise_the_documented_error(format, tmp_path):
    path, outcomes = str(tmp_path / "file"), collections.Counter()

    @settings(
        max_examples=500,
        deadline=5000,  # milliseconds: nothing hangs
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutated(format))
    def check(content):
        with open(path, "wb") as file:
            file.write(content)
        assert is_grey(path) in (True, False)
        try:
            pixels = decode(path, DECODING)
        except ImageReadError as error:
            assert error.filename == path
            outcomes[re.sub(r"\d+", "#", error.reason)[:70]] += 1
        else:
            assert pixels.shape == (8, 8, 3)
            assert pixels.dtype == np.uint8
            outcomes["loads"] += 1

    check()
    for outcome, count in outcomes.most_common():
        print(f"{format} {count:4d} {outcome}")
    assert outcomes["loads"] >= 10  # not everything is refused
