"""Scores of pairs: same or different? (layer 0: NumPy, SciPy and scikit-learn only)."""

from numbers import Real

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_curve
from sklearn.utils.validation import check_array

from sksiamese._encoding import check_numbers, check_same, check_weights, encode


def det_points(same, scores, *, sample_weight=None):
    """Compute the error rates of verification at every threshold.

    A pair is accepted as "same" when its score is at least the threshold.

    Read more in the :ref:`User Guide <guide-verify>`.

    Parameters
    ----------
    same : array-like of shape (n_pairs,)
        Whether the members of each pair are of one class: bool, or 1 and 0.

    scores : array-like of shape (n_pairs,)
        Similarity of each pair, such as the negative distance; larger is more alike.

    sample_weight : array-like of shape (n_pairs,) or None, default=None
        Weights of the pairs, >= 0; None weighs them alike.

    Returns
    -------
    false_accept_rate : float64 ndarray of shape (n_thresholds,)
        Share of the different pairs that are accepted, rising from 0 to 1.

    false_reject_rate : float64 ndarray of shape (n_thresholds,)
        Share of the same pairs that are rejected, falling from 1 to 0.

    thresholds : float64 ndarray of shape (n_thresholds,)
        Falling thresholds: infinity, then each distinct score.

    Raises
    ------
    ValueError
        If the lengths differ, scores are not finite, or a kind of pair is missing.

    See Also
    --------
    sklearn.metrics.det_curve : The same rates without the ends, in which either is 0.
    sksiamese.display.DetDisplay : Their picture.
    equal_error_rate : Where both are equal.

    Notes
    -----
    :func:`sklearn.metrics.roc_curve` counts. All thresholds are kept: points on a
    straight line of the ROC curve are on none of the DET curve, whose axes are normal
    deviates [1]_.

    References
    ----------
    .. [1] Martin, Doddington, Kamm, Ordowski, Przybocki, "The DET Curve in Assessment
       of Detection Task Performance", Eurospeech 1997,
       https://doi.org/10.21437/Eurospeech.1997-504

    Examples
    --------
    >>> from sksiamese.metrics import det_points
    >>> far, frr, thresholds = det_points([1, 1, 0, 0], [-0.1, -0.4, -0.3, -0.9])
    >>> far
    array([0. , 0. , 0.5, 0.5, 1. ])
    >>> frr
    array([1. , 0.5, 0.5, 0. , 0. ])
    >>> thresholds
    array([ inf, -0.1, -0.3, -0.4, -0.9])
    """
    false_accepts, true_accepts, thresholds = _roc(same, scores, sample_weight)
    return false_accepts, 1 - true_accepts, thresholds


def equal_error_rate(same, scores, *, sample_weight=None):
    """Compute the rate at which false accepts and false rejects are equally frequent.

    One number for how well pairs can be told apart, whatever the share of same pairs.
    It says nothing of rates that an application would choose, such as one false accept
    in 1,000: :func:`tar_at_far` does.

    Read more in the :ref:`User Guide <guide-verify>`.

    Parameters
    ----------
    same : array-like of shape (n_pairs,)
        Whether the members of each pair are of one class: bool, or 1 and 0.

    scores : array-like of shape (n_pairs,)
        Similarity of each pair, such as the negative distance; larger is more alike.

    sample_weight : array-like of shape (n_pairs,) or None, default=None
        Weights of the pairs, >= 0; None weighs them alike.

    Returns
    -------
    float
        Between 0 and 1; 0 is perfect, 0.5 is chance.

    Raises
    ------
    ValueError
        If the lengths differ, scores are not finite, or a kind of pair is missing.

    See Also
    --------
    tar_at_far : True accepts where false ones are rarer.
    det_points : Both rates at all thresholds.
    confidence_interval : How far the rate can be trusted, by images or patients.

    Notes
    -----
    The points of :func:`det_points` are joined by straight lines, and the equal error
    rate is read where this line meets false accept rate = false reject rate. Between
    two thresholds the line is what choosing either of them at random attains; tied
    scores are therefore worth a coin toss. The rate on the convex hull of the curve,
    which [1]_ prefers, is never above this one.

    References
    ----------
    .. [1] Bruemmer, de Villiers, "The BOSARIS Toolkit: Theory, Algorithms and Code for
       Surviving the New DCF", 2013, https://doi.org/10.48550/arXiv.1304.2865

    Examples
    --------
    >>> from sksiamese.metrics import equal_error_rate
    >>> equal_error_rate([1, 1, 0, 0], [-0.1, -0.4, -0.3, -0.9])
    0.5
    >>> equal_error_rate([1, 1, 0, 0], [-0.1, -0.2, -0.3, -0.9])
    0.0
    """
    false_accepts, true_accepts, _ = _roc(same, scores, sample_weight)
    # The gap rises strictly from -1 to 1, so that it crosses 0 once.
    gap = false_accepts + true_accepts - 1
    after = int(np.argmax(gap >= 0))
    step = gap[after - 1] / (gap[after - 1] - gap[after])
    start, end = false_accepts[after - 1 : after + 1]
    return float(start + step * (end - start))


