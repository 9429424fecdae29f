"""What is written comes back; what was not written so does not."""

import copy
import json
import math
import struct

import numpy as np
import pytest
import torch

from sksiamese import _archive
from sksiamese._archive import ArchiveWriter
from sksiamese._state_file import read_state, write_state

RNG = np.random.default_rng(0)
STATE = {
    "plain": [None, True, False, 0, -(2**70), 1.5, -0.0, 1e-320, "Grüße\0\ud800", ""],
    "not finite": [math.nan, math.inf, -math.inf],
    "tuple": (1, (2, [3, ()]), {}),
    7: {True: "bool", None: "none", 2.5: "float", "nested": {"a": {"b": []}}},
    np.str_("label"): np.str_("a\0"),
    np.int64(3): np.float32(0.1),
    "bytes": (b"\0\xff", np.bytes_(b"x\0")),
    "scalars": [np.float64(math.nan), np.bool_(True), np.uint8(255), np.int16(-3)],
    "types": [np.dtype("uint8"), np.dtype(">f4"), np.dtype("U3")],
    "dates": np.array(["2026-11-22", "NaT"], dtype="datetime64[D]"),
    "arrays": [
        RNG.normal(size=(3, 4)).astype(np.float32),
        np.asfortranarray(RNG.normal(size=(3, 4))),
        RNG.integers(0, 255, size=(2, 0, 5), dtype=np.uint8),
        np.arange(4, dtype=">i4"),
        np.array(["a", "bcd"]),
        np.array([b"a", b"bcd"]),
        np.array(3.5),
        np.array([1 + 2j]),
    ],
    "objects": np.array([["a", 1], [None, 2.5]], dtype=object),
    "labels": np.array([np.str_("a"), np.int64(3), np.float32(0.1)], dtype=object),
    "tensors": [
        torch.randn(3, 2, generator=torch.Generator().manual_seed(0)),
        torch.arange(6).reshape(2, 3).T,
        torch.tensor(1.5, dtype=torch.bfloat16),
        torch.tensor([], dtype=torch.float64),
        torch.tensor([True, False]),
        torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last),
    ],
}


def same(a, b):
    """Equal in type and value, bit for bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, np.ndarray | np.generic):
        alike = a.dtype == b.dtype and a.shape == b.shape
        if a.dtype == object:
            return alike and same(a.tolist(), b.tolist())
        return alike and a.tobytes() == b.tobytes()
    return repr(a) == repr(b)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.model"


def test_state_written_comes_back_bit_for_bit(path):
    before = copy.deepcopy(STATE)
    write_state(path, "model", STATE)
    assert same(read_state(path, "model"), STATE)
    # NumPy before 2.4 loses a null at the end of a string that is copied.
    assert same(before, copy.deepcopy(STATE))
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_state_of_shared_and_strided_tensors_is_stored_for_each_place(path):
    base = torch.arange(12.0).reshape(3, 4)
    write_state(path, "model", [base, base, base[:, 1], base.expand(2, 3, 4)])
    read = read_state(path, "model")
    assert torch.equal(read[2], base[:, 1]) and torch.equal(read[3][1], base)
    read[0][0, 0] = 5.0
    assert read[1][0, 0] == 0


def test_state_file_holds_json_npy_and_safetensors_only(path):
    write_state(path, "model", STATE)
    with np.load(path, allow_pickle=False) as members:
        names = set(members.files)
        json.loads(members["state.json"])
        arrays = [members[name] for name in names if name.isdecimal()]
    assert {"sksiamese-model", "state.json", "tensors.safetensors"} <= names
    assert len(arrays) == len([n for n in names if n.isdecimal()]) > 5


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (object(), r"state\['a'\]\[1\]"),
        (print, r"state\['a'\]\[1\]"),
        ({1, 2}, r"set"),
        (1j, "complex"),
        (np.array([object()]), "array of object"),
        (np.array([np.array([1]), None], dtype=object), "array of object"),
        (np.zeros(2, dtype=[("x", "i4")]), "array of"),
        (torch.zeros(2).to_sparse(), "sparse"),
        ({(1, 2): 3}, "key"),
        (torch.zeros(2, dtype=torch.complex64), "complex64"),
    ],
)
def test_state_of_other_types_is_refused_before_the_file_is_touched(path, value, place):
    write_state(path, "model", "old")
    with pytest.raises(TypeError, match=place):
        write_state(path, "model", {"a": [1, value]})
    assert read_state(path, "model") == "old"


def test_state_of_another_kind_is_refused(path):
    write_state(path, "checkpoint", 1)
    with pytest.raises(ValueError, match="not a model of sksiamese"):
        read_state(path, "model")
    with pytest.raises(FileNotFoundError):
        read_state(path.with_name("other"), "model")


def test_state_of_a_newer_version_names_the_remedy(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(_archive.VERSIONS, "model", 2)
        write_state(path, "model", 1)
    with pytest.raises(ValueError, match=r"format 2, this one knows 1.*update"):
        read_state(path, "model")


def forge(path, text, tensors=b"\2\0\0\0\0\0\0\0{}", arrays=()):
    """Write a file with right checksums but contents of a stranger's."""
    with ArchiveWriter(path, "model") as archive:
        archive.text("state.json", text)
        for name, array in arrays:
            archive.array(name, array)
        with archive.stream("tensors.safetensors") as stream:
            stream.write(tensors)


