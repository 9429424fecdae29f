"""imbalanced-learn's samplers for images (layer 0, the last step: no torch)."""

import math
import os

import numpy as np
from imblearn.base import BaseSampler
from imblearn.over_sampling import RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler
from imblearn.utils import check_target_type
from scipy.sparse import issparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_array, get_tags
from sklearn.utils.validation import validate_data

from sksiamese._documentation import DocumentedMixin
from sksiamese._memory import RowReader
from sksiamese._validation import HasMethods, check_is_fitted, fit_context

__all__ = ["ImageSampler"]

# The largest integer up to which float64 knows every one.
_EXACT = 2**53


class ImageSampler(DocumentedMixin, BaseSampler):
    """Balance classes of images by any sampler of imbalanced-learn.

    imbalanced-learn's samplers take rows of numbers. This one takes images and rows
    alike, and file paths where no pixel is needed:

    - Samplers that select rows (``RandomUnderSampler``, ``RandomOverSampler``,
      ``NearMiss``, ``TomekLinks``, ``EditedNearestNeighbours``, ...) say which images
      to take, and those are returned as they are. Random samplers never look at the
      pixels. The others compare them, or embeddings if there is an ``embedder``.
    - Samplers that generate rows (``SMOTE`` and its variants, ``ADASYN``,
      ``ClusterCentroids``, ``SMOTEENN``, ``RandomOverSampler(shrinkage=...)``, ...)
      work on the pixels as floats. For images of integers the result is rounded and
      kept between the smallest and the largest value of ``X``; imbalanced-learn
      itself lets unsigned integers wrap around.

    Read more in the :ref:`User Guide <guide-imbalance>`.

    Parameters
    ----------
    sampler : sampler or None, default=None
        Sampler of imbalanced-learn, a pipeline of them, or any other estimator with
        ``fit`` and ``fit_resample``. It is cloned. None is ``RandomUnderSampler()``.

    embedder : transformer or None, default=None
        Maps images to the vectors of shape ``(n, n_dims)`` that a selecting sampler
        compares, such as :class:`sksiamese.SiameseEmbedder`. It gets ``X`` as it was
        passed. A fitted one is used as it is, any other is cloned and fitted on ``X``
        and ``y``. Cloning, as a grid search does, forgets what was fitted: wrap it in
        :class:`sklearn.frozen.FrozenEstimator` to keep that. None compares pixels.

    Attributes
    ----------
    sampler_ : sampler
        The fitted clone. What it knows of features is of the rows it saw: a column of
        row numbers for random samplers, else embeddings or flattened pixels.

    sample_indices_ : int64 ndarray of shape (n_resampled,)
        Row of ``X`` that each returned image is. Exists after ``fit_resample`` with a
        sampler that selects.

    sampling_strategy_ : dict or object
        What ``sampler_`` made of its ``sampling_strategy``: for most samplers the
        number of samples by class. Missing if ``sampler_`` has none.

    embedder_ : transformer
        The fitted embedder. Exists if there is one.

    n_features_in_ : int
        Number of columns of rows; height of images; 1 for paths.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns. Exists if all of them are strings.

    See Also
    --------
    sksiamese.SiameseClassifier : Balances batches itself; last step of a pipeline.
    imblearn.pipeline.Pipeline : Samples while it fits, and not when it predicts.

    Notes
    -----
    :class:`~sksiamese.SiameseClassifier` balances the classes of each batch by itself,
    so try it without a sampler first. Copies of an image, and images generated of it,
    resemble it more than any new image does: sample inside an
    ``imblearn.pipeline.Pipeline``, so that test folds hold only images as they were.
    The images that the classifier holds out itself are drawn after sampling, so behind
    an oversampler its validation score and temperature are too good.

    Examples
    --------
    Take groups and file names along by ``sample_indices_``.

    >>> import numpy as np
    >>> from imblearn.over_sampling import SMOTE
    >>> from imblearn.under_sampling import RandomUnderSampler
    >>> from sksiamese.imbalance import ImageSampler
    >>> rng = np.random.default_rng(0)
    >>> X = rng.integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)
    >>> y, groups = np.repeat([0, 1], [40, 10]), np.arange(50) // 2
    >>> sampler = ImageSampler(RandomUnderSampler(random_state=0))
    >>> X_few, y_few = sampler.fit_resample(X, y)
    >>> X_few.shape, X_few.dtype, np.bincount(y_few)
    ((20, 8, 8, 3), dtype('uint8'), array([10, 10]))
    >>> groups[sampler.sample_indices_].shape
    (20,)
    >>> X_many, y_many = ImageSampler(SMOTE(random_state=0)).fit_resample(X, y)
    >>> X_many.shape, X_many.dtype, np.bincount(y_many)
    ((80, 8, 8, 3), dtype('uint8'), array([40, 40]))
    """

    _parameter_constraints: dict = {
        "sampler": [HasMethods(["fit", "fit_resample"]), None],
        "embedder": [HasMethods(["fit", "transform"]), None],
    }

    def __init__(self, sampler=None, *, embedder=None):
        self.sampler = sampler
        self.embedder = embedder

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y):
        """Check images and labels, and count what is to be sampled.

        Nothing is resampled, and pipelines do not call it: they call
        :meth:`fit_resample`. It serves to look at ``sampling_strategy_`` beforehand.

        Parameters
        ----------
        X : array-like of shape (n, height, width), (n, height, width, n_channels), \
(n, n_features) or (n,)
            As for :meth:`fit_resample`.

        y : array-like of shape (n,)
            Labels.

        Returns
        -------
        ImageSampler
            The sampler itself.

        See Also
        --------
        ImageSampler.fit_resample : Samples.

        Examples
        --------
        >>> import numpy as np
        >>> from imblearn.over_sampling import SMOTE
        >>> from sksiamese.imbalance import ImageSampler
        >>> X, y = np.zeros((50, 8, 8)), np.repeat([0, 1], [40, 10])
        >>> sampler = ImageSampler(SMOTE(random_state=0)).fit(X, y)
        >>> {int(label): int(n) for label, n in sampler.sampling_strategy_.items()}
        {1: 30}
        """
        sampler, embedder, _, rows = self._prepare(X, y)
        self._remember(sampler.fit(rows, y), embedder)
        return self

    @fit_context(prefer_skip_nested_validation=False)
    def fit_resample(self, X, y):
        """Sample images and their labels.

        An ``imblearn.pipeline.Pipeline`` calls it in ``fit``. Call it yourself to look
        at what a sampler selects or makes up.

        Parameters
        ----------
        X : array-like of shape (n, height, width), (n, height, width, n_channels), \
(n, n_features) or (n,)
            Images, rows (dense, sparse or a DataFrame), or file paths (strings or
            path-like objects). With a random sampler, memory-mapped images are read
            only where taken; floats are looked through once, for NaN.

        y : array-like of shape (n,)
            Labels.

        Returns
        -------
        X_resampled : ndarray, sparse matrix, DataFrame, Series or list
            Sampled images, of the kind, dtype and shape per image of ``X``. pandas
            objects are numbered anew from 0.

        y_resampled : array-like of shape (n_resampled,)
            Their labels, of the kind of ``y``.

        Raises
        ------
        ValueError
            If ``X`` is none of these, is empty, holds NaN or infinity, or differs from
            ``y`` in length; if the sampler needs pixels but gets paths; if it has no
            use for the embedder; or if it changes the number of pixels.

        See Also
        --------
        sksiamese.SiameseEmbedder : An ``embedder`` for samplers that compare images.

        Examples
        --------
        >>> import numpy as np
        >>> from imblearn.under_sampling import RandomUnderSampler
        >>> from sksiamese.imbalance import ImageSampler
        >>> paths, y = [f"{k}.png" for k in range(50)], np.repeat([0, 1], [40, 10])
        >>> sampler = ImageSampler(RandomUnderSampler(random_state=0))
        >>> paths_few, y_few = sampler.fit_resample(paths, y)
        >>> len(paths_few), paths_few[0] == paths[sampler.sample_indices_[0]]
        (20, True)
        """
        return self._fit_resample(X, y)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        sampler = self._make_sampler()
        parts = [part for part in (sampler, self.embedder) if part is not None]
        tags.input_tags.sparse = all(get_tags(part).input_tags.sparse for part in parts)
        tags.input_tags.three_d_array = True
        tags.sampler_tags.sample_indices = _selects(sampler)
        return tags

    def _make_sampler(self):
        """Clone the sampler."""
        return RandomUnderSampler() if self.sampler is None else clone(self.sampler)

    def _prepare(self, X, y):
        """Make the sampler, the embedder, checked images and the sampler's rows."""
        sampler, embedder = self._make_sampler(), None
        images = self._check_images(X, y)
        self._check_use(sampler, X, images)
        if _only_counts(sampler):
            rows = np.arange(images.shape[0])[:, None]
        elif self.embedder is None:
            rows = _to_rows(images)
        else:
            embedder = self._fit_embedder(X, y)
            rows = _embed(embedder, X, images.shape[0])
        return sampler, embedder, images, rows

    def _check_images(self, X, y):
        """Check images, rows or paths, and that there is a label for each."""
        name = type(self).__name__
        array = X if hasattr(X, "shape") else _as_array(X)
        if len(array.shape) > 4:
            raise ValueError(
                f"X has {len(array.shape)} axes, but {name} takes images (n, height,"
                " width) or (n, height, width, n_channels), rows (n, n_features), or"
                " paths (n,)."
            )
        if len(array.shape) == 1:
            images = _as_column(X)
            validate_data(self, images, skip_check_array=True)  # counts one column
        else:
            images = validate_data(
                self, array, accept_sparse=["csr", "csc"], allow_nd=True
            )
        if 0 in images.shape:
            raise ValueError(f"X has shape {array.shape}: pass one image at least.")
        if y is None:
            raise ValueError(
                f"{name} requires y to be passed, but the target y is None: it balances"
                " labelled images."
            )
        if np.shape(y)[:1] != images.shape[:1]:
            raise ValueError(
                f"X has {images.shape[0]} images, but y has shape {np.shape(y)}: pass"
                " one label per image."
            )
        return images

    def _check_use(self, sampler, X, images):
        """Refuse an embedder, paths or mixed columns that the sampler cannot use."""
        name, selects = type(sampler).__name__, _selects(sampler)
        if self.embedder is not None and not selects:
            raise ValueError(
                f"sampler={name} generates images, and embedder cannot turn embeddings"
                " back into pixels: set embedder=None, or take a sampler that selects,"
                " such as NearMiss or TomekLinks."
            )
        if self.embedder is not None and _only_counts(sampler):
            raise ValueError(
                f"sampler={name} draws at random and compares no images, so it has no"
                " use for embedder: set embedder=None."
            )
        are_paths = images.dtype == object
        if are_paths and self.embedder is None and not _only_counts(sampler):
            embed = "set embedder to a transformer of paths, " if selects else ""
            raise ValueError(
                f"sampler={name} needs pixels, but X holds paths: {embed}load the"
                " images first, or take RandomUnderSampler or RandomOverSampler."
            )
        if not selects and hasattr(X, "iloc"):
            _check_columns(name, X.dtypes, images.dtype)

    def _fit_embedder(self, X, y):
        """Clone and fit the embedder unless it is fitted."""
        try:
            check_is_fitted(self.embedder)
        except NotFittedError:
            return clone(self.embedder).fit(X, check_target_type(y))
        return self.embedder

    def _remember(self, sampler, embedder, indices=None):
        """Set the fitted attributes, and none that is left from another fit."""
        fitted = {
            "sampler_": sampler,
            "sampling_strategy_": getattr(sampler, "sampling_strategy_", None),
            "embedder_": embedder,
            "sample_indices_": indices,
        }
        for attribute, value in fitted.items():
            vars(self).pop(attribute, None)
            if value is not None:
                setattr(self, attribute, value)

    def _fit_resample(self, X, y):
        """Sample; called as the base class has it."""
        sampler, embedder, images, rows = self._prepare(X, y)
        resampled, y_resampled = sampler.fit_resample(rows, y)
        if _selects(sampler):
            indices = np.asarray(sampler.sample_indices_, dtype=np.int64)
            X_resampled = _take(X, images, indices)
        else:
            indices = None
            X_resampled = _like(X, _to_images(resampled, images, sampler))
        self._remember(sampler, embedder, indices)
        return X_resampled, y_resampled


