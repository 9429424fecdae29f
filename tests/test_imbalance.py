"""What samplers make of images, against imbalanced-learn on rows of floats."""

import os
import tracemalloc
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.under_sampling import (
    EditedNearestNeighbours,
    NearMiss,
    RandomUnderSampler,
    TomekLinks,
)
from imblearn.utils.testing import all_estimators
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import FunctionTransformer

from sksiamese import SiameseEmbedder
from sksiamese.imbalance import ImageSampler

N, N_RARE = 84, 24
SELECTING = {
    "AllKNN",
    "CondensedNearestNeighbour",
    "EditedNearestNeighbours",
    "InstanceHardnessThreshold",
    "NearMiss",
    "NeighbourhoodCleaningRule",
    "OneSidedSelection",
    "RandomOverSampler",
    "RandomUnderSampler",
    "RepeatedEditedNearestNeighbours",
    "TomekLinks",
}
GENERATING = {
    "ADASYN",
    "BorderlineSMOTE",
    "ClusterCentroids",
    "FunctionSampler",
    "KMeansSMOTE",
    "SMOTE",
    "SMOTEENN",
    "SMOTEN",
    "SMOTENC",
    "SMOTETomek",
    "SVMSMOTE",
}
# One cannot be made without arguments, the other changes nothing.
ARGUMENTS = {
    "SMOTENC": {"categorical_features": [0, 1]},
    "FunctionSampler": {
        "func": lambda X, y: (np.vstack([X, 1.4 * X[-9:]]), np.append(y, y[-9:]))
    },
}


def images(dtype=np.uint8, low=0, high=255, shape=(6, 6, 3), seed=0):
    """Two overlapping classes, 60 and 24 images, with saturated pixels."""
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1], [N - N_RARE, N_RARE])
    X = rng.normal(0.45 + 0.2 * y[:, None], 0.3, (N, int(np.prod(shape))))
    X = (low + np.clip(X, 0, 1) * (high - low)).reshape(N, *shape)
    order = rng.permutation(N)
    return X[order].astype(dtype), y[order]


def make(name):
    sampler = dict(all_estimators("sampler"))[name](**ARGUMENTS.get(name, {}))
    seeds = {"random_state": 0} if hasattr(sampler, "random_state") else {}
    return sampler.set_params(**seeds)


def floats(X):
    return X.reshape(len(X), -1).astype(float)


# What each sampler does to images


def test_every_sampler_of_imbalanced_learn_is_tested():
    assert {name for name, _ in all_estimators("sampler")} == SELECTING | GENERATING


@pytest.mark.parametrize("name", sorted(SELECTING))
def test_selecting_sampler_returns_the_images_that_it_selects_from_floats(name):
    X, y = images()
    before = X.copy()
    sampler = ImageSampler(make(name))
    X_new, y_new = sampler.fit_resample(X, y)
    reference = make(name)
    rows, labels = reference.fit_resample(floats(X), y)
    assert sampler.sample_indices_.dtype == np.int64
    np.testing.assert_array_equal(sampler.sample_indices_, reference.sample_indices_)
    np.testing.assert_array_equal(X_new, X[sampler.sample_indices_])
    np.testing.assert_array_equal(floats(X_new), rows)
    np.testing.assert_array_equal(y_new, labels)
    np.testing.assert_array_equal(y_new, y[sampler.sample_indices_])
    assert X_new.dtype == np.uint8
    assert dict(sampler.sampling_strategy_) == dict(reference.sampling_strategy_)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("name", sorted(GENERATING))
def test_generating_sampler_returns_rounded_images_of_those_it_makes_of_floats(name):
    X, y = images(low=20, high=230)
    before = X.copy()
    sampler = ImageSampler(make(name))
    X_new, y_new = sampler.fit_resample(X, y)
    reference = make(name)
    rows, labels = reference.fit_resample(floats(X), y)
    expected = np.clip(rows, X.min(), X.max()).reshape(-1, 6, 6, 3)
    assert X_new.dtype == np.uint8
    assert Counter(y_new) != Counter(y)
    np.testing.assert_array_equal(y_new, labels)
    # Nearest integers, but for halves as float32 computes them.
    assert np.abs(X_new - expected).max() < 0.5 + 1e-4
    assert not hasattr(sampler, "sample_indices_")
    assert sampler.sampling_strategy_ == reference.sampling_strategy_
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("name", ["ADASYN", "BorderlineSMOTE", "SMOTE", "SVMSMOTE"])
def test_oversampler_returns_the_original_images_first(name):
    X, y = images()
    X_new, y_new = ImageSampler(make(name)).fit_resample(X, y)
    assert len(X_new) > N
    np.testing.assert_array_equal(X_new[:N], X)
    np.testing.assert_array_equal(y_new[:N], y)


