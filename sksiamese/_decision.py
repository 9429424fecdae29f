"""From embeddings to classes: decision heads.

Layer 0: NumPy and scikit-learn only. A head learns labels of embeddings bit by bit:
``partial_fit`` adds some, ``forget`` drops classes, ``logits`` judges, as if classes
were as frequent as ``assumed_priors`` says; ``counts`` is how often each was learned,
``novelty`` how far something lies from all that was learned.
"""

import numpy as np
from sklearn.base import clone
from sklearn.metrics import pairwise_distances_argmin_min

from sksiamese._priors import assumed_priors

# Votes of a head that knows only probabilities are cut off here, so that "no votes"
# stays a finite log-odds that the temperature can scale.
_SMALLEST_PROBABILITY = 1e-4


class PrototypeHead:
    """Assign each embedding to the class of its nearest prototype.

    Parameters
    ----------
    n_prototypes : int, default=1
        Prototypes per class: the mean embedding, or the centres of k-means within the
        class. A class with fewer embeddings has fewer.

    random_state : int or None, default=None
        Seed of k-means.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels.

    prototypes_ : ndarray of shape (n_prototypes_total, embedding_dim)
        Prototypes, those of one class beside each other.

    labels_ : ndarray of shape (n_prototypes_total,)
        Class of each prototype.

    counts_ : ndarray of shape (n_prototypes_total,)
        Embeddings that each prototype stands for.
    """

    def __init__(self, n_prototypes=1, random_state=None):
        self.n_prototypes = n_prototypes
        self.random_state = random_state
        self.classes_ = None

    def partial_fit(self, Z, y):
        """Add embeddings of known or new classes.

        The prototypes of a known class enter as embeddings that weigh as much as those
        they stand for, so that a class with one prototype keeps its exact mean.

        Parameters
        ----------
        Z : ndarray of shape (n, embedding_dim)
            Embeddings.

        y : ndarray of shape (n,)
            Labels.

        Returns
        -------
        PrototypeHead
            The extended head.
        """
        if self.classes_ is None:
            self.prototypes_, self.labels_, self.counts_ = Z[:0], y[:0], np.empty(0)
        points = np.concatenate([self.prototypes_, Z])
        weights = np.concatenate([self.counts_, np.ones(len(Z))])
        labels = np.concatenate([self.labels_, y])
        self.classes_, codes = np.unique(labels, return_inverse=True)
        touched = set(codes[len(self.labels_) :])
        parts = []
        for code in range(len(self.classes_)):
            mine = codes == code
            part = points[mine], weights[mine]
            if code in touched:
                part = self._summarise(*part)
            parts.append(part)
        self.prototypes_ = np.concatenate([p for p, _ in parts]).astype(Z.dtype)
        self.counts_ = np.concatenate([c for _, c in parts])
        self.labels_ = np.repeat(self.classes_, [len(c) for _, c in parts])
        return self

    def _summarise(self, points, weights):
        """Prototypes of one class and the weight of each."""
        n_clusters = self.n_prototypes
        if n_clusters > 1:  # k-means warns of fewer distinct points than clusters
            n_clusters = min(n_clusters, len(np.unique(points, axis=0)))
        if n_clusters == 1:
            mean = np.average(points, axis=0, weights=weights)
            return mean[None], weights.sum(keepdims=True)
        from sklearn.cluster import KMeans  # takes a tenth of a second to load

        kmeans = KMeans(n_clusters, n_init=3, random_state=self.random_state)
        nearest = kmeans.fit_predict(points, sample_weight=weights)
        return kmeans.cluster_centers_, np.bincount(nearest, weights, n_clusters)

    def check_room(self, n_known):
        """Check nothing: one embedding is enough.

        Parameters
        ----------
        n_known : int
            Embeddings that will be known.
        """

    def forget(self, labels):
        """Drop the prototypes of some classes.

        Parameters
        ----------
        labels : array-like
            Labels to drop; unknown ones are ignored.

        Returns
        -------
        PrototypeHead
            The head.
        """
        if self.classes_ is not None:
            keep = ~np.isin(self.labels_, labels)
            self.prototypes_ = self.prototypes_[keep]
            self.labels_ = self.labels_[keep]
            self.counts_ = self.counts_[keep]
            self.classes_ = np.unique(self.labels_)
        return self

    def counts(self):
        """Count the embeddings learned.

        Returns
        -------
        float64 ndarray of shape (n_classes,)
            Number for each class.
        """
        codes = np.searchsorted(self.classes_, self.labels_)
        return np.bincount(codes, self.counts_)

    def assumed_priors(self):
        """Class frequencies that the logits assume: all alike.

        Returns
        -------
        float64 ndarray of shape (n_classes,)
            Frequencies.
        """
        return np.full(len(self.classes_), 1 / len(self.classes_))

    def logits(self, Z):
        """Negative squared distance to each class's nearest prototype.

        Parameters
        ----------
        Z : ndarray of shape (n, embedding_dim)
            Embeddings.

        Returns
        -------
        float64 ndarray of shape (n, n_classes)
            Scores, <= 0; larger is closer.
        """
        # scikit-learn's euclidean_distances checks for longer than one image takes.
        Z, prototypes = Z.astype(np.float64), self.prototypes_.astype(np.float64)
        norms = np.square(Z).sum(axis=1)[:, None] + np.square(prototypes).sum(axis=1)
        squares = np.maximum(norms - 2 * Z @ prototypes.T, 0)
        first = np.searchsorted(self.labels_, self.classes_)
        return -np.minimum.reduceat(squares, first, axis=1)

    def novelty(self, Z, logits=None):
        """Distance to the nearest prototype.

        Parameters
        ----------
        Z : ndarray of shape (n, embedding_dim)
            Embeddings.

        logits : float64 ndarray of shape (n, n_classes) or None, default=None
            What :meth:`logits` gives for them, if that is at hand.

        Returns
        -------
        float64 ndarray of shape (n,)
            Euclidean distances, >= 0.
        """
        logits = self.logits(Z) if logits is None else logits
        return np.sqrt(-logits.max(axis=1))


