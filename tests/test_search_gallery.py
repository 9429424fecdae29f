"""A gallery behaves alike in memory, in a file and in PostgreSQL."""

import gc
import os
import pickle
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sksiamese import SiameseClassifier, SiameseEmbedder
from sksiamese.search import Gallery

STORES = ["memory", "file", "postgres"]


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    """Give the arguments of a new gallery in each kind of store."""
    if request.param == "memory":
        return {}
    if request.param == "file":
        return {"store": tmp_path / "new.gallery"}
    return {
        "store": request.getfixturevalue("postgres"),
        "name": uuid.uuid4().hex,
    }


@pytest.fixture(params=STORES[1:])
def lasting(request, tmp_path):
    """Give the same, for the stores that last."""
    if request.param == "file":
        return {"store": tmp_path / "new.gallery"}
    return {
        "store": request.getfixturevalue("postgres"),
        "name": uuid.uuid4().hex,
    }


@pytest.fixture(scope="module")
def embedder(digits):
    X, y, _, _ = digits
    return SiameseEmbedder(max_epochs=4, random_state=0).fit(X, y)


@pytest.fixture(scope="module")
def other(digits):
    X, y, _, _ = digits
    return SiameseEmbedder(max_epochs=1, random_state=1).fit(X, y)


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)


# --- neighbours ----------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_search_finds_what_brute_force_finds(store, vectors, metric):
    probes = np.random.default_rng(1).normal(size=(30, 16))
    oracle = NearestNeighbors(n_neighbors=7, metric=metric, algorithm="brute")
    expected, rows = oracle.fit(vectors).kneighbors(probes)
    with Gallery(None, **store, metric=metric) as gallery:
        ids = gallery.add(vectors)
        assert ids.tolist() == list(range(200))
        distances, found = gallery.search(probes, k=7)
        assert found.dtype == np.int64 and distances.dtype == np.float32
        np.testing.assert_array_equal(found, rows)
        np.testing.assert_allclose(distances, expected, rtol=1e-5, atol=1e-6)
        again, places = gallery.kneighbors(probes, 7)
        np.testing.assert_array_equal(places, rows)
        np.testing.assert_array_equal(again, distances)
        assert gallery.search(probes, k=200)[1].shape == (30, 200)


def test_an_item_finds_itself_at_distance_zero(store, vectors):
    with Gallery(None, **store) as gallery:
        gallery.add(1000 * vectors)
        for rows in (slice(200), slice(5), slice(1)):
            distances, found = gallery.search(1000 * vectors[rows], k=1)
            np.testing.assert_array_equal(found[:, 0], np.arange(200)[rows])
            assert (distances == 0).all()


def test_kneighbors_without_images_leaves_out_the_item_itself(store, vectors):
    doubled = np.concatenate([vectors, vectors[:10]])
    expected = NearestNeighbors(n_neighbors=3).fit(vectors).kneighbors()
    with Gallery(None, **store) as gallery:
        names = [f"image {i}" for i in range(210)]
        gallery.add(doubled, ids=names)
        distances, rows = gallery.kneighbors(n_neighbors=3)
        assert not (rows == np.arange(210)[:, None]).any()
        assert (distances[:10, 0] == 0).all() and (distances[200:, 0] == 0).all()
        gallery.remove(names[200:])
        distances, rows = gallery.kneighbors(n_neighbors=3)
        np.testing.assert_array_equal(rows, expected[1])
        np.testing.assert_allclose(distances, expected[0], rtol=1e-5)
        rows_alone = gallery.kneighbors(n_neighbors=3, return_distance=False)
        np.testing.assert_array_equal(rows_alone, rows)
        with pytest.raises(ValueError, match="each item has 199 others"):
            gallery.kneighbors(n_neighbors=200)


