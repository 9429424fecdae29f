"""Accuracy with few labelled images of new classes (layer 0, step 2: no torch)."""

from numbers import Integral

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import norm

from sksiamese._confidence import ConfidenceInterval, check_level
from sksiamese._retrieval_metrics import check_embeddings


def few_shot_accuracy(
    embeddings,
    labels,
    *,
    n_way=5,
    n_shot=1,
    n_query=15,
    n_episodes=600,
    confidence_level=0.95,
    random_state=None,
):
    """Compute the accuracy of classifying by few images of each class.

    Each episode draws ``n_way`` classes and, of each, ``n_shot`` support images and
    ``n_query`` other ones. A query is given the class whose prototype, the mean of its
    support embeddings, is nearest. Chance is ``1 / n_way``.

    Read more in the :ref:`User Guide <guide-one-shot>`.

    Parameters
    ----------
    embeddings : array-like of shape (n, embedding_dim)
        Embeddings; of classes not trained on, as a rule.

    labels : array-like of shape (n,)
        Class of each sample. Classes with fewer than ``n_shot + n_query`` samples take
        no part.

    n_way : int, default=5
        Classes per episode, at least 2.

    n_shot : int, default=1
        Support images per class, at least 1.

    n_query : int, default=15
        Queries per class, at least 1.

    n_episodes : int, default=600
        Episodes, at least 2.

    confidence_level : float, default=0.95
        Confidence of the interval, in (0, 1).

    random_state : int or None, default=None
        Seed of the draw.

    Returns
    -------
    ConfidenceInterval
        Mean accuracy over the episodes, between 0 and 1, and its interval, as papers
        report it.

    Raises
    ------
    ValueError
        If fewer than ``n_way`` classes are large enough, embeddings are NaN, labels
        are missing or lengths differ.

    See Also
    --------
    recall_at_k : Nearest neighbours among all images.
    sksiamese.SiameseClassifier.enroll : Add classes to a classifier by few images.

    Notes
    -----
    Prototypes and Euclidean distances as in [1]_. The interval is that of the mean
    over episodes of THIS data: it shrinks with more episodes and does not cover what
    other classes, or other images, would bring. Classes are drawn in random order, so
    that coinciding embeddings are right by chance, once in ``n_way`` times.

    References
    ----------
    .. [1] Snell, Swersky, Zemel, "Prototypical Networks for Few-shot Learning",
       NeurIPS 2017, https://doi.org/10.48550/arXiv.1703.05175

    Examples
    --------
    >>> import numpy as np
    >>> from sksiamese.metrics import few_shot_accuracy
    >>> rng = np.random.default_rng(0)
    >>> labels = np.repeat(np.arange(8), 20)
    >>> embeddings = rng.normal(size=(8, 4))[labels] * 2 + rng.normal(size=(160, 4))
    >>> few_shot_accuracy(embeddings, labels, n_episodes=100, random_state=0)
    ConfidenceInterval(estimate=0.722..., low=0.701..., high=0.743...)
    """
    embeddings, labels = check_embeddings(embeddings, labels)
    check_level(confidence_level)
    _check_counts(
        n_way=(n_way, 2),
        n_shot=(n_shot, 1),
        n_query=(n_query, 1),
        n_episodes=(n_episodes, 2),
    )
    classes, counts = np.unique(labels, return_counts=True)
    size = n_shot + n_query
    members = [np.flatnonzero(labels == c) for c in classes[counts >= size]]
    if len(members) < n_way:
        raise ValueError(
            f"labels has {len(members)} classes of n_shot + n_query = {size} samples or"
            f" more, but n_way={n_way} are needed: lower n_query, n_shot or n_way."
        )
    rng = np.random.default_rng(random_state)
    truth = np.repeat(np.arange(n_way), n_query)
    accuracies = []
    for _ in range(n_episodes):
        drawn = rng.choice(len(members), n_way, replace=False)
        rows = [rng.choice(members[c], size, replace=False) for c in drawn]
        episode = embeddings[np.stack(rows)]  # (n_way, n_shot + n_query, embedding_dim)
        prototypes = episode[:, :n_shot].mean(axis=1)
        queries = episode[:, n_shot:].reshape(len(truth), -1)
        nearest = cdist(queries, prototypes, "sqeuclidean").argmin(axis=1)
        accuracies.append(np.mean(nearest == truth))
    mean = float(np.mean(accuracies))
    error = np.std(accuracies, ddof=1) / np.sqrt(n_episodes)
    reach = float(norm.ppf((1 + confidence_level) / 2) * error)
    return ConfidenceInterval(mean, max(mean - reach, 0.0), min(mean + reach, 1.0))


def _check_counts(**counts):
    """Refuse counts that are no whole numbers or too small."""
    for name, (value, smallest) in counts.items():
        if not isinstance(value, Integral) or value < smallest:
            raise ValueError(f"{name}={value!r} must be an integer >= {smallest}.")
