"""ImageSampler as an estimator: kinds of input, pipelines, checks, bad input."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from imblearn.base import is_sampler
from imblearn.combine import SMOTEENN
from imblearn.over_sampling import SMOTE, SMOTENC, RandomOverSampler
from imblearn.pipeline import Pipeline, make_pipeline
from imblearn.under_sampling import (
    ClusterCentroids,
    NearMiss,
    RandomUnderSampler,
    TomekLinks,
)
from imblearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_param_validation,
    estimator_checks_generator,
)
from scipy import sparse
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis as LDA
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import MaxAbsScaler, StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from sksiamese import SiameseClassifier
from sksiamese.imbalance import ImageSampler
from tests.test_imbalance import N_RARE, N, floats, images, make

# Forms of X and y


@pytest.mark.parametrize("shape", [(6, 6), (6, 6, 1), (6, 6, 3), (3, 6, 6), (7,)])
@pytest.mark.parametrize("name", ["RandomOverSampler", "NearMiss", "SMOTE"])
def test_images_keep_their_shape(shape, name):
    X, y = images(shape=shape)
    X_new, y_new = ImageSampler(make(name)).fit_resample(X, y)
    assert X_new.shape == (len(y_new), *shape)
    rows, _ = ImageSampler(make(name)).fit_resample(X.reshape(N, -1), y)
    np.testing.assert_array_equal(X_new.reshape(len(X_new), -1), rows)


@pytest.mark.parametrize("name", ["RandomUnderSampler", "TomekLinks", "SMOTE"])
def test_list_of_images_gives_a_list(name):
    X, y = images()
    X_new, y_new = ImageSampler(make(name)).fit_resample(list(X), y.tolist())
    expected, labels = ImageSampler(make(name)).fit_resample(X, y)
    assert isinstance(X_new, list)
    assert isinstance(y_new, list)
    assert X_new[0].dtype == np.uint8
    np.testing.assert_array_equal(X_new, expected)
    np.testing.assert_array_equal(y_new, labels)


PATHS = [f"scans/patient {k}/x.png" for k in range(N)]


@pytest.mark.parametrize(
    "X",
    [
        PATHS,
        np.array(PATHS),
        np.array(PATHS, dtype=object),
        pd.Series(PATHS, name="file", index=range(100, 100 + N)),
        pd.Series(PATHS, name="file", dtype="category"),
        [Path(path) for path in PATHS],
    ],
    ids=["list", "str_", "object", "Series", "categories", "Path"],
)
@pytest.mark.parametrize("over", [False, True])
def test_paths_are_selected_as_the_images_would_be(X, over):
    images_, y = images()
    sampler = (RandomOverSampler if over else RandomUnderSampler)(random_state=0)
    X_new, y_new = (wrapped := ImageSampler(sampler)).fit_resample(X, y)
    reference = ImageSampler(sampler)
    reference.fit_resample(images_, y)
    np.testing.assert_array_equal(wrapped.sample_indices_, reference.sample_indices_)
    assert type(X_new) is type(X)
    assert [str(path) for path in X_new] == [PATHS[k] for k in wrapped.sample_indices_]
    assert type(X_new[0]) is type(
        np.asarray(X)[0] if isinstance(X, pd.Series) else X[0]
    )
    np.testing.assert_array_equal(y_new, y[wrapped.sample_indices_])
    assert getattr(X_new, "name", None) == getattr(X, "name", None)
    assert getattr(X_new, "dtype", None) == getattr(X, "dtype", None)
    assert wrapped.n_features_in_ == 1


@pytest.mark.parametrize("name", ["RandomUnderSampler", "NearMiss", "SMOTE"])
def test_frame_stays_a_frame(name):
    X, y = images(shape=(7,))
    frame = pd.DataFrame(X, columns=list("abcdefg"), index=np.arange(N) + 500)
    labels = pd.Series(y, index=frame.index, name="class")
    sampler = ImageSampler(make(name))
    X_new, y_new = sampler.fit_resample(frame, labels)
    rows, y_rows = ImageSampler(make(name)).fit_resample(X, y)
    expected = pd.DataFrame(rows, columns=frame.columns)
    pd.testing.assert_frame_equal(X_new, expected)
    pd.testing.assert_series_equal(y_new, pd.Series(y_rows, name="class"))
    assert list(sampler.feature_names_in_) == list("abcdefg")


@pytest.mark.parametrize(
    "dtypes",
    [{"b": float}, {"b": np.uint16}, {"a": "UInt8", "b": "UInt8", "c": "UInt8"}],
)
def test_frame_of_other_dtypes_is_selected_but_not_generated(dtypes):
    X, y = images(shape=(3,))
    frame = pd.DataFrame(X, columns=list("abc")).astype(dtypes)
    few, _ = (sampler := ImageSampler(NearMiss())).fit_resample(frame, y)
    expected = frame.iloc[sampler.sample_indices_].reset_index(drop=True)
    pd.testing.assert_frame_equal(few, expected)
    with pytest.raises(ValueError, match=r"(UInt8|uint8).*X\.astype\(float\)"):
        ImageSampler(SMOTE()).fit_resample(frame, y)


@pytest.mark.parametrize("dtype", ["Float32", pd.SparseDtype(np.uint8, 0)])
def test_generated_frame_keeps_dtypes_of_pandas(dtype):
    X, y = images(shape=(3,))
    frame = pd.DataFrame(X, columns=list("abc")).astype(dtype)
    X_new, _ = ImageSampler(SMOTE(random_state=0)).fit_resample(frame, y)
    assert set(X_new.dtypes) == set(frame.dtypes)
    pd.testing.assert_frame_equal(X_new[:N], frame)


@pytest.mark.parametrize("name", ["RandomUnderSampler", "TomekLinks", "SMOTE"])
@pytest.mark.parametrize(
    "kind", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.coo_array]
)
def test_sparse_rows_stay_sparse(kind, name):
    X, y = images(shape=(20,))
    X[X < 120] = 0
    X_new, y_new = ImageSampler(make(name)).fit_resample(kind(X), y)
    rows, labels = ImageSampler(make(name)).fit_resample(X, y)
    assert sparse.issparse(X_new)
    assert X_new.format == ("csc" if kind is sparse.csc_matrix else "csr")
    assert X_new.dtype == np.uint8
    np.testing.assert_array_equal(X_new.toarray(), rows)
    np.testing.assert_array_equal(y_new, labels)


@pytest.mark.parametrize("name", ["RandomUnderSampler", "NearMiss", "SMOTE"])
def test_labels_may_be_strings_columns_or_one_hot(name):
    X, y = images()
    X_new, y_new = ImageSampler(make(name)).fit_resample(X, y)
    words = np.array(["ill", "well"])
    by_words = ImageSampler(make(name)).fit_resample(X, words[y])
    by_column = ImageSampler(make(name)).fit_resample(X, y[:, None])
    by_frame = ImageSampler(make(name)).fit_resample(X, pd.DataFrame({"class": y}))
    np.testing.assert_array_equal(by_words[1], words[y_new])
    np.testing.assert_array_equal(by_column[1], y_new)
    np.testing.assert_array_equal(by_frame[1]["class"], y_new)
    y3 = np.where(np.arange(N) % 4 == 0, 2, y)
    one_hot = ImageSampler(make(name)).fit_resample(X, np.eye(3, dtype=int)[y3])
    assert one_hot[1].shape[1] == 3
    for other in (by_words, by_column, by_frame):
        np.testing.assert_array_equal(other[0], X_new)


# Pipelines and searches


def rare_eights(digits):
    X, y = digits[0][:400], (digits[1][:400] != 8).astype(int)
    keep = np.r_[np.flatnonzero(y == 0)[:20], np.flatnonzero(y == 1)[:120]]
    return X[keep], y[keep]


class Watching(SiameseClassifier):
    """Notes what it was fitted on."""

    def fit(self, X, y):
        self.seen_ = X.shape, np.bincount(y).tolist()
        return super().fit(X, y)


@pytest.mark.parametrize(
    ("sampler", "counts"),
    [
        (RandomUnderSampler(random_state=0), [20, 20]),
        (NearMiss(), [20, 20]),
        (SMOTE(random_state=0), [120, 120]),
    ],
)
def test_pipeline_samples_in_fit_alone(digits, sampler, counts):
    X, y = rare_eights(digits)
    last = Watching(max_epochs=2, random_state=0)
    pipeline = make_pipeline(ImageSampler(sampler), last).fit(X, y)
    assert last.seen_ == ((sum(counts), 8, 8), counts)
    assert pipeline.predict(X).shape == (140,)
    assert pipeline.predict_proba(X[:7]).shape == (7, 2)
    assert 0 <= pipeline.score(X, y) <= 1


def test_grid_search_reaches_nested_parameters(digits):
    X, y = rare_eights(digits)
    pipeline = make_pipeline(
        ImageSampler(SMOTE()), SiameseClassifier(max_epochs=2, random_state=0)
    )
    search = GridSearchCV(
        pipeline,
        {
            "imagesampler__sampler__sampling_strategy": [0.5, 1.0],
            "imagesampler__sampler__random_state": [3],
        },
        cv=StratifiedKFold(2),
        scoring="roc_auc",
        error_score="raise",
    ).fit(X, y)
    fitted = search.best_estimator_[0].sampler_
    assert fitted.random_state == 3
    assert fitted.sampling_strategy in (0.5, 1.0)
    assert np.all(np.isfinite(search.cv_results_["mean_test_score"]))
    assert search.predict(X).shape == y.shape


def test_grid_search_may_try_several_samplers(digits):
    X, y = rare_eights(digits)
    samplers = [RandomUnderSampler(random_state=0), SMOTE(random_state=0), None]
    search = GridSearchCV(
        Pipeline(
            [
                ("balance", ImageSampler()),
                ("siamese", SiameseClassifier(max_epochs=2, random_state=0)),
            ]
        ),
        {"balance__sampler": samplers},
        cv=StratifiedKFold(2),
        error_score="raise",
    ).fit(X, y)
    assert len(search.cv_results_["params"]) == 3


def test_pipeline_of_samplers_is_a_sampler():
    X, y = images()
    inner = Pipeline(
        [
            ("over", SMOTE(sampling_strategy=0.8, random_state=0)),
            ("under", RandomUnderSampler(random_state=0)),
        ]
    )
    X_new, y_new = ImageSampler(inner).fit_resample(X, y)
    assert np.bincount(y_new).tolist() == [48, 48]
    assert X_new.shape == (96, 6, 6, 3)
    assert X_new.dtype == np.uint8


# As an estimator


def test_parameters_are_nested_and_samplers_stay_as_they_were():
    X, y = images()
    smote = SMOTE(k_neighbors=3)
    before = dict(vars(smote))
    sampler = ImageSampler(smote)
    assert sampler.get_params()["sampler__k_neighbors"] == 3
    sampler.set_params(sampler__random_state=7)
    assert smote.random_state == 7
    sampler.fit_resample(X, y)
    assert vars(smote) == {**before, "random_state": 7}
    assert sampler.sampler_ is not smote
    assert clone(sampler).sampler is not smote
    assert clone(sampler).get_params()["sampler__random_state"] == 7


def test_equal_seeds_give_equal_images():
    X, y = images()
    sampler = ImageSampler(SMOTE(random_state=0))
    first, again = sampler.fit_resample(X, y)[0], sampler.fit_resample(X, y)[0]
    np.testing.assert_array_equal(first, again)
    sampler.set_params(sampler__random_state=1)
    assert not np.array_equal(first, sampler.fit_resample(X, y)[0])


def test_no_sampler_is_random_undersampling():
    X, y = images()
    X_new, y_new = (sampler := ImageSampler()).fit_resample(X, y)
    assert isinstance(sampler.sampler_, RandomUnderSampler)
    assert np.bincount(y_new).tolist() == [N_RARE] * 2


def test_refitting_forgets_what_no_longer_holds():
    X, y = images(shape=(4,))
    frame = pd.DataFrame(X, columns=list("abcd"))
    sampler = ImageSampler(NearMiss(), embedder=PCA(2))
    sampler.fit_resample(frame, y)
    assert {"sample_indices_", "embedder_", "feature_names_in_"} <= vars(sampler).keys()
    sampler.set_params(sampler=SMOTE(), embedder=None).fit_resample(X, y)
    assert (
        not {"sample_indices_", "embedder_", "feature_names_in_"} & vars(sampler).keys()
    )


@pytest.mark.parametrize("name", ["RandomUnderSampler", "NearMiss", "SMOTE"])
def test_fit_counts_without_sampling(name):
    X, y = images()
    sampler = ImageSampler(make(name)).fit(X, y)
    expected = make(name).fit(floats(X), y)
    assert sampler.sampling_strategy_ == expected.sampling_strategy_
    assert not hasattr(sampler, "sample_indices_")


def test_fitted_sampler_is_pickled():
    X, y = images()
    sampler = ImageSampler(NearMiss())
    sampler.fit_resample(X, y)
    copy = pickle.loads(pickle.dumps(sampler))
    np.testing.assert_array_equal(copy.sample_indices_, sampler.sample_indices_)


def checked_samplers():
    """One of each kind of sampler, with seeds, for the checks compare two runs."""
    kmeans = KMeans(n_init=1, random_state=0)
    return [
        ImageSampler(RandomUnderSampler(random_state=0)),
        ImageSampler(RandomOverSampler(random_state=0)),
        ImageSampler(RandomOverSampler(shrinkage=1.0, random_state=0)),
        ImageSampler(NearMiss()),
        ImageSampler(TomekLinks(), embedder=MaxAbsScaler()),
        ImageSampler(SMOTE(random_state=0)),
        # As imbalanced-learn checks it: "auto" votes otherwise for sparse rows.
        ImageSampler(ClusterCentroids(voting="soft", estimator=kmeans)),
        ImageSampler(SMOTEENN(random_state=0)),
    ]


@parametrize_with_checks([ImageSampler(), *checked_samplers()])
def test_sampler_passes_scikit_learn_check(estimator, check):
    check(estimator)


# imbalanced-learn's own decorator hands pytest a generator, which it deprecates.
@pytest.mark.parametrize(
    ("estimator", "check"),
    [pair for s in checked_samplers() for pair in estimator_checks_generator(s)],
    ids=lambda part: part.func.__name__ if hasattr(part, "func") else repr(part),
)
def test_sampler_passes_imbalanced_learn_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("sampler", [ImageSampler(), *checked_samplers()], ids=repr)
@pytest.mark.parametrize(
    "check", [check_param_validation, check_dataframe_column_names_consistency]
)
def test_sampler_passes_check_that_imbalanced_learn_runs_apart(check, sampler):
    check("ImageSampler", sampler)


def test_tags_are_those_of_a_sampler():
    assert is_sampler(ImageSampler())
    for sampler, selects in [(NearMiss(), True), (SMOTE(), False)]:
        tags = get_tags(ImageSampler(sampler))
        assert tags.sampler_tags.sample_indices == selects
        assert tags.input_tags.sparse
    dense = ImageSampler(SMOTENC([0])), ImageSampler(NearMiss(), embedder=LDA())
    assert not any(get_tags(sampler).input_tags.sparse for sampler in dense)


def test_number_of_checks_is_not_cut_by_tags():
    for wrapped in checked_samplers():
        if wrapped.embedder is None:
            n_checks = len(list(estimator_checks_generator(wrapped.sampler)))
            # Random samplers take strings and NaN, which are no pixels.
            tags = get_tags(wrapped.sampler).input_tags
            n_checks -= tags.string + tags.allow_nan
            assert len(list(estimator_checks_generator(wrapped))) == n_checks


# Bad input


def refuses(message, X, y, sampler=None, error=ValueError, **params):
    wrapped = ImageSampler(sampler, **params)
    for method in (wrapped.fit, wrapped.fit_resample):
        with pytest.raises(error, match=message):
            method(X, y)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda X, y: (X[:, None], y), r"X has 5 axes.*\(n, height, width\)"),
        (lambda X, y: (X[:9], y[:8]), r"X has 9 images, but y has shape \(8,\)"),
        (lambda X, y: (X, None), "requires y to be passed, but the target y is None"),
        (lambda X, y: (X, 1), r"y has shape \(\): pass one label per image"),
        (lambda X, y: (X[:0], y[:0]), r"0 sample"),
        (lambda X, y: ([], []), r"X has shape \(0,\): pass one image at least"),
        (lambda X, y: (X[:, :0], y), r"X has shape \(84, 0, 6, 3\)"),
        (lambda X, y: (np.where(X == X.max(), np.nan, X), y), "Input X contains NaN"),
        (lambda X, y: (np.where(X == X.max(), np.inf, X), y), "X contains infinity"),
        (lambda X, y: (X[:, 0, 0, 0], y), r"X has one axis.*sample 0 is .*pass paths"),
        (
            lambda X, y: ([*PATHS[:-1], None], y),
            "sample 83 is of type NoneType: pass paths",
        ),
        (lambda X, y: ([*PATHS[:-1], 7], y), "sample 83 is of type int: pass paths"),
        (lambda X, y: ([*X[:-1], X[-1, 1:]], y), "all its images must have one size"),
        (lambda X, y: (np.array(PATHS)[:, None], y), "Convert your data to numeric"),
        (lambda X, y: (X, np.zeros(N)), "more than 1 class"),
        (lambda X, y: (X * 1j, y), "Complex data not supported"),
    ],
)
def test_bad_input_is_named(spoil, message):
    X, y = images()
    for sampler in (RandomUnderSampler(), SMOTE()):
        refuses(message, *spoil(X, y), sampler)


def test_object_that_is_no_sampler_is_named():
    X, y = images()
    for thing in (StandardScaler(), "SMOTE", 3):
        refuses(
            "'sampler' parameter.*implementing 'fit' and 'fit_resample'", X, y, thing
        )
    refuses(
        "instance of scikit-learn estimator instead of a class", X, y, SMOTE, TypeError
    )
    refuses("'embedder' parameter.*'transform'", X, y, NearMiss(), embedder=SMOTE())


def test_nested_parameters_are_checked():
    X, y = images()
    refuses("'k_neighbors' parameter of SMOTE", X, y, SMOTE(k_neighbors="many"))


@pytest.mark.parametrize("sampler", [NearMiss(), TomekLinks()])
def test_paths_without_embedder_need_a_sampler_that_counts(sampler):
    refuses(
        "needs pixels, but X holds paths: set embedder", PATHS, images()[1], sampler
    )


@pytest.mark.parametrize(
    "sampler", [SMOTE(), ClusterCentroids(), RandomOverSampler(shrinkage=0.1)]
)
def test_sampler_that_generates_takes_neither_paths_nor_embedders(sampler):
    X, y = images(shape=(5,))
    refuses("needs pixels, but X holds paths: load the images", PATHS, y, sampler)
    refuses("back into pixels: set embedder=None", X, y, sampler, embedder=PCA(2))
    refuses("back into pixels: set embedder=None", PATHS, y, sampler, embedder=PCA(2))


def test_embedder_without_use_is_refused():
    X, y = images(shape=(5,))
    for sampler in (None, RandomOverSampler()):
        refuses(
            "no use for embedder: set embedder=None", X, y, sampler, embedder=PCA(2)
        )


class Bad(BaseEstimator):
    """Returns an array of its own choice as the embedding."""

    def __init__(self, Z):
        self.Z = Z

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return self.Z


@pytest.mark.parametrize(
    ("Z", "message"),
    [
        (np.zeros((N - 1, 2)), "embedder=Bad made 83 vectors of 84 images"),
        (np.zeros((N, 2, 2)), "dim 3"),
        (np.full((N, 2), np.nan), r"Input embedder\.transform\(X\) contains NaN"),
    ],
)
def test_bad_embeddings_are_named(Z, message):
    X, y = images()
    refuses(message, X, y, NearMiss(), embedder=Bad(Z))


def test_sampler_that_changes_the_number_of_pixels_is_refused():
    X, y = images()
    inner = Pipeline([("pca", PCA(4)), ("smote", SMOTE())])
    with pytest.raises(ValueError, match="made rows of 4 values of images of 108"):
        ImageSampler(inner).fit_resample(X, y)