def tar_at_far(same, scores, far=0.01, *, sample_weight=None):
    """Compute the true accept rate where at most a share ``far`` is falsely accepted.

    Larger is better; chance is ``far`` itself.

    Read more in the :ref:`User Guide <guide-verify>`.

    Parameters
    ----------
    same : array-like of shape (n_pairs,)
        Whether the members of each pair are of one class: bool, or 1 and 0.

    scores : array-like of shape (n_pairs,)
        Similarity of each pair, such as the negative distance; larger is more alike.

    far : float, default=0.01
        Largest false accept rate that is allowed, in (0, 1].

    sample_weight : array-like of shape (n_pairs,) or None, default=None
        Weights of the pairs, >= 0; None weighs them alike.

    Returns
    -------
    float
        Share of the same pairs that are accepted, between 0 and 1.

    Raises
    ------
    ValueError
        If ``far`` is outside (0, 1], the lengths differ, scores are not finite, or a
        kind of pair is missing.

    See Also
    --------
    equal_error_rate : One number without a rate to choose.
    sksiamese.SiameseVerifier : Sets the threshold on held-out images.

    Notes
    -----
    Of the thresholds of :func:`det_points`, the lowest whose false accept rate is at
    most ``far`` counts; nothing is interpolated. With fewer than ``1 / far`` different
    pairs none of them may be accepted, and the figure tells little about ``far``. The
    threshold is chosen on the pairs it is judged on: for one that keeps a promise on
    new pairs, see ``SiameseVerifier(threshold="max_fpr")``.

    Examples
    --------
    >>> from sksiamese.metrics import tar_at_far
    >>> tar_at_far([1, 1, 0, 0], [-0.1, -0.4, -0.3, -0.9], far=0.49)
    0.5
    >>> tar_at_far([1, 1, 0, 0], [-0.1, -0.4, -0.3, -0.9], far=0.5)
    1.0
    """
    if not (isinstance(far, Real) and 0 < far <= 1):
        raise ValueError(f"far={far!r} is no share: pass a number in (0, 1].")
    false_accepts, true_accepts, _ = _roc(same, scores, sample_weight)
    if sample_weight is not None:  # sums of weights are rounded, those of pairs not
        far *= 1 + len(scores) * np.finfo(np.float64).eps
    return float(true_accepts[np.searchsorted(false_accepts, far, side="right") - 1])


def d_prime(same, scores, *, sample_weight=None):
    """Compute the distance between the mean scores of both kinds, in deviations.

    It uses every score, so that it still tells systems apart that make no error, whose
    equal error rates all are 0.

    Read more in the :ref:`User Guide <guide-verify>`.

    Parameters
    ----------
    same : array-like of shape (n_pairs,)
        Whether the members of each pair are of one class: bool, or 1 and 0.

    scores : array-like of shape (n_pairs,)
        Similarity of each pair, such as the negative distance; larger is more alike.

    sample_weight : array-like of shape (n_pairs,) or None, default=None
        Weights of the pairs, >= 0; None weighs them alike.

    Returns
    -------
    float
        0 is chance, larger is better, negative is worse than chance; infinite when
        neither kind varies, NaN when all scores are equal.

    Raises
    ------
    ValueError
        If the lengths differ, scores are not finite, or a kind of pair is missing.

    See Also
    --------
    equal_error_rate : Made from ranks alone.
    sksiamese.display.PairDistanceDisplay : Both kinds as histograms.

    Notes
    -----
    The decidability of [1]_, with its sign kept:
    ``(mean_same - mean_different) / sqrt((var_same + var_different) / 2)``, variances
    dividing by the number of pairs. It changes when scores are transformed, unlike the
    figures made from ranks; compare it between systems only with that in mind.

    References
    ----------
    .. [1] Daugman, "How Iris Recognition Works", IEEE Transactions on Circuits and
       Systems for Video Technology 14 (2004), 21-30,
       https://doi.org/10.1109/TCSVT.2003.818350

    Examples
    --------
    >>> from sksiamese.metrics import d_prime
    >>> d_prime([1, 1, 0, 0], [4.0, 6.0, 1.0, 3.0])
    3.0
    """
    same, scores, weight = _check_scores(same, scores, sample_weight)
    means, variances = [], []
    for kind in (same, ~same):
        kind = kind if weight is None else kind & (weight > 0)
        w = None if weight is None else weight[kind]
        # From one of the scores on: where all are equal, nothing is rounded.
        start = scores[kind][0]
        shifts = scores[kind] - start
        shift = np.average(shifts, weights=w)
        means.append(start + shift)
        variances.append(np.average((shifts - shift) ** 2, weights=w))
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.subtract(*means) / np.sqrt(np.mean(variances)))


