"""The index in memory against exact search, whatever happens to its rows."""

import io
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sksiamese._archive import ArchiveReader, ArchiveWriter
from sksiamese.search import _faiss, _index
from sksiamese.search._exact import search_exactly
from sksiamese.search._index import VectorIndex

KINDS = ["flat", "hnsw", "ivfpq"]


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch):
    """Graphs and lists at sizes that are quick to test."""
    pytest.importorskip("faiss")
    limits = {"auto": 900, "hnsw": 300, "ivfpq": 600, "flat": np.inf}
    monkeypatch.setattr(_index, "_EXACT_UP_TO", limits)
    monkeypatch.setattr(_faiss, "_FEW_ROWS", 50)


@pytest.fixture(scope="module")
def vectors():
    """Real embeddings of a kind: digits on their principal axes; unit length."""
    X = load_digits().data.astype(np.float32)
    X -= X.mean(axis=0)
    X = X @ np.linalg.svd(X, full_matrices=False)[2][:15].T
    return np.ascontiguousarray(X / np.linalg.norm(X, axis=1, keepdims=True))


@pytest.fixture
def without_faiss(monkeypatch):
    return lambda: monkeypatch.setitem(sys.modules, "faiss", None)


def make(kind, *parts):
    index = VectorIndex(parts[0].shape[1], kind)
    for part in parts:
        index.add(part)
    return index


def recall(index, model, queries, k=10, allowed=None):
    """Share of the nearest that are found; checks all else that must hold."""
    distances, rows = index.search(queries, k, allowed)
    assert distances.shape == rows.shape == (len(queries), k)
    assert distances.dtype == np.float32 and rows.dtype == np.int64
    assert np.all(np.diff(distances) >= 0)
    assert rows.min() >= 0 and rows.max() < len(model) == len(index)
    assert all(len(set(row)) == k for row in rows.tolist())
    assert allowed is None or np.all(allowed[rows])
    true = np.linalg.norm(queries[:, None] - index.vectors()[rows], axis=2)
    np.testing.assert_allclose(distances, true, rtol=1e-4, atol=2e-3)
    numbers = None if allowed is None else np.flatnonzero(allowed)
    nearest = search_exactly(model, queries, k, numbers)[1]
    pairs = zip(rows, nearest, strict=True)
    return np.mean([len(np.intersect1d(a, b)) / k for a, b in pairs])


def least(index):
    return {"flat": 1.0, "hnsw": 0.98, "ivfpq": 0.75}[index.kind]


def through_file(index, path, kind):
    with ArchiveWriter(path, "gallery") as archive:
        index.save(archive)
    with ArchiveReader(path, "gallery") as archive:
        return VectorIndex.load(archive, index.dim, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 10, 60, 1000])
def test_search_finds_the_nearest(vectors, kind, k):
    index = make(kind, vectors[:1000], vectors[1000:1600])
    assert index.kind == kind
    assert recall(index, vectors[:1600], vectors[1600:], k) >= least(index)


@pytest.mark.parametrize("kind", KINDS)
def test_search_all_rows_finds_all_rows(vectors, kind):
    index = make(kind, vectors[:700])
    assert recall(index, vectors[:700], vectors[700:720], k=700) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.95, 0.5, 0.02])
def test_search_among_allowed_finds_the_nearest_allowed(vectors, kind, share):
    index = make(kind, vectors[:1600])
    allowed = np.random.default_rng(0).random(1600) < share
    found = recall(index, vectors[:1600], vectors[1600:], 10, allowed)
    assert found >= least(index)


@pytest.mark.parametrize("kind", KINDS)
def test_search_where_allowed_is_far_from_query_finds_the_nearest_allowed(
    vectors, kind
):
    # A graph searched with FAISS's selector stays near the query and finds few.
    index = make(kind, vectors[:1600])
    queries = vectors[1600:1640]
    for query in queries:
        allowed = np.linalg.norm(vectors[:1600] - query, axis=1) > 1.0
        found = recall(index, vectors[:1600], query[None], 10, allowed)
        assert found >= (0.98 if kind != "ivfpq" else 0.3)