def matches(where, metadata):
    """Slow reading of a filter."""

    def kind(value):
        if isinstance(value, bool | list | dict) or value is None:
            return type(value)
        return str if isinstance(value, str) else float

    def equal(a, b):
        return kind(a) is kind(b) and a == b

    def holds(value, op, wanted):
        if op in ("$in", "$eq", "$nin", "$ne"):
            wanted = wanted if isinstance(wanted, list) else [wanted]
            return any(equal(value, w) for w in wanted) == (op in ("$in", "$eq"))
        if kind(value) is not kind(wanted):
            return False
        return {
            "$lt": value < wanted,
            "$lte": value <= wanted,
            "$gt": value > wanted,
            "$gte": value >= wanted,
        }[op]

    return all(
        holds(metadata.get(key), op, wanted)
        for key, wanteds in where.items()
        for op, wanted in (
            wanteds if isinstance(wanteds, dict) else {"$in": wanteds}
        ).items()
    )


VALUES = [
    None,
    True,
    False,
    0,
    1,
    1.0,
    2.5,
    -3,
    10,
    "1",
    "a",
    "B",
    "é",
    "",
    [1],
    {"a": 1},
]
FILTERS = [{"v": value} for value in VALUES if not isinstance(value, list | dict)] + [
    {"v": ["a", 1, None]},
    {"v": []},
    {"v": {"$nin": ["a", 1]}},
    {"v": {"$ne": None}},
    {"v": {"$nin": ["a", None]}},
    {"v": {"$lt": 2}},
    {"v": {"$gte": 1, "$lte": 2.5}},
    {"v": {"$gt": "B"}},
    {"v": {"$lte": "a"}},
    {"v": {"$gt": 0}, "site": "arm"},
    {"site": ["arm", "leg"], "v": {"$ne": True}},
    {"no such key": 1},
    {"no such key": None},
    {'it\'s a "key" %s {} \\': "x'; DROP TABLE x; --"},
]


def test_filters_mean_the_same_in_every_store(store):
    rng = np.random.default_rng(0)
    metadata = [{"v": value} for value in VALUES] + [{}, {"other": 1}]
    metadata = [dict(m, site=str(rng.choice(["arm", "leg", "back"]))) for m in metadata]
    metadata.append({'it\'s a "key" %s {} \\': "x'; DROP TABLE x; --"})
    vectors = rng.normal(size=(len(metadata), 3))
    with Gallery(None, **store) as gallery:
        gallery.add(vectors, metadata=metadata)
        for where in FILTERS:
            expected = {i for i, m in enumerate(metadata) if matches(where, m)}
            if not expected:
                with pytest.raises(ValueError, match="No item of the gallery matches"):
                    gallery.search(vectors[:1], 1, where)
                continue
            found = gallery.search(vectors[:1], len(expected), where)[1]
            assert set(found[0].tolist()) == expected, where
            with pytest.raises(ValueError, match=f"at most {len(expected)}"):
                gallery.search(vectors[:1], len(expected) + 1, where)


def test_metadata_come_back_as_they_went_in(store, vectors):
    rng = np.random.default_rng(0)
    metadata = [
        {"label": "né\"vus' \\ %s", "age": 3, "share": 0.1, "deep": {"a": [1, None]}},
        {},
        {"big": 2**62, "small": -1e-300, "yes": True, "none": None, "emoji": "🧠\n"},
    ]
    with Gallery(None, **store) as gallery:
        gallery.add(vectors[:3], ids=["a", "b", "c"], metadata=metadata)
        assert gallery.get(["c", "a", "b"])[1] == [metadata[i] for i in (2, 0, 1)]
        found = gallery.search(vectors[:3], 2, return_metadata=True)
        for ids, items in zip(found[1], found[2], strict=True):
            assert items == [metadata["abc".index(i)] for i in ids]
        frame = pd.DataFrame({"age": [30, None], "site": ["arm", None]})
        gallery.add(rng.normal(size=(2, 16)), ids=["d", "e"], metadata=frame)
        assert gallery.get(["d", "e"])[1] == [
            {"age": 30.0, "site": "arm"},
            {"age": None, "site": None},
        ]


# --- contents ------------------------------------------------------------------------


