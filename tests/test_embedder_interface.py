"""What a verifier asks of an embedder, whoever made it."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sksiamese import SiameseVerifier
from sksiamese._embedder_interface import embed, embedding_distance, pass_groups
from sksiamese.metrics import SCORERS
from tests.test_verifier import (
    TEST,
    Recorder,
    X,
    Y,
    blobs,
    embedder,
    numbered,
)


def test_embed_refuses_what_is_no_number():
    logarithm = FunctionTransformer(np.log, validate=False).fit([[1.0]])
    np.testing.assert_array_equal(embed(logarithm, np.ones((2, 1))), np.zeros((2, 1)))
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(ValueError, match="embeddings contains NaN"),
    ):
        embed(logarithm, -np.ones((2, 1)))


@pytest.mark.parametrize("wrap", [FrozenEstimator, make_pipeline])
def test_embedding_distance_is_euclidean_in_double_precision(wrap):
    first, second = np.random.default_rng(0).random((2, 9, 5)).astype(np.float32)
    found = embedding_distance(wrap(PCA()), first, second)
    assert found.dtype == np.float64
    expected = np.sqrt(((first.astype(float) - second) ** 2).sum(axis=1))
    np.testing.assert_array_equal(found, expected)


def test_pass_groups_without_groups_or_interest_passes_nothing():
    assert pass_groups(embedder(), None) == {}
    assert pass_groups(PCA(), np.arange(4)) == {}
    assert pass_groups(make_pipeline(PCA()), np.arange(4)) == {}
    assert list(pass_groups(embedder(), np.arange(4))) == ["groups"]


@pytest.mark.parametrize("routed", [False, True])
def test_pipeline_hands_groups_to_the_embedder(routed):
    y, groups = np.arange(200) % 2, np.arange(200) // 10
    with config_context(enable_metadata_routing=routed):
        last = Recorder(2)
        if routed:
            last.set_fit_request(groups=True)
        verifier = SiameseVerifier(
            make_pipeline(FunctionTransformer(), last), random_state=0
        ).fit(numbered(200), y, groups=groups)
    last = verifier.embedder_[-1]
    np.testing.assert_array_equal(last.groups_, groups[last.rows_])


def test_search_that_hides_groups_from_the_embedder_says_so():
    search = GridSearchCV(embedder(max_epochs=1), {"margin": [1.0]}, cv=2,
                          scoring=SCORERS["pair_auc"])  # fmt: skip
    groups = np.arange(200) // 4
    with pytest.warns(UserWarning, match="GridSearchCV does not hand groups on"):
        SiameseVerifier(search, random_state=0).fit(X[:200], Y[:200], groups=groups)


def test_learned_head_at_the_end_of_a_pipeline_decides():
    logistic = embedder(loss="logistic", max_epochs=1)
    pipeline = make_pipeline(FunctionTransformer(), logistic)
    verifier = SiameseVerifier(pipeline, random_state=0).fit(X[:300], Y[:300])
    np.testing.assert_allclose(
        verifier.pair_distance(TEST),
        1 - verifier.embedder_[-1].pair_proba(TEST),
        atol=1e-6,
    )


def test_embedder_with_a_pair_proba_of_its_own_is_no_matter():
    class Own(PCA):
        def pair_proba(self, pairs):
            raise AssertionError

    Z, y = blobs(400, np.random.default_rng(0))
    SiameseVerifier(Own(2)).fit(Z, y).pair_distance((Z[:3], Z[3:6]))
