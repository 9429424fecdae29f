"""How far a score can be trusted (layer 0, step 2: NumPy, SciPy, scikit-learn only)."""

import inspect
import warnings
from numbers import Integral

import numpy as np
from scipy.stats import binomtest
from sklearn import config_context
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import column_or_1d

from sksiamese._confidence import ConfidenceInterval, check_level
from sksiamese._encoding import check_weights, encode
from sksiamese._verification_metrics import all_pairs, pair_roc_auc

# An interval from the resamples in which a score exists is one given that it exists;
# with more than a tenth missing, that is another question.
_FEWEST_DEFINED = 0.9


def confidence_interval(
    metric,
    *arrays,
    confidence_level=0.95,
    method="bootstrap",
    n_resamples=1000,
    pairs=None,
    groups=None,
    random_state=None,
    **params,
):
    """Compute a score with its confidence interval.

    What is drawn anew is what would be drawn anew in another study: patients when there
    are several images of each (``groups``), images when the same image is in several
    pairs (``pairs``), probes when neighbours are looked up, and rows otherwise.

    Read more in the :ref:`User Guide <guide-verify>`.

    Parameters
    ----------
    metric : callable
        Any score of rows that are judged one by one, called as
        ``metric(*arrays, **params)``: those of this module, or of scikit-learn.
        It returns a number, or one per rank as :func:`cumulative_match` does.

    *arrays : array-likes of shape (n, ...)
        What the metric takes, in its order: ``same, scores`` for pairs, ``embeddings,
        labels`` for neighbours and for :func:`pair_roc_auc`, ``y_true, y_pred`` for
        classes.

    confidence_level : float, default=0.95
        Share of such intervals that contain the true value, in (0, 1).

    method : {"bootstrap", "exact"}, default="bootstrap"
        ``"bootstrap"`` is the percentile interval of resamples; ``"exact"`` that of
        Clopper and Pearson [1]_ for a share of independent trials:
        ``accuracy_score``, and :func:`recall_at_k` and :func:`cumulative_match` with a
        ``gallery`` that holds no probes; without groups. Of such trials it never is too
        narrow, and it is the one to take when the estimate is near 0 or 1.

    n_resamples : int, default=1000
        Resamples of the bootstrap, at least 100.

    pairs : int array-like of shape (n_pairs, 2) or None, default=None
        Row numbers of the images in each pair, as :func:`sksiamese.pairs.sample_pairs`
        returns them. Pairs share images, so that resampling pairs makes intervals much
        too narrow; images are resampled instead. None takes pairs as independent.

    groups : array-like of shape (n,) or (n_images,) or None, default=None
        Group, such as the patient, of each row; with ``pairs``, of each image. Whole
        groups are resampled.

    random_state : int or None, default=None
        Seed of the bootstrap.

    **params : dict
        Further arguments of the metric. Arrays among them, such as ``gallery``, are
        held fixed, but for ``sample_weight``, which follows its rows.

    Returns
    -------
    ConfidenceInterval
        ``estimate``, ``low`` and ``high``.

    Raises
    ------
    ValueError
        If the lengths differ, ``pairs`` are out of range, groups are missing, weights
        are negative or held by a ``functools.partial``, fewer than two rows, images,
        probes or groups can be drawn, more than a tenth of the resamples has no value,
        or ``method="exact"`` does not apply.

    Warns
    -----
    UserWarning
        If all resamples have one value (at every rank), as when no error was seen: the
        bootstrap knows nothing of errors that did not occur.

    See Also
    --------
    few_shot_accuracy : States its own interval, over episodes.
    sksiamese.pairs.sample_pairs : Draws pairs, of which the interval needs the rows.
    scipy.stats.bootstrap : Of independent rows.

    Notes
    -----
    Pairs. Images, or groups, are drawn with replacement, and a pair counts as often as
    the product of its members' numbers; a pair within one group as often as the group.
    This vertex, or pigeonhole, bootstrap [2]_ [3]_ is right when each image is in many
    pairs, and wide by up to a factor of 1.7 when it is in few. When none is in two
    pairs, the pairs themselves are drawn.

    Neighbours. Probes are drawn and the gallery is held fixed: a copy of a probe in the
    gallery would be its own nearest neighbour. Without ``gallery``, probes are each
    other's gallery and so are not independent. The bootstrap does not see that, and is
    too narrow: of intervals of 95 % from 60 simulated images, some 84 % hold the truth.
    Pass ``gallery`` and ``gallery_labels``.

    Resamples without a value, such as those without an image of a class, are left out.
    Intervals of fewer than some 20 images or groups are too narrow, and so are those of
    error rates below 1 % with a handful of errors [2]_.

    References
    ----------
    .. [1] Clopper, Pearson, "The Use of Confidence or Fiducial Limits Illustrated in
       the Case of the Binomial", Biometrika 26 (1934), 404-413,
       https://doi.org/10.1093/biomet/26.4.404
    .. [2] Fogliato, Patil, Perona, "Confidence Intervals for Error Rates in 1:1
       Matching Tasks", 2023, https://doi.org/10.48550/arXiv.2306.01198
    .. [3] Owen, "The Pigeonhole Bootstrap", Annals of Applied Statistics 1 (2007),
       386-411, https://doi.org/10.1214/07-AOAS122

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.metrics import confidence_interval, equal_error_rate
    >>> from sksiamese.pairs import sample_pairs
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["cat", "dog"], 40)
    >>> embeddings = rng.normal(size=(80, 2)) + 2 * (y == "cat")[:, None]
    >>> pairs, same = sample_pairs(y, 1000, random_state=0)
    >>> scores = -np.linalg.norm(np.subtract(*embeddings[pairs.T]), axis=1)
    >>> interval = confidence_interval(
    ...     equal_error_rate, same, scores, pairs=pairs, n_resamples=200, random_state=0
    ... )
    >>> bool(interval.low < interval.estimate < interval.high)
    True
    """
    check_level(confidence_level)
    _check_settings(method, n_resamples)
    params = _check_params(metric, params)
    if "per_probe" in inspect.signature(metric).parameters:
        plan = _plan_probes
    elif metric is pair_roc_auc:
        plan = _plan_all_pairs
    else:
        plan = _plan_rows if pairs is None else _plan_pairs
    if method == "exact":
        return _exact(metric, arrays, params, pairs, groups, confidence_level)
    estimate, n_units, value_of = plan(metric, arrays, params, pairs, groups)
    if isinstance(estimate, tuple):
        raise ValueError(
            f"metric={_name(metric)} returns {type(estimate).__name__}: pass one that"
            " returns a number (few_shot_accuracy states its interval itself)."
        )
    rng = np.random.default_rng(random_state)
    values = _resample(value_of, n_units, n_resamples, rng)
    tail = (1 - confidence_level) / 2
    low, high = np.quantile(values, [tail, 1 - tail], axis=0)
    if np.all(low == high):  # some ranks of a curve may well be certain
        warnings.warn(
            f"All resamples of {_name(metric)} have one value, {low}: errors that did"
            " not occur cannot be resampled. Take more images, or method='exact' where"
            " it applies.",
            UserWarning,
            stacklevel=2,
        )
    return ConfidenceInterval(estimate, low[()], high[()])