@pytest.mark.parametrize("name", ["SMOTEENN", "SMOTETomek"])
def test_combined_sampler_drops_images_and_keeps_others_as_they_were(name):
    X, y = images(seed=3)
    X_new, _ = ImageSampler(make(name)).fit_resample(X, y)
    known = {image.tobytes() for image in X}
    kept = [image.tobytes() in known for image in X_new]
    n_kept = kept.index(False)
    assert 0 < n_kept <= N
    assert not any(kept[n_kept:])


# The fault of wrapping around


def parents(smote, X, y):
    """Both parents of each synthetic image, by SMOTE's own draws, as float rows."""
    (label, n_new) = next(iter(smote.sampling_strategy_.items()))
    rare = floats(X[y == label])
    neighbours = smote.nn_k_.kneighbors(rare, return_distance=False)[:, 1:]
    drawn = np.random.RandomState(smote.random_state).randint(
        0, neighbours.size, size=n_new
    )
    row, column = np.divmod(drawn, neighbours.shape[1])
    return rare[row], rare[neighbours[row, column]]


def outside(X_new, first, second):
    """Share of pixels that lie outside of the range of the two parents."""
    rows = floats(X_new)
    below, above = np.minimum(first, second), np.maximum(first, second)
    return np.mean((rows < below) | (rows > above))


def test_smote_never_wraps_around_where_imbalanced_learn_does():
    X, y = images()
    sampler = ImageSampler(SMOTE(random_state=0))
    ours = sampler.fit_resample(X, y)[0][N:]
    theirs = SMOTE(random_state=0).fit_resample(X.reshape(N, -1), y)[0][N:]
    first, second = parents(sampler.sampler_, X, y)
    assert len(ours) == len(theirs) == len(first) == N - 2 * N_RARE
    assert outside(ours, first, second) == 0
    assert outside(theirs, first, second) > 0.3


def test_smote_images_lie_between_two_images_of_the_class_by_brute_force():
    """For each new image, some pair and some step explain all pixels but rounding."""
    X, y = images(shape=(5, 5))
    X_new, y_new = ImageSampler(SMOTE(k_neighbors=4, random_state=1)).fit_resample(X, y)
    rare = floats(X[y == 1])
    for new in floats(X_new[N:]):
        misses = []
        for i, j in combinations(range(N_RARE), 2):
            line = rare[j] - rare[i]
            step = np.clip((new - rare[i]) @ line / (line @ line), 0, 1)
            misses.append(np.abs(rare[i] + step * line - new).max())
        assert min(misses) < 1
    assert np.all(y_new[N:] == 1)


# Data types


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        (np.uint8, 0, 255),
        (np.int8, -128, 127),
        (np.uint16, 0, 4095),
        (np.int16, -1024, 3071),
        (np.uint16, 0, 65535),
        (np.int32, -(2**31), 2**31 - 1),
        (np.uint32, 0, 2**32 - 1),
        (np.int64, -(2**53), 2**53),
        (np.uint64, 0, 2**53),
    ],
)
@pytest.mark.parametrize(
    "sampler", [SMOTE(random_state=0), RandomOverSampler(shrinkage=3.0, random_state=0)]
)
def test_integers_stay_between_the_values_that_images_hold(sampler, dtype, low, high):
    X, y = images(dtype, low, high, shape=(4, 4))
    X[0, 0, 0], X[1, 0, 0] = low, high
    X_new, _ = ImageSampler(sampler).fit_resample(X, y)
    assert X_new.dtype == dtype
    np.testing.assert_array_equal(X_new[:N], X)
    assert X_new.min() == low
    assert X_new.max() == high
    rows = clone(sampler).fit_resample(floats(X), y)[0][N:]
    expected = np.clip(rows.reshape(-1, 4, 4), low, high)
    error = np.abs(X_new[N:].astype(float) - expected)
    assert error.max() <= 0.5 + 1e-6 * (high - low)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", ["SMOTE", "ClusterCentroids", "TomekLinks"])
def test_floats_keep_their_dtype(name, dtype):
    X, y = images(dtype, 0, 1)
    X_new, _ = ImageSampler(make(name)).fit_resample(X, y)
    assert X_new.dtype == dtype
    rows = make(name).fit_resample(floats(X), y)[0]
    tolerance = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(floats(X_new), rows, rtol=tolerance, atol=tolerance)


