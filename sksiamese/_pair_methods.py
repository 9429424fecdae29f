"""What the estimators say about pairs of images (layer 3, below ``_base``)."""

import numpy as np
from sklearn.utils.metaestimators import available_if

from sksiamese._validation import check_is_fitted, check_pairs


def _has_learned_head(estimator):
    """Whether the loss scores pairs with weights of its own."""
    if hasattr(estimator, "net_"):
        return hasattr(estimator.net_.criterion_, "pair_logit")
    loss = estimator.loss
    if isinstance(loss, str):
        return loss.startswith("logistic")
    return hasattr(loss, "pair_logit")


class PairMethods:
    """Distance, score and probability of pairs, of what has an embedding.

    Mixed into the estimators, which provide ``_embed``, ``net_`` and ``loss``.
    """

    def pair_distance(self, pairs):
        """Distance between the embeddings of the two members of each pair.

        Parameters
        ----------
        pairs : array-like of shape (n_pairs, 2, ...) or tuple of two array-likes
            Pairs of images, as one array or as their first and second members.

        Returns
        -------
        float32 ndarray of shape (n_pairs,)
            Euclidean distances, >= 0, at most 2 if ``normalize=True``; smaller is
            closer.
        """
        first, second = self._embed_pairs(pairs)
        return np.linalg.norm(first - second, axis=1)

    def pair_score(self, pairs):
        """Similarity of the two members of each pair: the negative distance.

        Parameters
        ----------
        pairs : array-like of shape (n_pairs, 2, ...) or tuple of two array-likes
            Pairs of images, as in :meth:`pair_distance`.

        Returns
        -------
        float32 ndarray of shape (n_pairs,)
            Scores, <= 0; larger is closer, as scikit-learn's metrics expect.
        """
        return -self.pair_distance(pairs)

    @available_if(_has_learned_head)
    def pair_proba(self, pairs):
        """Probability that the two members of each pair are of one class.

        Available with a loss that learns a head, as ``loss="logistic"`` does.

        Parameters
        ----------
        pairs : array-like of shape (n_pairs, 2, ...) or tuple of two array-likes
            Pairs of images, as in :meth:`pair_distance`.

        Returns
        -------
        float32 ndarray of shape (n_pairs,)
            Probabilities of "same class", if that were as frequent as "different".
        """
        first, second = self._embed_pairs(pairs)
        return self.net_.pair_proba(first, second)

    def _embed_pairs(self, pairs):
        """Embeddings of the first and the second members of pairs."""
        check_is_fitted(self)
        return tuple(self._embed(members) for members in check_pairs(pairs))