def _check_settings(method, n_resamples):
    """Refuse settings that make no interval."""
    if method not in ("bootstrap", "exact"):
        raise ValueError(f'method={method!r} must be "bootstrap" or "exact".')
    if not (isinstance(n_resamples, Integral) and n_resamples >= 100):
        raise ValueError(
            f"n_resamples={n_resamples!r} must be an integer >= 100: fewer have no"
            " percentiles to speak of."
        )


def _check_params(metric, params):
    """Refuse weights that would not follow their rows; drop those that are None."""
    if getattr(metric, "keywords", {}).get("sample_weight") is not None:
        raise ValueError(
            f"metric={_name(metric)} holds sample_weight, which could not follow the"
            " rows that are drawn: pass sample_weight to confidence_interval."
        )
    if params.get("sample_weight") is None:
        return {
            name: value for name, value in params.items() if name != "sample_weight"
        }
    return params


def _name(metric):
    """Name of a function, or of the function in a partial."""
    return getattr(metric, "__name__", None) or repr(metric)


def _exact(metric, arrays, params, pairs, groups, confidence_level):
    """Clopper and Pearson's interval, where the score is a share of trials."""
    if pairs is not None or groups is not None:
        raise ValueError(
            'method="exact" takes rows as independent, which pairs and groups are not:'
            ' pass method="bootstrap".'
        )
    of_probes = "per_probe" in inspect.signature(metric).parameters
    if of_probes:
        hits = _judged(metric, arrays, params)[0]
    elif metric is accuracy_score and not params:
        unique_labels(*arrays)  # refuses labels that cannot be compared
        hits = np.equal(*map(column_or_1d, arrays))
    else:
        hits = None
    if hits is None or not np.isin(hits, (0, 1)).all():
        raise ValueError(
            f'method="exact" needs a share of independent trials, and {_name(metric)}'
            ' is none: pass method="bootstrap".'
        )
    if of_probes and (getattr(metric, "keywords", {}) | params).get("gallery") is None:
        raise ValueError(
            'method="exact" takes probes as independent, which they are not where they'
            " are each other's gallery: pass gallery and gallery_labels of images that"
            ' are no probes. method="bootstrap" goes without, but is too narrow then.'
        )
    columns = hits.reshape(len(hits), -1).sum(axis=0)
    bounds = [
        binomtest(int(n_hits), len(hits)).proportion_ci(confidence_level)
        for n_hits in columns
    ]
    low, high = np.reshape(bounds, (-1, 2)).T.reshape(2, *hits.shape[1:])
    return ConfidenceInterval(hits.mean(axis=0), low[()], high[()])