class RefittedHead:
    """Any scikit-learn classifier, fitted again whenever embeddings are added.

    Parameters
    ----------
    classifier : classifier
        Unfitted classifier.

    random_state : int or None, default=None
        Seed for whatever in the classifier has none of its own.

    Attributes
    ----------
    classifier_ : classifier
        The classifier, fitted on all embeddings known.

    classes_ : ndarray of shape (n_classes,)
        Sorted labels.

    embeddings_ : ndarray of shape (n_known, embedding_dim)
        Embeddings known.

    labels_ : ndarray of shape (n_known,)
        Their labels.
    """

    def __init__(self, classifier, random_state=None):
        self.classifier = classifier
        self.random_state = random_state
        self.classes_ = None

    def partial_fit(self, Z, y):
        """Add embeddings of known or new classes and fit again on all of them.

        Parameters
        ----------
        Z : ndarray of shape (n, embedding_dim)
            Embeddings.

        y : ndarray of shape (n,)
            Labels.

        Returns
        -------
        RefittedHead
            The extended head.
        """
        if self.classes_ is not None:
            Z = np.concatenate([self.embeddings_, Z])
            y = np.concatenate([self.labels_, y])
        self.check_room(len(Z))
        classifier = clone(self.classifier)
        unseeded = {
            name: self.random_state
            for name, value in classifier.get_params(deep=True).items()
            if value is None and name.split("__")[-1] == "random_state"
        }
        self.classifier_ = classifier.set_params(**unseeded).fit(Z, y)
        self.classes_ = self.classifier_.classes_
        self.embeddings_, self.labels_ = Z, y
        self._assumed_priors = assumed_priors(self.classifier_, y)
        return self

    def check_room(self, n_known):
        """Check that a number of embeddings is enough.

        Parameters
        ----------
        n_known : int
            Embeddings that will be known.

        Raises
        ------
        ValueError
            If more neighbours are asked for.
        """
        n_neighbors = getattr(self.classifier, "n_neighbors", None)
        if n_neighbors is not None and n_neighbors > n_known:
            raise ValueError(
                f"n_neighbors={n_neighbors}, but only {n_known} images are known: use a"
                " smaller n_neighbors or add images."
            )

    def forget(self, labels):
        """Drop the embeddings of some classes; the next ``partial_fit`` refits.

        Parameters
        ----------
        labels : array-like
            Labels to drop; unknown ones are ignored.

        Returns
        -------
        RefittedHead
            The head.
        """
        if self.classes_ is not None:
            keep = ~np.isin(self.labels_, labels)
            self.embeddings_, self.labels_ = self.embeddings_[keep], self.labels_[keep]
        return self

    def counts(self):
        """Count the embeddings known.

        Returns
        -------
        int64 ndarray of shape (n_classes,)
            Number for each class.
        """
        return np.unique(self.labels_, return_counts=True)[1]

    def assumed_priors(self):
        """Class frequencies that the logits assume: those that the classifier learned.

        Returns
        -------
        float64 ndarray of shape (n_classes,)
            Frequencies.
        """
        return self._assumed_priors

    def logits(self, Z):
        """Log-odds, up to a common factor, that the classifier gives to each class.

        Parameters
        ----------
        Z : ndarray of shape (n, embedding_dim)
            Embeddings.

        Returns
        -------
        float64 ndarray of shape (n, n_classes)
            ``decision_function``, or the logarithm of ``predict_proba``.
        """
        if hasattr(self.classifier_, "decision_function"):
            scores = np.asarray(self.classifier_.decision_function(Z), np.float64)
            if scores.ndim == 1:
                scores = np.stack([np.zeros_like(scores), scores], axis=1)
            return scores
        proba = self.classifier_.predict_proba(Z)
        return np.log(np.clip(proba, _SMALLEST_PROBABILITY, None))

    def novelty(self, Z, logits=None):
        """Distance to the nearest embedding known.

        Parameters
        ----------
        Z : ndarray of shape (n, embedding_dim)
            Embeddings.

        logits : float64 ndarray of shape (n, n_classes) or None, default=None
            Not needed, as a classifier's scores say nothing about distances.

        Returns
        -------
        float64 ndarray of shape (n,)
            Euclidean distances, >= 0.
        """
        nearest = pairwise_distances_argmin_min(Z, self.embeddings_)[1]
        return nearest.astype(np.float64)


