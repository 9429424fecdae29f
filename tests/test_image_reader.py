"""ImageReader in scikit-learn's pipelines."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from sksiamese.images import ImageReader


@pytest.fixture
def names(tmp_path):
    """Write twelve grey files, the k-th all 10 k."""
    for k in range(12):
        Image.fromarray(np.full((6, 8), 10 * k, np.uint8)).save(tmp_path / f"{k}.png")
    return [tmp_path / f"{k}.png" for k in range(12)]


@pytest.mark.filterwarnings("ignore:Can't test estimator")  # with values: it takes none
def test_reader_passes_scikit_learns_checks():
    check_estimator(ImageReader(), on_skip=None)


@pytest.mark.parametrize(
    "form",
    [
        list,
        lambda names: [str(name) for name in names],
        lambda names: np.array(names, dtype=str),
        lambda names: np.array(names, dtype=object)[:, None],
        lambda names: pd.Series(names),
        lambda names: pd.Series(map(str, names), dtype="string"),
        lambda names: pd.DataFrame({"file": map(str, names)}),
    ],
)
def test_reader_takes_columns_of_names(names, form):
    images = ImageReader(image_size=(6, 8)).fit_transform(form(names))
    assert images.shape == (12, 6, 8)
    assert images[:, 0, 0].tolist() == list(range(0, 120, 10))


def test_reader_finds_files_by_root_and_suffix(names, tmp_path):
    reader = ImageReader(image_size=(6, 8), root=tmp_path, suffix=".png")
    assert reader.fit_transform(["3", "1"])[:, 0, 0].tolist() == [30, 10]


def test_mode_seen_in_fit_holds(names, tmp_path):
    red = tmp_path / "red.png"
    Image.new("RGB", (8, 6), (255, 0, 0)).save(red)
    grey = ImageReader(4).fit(names)
    assert grey.mode_ == "grey"
    assert grey.transform([red]).shape == (1, 4, 4)
    colour = ImageReader(4).fit([*names, red])
    assert colour.mode_ == "rgb"
    assert colour.transform(names).shape == (12, 4, 4, 3)
    assert ImageReader(4, mode="rgb").fit_transform(names).shape == (12, 4, 4, 3)


@pytest.mark.parametrize("X", [np.zeros((3, 4)), [[1.0, 2.0]], [1, 2], [None]])
def test_reader_refuses_values(X):
    with pytest.raises(ValueError, match="column of file names"):
        ImageReader().fit(X)


def test_reader_names_what_is_no_file_name(names):
    with pytest.raises(ValueError, match="row 1 is nan"):
        ImageReader().fit([names[0], float("nan")])


def test_reader_before_fit_raises(names):
    with pytest.raises(NotFittedError):
        ImageReader().transform(names)


def test_reader_works_in_a_search(names):
    flatten = FunctionTransformer(lambda X: X.reshape(len(X), -1) / 255)
    pipeline = make_pipeline(ImageReader(), flatten, LogisticRegression())
    y = np.arange(12) > 5
    search = GridSearchCV(pipeline, {"imagereader__image_size": [2, (3, 4)]}, cv=3)
    search.fit(names, y)
    assert search.best_score_ > 0.7
    assert clone(search.best_estimator_[0]).get_params()["image_size"] in (2, (3, 4))
