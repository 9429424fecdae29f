"""What a verifier says about pairs: its answers agree, and bad pairs are refused."""

import numpy as np
import pytest

from sksiamese import SiameseVerifier
from tests.test_verifier import SAME, TEST, X, Y, embedder


@pytest.fixture(scope="module")
def fitted():
    """Fit a verifier, to be read and never changed."""
    return SiameseVerifier(embedder(), random_state=0).fit(X, Y)


def test_outputs_agree(fitted):
    distances = fitted.pair_distance(TEST)
    np.testing.assert_array_equal(
        fitted.decision_function(TEST), fitted.threshold_ - distances
    )
    np.testing.assert_array_equal(fitted.predict(TEST), distances <= fitted.threshold_)
    assert fitted.predict(TEST).dtype == bool
    np.testing.assert_allclose(
        distances, fitted.embedder_.pair_distance(TEST), rtol=1e-5, atol=1e-6
    )
    proba = fitted.predict_proba(TEST)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert (np.diff(proba[np.argsort(distances), 1]) <= 0).all()
    assert list(fitted.classes_) == [False, True]
    assert fitted.score(TEST, SAME) == np.mean(fitted.predict(TEST) == SAME)
    assert fitted.score(TEST, SAME.astype(int)) == fitted.score(TEST, SAME)


def test_one_array_of_pairs_is_two_arrays_of_members(fitted):
    stacked = np.stack(TEST, axis=1)
    assert stacked.shape == (1000, 2, 8, 8)
    np.testing.assert_array_equal(
        fitted.pair_distance(stacked), fitted.pair_distance(TEST)
    )


def test_probabilities_are_calibrated_for_as_many_same_as_different(fitted):
    proba = fitted.predict_proba(TEST)[:, 1]
    assert SAME.mean() == 0.5
    assert abs(proba.mean() - 0.5) < 0.03
    for low in (0, 0.5):  # within the lower and the upper half, too
        chosen = (proba >= low) & (proba < low + 0.5)
        assert abs(proba[chosen].mean() - SAME[chosen].mean()) < 0.05


@pytest.mark.parametrize(
    ("pairs", "same", "message"),
    [
        ((X[:4], X[:3]), [1, 0, 1, 0], "4 first but 3 second"),
        (X[:4], [1, 0, 1, 0], "pairs has shape"),
        ((X[:4], X[:4]), [1, 0, 1], "same has"),
        ((X[:4], X[:4]), [1, 0, 1, 2], "same holds values other than"),
        ((X[:4, :4], X[:4, :4]), [1, 0, 1, 0], "fitted on samples of shape"),
    ],
)
def test_bad_pairs_are_refused(fitted, pairs, same, message):
    with pytest.raises(ValueError, match=message):
        fitted.score(pairs, same)