def _plan_probes(metric, arrays, params, pairs, groups):
    """Draw probes; the gallery, and so the value of each, stays as it is."""
    if pairs is not None:
        raise ValueError(f"pairs do not go with {_name(metric)}: leave them out.")
    values, judged = _judged(metric, arrays, params)
    units = _units(groups, len(judged))
    units = np.unique(units[judged], return_inverse=True)[1]
    n_units = units.max() + 1
    sums = np.zeros((n_units, *values.shape[1:]))
    np.add.at(sums, units, values)
    sizes = np.bincount(units)
    return values.mean(axis=0), n_units, lambda drawn: drawn @ sums / (drawn @ sizes)


def _judged(metric, arrays, params):
    """Values of the probes that have one, and which these are."""
    values = metric(*arrays, **params, per_probe=True)
    judged = ~np.isnan(values.reshape(len(values), -1)).any(axis=1)
    if not judged.any():
        raise ValueError(
            "labels has no probe with an item of its class in the gallery: there is"
            " nothing to judge."
        )
    return values[judged], judged


def _plan_rows(metric, arrays, params, pairs, groups):
    """Draw rows, or whole groups of rows."""
    arrays, params = _check_arrays(arrays, params)
    units = _units(groups, len(arrays[0]))
    estimate, weighted = _weighted(metric, arrays, params)
    return estimate, units.max() + 1, lambda drawn: weighted(drawn[units])


def _plan_pairs(metric, arrays, params, pairs, groups):
    """Draw images, or groups of them; a pair counts as its members together."""
    arrays, params = _check_arrays(arrays, params)
    pairs = np.asarray(pairs)
    if pairs.shape != (len(arrays[0]), 2) or pairs.dtype.kind not in "iu":
        raise ValueError(
            f"pairs of shape {pairs.shape} and type {pairs.dtype} must be row numbers"
            f" of shape ({len(arrays[0])}, 2), one row per score."
        )
    if (pairs < 0).any() or (pairs[:, 0] == pairs[:, 1]).any():
        raise ValueError("pairs must hold row numbers >= 0 of two different images.")
    if groups is not None:
        groups = encode(groups, "groups")
        if pairs.max() >= len(groups):
            raise ValueError(
                f"groups has shape {groups.shape}, but pairs name row {pairs.max()}:"
                " pass one group per image."
            )
        pairs = groups[pairs]
    if arrays[-1].ndim == 1:
        # Scores are sorted in each resample, which is fast for those in order.
        order = np.argsort(arrays[-1], kind="stable")
        arrays, pairs = tuple(array[order] for array in arrays), pairs[order]
        if "sample_weight" in params:
            params = {**params, "sample_weight": params["sample_weight"][order]}
    estimate, weighted = _weighted(metric, arrays, params)
    first, second = np.unique(pairs, return_inverse=True)[1].reshape(-1, 2).T
    n_units = max(first.max(), second.max()) + 1
    if n_units == 2 * len(pairs):  # no image is shared
        first = second = np.arange(len(pairs))
        n_units = len(pairs)
    within = first == second
    return (
        estimate,
        n_units,
        lambda drawn: weighted(drawn[first] * np.where(within, 1, drawn[second])),
    )