def test_contents_are_counted_listed_and_changed(store, vectors):
    with Gallery(None, **store) as gallery:
        assert len(gallery) == 0 and 3 not in gallery and gallery.ids.shape == (0,)
        assert "empty" in repr(gallery)
        gallery.add(vectors[:10], ids=range(10, 20), metadata={"n": range(10)})
        assert gallery.add(vectors[10:12]).tolist() == [20, 21]
        gallery.remove([21, 10])
        assert gallery.add(vectors[12:13]).tolist() == [22]  # 21 is not given again
        assert gallery.ids.tolist() == [*range(11, 20), 20, 22]
        assert len(gallery) == 11
        assert 11 in gallery and 10 not in gallery and np.int64(22) in gallery
        assert "11" not in gallery and None not in gallery and 1.5 not in gallery
        gallery.update([15, 11], vectors[[50, 51]])
        gallery.update(13, metadata=[{"new": 1}])
        embeddings, metadata = gallery.get([11, 13, 15])
        np.testing.assert_array_equal(embeddings, vectors[[51, 3, 50]])
        assert metadata == [{"n": 1}, {"new": 1}, {"n": 5}]
        assert gallery.search(vectors[50:51], 1)[1].tolist() == [[15]]
        assert gallery.search(vectors[:1], 1, {"new": 1})[1].tolist() == [[13]]
        assert gallery.ids.tolist() == [*range(11, 20), 20, 22]
        assert "11 items of 16 dimensions, euclidean, exact" in repr(gallery)


def test_contents_can_all_be_removed_and_others_added(store, vectors):
    with Gallery(None, **store) as gallery:
        gallery.add(vectors[:5])
        gallery.remove(gallery.ids)
        assert len(gallery) == 0
        gallery.remove([])
        with pytest.raises(ValueError, match="is empty"):
            gallery.search(vectors[:1], 1)
        assert gallery.add(vectors[:2]).tolist() == [5, 6]
        assert gallery.search(vectors[:1], 1)[1].tolist() == [[5]]


def test_an_emptied_gallery_starts_anew(lasting, digits, embedder, other):
    X = digits[0]
    with Gallery(embedder, **lasting) as gallery:
        ids = gallery.add(X[:5])
        gallery.remove(ids)
    with Gallery(None, **lasting, metric="cosine") as gallery:  # nothing left to fit
        assert "empty" in repr(gallery)
        assert gallery.add(np.eye(3)).tolist() == [5, 6, 7]
        gallery.remove([5, 6, 7])
    with Gallery(other, **lasting) as gallery:
        gallery.add(X[:2], ids=["a", "b"], metadata={"n": [1, 2]})
        assert gallery.search(X[1:2], 1)[1].tolist() == [["b"]]
        gallery.remove(["a", "b"])
        assert gallery.add(X[:1]).tolist() == [8]


@pytest.mark.parametrize("what", ["add", "kind", "update", "rebuild", "k", "label"])
def test_what_can_not_be_is_refused_before_images_are_embedded(
    store, digits, embedder, monkeypatch, what
):
    X, y, _, _ = digits
    with Gallery(embedder, **store) as gallery:
        gallery.add(X[:10], metadata={"label": y[:10]})
        monkeypatch.setattr(type(embedder), "transform", None)
        with pytest.raises((ValueError, KeyError, TypeError), match=r"id|items|label"):
            {
                "add": lambda: gallery.add(X[:10], ids=range(9, 19)),
                "kind": lambda: gallery.add(X[:1], ids=["a"]),
                "update": lambda: gallery.update([9, 10], X[:2]),
                "rebuild": lambda: gallery.rebuild(X[:9], range(9)),
                "k": lambda: gallery.search(X, 11),
                "label": lambda: gallery.evaluate(X, y, k=1, label="lable"),
            }[what]()


