"""Scores of nearest neighbours (layer 0: NumPy and scikit-learn only)."""

from numbers import Integral

import numpy as np
from sklearn.metrics import pairwise_distances_chunked
from sklearn.utils.validation import check_array

from sksiamese._encoding import encode, encode_together

# As k: rank as many items as the gallery has of the probe's class.
_CLASS_SIZE = object()


def recall_at_k(
    embeddings,
    labels,
    *,
    k=1,
    gallery=None,
    gallery_labels=None,
    metric="euclidean",
    per_probe=False,
):
    """Share of the probes with an item of their class among the ``k`` nearest.

    Without a gallery, each sample is a probe among all others. With ``k=1`` this is
    the leave-one-out accuracy of the nearest neighbour. Chance grows with ``k`` and
    with the share of a class in the gallery: compare figures of one gallery only.

    Read more in the :ref:`User Guide <guide-search>`.

    Parameters
    ----------
    embeddings : array-like of shape (n, embedding_dim)
        Embeddings of the probes.

    labels : array-like of shape (n,)
        Class of each probe.

    k : int, default=1
        Neighbours that are looked at, from 1 to the size of the gallery.

    gallery : array-like of shape (n_gallery, embedding_dim) or None, default=None
        Embeddings to search; None searches ``embeddings`` without the probe itself.

    gallery_labels : array-like of shape (n_gallery,) or None, default=None
        Class of each gallery item, given with ``gallery``.

    metric : {"euclidean", "cosine"}, default="euclidean"
        Distance.

    per_probe : bool, default=False
        Whether to return the value of each probe instead of the mean.

    Returns
    -------
    float or float64 ndarray of shape (n,)
        Between 0 and 1. Probes without an item of their class in the gallery are left
        out of the mean, and NaN in the array; the mean of none is NaN.

    Raises
    ------
    ValueError
        If embeddings are NaN, labels are missing, lengths differ, or ``k`` exceeds the
        gallery.

    See Also
    --------
    cumulative_match : This for all ``k`` at once.
    r_precision : Asks for the whole class instead of one item.
    sksiamese.search.Gallery.evaluate : These scores of a gallery.

    Notes
    -----
    As in [1]_. Of items at equal distance those of other classes come first, so that
    coinciding embeddings earn nothing and the order of rows does not count. For the
    cosine, rows of one direction but unequal lengths coincide only up to rounding, and
    such ties may fall either way. Distances are exact, in double precision, and
    computed chunk by chunk: O(n * n_gallery) time, memory as
    ``sklearn.set_config(working_memory=...)`` allows.

    References
    ----------
    .. [1] Song, Xiang, Jegelka, Savarese, "Deep Metric Learning via Lifted Structured
       Feature Embedding", CVPR 2016, https://doi.org/10.1109/CVPR.2016.434

    Examples
    --------
    >>> from sksiamese.metrics import recall_at_k
    >>> embeddings, labels = [[0.0], [1.0], [1.5], [4.0]], ["a", "a", "b", "b"]
    >>> recall_at_k(embeddings, labels)
    0.5
    >>> recall_at_k(embeddings, labels, k=2)
    0.75
    """
    found = _judge(
        embeddings, labels, gallery, gallery_labels, metric, _first_rank, k=k
    )
    return _mean(np.where(np.isnan(found), np.nan, found <= k), per_probe)


def cumulative_match(
    embeddings,
    labels,
    *,
    k=10,
    gallery=None,
    gallery_labels=None,
    metric="euclidean",
    per_probe=False,
):
    """Cumulative match characteristic: :func:`recall_at_k` for ranks 1 to ``k``.

    The curve tells how long a list of candidates must be for the right class to be in
    it, which is what matters where a person looks through that list.

    Read more in the :ref:`User Guide <guide-search>`.

    Parameters
    ----------
    embeddings : array-like of shape (n, embedding_dim)
        Embeddings of the probes.

    labels : array-like of shape (n,)
        Class of each probe.

    k : int, default=10
        Last rank, from 1 to the size of the gallery.

    gallery : array-like of shape (n_gallery, embedding_dim) or None, default=None
        Embeddings to search; None searches ``embeddings`` without the probe itself.

    gallery_labels : array-like of shape (n_gallery,) or None, default=None
        Class of each gallery item, given with ``gallery``.

    metric : {"euclidean", "cosine"}, default="euclidean"
        Distance.

    per_probe : bool, default=False
        Whether to return the values of each probe instead of the means.

    Returns
    -------
    float64 ndarray of shape (k,) or (n, k)
        Share of the probes whose first item of their class has rank 1, at most 2, ...,
        at most ``k``; it rises. Probes without such an item are left out of the mean.

    Raises
    ------
    ValueError
        If embeddings are NaN, labels are missing, lengths differ, or ``k`` exceeds the
        gallery.

    See Also
    --------
    recall_at_k : One of these ranks.

    Notes
    -----
    As in [1]_. Ties and memory: as in :func:`recall_at_k`.

    References
    ----------
    .. [1] Phillips, Moon, Rizvi, Rauss, "The FERET Evaluation Methodology for
       Face-Recognition Algorithms", IEEE Transactions on Pattern Analysis and Machine
       Intelligence 22 (2000), 1090-1104, https://doi.org/10.1109/34.879790

    Examples
    --------
    >>> from sksiamese.metrics import cumulative_match
    >>> embeddings, labels = [[0.0], [1.0], [1.5], [4.0]], ["a", "a", "b", "b"]
    >>> cumulative_match(embeddings, labels, k=3)
    array([0.5 , 0.75, 1.  ])
    """
    found = _judge(
        embeddings, labels, gallery, gallery_labels, metric, _first_rank, k=k
    )[:, None]
    matched = np.where(np.isnan(found), np.nan, found <= np.arange(1, k + 1))
    return _mean(matched, per_probe)


