"""ImageReader: file names to arrays, as a step of a pipeline (layer 0, step 4)."""

import os
from numbers import Integral, Real

from sklearn.base import BaseEstimator, TransformerMixin

from sksiamese._decode import is_grey
from sksiamese._documentation import DocumentedMixin
from sksiamese._file_input import check_paths, check_size
from sksiamese._reading import Reading, read_files
from sksiamese._validation import (
    Interval,
    StrOptions,
    check_is_fitted,
    fit_context,
)

SIZE = [Interval(Integral, 1, None, closed="left"), tuple, list]
READING = {
    "mode": [StrOptions({"auto", "grey", "rgb"})],
    "aspect": [StrOptions({"stretch", "crop", "pad"})],
    "value_range": [None, tuple, list],
    "n_jobs": [None, Integral],
    "cache_dir": [None, str, os.PathLike],
    "verbose": ["verbose"],
}


class ImageReader(DocumentedMixin, TransformerMixin, BaseEstimator):
    """Transform file names into arrays of pixels, as a step of a pipeline.

    The siamese estimators take file names themselves; the reader is for other
    estimators, for samplers of embeddings, and for what estimators do not offer, such
    as ``aspect`` and ``value_range``.

    Read more in the :ref:`User Guide <guide-classify>`.

    Parameters
    ----------
    image_size : int or tuple of int, default=64
        Height and width of the images in pixels; an int means both.

    mode : {"auto", "grey", "rgb"}, default="auto"
        Channels: ``"auto"`` is grey if every file seen in ``fit`` is and red, green and
        blue otherwise.

    aspect : {"stretch", "crop", "pad"}, default="stretch"
        How images of another aspect ratio come to ``image_size``: stretched, cut to
        their centre, or padded with black.

    value_range : tuple of float or None, default=None
        ``(black, white)``: values of grey files that become 0 and 255, see
        :func:`load_image_folder`.

    root : path-like or None, default=None
        Folder that the file names are relative to.

    suffix : str, default=""
        What to append to the names, for example ``".jpg"``.

    n_jobs : int or None, default=None
        Threads that decode files, as in scikit-learn; -1 takes all processors.

    cache_dir : path-like or None, default=None
        Folder in which decoded pixels are kept for the next call, see
        :func:`load_image_folder`.

    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    mode_ : {"grey", "rgb"}
        Channels of the images.

    n_features_in_ : int
        1, the column of names.

    See Also
    --------
    load_image_folder : Arrays and labels of one folder per class.
    load_image_table : Arrays and labels of a table.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from PIL import Image
    >>> from sksiamese.images import ImageReader
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.fromarray(np.full((450, 600), 7, np.uint8)).save(f"{folder}/a.png")
    ...     ImageReader(image_size=(2, 3), root=folder).fit_transform(["a.png"])
    array([[[7, 7, 7],
            [7, 7, 7]]], dtype=uint8)
    """

    _parameter_constraints = {
        "image_size": SIZE,
        "root": [None, str, os.PathLike],
        "suffix": [str],
        **READING,
    }

    def __init__(
        self,
        image_size=64,
        *,
        mode="auto",
        aspect="stretch",
        value_range=None,
        root=None,
        suffix="",
        n_jobs=None,
        cache_dir=None,
        verbose=0,
    ):
        self.image_size = image_size
        self.mode = mode
        self.aspect = aspect
        self.value_range = value_range
        self.root = root
        self.suffix = suffix
        self.n_jobs = n_jobs
        self.cache_dir = cache_dir
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Look at the files' headers to choose the mode.

        No pixel is read; with ``mode="grey"`` or ``"rgb"`` no file is opened. Files may
        therefore still turn out to be broken in :meth:`transform`.

        Parameters
        ----------
        X : array-like of str or path-like, of shape (n,) or (n, 1)
            File names.

        y : object, default=None
            Ignored.

        Returns
        -------
        ImageReader
            The fitted reader.

        See Also
        --------
        transform : Read the pixels.

        Examples
        --------
        >>> import tempfile
        >>> from PIL import Image
        >>> from sksiamese.images import ImageReader
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("L", (60, 45)).save(f"{folder}/grey.png")
        ...     Image.new("RGB", (60, 45)).save(f"{folder}/colour.png")
        ...     reader = ImageReader(root=folder).fit(["grey.png", "colour.png"])
        >>> reader.mode_
        'rgb'
        """
        names = self._locate(X)
        self._make_reading("grey")
        self.mode_ = self.mode
        if self.mode == "auto":
            self.mode_ = "grey" if all(map(is_grey, names)) else "rgb"
        self.n_features_in_ = 1
        return self

    def transform(self, X):
        """Read files.

        Files are decoded in ``n_jobs`` threads, one that is named several times only
        once, and shrunk while they are read, so that no more than ``image_size`` of
        each is kept.

        Parameters
        ----------
        X : array-like of str or path-like, of shape (n,) or (n, 1)
            File names.

        Returns
        -------
        uint8 ndarray of shape (n, height, width) or (n, height, width, 3)
            Pixels, read-only and memory-mapped if ``cache_dir`` is set.

        Raises
        ------
        ImageReadError
            If a file cannot be read.

        See Also
        --------
        fit : Choose between grey and colour.
        load_image_folder : Arrays and labels of one folder per class.

        Examples
        --------
        >>> import tempfile
        >>> from PIL import Image
        >>> from sksiamese.images import ImageReader
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (600, 450)).save(f"{folder}/a.jpg")
        ...     reader = ImageReader(image_size=(48, 64), root=folder, suffix=".jpg")
        ...     pixels = reader.fit(["a"]).transform(["a"])
        >>> pixels.shape
        (1, 48, 64, 3)
        """
        check_is_fitted(self)
        return read_files(self._locate(X), self._make_reading(self.mode_))[0]

    def _locate(self, X):
        """Paths of the files that X names."""
        names = check_paths(X)
        if names is None:
            raise ValueError(
                "X must be a list or column of file names: ImageReader reads files."
            )
        root = os.fspath(self.root or "")
        return [os.path.join(root, name + self.suffix) for name in names]

    def _make_reading(self, mode):
        return make_reading(
            self.image_size,
            mode,
            self.aspect,
            self.value_range,
            self.n_jobs,
            self.cache_dir,
            self.verbose,
        )

    def _doc_link_url_param_generator(self):
        """Name the public module, which is not the first part of the private one."""
        return {"estimator_module": "sksiamese.images", "estimator_name": "ImageReader"}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


def make_reading(image_size, mode, aspect, value_range, n_jobs, cache_dir, verbose):
    """Check what parameter constraints cannot.

    Parameters
    ----------
    image_size : int, tuple of int or None
        Height and width; None if no image is to be read.

    mode, aspect, value_range, n_jobs, cache_dir, verbose : object
        Parameters of :class:`ImageReader`.

    Returns
    -------
    Reading or None
        How to read.

    Raises
    ------
    ValueError
        If ``image_size`` or ``value_range`` are no such pairs.
    """
    if image_size is None:
        return None
    if isinstance(image_size, Integral):
        image_size = (image_size, image_size)
    size = check_size("image_size", image_size, (2,))
    if value_range is not None:
        numbers = all(isinstance(v, Real) for v in value_range)
        if len(value_range) != 2 or not numbers or not value_range[0] < value_range[1]:
            raise ValueError(
                f"value_range must be (black, white) with black < white, got"
                f" {value_range!r}."
            )
        value_range = tuple(map(float, value_range))
    return Reading(size, mode, aspect, value_range, n_jobs, cache_dir, verbose)
