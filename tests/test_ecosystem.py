"""The estimators in the tools of scikit-learn and imbalanced-learn, on images."""

import copy
import os
import pickle
from collections import Counter

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import make_pipeline as make_imblearn_pipeline
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier, StackingClassifier
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    StratifiedGroupKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sksiamese import SiameseClassifier, SiameseEmbedder


def fast(estimator=SiameseClassifier, **params):
    return estimator(**{"max_epochs": 6, "random_state": 0, **params})


@pytest.fixture(scope="module")
def small(digits):
    """Three digits: ``X, y, X_new, y_new``, images of shape (8, 8, 1)."""
    X, y, X_new, y_new = digits
    few, few_new = y < 3, y_new < 3
    return X[few][..., None], y[few], X_new[few_new][..., None], y_new[few_new]


@pytest.fixture(scope="module")
def rows(small):
    """Zeros and ones as flattened rows."""
    X, y, X_new, y_new = small
    X, X_new = X.reshape(len(X), -1), X_new.reshape(len(X_new), -1)
    return X[y < 2], y[y < 2], X_new[y_new < 2], y_new[y_new < 2]


def test_pipeline_on_images(small):
    X, y, X_new, y_new = small
    embedder = fast(SiameseEmbedder)
    pipeline = make_pipeline(embedder, KNeighborsClassifier(3)).fit(X, y)
    assert pipeline.score(X_new, y_new) > 0.97
    inverted = make_pipeline(FunctionTransformer(np.negative), fast()).fit(X / 16, y)
    assert inverted.score(X_new / 16, y_new) > 0.97


def test_feature_union_on_rows(rows):
    X, y, X_new, y_new = rows
    union = FeatureUnion(
        [("siamese", fast(SiameseEmbedder, image_shape=(8, 8))), ("pca", PCA(5))]
    )
    pipeline = make_pipeline(union, LogisticRegression(max_iter=1000)).fit(X, y)
    assert pipeline[0].transform(X).shape[1] == 64 + 5
    assert pipeline.score(X_new, y_new) > 0.97


def test_cross_validation_on_images(small):
    X, y, _, _ = small
    assert cross_val_score(fast(), X, y, cv=3).min() > 0.95
    proba = cross_val_predict(fast(), X, y, cv=3, method="predict_proba")
    assert (proba.argmax(axis=1) == y).mean() > 0.95


def test_grid_search_over_margin_and_backbone_in_two_processes(small):
    X, y, X_new, y_new = small
    grid = {"margin": [0.5, 1.0], "backbone": ["conv", "mlp"]}
    search = GridSearchCV(fast(max_epochs=3), grid, cv=2, n_jobs=2).fit(X, y)
    assert search.score(X_new, y_new) > 0.9
    assert len(search.cv_results_["params"]) == 4
    alone = GridSearchCV(fast(max_epochs=3), grid, cv=2).fit(X, y)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"],
        alone.cv_results_["mean_test_score"],
        atol=0.01,
    )


def test_workers_share_the_cores():
    """Workers times threads do not exceed the cores; joblib sees to it."""
    with joblib.parallel_config(backend="loky"):
        threads = joblib.Parallel(n_jobs=2)(
            joblib.delayed(torch.get_num_threads)() for _ in range(2)
        )
    assert sum(threads) <= max(2, os.cpu_count())


def test_splitters_with_groups(small):
    X, y, _, _ = small
    groups = np.arange(len(y)) // 6
    cv = StratifiedGroupKFold(3, shuffle=True, random_state=0)
    assert cross_val_score(fast(), X, y, groups=groups, cv=cv).min() > 0.9


def test_groups_are_routed_to_fit_and_splitter(small):
    X, y, _, _ = small
    groups = np.arange(len(y)) // 6
    seen = []

    class Watching(SiameseClassifier):
        def fit(self, X, y, groups=None):
            seen.append(set(groups))
            return super().fit(X, y, groups=groups)

    with config_context(enable_metadata_routing=True):
        clf = Watching(max_epochs=2, random_state=0).set_fit_request(groups=True)
        cross_validate(clf, X, y, cv=GroupKFold(2), params={"groups": groups})
    assert len(seen) == 2
    assert seen[0] | seen[1] == set(groups)
    assert not seen[0] & seen[1]


def test_calibrated_classifier_on_images(small):
    X, y, X_new, y_new = small
    clf = CalibratedClassifierCV(fast(), cv=2).fit(X, y)
    assert clf.score(X_new, y_new) > 0.95


def test_tuned_threshold_on_rows(rows):
    X, y, X_new, y_new = rows
    clf = TunedThresholdClassifierCV(fast(image_shape=(8, 8)), cv=2).fit(X, y)
    assert clf.score(X_new, y_new) > 0.95


