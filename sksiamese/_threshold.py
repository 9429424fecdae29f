"""Thresholds of a distance that keep what they promise (layer 0: NumPy and SciPy)."""

import math

import numpy as np
from scipy.stats import beta, binom


def promised_count(n, rate, confidence):
    """Count the errors that n trials may show while their rate is still bounded.

    Parameters
    ----------
    n : int
        Number of independent trials.

    rate : float
        Error rate not to exceed, in (0, 1).

    confidence : float
        Confidence of the bound, in (0, 1).

    Returns
    -------
    int
        Largest count whose upper Clopper-Pearson bound [1]_ is at most ``rate``; -1 if
        not even a count of 0 has such a bound.

    References
    ----------
    .. [1] Clopper, Pearson, "The Use of Confidence or Fiducial Limits Illustrated in
       the Case of the Binomial", Biometrika 26, 1934,
       https://doi.org/10.1093/biomet/26.4.404

    Examples
    --------
    >>> from sksiamese._threshold import promised_count
    >>> promised_count(298, 0.01, 0.95), promised_count(299, 0.01, 0.95)
    (-1, 0)
    """
    # The bound of a count c is at most the rate where that rate would give c or fewer
    # errors with a probability of 1 - confidence at most.
    doubt = 1 - confidence
    count = int(binom.ppf(doubt, n, rate))
    return count if binom.cdf(count, n, rate) <= doubt else count - 1


def n_needed(rate, confidence):
    """Count the trials without an error that are needed to promise a rate.

    Parameters
    ----------
    rate, confidence : float
        As in :func:`promised_count`.

    Returns
    -------
    int
        Smallest n for which ``promised_count`` is not negative.

    Examples
    --------
    >>> from sksiamese._threshold import n_needed
    >>> n_needed(0.01, 0.95)
    299
    """
    return math.ceil(math.log1p(-confidence) / math.log1p(-rate))


def upper_bound(count, n, confidence):
    """Bound an error rate from above by what independent trials showed.

    Parameters
    ----------
    count : int
        Errors.

    n : int
        Trials.

    confidence : float
        Confidence of the bound, in (0, 1).

    Returns
    -------
    float
        Upper Clopper-Pearson bound, in (0, 1]; 1 without a trial.

    Examples
    --------
    >>> from sksiamese._threshold import upper_bound
    >>> round(upper_bound(0, 299, 0.95), 5)
    0.00997
    """
    return 1.0 if count >= n else float(beta.ppf(confidence, count + 1, n - count))


def threshold_below(distances, count):
    """Largest threshold that at most some of the distances reach.

    Parameters
    ----------
    distances : float64 ndarray of shape (n,)
        Distances.

    count : int
        How many may be at or below the threshold, in [0, n - 1].

    Returns
    -------
    float
        The number just below the distance that comes next.
    """
    return float(np.nextafter(np.partition(distances, count)[count], -np.inf))


def threshold_above(distances, count):
    """Smallest threshold that at most some of the distances exceed.

    Parameters
    ----------
    distances : float64 ndarray of shape (n,)
        Distances.

    count : int
        How many may be above the threshold, in [0, n - 1].

    Returns
    -------
    float
        One of the distances.
    """
    rank = len(distances) - 1 - count
    return float(np.partition(distances, rank)[rank])


def balanced_threshold(positive, negative, rule):
    """Threshold at which both kinds of error are equally frequent, or fewest together.

    Parameters
    ----------
    positive, negative : float64 ndarray of shape (n_positives,) and (n_negatives,)
        Distances of same and of different pairs.

    rule : {"eer", "accuracy"}
        Whether the false-positive rate is to equal the false-negative rate, or their
        sum to be least.

    Returns
    -------
    float
        Half way between two distances that occur.
    """
    steps = np.unique(np.concatenate([positive, negative]))
    fpr = np.searchsorted(np.sort(negative), steps, side="right") / len(negative)
    tpr = np.searchsorted(np.sort(positive), steps, side="right") / len(positive)
    cost = np.abs(fpr - (1 - tpr)) if rule == "eer" else fpr - tpr
    best = int(np.argmin(cost))
    return float(steps[best : best + 2].mean())