def _plan_all_pairs(metric, arrays, params, pairs, groups):
    """Draw images where all pairs of them are judged, as pair_roc_auc does."""
    if pairs is not None:
        raise ValueError(
            "pair_roc_auc forms all pairs itself: leave pairs out, or pass"
            " roc_auc_score, same, scores and pairs."
        )
    if params:
        raise ValueError(
            f"pair_roc_auc takes no {', '.join(params)}: leave out what is none of its"
            " parameters."
        )
    pairs, same, distances = all_pairs(*arrays)
    if groups is not None:
        groups = encode(groups, "groups", len(arrays[0]))
    return _plan_pairs(
        roc_auc_score, (same, -distances), params, np.stack(pairs, axis=1), groups
    )


def _check_arrays(arrays, params):
    """Arrays of one length, and weights as many."""
    arrays = tuple(np.asarray(array) for array in arrays)
    lengths = [len(array) if array.ndim else 0 for array in arrays]
    if not arrays or len(set(lengths)) > 1 or lengths[0] < 1:
        raise ValueError(
            f"arrays have {lengths} rows: pass what the metric takes, with as many rows"
            " in each."
        )
    if "sample_weight" in params:
        weight = check_weights(params["sample_weight"], lengths[0])
        params = {**params, "sample_weight": weight}
    return arrays, params


def _units(groups, n):
    """Give each row the number of the unit it is drawn with."""
    return np.arange(n) if groups is None else encode(groups, "groups", n)


def _weighted(metric, arrays, params):
    """Score, and the score with each row counted as often as told."""
    estimate = metric(*arrays, **params)
    if "sample_weight" not in inspect.signature(metric).parameters:
        rows = np.arange(len(arrays[0]))

        def repeated(times):
            drawn = np.repeat(rows, times)
            return metric(*(array[drawn] for array in arrays), **params)

        return estimate, repeated
    base = params.get("sample_weight", 1)
    return estimate, lambda times: metric(
        *arrays, **{**params, "sample_weight": times * base}
    )


def _resample(value_of, n_units, n_resamples, rng):
    """Values of the resamples that have one."""
    if n_units < 2:
        raise ValueError(
            "there are fewer than two images, rows, probes or groups to draw from:"
            " collect more, or leave groups out."
        )
    values = []
    # What could be wrong was found in the whole sample; half the time goes into checks.
    unchecked = config_context(assume_finite=True, skip_parameter_validation=True)
    with warnings.catch_warnings(), unchecked:
        warnings.simplefilter("ignore")  # on classes that a resample lacks
        warnings.simplefilter("error", UndefinedMetricWarning)  # else 0 passes for one
        for _ in range(n_resamples):
            drawn = np.bincount(rng.integers(n_units, size=n_units), minlength=n_units)
            try:
                values.append(value_of(drawn))
            except (ValueError, UndefinedMetricWarning):  # the whole sample was fine
                values.append(np.nan)
    values = np.array(values)
    defined = ~np.isnan(values.reshape(n_resamples, -1)).any(axis=1)
    if defined.mean() < _FEWEST_DEFINED:
        raise ValueError(
            f"{n_resamples - defined.sum()} of {n_resamples} resamples of {n_units}"
            " images, rows, probes or groups have no value, most likely for lack of a"
            " class: collect more, or name all classes, or pass zero_division, if the"
            " metric takes them."
        )
    return values[defined]
