"""What a classifier builds on the embedding (layer 3)."""

import copy

import numpy as np
from sklearn.utils.validation import check_consistent_length

from sksiamese._calibration import calibrate, log_odds
from sksiamese._decision import make_head
from sksiamese._diagnosis import check_finite
from sksiamese._priors import check_priors, wanted_priors
from sksiamese._validation import (
    check_classes,
    check_is_fitted,
    check_kind,
    check_targets,
    fit_context,
)


class HeadMethods:
    """Fit, calibrate and extend the head that decides on embeddings.

    Mixed into the classifier, in front of ``BaseSiamese``.
    """

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None):
        """Train one pass over a chunk of labelled images.

        The first call sets the network up as ``fit`` does; further calls go on with the
        same optimizer, at a constant learning rate. Nothing is held out, so
        probabilities are not calibrated on unseen images. Each chunk needs images of
        two classes, several of each.

        The network moves with each call, so the chunk's embeddings replace what was
        known of its classes; other classes keep their older ones. After the last call,
        :meth:`enroll` places more images by the final network.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images or rows, as in :meth:`fit`.

        y : array-like of shape (n,)
            Class labels.

        classes : array-like of shape (n_classes,) or None, default=None
            All labels that will come, needed in the first call if the chunk lacks some.

        Returns
        -------
        SiameseClassifier
            The estimator.

        Raises
        ------
        ValueError
            If a label is not among the classes of the first call.
        """
        known = check_classes(y, classes, getattr(self, "classes_", None))
        if known is not None:
            _check_priors(self.priors, known)
        with self._unchanged_by_failure():
            X = self._train_on_chunk(X, y)
            head = copy.deepcopy(getattr(self, "head_", None))
            if head is None:
                head = self._make_head(self._draw_seed())
            y, Z = np.ravel(y), check_finite(self.net_.embed(X))
            self._population = copy.deepcopy((self.priors, self.class_weight))
            self._place_head(head.forget(np.unique(y)).partial_fit(Z, y), known)
            self._calibrate(self.head_, Z, y, held_out=False)
        return self

    def enroll(self, X, y):
        """Add images of known or new classes without training.

        The images are embedded and join the prototypes, the neighbours or the
        training set of the head. New labels join ``classes_``. The network and the
        temperature stay as they are; with ``priors="train"`` the frequencies follow.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images or rows of the shape seen in :meth:`fit`.

        y : array-like of shape (n,)
            Class labels, of the same kind (numbers or strings) as those known.

        Returns
        -------
        SiameseClassifier
            The extended estimator.

        Raises
        ------
        ValueError
            If ``priors`` was an array or a dict without a new label. Nothing is changed
            then.
        """
        check_is_fitted(self)
        y = check_targets(self, y)
        check_kind(y, self.classes_)
        check_consistent_length(X, y)
        classes = np.union1d(self.classes_, y)
        _check_priors(self._population[0], classes)
        head = copy.deepcopy(self.head_).partial_fit(self._embed(X), y)
        self._place_head(head, classes)
        return self

    # --- the head --------------------------------------------------------------------

    def _check_head(self, n_train, labels=None):
        """Refuse a head that would fail, before the network trains for it."""
        self._make_head(0).check_room(n_train)
        if labels is not None:
            _check_priors(self.priors, labels)

    def _make_head(self, seed):
        """Build a head that knows no image yet."""
        return make_head(self.classifier, self.n_prototypes, self.n_neighbors, seed)

    def _fit_head(self, X, y, train, held_out, seed):
        """Fit the head on all embeddings and the temperature on the held-out ones."""
        Z = self.net_.embed(X)
        head = self._make_head(seed).partial_fit(Z[train], y[train])
        # A class whose only group is held out cannot be judged.
        judged = held_out[np.isin(y[held_out], head.classes_)]
        whole = self._make_head(seed).partial_fit(Z, y) if len(judged) else head
        self._population = copy.deepcopy((self.priors, self.class_weight))
        self._place_head(whole, whole.classes_)
        if len(judged):
            self._calibrate(head, Z[judged], y[judged], held_out=True)
        else:
            self._calibrate(head, Z, y, held_out=False)

    def _place_head(self, head, classes):
        """Take a head over, with the frequencies that are wanted of all classes."""
        self.head_, self.classes_ = head, classes
        self.priors_ = wanted_priors(
            *self._population, classes, head.counts(), head.assumed_priors()
        )

    def _calibrate(self, head, Z, y, *, held_out):
        """Fit the temperature of a head, the one in use or its forerunner."""
        self.temperature_, self.calibration_ = calibrate(
            head, Z, y, held_out=held_out, priors=self._wanted_priors(head)
        )

    def _wanted_priors(self, head):
        """Frequencies of the classes that a head knows, or None."""
        if self.priors_ is None:
            return None
        return self.priors_[np.searchsorted(self.classes_, head.classes_)]

    def _logits(self, X):
        """Calibrated logits, columns in the order of ``classes_``."""
        Z = self._embed(X)  # refuses what is not fitted
        head = self.head_
        logits = log_odds(head, Z, self.temperature_, self._wanted_priors(head))
        if len(head.classes_) == len(self.classes_):
            return logits
        every = np.full((len(logits), len(self.classes_)), -np.inf)
        every[:, np.searchsorted(self.classes_, head.classes_)] = logits
        return every


def _check_priors(priors, classes):
    """Check frequencies that a caller gave for these classes."""
    if priors is not None and not isinstance(priors, str):
        check_priors(priors, classes)