def test_changes_are_made_whole_or_not_at_all(store, vectors):
    with Gallery(None, **store) as gallery:
        gallery.add(vectors[:5], metadata={"n": range(5)})

        def state():
            embeddings, metadata = gallery.get(gallery.ids)
            return gallery.ids.tolist(), embeddings.tolist(), metadata

        before = state()
        with pytest.raises(ValueError, match="already: 4. Nothing was added"):
            gallery.add(vectors[5:8], ids=[7, 4, 8])
        with pytest.raises(ValueError, match="9 occur twice"):
            gallery.add(vectors[5:8], ids=[9, 9, 8])
        with pytest.raises(KeyError, match="not in the gallery: 77"):
            gallery.remove([1, 77])
        with pytest.raises(KeyError, match="not in the gallery: 77"):
            gallery.update([1, 77], vectors[5:7])
        with pytest.raises(KeyError, match="not in the gallery: 77"):
            gallery.update([77], metadata=[{}])
        with pytest.raises(KeyError, match="not in the gallery: 77"):
            gallery.get([1, 77])
        with pytest.raises(ValueError, match="NaN or infinite, the first in row 1"):
            gallery.update([1, 2], vectors[:2] + [[0.0], [np.inf]])
        with pytest.raises(ValueError, match="update needs X or metadata"):
            gallery.update([1])
        with pytest.raises(TypeError, match="strings, but the ids of this gallery"):
            gallery.add(vectors[5:7], ids=["a", "b"])
        with pytest.raises(KeyError, match="not in the gallery: '1'"):
            gallery.remove(["1"])
        assert state() == before


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.full((2, 16), np.nan), "NaN or infinite, the first in row 0"),
        (np.full((2, 16), 1e39), "NaN or infinite"),
        (np.full((2, 16), 1e19), "too long for distances in float32: row 0"),
        (np.full((2, 16), 1e-20), "too short for distances in float32"),
        (np.zeros((2, 15)), "length 15, but those of the gallery have length 16"),
        (np.zeros(16), r"shape \(16,\)"),
        (np.zeros((0, 16)), "X is empty"),
        (np.zeros((2, 16), dtype=complex), "complex"),
        (np.array([["a"] * 16]), "numbers of shape"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(store, vectors, X, message):
    with Gallery(None, **store) as gallery:
        gallery.add(vectors[:5])
        for call in (gallery.add, lambda X: gallery.search(X, 1)):
            with pytest.raises(ValueError, match=message):
                call(X)
        assert len(gallery) == 5


def test_a_direction_is_needed_for_the_cosine(vectors):
    gallery = Gallery(None, metric="cosine")
    with pytest.raises(ValueError, match="length 0 in row 1"):
        gallery.add(np.array([[1.0, 0], [0, 0]]))


@pytest.mark.parametrize("k", [0, -1, 2.5, True, "3", None])
def test_numbers_of_neighbours_are_checked(k, vectors):
    gallery = Gallery(None)
    gallery.add(vectors)
    for call in (gallery.search, gallery.kneighbors, gallery.classify):
        with pytest.raises(ValueError, match="whole number from 1 on"):
            call(vectors, k)


def test_an_empty_gallery_says_so(store, vectors):
    with Gallery(None, **store) as gallery:
        for call in (
            lambda: gallery.search(vectors, 1),
            lambda: gallery.kneighbors(vectors, 1),
            lambda: gallery.kneighbors(),
            lambda: gallery.classify(vectors, 1),
            lambda: gallery.evaluate(vectors, np.zeros(200)),
        ):
            with pytest.raises(ValueError, match="is empty: call add"):
                call()
        for call in (
            lambda: gallery.remove(1),
            lambda: gallery.get("a"),
            lambda: gallery.update(1, metadata=[{}]),
            lambda: gallery.rebuild(vectors[:1], [1]),
        ):
            with pytest.raises(KeyError, match="not in the gallery"):
                call()


# --- classes -------------------------------------------------------------------------


def test_classify_votes_as_scikit_learn_does(store, digits):
    from sklearn.neighbors import KNeighborsClassifier

    X, y, X_new, _ = (a.reshape(len(a), -1) for a in digits)
    y, names = y.ravel(), np.array([f"digit {i}" for i in range(10)])
    X_new = np.concatenate([X_new, X[:20]])  # some at distance 0
    expected = KNeighborsClassifier(7, weights="distance").fit(X, names[y])
    with Gallery(None, **store) as gallery:
        gallery.add(X, metadata={"label": names[y], "odd": y % 2 == 1, "number": y})
        found = gallery.classify(X_new, 7)
        np.testing.assert_array_equal(found, expected.predict(X_new))
        assert gallery.classify(X_new, 7, label="number").dtype.kind == "i"
        odd = gallery.classify(X_new, 7, label="number", where={"odd": True})
        assert set(odd) == {1, 3, 5, 7, 9}
        assert gallery.classify(X_new, 7, label="odd").dtype == bool


def test_labels_that_are_missing_or_mixed_are_refused(store, vectors):
    with Gallery(None, **store) as gallery:
        gallery.add(
            vectors[:4], metadata={"label": ["a", "a", "b", None], "x": range(4)}
        )
        gallery.add(vectors[4:5], metadata=[{"label": 3}])
        with pytest.raises(ValueError, match="item 3 has no such metadata"):
            gallery.classify(vectors[:2], 5)
        with pytest.raises(TypeError, match="got int, str"):
            gallery.classify(vectors[:2], 4, where={"label": {"$ne": None}})
        with pytest.raises(ValueError, match="label='x': item 4 has no such"):
            gallery.evaluate(vectors[:2], [0, 1], k=1, label="x")


def test_evaluate_gives_the_metrics_of_the_same_name(store, digits, embedder):
    from sksiamese import metrics

    X, y, X_new, y_new = digits
    Z, Z_new = embedder.transform(X), embedder.transform(X_new[:200])
    given = {"gallery": Z, "gallery_labels": y}
    with Gallery(embedder, **store) as gallery:
        gallery.add(X, metadata={"label": y})
        found = gallery.evaluate(X_new[:200], y_new[:200], k=(1, 10))
    labels = y_new[:200]
    assert found == pytest.approx(
        {
            "recall_at_1": metrics.recall_at_k(Z_new, labels, k=1, **given),
            "recall_at_10": metrics.recall_at_k(Z_new, labels, k=10, **given),
            "r_precision": metrics.r_precision(Z_new, labels, **given),
            "mean_average_precision_at_r": metrics.mean_average_precision_at_r(
                Z_new, labels, **given
            ),
            "index_recall": 1.0,
        }
    )
    assert found["recall_at_1"] > 0.9


# --- embedders -----------------------------------------------------------------------


def test_another_embedder_is_refused_until_the_gallery_is_rebuilt(
    lasting, digits, embedder, other
):
    X, y, X_new, _ = digits
    with Gallery(embedder, **lasting) as gallery:
        ids = gallery.add(X[:100], metadata={"label": y[:100]})
    with Gallery(other, **lasting) as gallery:
        assert len(gallery) == 100 and 5 in gallery
        for call in (
            lambda: gallery.search(X_new),
            lambda: gallery.kneighbors(X_new),
            lambda: gallery.kneighbors(),
            lambda: gallery.classify(X_new),
            lambda: gallery.evaluate(X_new, y[:897]),
            lambda: gallery.add(X_new),
            lambda: gallery.update([1], X[1:2]),
        ):
            with pytest.raises(
                ValueError, match=r"another embedder.*rebuild\(X, ids\)"
            ):
                call()
        with pytest.raises(ValueError, match="ids lacks 99. Nothing was changed"):
            gallery.rebuild(X[:99], ids[:99])
        with pytest.raises(KeyError, match="not in the gallery: 100"):
            gallery.rebuild(X[:101], range(101))
        order = np.random.default_rng(0).permutation(100)
        gallery.rebuild(X[order], order)
        np.testing.assert_array_equal(gallery.ids, ids)
        assert gallery.get(ids)[1] == [{"label": int(label)} for label in y[:100]]
        found = gallery.get(ids)[0]
        np.testing.assert_allclose(found, other.transform(X[:100]), atol=1e-5)
        assert gallery.search(X[:1], 1)[1].tolist() == [[0]]
    with Gallery(embedder, **lasting) as gallery:
        with pytest.raises(ValueError, match="another embedder"):
            gallery.search(X_new)


def test_rebuild_takes_embeddings_of_another_length(lasting, vectors):
    with Gallery(PCA(4, random_state=0).fit(vectors), **lasting) as gallery:
        gallery.add(vectors[:50], metadata={"n": range(50)})
    with Gallery(PCA(6, random_state=0).fit(vectors), **lasting) as gallery:
        gallery.rebuild(vectors[:50], range(50))
        assert gallery.get([3])[0].shape == (1, 6)
        gallery.add(vectors[50:60])
    with Gallery(PCA(6, random_state=0).fit(vectors), **lasting) as gallery:
        distances, found = gallery.search(vectors[:60], 1)
        np.testing.assert_array_equal(found[:, 0], np.arange(60))
        assert "6 dimensions" in repr(gallery)


def test_an_embedder_that_was_trained_further_is_another_one(digits):
    X, y, _, _ = digits
    embedder = SiameseEmbedder(max_epochs=1, random_state=0).fit(X, y)
    gallery = Gallery(embedder)
    gallery.add(X[:10])
    gallery.search(X[:1], 1)
    embedder.partial_fit(X, y)
    with pytest.raises(ValueError, match="before it was trained further"):
        gallery.search(X[:1], 1)


def flattened(images):
    return images.reshape(len(images), -1)


def test_pipelines_and_classifiers_fill_galleries(digits):
    X, y, X_new, y_new = digits
    flat = make_pipeline(
        FunctionTransformer(flattened),
        StandardScaler(),
        PCA(20, random_state=0),
    ).fit(X, y)
    classifier = SiameseClassifier(max_epochs=4, random_state=0).fit(X, y)
    for embedder in (flat, classifier):
        gallery = Gallery(embedder)
        gallery.add(X, metadata={"label": y})
        assert (gallery.classify(X_new) == y_new).mean() > 0.9


def test_files_and_lists_of_images_are_embedded(digits, embedder):
    X, _, _, _ = digits
    gallery = Gallery(embedder)
    gallery.add(list(X[:5]))
    np.testing.assert_array_equal(gallery.search(X[:5], 1)[1][:, 0], range(5))


def test_many_images_are_embedded_piece_by_piece(
    digits, embedder, monkeypatch, tmp_path
):
    from sksiamese.search import _embedding

    X, _, _, _ = digits
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    sizes = []

    def transform(self, X):
        sizes.append(len(X))
        return whole(self, X)

    whole = SiameseEmbedder.transform
    monkeypatch.setattr(SiameseEmbedder, "transform", transform)
    monkeypatch.setattr(_embedding, "CHUNK", 256)
    gallery = Gallery(embedder)
    gallery.add(mapped)
    assert sizes == [256, 256, 256, 132]
    np.testing.assert_allclose(
        gallery.get(range(900))[0], embedder.transform(X), atol=1e-6
    )


def test_a_progress_bar_is_shown_when_asked_for(digits, embedder, capsys):
    X, _, _, _ = digits
    Gallery(embedder).add(X[:10])
    assert capsys.readouterr().err == ""
    gallery = Gallery(embedder, verbose=1)
    gallery.add(X[:10])
    assert "embed: 100%" in capsys.readouterr().err
    gallery.search(X[:1])
    assert capsys.readouterr().err == ""


def test_no_progress_bar_is_made_unless_asked_for(digits, embedder, monkeypatch):
    # Its lock is shared with forked processes, which may be killed while they hold it.
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    Gallery(embedder).add(digits[0][:10])


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"embedder": object()}, TypeError, "fitted estimator with transform"),
        ({"embedder": SiameseEmbedder()}, NotFittedError, "not fitted"),
        ({"metric": "manhattan"}, ValueError, "'euclidean' or 'cosine'"),
        ({"index": "tree"}, ValueError, "index must be one of"),
        ({"memory_budget": 0}, ValueError, "number of bytes > 0"),
        ({"memory_budget": "1GB"}, ValueError, "number of bytes > 0, got '1GB'"),
        ({"name": "a"}, ValueError, "for galleries in a database"),
        ({"store": "mysql://host/db"}, ValueError, "'mysql://...'"),
        ({"store": 3}, TypeError, "path"),
        (
            {"store": "postgresql://localhost/x", "memory_budget": 1},
            ValueError,
            "not for databases",
        ),
    ],
)
def test_settings_that_mean_nothing_are_refused(kwargs, error, message):
    with pytest.raises(error, match=message):
        Gallery(**{"embedder": None, **kwargs})


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://me:secret@host/db",
        " mysql://me:secret@host/db",
        "host=db user=me password=secret dbname=x",
    ],
)
def test_addresses_that_are_none_do_not_show_their_password(address):
    with pytest.raises(ValueError, match="postgresql://") as raised:
        Gallery(None, address)
    assert "secret" not in str(raised.value)


