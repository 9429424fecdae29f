"""File names go into the estimators as images do."""

import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from sksiamese import SiameseClassifier, SiameseEmbedder
from sksiamese._decode import decode
from sksiamese._file_input import check_paths
from sksiamese.images import ImageReader, ImageReadError

N = 60


@pytest.fixture(scope="module")
def files(tmp_path_factory, digits):
    """Store digits 0 to 2 as PNG files of 24 x 24; names and labels."""
    X, y, *_ = digits
    rows = np.flatnonzero(y < 3)[:N]
    folder = tmp_path_factory.mktemp("files")
    names = []
    for k in rows:
        image = Image.fromarray(np.kron(X[k] * 15, np.ones((3, 3))).astype(np.uint8))
        names.append(str(folder / f"{k}.png"))
        image.save(names[-1])
    return np.array(names), y[rows]


def fast(**params):
    params = {"image_size": 12, "max_epochs": 2, "random_state": 0, **params}
    return SiameseClassifier(**params)


@pytest.fixture(scope="module")
def fitted(files):
    """Fit a classifier to be read and never changed."""
    return fast().fit(*files)


@pytest.mark.parametrize("cached", [False, True])
def test_fit_on_files_equals_fit_on_their_pixels(files, fitted, tmp_path, cached):
    names, y = files
    pixels = ImageReader(12).fit_transform(names)
    expected = fast().fit(pixels, y)
    clf = (
        fast(cache_dir=tmp_path / "cache", n_jobs=2).fit(names, y) if cached else fitted
    )
    assert clf.image_shape_ == (12, 12)
    assert clf.n_features_in_ == expected.n_features_in_
    np.testing.assert_array_equal(clf.transform(names), expected.transform(pixels))
    np.testing.assert_array_equal(clf.predict(names[:5]), expected.predict(pixels[:5]))
    assert clf.predict_proba(pixels).shape == (N, 3)  # arrays of that size as well


@pytest.mark.parametrize(
    "form", [list, pd.Series, lambda n: pd.DataFrame({"file": n}), lambda n: n[:, None]]
)
def test_file_names_come_in_any_column(files, fitted, form):
    names, _ = files
    expected = fitted.predict(names)
    np.testing.assert_array_equal(fitted.predict(form(names)), expected)


def test_pairs_of_file_names(files, fitted):
    names, _ = files
    pairs = np.stack([names[:5], names[5:10]], axis=1)
    expected = fitted.pair_distance((names[:5], names[5:10]))
    np.testing.assert_array_equal(fitted.pair_distance(pairs), expected)


def test_search_decodes_each_file_once(files, tmp_path):
    names, y = files
    clf = fast(cache_dir=str(tmp_path / "cache"))
    search = GridSearchCV(clf, {"margin": [0.8, 1.2]}, cv=3)
    search.fit(names, y)
    (folder,) = (tmp_path / "cache").iterdir()
    n_images = sum(p.stat().st_size for p in folder.glob("*.u8")) // (12 * 12)
    # Test folds of 20 files are read anew: they are too few for the cache.
    assert n_images == N
    assert cross_val_score(clone(clf), names, y, cv=2).shape == (2,)


def test_partial_fit_and_enroll_take_files(files):
    names, y = files
    clf = fast().partial_fit(names[:30], y[:30], classes=[0, 1, 2])
    clf.partial_fit(names[30:], y[30:])
    clf.enroll(names[:3], [7] * 3)
    assert clf.classes_.tolist() == [0, 1, 2, 7]
    embedder = SiameseEmbedder(image_size=12).partial_fit(names, y)
    assert embedder.transform(names[:2]).shape == (2, 64)


def test_partial_fit_decodes_a_chunk_once(files, monkeypatch):
    names, y = files
    decoded = []
    monkeypatch.setattr(
        "sksiamese._reading.decode",
        lambda path, *args, **kwargs: (
            decoded.append(path) or decode(path, *args, **kwargs)
        ),
    )
    fast().partial_fit(names, y)
    assert sorted(decoded) == sorted(names)


def test_warm_start_goes_on_with_files(files):
    names, y = files
    clf = fast(warm_start=True).fit(names, y).fit(names, y)
    assert clf.score(names, y) > 0.5


def test_size_must_be_known(files):
    names, y = files
    for params in ({"image_size": None}, {"image_shape": (12, 12)}):
        with pytest.raises(ValueError, match="X holds file names: set image_size"):
            fast(**params).fit(names, y)


def test_files_for_an_estimator_that_saw_arrays_are_refused(files):
    names, y = files
    clf = fast().fit(ImageReader(12).fit_transform(names) / 255, y)
    with pytest.raises(ValueError, match="fit saw arrays"):
        clf.predict(names)


def test_missing_file_is_named_and_changes_nothing(files, fitted):
    names, y = files
    gone = np.append(names, "gone.png")
    before = vars(fitted).copy()
    with pytest.raises(ImageReadError, match="gone.png"):
        fitted.fit(gone, np.append(y, 0))
    assert vars(fitted) == before
    with pytest.raises(ImageReadError, match="gone.png"):
        fitted.predict(gone)


def test_colour_at_prediction_is_read_as_fit_saw_it(files, fitted, tmp_path):
    names, _ = files
    path = str(tmp_path / "colour.png")
    Image.open(names[0]).convert("RGB").save(path)
    np.testing.assert_allclose(
        fitted.transform([path]), fitted.transform(names[:1]), atol=1e-6
    )


def test_reader_and_estimator_make_a_pipeline(files):
    names, y = files
    pipeline = make_pipeline(ImageReader(12), fast(image_size=None))
    assert pipeline.fit(names, y).score(names, y) > 0.5


@pytest.mark.parametrize(
    "X", [np.zeros((3, 2)), [[1, 2]], [], np.array([], dtype=str), [["a", "b"]], None]
)
def test_check_paths_leaves_values_alone(X):
    assert check_paths(X) is None


def test_check_paths_gives_text(tmp_path):
    assert check_paths([tmp_path, "a"]) == [os.fspath(tmp_path), "a"]
    assert check_paths([["a"], ["b"]]) == ["a", "b"]
    with pytest.raises(ValueError, match=r"row 1 is 3"):
        check_paths(["a", 3])
    with pytest.raises(ValueError, match=r"row 0 is None"):
        check_paths([None, "a"])
