"""Scorers in scikit-learn's model selection, on real images."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sksiamese import SiameseClassifier
from sksiamese.metrics import (
    SCORERS,
    equal_error_rate,
    mean_average_precision_at_r,
    pair_roc_auc,
    r_precision,
    recall_at_k,
    tar_at_far,
)

AS_THEY_ARE = FunctionTransformer()


@pytest.fixture(scope="module")
def rows(digits):
    X, y, _, _ = digits
    return X[:240].reshape(240, -1), y[:240]


def test_scores_are_those_of_the_metrics(rows):
    X, y = rows
    first, second = np.triu_indices(len(y), 1)
    pairs = y[first] == y[second], -np.linalg.norm(X[first] * 1.0 - X[second], axis=1)
    expected = {
        "pair_auc": pair_roc_auc(X, y),
        "neg_pair_eer": -equal_error_rate(*pairs),
        "pair_tar_at_far_1e-2": tar_at_far(*pairs, far=0.01),
        "pair_tar_at_far_1e-3": tar_at_far(*pairs, far=0.001),
        "recall_at_1": recall_at_k(X, y),
        "r_precision": r_precision(X, y),
        "map_at_r": mean_average_precision_at_r(X, y),
    }
    found = {name: scorer(AS_THEY_ARE, X, y) for name, scorer in SCORERS.items()}
    assert found == pytest.approx(expected)
    assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize("name", SCORERS)
def test_scorer_is_readable_and_survives_copies(name, rows):
    scorer = SCORERS[name]
    assert repr(scorer) == f"SCORERS['{name}']"
    again = pickle.loads(pickle.dumps(scorer))
    assert again == scorer
    assert again(AS_THEY_ARE, *rows) == scorer(AS_THEY_ARE, *rows)
    search = clone(GridSearchCV(PCA(), {}, scoring=scorer))
    assert search.scoring == scorer
    assert len({scorer, again, search.scoring, *SCORERS.values()}) == len(SCORERS)


def test_grid_search_finds_what_separates_classes(rows):
    model = make_pipeline(AS_THEY_ARE, PCA(random_state=0))
    grid = {"pca__n_components": [1, 9]}
    for name in "pair_auc", "neg_pair_eer", "map_at_r":
        scoring = SCORERS[name]
        search = GridSearchCV(model, grid, scoring=scoring, cv=2).fit(*rows)
        assert search.best_params_ == {"pca__n_components": 9}
        assert search.score(*rows) == scoring(search, *rows)


def test_multi_metric_search_reports_each(rows):
    scoring = {"auc": SCORERS["pair_auc"], "eer": SCORERS["neg_pair_eer"]}
    scoring["accuracy"] = "accuracy"
    grid = {"n_components": [2, 9]}
    search = GridSearchCV(
        LinearDiscriminantAnalysis(), grid, scoring=scoring, refit="auc", cv=3
    ).fit(*rows)
    for name in scoring:
        assert np.isfinite(search.cv_results_[f"mean_test_{name}"]).all()
    assert (search.cv_results_["mean_test_eer"] <= 0).all()


def test_cross_validation_in_processes_gives_the_same(rows):
    scores = [
        cross_validate(PCA(5), *rows, scoring=SCORERS, cv=2, n_jobs=n_jobs)
        for n_jobs in (1, 2)
    ]
    for name in SCORERS:
        one, two = (result[f"test_{name}"] for result in scores)
        assert np.array_equal(one, two)


def test_pipeline_of_a_siamese_classifier_is_scored_by_its_embedding(rows):
    model = make_pipeline(
        AS_THEY_ARE,
        SiameseClassifier(max_epochs=2, random_state=0),
    )
    X, y = rows
    images = X.reshape(-1, 8, 8)
    for name in "pair_auc", "recall_at_1":
        found = cross_val_score(model, images, y, scoring=SCORERS[name], cv=2)
        assert (found > 0.5).all()
    model.fit(images, y)
    expected = pair_roc_auc(model.transform(images), y)
    assert SCORERS["pair_auc"](model, images, y) == pytest.approx(expected)


@pytest.mark.parametrize("n_classes", [2, 10, 400])
def test_many_images_are_scored_by_a_fixed_sample_of_their_pairs(n_classes):
    """There are 1.3 million pairs; with 400 classes, 2,400 of them of one class."""
    rng = np.random.default_rng(0)
    labels = np.arange(1600) % n_classes
    embeddings = rng.normal(size=(n_classes, 3))[labels] + rng.normal(size=(1600, 3))
    found = SCORERS["pair_auc"](AS_THEY_ARE, embeddings, labels)
    assert found == pytest.approx(pair_roc_auc(embeddings, labels), abs=0.003)
    assert found != pair_roc_auc(embeddings, labels)
    assert SCORERS["pair_auc"](AS_THEY_ARE, embeddings, labels) == found


def test_labels_may_be_strings(rows):
    X, y = rows
    for scorer in SCORERS.values():
        assert scorer(AS_THEY_ARE, X, y.astype(str)) == scorer(AS_THEY_ARE, X, y)


def test_pair_auc_is_of_single_precision_embeddings_too(rows):
    X, y = rows
    X32 = X.astype(np.float32)
    first, second = np.triu_indices(len(y), 1)
    distances = np.linalg.norm(X32[first] - X32[second], axis=1)
    expected = roc_auc_score(y[first] == y[second], -distances)
    assert SCORERS["pair_auc"](AS_THEY_ARE, X32, y) == pytest.approx(expected)


@pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)
def test_bad_input_raises(scorer, rows):
    X, y = rows
    with pytest.raises(ValueError, match="y has shape"):
        scorer(AS_THEY_ARE, X, y[1:])
    with pytest.raises(ValueError, match="y has shape"):
        scorer(AS_THEY_ARE, X, None)
    with pytest.raises(ValueError, match=r"estimator.transform\(X\) contains NaN"):
        scorer(AS_THEY_ARE, np.where(X == 3, np.nan, X), y)


@pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)
def test_missing_labels_raise(scorer, rows):
    X, y = rows
    for missing in (None, np.nan):
        with pytest.raises(ValueError, match="y has missing values"):
            scorer(AS_THEY_ARE, X, [missing, *y[1:]])


def test_estimator_without_embeddings_raises(rows):
    with pytest.raises(TypeError, match=r"SCORERS.*Pipeline has no method transform"):
        SCORERS["pair_auc"](make_pipeline(AS_THEY_ARE, DummyClassifier()), *rows)
    with pytest.raises(TypeError, match="DummyClassifier has no method transform"):
        SCORERS["pair_auc"](DummyClassifier(), *rows)


@pytest.mark.parametrize("name", [name for name in SCORERS if "pair" in name])
@pytest.mark.parametrize("n", [100, 1600])
def test_one_kind_of_pairs_has_no_score(name, n):
    Z = np.random.default_rng(0).normal(size=(n, 2))
    with pytest.raises(ValueError, match="only pairs of one class.*StratifiedKFold"):
        SCORERS[name](AS_THEY_ARE, Z, np.zeros(n))
    with pytest.raises(ValueError, match="only pairs of two classes"):
        SCORERS[name](AS_THEY_ARE, Z, np.arange(n))