# --- life ----------------------------------------------------------------------------


def test_a_gallery_lasts(lasting, digits, embedder):
    X, y, X_new, _ = digits
    names = [f"image {i}" for i in range(len(X))]
    with Gallery(embedder, **lasting) as gallery:
        gallery.add(X, ids=names, metadata={"label": y})
        expected = gallery.search(X_new, 5, {"label": {"$lt": 5}}, return_metadata=True)
    embedder = pickle.loads(pickle.dumps(embedder))
    with Gallery(embedder, **lasting) as gallery:
        found = gallery.search(X_new, 5, {"label": {"$lt": 5}}, return_metadata=True)
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_allclose(found[0], expected[0], atol=1e-5)
        assert found[2] == expected[2]
        assert gallery.ids.tolist() == names
        gallery.remove(names[1:])
        gallery.add(X_new[:1], ids=["last"])
    with Gallery(embedder, **lasting) as gallery:
        assert gallery.ids.tolist() == ["image 0", "last"]


def test_another_metric_is_refused(lasting, vectors):
    with Gallery(None, **lasting, metric="cosine") as gallery:
        gallery.add(vectors)
    with pytest.raises(ValueError, match="made with metric='cosine'"):
        Gallery(None, **lasting)


def test_a_closed_gallery_says_so(store, vectors):
    gallery = Gallery(None, **store)
    gallery.add(vectors)
    gallery.close()
    gallery.close()
    assert "closed" in repr(gallery)
    for call in (
        lambda: gallery.search(vectors, 1),
        lambda: gallery.add(vectors),
        lambda: len(gallery),
        lambda: 3 in gallery,
        lambda: gallery.ids,
        gallery.save,
        gallery.__enter__,
    ):
        with pytest.raises(ValueError, match="closed: open it anew"):
            call()