def test_float64_gives_what_imbalanced_learn_gives_bit_by_bit():
    X, y = images(float, 0, 1)
    sampler = RandomOverSampler(shrinkage=2.0, random_state=0)
    X_new, _ = ImageSampler(sampler).fit_resample(X, y)
    rows, _ = sampler.fit_resample(floats(X), y)
    np.testing.assert_array_equal(floats(X_new), rows)
    assert X_new.min() < X.min()  # floats have no range to leave


def test_masks_of_booleans_stay_booleans():
    X, y = images(float, 0, 1)
    X = X > 0.5
    X_new, _ = ImageSampler(SMOTE(random_state=0)).fit_resample(X, y)
    rows, _ = SMOTE(random_state=0).fit_resample(floats(X), y)
    assert X_new.dtype == bool
    np.testing.assert_array_equal(floats(X_new), rows > 0.5)


def test_integers_that_floats_cannot_hold_raise():
    X, y = images(np.int64, 0, 255)
    X[3, 0, 0, 0] = 2**53 + 1
    with pytest.raises(ValueError, match="scale X down"):
        ImageSampler(SMOTE()).fit_resample(X, y)
    X_new, _ = ImageSampler(RandomOverSampler(random_state=0)).fit_resample(X, y)
    assert X_new[3, 0, 0, 0] == 2**53 + 1