def r_precision(
    embeddings,
    labels,
    *,
    gallery=None,
    gallery_labels=None,
    metric="euclidean",
    per_probe=False,
):
    """Share of a probe's class among its R nearest, where R is the size of the class.

    It is 1 only where each class lies apart from all others, which
    :func:`recall_at_k` of 1 does not ask for. Chance is the share of the class in the
    gallery.

    Read more in the :ref:`User Guide <guide-search>`.

    Parameters
    ----------
    embeddings : array-like of shape (n, embedding_dim)
        Embeddings of the probes.

    labels : array-like of shape (n,)
        Class of each probe.

    gallery : array-like of shape (n_gallery, embedding_dim) or None, default=None
        Embeddings to search; None searches ``embeddings`` without the probe itself.

    gallery_labels : array-like of shape (n_gallery,) or None, default=None
        Class of each gallery item, given with ``gallery``.

    metric : {"euclidean", "cosine"}, default="euclidean"
        Distance.

    per_probe : bool, default=False
        Whether to return the value of each probe instead of the mean.

    Returns
    -------
    float or float64 ndarray of shape (n,)
        Between 0 and 1. Probes without an item of their class in the gallery are left
        out of the mean, and NaN in the array; the mean of none is NaN.

    Raises
    ------
    ValueError
        If embeddings are NaN, labels are missing or lengths differ.

    See Also
    --------
    mean_average_precision_at_r : Asks for the order, too.

    Notes
    -----
    ``r / R``, where R items of the gallery are of the probe's class and r of them are
    among the R nearest [1]_. Ties and memory: as in :func:`recall_at_k`.

    References
    ----------
    .. [1] Musgrave, Belongie, Lim, "A Metric Learning Reality Check", ECCV 2020,
       https://doi.org/10.48550/arXiv.2003.08505

    Examples
    --------
    >>> from sksiamese.metrics import r_precision
    >>> r_precision([[0.0], [1.0], [2.5], [3.0], [6.0]], ["a", "a", "b", "a", "b"])
    0.3
    """
    values = _judge(
        embeddings, labels, gallery, gallery_labels, metric, _precision_at_r
    )
    return _mean(values, per_probe)


def mean_average_precision_at_r(
    embeddings,
    labels,
    *,
    gallery=None,
    gallery_labels=None,
    metric="euclidean",
    per_probe=False,
):
    """Mean average precision over the R nearest, where R is the size of the class.

    Unlike :func:`r_precision` it asks for the order among these, too: it is 1 only when
    the R nearest are all of the probe's class, and an item that comes early counts for
    more. It is never above :func:`r_precision`.

    Read more in the :ref:`User Guide <guide-search>`.

    Parameters
    ----------
    embeddings : array-like of shape (n, embedding_dim)
        Embeddings of the probes.

    labels : array-like of shape (n,)
        Class of each probe.

    gallery : array-like of shape (n_gallery, embedding_dim) or None, default=None
        Embeddings to search; None searches ``embeddings`` without the probe itself.

    gallery_labels : array-like of shape (n_gallery,) or None, default=None
        Class of each gallery item, given with ``gallery``.

    metric : {"euclidean", "cosine"}, default="euclidean"
        Distance.

    per_probe : bool, default=False
        Whether to return the value of each probe instead of the mean.

    Returns
    -------
    float or float64 ndarray of shape (n,)
        Between 0 and 1. Probes without an item of their class in the gallery are left
        out of the mean, and NaN in the array; the mean of none is NaN.

    Raises
    ------
    ValueError
        If embeddings are NaN, labels are missing or lengths differ.

    See Also
    --------
    r_precision : The share alone.

    Notes
    -----
    MAP@R of [1]_: ``1 / R`` times the sum, over the ranks from 1 to R that hold an item
    of the probe's class, of the precision up to that rank. Ties and memory: as in
    :func:`recall_at_k`.

    References
    ----------
    .. [1] Musgrave, Belongie, Lim, "A Metric Learning Reality Check", ECCV 2020,
       https://doi.org/10.48550/arXiv.2003.08505

    Examples
    --------
    >>> from sksiamese.metrics import mean_average_precision_at_r
    >>> embeddings, labels = [[0.0], [1.0], [2.5], [3.0], [6.0]], list("aabab")
    >>> mean_average_precision_at_r(embeddings, labels)
    0.25
    """
    values = _judge(
        embeddings, labels, gallery, gallery_labels, metric, _average_precision_at_r
    )
    return _mean(values, per_probe)


