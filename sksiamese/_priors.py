"""Class frequencies: those wanted, those assumed (layer 0: NumPy and scikit-learn)."""

import numpy as np
from sklearn.utils.class_weight import compute_sample_weight


def check_priors(priors, classes):
    """Check the class frequencies that a caller wants.

    Parameters
    ----------
    priors : array-like of shape (n_classes,) or dict
        Frequencies in the order of ``classes``, or by label; a dict may name more.

    classes : ndarray of shape (n_classes,)
        Sorted labels.

    Returns
    -------
    float64 ndarray of shape (n_classes,)
        Frequencies, which add up to 1.

    Raises
    ------
    ValueError
        If a class has none, one is not positive, or they do not add up to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese._priors import check_priors
    >>> check_priors({"ill": 0.25, "well": 0.75}, np.array(["ill", "well"]))
    array([0.25, 0.75])
    """
    chosen = range(len(classes))
    given = priors
    if isinstance(priors, dict):
        lacking = [label for label in classes.tolist() if label not in priors]
        if lacking:
            raise ValueError(
                f"priors={priors!r} lacks the classes {lacking}: name every class, also"
                " those that are to be enrolled later, and fit with that; set_params"
                " alone changes nothing."
            )
        names = list(priors)
        chosen = [names.index(label) for label in classes.tolist()]
        given = list(priors.values())
    elif np.shape(priors) != classes.shape:
        raise ValueError(
            f"priors has shape {np.shape(priors)}, but the classes are"
            f" {classes.tolist()}: fit with one frequency for each, in this order. An"
            " array can never name classes that are enrolled later: for these, fit"
            " with a dict that names them too; set_params alone changes nothing."
        )
    try:
        given = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"priors={priors!r} must be numbers: {error}.") from error
    if not (given > 0).all() or not np.isclose(given.sum(), 1):
        raise ValueError(
            f"priors={priors!r} must be greater than 0 and add up to 1: leave classes"
            " that never occur out of y, and divide by the sum."
        )
    chosen = given[chosen]
    return chosen / chosen.sum()


def wanted_priors(priors, class_weight, classes, counts, assumed):
    """Find the class frequencies that probabilities are to refer to.

    Parameters
    ----------
    priors : "train", array-like, dict or None
        Frequencies wanted; ``"train"`` are those of ``counts``.

    class_weight : "balanced", dict or None
        What a class counts, which matters if ``priors`` is None.

    classes : ndarray of shape (n_classes,)
        Sorted labels.

    counts : ndarray of shape (n_classes,)
        Labelled images of each class.

    assumed : float64 ndarray of shape (n_classes,)
        Frequencies that the head takes for granted, which weights multiply.

    Returns
    -------
    float64 ndarray of shape (n_classes,) or None
        Frequencies, which add up to 1. None if neither parameter says.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese._priors import wanted_priors
    >>> classes, counts = np.array(["ill", "well"]), np.array([1, 9])
    >>> wanted_priors("train", None, classes, counts, np.array([0.5, 0.5]))
    array([0.1, 0.9])
    >>> wanted_priors(None, {"ill": 3.0}, classes, counts, np.array([0.5, 0.5]))
    array([0.75, 0.25])
    """
    if priors is None and class_weight is None:
        return None
    if priors is not None and not isinstance(priors, str):
        return check_priors(priors, classes)
    frequencies = np.asarray(counts, dtype=np.float64)
    if priors is None and class_weight == "balanced":
        frequencies = np.ones(len(classes))
    elif priors is None:  # equal weights change nothing
        weights = [class_weight.get(label, 1.0) for label in classes.tolist()]
        frequencies = assumed * weights
    return frequencies / frequencies.sum()


def assumed_priors(classifier, labels):
    """Find the class frequencies that a fitted classifier's scores assume.

    Parameters
    ----------
    classifier : classifier
        Fitted scikit-learn classifier, or a pipeline that ends in one.

    labels : ndarray of shape (n,)
        Labels that it was fitted on.

    Returns
    -------
    float64 ndarray of shape (n_classes,)
        Its own priors, if it tells them; else the frequencies of ``labels``, weighted
        by its ``class_weight``.
    """
    while hasattr(classifier, "steps"):
        classifier = classifier.steps[-1][1]
    for name in ("class_prior_", "priors_"):  # GaussianNB; discriminant analysis
        if hasattr(classifier, name):
            return np.asarray(getattr(classifier, name), dtype=np.float64)
    class_weight = classifier.get_params(deep=False).get("class_weight")
    if isinstance(class_weight, str):  # "balanced_subsample" aims at the same
        class_weight = "balanced"
    weights = compute_sample_weight(class_weight, labels)
    _, codes = np.unique(labels, return_inverse=True)
    totals = np.bincount(codes, weights)
    return totals / totals.sum()


def representing_weights(codes, priors):
    """Weigh samples so that they represent a population.

    Parameters
    ----------
    codes : int ndarray of shape (n,)
        Class of each sample.

    priors : float64 ndarray of shape (n_classes,)
        Class frequencies of the population.

    Returns
    -------
    float64 ndarray of shape (n,)
        Weights, with a mean of 1. Classes without a sample stay without.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese._priors import representing_weights
    >>> representing_weights(np.array([0, 0, 0, 1]), np.array([0.5, 0.5]))
    array([0.66666667, 0.66666667, 0.66666667, 2.        ])
    """
    counts = np.bincount(codes, minlength=len(priors))
    weights = priors[codes] / counts[codes]
    return weights / weights.mean()
