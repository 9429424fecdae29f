"""What intervals refuse, and what they say then."""

import math
from functools import partial

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score

from sksiamese.metrics import (
    confidence_interval,
    cumulative_match,
    det_points,
    few_shot_accuracy,
    pair_roc_auc,
    r_precision,
    recall_at_k,
)

Y = np.arange(60) % 2
P, GROUPS = np.where(np.arange(60) % 5, Y, 1 - Y), np.arange(60) // 4
Z = np.arange(60.0)[:, None]
PAIRS = np.stack([np.arange(60), np.arange(60) + 1], axis=1)


@pytest.mark.filterwarnings("ignore:Recall is ill-defined")
@pytest.mark.parametrize(
    ("metric", "arrays", "kwargs", "message"),
    [
        (accuracy_score, (Y, P), {"confidence_level": 95}, "confidence_level=95 must"),
        (accuracy_score, (Y, P), {"confidence_level": 1}, "confidence_level=1 must"),
        (accuracy_score, (Y, P), {"method": "bca"}, "method='bca' must be"),
        (accuracy_score, (Y, P), {"n_resamples": 99}, "n_resamples=99 must be"),
        (accuracy_score, (Y, P[1:]), {}, r"arrays have \[60, 59\] rows"),
        (accuracy_score, (), {}, r"arrays have \[\] rows"),
        (accuracy_score, (Y, P), {"groups": GROUPS[1:]}, "groups has shape .* are 60"),
        (accuracy_score, (Y, P), {"groups": Y * 0}, "fewer than two"),
        (accuracy_score, (Y, P), {"pairs": PAIRS[1:]}, r"pairs of shape \(59, 2\)"),
        (accuracy_score, (Y, P), {"pairs": PAIRS * 1.0}, "type float64 must be row"),
        (accuracy_score, (Y, P), {"pairs": PAIRS - 1}, "pairs must hold row numbers"),
        (accuracy_score, (Y, P), {"pairs": PAIRS // 2}, "two different images"),
        (
            accuracy_score,
            (Y, P),
            {"pairs": PAIRS, "groups": GROUPS},
            r"groups has shape \(60,\), but pairs name row 60",
        ),
        (
            accuracy_score,
            (Y, P),
            {"pairs": PAIRS, "method": "exact"},
            "takes rows as independent, which pairs",
        ),
        (
            recall_at_k,
            (Z, Y),
            {"groups": GROUPS, "method": "exact"},
            "takes rows as independent",
        ),
        (roc_auc_score, (Y, P), {"method": "exact"}, "and roc_auc_score is none"),
        (r_precision, (Z, Y), {"method": "exact"}, "and r_precision is none"),
        (recall_at_k, (Z, Y), {"method": "exact"}, "pass gallery and gallery_labels"),
        (
            partial(cumulative_match, k=3, gallery=None),
            (Z, Y),
            {"method": "exact"},
            "takes probes as independent",
        ),
        (recall_at_k, (Z, Y), {"pairs": PAIRS}, "pairs do not go with recall_at_k"),
        (recall_at_k, (Z, Y), {"groups": GROUPS[1:]}, "groups has shape .* are 60"),
        (recall_at_k, (Z, np.arange(60)), {}, "labels has no probe"),
        (pair_roc_auc, (Z, Y), {"pairs": PAIRS}, "leave pairs out"),
        (pair_roc_auc, (Z, Y), {"groups": GROUPS[1:]}, "groups has shape .* are 60"),
        (pair_roc_auc, (Z, Y), {"max_fpr": 0.1}, "pair_roc_auc takes no max_fpr"),
        (accuracy_score, (Y, P), {"groups": [None, *Y[1:]]}, "groups has missing"),
        (recall_at_k, (Z, Y), {"groups": [None, *Y[1:]]}, "groups has missing"),
        (pair_roc_auc, (Z, Y), {"groups": [None, *Y[1:]]}, "groups has missing"),
        (pair_roc_auc, (Z, [None, *Y[1:]]), {}, "labels has missing"),
        (
            accuracy_score,
            (Y, P),
            {"pairs": PAIRS, "groups": [math.nan, *Y]},
            "groups has missing",
        ),
        (
            partial(accuracy_score, sample_weight=Y + 1.0),
            (Y, P),
            {},
            "pass sample_weight to confidence_interval",
        ),
        (accuracy_score, (Y, P), {"sample_weight": -Y}, "sample_weight holds negative"),
        (
            accuracy_score,
            (Y, P),
            {"pairs": PAIRS, "sample_weight": np.ones(61)},
            r"sample_weight has shape \(61,\)",
        ),
        (
            accuracy_score,
            (np.eye(2)[Y], np.eye(2)[P]),
            {"method": "exact"},
            "should be a 1d array",
        ),
        (
            accuracy_score,
            (Y.astype(str), P),
            {"method": "exact"},
            "Mix of label input types",
        ),
        (recall_score, (Y * 0, P), {}, "100 of 100 resamples .* pass zero_division"),
        (det_points, (Y, P), {}, "det_points returns tuple"),
        (
            partial(few_shot_accuracy, n_way=2),
            (Z, Y),
            {},
            "few_shot_accuracy states its interval itself",
        ),
    ],
)
def test_bad_input_raises(metric, arrays, kwargs, message):
    with pytest.raises(ValueError, match=message):
        confidence_interval(
            metric, *arrays, **({"n_resamples": 100, "random_state": 7} | kwargs)
        )