@pytest.mark.filterwarnings("ignore:The embeddings added last are unlike")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("saved", [False, True])
def test_index_follows_every_change_like_an_array(vectors, kind, saved, tmp_path):
    rng = np.random.default_rng(1)
    index, model = make(kind, vectors[:1200]), vectors[:1200].copy()
    for step, fate in enumerate(["keep", "replace", "add", "keep", "add", "replace"]):
        if fate == "keep":
            mask = rng.random(len(model)) < 0.85
            index.keep(mask)
            model = model[mask]
        elif fate == "add":
            new = vectors[1200 + 30 * step : 1230 + 30 * step]
            index.add(new)
            model = np.concatenate([model, new])
        else:
            rows = rng.permutation(len(model))[:40]
            new = -vectors[1500:1540]
            index.replace(rows, new)
            model[rows] = new
        if saved:
            index = through_file(index, tmp_path / "x", kind)
        assert index.kind == kind
        slack = 0.5 if kind == "ivfpq" else 0
        np.testing.assert_allclose(index.vectors(), model, atol=slack)
        rows = np.array([7, 3, 7])
        np.testing.assert_allclose(index.vectors(rows), model[rows], atol=slack)
        assert recall(index, model, vectors[1700:]) >= least(index)
        assert recall(index, model, -vectors[1500:1520]) >= least(index) - 0.05


def test_keep_removing_the_neighbourhood_of_a_query_finds_what_is_left(vectors):
    index = make("hnsw", vectors[:1600])
    query = vectors[1700:1701]
    mask = np.ones(1600, bool)
    mask[index.search(query, 200)[1]] = False
    index.keep(mask)
    assert index._held._index.ntotal == 1600  # dead, but still in the graph
    assert recall(index, vectors[:1600][mask], query) >= 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_keep_nothing_leaves_an_index_to_fill_again(vectors, kind):
    index = make(kind, vectors[:1000])
    index.keep(np.zeros(1000, bool))
    assert len(index) == 0 and index.vectors().shape == (0, 15)
    index.add(vectors[:20])
    assert index.exact
    assert recall(index, vectors[:20], vectors[20:30], 5) == 1


def test_index_of_each_kind_says_what_it_is(vectors):
    few, many = make("hnsw", vectors[:300]), make("hnsw", vectors[:301])
    assert few.exact and few.description == "exact search (FAISS)"
    assert not many.exact and many.description.startswith("HNSW (FAISS, M=32")
    compressed = make("ivfpq", vectors[:700])
    assert not compressed.exact
    assert compressed.description.startswith("IVF-PQ (FAISS, 17 lists")
    assert compressed.description.endswith("8 bytes per vector)")


def test_keep_around_the_limit_does_not_rebuild_each_time(vectors):
    index = make("hnsw", vectors[:301])
    index.keep(np.arange(301) > 10)
    assert index.kind == "hnsw"
    index.keep(np.arange(290) >= 140)
    assert index.kind == "flat"
    np.testing.assert_array_equal(index.vectors(), vectors[151:301])


@pytest.mark.parametrize(
    ("budget", "kind"), [(10_000_000, "hnsw"), (100_000, "ivfpq"), (None, "hnsw")]
)
def test_auto_beyond_the_limit_takes_what_fits(vectors, budget, kind):
    index = VectorIndex(15, "auto", budget)
    index.add(vectors[:900])
    assert index.kind == "flat" and index.exact
    index.add(vectors[900:1000])
    assert index.kind == kind
    assert recall(index, vectors[:1000], vectors[1000:1100]) >= least(index)


def test_auto_that_outgrows_its_budget_compresses_and_stays_so(vectors):
    index = VectorIndex(15, "auto", 1300 * (60 + 280))
    index.add(vectors[:1000])
    assert index.kind == "hnsw"
    index.add(vectors[1000:1500])
    assert index.kind == "ivfpq"
    index.keep(np.arange(1500) < 100)
    assert index.kind == "ivfpq"


def test_auto_without_faiss_is_exact_at_any_size(vectors, without_faiss):
    without_faiss()
    index = make("auto", vectors[:1600])
    assert index.description == "exact search (NumPy)"
    assert recall(index, vectors[:1600], vectors[1600:]) == 1


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_approximate_index_without_faiss_names_the_extra(kind, without_faiss):
    without_faiss()
    with pytest.raises(ImportError, match=r"sksiamese\[search\]"):
        VectorIndex(4, kind)