def _only_counts(sampler):
    """Whether the sampler draws rows by their labels alone."""
    random = isinstance(sampler, RandomUnderSampler | RandomOverSampler)
    return random and _selects(sampler)


def _selects(sampler):
    """Whether the sampler returns rows of its input, and says which."""
    tags = getattr(get_tags(sampler), "sampler_tags", None)
    # A smoothed bootstrap has sample_indices_, but moves the rows.
    smoothed = getattr(sampler, "shrinkage", None) is not None
    return tags is not None and tags.sample_indices and not smoothed


def _as_array(X):
    """Make a list of images, rows or paths an array."""
    try:
        return np.asarray(X)
    except ValueError as error:
        raise ValueError(
            f"X cannot be made an array, for which all its images must have one size:"
            f" {error}"
        ) from error


def _as_column(paths):
    """Check paths and stand them below each other, ``(n, 1)``."""
    for k, path in enumerate(paths):
        if not isinstance(path, str | os.PathLike):
            raise ValueError(
                f"X has one axis, so it should hold file paths, but sample {k} is of"
                f" type {type(path).__name__}: pass paths (n,), images (n, height,"
                " width) or rows (n, n_features)."
            )
    column = np.empty((len(paths), 1), dtype=object)
    column[:, 0] = paths
    return column


