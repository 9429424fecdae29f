"""SiameseVerifier: same or different, at a threshold that holds (layer 4)."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    TransformerMixin,
    clone,
)
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_consistent_length

from sksiamese._documentation import DocumentedMixin
from sksiamese._embedder_interface import (
    EmbedderFeatures,
    embed,
    embedding_distance,
    pass_groups,
)
from sksiamese._encoding import encode
from sksiamese._image_split import is_nested, split_images
from sksiamese._independent_pairs import independent_pairs
from sksiamese._pair_calibration import (
    draw_pairs,
    fit_link,
    promised_threshold,
    warn_of_missing,
)
from sksiamese._pair_sampling import generator
from sksiamese._threshold import balanced_threshold
from sksiamese._validation import (
    HasMethods,
    Interval,
    StrOptions,
    check_groups,
    check_is_fitted,
    check_targets,
    fit_context,
    take_rows,
)
from sksiamese._verdict_methods import VerdictMethods


class SiameseVerifier(
    DocumentedMixin,
    EmbedderFeatures,
    VerdictMethods,
    ClassifierMixin,
    TransformerMixin,
    MetaEstimatorMixin,
    BaseEstimator,
):
    """Tell whether two images are of the same class, patient or signature.

    An embedder learns from one part of the images; pairs of the others, which it has
    never seen, set the distance up to which two images count as the same. That
    threshold can be where both kinds of error are equally frequent, or one that
    promises to accept at most a given share of different pairs.

    Read more in the :ref:`User Guide <guide-verify>`.

    Parameters
    ----------
    embedder : estimator
        :class:`SiameseEmbedder`, :class:`SiameseClassifier`, or any scikit-learn
        estimator with ``fit(X, y)`` and ``transform``, of whose output Euclidean
        distances are taken. ``fit`` trains a clone; ``calibrate`` takes it as it is,
        fitted.

    threshold : {"eer", "accuracy", "max_fpr", "min_tpr"} or float, default="eer"
        The largest distance that counts as the same: where false positives and false
        negatives are equally frequent (``"eer"``); where they are fewest, both kinds of
        pairs being equally frequent (``"accuracy"``); the largest that keeps the
        promise of ``max_fpr``; the smallest that keeps that of ``min_tpr``; or a
        distance of your own.

    max_fpr : float, default=0.01
        For ``threshold="max_fpr"``: share of different pairs, in (0, 1), that is
        accepted at most.

    min_tpr : float, default=0.95
        For ``threshold="min_tpr"``: share of same pairs, in (0, 1), that is accepted at
        least.

    confidence : float, default=0.95
        Probability, in (0, 1), with which ``max_fpr`` and ``min_tpr`` hold for new
        pairs: over many calibrations, that share of thresholds keeps them.

    n_pairs : int, default=20000
        Largest number of pairs of each kind, same and different, to calibrate on, drawn
        from all those of the held-out images.

    validation_fraction : float, default=0.2
        Share of the images, or of the groups, in (0, 1), that ``fit`` holds out from
        the embedder to calibrate on.

    random_state : int, RandomState instance or None, default=None
        Determines held-out images and pairs. The embedder has a seed of its own.

    Attributes
    ----------
    embedder_ : estimator
        The fitted embedder.

    threshold_ : float
        Two images are the same if their distance is at most this.

    calibration_ : dict
        What the threshold rests on: ``"n_images"``; ``"n_classes"``; ``"n_groups"``, or
        None; ``"n_positives"`` and ``"n_negatives"``, numbers of same and different
        pairs; ``"within_groups"``, whether the same pairs lie within groups; ``"fpr"``
        and ``"tpr"``, the shares of all these pairs that are accepted; whether they
        were ``"held_out"`` from training, or None if only the caller knows; for
        ``"max_fpr"`` and ``"min_tpr"`` also ``"n_independent"``, the number of pairs of
        which no two share an image or group, whether the rate is ``"promised"``, and
        ``"bound"``, the rate that is, at the chosen confidence.

    classes_ : bool ndarray of shape (2,)
        False (different) and True (same), the columns of :meth:`predict_proba`.

    n_features_in_ : int
        That of the embedder, if it has one.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Those of the embedder, if it has them.

    See Also
    --------
    SiameseEmbedder : The embedding whose distances are judged.
    SiameseClassifier : Which class, rather than the same one or not.
    sksiamese.search.Gallery : Find the nearest of many stored images.
    sksiamese.save : Keep the fitted verifier in a file.
    sksiamese.pairs.sample_pairs : Index pairs of labelled images.
    sksiamese.metrics : Equal error rate and other figures of verification.

    Notes
    -----
    **The promise.** Errors on pairs that share images are not independent: one odd
    image is in many of them, and a bound from such pairs promises too much. So the
    rates of ``"max_fpr"`` and ``"min_tpr"`` rest on pairs of which no two share an
    image (or, with groups, a group), and the threshold is set where the upper
    Clopper-Pearson bound [1]_ of the error rate is within the limit. A hundred
    held-out images of ten classes give about 45 such pairs, whereas ``max_fpr=0.01``
    needs 299 at a confidence of 0.95. Where there are too few, a warning says what
    could be promised, and the threshold is the best that all pairs drawn suggest.

    The promise is about new pairs that come from where the held-out ones did. Without
    groups: two random images of the same classes in the same proportions. With groups:
    a random image of each of two random groups, all groups weighing alike, whereas
    ``calibration_["fpr"]`` and ``["tpr"]`` weigh large groups more. Where each class
    lies in one group, whole classes are held out, the promise is about new classes, and
    its same pairs are those of random groups, one of each. It says nothing about
    another scanner, clinic or, for characters, alphabet.

    **Probabilities** come from a logistic regression on the distance, fitted on the
    held-out pairs, and hold where same pairs are as frequent as different ones.

    **The distance** is the Euclidean one between embeddings. With a loss that learns a
    head, such as ``SiameseEmbedder(loss="logistic")``, also as the last step of a
    pipeline, it is 1 minus the head's probability of "same".

    **Cross-validation** splits images, and pairs are formed of them, by
    ``scoring=SCORERS["pair_auc"]`` and others of :mod:`sksiamese.metrics`; ``score``
    itself takes pairs.

    **Memory.** ``fit`` copies images, also of a memory-mapped array; for larger sets,
    train the embedder by itself and ``calibrate`` on others.

    References
    ----------
    .. [1] Clopper, Pearson, "The Use of Confidence or Fiducial Limits Illustrated in
       the Case of the Binomial", Biometrika 26, 1934,
       https://doi.org/10.1093/biomet/26.4.404

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sksiamese import SiameseEmbedder, SiameseVerifier
    >>> from sksiamese.pairs import sample_pairs
    >>> images, labels = load_digits(return_X_y=True)
    >>> images = images.reshape(-1, 8, 8)
    >>> embedder = SiameseEmbedder(max_epochs=8, random_state=0)
    >>> verifier = SiameseVerifier(embedder, random_state=0)
    >>> verifier = verifier.fit(images[:1000], labels[:1000])
    >>> pairs, same = sample_pairs(labels[1000:], 500, random_state=0)
    >>> first, second = images[1000:][pairs.T]
    >>> verifier.score((first, second), same) > 0.9
    True
    """

    _parameter_constraints = {
        "embedder": [HasMethods(["fit", "transform"])],
        "threshold": [
            StrOptions({"eer", "accuracy", "max_fpr", "min_tpr"}),
            Interval(Real, None, None, closed="neither"),
        ],
        "max_fpr": [Interval(Real, 0, 1, closed="neither")],
        "min_tpr": [Interval(Real, 0, 1, closed="neither")],
        "confidence": [Interval(Real, 0, 1, closed="neither")],
        "n_pairs": [Interval(Integral, 1, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        embedder,
        *,
        threshold="eer",
        max_fpr=0.01,
        min_tpr=0.95,
        confidence=0.95,
        n_pairs=20_000,
        validation_fraction=0.2,
        random_state=None,
    ):
        self.embedder = embedder
        self.threshold = threshold
        self.max_fpr = max_fpr
        self.min_tpr = min_tpr
        self.confidence = confidence
        self.n_pairs = n_pairs
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, groups=None):
        """Train the embedder and set the threshold on images held out from it.

        A share of the images, or of the groups, is set apart first; a clone of the
        embedder learns from the others, and pairs of those set apart decide on the
        threshold. Where images are too few to spare some, train an embedder on all of
        them and :meth:`calibrate` on images from elsewhere.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images, rows or file names, as the embedder takes them.

        y : array-like of shape (n,)
            Class of each image.

        groups : array-like of shape (n,) or None, default=None
            Group, such as the patient, of each image. Whole groups are held out, and
            the pairs to calibrate on are of two groups each. Where each class lies in
            one group, whole classes are held out, for use on classes that nobody knows
            yet: ``groups=y`` for identities. Pairs of one class are then of one group.

        Returns
        -------
        SiameseVerifier
            The fitted verifier.

        Raises
        ------
        ValueError
            If the images held out form no pair of one class or none of two.

        Warns
        -----
        UserWarning
            If classes have no image held out, or no promise can be made.

        See Also
        --------
        calibrate : Set the threshold on other images, without training.
        predict : Judge pairs.

        Examples
        --------
        Characters, faces or patients to come are nobody's class yet: with ``groups=y``
        the threshold rests on digits that the embedder has never seen.

        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseEmbedder, SiameseVerifier
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X.reshape(-1, 8, 8)
        >>> embedder = SiameseEmbedder(max_epochs=3, random_state=0)
        >>> verifier = SiameseVerifier(embedder, random_state=0).fit(X, y, groups=y)
        >>> verifier.calibration_["n_classes"]
        2
        """
        y = check_targets(self, y)
        check_consistent_length(X, y)
        groups = check_groups(groups, y)
        seed = int(generator(self.random_state).integers(2**31))
        share = "validation_fraction", self.validation_fraction
        train, held_out = split_images(encode(y, "y"), groups, share, seed)
        within = groups is not None and is_nested(y, groups)
        y_held_out = y[held_out]
        held_out_groups = None if groups is None else groups[held_out]
        # Can it be done at all?
        draw_pairs(y_held_out, held_out_groups, 1, seed, within=within)
        if not within:
            warn_of_missing(y, y_held_out, self.validation_fraction)
        embedder = clone(self.embedder)
        passed = pass_groups(embedder, None if groups is None else groups[train])
        embedder.fit(take_rows(X, train), y[train], **passed)
        Z = embed(embedder, take_rows(X, held_out))
        self.embedder_, self._trained = embedder, self.embedder
        self._within = None if groups is None else within
        self._calibrate(Z, y_held_out, held_out_groups, within, seed)
        # What is frozen trained elsewhere, perhaps on these very images.
        frozen = isinstance(embedder, FrozenEstimator)
        self.calibration_["held_out"] = None if frozen else True
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def calibrate(self, X, y, groups=None):
        """Set the threshold on images that trained nothing.

        The embedder stays as it is: that which :meth:`fit` trained, or ``embedder``
        itself, fitted, if there was no ``fit`` or it was set anew.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images that did not train the embedder; nobody checks that.

        y : array-like of shape (n,)
            Class of each image; classes may be new.

        groups : array-like of shape (n,) or None, default=None
            Group of each image, as in :meth:`fit`.

        Returns
        -------
        SiameseVerifier
            The calibrated verifier.

        Raises
        ------
        ValueError
            If the images form no pair of one class or none of two.

        See Also
        --------
        fit : Train the embedder too.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseEmbedder, SiameseVerifier
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X.reshape(-1, 8, 8)
        >>> embedder = SiameseEmbedder(max_epochs=5, random_state=0)
        >>> embedder = embedder.fit(X[:900], y[:900])
        >>> verifier = SiameseVerifier(
        ...     embedder, threshold="max_fpr", max_fpr=0.05, random_state=0
        ... )
        >>> report = verifier.calibrate(X[900:], y[900:]).calibration_
        >>> report["promised"], report["bound"] <= 0.05
        (True, True)
        """
        own = getattr(self, "_trained", None) is self.embedder
        embedder = self.embedder_ if own else self.embedder
        check_is_fitted(embedder)
        y = check_targets(self, y)
        check_consistent_length(X, y)
        groups = check_groups(groups, y)
        # Few patients may have classes to themselves by chance: fit has seen more.
        within = self._within if own else None
        if groups is None or within is None:
            within = groups is not None and is_nested(y, groups)
        draw_pairs(y, groups, 1, 0, within=within)  # can it be done at all?
        Z = embed(embedder, X)
        self.embedder_ = embedder
        seed = int(generator(self.random_state).integers(2**31))
        self._calibrate(Z, y, groups, within, seed)
        return self

    def transform(self, X):
        """Embed images.

        Single images go in, for what needs no pairs: galleries, plots, other
        estimators. The threshold plays no part.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images, as in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n, embedding_dim)
            Embeddings.

        See Also
        --------
        pair_distance : Distance between two images, by a learned head if there is one.
        sksiamese.search.Gallery : Find the nearest of many embedded images.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseEmbedder, SiameseVerifier
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X.reshape(-1, 8, 8)
        >>> embedder = SiameseEmbedder(max_epochs=1, random_state=0)
        >>> verifier = SiameseVerifier(embedder, random_state=0).fit(X, y)
        >>> verifier.transform(X[:5]).shape
        (5, 64)
        """
        check_is_fitted(self)
        return self.embedder_.transform(X)

    def _calibrate(self, Z, y, groups, within, seed):
        """Set the threshold and the link to probabilities from embeddings."""

        def distances(pairs):
            return embedding_distance(self.embedder_, *(Z[rows] for rows in pairs.T))

        positive, negative = (
            distances(pairs)
            for pairs in draw_pairs(y, groups, self.n_pairs, seed, within=within)
        )
        self.calibration_ = {
            "n_images": len(y),
            "n_classes": len(np.unique(y)),
            "n_groups": None if groups is None else len(np.unique(groups)),
            "n_positives": len(positive),
            "n_negatives": len(negative),
            "within_groups": within,
            "held_out": None,
        }
        if isinstance(self.threshold, Real):
            self.threshold_ = float(self.threshold)
        elif self.threshold in ("eer", "accuracy"):
            self.threshold_ = balanced_threshold(positive, negative, self.threshold)
        else:
            same = self.threshold == "min_tpr"
            pairs = independent_pairs(
                y, same=same, groups=groups, within=within, random_state=seed
            )
            self.threshold_, promise = promised_threshold(
                distances(pairs),
                positive if same else negative,
                aim=self.threshold,
                limit=self.min_tpr if same else self.max_fpr,
                confidence=self.confidence,
            )
            self.calibration_.update(promise)
        self.calibration_["fpr"] = float(np.mean(negative <= self.threshold_))
        self.calibration_["tpr"] = float(np.mean(positive <= self.threshold_))
        self._link = fit_link(positive, negative)
        self.classes_ = np.array([False, True])
