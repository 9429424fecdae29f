"""Files of galleries that were forged, or put together from others, are refused."""

import io
import json
import os

import numpy as np
import pytest

from sksiamese._archive import ArchiveReader, ArchiveWriter
from sksiamese.search._header import Header
from sksiamese.search._items import ItemFile, Items
from sksiamese.search._memory_store import MemoryStore

METADATA = [{"label": "a", "deep": [1]}, {"label": "b"}, {}]


def build(kind="int", n=3):
    """Items of a small store."""
    ids = ([7, 2, 5] if kind == "int" else ["b", "a", "é"])[:n]
    header = Header(4, "euclidean", "f", kind)
    Z = np.arange(12, dtype=np.float32).reshape(3, 4)[:n]
    metadata = METADATA[:n]
    snapshot = header, ids, Z, metadata, 9
    return MemoryStore.of_snapshot(*snapshot, "auto", None)._items


def parts(path):
    """All members of a file, as bytes."""
    with ArchiveReader(path, "gallery") as archive:
        return {name: archive.stream(name).read() for name in archive._members}


def write(path, members):
    """Write members with the right checksums."""
    with ArchiveWriter(path, "gallery") as archive:
        for name, data in members.items():
            with archive.stream(name) as stream:
                stream.write(data)


def npy(values):
    """Bytes of an array."""
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def read(path):
    return ItemFile(path).read("euclidean", "auto", None)


@pytest.fixture(params=["int", "str"])
def members(request, tmp_path):
    """Parts of a file."""
    ItemFile(tmp_path / "whole").write(build(request.param))
    return parts(tmp_path / "whole")


def test_item_file_gives_back_items(members, tmp_path):
    write(tmp_path / "again", members)
    found, wanted = read(tmp_path / "again"), read(tmp_path / "whole")
    assert found.whole
    assert found.header == wanted.header
    assert found.ids.ids().tolist() == wanted.ids.ids().tolist()
    assert found.ids.next_id == 9
    assert found.metadata.take(np.arange(3)) == METADATA
    np.testing.assert_array_equal(found.index.vectors(), wanted.index.vectors())


def test_item_file_without_items_gives_back_next_id(tmp_path):
    assert read(tmp_path / "g").ids.next_id == 0  # not there
    ItemFile(tmp_path / "g").write(Items.none("auto", None, 12))
    found = ItemFile(tmp_path / "g").read("cosine", "auto", None)
    assert found.header is None
    assert len(found.ids) == len(found.index) == len(found.metadata) == 0
    assert found.ids.next_id == 12


def head(**changes):
    return {**{"kind": "int", "next_id": 9}, **changes}


def metadata(**changes):
    return {**{"n": 3, "values": {"label": ["a", "b"], "deep": [[1]]}}, **changes}


