"""Can pairs be told apart by looking at one member? (layer 0: NumPy, scikit-learn)."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import rankdata

# Pairs looked at, of each side; pairs of each kind that a judgement takes at least.
_MOST, _FEWEST = 50_000, 30
# A shortcut counts from this AUC on, and where the frequencies of classes cannot
# explain it by so many standard errors: those of up to so many equally frequent
# classes, unless the pairs show that there are fewer.
_LEAST_AUC, _N_CLASSES, _N_ERRORS, _N_BOOTSTRAPS = 0.6, 20, 4.0, 100


@dataclass(frozen=True)
class Shortcut:
    """How well the label of a pair is told from one of its members.

    Parameters
    ----------
    auc : float
        Area under the ROC curve of single members of test pairs, by a model of the
        training pairs.

    found : bool
        Whether that is 0.6 or more and more than the frequencies of classes explain.

    undecided : bool
        Whether it is 0.6 or more, and chance hides if these explain it.

    statistic : str
        The single statistic that tells most.

    statistic_auc : float
        The AUC of that statistic alone, at least 0.5.
    """

    auc: float
    found: bool
    undecided: bool
    statistic: str
    statistic_auc: float


def measure_shortcut(statistics, names, train, test):
    """Measure how well single members tell the label of their pair.

    Parameters
    ----------
    statistics : ndarray of shape (n_images, n_statistics)
        Statistics of each image.

    names : list of str
        Names of the statistics.

    train, test : tuple of (int64 ndarray of shape (n, 2), bool ndarray of shape (n,))
        Pairs of images, and whether they are the same.

    Returns
    -------
    Shortcut or None
        None if there are too few pairs of either kind to tell.
    """
    rng = np.random.default_rng(0)
    train, test = (_subsample(*side, rng) for side in (train, test))
    fitted, scored = _part_images(len(statistics), train[0], test[0], rng)
    known = fitted[train[0]].all(axis=1)
    pairs, same = train[0][known], train[1][known]
    seen = scored[test[0]]
    both = seen.all(axis=1)
    enough = [np.bincount(s, minlength=2).min() for s in (same, test[1][both])]
    if min(enough) < _FEWEST:
        return None
    # Ranks in 200 steps: trees see no difference, and scikit-learn 1.9 needs seconds to
    # find quantiles of many values with weights.
    steps = np.floor(rankdata(statistics, axis=0) * (200 / len(statistics)))
    scores = _fit(steps, pairs, same).predict_proba(steps)[:, 1]
    label = np.broadcast_to(test[1][:, None], seen.shape)[seen]
    auc = _auc(label, scores[test[0]][seen])
    alone = [_auc(label, column[test[0]][seen]) for column in statistics.T]
    alone = np.maximum(alone, 1 - np.array(alone))
    most = int(alone.argmax())
    found = undecided = False
    if auc >= _LEAST_AUC:
        excess, error = _violation(scores, test[0][both], test[1][both])
        found = excess > _N_ERRORS * error
        undecided = not found and excess > -_N_ERRORS * error
    return Shortcut(auc, found, undecided, names[most], float(alone[most]))


def _subsample(pairs, same, rng):
    """Draw some pairs if there are many."""
    if len(pairs) <= _MOST:
        return pairs, same
    drawn = rng.choice(len(pairs), _MOST, replace=False)
    return pairs[drawn], same[drawn]


def _part_images(n_images, train_pairs, test_pairs, rng):
    """Part the images into those to learn from and those to score.

    A fair protocol has parted them already. Images on both sides go either way, else
    the model would remember in which pairs an image was.
    """
    in_train, in_test = np.zeros((2, n_images), dtype=bool)
    in_train[train_pairs], in_test[test_pairs] = True, True
    fitted = in_train & (~in_test | (rng.random(n_images) < 0.5))
    return fitted, in_test & ~fitted


def _fit(statistics, pairs, same):
    """Fit a model that tells from one image how often its pairs are the same."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    n = len(statistics)
    counts = [np.bincount(pairs[same == kind].ravel(), minlength=n) for kind in (0, 1)]
    images = [np.flatnonzero(count) for count in counts]
    rows = np.concatenate(images)
    # Each image once for each kind, with as much weight as it has pairs; the kinds
    # weigh alike.
    weights = [c[i] / c.sum() for c, i in zip(counts, images, strict=True)]
    weights = np.concatenate(weights) * len(rows) / 2
    model = HistGradientBoostingClassifier(
        max_iter=50, max_leaf_nodes=15, early_stopping=False, random_state=0
    )
    labels = np.repeat([0, 1], [len(i) for i in images])
    # On a busy machine threads that wait for each other cost more than they bring.
    with threadpool_limits(1, user_api="openmp"):
        return model.fit(statistics[rows], labels, sample_weight=weights)


def _auc(label, score):
    """Area under the ROC curve."""
    n_same = int(label.sum())
    ranks = rankdata(score)[label].sum() - n_same * (n_same + 1) / 2
    return float(ranks / (n_same * (len(label) - n_same)))


def _violation(scores, pairs, same):
    """Measure by how much a fair protocol's inequality is violated, and how surely.

    See Notes of ``audit_pairs`` for the inequality. Its standard error is that over
    images, since pairs that share images are not independent: each image weighs at
    random (Bayesian bootstrap), each pair as the product of its members.
    """
    rng = np.random.default_rng(0)
    rows, index = np.unique(pairs, return_inverse=True)
    index = index.reshape(pairs.shape)
    odds = _least_odds(index, same)
    excess = []
    for draw in range(_N_BOOTSTRAPS + 1):
        weight = rng.standard_exponential(len(rows)) if draw else np.ones(len(rows))
        weight = weight[index].prod(axis=1)
        excess.append(_excess(scores[pairs], same, weight, odds))
    return float(excess[0]), float(np.std(excess[1:]))


def _least_odds(pairs, same):
    """Bound the odds that two images drawn at random are of one class, from below.

    See Notes of ``audit_pairs``. Images are numbered from 0, and each is in a pair.
    """
    n, different = pairs.max() + 1, pairs[~same]
    links = coo_array((np.ones(int(same.sum())), tuple(pairs[same].T)), shape=(n, n))
    part = connected_components(links, directed=False)[1]
    sizes = np.bincount(part)
    if (part[different[:, 0]] == part[different[:, 1]]).any():
        return 1 / _N_CLASSES  # "same" is no matter of classes
    if len(sizes) == 2:
        return 1.0
    times = np.bincount(different.ravel())
    coverage = 1 - (times == 1).sum() / times.sum()
    odds = coverage**2 * (sizes * (sizes - 1.0)).sum() / (n * (n - 1.0))
    return max(1 / _N_CLASSES, odds)


def _excess(scores, same, weight, odds):
    """By how much the inequality is violated."""
    one, two = weight[same], weight[~same]
    mean_same = np.average(scores[same].mean(axis=1), weights=one)
    mean_different = np.average(scores[~same].mean(axis=1), weights=two)
    together = np.average((scores[~same] - mean_different).prod(axis=1), weights=two)
    return odds * (mean_same - mean_different) ** 2 + together
