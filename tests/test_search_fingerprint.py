"""The fingerprint of an embedder changes with its embeddings, and not otherwise."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

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
    assert len(seen) == 6


def test_fingerprint_is_computed_anew_for_a_new_network_of_the_same_kind(data):
    # The allocator likes to put the new weights where the old ones were.
    embedder = SiameseEmbedder(max_epochs=1, random_state=0)
    fingerprint, seen = Fingerprint(embedder), set()
    for seed in range(5):
        embedder.set_params(random_state=seed).fit(*data)
        seen.add(fingerprint())
    assert len(seen) == 5


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


def test_fingerprint_of_other_transformers_goes_by_what_they_learned(data):
    X = data[0].reshape(300, -1).astype(np.float64)
    pca = PCA(5, random_state=0).fit(X)
    copied = pickle.loads(pickle.dumps(pca))
    assert Fingerprint(pca)() == Fingerprint(copied)()
    assert Fingerprint(pca)() == Fingerprint(PCA(5, random_state=0).fit(X))()
    assert Fingerprint(pca)() != Fingerprint(PCA(5, random_state=0).fit(X[:200]))()
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