def _check_columns(name, dtypes, common):
    """Refuse columns that generated values could not be brought back to."""
    if dtypes.nunique() > 1 or dtypes.iloc[0].kind != common.kind:
        raise ValueError(
            f"sampler={name} generates rows of one dtype of NumPy, but the columns of X"
            f" are of {sorted(map(str, dtypes.unique()))}: convert them to one, such as"
            " by X.astype(float)."
        )


def _embed(embedder, X, n):
    """Embed images, and check what came out, ``(n, n_dims)``."""
    Z = embedder.transform(X)
    Z = check_array(Z, accept_sparse=["csr", "csc"], input_name="embedder.transform(X)")
    if Z.shape[0] != n:
        raise ValueError(
            f"embedder={type(embedder).__name__} made {Z.shape[0]} vectors of {n}"
            " images: take one whose transform returns shape (n, n_dims)."
        )
    return Z


def _to_rows(images):
    """Flatten images to floats that hold their values exactly, ``(n, n_pixels)``."""
    if images.dtype.kind in "iu" and images.dtype.itemsize == 8:
        extreme = max(int(images.max()), -int(images.min()))
        if extreme > _EXACT:
            raise ValueError(
                f"X holds {extreme}, but the sampler computes with float64, which knows"
                " integers up to 2**53: scale X down."
            )
    flat = images if issparse(images) else images.reshape(len(images), -1)
    return flat.astype(np.result_type(images.dtype, np.float32), copy=False)