def test_load_graph_without_faiss_searches_exactly(vectors, tmp_path, without_faiss):
    index = make("hnsw", vectors[:1000])
    index.keep(np.arange(1000) % 10 > 0)
    with ArchiveWriter(tmp_path / "x", "gallery") as archive:
        index.save(archive)
    with np.load(tmp_path / "x") as file:
        np.testing.assert_array_equal(file["embeddings"], index.vectors())
    expected = index.vectors()
    without_faiss()
    with ArchiveReader(tmp_path / "x", "gallery") as archive:
        loaded = VectorIndex.load(archive, 15)
    assert loaded.description == "exact search (NumPy)"
    np.testing.assert_array_equal(loaded.vectors(), expected)


def test_load_lists_without_faiss_names_the_extra(vectors, tmp_path, without_faiss):
    with ArchiveWriter(tmp_path / "x", "gallery") as archive:
        make("ivfpq", vectors[:700]).save(archive)
    without_faiss()
    with (
        ArchiveReader(tmp_path / "x", "gallery") as archive,
        pytest.raises(ImportError, match=r"sksiamese\[search\]"),
    ):
        VectorIndex.load(archive, 15)


@pytest.mark.parametrize("before", ["flat", "hnsw"])
@pytest.mark.parametrize("after", ["auto", *KINDS])
def test_load_as_another_kind_holds_the_same(vectors, tmp_path, before, after):
    index = make(before, vectors[:800])
    loaded = through_file(index, tmp_path / "x", after)
    expected = {"auto": before, "flat": "flat", "hnsw": "hnsw", "ivfpq": "ivfpq"}
    assert loaded.kind == expected[after]
    assert recall(loaded, vectors[:800], vectors[800:900]) >= least(loaded)


@pytest.mark.parametrize("after", ["flat", "hnsw"])
def test_load_compressed_as_exact_kind_raises(vectors, tmp_path, after):
    with pytest.raises(ValueError, match="holds compressed ones alone"):
        through_file(make("ivfpq", vectors[:700]), tmp_path / "x", after)


