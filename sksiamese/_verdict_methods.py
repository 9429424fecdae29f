"""What a verifier says about pairs of images (layer 3, last step)."""

import numpy as np
from scipy.special import expit
from sklearn.metrics import accuracy_score

from sksiamese._embedder_interface import embed, embedding_distance
from sksiamese._validation import check_is_fitted, check_pairs, check_same


class VerdictMethods:
    """Distance, decision, probability and accuracy of pairs.

    Mixed into the verifier, which provides ``embedder_``, ``threshold_`` and ``_link``.
    """

    def pair_distance(self, pairs):
        """Distance between the two members of each pair.

        Euclidean between embeddings, or 1 minus the probability of "same" where the
        embedder has learned a head; in the unit of ``threshold_``. Each member is
        embedded anew, also where an image is in several pairs.

        Parameters
        ----------
        pairs : array-like of shape (n_pairs, 2, ...) or tuple of two array-likes
            Pairs of images, as one array or as their first and second members, which
            are not copied.

        Returns
        -------
        float64 ndarray of shape (n_pairs,)
            Distances, >= 0; smaller is closer.

        See Also
        --------
        decision_function : The threshold minus this, so that larger is closer.

        Examples
        --------
        The first thirty digits are 0 to 9, three times, so ten rows on is the same one:

        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseEmbedder, SiameseVerifier
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X.reshape(-1, 8, 8)
        >>> embedder = SiameseEmbedder(max_epochs=5, random_state=0)
        >>> verifier = SiameseVerifier(embedder, random_state=0).fit(X[30:], y[30:])
        >>> same = verifier.pair_distance((X[:10], X[10:20]))
        >>> different = verifier.pair_distance((X[:10], X[11:21]))
        >>> bool(same.mean() < verifier.threshold_ < different.mean())
        True
        """
        check_is_fitted(self)
        members = [embed(self.embedder_, images) for images in check_pairs(pairs)]
        return embedding_distance(self.embedder_, *members)

    def decision_function(self, pairs):
        """Measure how far the distance of each pair is below the threshold.

        It is in the unit of the distance. Functions that rank pairs, such as
        ``roc_auc_score``, take it as it is.

        Parameters
        ----------
        pairs : array-like of shape (n_pairs, 2, ...) or tuple of two array-likes
            Pairs of images, as in :meth:`pair_distance`.

        Returns
        -------
        float64 ndarray of shape (n_pairs,)
            ``threshold_`` minus distance: same where >= 0.

        See Also
        --------
        predict : Whether it is at least 0.
        predict_proba : A probability instead.

        Examples
        --------
        The first thirty digits are 0 to 9, three times, so ten rows on is the same one:

        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseEmbedder, SiameseVerifier
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X.reshape(-1, 8, 8)
        >>> embedder = SiameseEmbedder(max_epochs=5, random_state=0)
        >>> verifier = SiameseVerifier(embedder, random_state=0).fit(X[30:], y[30:])
        >>> margin = verifier.decision_function((X[:10], X[10:20]))
        >>> bool(((margin >= 0) == verifier.predict((X[:10], X[10:20]))).all())
        True
        """
        check_is_fitted(self)
        return self.threshold_ - self.pair_distance(pairs)

    def predict(self, pairs):
        """Tell which pairs are the same.

        How often it errs on new pairs is what ``threshold`` aims at; ``calibration_``
        holds ``"fpr"`` and ``"tpr"``, the shares accepted of the pairs that it was set
        by.

        Parameters
        ----------
        pairs : array-like of shape (n_pairs, 2, ...) or tuple of two array-likes
            Pairs of images, as in :meth:`pair_distance`.

        Returns
        -------
        bool ndarray of shape (n_pairs,)
            True where the distance is at most ``threshold_``.

        See Also
        --------
        decision_function : How clear each case is.
        score : Share of pairs judged right.

        Examples
        --------
        The first thirty digits are 0 to 9, three times, so ten rows on is the same one:

        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseEmbedder, SiameseVerifier
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X.reshape(-1, 8, 8)
        >>> embedder = SiameseEmbedder(max_epochs=5, random_state=0)
        >>> verifier = SiameseVerifier(embedder, random_state=0).fit(X[30:], y[30:])
        >>> same = verifier.predict((X[:10], X[10:20]))
        >>> different = verifier.predict((X[:10], X[11:21]))
        >>> bool(same.mean() > 0.7 and different.mean() < 0.3)
        True
        """
        return self.decision_function(pairs) >= 0

    def predict_proba(self, pairs):
        """Probability of each pair to be different, and to be the same.

        A logistic regression on the distance, fitted on the held-out pairs, both kinds
        weighing alike. Where a share p of all pairs is the same, multiply the odds of
        "same" by p / (1 - p).

        Parameters
        ----------
        pairs : array-like of shape (n_pairs, 2, ...) or tuple of two array-likes
            Pairs of images, as in :meth:`pair_distance`.

        Returns
        -------
        float64 ndarray of shape (n_pairs, 2)
            Probability of "different" and of "same", if both were equally frequent. It
            need not be 0.5 at the threshold, which has aims of its own.

        See Also
        --------
        decision_function : Distance to the threshold, which may lie elsewhere.

        Examples
        --------
        The first thirty digits are 0 to 9, three times, so ten rows on is the same one:

        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseEmbedder, SiameseVerifier
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X.reshape(-1, 8, 8)
        >>> embedder = SiameseEmbedder(max_epochs=5, random_state=0)
        >>> verifier = SiameseVerifier(embedder, random_state=0).fit(X[30:], y[30:])
        >>> p_same = verifier.predict_proba((X[:10], X[10:20]))[:, 1]

        If only one pair in a hundred is the same, so that 1 : 99 are the odds of one
        unseen:

        >>> odds = p_same / (1 - p_same) * 0.01 / 0.99
        >>> bool((odds / (1 + odds) < p_same).all())
        True
        """
        check_is_fitted(self)
        slope, intercept = self._link
        p_same = expit(slope * self.pair_distance(pairs) + intercept)
        return np.stack([1 - p_same, p_same], axis=1)

    def score(self, pairs, same, sample_weight=None):
        """Share of pairs that are judged right.

        Both kinds of errors count alike, so it depends on how many of the pairs are the
        same: compare only sets that agree in that, or use
        :func:`sksiamese.metrics.tar_at_far` and
        :func:`sksiamese.metrics.equal_error_rate`, which do not depend on it.

        Parameters
        ----------
        pairs : array-like of shape (n_pairs, 2, ...) or tuple of two array-likes
            Pairs of images, as in :meth:`pair_distance`.

        same : array-like of shape (n_pairs,)
            Whether each pair is of one class; True or 1 if so.

        sample_weight : array-like of shape (n_pairs,) or None, default=None
            Weights of the pairs.

        Returns
        -------
        float
            Accuracy, between 0 and 1.

        See Also
        --------
        predict : The judgement of each pair.
        sksiamese.pairs.sample_pairs : Pairs of labelled images, same and different.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseEmbedder, SiameseVerifier
        >>> from sksiamese.pairs import sample_pairs
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X.reshape(-1, 8, 8)
        >>> embedder = SiameseEmbedder(max_epochs=5, random_state=0)
        >>> verifier = SiameseVerifier(embedder, random_state=0).fit(X[:900], y[:900])
        >>> pairs, same = sample_pairs(y[900:], 200, random_state=0)
        >>> first, second = X[900:][pairs.T]
        >>> verifier.score((first, second), same) > 0.8
        True
        """
        predicted = self.predict(pairs)
        same = check_same(same, len(predicted))
        return float(accuracy_score(same, predicted, sample_weight=sample_weight))
