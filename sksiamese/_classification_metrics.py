"""Scores of probabilities and of rejections (layer 0: NumPy, scikit-learn only)."""

from numbers import Integral

import numpy as np

from sksiamese._encoding import check_numbers, check_weights, encode, encode_together

# Probabilities in half precision are off by up to 5e-4 of themselves.
_ROUNDING = 1e-3


def expected_calibration_error(
    y_true, y_proba, *, classes=None, n_bins=15, sample_weight=None
):
    """Mean gap between the confidence of the predictions and their accuracy.

    Samples are sorted into equally wide bins by the probability of their predicted
    class; the gap of each bin counts in proportion to its samples. An error of 0.05
    means that probabilities are 5 points too high or too low on average. It does not
    say how good the predictions are: always to give the shares of the classes is well
    calibrated, too.

    Read more in the :ref:`User Guide <guide-classify>`.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        True labels.

    y_proba : array-like of shape (n, n_classes)
        Probabilities of the classes, in [0, 1]; rows add up to 1 within 0.001.

    classes : array-like of shape (n_classes,) or None, default=None
        Label of each column, as in ``classes_``; None takes the sorted labels of
        ``y_true``.

    n_bins : int, default=15
        Number of bins, at least 1.

    sample_weight : array-like of shape (n,) or None, default=None
        Weights of the samples, >= 0; None weighs them alike.

    Returns
    -------
    float
        Between 0 and 1; 0 is calibrated.

    Raises
    ------
    ValueError
        If there are no labels, some are missing or not in ``classes``, the columns of
        ``y_proba`` do not match ``classes`` or hold no probabilities, or ``n_bins`` or
        the weights are out of range.

    See Also
    --------
    sklearn.calibration.CalibrationDisplay : The gaps as a picture, for two classes.
    sklearn.metrics.log_loss : Judges calibration and accuracy together.

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
    if not isinstance(n_bins, Integral) or n_bins < 1:
        raise ValueError(f"n_bins={n_bins!r} must be an integer >= 1.")
    labels, columns = _encode_classes(y_true, classes)
    y_proba = _check_probabilities(y_proba, len(labels), len(columns))
    sample_weight = check_weights(sample_weight, len(labels))
    confidence = y_proba.max(axis=1)
    correct = columns[y_proba.argmax(axis=1)] == labels
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    gaps = confidence - correct
    total = len(labels)
    if sample_weight is not None:
        gaps, total = gaps * sample_weight, sample_weight.sum()
    return float(np.abs(np.bincount(bins, gaps, n_bins)).sum() / total)


def _encode_classes(y_true, classes):
    """Labels and columns as numbers, equal for what is the same class."""
    if classes is None:
        labels = encode(y_true, "y_true")
        columns = np.unique(labels)
    else:
        labels, columns = encode_together(
            (y_true, "y_true", None), (classes, "classes", None)
        )
    if not len(labels):
        raise ValueError("y_true is empty: there is nothing to judge.")
    outside = np.flatnonzero(~np.isin(labels, columns))
    if len(outside):
        raise ValueError(
            f"y_true holds labels that are not in classes, such as"
            f" {np.asarray(y_true)[outside[0]]!r}: leave these images out."
        )
    return labels, columns


def _check_probabilities(y_proba, n_rows, n_classes):
    """Rows of probabilities, one for each label."""
    y_proba = np.asarray(y_proba, dtype=np.float64)
    if y_proba.shape != (n_rows, n_classes):
        raise ValueError(
            f"y_proba has shape {y_proba.shape}, but there are {n_rows} labels and"
            f" {n_classes} classes: pass a row per label, and"
            " classes=estimator.classes_."
        )
    # NaN compares as False.
    if not ((y_proba >= -_ROUNDING) & (y_proba <= 1 + _ROUNDING)).all():
        raise ValueError(
            "y_proba holds NaN or values outside [0, 1]: pass what predict_proba"
            " returns, not scores, logits or percentages."
        )
    sums = y_proba.sum(axis=1)
    if (np.abs(sums - 1) > _ROUNDING).any():
        raise ValueError(
            f"y_proba has rows that add up to {sums.min():.4g} to {sums.max():.4g}:"
            " pass probabilities of all classes, which add up to 1."
        )
    return y_proba


def open_set_classification_rate(y_true, y_pred, novelty, *, classes):
    """Area under correct classification of known over acceptance of unknown images.

    The probability that a random known image is classified right and looks more known
    than a random unknown one. It falls with either fault: to take one class for
    another, and to take the unknown for known.

    Read more in the :ref:`User Guide <guide-unknown>`.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        True labels; images of a label outside ``classes`` are the unknown ones,
        whichever their labels are.

    y_pred : array-like of shape (n,)
        Closed-set decision: the most probable of ``classes`` for every image, before
        any is rejected. A rejection in here counts as an error. Those of unknown images
        do not count.

    novelty : array-like of shape (n,)
        How unknown each image looks, such as the distance to the nearest prototype or
        one minus the largest probability; larger is more unknown.

    classes : array-like of shape (n_classes,) or set
        Labels that the classifier knows, as in ``classes_``.

    Returns
    -------
    float
        Between 0 and the accuracy on known images.

    Raises
    ------
    ValueError
        If the lengths differ, labels are missing or of kinds that do not mix,
        ``novelty`` is not finite, or there is no known, or no unknown, image.

    See Also
    --------
    sklearn.metrics.roc_auc_score : Of ``~np.isin(y_true, classes)`` and ``novelty``,
        the AUROC of known against unknown, in which classes do not count.

    Notes
    -----
    The curve of [1]_ shows, for each threshold of novelty, the share of known images
    that are accepted and right over the share of unknown images that are accepted;
    [2]_ reports its area. Its points are joined by straight lines, so that ties count
    one half, as in ``roc_auc_score``, which this equals when all known images are
    classified right.

    References
    ----------
    .. [1] Dhamija, Guenther, Boult, "Reducing Network Agnostophobia", NeurIPS 2018,
       https://doi.org/10.48550/arXiv.1811.04110
    .. [2] Vaze, Han, Vedaldi, Zisserman, "Open-Set Recognition: A Good Closed-Set
       Classifier is All You Need", ICLR 2022, https://doi.org/10.48550/arXiv.2110.06207

    Examples
    --------
    >>> from sksiamese.metrics import open_set_classification_rate
    >>> y_true = ["cat", "cat", "dog", "dog", "fox", "fox"]
    >>> y_pred = ["cat", "cat", "dog", "cat", "dog", "cat"]
    >>> novelty = [0.1, 0.7, 0.2, 0.3, 0.6, 0.9]
    >>> open_set_classification_rate(y_true, y_pred, novelty, classes=["cat", "dog"])
    0.625
    """
    n = len(y_true)
    classes = classes if hasattr(classes, "dtype") else list(classes)
    y_true, y_pred, classes = encode_together(
        (y_true, "y_true", n), (y_pred, "y_pred", n), (classes, "classes", None)
    )
    novelty = check_numbers(novelty, "novelty", n)
    known = np.isin(y_true, classes)
    if known.all() or not known.any():
        raise ValueError(
            f"y_true holds {'no unknown' if known.any() else 'no known'} image of"
            f" {len(known)}: classes must name the known labels, and only these."
        )
    right, unknown = novelty[known & (y_true == y_pred)], np.sort(novelty[~known])
    below = np.searchsorted(unknown, right, side="left")
    not_above = np.searchsorted(unknown, right, side="right")
    wins = len(unknown) - (below + not_above) / 2
    return float(wins.sum() / (known.sum() * len(unknown)))
