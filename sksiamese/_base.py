"""What the estimators share: parameters, checks, ``fit`` (layer 3)."""

import contextlib
import os
from numbers import Integral, Real

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_consistent_length
from torch import nn

from sksiamese._batches import ResidentData
from sksiamese._checkpoint import open_checkpoint, refuse_checkpoint
from sksiamese._class_balance import refuse_counts
from sksiamese._device import isolated_random_state, resolve_device
from sksiamese._diagnosis import check_finite
from sksiamese._documentation import DocumentedMixin
from sksiamese._faults import Snapshot
from sksiamese._memory import kept_memory
from sksiamese._pair_methods import PairMethods
from sksiamese._training_methods import TrainingMethods
from sksiamese._validation import (
    Interval,
    StrOptions,
    check_groups,
    check_images,
    check_is_fitted,
    check_labels,
    fit_context,
)
from sksiamese.augment import AUGMENTATIONS
from sksiamese.losses import LOSSES
from sksiamese.mining import MINING


class BaseSiamese(
    DocumentedMixin,
    TrainingMethods,
    PairMethods,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Base of the siamese estimators; see :class:`SiameseEmbedder` for the parameters.

    A subclass may override ``_fit_head``, called with the network trained.
    """

    _parameter_constraints = {
        "backbone": [str, callable],
        "weights": [None, str, os.PathLike],
        "trainable": [
            StrOptions({"all", "head"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "embedding_dim": [None, Interval(Integral, 1, None, closed="left")],
        "normalize": ["boolean"],
        "loss": [StrOptions(set(LOSSES)), nn.Module],
        "margin": [Interval(Real, 0, None, closed="neither")],
        "mining": [StrOptions({"auto", *MINING})],
        "class_weight": [None, StrOptions({"balanced"}), dict],
        "image_shape": [None, tuple, list],
        "image_size": [None, Interval(Integral, 1, None, closed="left"), tuple, list],
        "cache_dir": [None, str, os.PathLike],
        "checkpoint_dir": [None, str, os.PathLike],
        "n_jobs": [None, Integral],
        "augment": [None, StrOptions({"auto", *AUGMENTATIONS}), callable],
        "augment_minority": [Interval(Real, 1, None, closed="left")],
        "classes_per_batch": [
            StrOptions({"auto"}),
            Interval(Integral, 2, None, closed="left"),
        ],
        "pair_budget": [StrOptions({"balanced", "natural"}), dict],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "lr_schedule": [StrOptions({"one_cycle", "cosine", "constant"})],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "device": [str],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "callbacks": [None, list],
        "net_params": [None, dict],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        backbone="auto",
        *,
        weights=None,
        trainable="all",
        embedding_dim=None,
        normalize=True,
        loss="contrastive",
        margin=1.25,
        mining="auto",
        class_weight=None,
        image_shape=None,
        image_size=None,
        cache_dir=None,
        checkpoint_dir=None,
        n_jobs=None,
        augment="auto",
        augment_minority=1.0,
        classes_per_batch="auto",
        pair_budget="balanced",
        batch_size=128,
        max_epochs="auto",
        lr=3e-3,
        weight_decay=1e-2,
        lr_schedule="one_cycle",
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        device="auto",
        precision="auto",
        random_state=None,
        warm_start=False,
        callbacks=None,
        net_params=None,
        verbose=0,
    ):
        self.backbone = backbone
        self.weights = weights
        self.trainable = trainable
        self.embedding_dim = embedding_dim
        self.normalize = normalize
        self.loss = loss
        self.margin = margin
        self.mining = mining
        self.class_weight = class_weight
        self.image_shape = image_shape
        self.image_size = image_size
        self.cache_dir = cache_dir
        self.checkpoint_dir = checkpoint_dir
        self.n_jobs = n_jobs
        self.augment = augment
        self.augment_minority = augment_minority
        self.classes_per_batch = classes_per_batch
        self.pair_budget = pair_budget
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.lr = lr
        self.weight_decay = weight_decay
        self.lr_schedule = lr_schedule
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.net_params = net_params
        self.verbose = verbose

    # --- public methods --------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, groups=None):
        """Train the network on labelled images.

        Each image of a batch is embedded once and all pairs of the batch come from
        that, so the time grows with the images, not with the pairs. Another call starts
        anew, unless ``warm_start=True``. Ctrl-C ends the training early: what was
        learned until then is kept, and a ``ConvergenceWarning`` says so.

        Parameters
        ----------
        X : array-like of shape (n, height, width), (n, height, width, n_channels), \
(n, n_features) or (n,)
            Images, channels last, of any numeric dtype; rows, which are images if
            ``image_shape`` is set and feature vectors otherwise; or names of PNG, JPEG,
            TIFF, BMP or DICOM files, which are read at ``image_size``, in colour if
            one of them is.

        y : array-like of shape (n,)
            Class labels.

        groups : array-like of shape (n,) or None, default=None
            Group, such as the patient, of each image. Images held out for validation
            and calibration then come from groups that do not train. With metadata
            routing enabled, ``cross_validate(clf.set_fit_request(groups=True), X, y,
            cv=StratifiedGroupKFold(5), params={"groups": groups})`` keeps them apart in
            the folds and in ``fit``.

        Returns
        -------
        object
            The fitted estimator.

        Raises
        ------
        ValueError
            If ``X``, ``y`` or parameters do not fit together; the message names the
            one and the remedy.

        See Also
        --------
        partial_fit : Train on data that come in chunks.
        transform : Embed images with what was learned.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseEmbedder
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X.reshape(-1, 8, 8)
        >>> embedder = SiameseEmbedder(max_epochs=3, random_state=0)
        >>> embedder = embedder.fit(X[:600], y[:600])
        >>> losses = embedder.history_["loss"]
        >>> len(losses), losses[-1] < losses[0]
        (3, True)
        """
        warm = self.warm_start and hasattr(self, "net_")
        y, labels = check_labels(self, y)
        groups = check_groups(groups, y)
        with (
            self._unchanged_by_failure(),
            open_checkpoint(self.checkpoint_dir, self.callbacks) as checkpoint,
        ):
            X = self._check_images(X, y, reset=not warm)
            if not warm:
                self._known_labels = labels
            codes = self._encode(y)
            seed = self._draw_seed(checkpoint)
            train, held_out = self._split(X, codes, groups, seed, warm)
            self._check_head(len(train), labels, len(held_out))
            if checkpoint is not None:
                names = BaseSiamese._get_param_names()  # those that train the network
                params = {name: getattr(self, name) for name in names}
                data = X, codes, train, held_out, self._known_labels
                checkpoint.claim(params, seed, data, self.net_ if warm else None)
            self._train(X, codes, train, held_out, seed, warm, checkpoint)
            self._fit_head(X, y, train, held_out, groups, seed)
        self._raise_fault()
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y):
        """Train one pass over a chunk of labelled images.

        The first call sets the network up as ``fit`` does; further calls go on with the
        same optimizer, at a constant learning rate. Nothing is held out, so there is no
        validation score. Each chunk needs images of two classes, several of each.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images or rows, as in :meth:`fit`.

        y : array-like of shape (n,)
            Class labels; they may differ from call to call.

        Returns
        -------
        object
            The estimator.

        See Also
        --------
        fit : Train on data that are there at once, with a validation score.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseEmbedder
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X.reshape(-1, 8, 8)
        >>> embedder = SiameseEmbedder(random_state=0)
        >>> for start in (0, 300, 600):
        ...     chunk = slice(start, start + 300)
        ...     embedder = embedder.partial_fit(X[chunk], y[chunk])
        >>> embedder.n_iter_
        3
        """
        with self._unchanged_by_failure():
            self._train_on_chunk(X, y)
        return self

    def _train_on_chunk(self, X, y):
        """Train one pass over a chunk; return its images."""
        first = not hasattr(self, "net_")
        y, labels = check_labels(self, y)
        refuse_counts(self.get_params(deep=False))
        refuse_checkpoint(self.checkpoint_dir)
        if first:  # later the head knows more than this chunk
            self._check_head(len(y))
        X = self._check_images(X, y, reset=first)
        if first:
            self._known_labels = labels[:0]
        data = ResidentData(X, self._encode(y), device=resolve_device(self.device))
        seed = self._draw_seed() + (0 if first else len(self.net_.history))
        with isolated_random_state(seed, data.device), kept_memory(data.device):
            if first or not self._streaming:
                self._start_stream(X, data, seed)
            else:
                parts = self.net_.module_, self.net_.criterion_
                self.net_.pair_budget = self._balance(*parts, data)["pair_budget"]
            self.net_.batch_seed = seed
            self.net_.partial_fit(data)
        self._record_training()
        self._warn_if_interrupted()
        return X

    def transform(self, X):
        """Embed images.

        The embedding of an image does not depend on what else is in ``X``, but for
        rounding, and is computed in float32 whatever ``precision`` is. Large ``X`` pass
        through the network in chunks. ``set_output(transform="pandas")`` makes a table
        of it.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Images or rows of the shape seen in :meth:`fit`.

        Returns
        -------
        float32 ndarray of shape (n, embedding_dim)
            Embeddings; of unit length if ``normalize=True``. Samples of one class lie
            close together in Euclidean distance.

        See Also
        --------
        pair_distance : Distance between the embeddings of two images.
        sksiamese.search.Gallery : Find the nearest of many embedded images.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseEmbedder
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X.reshape(-1, 8, 8)
        >>> embedder = SiameseEmbedder(max_epochs=5, random_state=0)
        >>> embedder = embedder.fit(X[:900], y[:900])
        >>> Z = embedder.transform(X[900:])
        >>> Z.shape
        (897, 64)

        Classes lie farther apart, for their width, than in the pixels:

        >>> from sklearn.metrics import silhouette_score
        >>> pixels = X[900:].reshape(897, -1)
        >>> bool(silhouette_score(Z, y[900:]) > silhouette_score(pixels, y[900:]))
        True
        """
        return self._embed(X)

    # --- checks ----------------------------------------------------------------------

    def _check_images(self, X, y, *, reset):
        """Check images that come with labels."""
        check_consistent_length(X, y)
        return check_images(self, X, reset=reset)

    def _check_head(self, n_train, labels=None, n_held_out=0):
        """Check what is built on the embedding; the embedder builds nothing."""

    @contextlib.contextmanager
    def _unchanged_by_failure(self):
        """Leave the attributes as they were when a call fails."""
        before, net = vars(self).copy(), None
        if getattr(self, "_streaming", False):  # the only network trained in place
            net = self.net_
            learned = Snapshot(net, len(net.history), optimizer=True)
        try:
            yield
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            if net is not None:
                learned.restore(net)
            raise

    def _encode(self, y):
        """Give labels numbers in the order in which they were first seen.

        The numbers stay as they are when labels are added, for losses with weights of
        their own for each class.
        """
        new = np.setdiff1d(y, self._known_labels)
        self._known_labels = np.concatenate([self._known_labels, new])
        order = np.argsort(self._known_labels)
        return order[np.searchsorted(self._known_labels, y, sorter=order)]

    def _draw_seed(self, checkpoint=None):
        """Seed of one fit; drawn without touching a global generator."""
        if self.random_state is None and checkpoint and checkpoint.seed is not None:
            return checkpoint.seed
        if isinstance(self.random_state, np.random.RandomState):
            return int(self.random_state.randint(2**31))
        return int(np.random.default_rng(self.random_state).integers(2**31))

    # --- what others build on --------------------------------------------------------

    def _fit_head(self, X, y, train, held_out, groups, seed):
        """Build on the trained embedding; the embedder has nothing to build."""

    def _embed(self, X):
        """Embeddings, whatever ``set_output`` makes of those of ``transform``."""
        if not self.__sklearn_is_fitted__():  # scikit-learn's check collects all tags
            check_is_fitted(self)
        return check_finite(self.net_.embed(check_images(self, X, reset=False)))

    # --- scikit-learn ----------------------------------------------------------------

    def __sklearn_is_fitted__(self):
        return hasattr(self, "net_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.input_tags.three_d_array = True
        return tags