def test_an_error_within_the_block_keeps_what_was_added(lasting, vectors):
    with pytest.raises(KeyError), Gallery(None, **lasting) as gallery:
        gallery.add(vectors)
        gallery.remove([777])
    with Gallery(None, **lasting) as gallery:
        assert len(gallery) == 200


def test_a_copy_of_any_gallery_is_saved_to_a_file(store, vectors, tmp_path):
    path = tmp_path / "copy.gallery"
    with Gallery(None, **store, metric="cosine") as gallery:
        gallery.add(
            vectors, ids=[f"é{i}" for i in range(200)], metadata={"n": range(200)}
        )
        gallery.remove(["é7"])
        assert gallery.save(path) is gallery
        with pytest.raises(FileExistsError, match="is there already"):
            gallery.save(path)
        expected = gallery.search(vectors, 3, {"n": {"$gt": 50}}, return_metadata=True)
    with Gallery(None, path, metric="cosine") as copy:
        found = copy.search(vectors, 3, {"n": {"$gt": 50}}, return_metadata=True)
        np.testing.assert_array_equal(found[1], expected[1])
        assert found[2] == expected[2]
        assert "é7" not in copy


@pytest.mark.parametrize("index", ["flat", "hnsw", "ivfpq"])
def test_a_copy_is_the_same_gallery(tmp_path, index):
    vectors = np.random.default_rng(0).normal(size=(12_000, 8)).astype(np.float32)
    budget = {"memory_budget": 1} if index == "ivfpq" else {}
    gallery = Gallery(None, index=index, **budget)
    gallery.add(vectors)
    gallery.remove(range(11_000, 12_000))
    assert {"flat": "exact", "hnsw": "HNSW", "ivfpq": "IVF-PQ"}[index] in repr(gallery)
    gallery.save(tmp_path / "a.gallery")
    with Gallery(None, tmp_path / "a.gallery", index=index, **budget) as copy:
        for found, expected in zip(
            copy.search(vectors[:50]), gallery.search(vectors[:50]), strict=True
        ):
            np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(copy.get([5])[0], gallery.get([5])[0])
        assert copy.add(vectors[:1]).tolist() == [12_000]