def pair_roc_auc(embeddings, labels):
    """Area under the ROC curve of "same class?" over all pairs of samples.

    The probability that a random pair of one class is closer than a random pair of two.
    It is the validation score of training.

    Read more in the :ref:`User Guide <guide-verify>`.

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
        If embeddings are NaN or infinite, the lengths differ, or labels are missing.

    See Also
    --------
    sklearn.metrics.roc_auc_score : The area for pairs that are scored already.
    recall_at_k : Judges nearest neighbours only, not all pairs.

    Notes
    -----
    O(n ** 2) time and memory: some 70 bytes per pair of samples, 3.5 GB for 10,000.
    For more, draw pairs by :func:`sksiamese.pairs.sample_pairs` and pass their scores
    to :func:`sklearn.metrics.roc_auc_score`, as ``SCORERS["pair_auc"]`` does.

    Examples
    --------
    >>> from sksiamese.metrics import pair_roc_auc
    >>> pair_roc_auc([[0.0], [0.1], [1.0], [1.2]], [0, 0, 1, 1])
    1.0
    """
    _, same, distances = all_pairs(embeddings, labels)
    if same.all() or not same.any():
        return float("nan")
    negative, positive = distances[~same], distances[same]
    # The same area from ranks takes half of roc_auc_score's time, which counts after
    # each epoch.
    wins = mannwhitneyu(negative, positive, method="asymptotic").statistic
    return float(wins / (len(negative) * len(positive)))


def all_pairs(embeddings, labels):
    """Form every pair of samples once.

    Parameters
    ----------
    embeddings : array-like of shape (n, embedding_dim)
        Embeddings.

    labels : array-like of shape (n,)
        Class of each sample.

    Returns
    -------
    pairs : tuple of two int64 ndarrays of shape (n * (n - 1) / 2,)
        Row numbers of first and second members.

    same : bool ndarray of shape (n * (n - 1) / 2,)
        Whether the labels are equal.

    distances : float64 ndarray of shape (n * (n - 1) / 2,)
        Euclidean distances.

    Raises
    ------
    ValueError
        If embeddings are not finite, the lengths differ, or labels are missing.
    """
    embeddings = check_array(embeddings, input_name="embeddings")
    labels = encode(labels, "labels", len(embeddings))
    first, second = np.triu_indices(len(labels), 1)
    return (first, second), labels[first] == labels[second], pdist(embeddings)


def _roc(same, scores, sample_weight):
    """Count false and true accepts, as rising rates, at falling thresholds."""
    same, scores, sample_weight = _check_scores(same, scores, sample_weight)
    return roc_curve(
        same,
        scores,
        pos_label=True,
        sample_weight=sample_weight,
        drop_intermediate=False,
    )


def _check_scores(same, scores, sample_weight):
    """Check truth, scores and weights of pairs, and that both kinds are there."""
    scores = check_numbers(scores, "scores")
    same = check_same(same, len(scores))
    weight = check_weights(sample_weight, len(scores))
    counted = same if weight is None else same[weight > 0]
    if counted.all() or not counted.any():
        kind = "no pair" if not len(counted) else f"pairs of kind {counted[0]} only"
        raise ValueError(
            f"same holds {kind}, but the score compares same with different pairs: add"
            " pairs of both kinds."
        )
    return same, scores, weight
