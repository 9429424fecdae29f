"""The open set: what is of no known class (layer 0, step 2: NumPy and scikit-learn).

An image is unknown if it lies farther than a threshold from all that a head knows. The
threshold is an order statistic of the distances of held-out images, which promises how
many images of the known classes are at most called unknown.
"""

import warnings

import numpy as np

from sksiamese._threshold import (
    n_needed,
    promised_count,
    threshold_above,
    upper_bound,
)

_CONFIDENCE = 0.95
# Embeddings are of single precision and differ in their last digits with the images
# beside them; relative to their length, this is a little more.
_ROUNDING = 1e-5


def check_unknown_label(label, classes):
    """Check the label of unknown images, or choose one.

    Parameters
    ----------
    label : str, int, float or None
        Label wanted; None chooses -1 among numbers and ``"unknown"`` among strings.

    classes : ndarray of shape (n_classes,)
        Labels that it must differ from and go together with.

    Returns
    -------
    str, int or float
        Label.

    Raises
    ------
    ValueError
        If it is one of the classes or of another kind.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese._open_set import check_unknown_label
    >>> check_unknown_label(None, np.array(["cat", "dog"]))
    'unknown'
    """
    if classes.dtype.kind not in "iufUO":
        raise ValueError(
            "unknown='reject' predicts a label beside those of y, which cannot be of"
            f" type {classes.dtype}: convert y to integers or strings."
        )
    numbers = classes.dtype.kind in "iuf"
    if label is None:
        label = -1 if numbers else "unknown"
    if isinstance(label, bool | np.bool_) or numbers == isinstance(label, str):
        raise ValueError(
            f"unknown_label={label!r} is of another kind than the classes, which are of"
            f" type {classes.dtype}: give a {'whole number' if numbers else 'string'}."
        )
    if numbers and not float(label).is_integer():  # nothing else is a class
        raise ValueError(f"unknown_label={label!r} must be a whole number.")
    kinds = {"i": int, "u": int, "f": float}
    label = kinds.get(classes.dtype.kind, str)(label)
    if label in classes.tolist():
        raise ValueError(
            f"unknown_label={label!r} is one of the classes: set unknown_label to"
            " another one, and leave images of no class out of y."
        )
    add_label(classes, label)
    return label


def add_label(classes, label):
    """Put the label of unknown images behind the classes.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        Labels.

    label : str, int or float
        Another one.

    Returns
    -------
    ndarray of shape (n_classes + 1,)
        All labels, in a dtype that holds each of them exactly.

    Raises
    ------
    ValueError
        If there is no such dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese._open_set import add_label
    >>> add_label(np.array(["cat", "dog"]), "unknown").tolist()
    ['cat', 'dog', 'unknown']
    """
    if classes.dtype.kind == "f" and float(classes.dtype.type(label)) == label:
        return np.append(classes, classes.dtype.type(label))
    if classes.dtype.kind not in "iu":
        return np.append(classes, label)
    low, high = min(int(classes.min()), label), max(int(classes.max()), label)
    # NumPy would make floats of int64 and uint64.
    for dtype in (classes.dtype, np.dtype(np.int64)):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return np.append(classes.astype(dtype), np.array(label, dtype=dtype))
    raise ValueError(
        f"unknown_label={label!r} and classes of type {classes.dtype} fit into no array"
        " of integers: set unknown_label to another one."
    )


def calibrate_rejection(head, Z, y, max_fpr, *, groups=None, random_state=None):
    r"""Set the distance beyond which an embedding is of no known class.

    With n independent distances and c the largest number of errors whose upper
    Clopper-Pearson bound [1]_ is at most ``max_fpr``, it is the distance that c of them
    exceed. For a continuous distribution the probability that more than ``max_fpr`` of
    it lie beyond is exactly that of :math:`\text{Binomial}(n, \text{max\_fpr}) \leq c`,
    5 % at most. Of each group one embedding is drawn, since those of one group are not
    independent.

    Parameters
    ----------
    head : PrototypeHead or RefittedHead
        Head that has not learned ``Z``.

    Z : ndarray of shape (n, embedding_dim)
        Embeddings of held-out images, n > 0.

    y : ndarray of shape (n,)
        Their labels.

    max_fpr : float
        Share of new embeddings of the known classes, in (0, 1), that may lie beyond.

    groups : ndarray of shape (n,) or None, default=None
        Group of each embedding.

    random_state : int or None, default=None
        Seed of the draw from the groups.

    Returns
    -------
    threshold : float
        Distance; the largest of ``Z`` if ``max_fpr`` cannot be promised.

    report : dict
        See ``unknown_calibration_`` of :class:`sksiamese.SiameseClassifier`.

    References
    ----------
    .. [1] Clopper, Pearson, "The Use of Confidence or Fiducial Limits Illustrated in
       the Case of the Binomial", Biometrika 26, 1934,
       https://doi.org/10.1093/biomet/26.4.404

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese._decision import PrototypeHead
    >>> from sksiamese._open_set import calibrate_rejection
    >>> head = PrototypeHead().partial_fit(np.zeros((2, 1)), np.array([0, 0]))
    >>> Z, y = np.arange(100.0)[:, None], np.zeros(100)
    >>> threshold, report = calibrate_rejection(head, Z, y, 0.1)
    >>> round(threshold), report["promised"], round(report["bound"], 3)
    (95, True, 0.089)
    """
    distances = head.novelty(Z)
    independent = distances
    if groups is not None:
        order = np.random.default_rng(random_state).permutation(len(Z))
        independent = distances[order[np.unique(groups[order], return_index=True)[1]]]
    n = len(independent)
    count = promised_count(n, max_fpr, _CONFIDENCE)
    promised = count >= 0
    if promised:
        threshold = threshold_above(independent, count)
    else:
        threshold, count = float(distances.max()), 0
    threshold += _ROUNDING * float(np.linalg.norm(Z, axis=1).max())
    report = {
        "n_images": len(Z),
        "n_groups": None if groups is None else n,
        "classes": np.unique(y),
        "fpr": float((distances > threshold).mean()),
        "promised": promised,
        "bound": upper_bound(count, n, _CONFIDENCE),
    }
    return threshold, report


def warn_of_promise(report, max_fpr, classes, *, stacklevel):
    """Say so when ``max_fpr`` cannot be promised, or not for all classes.

    Parameters
    ----------
    report : dict
        What :func:`calibrate_rejection` reports.

    max_fpr : float
        Share that may be rejected.

    classes : ndarray of shape (n_classes,)
        Known classes.

    stacklevel : int
        Of the warning, see :func:`warnings.warn`.
    """
    said = []
    if not report["promised"]:
        n, unit = report["n_images"], "images"
        if report["n_groups"] is not None:
            n, unit = report["n_groups"], "groups"
        said.append(
            f"max_fpr={max_fpr} cannot be promised: that takes"
            f" {n_needed(max_fpr, _CONFIDENCE)} held-out {unit}, but there are {n}. The"
            " threshold is their largest distance, by which, with 95 % confidence, at"
            f" most {report['bound']:.3g} of the images of known classes are called"
            " unknown."
        )
    missing = np.setdiff1d(classes, report["classes"])
    if len(missing):
        shown = ", ".join(map(str, missing[:5])) + ", ..." * (len(missing) > 5)
        said.append(
            "Classes without held-out images, about which max_fpr says nothing:"
            f" {shown}."
        )
    if said:
        said.append("Raise validation_fraction or max_fpr, or add images.")
        warnings.warn(" ".join(said), UserWarning, stacklevel=stacklevel)
