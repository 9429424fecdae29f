"""Scores for pairs and for probabilities (layer 0: NumPy and scikit-learn only)."""

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import mannwhitneyu
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    column_or_1d,
)


def pair_roc_auc(embeddings, labels):
    """Area under the ROC curve of "same class?" over all pairs of samples.

    The probability that a random pair of one class is closer than a random pair of two.

    Parameters
    ----------
    embeddings : array-like of shape (n, embedding_dim)
        Embeddings.

    labels : array-like of shape (n,)
        Class of each sample.

    Returns
    -------
    float
        Between 0 and 1; 0.5 is chance. NaN when all pairs, or none, are of one class.

    Raises
    ------
    ValueError
        If embeddings are NaN or infinite.

    Notes
    -----
    O(n ** 2) time and memory.

    Examples
    --------
    >>> from sksiamese.metrics import pair_roc_auc
    >>> pair_roc_auc([[0.0], [0.1], [1.0], [1.2]], [0, 0, 1, 1])
    1.0
    """
    labels = column_or_1d(labels)
    embeddings = check_array(embeddings)
    check_consistent_length(embeddings, labels)
    first, second = np.triu_indices(len(labels), 1)
    same = labels[first] == labels[second]
    if same.all() or not same.any():
        return float("nan")
    distances = pdist(embeddings)
    negative, positive = distances[~same], distances[same]
    # The same area from ranks takes half of roc_auc_score's time, which counts after
    # each epoch.
    wins = mannwhitneyu(negative, positive, method="asymptotic").statistic
    return float(wins / (len(negative) * len(positive)))


def expected_calibration_error(
    y_true, y_proba, *, classes=None, n_bins=15, sample_weight=None
):
    """Mean gap between the confidence of the predictions and their accuracy.

    Samples are sorted into equally wide bins by the probability of their predicted
    class; the gap of each bin counts in proportion to its samples.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        True labels.

    y_proba : array-like of shape (n, n_classes)
        Probabilities of the classes.

    classes : array-like of shape (n_classes,) or None, default=None
        Label of each column, as in ``classes_``; None takes the sorted labels of
        ``y_true``.

    n_bins : int, default=15
        Number of bins.

    sample_weight : array-like of shape (n,) or None, default=None
        Weights of the samples, >= 0; None weighs them alike.

    Returns
    -------
    float
        Between 0 and 1; 0 is calibrated.

    Raises
    ------
    ValueError
        If the columns of ``y_proba`` do not match ``classes``.

    References
    ----------
    .. [1] Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks",
       ICML 2017, https://doi.org/10.48550/arXiv.1706.04599

    Examples
    --------
    >>> from sksiamese.metrics import expected_calibration_error
    >>> proba = [[0.75, 0.25], [0.75, 0.25], [0.75, 0.25], [0.75, 0.25]]
    >>> expected_calibration_error([0, 0, 0, 1], proba)
    0.0
    """
    y_true = column_or_1d(y_true)
    y_proba = np.asarray(y_proba, dtype=np.float64)
    classes = np.unique(y_true) if classes is None else np.asarray(classes)
    check_consistent_length(y_true, y_proba)
    if y_proba.shape[1:] != classes.shape:
        raise ValueError(
            f"y_proba has shape {y_proba.shape}, but there are {len(classes)} classes:"
            " pass classes=estimator.classes_."
        )
    confidence = y_proba.max(axis=1)
    correct = classes[y_proba.argmax(axis=1)] == y_true
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    gaps = confidence - correct
    total = len(y_true)
    if sample_weight is not None:
        sample_weight = column_or_1d(sample_weight)
        check_consistent_length(y_true, sample_weight)
        gaps, total = gaps * sample_weight, sample_weight.sum()
    return float(np.abs(np.bincount(bins, gaps, n_bins)).sum() / total)
