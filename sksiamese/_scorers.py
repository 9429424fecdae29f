"""Scores of embeddings as scikit-learn scorers (layer 0, a late step; no torch)."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from sklearn.metrics import roc_auc_score

from sksiamese._pair_sampling import sample_pairs
from sksiamese._retrieval_metrics import (
    check_embeddings,
    mean_average_precision_at_r,
    r_precision,
    recall_at_k,
)
from sksiamese._verification_metrics import all_pairs, equal_error_rate, tar_at_far

# All pairs of 1,414 images; 25 MB of row numbers, labels and scores.
_MOST_PAIRS = 1_000_000
_PAIRS_AT_ONCE = 2**15  # 16 MB for 64 values in double precision


@dataclass(frozen=True)
class EmbeddingScorer:
    """Score an estimator by its embeddings, as scikit-learn's model selection asks.

    It serves as ``scoring`` of a search or a cross-validation, of anything with
    ``transform``. Larger is better, so that errors come with a minus: 0 is the best
    ``"neg_pair_eer"``.

    Parameters
    ----------
    name : str
        Name in ``SCORERS``.

    metric : callable
        Called as ``metric(same, scores)`` or ``metric(embeddings, labels)``.

    of_pairs : bool
        Whether ``metric`` takes pairs.

    sign : {1, -1}, default=1
        -1 for a metric of which less is better.

    params : dict, default={}
        Further arguments of ``metric``.

    See Also
    --------
    sksiamese.metrics.confidence_interval : How far a score can be trusted.

    Notes
    -----
    Of up to 1,414 images all pairs are scored; of more, a sample of a million pairs,
    half of them of one class if there are as many, is drawn with a fixed seed, equally
    for equal labels. That leaves ROC curves as they are but for the noise of the draw.
    Pass ``cv=StratifiedKFold()``, or a splitter of groups, for what is no classifier:
    by default scikit-learn cuts its folds in the order of the rows, and where they are
    sorted by class, a fold has pairs of one kind only.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.model_selection import GridSearchCV, StratifiedKFold
    >>> from sksiamese.metrics import SCORERS
    >>> search = GridSearchCV(
    ...     PCA(n_components=2),
    ...     {"whiten": [False, True]},
    ...     scoring=SCORERS["pair_auc"],
    ...     cv=StratifiedKFold(3),
    ... )
    >>> search.fit(*load_iris(return_X_y=True)).best_params_
    {'whiten': False}
    """

    name: str
    metric: Callable
    of_pairs: bool
    sign: int = 1
    params: dict = field(default_factory=dict, hash=False)

    def __call__(self, estimator, X, y):
        """Embed images and score the embeddings.

        Parameters
        ----------
        estimator : estimator
            Fitted, with a method ``transform``.

        X : array-like of shape (n, ...)
            Images.

        y : array-like of shape (n,)
            Labels.

        Returns
        -------
        float
            Larger is better.

        Raises
        ------
        TypeError
            If the estimator has no ``transform``.

        ValueError
            If embeddings are not finite, labels are missing, the lengths differ, or
            ``metric`` takes pairs and all are of one class, or none.
        """
        if not hasattr(estimator, "transform"):
            raise TypeError(
                f"{self!r} scores embeddings, but {type(estimator).__name__} has no"
                " method transform: pass SiameseEmbedder, SiameseClassifier or another"
                " transformer."
            )
        embeddings, labels = check_embeddings(
            estimator.transform(X), y, ("estimator.transform(X)", "y")
        )
        arrays = (
            _score_pairs(embeddings, labels) if self.of_pairs else (embeddings, labels)
        )
        return self.sign * float(self.metric(*arrays, **self.params))

    def __repr__(self):
        return f"SCORERS[{self.name!r}]"


def _score_pairs(embeddings, labels):
    """Truth and score of all pairs, or of a sample of them where they are many."""
    n = len(labels)
    counts = np.unique(labels, return_counts=True)[1].astype(np.int64)
    n_same = int(np.sum(counts * (counts - 1)) // 2)
    n_different = n * (n - 1) // 2 - n_same
    if not (n_same and n_different):
        kind = "of one class" if n_same else "of two classes"
        raise ValueError(
            f"y makes only pairs {kind}, which tell nothing: score more images or, in"
            " a cross-validation, pass cv=StratifiedKFold()."
        )
    if n_same + n_different <= _MOST_PAIRS:
        _, same, distances = all_pairs(embeddings, labels)
        return same, -distances
    half = _MOST_PAIRS // 2
    n_same, n_different = min(n_same, half), min(n_different, half)
    total = n_same + n_different
    pairs, same = sample_pairs(
        labels, total, positive_fraction=n_same / total, random_state=0
    )
    distances = np.empty(total)
    for start in range(0, total, _PAIRS_AT_ONCE):
        first, second = pairs[start : start + _PAIRS_AT_ONCE].T
        distances[start : start + len(first)] = np.linalg.norm(
            embeddings[first] - embeddings[second], axis=1
        )
    return same, -distances


EMBEDDING_SCORERS = (
    EmbeddingScorer("pair_auc", roc_auc_score, True),
    EmbeddingScorer("neg_pair_eer", equal_error_rate, True, -1),
    EmbeddingScorer("pair_tar_at_far_1e-2", tar_at_far, True, 1, {"far": 1e-2}),
    EmbeddingScorer("pair_tar_at_far_1e-3", tar_at_far, True, 1, {"far": 1e-3}),
    EmbeddingScorer("recall_at_1", recall_at_k, False, 1, {"k": 1}),
    EmbeddingScorer("r_precision", r_precision, False),
    EmbeddingScorer("map_at_r", mean_average_precision_at_r, False),
)