def safetensors(header, data=b""):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


FORGED = {
    "unknown type": '{"os.system": "true"}',
    "two keys": '{"tuple": [], "dict": []}',
    "no keys": "{}",
    "no such array": '{"array": "7"}',
    "path as name": '{"array": "../../etc/passwd"}',
    "number as name": '{"array": 7}',
    "list as name": '{"tensor": []}',
    "no such tensor": '{"tensor": "0"}',
    "huge objects": '{"objects": [[1000000000000], []]}',
    "overflow": '{"objects": [[0, 1e400], []]}',
    "negative shape": '{"objects": [[-1, -1], [1]]}',
    "unhashable key": '{"dict": [[[1], 2]]}',
    "odd item": '{"dict": [[1, 2, 3]]}',
    "dict of text": '{"dict": "ab"}',
    "no base64": '{"bytes": "%%%"}',
    "deep": "[" * 100_000 + "]" * 100_000,
    "deep tuples": '{"tuple": [' * 5000 + "]}" * 5000,
    "no JSON": "import os",
    "long number": "1" * 10_000,
    "cut": '{"tuple": [1',
}


@pytest.mark.parametrize("text", FORGED.values(), ids=FORGED)
def test_state_forged_with_right_checksums_is_refused(path, text):
    forge(path, text)
    with pytest.raises(ValueError, match="is not a whole model"):
        read_state(path, "model")


@pytest.mark.parametrize(
    "tensors",
    [
        b"",
        b"\xff" * 8,
        struct.pack("<Q", 2**63) + b"{}",
        safetensors({"0": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4]}}),
        safetensors(
            {"0": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"1234"
        ),
        safetensors(
            {"0": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"1234"
        ),
        safetensors({"0": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}}),
        b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    ],
    ids=["empty", "ones", "header", "huge", "short", "gap", "dtype", "pickle"],
)
def test_state_with_forged_tensors_is_refused(path, tensors):
    forge(path, '{"tensor": "0"}', tensors)
    with pytest.raises(ValueError, match="is not a whole model"):
        read_state(path, "model")


def test_array_named_in_two_places_is_refused(path):
    """A file of a megabyte could fill any memory so."""
    forge(path, '[{"array": "0"}, {"array": "0"}]', arrays=[("0", np.zeros(9))])
    with pytest.raises(ValueError, match="two places"):
        read_state(path, "model")


def test_array_of_texts_without_length_is_refused(path):
    header = {"descr": "<U0", "fortran_order": False, "shape": (10**9,)}
    with ArchiveWriter(path, "model") as archive:
        archive.text("state.json", '{"array": "0"}')
        with archive.stream("0.npy") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
        with archive.stream("tensors.safetensors") as stream:
            stream.write(safetensors({}))
    with pytest.raises(ValueError, match="is not a whole model"):
        read_state(path, "model")


def test_masked_array_is_refused(path):
    with pytest.raises(TypeError, match="MaskedArray"):
        write_state(path, "model", np.ma.masked_array([1, 2], [True, False]))


def test_state_with_a_pickle_as_array_is_refused(path):
    with ArchiveWriter(path, "model") as archive:
        archive.text("state.json", '{"array": "0"}')
        with archive.stream("0.npy") as stream:
            np.lib.format.write_array(stream, np.array([{}]), allow_pickle=True)
        with archive.stream("tensors.safetensors") as stream:
            stream.write(safetensors({}))
    with pytest.raises(ValueError, match="is not a whole model"):
        read_state(path, "model")
