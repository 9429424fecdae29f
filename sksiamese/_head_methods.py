"""What a classifier builds on the embedding, and how it is extended (layer 3)."""

import copy
import warnings

import numpy as np
from sklearn.utils.validation import check_consistent_length

from sksiamese._calibration import calibrate
from sksiamese._decision import make_head
from sksiamese._diagnosis import check_finite
from sksiamese._open_set import (
    calibrate_rejection,
    check_unknown_label,
    warn_of_promise,
)
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

    Mixed into the classifier, in front of ``BaseSiamese``; ``PredictionMethods`` ask
    what it builds.
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
            If a label is not among the classes of the first call, or with
            ``unknown="reject"``, which needs held-out images.

        See Also
        --------
        fit : Train on data that are there at once, with calibrated probabilities.
        enroll : Add images without training.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X.reshape(-1, 8, 8)
        >>> clf = SiameseClassifier(random_state=0)
        >>> for start in (0, 300, 600):
        ...     chunk = slice(start, start + 300)
        ...     clf = clf.partial_fit(X[chunk], y[chunk], classes=range(10))
        >>> clf.enroll(X[:900], y[:900]).score(X[900:], y[900:]) > 0.5
        True
        """
        if self.unknown is not None:
            raise ValueError(
                f"unknown={self.unknown!r} needs held-out images to set its threshold"
                " by, and partial_fit holds none out: use fit, or set unknown to None."
            )
        self._check_unknown_label(None)
        y = check_targets(self, y)
        known = check_classes(y, classes, getattr(self, "classes_", None))
        _check_priors(self.priors, known)
        with self._unchanged_by_failure():
            X = self._train_on_chunk(X, y)
            head = copy.deepcopy(getattr(self, "head_", None))
            if head is None:
                head = self._make_head(self._draw_seed())
            Z = check_finite(self.net_.embed(X))
            self._population = copy.deepcopy((self.priors, self.class_weight))
            self._place_head(head.forget(np.unique(y)).partial_fit(Z, y), known)
            self._calibrate(self.head_, Z, y, held_out=False)
            self._drop_threshold()
        return self

    def enroll(self, X, y):
        """Add images of known or new classes without training.

        The images are embedded and join the prototypes, the neighbours or the
        training set of the head. New labels join ``classes_``. The network and the
        temperature stay as they are; with ``priors="train"`` the frequencies follow.

        With ``unknown="reject"``, images of new classes are no longer unknown;
        ``max_fpr`` says nothing about them, but goes on to hold for the classes of
        :meth:`fit`, as the prototypes that the threshold was set for go on to count.

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
            If ``priors`` was an array or a dict without a new label, or if a label is
            that of unknown images. Nothing is changed then.

        See Also
        --------
        fit : Train the network, where there is more to learn from than some images.
        unknown_score : Find images that may be of a class not enrolled yet.

        Examples
        --------
        The network learns eight digits, and gets to know the other two by ten images
        each:

        >>> import numpy as np
        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X.reshape(-1, 8, 8)
        >>> new = np.flatnonzero(y > 7)
        >>> old = np.flatnonzero(y < 8)
        >>> clf = SiameseClassifier(max_epochs=5, random_state=0).fit(X[old], y[old])
        >>> clf.enroll(X[new[:20]], y[new[:20]]).classes_
        array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
        >>> clf.score(X[new[20:]], y[new[20:]]) > 0.4
        True
        """
        check_is_fitted(self)
        with warnings.catch_warnings():
            # One image of each of many classes is what enrolment is for.
            warnings.filterwarnings("ignore", "The number of unique classes")
            y = check_targets(self, y)
        check_kind(y, self.classes_)
        check_consistent_length(X, y)
        classes = np.union1d(self.classes_, y)
        _check_priors(self._population[0], classes)
        if hasattr(self, "unknown_label_"):
            check_unknown_label(self.unknown_label_, classes)
        head = copy.deepcopy(self.head_).partial_fit(self._embed(X), y)
        self._place_head(head, classes)
        return self

    # --- the head --------------------------------------------------------------------

    def _check_head(self, n_train, labels=None, n_held_out=0):
        """Refuse a head that would fail, before the network trains for it."""
        self._make_head(0).check_room(n_train)
        if labels is None:
            return
        _check_priors(self.priors, labels)
        self._check_unknown_label(labels)
        if self.unknown is not None and n_held_out == 0:
            warm = self.warm_start and hasattr(self, "net_")
            why = (
                "warm_start goes on with a network that trained on all images, or on"
                " others than these: set warm_start=False"
                if warm
                else f"at validation_fraction={self.validation_fraction} no class can"
                " spare two images: raise it, add images"
            )
            raise ValueError(
                f"unknown={self.unknown!r} needs held-out images to set its threshold"
                f" by, but {why}, or set unknown=None."
            )

    def _check_unknown_label(self, labels):
        """Check the label of unknown images, if there are to be any; return it."""
        if self.unknown is not None:
            return check_unknown_label(self.unknown_label, labels)
        if self.unknown_label is not None:
            raise ValueError(
                f"unknown_label={self.unknown_label!r} has no effect while unknown is"
                " None: set unknown='reject' too."
            )
        return None

    def _make_head(self, seed):
        """Build a head that knows no image yet."""
        return make_head(self.classifier, self.n_prototypes, self.n_neighbors, seed)

    def _fit_head(self, X, y, train, held_out, groups, seed):
        """Fit the head on all embeddings, and on held-out ones what it is judged by."""
        Z = check_finite(self.net_.embed(X))
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
        self._drop_threshold()
        if self.unknown is not None:
            groups = None if groups is None else groups[judged]
            self._calibrate_threshold(head, Z[judged], y[judged], groups, seed)

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

    # --- the open set ----------------------------------------------------------------

    def _calibrate_threshold(self, head, Z, y, groups, seed):
        """Set the threshold by held-out images and a head that has not learned them."""
        self.unknown_label_ = self._check_unknown_label(self.classes_)
        self.unknown_threshold_, self.unknown_calibration_ = calibrate_rejection(
            head, Z, y, self.max_fpr, groups=groups, random_state=seed
        )
        # The head in use has learned more than this one, by which prototypes moved. So
        # those of this one count on, whatever is learned: no image is ever farther than
        # it was for them, and the promise holds. Other heads keep every embedding.
        self._unknown_head = head if hasattr(head, "prototypes_") else None
        warn_of_promise(
            self.unknown_calibration_, self.max_fpr, self.classes_, stacklevel=6
        )

    def _drop_threshold(self):
        """Forget what an earlier ``fit`` knew of unknown images."""
        for name in ("threshold_", "calibration_", "label_"):
            vars(self).pop(f"unknown_{name}", None)
        self._unknown_head = None


def _check_priors(priors, classes):
    """Check frequencies that a caller gave for these classes."""
    if priors is not None and not isinstance(priors, str):
        check_priors(priors, classes)
