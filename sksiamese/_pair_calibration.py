"""What a verifier learns from held-out pairs (layer 0, step 2: NumPy, scikit-learn)."""

import math
import warnings

import numpy as np

from sksiamese._encoding import encode
from sksiamese._pair_sampling import count_pairs, sample_pairs
from sksiamese._threshold import (
    n_needed,
    promised_count,
    threshold_above,
    threshold_below,
    upper_bound,
)


def draw_pairs(y, groups, n_pairs, random_state, *, within=False):
    """Draw pairs of one class and pairs of two, as many of each as there are, or fewer.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Class of each image.

    groups : ndarray of shape (n,) or None
        Group of each image; pairs lie across groups.

    n_pairs : int
        Largest number of each kind.

    random_state : int
        Seed of the draw.

    within : bool, default=False
        Whether pairs of one class lie within groups, which hold whole classes.

    Returns
    -------
    positive : int64 ndarray of shape (n_positives, 2)
        Rows of the members of same pairs.

    negative : int64 ndarray of shape (n_negatives, 2)
        Rows of the members of different pairs.

    Raises
    ------
    ValueError
        If there is no pair of a kind.
    """
    classes = encode(y, "y")
    groups = None if groups is None else encode(groups, "groups")
    drawn = []
    for same, kind in ((True, "one class"), (False, "two classes")):
        across = None if same and within else groups
        existing = count_pairs(classes, across)[0 if same else 1]
        if existing == 0:
            raise ValueError(
                f"The {len(y)} images to calibrate on form no pair of {kind}"
                + ("" if across is None else " and two groups")
                + ": pass more images, classes or groups, or hold more of them out."
            )
        pairs, _ = sample_pairs(
            classes,
            min(n_pairs, existing),
            positive_fraction=float(same),
            groups=across,
            random_state=random_state,
        )
        drawn.append(pairs)
    return tuple(drawn)


def warn_of_missing(y, y_held_out, share):
    """Say which classes a threshold knows nothing of.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Class of each image.

    y_held_out : ndarray of shape (n_held_out,)
        Class of each held-out image.

    share : float
        Share that was to be held out.
    """
    missing = np.setdiff1d(y, y_held_out)
    if len(missing):
        shown = ", ".join(map(str, missing[:5])) + ", ..." * (len(missing) > 5)
        warnings.warn(
            f"{len(missing)} of {len(np.unique(y))} classes have no image held out to"
            f" calibrate on ({shown}), since validation_fraction={share} leaves them"
            " less than two images, or no group: the threshold is that of the others."
            " Raise it, add images, or pass groups=y to hold out whole classes.",
            UserWarning,
            stacklevel=4,
        )


def promised_threshold(independent, drawn, *, aim, limit, confidence):
    """Threshold that keeps an error rate with confidence, or the best, with a warning.

    Parameters
    ----------
    independent : float64 ndarray of shape (n,)
        Distances of pairs of which no two share an image or group: different pairs for
        ``"max_fpr"``, same ones for ``"min_tpr"``.

    drawn : float64 ndarray of shape (n_drawn,)
        Distances of all pairs of that kind that were drawn.

    aim : {"max_fpr", "min_tpr"}
        Which rate is limited.

    limit : float
        Its limit, in (0, 1).

    confidence : float
        Probability with which the limit is to hold.

    Returns
    -------
    threshold : float
        Largest distance that counts as the same.

    report : dict
        ``"n_independent"``, ``"promised"`` and ``"bound"``.
    """
    low = aim == "max_fpr"  # errors are distances up to the threshold
    rate, find = (limit, threshold_below) if low else (1 - limit, threshold_above)
    n = len(independent)
    count = promised_count(n, rate, confidence)
    bound = upper_bound(max(count, 0), n, confidence)
    bound = bound if low else 1 - bound
    report = {"n_independent": n, "promised": count >= 0, "bound": bound}
    if count >= 0:
        return find(independent, count), report
    possible = _round_outward(bound, up=low)
    warnings.warn(
        f"{aim}={limit} cannot be promised with confidence {confidence}: the images"
        f" give {n} pairs of which no two share an image or group,"
        f" {n_needed(rate, confidence)} are needed, and with these"
        f" {aim}={possible} could be promised. The threshold"
        f" {'rejects' if low else 'accepts'} all {len(drawn)}"
        f" {'different' if low else 'same'} pairs drawn; calibrate on more images or"
        " groups.",
        UserWarning,
        stacklevel=5,
    )
    return find(drawn, 0), report


def _round_outward(rate, *, up):
    """Round a rate to three digits so that it is promised still."""
    unit = 10.0 ** (math.floor(math.log10(rate)) - 2) if rate > 0 else 1.0
    return float(f"{(math.ceil if up else math.floor)(rate / unit) * unit:.6g}")


def fit_link(positive, negative):
    """Fit the log-odds of "same" as a line in the distance.

    Parameters
    ----------
    positive, negative : float64 ndarray of shape (n_positives,) and (n_negatives,)
        Distances of same and of different pairs; both kinds weigh alike.

    Returns
    -------
    slope : float
        Change of the log-odds with the distance; negative where close means same.

    intercept : float
        Log-odds at a distance of 0.
    """
    from sklearn.linear_model import LogisticRegression

    distances = np.concatenate([positive, negative])
    # In its own unit and from its own middle, the mild penalty means the same in every
    # embedding.
    middle, unit = distances.mean(), distances.std() or 1.0
    same = np.repeat([True, False], [len(positive), len(negative)])
    link = LogisticRegression(class_weight="balanced", solver="newton-cholesky")
    link.fit((distances[:, None] - middle) / unit, same)
    slope = float(link.coef_[0, 0] / unit)
    return slope, float(link.intercept_[0] - slope * middle)
