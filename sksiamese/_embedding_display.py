"""EmbeddingDisplay: a map of embeddings (layer 4, step 2)."""

from numbers import Real

import numpy as np
from sklearn.utils.validation import check_array

from sksiamese._embedding_map import map_embeddings
from sksiamese._pictures import make_pictures, open_images
from sksiamese._plotting import find_siamese, make_axes

# Petroff's ten colours for the colour-blind, as in scikit-learn's and matplotlib's
# own styles, and a shape for each of them for those who see none.
_COLORS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
_MARKERS = "osD^v<>pPX"
# Lighter than the greys among the colours.
_UNLABELLED = (0.75, 0.75, 0.75, 1.0)
# Up to here classes have a legend, beyond a colour bar.
_MAX_LEGEND = 20
_LONGEST_NAME = 24


class EmbeddingDisplay:
    """Map of embeddings on a plane, coloured by class.

    Make one by :meth:`from_estimator` or :meth:`from_predictions`. A map is a first
    look, not a measure: classes that overlap in two dimensions may be apart in all of
    them, and on maps of t-SNE sizes of clusters and distances between them may mean
    nothing [1]_. Up to 20 classes have a colour and a shape each and a legend; more
    have a colour bar in the order of their labels. Images whose label is missing (NaN
    or None) are light grey crosses.

    Read more in the :ref:`User Guide <guide-losses>`.

    Parameters
    ----------
    coordinates : ndarray of shape (n, 2)
        Where the images lie on the map.

    y : array-like of shape (n,) or None, default=None
        Class labels.

    images : ndarray of shape (n, height, width), (n, height, width, n_channels) or None
        Images to draw at their points.

    axis_labels : tuple of str, default=("Dimension 1", "Dimension 2")
        Names of the axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes drawn on.

    figure_ : matplotlib Figure
        Figure that holds them.

    points_ : list of matplotlib PathCollection
        The points: those without a label, if there are any, then those of each class,
        or of all classes if there are more than 20.

    thumbnails_ : dict of matplotlib AnnotationBbox
        The images drawn, by their row.

    See Also
    --------
    NeighborsDisplay : Nearest images in all dimensions.
    sksiamese.metrics.recall_at_k : How often the nearest image is of the same class.
    sksiamese.metrics.pair_roc_auc : How well distances tell classes apart.

    References
    ----------
    .. [1] Wattenberg, Viégas, Johnson, "How to Use t-SNE Effectively", Distill, 2016,
       https://doi.org/10.23915/distill.00002

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from sksiamese.display import EmbeddingDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> display = EmbeddingDisplay.from_predictions(X, y)
    >>> display.ax_.get_xlabel()
    'PC 1 (14.9 % of variance)'
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        *,
        coordinates,
        y=None,
        images=None,
        axis_labels=("Dimension 1", "Dimension 2"),
    ):
        self.coordinates = coordinates
        self.y = y
        self.images = images
        self.axis_labels = axis_labels

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        *,
        method="pca",
        images=None,
        image_shape=None,
        random_state=None,
        ax=None,
        **kwargs,
    ):
        """Map what an estimator makes of images.

        Take images that it was not fitted on: those of the training lie in tighter
        clusters than new ones will.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``transform``: SiameseEmbedder, SiameseClassifier,
            SiameseVerifier, a pipeline or search of one, or any other.

        X : array-like of shape (n, ...)
            Images, rows or file names, as the estimator takes them.

        y : array-like of shape (n,) or None, default=None
            Class labels, some of which may be missing (NaN or None).

        method : {"pca", "tsne", "umap"} or transformer, default="pca"
            How to come down to two dimensions. ``"umap"`` needs the package umap-learn.
            A transformer with ``fit_transform`` is cloned, such as
            ``TSNE(perplexity=10)``.

        images : array-like of shape (n, ...), True or None, default=None
            Images to draw at their points, as many as do not overlap. True draws ``X``.

        image_shape : tuple of int or None, default=None
            Shape that rows of ``images`` unfold to, ``(height, width)`` or
            ``(height, width, n_channels)``. None takes that of the estimator.

        random_state : int or None, default=None
            Seed of t-SNE, UMAP and unseeded transformers. None draws anew each time.

        ax : matplotlib Axes or None, default=None
            Axes to draw on. None makes a figure.

        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : EmbeddingDisplay
            The display, with what it has drawn.

        Raises
        ------
        TypeError
            If the estimator has no ``transform``.

        See Also
        --------
        from_predictions : Map embeddings that are there already.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseEmbedder
        >>> from sksiamese.display import EmbeddingDisplay
        >>> X, y = load_digits(return_X_y=True)
        >>> embedder = SiameseEmbedder("mlp", max_epochs=1, random_state=0)
        >>> embedder = embedder.fit(X[:200], y[:200])
        >>> display = EmbeddingDisplay.from_estimator(embedder, X[200:400], y[200:400])
        >>> len(display.points_)  # classes
        10
        >>> plt.close(display.figure_)
        """
        if isinstance(estimator, type) or not hasattr(estimator, "transform"):
            raise TypeError(
                "estimator must have transform, as SiameseEmbedder, SiameseClassifier"
                f" and SiameseVerifier do, got {estimator!r}: of other models pass the"
                " embeddings to from_predictions."
            )
        siamese = find_siamese(estimator)
        images = X if images is True else images
        images = open_images(images, image_shape=image_shape, siamese=siamese)
        Z = np.asarray(estimator.transform(X))
        return cls._show(Z, y, method, images, random_state, ax, kwargs)

    @classmethod
    def from_predictions(
        cls,
        embeddings,
        y=None,
        *,
        method="pca",
        images=None,
        image_shape=None,
        random_state=None,
        ax=None,
        **kwargs,
    ):
        """Map given embeddings.

        Any vectors will do: embeddings of a gallery or of another library, or plain
        pixels, to compare with.

        Parameters
        ----------
        embeddings : array-like of shape (n, embedding_dim)
            Embeddings, at least three, of at least two dimensions.

        y : array-like of shape (n,) or None, default=None
            Class labels, some of which may be missing (NaN or None).

        method : {"pca", "tsne", "umap"} or transformer, default="pca"
            How to come down to two dimensions. ``"umap"`` needs the package umap-learn.
            A transformer with ``fit_transform`` is cloned, such as
            ``TSNE(perplexity=10)``.

        images : array-like of shape (n, ...) or None, default=None
            Images to draw at their points, as many as do not overlap.

        image_shape : tuple of int or None, default=None
            Shape that rows of ``images`` unfold to, ``(height, width)`` or
            ``(height, width, n_channels)``.

        random_state : int or None, default=None
            Seed of t-SNE, UMAP and unseeded transformers. None draws anew each time.

        ax : matplotlib Axes or None, default=None
            Axes to draw on. None makes a figure.

        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : EmbeddingDisplay
            The display, with what it has drawn.

        Raises
        ------
        ImportError
            If ``method="umap"`` and umap-learn is missing.

        ValueError
            If there are too few embeddings, or labels or images of another number.

        See Also
        --------
        from_estimator : Make the embeddings, too.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_digits
        >>> from sksiamese.display import EmbeddingDisplay
        >>> X, y = load_digits(return_X_y=True)
        >>> display = EmbeddingDisplay.from_predictions(
        ...     X[:300], y[:300], images=X[:300], image_shape=(8, 8)
        ... )
        >>> 10 < len(display.thumbnails_) < 300  # those that do not overlap
        True
        >>> plt.close(display.figure_)
        """
        images = open_images(images, image_shape=image_shape)
        return cls._show(embeddings, y, method, images, random_state, ax, kwargs)

    @classmethod
    def _show(cls, embeddings, y, method, images, random_state, ax, kwargs):
        """Map embeddings and draw the map."""
        embeddings = check_array(
            embeddings, ensure_min_features=2, input_name="embeddings"
        )
        if len(embeddings) < 3 or np.ptp(embeddings, axis=0).max() == 0:
            raise ValueError(
                "embeddings must hold at least three points, not all at one place, to"
                f" make a map of; got {len(embeddings)}."
            )
        for name, values in (("y", y), ("images", images)):
            if values is not None and len(values) != len(embeddings):
                raise ValueError(
                    f"{name} has {len(values)} entries, but there are"
                    f" {len(embeddings)} embeddings."
                )
        # scikit-learn's None reads NumPy's global generator, which is left alone here.
        seed = int(np.random.default_rng(random_state).integers(2**31))
        coordinates, axis_labels = map_embeddings(embeddings, method, seed)
        display = cls(
            coordinates=coordinates, y=y, images=images, axis_labels=axis_labels
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax=None, *, thumbnail_size=18, **kwargs):
        """Draw the map.

        A unit has one length on both axes, unless these are shared with others.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on. None makes a figure.

        thumbnail_size : float, default=18
            Longer side of the images drawn, in points, > 0.

        **kwargs : dict
            Passed to ``Axes.scatter``. ``c`` and ``label`` are taken, for they tell
            classes apart; so are ``color`` and ``facecolor`` of more than 20 classes.

        Returns
        -------
        EmbeddingDisplay
            The display itself.

        See Also
        --------
        matplotlib.axes.Axes.scatter : What draws the points.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> import numpy as np
        >>> from sksiamese.display import EmbeddingDisplay
        >>> coordinates = np.array([[0, 0], [1, 0], [0, 2]])
        >>> display = EmbeddingDisplay(coordinates=coordinates, y=["a", "a", "b"])
        >>> [points.get_label() for points in display.plot(s=60, alpha=0.5).points_]
        ['a', 'b']
        >>> plt.close(display.figure_)
        """
        if not isinstance(thumbnail_size, Real) or not 0 < thumbnail_size < np.inf:
            raise ValueError(f"thumbnail_size must be above 0, got {thumbnail_size!r}.")
        codes, names = _encode(self.y, len(self.coordinates))
        kwargs = _check_keywords(kwargs, len(names))
        self.ax_ = ax = make_axes(ax, (6.4, 4.8), self)
        self.figure_ = ax.figure
        n = len(codes)
        # Small enough to tell thousands apart, large enough to see the shape of few.
        kwargs = {"s": np.clip(6000 / n, 10, 40), "linewidth": 0, **kwargs}
        self.points_ = []
        self._draw_unlabelled(codes == -1, kwargs["s"])
        if len(names) > _MAX_LEGEND:
            colors = self._draw_many(codes, names, kwargs)
        else:
            colors = self._draw_few(codes, names, kwargs)
        ax.set(xlabel=self.axis_labels[0], ylabel=self.axis_labels[1])
        ax.margins(0.08)
        if not self.axis_labels[0].startswith("PC"):
            ax.set(xticks=[], yticks=[])  # the units of other maps mean nothing
        shared = (ax.get_shared_x_axes(), ax.get_shared_y_axes())
        if all(len(axes.get_siblings(ax)) == 1 for axes in shared):
            ax.set_aspect("equal", adjustable="datalim")
        self.thumbnails_ = {}
        if self.images is not None:
            self._draw_thumbnails(colors, thumbnail_size)
        return self

    def _draw_unlabelled(self, missing, size):
        """Draw the points without a label, beneath the others."""
        if missing.any():
            crosses = self.ax_.scatter(
                *self.coordinates[missing].T,
                s=size,
                marker="x",
                color=_UNLABELLED,
                linewidths=0.8,
                label="unlabelled",
            )
            self.points_.append(crosses)

    def _draw_few(self, codes, names, kwargs):
        """Draw each class in its colour and shape; return the colour of each point."""
        from matplotlib.colors import to_rgba_array

        colors = np.tile(_UNLABELLED, (len(codes), 1))
        for k, name in enumerate(names):
            # The second ten classes have the colours of the first, in other shapes.
            look = {
                "color": _COLORS[k % 10],
                "marker": _MARKERS[(k + 5 * (k // 10)) % 10],
                **kwargs,
            }
            colors[codes == k] = to_rgba_array(look["color"])
            places = self.coordinates[codes == k].T
            self.points_.append(self.ax_.scatter(*places, label=name, **look))
        if self.y is not None:
            self._add_legend(len(self.points_))
        return colors

    def _add_legend(self, n_entries):
        """Put the legend beside the axes if the layout makes room for it."""
        place = {"loc": "best"}
        if self.figure_.get_layout_engine() is not None:
            place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
        legend = self.ax_.legend(
            **place,
            borderaxespad=0.2,
            fontsize="small",
            ncols=1 if n_entries <= 12 else 2,
            handletextpad=0.2,
            columnspacing=0.8,
        )
        for handle in legend.legend_handles:
            handle.set_sizes([30])

    def _draw_many(self, codes, names, kwargs):
        """Draw classes by a scale of colours; return the colour of each point."""
        known = codes != -1
        points = self.ax_.scatter(
            *self.coordinates[known].T,
            c=codes[known],
            **{"cmap": "viridis", **kwargs},
        )
        self.points_.append(points)
        ticks = np.unique(np.linspace(0, len(names) - 1, 6).round().astype(int))
        bar = self.figure_.colorbar(points, ax=self.ax_)
        bar.set_ticks(ticks, labels=[names[k] for k in ticks])
        bar.set_label(f"Class, one of {len(names):,}")
        if not known.all():
            self.ax_.legend(fontsize="small")
        return np.where(known[:, None], points.to_rgba(codes), _UNLABELLED)

    def _draw_thumbnails(self, colors, size):
        """Draw images at their points, leaving out those that would overlap."""
        from matplotlib.offsetbox import AnnotationBbox, OffsetImage

        # Which images overlap is only known once limits and layout are settled.
        self.figure_.figure.draw_without_rendering()  # the whole, if this is a part
        places = self.ax_.transData.transform(self.coordinates) * 72 / self.figure_.dpi
        height, width = self.images.shape[1:3]
        zoom = size / max(height, width)
        frame = 4.0  # points that the frame takes on both sides together
        rows = _thin(places, (width * zoom + frame, height * zoom + frame))
        for row, picture in zip(rows, make_pictures(self.images[rows]), strict=True):
            box = AnnotationBbox(
                OffsetImage(picture, zoom=zoom),
                self.coordinates[row],
                pad=0.05,
                bboxprops={"edgecolor": colors[row], "linewidth": 1.5},
            )
            self.thumbnails_[int(row)] = self.ax_.add_artist(box)


def _check_keywords(kwargs, n_classes):
    """Keywords of scatter by one name each, without those that are not free."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.collections import PathCollection

    kwargs = normalize_kwargs(kwargs, PathCollection)
    taken = {"c", "label"}
    if n_classes > _MAX_LEGEND:
        taken |= {"color", "facecolor"}
    for name in sorted(taken & set(kwargs)):
        raise TypeError(f"{name} cannot be passed, as it tells classes apart: pass y.")
    return kwargs


def _encode(y, n):
    """Give each point the number of its class, -1 without any; name the classes."""
    import pandas as pd

    if y is None:
        return np.zeros(n, dtype=int), ["all"]
    if np.ndim(y) != 1:
        raise ValueError(f"y has shape {np.shape(y)}: pass one label for each image.")
    codes, labels = pd.factorize(pd.Series(y), sort=True)
    names = [f"{v:g}" if isinstance(v, float) else str(v) for v in labels]
    if len(set(names)) < len(names):  # such as 1 and "1"
        names = [repr(v) for v in labels.tolist()]
    return codes, [
        name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
        for name in names
    ]


def _thin(places, size):
    """Rows of points, as many as can have a box of that size without an overlap."""
    order = np.random.default_rng(0).permutation(len(places))
    kept = np.empty((0, 2))
    rows = []
    for row in order:
        gaps = np.abs(kept - places[row])
        if not (gaps < size).all(axis=1).any():
            kept = np.vstack([kept, places[row]])
            rows.append(row)
    return np.array(rows)