def test_load_graph_gives_the_same_answers_and_grows_on(vectors, tmp_path):
    index = make("hnsw", vectors[:1000])
    loaded = through_file(index, tmp_path / "x", "hnsw")
    for one, other in zip(
        index.search(vectors[1000:1200], 10),
        loaded.search(vectors[1000:1200], 10),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    loaded.add(vectors[1000:1600])
    assert recall(loaded, vectors[:1600], vectors[1600:]) >= 0.98


class Members(dict):
    """An archive in memory whose members a test may damage."""

    array = text = stream = dict.__getitem__


def members(index, tmp_path):
    with ArchiveWriter(tmp_path / "x", "gallery") as archive:
        index.save(archive)
    found = Members()
    with ArchiveReader(tmp_path / "x", "gallery") as archive:
        for name in archive._members:
            if name.endswith(".npy"):
                found[name[:-4]] = archive.array(name[:-4])
        found["index_kind"] = archive.text("index_kind")
        with archive.stream("index") as stream:
            found["index"] = stream.read()
    return found


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "other"])
def test_load_damaged_index_raises(vectors, tmp_path, kind, damage):
    content = members(make(kind, vectors[:700]), tmp_path)
    other = members(make(kind, vectors[:710]), tmp_path)["index"]
    stream = {
        "cut": content["index"][: len(content["index"]) // 2],
        "empty": b"",
        "noise": bytes(range(256)) * 20,
        "other": other,
    }[damage]
    content["index"] = io.BytesIO(stream)
    with pytest.raises(ValueError, match="index in the file"):
        VectorIndex.load(content, 15, kind)


def test_load_embeddings_of_another_shape_raises(vectors, tmp_path):
    content = members(make("hnsw", vectors[:700]), tmp_path)
    content["embeddings"] = content["embeddings"][:-1]
    with pytest.raises(ValueError, match="do not fit"):
        VectorIndex.load(content, 15, "hnsw")


@pytest.mark.parametrize("dim", [1, 3, 7])
@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_search_any_dimension_finds_the_nearest(kind, dim):
    vectors = np.random.default_rng(0).standard_normal((1000, dim)).astype(np.float32)
    index = make(kind, vectors[:700])
    assert index.kind == kind
    assert recall(index, vectors[:700], vectors[700:], 10) >= least(index)


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
@pytest.mark.parametrize(
    "effort", [[10**9, 0, 0], [-5, 0, 0], [16, 7, 0], [16, 0, -1], [16], [16.0, 0, 0]]
)
def test_load_an_effort_that_is_none_raises(vectors, tmp_path, kind, effort):
    content = members(make(kind, vectors[:700]), tmp_path)
    content["index"] = io.BytesIO(content["index"])
    content["index_effort"] = np.array(effort)
    with pytest.raises(ValueError, match="search effort"):
        VectorIndex.load(content, 15, kind)


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_load_an_index_of_another_metric_raises(vectors, tmp_path, kind):
    index = make(kind, vectors[:700])
    index._held._index.metric_type = pytest.importorskip("faiss").METRIC_INNER_PRODUCT
    with pytest.raises(ValueError, match="does not belong"):
        through_file(index, tmp_path / "x", kind)


@pytest.mark.parametrize("rows", [np.zeros(700, int), np.arange(700.0), np.arange(9)])
def test_load_rows_that_do_not_fit_raises(vectors, tmp_path, rows):
    content = members(make("hnsw", vectors[:700]), tmp_path)
    content["index_rows"] = rows
    with pytest.raises(ValueError, match="rows of the index"):
        VectorIndex.load(content, 15, "hnsw")


@pytest.mark.parametrize("shape", [(0, 15), (15,), (3, 14), (2, 3, 15)])
def test_load_marks_that_do_not_fit_raises(vectors, tmp_path, shape):
    content = members(make("hnsw", vectors[:700]), tmp_path)
    content["index"] = io.BytesIO(content["index"])
    content["index_marks"] = np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match="marks of the index"):
        VectorIndex.load(content, 15, "hnsw")


@pytest.mark.parametrize("errors", [[1.0], [np.nan, 0.0], [1.0, 0.0, -1.0]])
def test_load_errors_of_codes_that_are_none_raises(vectors, tmp_path, errors):
    content = members(make("ivfpq", vectors[:700]), tmp_path)
    content["index"] = io.BytesIO(content["index"])
    content["index_errors"] = np.array(errors)
    with pytest.raises(ValueError, match="errors of the codes"):
        VectorIndex.load(content, 15, "ivfpq")


def test_load_a_graph_beyond_the_budget_compresses(vectors, tmp_path):
    with ArchiveWriter(tmp_path / "x", "gallery") as archive:
        make("auto", vectors[:1000]).save(archive)
    for budget, kind in ((10_000_000, "hnsw"), (100_000, "ivfpq")):
        with ArchiveReader(tmp_path / "x", "gallery") as archive:
            assert VectorIndex.load(archive, 15, "auto", budget).kind == kind


def test_ivfpq_compresses_early_only_where_memory_is_short(vectors, monkeypatch):
    monkeypatch.setattr(_index, "_FEWEST_COMPRESSED", 300)
    for budget, limit in ((None, 600), (4 * 15 * 400, 400), (1, 300), (10**9, 600)):
        index = VectorIndex(15, "ivfpq", budget)
        index.add(vectors[:limit])
        assert index.kind == "flat"
        index.add(vectors[limit : limit + 1])
        assert index.kind == "ivfpq"


def test_ctrl_c_while_another_kind_is_built_leaves_the_old(vectors, monkeypatch):
    index = make("hnsw", vectors[:300])

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(_faiss.ApproximateVectors, "_tune", stop)
    with pytest.raises(KeyboardInterrupt):
        index.add(vectors[300:600])
    assert index.kind == "flat"
    np.testing.assert_array_equal(index.vectors(), vectors[:300])


def test_search_nothing_gives_nothing(vectors):
    for kind in KINDS:
        index = make(kind, vectors[:700])
        distances, rows = index.search(vectors[:0], 3)
        assert distances.shape == rows.shape == (0, 3)
