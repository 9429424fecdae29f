"""The fingerprint of an embedder changes with its embeddings, and not otherwise."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, IncrementalPCA, KernelPCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomTreesEmbedding
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.random_projection import GaussianRandomProjection

from sksiamese import SiameseClassifier, SiameseEmbedder, SiameseVerifier
from sksiamese.search._fingerprint import Fingerprint


@pytest.fixture(scope="module")
def data(digits):
    X, y, _, _ = digits
    return X[:300], y[:300]


@pytest.fixture
def embedder(data):
    return SiameseEmbedder(max_epochs=1, random_state=0).fit(*data)


def test_fingerprint_is_that_of_copies_and_of_a_second_training(data, embedder):
    fingerprint = Fingerprint(embedder)()
    assert len(fingerprint) == 16
    again = SiameseEmbedder(max_epochs=1, random_state=0).fit(*data)
    for same in (copy.deepcopy(embedder), pickle.loads(pickle.dumps(embedder)), again):
        assert Fingerprint(same)() == fingerprint
    embedder.transform(data[0])
    assert Fingerprint(embedder)() == fingerprint


@pytest.mark.parametrize("wrap", [FrozenEstimator, make_pipeline])
def test_fingerprint_of_a_wrapped_network_holds_in_copies(embedder, wrap):
    wrapped = wrap(embedder)
    copied = pickle.loads(pickle.dumps(wrapped))
    assert Fingerprint(wrapped)() == Fingerprint(copied)() == Fingerprint(embedder)()


def test_fingerprint_sees_every_change_of_the_weights(data, embedder):
    fingerprint = Fingerprint(embedder)
    seen = {fingerprint()}
    embedder.partial_fit(*data)
    seen.add(fingerprint())
    with torch.no_grad():
        next(embedder.net_.module_.parameters()).add_(1e-3)
    seen.add(fingerprint())
    embedder.set_params(random_state=1).fit(*data)
    seen.add(fingerprint())
    parameter = next(embedder.net_.module_.parameters())
    parameter.data = parameter.data + 1e-3
    seen.add(fingerprint())
    embedder.net_.module_.preprocess.mean += 1
    seen.add(fingerprint())
    parameter.data.mul_(1.001)  # raises no version
    seen.add(fingerprint())
    parameter.data.copy_(parameter.data.flip(0).neg())
    seen.add(fingerprint())
    assert len(seen) == 8


def test_fingerprint_is_computed_anew_for_a_new_network_of_the_same_kind(data):
    # The allocator likes to put the new weights where the old ones were.
    embedder = SiameseEmbedder(max_epochs=1, random_state=0)
    fingerprint, seen = Fingerprint(embedder), set()
    for seed in range(5):
        embedder.set_params(random_state=seed).fit(*data)
        seen.add(fingerprint())
    assert len(seen) == 5
    assert len(fingerprint._networks) == 1  # no network of earlier fits is kept


def test_fingerprint_ignores_what_does_not_embed(data, embedder):
    fingerprint = Fingerprint(embedder)()
    embedder.set_params(batch_size=7, verbose=1)
    assert Fingerprint(embedder)() == fingerprint
    classifier = SiameseClassifier(max_epochs=2, random_state=0)
    classifier.fit(data[0][data[1] < 9], data[1][data[1] < 9])
    before = Fingerprint(classifier)()
    classifier.enroll(data[0][data[1] == 9], data[1][data[1] == 9])
    assert Fingerprint(classifier)() == before


def test_fingerprint_sees_settings_of_the_network(data):
    seen = set()
    for kwargs in ({}, {"normalize": False}, {"image_size": 12}):
        embedder = SiameseEmbedder(max_epochs=1, random_state=0, lr=1e-9, **kwargs)
        seen.add(Fingerprint(embedder.fit(*data))())
    assert len(seen) == 3


class WithModule(TransformerMixin, BaseEstimator):
    """A transformer of somebody else that holds a network."""

    def fit(self, X, y=None):
        torch.manual_seed(0)
        self.module_ = torch.nn.Linear(X.shape[1], 3)
        return self

    def transform(self, X):
        with torch.no_grad():
            return self.module_(torch.as_tensor(X, dtype=torch.float32)).numpy()


def flat(X):
    return X.reshape(len(X), -1)


TRANSFORMERS = [
    PCA(5, random_state=0),
    TruncatedSVD(5, random_state=0),
    IncrementalPCA(5),
    KernelPCA(5, kernel="rbf"),
    StandardScaler(),
    LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto"),
    NeighborhoodComponentsAnalysis(3, max_iter=3, random_state=0),
    RandomTreesEmbedding(5, random_state=0),
    GaussianRandomProjection(5, random_state=0),
    KMeans(3, n_init=1, random_state=0),
    FeatureUnion([("pca", PCA(2)), ("svd", TruncatedSVD(2, random_state=0))]),
    ColumnTransformer([("pca", PCA(2), [0, 20, 21])]),
    WithModule(),
    FunctionTransformer(flat),
]
UNTRAINED = FunctionTransformer, WithModule, GaussianRandomProjection


@pytest.mark.parametrize("transformer", TRANSFORMERS, ids=lambda t: type(t).__name__)
def test_fingerprint_of_any_transformer_holds_in_pickles(data, transformer):
    X, y = flat(data[0]).astype(np.float64), data[1]
    fitted = clone(transformer).fit(X, y)
    expected = Fingerprint(fitted)()
    once = pickle.loads(pickle.dumps(fitted))
    twice = pickle.loads(pickle.dumps(once))
    assert Fingerprint(once)() == Fingerprint(twice)() == expected
    if not isinstance(transformer, UNTRAINED):
        assert Fingerprint(clone(transformer).fit(X[:200], y[:200]))() != expected


def test_fingerprint_of_any_transformer_holds_in_another_process(data, tmp_path):
    X, y = flat(data[0]).astype(np.float64), data[1]
    fitted = [t.fit(X, y) for t in map(clone, TRANSFORMERS)]
    embedder = SiameseEmbedder(max_epochs=1, random_state=0).fit(*data)
    fitted += [embedder, FeatureUnion([("deep", embedder)])]
    (tmp_path / "fitted").write_bytes(pickle.dumps(fitted))
    program = (
        "import pickle, sys; from sksiamese.search._fingerprint import Fingerprint;"
        "[print(Fingerprint(e)()) for e in pickle.load(open(sys.argv[1], 'rb'))]"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "fitted")],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert found.stdout.split() == [Fingerprint(e)() for e in fitted]


def test_fingerprint_sees_a_network_within_a_union(data):
    embedder = SiameseEmbedder(max_epochs=1, random_state=0).fit(*data)
    union = FeatureUnion([("deep", embedder), ("flat", FunctionTransformer(flat))])
    fingerprint = Fingerprint(union)
    before = fingerprint()
    assert Fingerprint(pickle.loads(pickle.dumps(union)))() == before
    embedder.partial_fit(*data)
    assert fingerprint() != before


def test_fingerprint_of_ready_embeddings_is_always_the_same():
    assert Fingerprint(None)() == "embeddings"


def test_fingerprint_goes_through_what_holds_an_embedder(data):
    X, y = data
    search = GridSearchCV(
        SiameseClassifier(max_epochs=1, random_state=0), {"margin": [1.0]}, cv=2
    ).fit(X, y)
    assert Fingerprint(search)() == Fingerprint(search.best_estimator_)()
    verifier = SiameseVerifier(
        SiameseEmbedder(max_epochs=1, random_state=0), random_state=0
    ).fit(X, y)
    assert Fingerprint(verifier)() == Fingerprint(verifier.embedder_)()


def test_fingerprint_asks_for_what_can_be_pickled():
    step = FunctionTransformer(lambda X: X).fit([[1.0]])
    with pytest.raises(TypeError, match="FunctionTransformer can not be pickled"):
        Fingerprint(make_pipeline(step))()
