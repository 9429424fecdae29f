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

        Each member is embedded anew, also where an image is in several pairs: for many
        pairs of few images, call :meth:`transform` once and measure between its rows.
        From which distance on two images are different is for
        :class:`~sksiamese.SiameseVerifier` to say.

        Parameters
        ----------
        pairs : array-like of shape (n_pairs, 2, ...) or tuple of two array-likes
            Pairs of images, as one array or as their first and second members.

        Returns
        -------
        float32 ndarray of shape (n_pairs,)
            Euclidean distances, >= 0, at most 2 if ``normalize=True``; smaller is
            closer.

        See Also
        --------
        pair_score : The same with larger values for closer pairs.
        sksiamese.SiameseVerifier : Set a threshold on the distance, by held-out images.

        Examples
        --------
        The first thirty digits are 0 to 9, three times, so ten rows on is the same one:

        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseEmbedder
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X.reshape(-1, 8, 8)
        >>> embedder = SiameseEmbedder(max_epochs=3, random_state=0).fit(X[30:], y[30:])
        >>> same = embedder.pair_distance((X[:10], X[10:20]))
        >>> different = embedder.pair_distance((X[:10], X[11:21]))
        >>> bool(same.mean() < different.mean())
        True
        """
        first, second = self._embed_pairs(pairs)
        return np.linalg.norm(first - second, axis=1)

    def pair_score(self, pairs):
        """Similarity of the two members of each pair: the negative distance.

        Functions that judge scores, such as ``roc_auc_score`` and those of
        :mod:`sksiamese.metrics`, expect larger values for pairs of one class.

        Parameters
        ----------
        pairs : array-like of shape (n_pairs, 2, ...) or tuple of two array-likes
            Pairs of images, as in :meth:`pair_distance`.

        Returns
        -------
        float32 ndarray of shape (n_pairs,)
            Scores, <= 0; larger is closer, as scikit-learn's metrics expect.

        See Also
        --------
        pair_distance : The distance itself.
        pair_proba : Probability instead of a distance, by a learned head.
        sksiamese.metrics.tar_at_far : Same pairs accepted at a rate of false ones.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.metrics import roc_auc_score
        >>> from sksiamese import SiameseEmbedder
        >>> from sksiamese.pairs import sample_pairs
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X.reshape(-1, 8, 8)
        >>> embedder = SiameseEmbedder(max_epochs=3, random_state=0)
        >>> embedder = embedder.fit(X[:900], y[:900])
        >>> pairs, same = sample_pairs(y[900:], 200, random_state=0)
        >>> first, second = X[900:][pairs.T]
        >>> bool(roc_auc_score(same, embedder.pair_score((first, second))) > 0.9)
        True
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

        See Also
        --------
        pair_distance : Distance of the embeddings, which the head may weigh otherwise.
        sksiamese.SiameseVerifier.predict_proba : One calibrated on held-out pairs.

        Examples
        --------
        The first thirty digits are 0 to 9, three times, so ten rows on is the same one:

        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseEmbedder
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X.reshape(-1, 8, 8)
        >>> embedder = SiameseEmbedder(loss="logistic", max_epochs=5, random_state=0)
        >>> embedder = embedder.fit(X[30:900], y[30:900])
        >>> same = embedder.pair_proba((X[:10], X[10:20]))
        >>> different = embedder.pair_proba((X[:10], X[11:21]))
        >>> bool(same.mean() > 0.5 > different.mean())
        True
        """
        first, second = self._embed_pairs(pairs)
        return self.net_.pair_proba(first, second)

    def _embed_pairs(self, pairs):
        """Embeddings of the first and the second members of pairs."""
        check_is_fitted(self)
        return tuple(self._embed(members) for members in check_pairs(pairs))