@pytest.mark.parametrize("mode", ["r", "c"])
def test_memory_map_is_read_only_where_taken(tmp_path, mode):
    """A file of 128 MB, in which 40 images of 256 kB are taken."""
    shape = (500, 512, 512)
    file = np.memmap(tmp_path / "x", np.uint8, "w+", shape=shape)
    file[:, 0, 0] = np.arange(500) % 251
    file.flush()
    X = np.memmap(tmp_path / "x", np.uint8, mode, shape=shape)
    y = (np.arange(500) >= 20).astype(int)
    sampler = ImageSampler(RandomUnderSampler(random_state=0))
    tracemalloc.start()
    X_new, _ = sampler.fit_resample(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert X_new.shape == (40, 512, 512)
    np.testing.assert_array_equal(X_new[:, 0, 0], sampler.sample_indices_ % 251)
    assert peak < 2 * X_new.nbytes


# Embedders


@pytest.fixture
def rows():
    X, y = images(shape=(30,))
    return X, y


def test_unfitted_embedder_is_cloned_and_fitted(rows):
    X, y = rows
    embedder = PCA(3, random_state=0)
    sampler = ImageSampler(NearMiss(), embedder=embedder)
    X_new, _ = sampler.fit_resample(X, y)
    reference = NearMiss()
    reference.fit_resample(PCA(3, random_state=0).fit_transform(X), y)
    np.testing.assert_array_equal(sampler.sample_indices_, reference.sample_indices_)
    np.testing.assert_array_equal(X_new, X[sampler.sample_indices_])
    assert not hasattr(embedder, "components_")
    assert sampler.embedder_.components_.shape == (3, 30)


def test_fitted_embedder_is_used_as_it_is(rows):
    X, y = rows
    embedder = PCA(2, random_state=0).fit(
        np.random.default_rng(5).normal(size=(40, 30))
    )
    sampler = ImageSampler(EditedNearestNeighbours(), embedder=embedder)
    sampler.fit_resample(X, y)
    reference = EditedNearestNeighbours()
    reference.fit_resample(embedder.transform(X), y)
    assert sampler.embedder_ is embedder
    np.testing.assert_array_equal(sampler.sample_indices_, reference.sample_indices_)
    others = ImageSampler(EditedNearestNeighbours(), embedder=clone(embedder))
    others.fit_resample(X, y)
    assert not np.array_equal(sampler.sample_indices_, others.sample_indices_)


def test_frozen_embedder_survives_cloning(rows):
    X, y = rows
    embedder = PCA(2, random_state=0).fit(X[:20])
    sampler = clone(ImageSampler(NearMiss(), embedder=FrozenEstimator(embedder)))
    sampler.fit_resample(X, y)
    assert sampler.embedder_.estimator.n_samples_ == 20
    thawed = clone(ImageSampler(NearMiss(), embedder=embedder))
    thawed.fit_resample(X, y)
    assert thawed.embedder_.n_samples_ == N


@pytest.mark.parametrize("fitted", [False, True])
def test_siamese_embedder_gets_images_as_they_are(digits, fitted):
    X, y = digits[0][:300], (digits[1][:300] == 8).astype(int)
    embedder = SiameseEmbedder(max_epochs=2, embedding_dim=8, random_state=0)
    if fitted:
        embedder.fit(X, y)
    sampler = ImageSampler(NearMiss(), embedder=embedder)
    X_new, y_new = sampler.fit_resample(X, y)
    assert sampler.embedder_.image_shape_ == (8, 8)
    assert sampler.sampler_.n_features_in_ == 8
    np.testing.assert_array_equal(X_new, X[sampler.sample_indices_])
    assert np.bincount(y_new).tolist() == [y.sum()] * 2
    reference = NearMiss()
    reference.fit_resample(sampler.embedder_.transform(X), y)
    np.testing.assert_array_equal(sampler.sample_indices_, reference.sample_indices_)


def read_images(paths):
    return np.stack([np.load(path).ravel() for path in paths])


def test_embedder_of_paths_lets_samplers_compare_files(tmp_path):
    X, y = images()
    paths = [tmp_path / f"{k}.npy" for k in range(N)]
    for path, image in zip(paths, X, strict=True):
        np.save(path, image)
    embedder = FunctionTransformer(read_images)
    few, labels = ImageSampler(NearMiss(), embedder=embedder).fit_resample(paths, y)
    expected = ImageSampler(NearMiss())
    X_few, _ = expected.fit_resample(X, y)
    assert few == [paths[k] for k in expected.sample_indices_]
    np.testing.assert_array_equal(read_images(few), X_few.reshape(len(X_few), -1))
    assert np.bincount(labels).tolist() == [N_RARE] * 2


def test_embedder_gets_labels_of_one_hot_targets_as_classes(rows):
    X, y = rows
    embedder = SiameseEmbedder(max_epochs=1, random_state=0)
    one_hot = np.eye(3, dtype=int)[np.where(np.arange(N) % 4 == 0, 2, y)]
    sampler = ImageSampler(TomekLinks(), embedder=embedder)
    _, y_new = sampler.fit_resample(X.astype(float), one_hot)
    np.testing.assert_array_equal(y_new, one_hot[sampler.sample_indices_])


# Real data

FOLDER = os.environ.get("SKSIAMESE_DATA")
needs_data = pytest.mark.skipif(
    FOLDER is None, reason="SKSIAMESE_DATA names no folder of real data sets"
)


@pytest.fixture(scope="module")
def pneumonia():
    """X-rays of PneumoniaMNIST, 28 x 28: 300 normal and 900 with pneumonia."""
    with np.load(Path(FOLDER) / "pneumoniamnist.npz") as arrays:
        X, y = arrays["train_images"], arrays["train_labels"].ravel()
    keep = np.r_[np.flatnonzero(y == 0)[:300], np.flatnonzero(y == 1)[:900]]
    return X[keep], y[keep]


@needs_data
@pytest.mark.parametrize(
    ("sampler", "counts"),
    [
        (RandomUnderSampler(random_state=0), [300, 300]),
        (RandomUnderSampler(sampling_strategy=0.5, random_state=0), [300, 600]),
        (RandomOverSampler(random_state=0), [900, 900]),
        (NearMiss(), [300, 300]),
        (TomekLinks(), None),
        (EditedNearestNeighbours(), None),
    ],
)
def test_x_rays_selected_are_those_put_in(pneumonia, sampler, counts):
    X, y = pneumonia
    wrapped = ImageSampler(sampler)
    X_new, y_new = wrapped.fit_resample(X, y)
    known = {image.tobytes(): label for image, label in zip(X, y, strict=True)}
    for image, label in zip(X_new, y_new, strict=True):
        assert known[image.tobytes()] == label
    if counts is None:
        assert np.bincount(y_new)[0] == 300
        assert np.bincount(y_new)[1] < 900
    else:
        assert np.bincount(y_new).tolist() == counts


@needs_data
def test_smote_x_rays_stay_between_their_parents(pneumonia):
    X, y = pneumonia
    sampler = ImageSampler(SMOTE(random_state=0))
    X_new, y_new = sampler.fit_resample(X, y)
    theirs = SMOTE(random_state=0).fit_resample(X.reshape(len(X), -1), y)[0][len(X) :]
    assert np.bincount(y_new).tolist() == [900, 900]
    np.testing.assert_array_equal(X_new[: len(X)], X)
    first, second = parents(sampler.sampler_, X, y)
    share = outside(theirs, first, second)
    assert outside(X_new[len(X) :], first, second) == 0
    assert 0.3 < share < 0.6