FORGED = {
    "header": [
        [4, "euclidean", "f", "float"],
        [4, "euclidean", 5, "int"],
        [4.0, "euclidean", "f", "int"],
        [True, "euclidean", "f", "int"],
        [-4, "euclidean", "f", "int"],
        [5, "euclidean", "f", "int"],
        [4, ["euclidean"], "f", "int"],
        [4, "euclidean"],
        [],
        "four",
        None,
    ],
    "id_table": [
        *(head(next_id=-1), head(next_id="9"), head(next_id=True), head(next_id=9.5)),
        *(head(kind="float"), head(kind=["int"]), {}, [], None),
    ],
    "metadata": [
        *(metadata(n=2), metadata(n="3"), metadata(n=-3), metadata(values=[]), [], {}),
        metadata(values={"label": ["a"], "deep": [[1]]}),
        metadata(values={"label": ["a", "a"], "deep": [[1]]}),
        metadata(values={"label": ["a", float("nan")], "deep": [[1]]}),
        metadata(values={"label": 5, "deep": [[1]]}),
        metadata(values={"label": ["a", "b"], "deep": [[1]], "more": [1]}),
        metadata(values=None),
    ],
    "ids.npy": [
        # The next id is 9.
        *(np.array([7, 2, 2]), np.array([7, 2, 9]), np.array([7, 2])),
        *(np.array([7.0, 2, 5]), np.array([[7, 2, 5]]), np.array(["a", "b", "c"])),
        np.array(7),
    ],
    "id_ends.npy": [
        *(np.array([1, 2, 9]), np.array([1, 2, 3]), np.array([2, 1, 4])),
        *(np.array([-1, 2, 4]), np.array([1.0, 2, 4]), np.array([1, 4]), np.array(4)),
        np.array([1, 3, 4]),  # in the middle of a letter
        np.array([1, 1, 4]),
    ],
    "id_text.npy": [
        np.frombuffer(b"bbcd", np.uint8),
        np.frombuffer(b"ba\xff\xff", np.uint8),
        np.frombuffer(b"ba\0c", np.uint8),
        np.frombuffer(b"bac", np.uint8),
        np.array([98, 97, 99, 100]),
    ],
    "metadata_0.npy": [
        *(np.int32([0, 1, 2]), np.int32([0, 1, -2]), np.int32([0, 1])),
        *(np.array([0, 1, -1]), np.float32([0, 1, -1]), np.int32([[0, 1, -1]])),
    ],
    "embeddings.npy": [
        *(np.full((3, 4), np.nan, np.float32), np.full((3, 4), np.inf, np.float32)),
        *(np.zeros((3, 4)), np.zeros((2, 4), np.float32), np.zeros(12, np.float32)),
        np.full((3, 4), 3e38, np.float32),
    ],
    "index_size.npy": [np.array([2]), np.array([-3]), np.array(3), np.array([np.inf])],
    "index_kind": ["hnsw", "ivfpq"],
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [("str" if name.startswith("id_") else "int", name) for name in FORGED]
    + [("int", "id_table"), ("str", "header"), ("str", "metadata")],
)
def test_item_file_with_forged_part_raises(kind, name, tmp_path):
    ItemFile(tmp_path / "whole").write(build(kind))
    members = parts(tmp_path / "whole")
    assert name in members
    for i, value in enumerate(FORGED[name]):
        if isinstance(value, np.ndarray):
            data = npy(value)
        else:
            data = (value if name == "index_kind" else json.dumps(value)).encode()
        path = tmp_path / f"forged{i}"
        write(path, {**members, name: data})
        # What the index finds it says in its own words.
        of_other_size = name == "header" and (value is None or value[:1] == [5])
        by_index = of_other_size or name.startswith(("index", "embeddings"))
        match = None if by_index else f"forged{i} is not a whole gallery"
        with pytest.raises(ValueError, match=match):
            read(path)


def test_item_file_with_forged_bytes_raises(members, tmp_path):
    array = members["embeddings.npy"]
    deep = b"[" * 100_000 + b"]" * 100_000
    huge = array.replace(b"(3, 4)", b"(3, 4" + b"0" * 12 + b")")
    for name, data in [
        *[(name, data) for name in members for data in (b"", b"\xff\xfe", b"{", deep)],
        *(("embeddings.npy", huge), ("embeddings.npy", array[:-1])),
        ("embeddings.npy", array.replace(b"<f4", b"|O8")),
        ("embeddings.npy", array.replace(b"(3, 4)", b"(-3,-4)")),
        ("embeddings.npy", array.replace(b"\x01\x00", b"\x03\x00", 1)),
    ]:
        if name in ("generation", "index_kind") and data != b"\xff\xfe":
            continue  # any text will do; what is no kind of index is no index
        write(tmp_path / "g", {**members, name: data})
        with pytest.raises(ValueError):
            read(tmp_path / "g")


def test_item_file_without_a_part_raises(members, tmp_path):
    for name in members:
        others = {other: data for other, data in members.items() if other != name}
        write(tmp_path / "g", others)
        with pytest.raises(ValueError, match="is not a whole gallery: it lacks"):
            read(tmp_path / "g")


def test_item_file_of_parts_that_do_not_fit_raises(tmp_path):
    for kind, n, fault in (
        ("int", 2, "parts do not fit"),
        ("str", 3, "another type"),
    ):
        ItemFile(tmp_path / kind).write(build(kind, n))
        ItemFile(tmp_path / f"{kind} first").write(build("int"))
        other = parts(tmp_path / kind)
        mixed = parts(tmp_path / f"{kind} first")
        mixed.update({name: other[name] for name in other if name.startswith("id")})
        write(tmp_path / "mixed", mixed)
        with pytest.raises(ValueError, match=fault):
            read(tmp_path / "mixed")


def test_item_file_that_must_be_new_is_not_overwritten(tmp_path):
    ItemFile(tmp_path / "g").write(build(), anew=True)
    before = (tmp_path / "g").read_bytes()
    with pytest.raises(FileExistsError, match="is there already"):
        ItemFile(tmp_path / "g").write(build(), anew=True)
    with pytest.raises(ValueError, match="Another process has saved"):
        ItemFile(tmp_path / "g").write(build())
    assert (tmp_path / "g").read_bytes() == before
    assert os.listdir(tmp_path) == ["g"]
