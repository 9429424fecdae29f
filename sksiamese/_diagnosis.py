"""Did the training work? (layer 0: NumPy and scikit-learn only)."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

# Images whose pairs are scored after each epoch, and by which a collapse is judged.
N_SCORED = 512
# Images below which a score at chance may well be chance.
N_JUDGED = 30
# Root-mean-square distance from the mean embedding, relative to their length, under
# which embeddings count as collapsed.
_COLLAPSED = 0.01
# Area under the ROC curve that counts as chance when no epoch exceeds it.
_CHANCE = 0.55
_ADVICE = (
    "Try a lower lr, another margin, mining='all', loss='supervised_contrastive' or"
    " larger batches, and check that y belongs to X."
)


class NotFiniteError(ValueError):
    """A loss, a gradient, a weight or an embedding is NaN or infinite."""


def choose_scored(codes, held_out, seed):
    """Choose held-out rows whose pairs are scored after each epoch.

    Classes are represented alike, by two rows at least, so that there are pairs of one
    class however many classes there are.

    Parameters
    ----------
    codes : int64 ndarray of shape (n,)
        Encoded labels.

    held_out : int64 ndarray
        Held-out rows.

    seed : int
        Seed of the draw.

    Returns
    -------
    int64 ndarray
        Sorted rows, at most ``N_SCORED``; empty when fewer than two classes have two.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(held_out)
    classes = rng.permutation(np.unique(codes[held_out]))
    share = max(2, N_SCORED // max(1, len(classes)))
    parts = [shuffled[codes[shuffled] == c][:share] for c in classes]
    parts = [part for part in parts if len(part) > 1][: N_SCORED // 2]
    if len(parts) < 2:
        return held_out[:0]
    return np.sort(np.concatenate(parts)[:N_SCORED])


def check_finite(embeddings):
    """Refuse embeddings that mean nothing.

    Parameters
    ----------
    embeddings : ndarray of shape (n, embedding_dim)
        Embeddings.

    Returns
    -------
    ndarray of shape (n, embedding_dim)
        The same.

    Raises
    ------
    NotFiniteError
        If any is NaN or infinite.
    """
    if not np.isfinite(embeddings).all():
        raise NotFiniteError(
            "The embeddings became NaN or infinite: check X for values of very"
            " different size, in fit or now, or lower lr and fit again."
        )
    return embeddings


def warn_of_failure(embeddings, scores, *, fault=None, stacklevel):
    """Say so when the embeddings collapsed or tell nothing apart.

    Parameters
    ----------
    embeddings : ndarray of shape (n, embedding_dim)
        Embeddings of training images.

    scores : list of float
        Validation score of each epoch, NaN where there is none; empty if there are too
        few images to judge by.

    fault : str or None, default=None
        What ended the training, if anything did. There is no warning then, but the
        fault is raised if what was learned before cannot be used.

    stacklevel : int
        Of the warning, see :func:`warnings.warn`.

    Raises
    ------
    NotFiniteError
        If embeddings are not finite.
    """
    if fault is not None:
        if not np.isfinite(embeddings).all():
            raise NotFiniteError(fault)
        return
    embeddings = check_finite(embeddings).astype(np.float64)
    spread = np.sqrt(embeddings.var(axis=0).sum())
    scale = np.sqrt(np.square(embeddings).sum(axis=1).mean())
    if spread <= _COLLAPSED * scale:
        warnings.warn(
            f"The embeddings collapsed to a point: their spread is {spread:.2g} at a"
            f" length of {scale:.2g}, so distances mean nothing. {_ADVICE}",
            ConvergenceWarning,
            stacklevel=stacklevel,
        )
    elif not np.isnan(scores).all() and np.nanmax(scores) < _CHANCE:
        warnings.warn(
            "The validation score stayed at chance: the area under the ROC curve of"
            f" held-out pairs never exceeded {np.nanmax(scores):.3f} (chance is 0.5)."
            f" {_ADVICE}",
            ConvergenceWarning,
            stacklevel=stacklevel,
        )