def test_a_copy_of_nothing_and_of_what_was_removed_counts_on(store, vectors, tmp_path):
    with Gallery(None, **store) as gallery:
        gallery.save(tmp_path / "empty.gallery")
        gallery.add(vectors[:5])
        gallery.remove(range(5))
        gallery.save(tmp_path / "removed.gallery")
        assert gallery.add(vectors[:1]).tolist() == [5]
        gallery.save(tmp_path / "one.gallery")
    for name, first in (("empty", 0), ("removed", 5), ("one", 6)):
        with Gallery(None, tmp_path / f"{name}.gallery") as copy:
            assert copy.add(vectors[:1]).tolist() == [first]


def test_changes_of_a_file_may_be_dropped(tmp_path, vectors):
    path = tmp_path / "a.gallery"
    with Gallery(None, path) as gallery:
        gallery.add(vectors[:5])
    gallery = Gallery(None, path)
    gallery.add(vectors[5:])
    gallery.close(save=False)
    with Gallery(None, path) as gallery:
        assert len(gallery) == 5


def test_a_gallery_opened_again_in_one_program_has_what_was_not_saved(
    tmp_path, vectors
):
    # As when a cell of a notebook is run twice.
    path = tmp_path / "a.gallery"
    for start in (0, 5, 10):
        gallery = Gallery(None, path)
        assert len(gallery) == start
        gallery.add(vectors[start : start + 5])
    gallery.close()
    with Gallery(None, path) as gallery:
        assert len(gallery) == 15


