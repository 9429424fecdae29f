"""Damaged and forged model files give the documented error or the right answer.

``pytest -s tests/test_fuzz_models.py`` tells what was tried and what came of it.
"""

import collections
import io
import json
import resource
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

import sksiamese
from sksiamese import SiameseClassifier
from sksiamese._archive import ArchiveReader, ArchiveWriter
from sksiamese._state_file import read_state, write_state

N_DAMAGED, N_FORGED = 700, 700
# What a load may take beside what is there: the files have 60 kB.
MEMORY = 1 << 30
RANDOM = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Train a model; give its file's path and bytes, images, and what it says."""
    X, y = load_digits(return_X_y=True)
    X = X[:100].reshape(-1, 8, 8).astype(np.uint8)
    params = {"backbone": "conv4-16-tanh", "image_size": 16, "random_state": 0}
    clf = SiameseClassifier(max_epochs=1, classifier="knn", **params).fit(X, y[:100])
    path = tmp_path_factory.mktemp("fuzz") / "x.model"
    sksiamese.save(clf, path)
    return path, path.read_bytes(), X[:20], clf.predict_proba(X[:20])


@pytest.fixture(autouse=True)
def little_memory():
    """Let memory beyond what is needed fail, as on a full machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def outcome(path, X, expected):
    """Load; the right answer and the documented error are fine, all else is not."""
    try:
        loaded = sksiamese.load(path)
    except ValueError as error:
        assert path.name in str(error)
        return "refused"
    assert np.array_equal(loaded.predict_proba(X), expected)
    return "right"


# --- bytes ----------------------------------------------------------------------------


def flip(data, draw):
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) * 8 - 1))
        data[at // 8] ^= 1 << at % 8


def truncate(data, draw):
    del data[draw(st.integers(0, len(data) - 1)) :]


def append(data, draw):
    data += draw(st.binary(min_size=1, max_size=300))


def remove(data, draw):
    at = draw(st.integers(0, len(data) - 1))
    del data[at : at + draw(st.integers(1, 5000))]


def overwrite(data, draw):
    extremes = [b"\xff" * 8, bytes(8), b"\x7f" + b"\xff" * 7, b"PK\1\2", b"PK\5\6"]
    new = draw(st.sampled_from(extremes) | st.binary(min_size=1, max_size=64))
    at = draw(st.integers(0, len(data) - 1))
    data[at : at + len(new)] = new


def move(data, draw):
    a, b = (draw(st.integers(0, len(data) - 1)) for _ in range(2))
    n = draw(st.integers(1, 2000))
    data[a : a + n], data[b : b + n] = data[b : b + n], data[a : a + n]


def members(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def pack(parts, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in parts:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def swap_members(data, draw):
    parts = members(bytes(data))
    i, j = (draw(st.integers(0, len(parts) - 1)) for _ in range(2))
    (a, x), (b, y) = parts[i], parts[j]
    parts[i], parts[j] = (a, y), (b, x)
    data[:] = pack(parts)


def drop_or_double_member(data, draw):
    parts = members(bytes(data))
    i = draw(st.integers(0, len(parts) - 1))
    parts[i : i + 1] = [parts[i]] * draw(st.sampled_from([0, 2]))
    data[:] = pack(parts)


def rename_member(data, draw):
    parts = members(bytes(data))
    i = draw(st.integers(0, len(parts) - 1))
    names = ["../../evil", "/etc/passwd", "a" * 60_000, "contents", "state.json", "\0"]
    parts[i] = draw(st.sampled_from(names)), parts[i][1]
    data[:] = pack(parts)


def deflate(data, draw):
    """Members that unpack to a thousand times their size."""
    parts = members(bytes(data))
    i = draw(st.integers(0, len(parts) - 1))
    bomb = bytes(draw(st.sampled_from([0, 1 << 20, 1 << 26])))
    parts[i] = parts[i][0], parts[i][1] + bomb
    data[:] = pack(parts, zipfile.ZIP_DEFLATED)


def be_a_pickle(data, draw):
    payload = b"cposix\nmkdir\n(S'trace'\ntR."
    at = draw(st.sampled_from([0, 4, 30, 60, len(data) // 2]))
    data[at : at + len(payload)] = payload


DAMAGES = [
    flip,
    truncate,
    append,
    remove,
    overwrite,
    move,
    swap_members,
    drop_or_double_member,
    rename_member,
    deflate,
    be_a_pickle,
]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_damaged_files_are_refused_or_right(model, tmp_path, monkeypatch):
    _, whole, X, expected = model
    monkeypatch.chdir(tmp_path)
    counts = collections.Counter()

    @settings(RANDOM, max_examples=N_DAMAGED)
    @given(st.data())
    def check(data):
        damage = data.draw(st.sampled_from(DAMAGES))
        damaged = bytearray(whole)
        damage(damaged, data.draw)
        path = tmp_path / "damaged.model"
        path.write_bytes(damaged)
        counts[damage.__name__, outcome(path, X, expected)] += 1
        assert {p.name for p in tmp_path.iterdir()} == {"damaged.model"}

    check()
    for (name, result), n in sorted(counts.items()):
        print(f"{name}: {n} {result}")
    print(f"{sum(counts.values())} damaged files")
    assert sum(counts.values()) >= N_DAMAGED
    assert {name for name, _ in counts} == {d.__name__ for d in DAMAGES}


# --- contents, with right checksums ---------------------------------------------------


def places(tree, at=()):
    """Where there is something in a tree."""
    yield at
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from places(value, (*at, key))
    elif isinstance(tree, list | tuple):
        for i, value in enumerate(tree):
            yield from places(value, (*at, i))


def replaced(tree, at, new):
    """Copy a tree with something else in one place; ``...`` removes it."""
    if not at:
        return new
    changed = dict(tree) if isinstance(tree, dict) else list(tree)
    changed[at[0]] = replaced(tree[at[0]], at[1:], new)
    if changed[at[0]] is ...:
        del changed[at[0]]
    return type(tree)(changed)


HOSTILE = st.one_of(
    st.just(...),
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 10**12, 2**63, -(2**70)]),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["../../x", "os.system", "cuda", "__class__", "vit_h_14"]),
    st.sampled_from([[], {}, (), [[]], {"value": 1}, {"sklearn": ["os", "x", {}, 0]}]),
    st.sampled_from([np.zeros(0), np.zeros((2, 2)), np.array(["a"]), np.ones(100)]),
)


@pytest.mark.filterwarnings("ignore:.*device is now 'auto'")
@pytest.mark.filterwarnings("ignore:.*was fitted again")
@pytest.mark.filterwarnings("ignore:.*stream of partial_fit")
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_forged_contents_are_refused_or_never_crash(model, tmp_path):
    """With right checksums, so that what reads the contents is what is tried.

    A forged model may say anything, but says it as the documented error or as
    probabilities.
    """
    path, _, X, _ = model
    state = read_state(path, "model")
    spots = [at for at in places(state) if at and at[0] == "estimator"]
    counts = collections.Counter()

    @settings(RANDOM, max_examples=N_FORGED)
    @given(st.sampled_from(spots), HOSTILE)
    def check(at, new):
        forged = tmp_path / "forged.model"
        write_state(forged, "model", replaced(state, at, new))
        try:
            loaded = sksiamese.load(forged)
        except ValueError as error:
            assert forged.name in str(error)
            counts["refused"] += 1
            return
        try:
            said = loaded.predict_proba(X)
        except ValueError:  # of images of another shape, or embeddings not finite
            counts["loaded, refuses to predict"] += 1
            return
        assert said.ndim == 2
        counts["loaded and predicts"] += 1

    check()
    print(dict(counts), f"{sum(counts.values())} forged files")
    assert sum(counts.values()) >= N_FORGED
    assert counts["refused"] > N_FORGED // 4


HEADERS = [
    b"\xff" * 8,
    struct.pack("<Q", 2**40),
    struct.pack("<Q", 100) + b"{" * 100,
    b"\x93NUMPY\x01\x00\xff\xff" + b"{" * 65535,
    b"\x93NUMPY\x02\x00\xff\xff\xff\x7f",
    b"\x93NUMPY\x01\x00\x76\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
    b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f8', 'shape': (999999999999,), }",
]


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
@pytest.mark.parametrize("name", ["state.json", "tensors.safetensors", "0.npy"])
def test_members_with_hostile_headers_are_refused(model, tmp_path, header, name):
    path, whole, *_ = model
    forged = tmp_path / "forged.model"
    with ArchiveReader(path, "model") as old, ArchiveWriter(forged, "model") as new:
        for member, content in members(whole):
            if member not in ("sksiamese-model", "contents"):
                with new.stream(member) as stream:
                    stream.write(header if member == name else content)
        assert "0" in old
    with pytest.raises(ValueError, match=r"forged\.model is not a whole model"):
        sksiamese.load(forged)


def test_state_of_the_file_is_json(model):
    path, whole, *_ = model
    assert json.loads(dict(members(whole))["state.json"])