def check_embeddings(embeddings, labels, names=("embeddings", "labels")):
    """Check embeddings and number their labels.

    Parameters
    ----------
    embeddings : array-like of shape (n, embedding_dim)
        Embeddings.

    labels : array-like of shape (n,)
        Class of each.

    names : tuple of str, default=("embeddings", "labels")
        What the caller calls the two.

    Returns
    -------
    embeddings : float64 ndarray of shape (n, embedding_dim)
        Embeddings.

    codes : int64 ndarray of shape (n,)
        Rank of each label among the distinct ones.

    Raises
    ------
    ValueError
        If embeddings are not finite, labels are missing or the lengths differ.
    """
    embeddings = check_array(embeddings, dtype=np.float64, input_name=names[0])
    return embeddings, encode(labels, names[1], len(embeddings))


def _judge(probes, labels, gallery, gallery_labels, metric, judge, k=_CLASS_SIZE):
    """Judge the ranks at which each probe finds its class; NaN where it cannot."""
    alone = gallery is None
    probes, codes, gallery, gallery_codes = _check(
        probes, labels, gallery, gallery_labels, metric
    )
    n_candidates = len(gallery) - alone
    by_class = k is _CLASS_SIZE
    if not (by_class or (isinstance(k, Integral) and 1 <= k <= n_candidates)):
        raise ValueError(
            f"k={k!r} must be an integer from 1 to the {n_candidates} items that each"
            " probe is compared with."
        )

    def judge_chunk(distances, start):
        values = np.full(len(distances), np.nan)
        for row, near in enumerate(distances):
            own = gallery_codes == codes[start + row]
            others = near[~own]
            if alone:
                own[start + row] = False
            if own.any():
                values[row] = judge(
                    _ranks(near[own], others, own.sum() if by_class else k)
                )
        return values

    # Through SciPy, whose distances do not depend on the place of a row in the array:
    # the matrix product behind "euclidean" gives equal rows unequal distances.
    return np.concatenate(
        list(
            pairwise_distances_chunked(
                probes, gallery, metric="sqeuclidean", reduce_func=judge_chunk
            )
        )
    )


def _ranks(own, others, limit):
    """Ranks of a class's items, rising; beyond ``limit`` only that they are beyond."""
    if limit < len(others):
        others = np.partition(others, limit - 1)[:limit]
    ahead = np.searchsorted(np.sort(others), np.sort(own), side="right")
    return np.arange(1, len(own) + 1) + ahead


def _first_rank(ranks):
    """Rank of the first item of the class."""
    return ranks[0]


def _precision_at_r(ranks):
    """Share of the class within its own number of ranks."""
    return np.mean(ranks <= len(ranks))


def _average_precision_at_r(ranks):
    """Mean over the class of the precision at each rank within its number."""
    hits = ranks[ranks <= len(ranks)]
    return np.sum(np.arange(1, len(hits) + 1) / hits) / len(ranks)


def _mean(values, per_probe):
    """Mean over the probes that could be judged, unless each is asked for."""
    if per_probe:
        return values
    judged = values[~np.isnan(values.reshape(len(values), -1)[:, 0])]
    if not len(judged):
        return np.full(values.shape[1:], np.nan)[()]
    mean = judged.mean(axis=0)
    return mean if mean.ndim else float(mean)


def _check(probes, labels, gallery, gallery_labels, metric):
    """Check all arrays; unit rows for the cosine, codes for the labels."""
    if metric not in ("euclidean", "cosine"):
        raise ValueError(f'metric={metric!r} must be "euclidean" or "cosine".')
    probes, codes = check_embeddings(probes, labels)
    if (gallery is None) != (gallery_labels is None):
        raise ValueError("gallery and gallery_labels must be passed together.")
    probes = _scaled("embeddings", probes, metric)
    if gallery is None:
        return probes, codes, probes, codes
    gallery = check_array(gallery, dtype=np.float64, input_name="gallery")
    if gallery.shape[1] != probes.shape[1]:
        raise ValueError(
            f"gallery has {gallery.shape[1]} columns, but embeddings has"
            f" {probes.shape[1]}: both must come from one network."
        )
    codes, gallery_codes = encode_together(
        (labels, "labels", len(probes)),
        (gallery_labels, "gallery_labels", len(gallery)),
    )
    return probes, codes, _scaled("gallery", gallery, metric), gallery_codes


def _scaled(name, rows, metric):
    """Rows of unit length for the cosine, whose order Euclidean distances then have."""
    if metric == "euclidean":
        return rows
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not lengths.all():
        raise ValueError(
            f"{name} has a row of zeros at {int(np.argmin(lengths))}, which has no"
            ' direction: metric="cosine" cannot rank it.'
        )
    return rows / lengths
