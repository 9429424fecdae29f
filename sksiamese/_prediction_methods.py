"""What a classifier says about images (layer 3)."""

import numpy as np
from scipy.special import softmax

from sksiamese._calibration import log_odds
from sksiamese._onnx import export_classifier
from sksiamese._open_set import add_label
from sksiamese._validation import check_is_fitted


class PredictionMethods:
    """Classes, probabilities and strangeness of images, by the head on embeddings.

    Mixed into the classifier, beside ``HeadMethods``, which fit that head.
    """

    def predict(self, X):
        """Predict the class of each image.

        Without ``unknown="reject"`` every image gets one of ``classes_``, however
        little it looks like any: see :meth:`unknown_score`. ``priors`` and
        ``class_weight`` move the borders between classes.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images or rows of the shape seen in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n,)
            Class labels, those with the largest probability; with ``unknown="reject"``
            ``unknown_label_`` where :meth:`unknown_score` exceeds
            ``unknown_threshold_``. The dtype is that of ``classes_``, or a wider one
            that holds that label too.

        See Also
        --------
        predict_proba : How sure the prediction is.
        unknown_score : How far an image is from all that is known.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X.reshape(-1, 8, 8)
        >>> clf = SiameseClassifier(max_epochs=5, random_state=0).fit(X[:900], y[:900])
        >>> bool((clf.predict(X[900:]) == y[900:]).mean() > 0.9)
        True
        """
        Z, scores = self._ask(X)
        best = self._calibrated(scores).argmax(axis=1)
        if not hasattr(self, "unknown_threshold_"):
            return self.classes_[best]
        best[self._novelty(Z, scores) > self.unknown_threshold_] = -1  # the last
        return add_label(self.classes_, self.unknown_label_)[best]

    def predict_proba(self, X):
        """Calibrated probability of each class.

        A temperature, fitted on held-out images, makes them as certain as they are
        right: of the images given 0.8, about 80 % are of that class. ``calibration_``
        tells what that rests on, and ``priors`` how frequent classes are taken to be.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images or rows of the shape seen in :meth:`fit`.

        Returns
        -------
        float64 ndarray of shape (n, n_classes)
            Probabilities, if the image is of one of the classes; columns in the order
            of ``classes_``, rows add up to 1.

        See Also
        --------
        decision_function : Their logarithms, up to a constant, for ranking.
        unknown_score : How far an image is from all that is known.
        sksiamese.metrics.expected_calibration_error : Check them on new images.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X.reshape(-1, 8, 8)
        >>> clf = SiameseClassifier(max_epochs=5, random_state=0).fit(X[:900], y[:900])
        >>> proba = clf.predict_proba(X[900:])
        >>> proba.shape
        (897, 10)

        Predictions are right about as often as their probabilities say:

        >>> confidence = proba.max(axis=1).mean()
        >>> bool(abs(confidence - clf.score(X[900:], y[900:])) < 0.1)
        True
        """
        return softmax(self._calibrated(self._ask(X)[1]), axis=1)

    def decision_function(self, X):
        """Calibrated log-odds.

        For scores that rank images, such as the area under the ROC curve: probabilities
        near 0 and 1 round to ties, these do not. A difference of 1 between two classes
        is a factor of e in their odds.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images or rows of the shape seen in :meth:`fit`.

        Returns
        -------
        float64 ndarray of shape (n, n_classes), or (n,) for two classes
            Logits whose softmax are the probabilities; for two classes the log-odds of
            ``classes_[1]``. Minus infinity for a class of which no image is known.

        See Also
        --------
        predict_proba : Probabilities, the softmax of these.

        Examples
        --------
        The odds of a 9 against a 4:

        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X.reshape(-1, 8, 8)
        >>> X, y = X[(y == 4) | (y == 9)], y[(y == 4) | (y == 9)]
        >>> clf = SiameseClassifier(max_epochs=5, random_state=0).fit(X[:200], y[:200])
        >>> log_odds = clf.decision_function(X[200:])
        >>> log_odds.shape
        (161,)
        >>> bool(((log_odds > 0) == (clf.predict(X[200:]) == 9)).all())
        True
        """
        logits = self._calibrated(self._ask(X)[1])
        if len(self.classes_) == 2:
            return logits[:, 1] - logits[:, 0]
        return logits

    def unknown_score(self, X):
        """Distance to the nearest of what is known: larger is more likely unknown.

        Available whatever ``unknown`` is; the area under its ROC curve says how well
        images of other classes are told, whatever the threshold.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images or rows of the shape seen in :meth:`fit`.

        Returns
        -------
        float64 ndarray of shape (n,)
            Euclidean distances between embeddings, >= 0, at most 2 if
            ``normalize=True``: to the nearest prototype or, with other classifiers, to
            the nearest labelled image. With ``unknown="reject"`` the prototypes of
            images that were not held out, which ``unknown_threshold_`` is for, count
            too.

        See Also
        --------
        predict : With ``unknown="reject"``, classes or ``unknown_label_``.
        enroll : Make a new class known.

        Examples
        --------
        Digits from 8 on are unknown to this classifier:

        >>> from sklearn.datasets import load_digits
        >>> from sklearn.metrics import roc_auc_score
        >>> from sksiamese import SiameseClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X.reshape(-1, 8, 8)
        >>> known = y < 8
        >>> clf = SiameseClassifier(max_epochs=5, random_state=0)
        >>> clf = clf.fit(X[:900][known[:900]], y[:900][known[:900]])
        >>> bool(roc_auc_score(~known[900:], clf.unknown_score(X[900:])) > 0.7)
        True
        """
        return self._novelty(self._embed(X))

    def to_onnx(self, path):
        """Write network and prototypes to an ONNX file, to be run without Python.

        Its input ``"images"`` is an array of shape ``(n, *image_shape_)``, also where
        rows came flattened and pixels from files, with any n and the dtype of the
        first images trained on, such as ``uint8``. Its outputs are, but for rounding,

        - ``"embeddings"``, float32 of shape ``(n, embedding_dim)``: :meth:`transform`;
        - ``"probabilities"``, float32 of shape ``(n, n_classes)``:
          :meth:`predict_proba`;
        - ``"labels"`` of shape ``(n,)``: :meth:`predict`, ``unknown_label_`` included,
          as strings or int64. For classes that are neither strings (in Unicode and
          without nulls) nor whole numbers, their index in ``classes_``;
        - ``"unknown_score"``, float32 of shape ``(n,)``: :meth:`unknown_score`.

        Values that are no numbers or overflow are not refused there: with
        ``unknown="reject"`` such images are unknown, otherwise their probabilities are
        NaN. While this runs, trainings in other threads wait, and predictions there may
        differ by rounding.

        Parameters
        ----------
        path : path-like
            File to write, in one step: an older one stays as it is if this fails.

        Raises
        ------
        ImportError
            If onnx or onnxscript is missing: ``pip install "sksiamese[onnx]"``; or if
            PyTorch is older than 2.9.

        ValueError
            If ``classifier`` is not ``"prototype"``, or the backbone does what ONNX
            cannot express, or has weights of 2 GiB.

        See Also
        --------
        sksiamese.save : Keep the estimator itself, to be loaded in Python.

        Notes
        -----
        The model's metadata hold as JSON ``image_shape``; ``classes``; ``labels``,
        which is ``"classes"`` or ``"indices"``; and with ``unknown="reject"``
        ``unknown_label`` and ``unknown_threshold``. The operators are those of opset
        18, which onnxruntime knows since version 1.14.

        Examples
        --------
        >>> import os, tempfile
        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseClassifier
        >>> X, y = load_digits().images.astype("uint8"), load_digits().target
        >>> clf = SiameseClassifier(max_epochs=1, random_state=0).fit(X, y)
        >>> path = os.path.join(tempfile.mkdtemp(), "digits.onnx")
        >>> clf.to_onnx(path)
        >>> import onnxruntime
        >>> session = onnxruntime.InferenceSession(path)
        >>> outputs = session.run(["labels", "probabilities"], {"images": X[:5]})
        >>> [output.shape for output in outputs]
        [(5,), (5, 10)]
        """
        check_is_fitted(self)
        export_classifier(self, path)

    def _ask(self, X):
        """Embeddings, and what the head says of them."""
        Z = self._embed(X)  # refuses what is not fitted
        return Z, self.head_.logits(Z)

    def _calibrated(self, scores):
        """Calibrated logits, columns in the order of ``classes_``."""
        head = self.head_
        logits = log_odds(head, scores, self.temperature_, self._wanted_priors(head))
        if len(head.classes_) == len(self.classes_):
            return logits
        every = np.full((len(logits), len(self.classes_)), -np.inf)
        every[:, np.searchsorted(self.classes_, head.classes_)] = logits
        return every

    def _novelty(self, Z, scores=None):
        """Distance to the nearest of what is known."""
        novelty = self.head_.novelty(Z, scores)
        if self._unknown_head is None:
            return novelty
        return np.minimum(novelty, self._unknown_head.novelty(Z))
