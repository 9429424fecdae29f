"""scikit-learn's own checks, all of them, with nothing expected to fail."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from sksiamese import SiameseClassifier, SiameseEmbedder

SMALL = {"max_epochs": 30, "random_state": 0}
ESTIMATORS = [
    SiameseClassifier(**SMALL),
    SiameseClassifier(classifier="knn", **SMALL),
    SiameseEmbedder(**SMALL),
]


# The checks train on tiny and on random data, where a warning of failed training is
# right and not what they are about.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(ESTIMATORS)
def test_estimator_passes_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_number_of_checks_is_not_cut_by_tags(estimator):
    generated = parametrize_with_checks([estimator]).args[1]
    assert len(list(generated)) > 45