def test_stacking_on_rows(rows):
    X, y, X_new, y_new = rows
    members = [("siamese", fast(image_shape=(8, 8))), ("knn", KNeighborsClassifier())]
    clf = StackingClassifier(members, LogisticRegression(), cv=2).fit(X, y)
    assert clf.score(X_new, y_new) > 0.95


def test_bagging_on_rows(rows):
    X, y, X_new, y_new = rows
    clf = BaggingClassifier(fast(image_shape=(8, 8)), 2, random_state=0).fit(X, y)
    assert clf.score(X_new, y_new) > 0.95


def test_permutation_importance_on_rows(rows):
    X, y, X_new, y_new = rows
    clf = fast(image_shape=(8, 8)).fit(X, y)
    result = permutation_importance(clf, X_new, y_new, n_repeats=1, random_state=0)
    assert result.importances_mean.shape == (64,)


def test_imbalanced_learn_pipeline_on_rows(rows):
    X, y, X_new, y_new = rows
    keep = (y == 0) | (np.cumsum(y == 1) <= 10)
    seen = []

    class Watching(SiameseClassifier):
        def fit(self, X, y, groups=None):
            seen.append(Counter(y))
            return super().fit(X, y)

    pipeline = make_imblearn_pipeline(
        RandomOverSampler(random_state=0),
        Watching(image_shape=(8, 8), max_epochs=6, random_state=0),
    )
    pipeline.fit(X[keep], y[keep])
    assert seen[0][0] == seen[0][1] > 50
    assert pipeline.score(X_new, y_new) > 0.95


def test_set_output_gives_pandas(rows):
    X, y, _, _ = rows
    frame = pd.DataFrame(X, columns=[f"pixel{k}" for k in range(64)])
    embedder = fast(SiameseEmbedder, image_shape=(8, 8), embedding_dim=2)
    Z = embedder.set_output(transform="pandas").fit(frame, y).transform(frame)
    assert list(Z.columns) == ["siameseembedder0", "siameseembedder1"]
    assert list(embedder.feature_names_in_) == list(frame.columns)
    with pytest.raises(ValueError, match="feature names"):
        embedder.transform(frame.rename(columns={"pixel0": "other"}))


@pytest.mark.parametrize(
    "copier", [copy.deepcopy, lambda clf: pickle.loads(pickle.dumps(clf))]
)
@pytest.mark.parametrize("classifier", ["prototype", "knn"])
def test_copies_predict_the_same(small, copier, classifier):
    X, y, X_new, _ = small
    clf = fast(
        classifier=classifier, early_stopping=True, lr_schedule="cosine", verbose=1
    ).fit(X, y)
    twin = copier(clf)
    np.testing.assert_array_equal(
        clf.decision_function(X_new), twin.decision_function(X_new)
    )
    twin.partial_fit(X, y).enroll(X_new[:1], [99])
    assert 99 not in clf.classes_


def test_pickle_holds_no_images(small):
    X, y, _, _ = small
    many = np.concatenate([X] * 20)
    labels = np.concatenate([y] * 20)
    few, lots = (
        len(pickle.dumps(fast(max_epochs=1, validation_fraction=f).fit(many, labels)))
        for f in (0.0, 0.2)
    )
    assert lots - few < 20_000  # the records of one epoch, not 500 images


def test_clone_copies_modules_and_leaves_them_untrained(small):
    X, y, _, _ = small
    backbone = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 8))
    before = copy.deepcopy(backbone.state_dict())
    clf = clone(fast(backbone=backbone)).fit(X, y)
    assert clf.backbone is not backbone
    for name, value in clf.backbone.state_dict().items():
        assert torch.equal(value, before[name])


def test_memory_mapped_images_are_not_copied(small, tmp_path):
    X, y, X_new, _ = small
    path = tmp_path / "images.npy"
    np.save(path, X)
    mapped = np.load(path, mmap_mode="r")
    from_disk = fast().fit(mapped, y)
    np.testing.assert_array_equal(
        from_disk.transform(X_new), fast().fit(X, y).transform(X_new)
    )
    taken = []

    class Watching(SiameseEmbedder):
        def _make_module(self, X, rows):
            taken.append(X)
            return super()._make_module(X, rows)

    Watching(max_epochs=1).fit(mapped, y)
    assert np.shares_memory(taken[0], mapped)


def test_lists_and_object_arrays_are_taken(small):
    X, y, X_new, _ = small
    expected = fast().fit(X[:60].astype(float), y[:60]).predict(X_new)
    for same in (X[:60].tolist(), X[:60].astype(object)):
        predicted = fast().fit(same, list(y[:60])).predict(X_new.tolist())
        assert (predicted == expected).mean() > 0.98