def make_head(classifier, n_prototypes, n_neighbors, random_state):
    """Build the unfitted head that ``classifier`` describes.

    Parameters
    ----------
    classifier : {"prototype", "knn"} or classifier
        A name, or a scikit-learn classifier, which is cloned.

    n_prototypes, n_neighbors : int
        Parameters of the named heads.

    random_state : int
        Seed of k-means, and of a classifier that has none of its own.

    Returns
    -------
    PrototypeHead or RefittedHead
        Head that knows no embedding yet.

    Raises
    ------
    ValueError
        If the classifier gives neither scores nor probabilities.
    """
    if classifier == "prototype":
        return PrototypeHead(n_prototypes, random_state)
    if classifier == "knn":
        from sklearn.neighbors import KNeighborsClassifier

        return RefittedHead(KNeighborsClassifier(n_neighbors))
    if not (
        hasattr(classifier, "decision_function") or hasattr(classifier, "predict_proba")
    ):
        raise ValueError(
            f"classifier={classifier!r} has neither decision_function nor"
            " predict_proba, so nothing can be calibrated on it: wrap it in"
            " sklearn.calibration.CalibratedClassifierCV."
        )
    shapes = [
        value
        for name, value in classifier.get_params(deep=True).items()
        if name.split("__")[-1] == "decision_function_shape"
    ]
    if "ovo" in shapes:
        raise ValueError(
            f"classifier={classifier!r} scores pairs of classes, not classes: set its"
            " decision_function_shape='ovr'."
        )
    return RefittedHead(classifier, random_state)