def test_threads_share_a_gallery(store, vectors):
    with Gallery(None, **store) as gallery:

        def work(first):
            for start in range(first, first + 100, 20):
                rows = np.arange(start, start + 20)
                gallery.add(np.tile(rows[:, None], 16), ids=rows)
                assert gallery.search(np.tile(rows[:, None], 16), 1)[0].max() == 0

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(0, 800, 100)))
        assert len(gallery) == 800
        ids, embeddings = gallery.ids, gallery.get(gallery.ids)[0]
        np.testing.assert_array_equal(embeddings[:, 0], ids)


def test_a_gallery_in_memory_has_no_file_to_save_to(vectors):
    with pytest.raises(ValueError, match="path must be given"):
        Gallery(None).save()


def test_a_gallery_that_is_forgotten_saves_its_file(tmp_path, vectors):
    path = tmp_path / "a.gallery"
    gallery = Gallery(None, path)
    gallery.add(vectors)
    del gallery
    gc.collect()
    with Gallery(None, path) as gallery:
        assert len(gallery) == 200


def test_a_program_that_ends_saves_its_file(tmp_path):
    path = tmp_path / "a.gallery"
    program = (
        "import sys; from sksiamese.search import Gallery;"
        "gallery = Gallery(None, sys.argv[1]); gallery.add([[1.0, 2.0]]);"
        "raise SystemExit(3)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], check=False)
    assert done.returncode == 3
    with Gallery(None, path) as gallery:
        assert len(gallery) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_process_does_not_save_its_parents_file(tmp_path, vectors):
    path = tmp_path / "a.gallery"
    gallery = Gallery(None, path)
    gallery.add(vectors)
    child = os.fork()
    if child == 0:
        gallery._closer()
        os._exit(0)
    os.waitpid(child, 0)
    assert not path.exists()
    gallery.close()
    assert path.exists()


def test_a_gallery_can_not_be_pickled():
    with pytest.raises(TypeError, match="save it to a file"):
        pickle.dumps(Gallery(None))


def test_one_long_id_among_short_ones_is_like_any_other(store, vectors):
    ids = [f"{i}" for i in range(5000)] + ["x" * 900]
    many = np.tile(vectors, (26, 1))[:5001] + np.arange(5001)[:, None]
    with Gallery(None, **store) as gallery:
        gallery.add(many, ids=ids, metadata=[{"label": "a"}] * 5000 + [{}])
        assert gallery.ids.tolist() == ids
        assert gallery.search(many[-2:], 1)[1][:, 0].tolist() == ids[-2:]
        assert gallery.kneighbors(many[-2:], 1)[1].tolist() == [[4999], [5000]]
        with pytest.raises(ValueError, match="item 'x+' has no such metadata"):
            gallery.classify(many[-1:], 1)
