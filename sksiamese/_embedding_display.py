"""EmbeddingDisplay: a map of embeddings (layer 4, step 2)."""

from numbers import Real

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_array

from sksiamese._plotting import (
    find_siamese,
    make_axes,
    make_pictures,
    open_images,
    percent,
)

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
_UNLABELLED = (0.6, 0.6, 0.6, 1.0)
_METHODS = ("pca", "tsne", "umap")
# Up to here classes have a legend, beyond a colour bar.
_MAX_LEGEND = 20
_LONGEST_NAME = 24


class EmbeddingDisplay:
    """Map of embeddings on a plane, coloured by class.

    Make one by :meth:`from_estimator` or :meth:`from_predictions`. Up to 20 classes
    have a colour and a shape each and a legend; more have a colour bar in the order of
    their labels. Images whose label is missing (NaN or None) are small grey crosses.

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
        coordinates, axis_labels = _reduce(embeddings, method, seed)
        display = cls(
            coordinates=coordinates, y=y, images=images, axis_labels=axis_labels
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax=None, *, thumbnail_size=18, **kwargs):
        """Draw the map.

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


def _reduce(embeddings, method, seed):
    """Coordinates on the plane and the names of the axes."""
    n = len(embeddings)
    if not isinstance(method, str):
        if not hasattr(method, "fit_transform"):
            raise TypeError(
                f"method must be one of {', '.join(_METHODS)} or have fit_transform,"
                f" got {method!r}."
            )
        coordinates = np.asarray(_seed(method, seed).fit_transform(embeddings))
        if coordinates.shape != (n, 2):
            raise ValueError(
                f"method gives an array of shape {coordinates.shape}, not ({n}, 2):"
                " set its number of components to 2."
            )
        name = type(method).__name__
    elif method == "pca":
        from sklearn.decomposition import PCA

        pca = PCA(2, random_state=seed).fit(embeddings)
        shares = map(percent, pca.explained_variance_ratio_)
        labels = [f"PC {k} ({share} of variance)" for k, share in enumerate(shares, 1)]
        return pca.transform(embeddings), labels
    elif method == "tsne":
        from sklearn.manifold import TSNE

        # Each point needs some three times as many others as the perplexity says.
        tsne = TSNE(perplexity=min(30, (n - 1) / 3), random_state=seed)
        coordinates, name = tsne.fit_transform(embeddings), "t-SNE"
    elif method == "umap":
        coordinates, name = _make_umap(n, seed).fit_transform(embeddings), "UMAP"
    else:
        raise ValueError(
            f"method must be one of {', '.join(_METHODS)} or a transformer, got"
            f" {method!r}."
        )
    return coordinates, [f"{name} {k}" for k in (1, 2)]


def _seed(method, seed):
    """Copy a transformer; the copy has a seed wherever it had none."""
    method = clone(method)
    unseeded = [
        name
        for name, value in method.get_params().items()
        if name.split("__")[-1] == "random_state" and value is None
    ]
    return method.set_params(**dict.fromkeys(unseeded, seed))


def _make_umap(n, seed):
    """Build UMAP, if it is installed."""
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError(
            'method="umap" needs umap-learn: pip install umap-learn'
        ) from error
    # A seed allows for one thread only, of which it warns unless it is told so; its
    # usual start fails with three points.
    return UMAP(
        n_neighbors=min(15, n - 1),
        init="spectral" if n > 3 else "random",
        random_state=seed,
        n_jobs=1,
    )


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