def _to_images(rows, images, sampler):
    """Bring sampled rows into the dtype and the shape of images."""
    n_pixels = math.prod(images.shape[1:])
    if rows.shape[1] != n_pixels:
        raise ValueError(
            f"sampler={type(sampler).__name__} made rows of {rows.shape[1]} values of"
            f" images of {n_pixels} pixels: take one that keeps the columns of X."
        )
    if images.dtype.kind in "biu":
        values = rows.data if issparse(rows) else rows
        np.rint(values, out=values)
        # Samplers that leave the line between two images could leave the dtype's range
        # too, and values that no image holds, such as 5000 in 12-bit images.
        np.clip(values, float(images.min()), float(images.max()), out=values)
    rows = rows.astype(images.dtype, copy=False)
    return rows if issparse(rows) else rows.reshape(-1, *images.shape[1:])


def _take(X, images, indices):
    """Take images of the kind that was passed."""
    if isinstance(X, list):
        return [X[k] for k in indices]
    if hasattr(X, "iloc"):
        return X.iloc[indices].reset_index(drop=True)
    if issparse(X):
        return images[indices]
    return RowReader(np.asarray(X)).take(indices)


def _like(X, images):
    """Return generated images as the kind that was passed."""
    if isinstance(X, list):
        return list(images)
    if not hasattr(X, "iloc"):
        return images
    import pandas as pd

    make = pd.DataFrame.sparse.from_spmatrix if issparse(images) else pd.DataFrame
    return make(images, columns=X.columns).astype(X.dtypes)
