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
from sksiamese._confidence import ConfidenceInterval
from sksiamese._few_shot import few_shot_accuracy
from sksiamese._intervals import confidence_interval
from sksiamese._retrieval_metrics import (
    cumulative_match,
    mean_average_precision_at_r,
    r_precision,
    recall_at_k,
)
from sksiamese._scorers import EMBEDDING_SCORERS
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

#: Scorers of embeddings, called as ``scorer(estimator, X, y)``, by name.
#:
#: Pass one as ``scoring`` to :class:`~sklearn.model_selection.GridSearchCV` or
#: :func:`~sklearn.model_selection.cross_validate`, of anything with ``transform``, with
#: ``cv=StratifiedKFold()`` or a splitter of groups. Larger is better in all of them.
#: Of more than 1,414 images, a million pairs are drawn with a fixed seed.
#:
#: - ``"pair_auc"``: area under the ROC curve of pairs; 0.5 is chance.
#: - ``"neg_pair_eer"``: minus :func:`equal_error_rate`; 0 is best, -0.5 chance.
#: - ``"pair_tar_at_far_1e-2"``, ``"pair_tar_at_far_1e-3"``: :func:`tar_at_far` at 1 %
#:   and 0.1 %.
#: - ``"recall_at_1"``: :func:`recall_at_k` of the nearest image.
#: - ``"r_precision"``: :func:`r_precision`.
#: - ``"map_at_r"``: :func:`mean_average_precision_at_r`.
SCORERS = {scorer.name: scorer for scorer in EMBEDDING_SCORERS}
