"""Scores of pairs, of neighbours and of classes, with confidence intervals.

Layer 0: no torch. ``SCORERS`` holds those that judge embeddings as scikit-learn scorers
``scorer(estimator, X, y)``, by name: ``"pair_auc"``, ``"neg_pair_eer"``,
``"pair_tar_at_far_1e-2"``, ``"pair_tar_at_far_1e-3"``, ``"recall_at_1"``,
``"r_precision"`` and ``"map_at_r"``. They serve as ``scoring=SCORERS["pair_auc"]`` in
``GridSearchCV`` and ``cross_validate``, of estimators and pipelines with ``transform``.
"""

from sksiamese._classification_metrics import (
    expected_calibration_error,
    open_set_classification_rate,
)
from sksiamese._few_shot import few_shot_accuracy
from sksiamese._intervals import ConfidenceInterval, confidence_interval
from sksiamese._retrieval_metrics import (
    cumulative_match,
    mean_average_precision_at_r,
    r_precision,
    recall_at_k,
)
from sksiamese._scorers import SCORERS
from sksiamese._verification_metrics import (
    d_prime,
    det_points,
    equal_error_rate,
    pair_roc_auc,
    tar_at_far,
)

__all__ = [
    "ConfidenceInterval",
    "SCORERS",
    "confidence_interval",
    "cumulative_match",
    "d_prime",
    "det_points",
    "equal_error_rate",
    "expected_calibration_error",
    "few_shot_accuracy",
    "mean_average_precision_at_r",
    "open_set_classification_rate",
    "pair_roc_auc",
    "r_precision",
    "recall_at_k",
    "tar_at_far",
]
