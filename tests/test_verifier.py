"""SiameseVerifier: same or different, at a threshold that holds."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils._param_validation import InvalidParameterError

from sksiamese import SiameseClassifier, SiameseEmbedder, SiameseVerifier
from sksiamese.metrics import SCORERS
from sksiamese.pairs import sample_pairs

IMAGES, LABELS = load_digits(return_X_y=True)
IMAGES = IMAGES.reshape(-1, 8, 8).astype(np.uint8)
X, Y = IMAGES[:1200], LABELS[:1200]
X_TEST, Y_TEST = IMAGES[1200:], LABELS[1200:]
PAIRS, SAME = sample_pairs(Y_TEST, 1000, random_state=0)
TEST = X_TEST[PAIRS[:, 0]], X_TEST[PAIRS[:, 1]]


def embedder(**params):
    return SiameseEmbedder(**{"max_epochs": 8, "random_state": 0, **params})


@pytest.fixture(scope="module")
def fitted():
    return SiameseVerifier(embedder(), random_state=0).fit(X, Y)


def identity(**params):
    """Verify embeddings that are there already."""
    return SiameseVerifier(
        FunctionTransformer().fit(np.zeros((1, 3))), random_state=0, **params
    )


def blobs(n, rng, *, n_classes=10, spread=0.45):
    """Overlapping classes in three dimensions, and their labels."""
    centres = np.random.default_rng(1).normal(size=(n_classes, 3))
    labels = rng.integers(n_classes, size=n)
    return centres[labels] + rng.normal(scale=spread, size=(n, 3)), labels


# --- what it says -------------------------------------------------------------------


def test_verifier_tells_same_from_different(fitted):
    assert fitted.score(TEST, SAME) > 0.93
    assert roc_auc_score(SAME, fitted.decision_function(TEST)) > 0.98
    # Thresholds are transferred, so both errors are near each other, not equal.
    said = fitted.predict(TEST)
    assert abs(np.mean(said[~SAME]) - np.mean(~said[SAME])) < 0.06


def test_calibration_says_what_the_threshold_rests_on(fitted):
    report = fitted.calibration_
    assert report["n_images"] == 240
    assert report["n_groups"] is None
    assert report["held_out"] is True
    assert report["n_positives"] < report["n_negatives"] == 20_000
    assert abs(report["fpr"] - (1 - report["tpr"])) < 0.01
    assert "promised" not in report


# --- thresholds ----------------------------------------------------------------------


def test_threshold_of_ones_own():
    rng = np.random.default_rng(0)
    verifier = identity(threshold=0.7).calibrate(*blobs(100, rng))
    assert verifier.threshold_ == 0.7
    assert verifier.calibration_["held_out"] is None


def test_accuracy_threshold_beats_others_on_the_pairs_it_was_set_on():
    Z, y = blobs(300, np.random.default_rng(0))
    errors = {}
    for threshold in ("accuracy", "eer", 0.4, 0.6, 0.8):
        report = identity(threshold=threshold, n_pairs=10**6).calibrate(Z, y)
        errors[threshold] = report.calibration_["fpr"] - report.calibration_["tpr"]
    assert min(errors, key=errors.get) == "accuracy"


@pytest.mark.parametrize("spread", [0.2, 0.6])
@pytest.mark.parametrize("grouped", [False, True])
def test_max_fpr_is_kept_in_19_of_20_calibrations(spread, grouped):
    """Fresh images: 200 calibrations; binomial noise allows 16 failures at 5 %."""
    rng = np.random.default_rng(0)
    # With groups, the images of one patient share an offset.
    shifts = rng.normal(scale=0.3, size=(20_000, 3)) if grouped else np.zeros((1, 3))
    Z, y = blobs(20_000, rng, spread=spread)
    Z_fresh, y_fresh = Z[:2000] + shifts[:2000], y[:2000]  # each of its own patient
    different = y_fresh[:, None] != y_fresh
    fresh = cdist(Z_fresh, Z_fresh)[different]
    failures = 0
    for repetition in range(200):
        rows = rng.permutation(20_000)[:800]
        patients = rng.permutation(800) // 2 if grouped else np.arange(800)
        Z_rows = Z[rows] + shifts[rng.permutation(len(shifts))[patients % len(shifts)]]
        verifier = identity(threshold="max_fpr", max_fpr=0.05, n_pairs=200)
        verifier.set_params(random_state=repetition)
        verifier.calibrate(Z_rows, y[rows], patients if grouped else None)
        assert verifier.calibration_["promised"]
        failures += np.mean(fresh <= verifier.threshold_) > 0.05
    assert 0 < failures <= 16


def test_min_tpr_is_kept_in_19_of_20_calibrations():
    rng = np.random.default_rng(0)
    Z, y = blobs(20_000, rng)
    pairs, _ = sample_pairs(y, 100_000, positive_fraction=1.0, random_state=1)
    fresh = np.linalg.norm(Z[pairs[:, 0]] - Z[pairs[:, 1]], axis=1)
    failures = 0
    for repetition in range(200):
        rows = rng.permutation(20_000)[:600]
        verifier = identity(threshold="min_tpr", min_tpr=0.9, n_pairs=200)
        verifier.set_params(random_state=repetition)
        verifier.calibrate(Z[rows], y[rows])
        assert verifier.calibration_["promised"]
        failures += np.mean(fresh <= verifier.threshold_) < 0.9
    assert 0 < failures <= 16


def test_pairs_that_share_images_would_promise_too_much():
    """The reason for independent pairs: a bound from all pairs fails often."""
    from sksiamese._threshold import promised_count, threshold_below

    rng = np.random.default_rng(0)
    Z, y = blobs(20_000, rng)
    pairs, _ = sample_pairs(y, 100_000, positive_fraction=0.0, random_state=1)
    fresh = np.linalg.norm(Z[pairs[:, 0]] - Z[pairs[:, 1]], axis=1)
    failures = 0
    for _ in range(100):
        rows = rng.permutation(20_000)[:100]
        i, j = np.triu_indices(100, 1)
        i, j = rows[i], rows[j]
        distances = np.linalg.norm(Z[i] - Z[j], axis=1)[y[i] != y[j]]
        count = promised_count(len(distances), 0.05, 0.95)
        failures += np.mean(fresh <= threshold_below(distances, count)) > 0.05
    assert failures > 12


def test_promise_from_too_few_images_is_not_made():
    Z, y = blobs(100, np.random.default_rng(0))
    verifier = identity(threshold="max_fpr", max_fpr=0.01)
    with pytest.warns(
        UserWarning, match=r"max_fpr=0.01 cannot be promised.*299 are ne"
    ):
        verifier.calibrate(Z, y)
    report = verifier.calibration_
    assert not report["promised"]
    assert report["bound"] > 0.01
    assert report["fpr"] == 0  # the best that is known
    with pytest.warns(UserWarning, match=r"min_tpr=0.99 cannot be promised"):
        verifier.set_params(threshold="min_tpr", min_tpr=0.99).calibrate(Z, y)
    assert verifier.calibration_["tpr"] == 1
    # What the warning says could be promised, can be.
    verifier.set_params(threshold="max_fpr", max_fpr=report["bound"] + 1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        verifier.calibrate(Z, y)


def test_max_fpr_is_never_met_from_above():
    Z, y = blobs(2000, np.random.default_rng(0))
    verifier = identity(threshold="max_fpr", max_fpr=0.02).calibrate(Z, y)
    assert verifier.calibration_["bound"] <= 0.02
    assert verifier.calibration_["fpr"] < 0.02


# --- what is held out ----------------------------------------------------------------


class Recorder(PCA):
    """Remembers which rows trained; rows carry their number in the first column."""

    def fit(self, X, y=None, groups=None):
        self.rows_, self.groups_ = X[:, 0].astype(int), groups
        return super().fit(X)


def numbered(n):
    return np.c_[np.arange(n), np.random.default_rng(0).normal(size=(n, 4))]


def test_embedder_never_sees_what_calibrates():
    y = np.arange(200) % 4
    verifier = SiameseVerifier(Recorder(2), random_state=0).fit(numbered(200), y)
    assert len(verifier.embedder_.rows_) == 160
    assert verifier.calibration_["n_images"] == 40


def test_whole_groups_are_held_out():
    y, groups = np.arange(200) % 2, np.arange(200) // 10
    X = numbered(200)
    verifier = SiameseVerifier(Recorder(2), random_state=0).fit(X, y, groups=groups)
    trained = np.unique(groups[verifier.embedder_.rows_])
    assert len(trained) == 16
    assert verifier.calibration_["n_groups"] == 4
    np.testing.assert_array_equal(
        verifier.embedder_.groups_, groups[verifier.embedder_.rows_]
    )


def test_identities_are_held_out_as_classes():
    y = np.arange(200) // 5
    X = numbered(200)
    verifier = SiameseVerifier(Recorder(2), random_state=0).fit(X, y, groups=y)
    assert len(np.unique(y[verifier.embedder_.rows_])) == 32
    report = verifier.calibration_
    assert report["n_groups"] == 8
    assert report["n_positives"] == 8 * 10  # within identities
    assert report["n_negatives"] == 40 * 39 // 2 - 80


def test_fit_is_reproducible_and_leaves_global_generators_alone():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    torch_state = torch.get_rng_state()
    few = slice(0, 300)
    one, two = (
        SiameseVerifier(embedder(max_epochs=1), random_state=3).fit(X[few], Y[few])
        for _ in range(2)
    )
    assert one.threshold_ == two.threshold_
    np.testing.assert_array_equal(one.pair_distance(TEST), two.pair_distance(TEST))
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


# --- embedders -----------------------------------------------------------------------


def test_calibrate_keeps_the_embedder(fitted):
    verifier = copy.deepcopy(fitted)
    before = verifier.pair_distance(TEST)
    verifier.set_params(threshold="accuracy").calibrate(X_TEST[:300], Y_TEST[:300])
    np.testing.assert_array_equal(verifier.pair_distance(TEST), before)
    assert verifier.calibration_["n_images"] == 300


def test_calibrate_takes_a_trained_embedder():
    trained = embedder(max_epochs=4).fit(X, Y)
    verifier = SiameseVerifier(trained, random_state=0)
    verifier.calibrate(X_TEST[:300], Y_TEST[:300])
    assert verifier.embedder_ is trained
    frozen = SiameseVerifier(FrozenEstimator(trained), random_state=0).fit(X, Y)
    np.testing.assert_allclose(
        frozen.pair_distance(TEST), verifier.pair_distance(TEST), rtol=1e-6
    )


def test_fit_trains_a_clone():
    given = embedder(max_epochs=1)
    verifier = SiameseVerifier(given, random_state=0).fit(X[:200], Y[:200])
    assert not hasattr(given, "net_")
    assert verifier.embedder_ is not given


def test_learned_head_decides_where_there_is_one():
    logistic = embedder(loss="logistic", max_epochs=10)
    verifier = SiameseVerifier(logistic, random_state=0).fit(X, Y)
    np.testing.assert_allclose(
        verifier.pair_distance(TEST), 1 - verifier.embedder_.pair_proba(TEST), atol=1e-6
    )
    assert verifier.score(TEST, SAME) > 0.85


def test_any_transformer_embeds():
    pipeline = make_pipeline(
        StandardScaler(),
        NeighborhoodComponentsAnalysis(10, random_state=0, max_iter=20),
    )
    rows, rows_test = (images.reshape(len(images), -1) for images in (X, X_TEST))
    verifier = SiameseVerifier(pipeline, random_state=0).fit(rows[:600], Y[:600])
    members = rows_test[PAIRS[:, 0]], rows_test[PAIRS[:, 1]]
    assert verifier.score(members, SAME) > 0.7
    assert verifier.n_features_in_ == 64
    classifier = SiameseClassifier(max_epochs=2, random_state=0)
    SiameseVerifier(classifier, random_state=0).fit(X[:300], Y[:300]).predict(TEST)


def test_pandas_output_of_the_embedder_changes_nothing(fitted):
    verifier = copy.deepcopy(fitted)
    verifier.embedder_.set_output(transform="pandas")
    np.testing.assert_allclose(
        verifier.pair_distance(TEST), fitted.pair_distance(TEST), rtol=1e-6
    )


# --- scikit-learn --------------------------------------------------------------------


def test_clone_pickle_and_nested_parameters(fitted):
    verifier = SiameseVerifier(embedder(), threshold="accuracy")
    verifier.set_params(embedder__margin=0.7, max_fpr=0.2)
    copied = clone(verifier)
    assert copied.embedder.margin == 0.7
    assert copied.max_fpr == 0.2
    restored = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(
        restored.decision_function(TEST), fitted.decision_function(TEST)
    )
    assert "SiameseVerifier" in repr(fitted)
    assert fitted._repr_html_()


def test_grid_search_over_the_embedder_by_pair_auc():
    search = GridSearchCV(
        SiameseVerifier(embedder(max_epochs=1), random_state=0),
        {"embedder__margin": [0.5, 1.25]},
        scoring=SCORERS["pair_auc"],
        cv=2,
    ).fit(X[:400], Y[:400])
    assert search.best_score_ > 0.6
    assert search.predict(TEST).shape == (1000,)


def test_transform_gives_the_embeddings(fitted):
    np.testing.assert_array_equal(
        fitted.transform(X_TEST[:5]), fitted.embedder_.transform(X_TEST[:5])
    )


# --- errors --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {"embedder": 3},
        {"threshold": "best"},
        {"threshold": None},
        {"max_fpr": 0.0},
        {"max_fpr": 1.0},
        {"max_fpr": float("nan")},
        {"min_tpr": 1.5},
        {"confidence": 1.0},
        {"n_pairs": 0},
        {"validation_fraction": 0.0},
        {"random_state": "a"},
    ],
)
def test_bad_parameters_are_named(params):
    verifier = SiameseVerifier(embedder()).set_params(**params)
    for call in (verifier.fit, verifier.calibrate):
        with pytest.raises(InvalidParameterError, match=f"'{next(iter(params))}'"):
            call(X, Y)


@pytest.mark.parametrize(
    ("y", "groups", "message"),
    [
        (None, None, "requires y"),
        (Y[:5], None, "inconsistent numbers"),
        (Y, Y[:5], r"groups has shape \(5,\)"),
        (Y, [None] * len(Y), "groups has missing"),
        (np.zeros(len(Y)), None, "validation_fraction=0.2 sets no image apart"),
        (np.arange(len(Y)), None, "validation_fraction=0.2 sets no image apart"),
        (np.arange(len(Y)) // 2, None, "validation_fraction=0.2 sets no image"),
        (Y, np.zeros(len(Y)), "groups"),
        (Y, Y < 5, "groups"),
    ],
)
# scikit-learn suspects a regression, as it should.
@pytest.mark.filterwarnings("ignore:The number of unique classes")
def test_fit_on_bad_data(y, groups, message):
    with pytest.raises(ValueError, match=message):
        SiameseVerifier(embedder(), random_state=0).fit(X, y, groups=groups)


@pytest.mark.parametrize(
    ("y", "groups", "message"),
    [
        (np.zeros(40), None, "no pair of two classes"),
        (np.arange(40), None, "no pair of one class"),
        (Y[:5], None, "inconsistent numbers"),
        (Y[:40], np.zeros(40), "two groups"),
        (Y[:40], np.zeros(3), r"groups has shape \(3,\)"),
    ],
)
@pytest.mark.filterwarnings("ignore:The number of unique classes")
def test_calibrate_on_bad_data(y, groups, message):
    verifier = identity()
    with pytest.raises(ValueError, match=message):
        verifier.calibrate(np.zeros((40, 3)), y, groups=groups)
    assert not hasattr(verifier, "threshold_")


def test_unfitted_says_so():
    for call in (
        lambda v: v.predict(TEST),
        lambda v: v.predict_proba(TEST),
        lambda v: v.transform(X),
        lambda v: v.calibrate(X, Y),
    ):
        with pytest.raises(NotFittedError):
            call(SiameseVerifier(embedder()))


def test_embeddings_that_are_no_numbers_are_refused():
    Z, y = blobs(40, np.random.default_rng(0))
    verifier = SiameseVerifier(FunctionTransformer(np.log).fit(Z), random_state=0)
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(ValueError, match="embeddings contains NaN"),
    ):
        verifier.calibrate(Z, y)


# --- found by others -----------------------------------------------------------------


def test_patients_with_classes_of_their_own_by_chance_do_not_pair_with_themselves():
    """Two patients a class: one of each is held out, and nobody else to pair with."""
    y, patients = np.repeat(np.arange(20), 8), np.arange(160) // 4
    with pytest.raises(ValueError, match="no pair of one class and two groups"):
        SiameseVerifier(FunctionTransformer(), random_state=0).fit(
            numbered(160), y, groups=patients
        )


def test_calibrate_goes_on_with_what_fit_knew_of_groups():
    y, patients = np.arange(200) % 2, np.arange(200) // 10
    verifier = SiameseVerifier(PCA(2), random_state=0)
    verifier.fit(numbered(200), y, groups=patients)
    assert verifier.calibration_["within_groups"] is False
    few = np.r_[np.flatnonzero(patients == 0)[::2], np.flatnonzero(patients == 1)[1::2]]
    with pytest.raises(ValueError, match="no pair of one class and two groups"):
        verifier.calibrate(numbered(200)[few], y[few], groups=patients[few])


def test_promise_with_groups_is_about_random_images_of_random_patients():
    """Patients of one class, but for an odd image of fifty in every other one."""
    rng = np.random.default_rng(0)
    failures = 0
    for repetition in range(60):
        y = np.repeat(rng.integers(0, 2, 400), 50)
        y[rng.permutation(400)[:200] * 50] ^= 1
        patients = np.arange(20_000) // 50
        # Odd images are easy to tell, others are not.
        odd = y != np.repeat(np.median(y.reshape(400, 50), axis=1), 50)
        Z = rng.normal(size=20_000) + 2 * y + np.where(odd, 20.0, 0.0)
        verifier = identity(threshold="max_fpr", max_fpr=0.1, n_pairs=200)
        verifier.set_params(random_state=repetition)
        verifier.calibrate(Z[:, None], y, patients)
        first, second = rng.integers(0, 50, (2, 20_000)) + 50 * rng.integers(
            0, 400, (2, 20_000)
        )
        asked = (y[first] != y[second]) & (patients[first] != patients[second])
        distances = np.abs(Z[first] - Z[second])[asked]
        failures += np.mean(distances <= verifier.threshold_) > 0.1
    assert failures <= 7  # 3 expected


def test_classes_without_a_held_out_image_are_named():
    y = np.r_[np.repeat(np.arange(30), 8), np.repeat([30, 31], 100)]
    with pytest.warns(UserWarning, match=r"30 of 32 classes have no image held out"):
        verifier = SiameseVerifier(PCA(2), random_state=0).fit(numbered(440), y)
    assert verifier.calibration_["n_classes"] == 2


def test_frozen_embedder_may_have_seen_the_images():
    Z, y = blobs(200, np.random.default_rng(0))
    frozen = FrozenEstimator(PCA(2).fit(Z))
    assert SiameseVerifier(frozen).fit(Z, y).calibration_["held_out"] is None


def test_calibrate_takes_an_embedder_that_was_set_anew():
    Z, y = blobs(200, np.random.default_rng(0))
    one, two = PCA(2).fit(Z), PCA(1).fit(Z)
    verifier = SiameseVerifier(one).calibrate(Z, y)
    assert verifier.set_params(embedder=two).calibrate(Z, y).embedder_ is two
    verifier.set_params(embedder=PCA(3)).fit(Z, y)
    assert verifier.calibrate(Z, y).embedder_.n_components_ == 3


def test_names_of_features_are_those_of_the_last_fit():
    frame = pd.DataFrame(numbered(100), columns=list("abcde"))
    verifier = SiameseVerifier(PCA(2), random_state=0).fit(frame, np.arange(100) % 2)
    assert list(verifier.feature_names_in_) == list("abcde")
    verifier.fit(numbered(100)[:, :3], np.arange(100) % 2)
    assert not hasattr(verifier, "feature_names_in_")
    assert verifier.n_features_in_ == 3


def test_transform_follows_set_output():
    pipeline = make_pipeline(StandardScaler(), SiameseVerifier(PCA(2), random_state=0))
    pipeline.set_output(transform="pandas").fit(numbered(100), np.arange(100) % 2)
    table = pipeline.transform(numbered(100)[:3])
    assert list(table.columns) == ["pca0", "pca1"]
