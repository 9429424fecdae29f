"""Calibrated log-odds of decision heads (layer 0: NumPy and scikit-learn only)."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from sksiamese._classification_metrics import expected_calibration_error
from sksiamese._priors import representing_weights


def log_odds(head, logits, temperature, priors=None):
    r"""Calibrated log-probabilities, up to a constant in each row.

    The head's logits over the temperature, plus :math:`\log(\pi_c / \pi^0_c)` where
    frequencies :math:`\pi` other than those :math:`\pi^0` that the head assumes are
    wanted [1]_.

    Parameters
    ----------
    head : PrototypeHead or RefittedHead
        Head that knows some embeddings.

    logits : float64 ndarray of shape (n, n_classes)
        What the head says of some embeddings.

    temperature : float
        Divisor of the logits.

    priors : float64 ndarray of shape (n_classes,) or None, default=None
        Class frequencies wanted; None corrects nothing.

    Returns
    -------
    float64 ndarray of shape (n, n_classes)
        Log-odds.

    References
    ----------
    .. [1] Saerens, Latinne, Decaestecker, "Adjusting the Outputs of a Classifier to
       New a Priori Probabilities: A Simple Procedure", Neural Computation 14, 2002,
       https://doi.org/10.1162/089976602753284446
    """
    if priors is None:
        return logits / temperature
    return logits / temperature + np.log(priors / head.assumed_priors())


def fit_temperature(logits, codes, *, offset=0.0):
    r"""Temperature that makes ``softmax(logits / temperature + offset)`` calibrated.

    Minimises the cross-entropy [1]_ against smoothed targets: of two equally frequent
    classes the true one gets :math:`(n + 1) / (n + 2)` for n samples, Platt's remedy
    [2]_ against certainty where all samples happen to be told apart. In general a share
    of :math:`K / ((K - 1) (n + 2))` of each target is what the K classes' frequencies
    alone say, ``softmax(offset)``.

    Parameters
    ----------
    logits : ndarray of shape (n, n_classes)
        Unnormalised log-probabilities of held-out samples.

    codes : int ndarray of shape (n,)
        Column of the true class of each sample.

    offset : float or float64 ndarray of shape (n_classes,), default=0.0
        Added to the log-odds of each class.

    Returns
    -------
    float
        Divisor of the logits, > 0.

    References
    ----------
    .. [1] Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks",
       ICML 2017, https://doi.org/10.48550/arXiv.1706.04599
    .. [2] Platt, "Probabilistic Outputs for Support Vector Machines", 1999.
    """
    n_samples, n_classes = logits.shape
    spread = np.ptp(logits, axis=1).mean()
    if n_classes < 2 or spread == 0:
        return 1.0
    doubt = n_classes / (n_classes - 1) / (n_samples + 2)
    frequencies = softmax(np.broadcast_to(offset, n_classes))
    targets = np.tile(doubt * frequencies, (len(logits), 1))
    targets[np.arange(len(logits)), codes] += 1 - doubt

    def cross_entropy(log_temperature):
        log_p = log_softmax(logits / np.exp(log_temperature) + offset, axis=1)
        return -(targets * log_p).sum(axis=1).mean()

    centre = np.log(spread)  # the scale of the logits is the head's own
    found = minimize_scalar(
        cross_entropy, bounds=(centre - 12, centre + 6), method="bounded"
    )
    return float(np.exp(found.x))


def calibrate(head, Z, y, *, held_out, priors=None):
    """Fit the temperature of a head and measure what it achieves.

    Parameters
    ----------
    head : PrototypeHead or RefittedHead
        Head that knows some embeddings.

    Z : ndarray of shape (n, embedding_dim)
        Embeddings to calibrate on.

    y : ndarray of shape (n,)
        Their labels, all known to the head.

    held_out : bool
        Whether they trained neither the network nor the head.

    priors : float64 ndarray of shape (n_classes,) or None, default=None
        Class frequencies of the population that probabilities are to refer to, which
        the embeddings are weighted to represent for the error; None takes both as
        they come.

    Returns
    -------
    temperature : float
        Divisor of the head's logits.

    report : dict
        ``"n_images"``, ``"n_classes"`` that they are of, ``"held_out"``,
        ``"expected_calibration_error"``; the last is NaN on embeddings that were not
        held out, where it would mean nothing.
    """
    codes = np.searchsorted(head.classes_, y)
    offset, weights = 0.0, None
    if priors is not None:
        # How far apart classes lie does not depend on how frequent they are. So the
        # temperature is that of the images as they come; weighted to represent the
        # priors, a few images of the most frequent class would decide alone.
        counts = np.bincount(codes, minlength=len(priors)) + 1
        offset = np.log(counts / counts.sum() / head.assumed_priors())
        weights = representing_weights(codes, priors)
    logits = head.logits(Z)
    temperature = fit_temperature(logits, codes, offset=offset)
    error = float("nan")
    if held_out:
        error = expected_calibration_error(
            y,
            softmax(log_odds(head, logits, temperature, priors), axis=1),
            classes=head.classes_,
            sample_weight=weights,
        )
    report = {"n_images": len(y), "n_classes": len(np.unique(y)), "held_out": held_out}
    return temperature, {**report, "expected_calibration_error": error}
