"""NeighborsDisplay: probes beside what a gallery finds (layer 4, step 2)."""

from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_array

from sksiamese._encoding import encode_together
from sksiamese._gallery_images import (
    check_image,
    find_entries,
    list_probes,
    load_image,
)
from sksiamese._pictures import make_pictures
from sksiamese._plotting import SAME, find_siamese, make_axes

_WRONG = "#D55E00"  # vermilion of Okabe and Ito's palette
_MAX = 25  # probes, and neighbours of each, that can be told apart on a screen
_LOOKS = {
    None: {"edgecolor": "gray", "linewidth": 1},
    True: {"edgecolor": SAME, "linewidth": 2},
    False: {"edgecolor": _WRONG, "linewidth": 2, "linestyle": "--"},
}
_LONGEST_NAME = 15
_VERDICTS = {None: "", True: " right", False: " wrong"}
# In units of the longer side of an image: a cell with its frame, the gap between the
# probes and the others, and a line of text.
_CELL, _GAP, _LINE = 1.2, 0.35, 0.16


class NeighborsDisplay:
    r"""Probes, one in each row, beside the nearest items of a gallery.

    Make one by :meth:`from_gallery`. Under each item stand its label and its distance;
    where the probe's label is known, too, also whether it is right, which is to say the
    same. Wrong ones are in bold, in a dashed frame, and the title counts the right
    ones. A few probes show what the embedding takes for alike; how often it is right
    is for a score to say.

    Read more in the :ref:`User Guide <guide-search>`.

    Parameters
    ----------
    probes : sequence of n_probes arrays
        Images of the probes, each of shape ``(height, width)`` or ``(height, width,
        n_channels)``; they may differ in shape.

    neighbors : sequence of n_probes sequences of k arrays
        Images of the items found for each probe, nearest first.

    distances : array-like of shape (n_probes, k)
        Their distances.

    labels : sequence of n_probes sequences of k labels or None, default=None
        Their labels; None for an item that has none.

    y : array-like of shape (n_probes,) or None, default=None
        Labels of the probes. None gives no verdict.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes drawn on.

    figure_ : matplotlib Figure
        Figure that holds them.

    pictures_ : list of matplotlib AxesImage
        The images: first probe, its k neighbours, second probe, ...

    frames_ : list of matplotlib Rectangle
        A frame around each image, in the same order.

    texts_ : list of matplotlib Text
        What stands under each image, in the same order.

    See Also
    --------
    sksiamese.search.Gallery.evaluate : Scores of a search, over many probes.
    EmbeddingDisplay : A map of all images.

    Notes
    -----
    Bytes and floats in [0, 1] keep their brightness; if there are other values, all
    floats are stretched from the smallest to the largest one of all images shown.
    Images of one channel are grey, of three in colour, and of others the mean of the
    channels.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neighbors import NearestNeighbors
    >>> from sksiamese.display import NeighborsDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> images = X.reshape(-1, 8, 8)
    >>> search = NearestNeighbors(n_neighbors=3).fit(X[:1500])
    >>> distances, rows = search.kneighbors(X[1500:1502])
    >>> display = NeighborsDisplay(
    ...     probes=images[1500:1502],
    ...     neighbors=images[rows],
    ...     distances=distances,
    ...     labels=y[rows],
    ...     y=y[1500:1502],
    ... ).plot()
    >>> [text.get_text() for text in display.texts_[:3]]
    ['1\nprobe', '1\n14.0 right', '1\n19.1 right']
    >>> plt.close(display.figure_)
    """

    def __init__(self, *, probes, neighbors, distances, labels=None, y=None):
        self.probes = probes
        self.neighbors = neighbors
        self.distances = distances
        self.labels = labels
        self.y = y

    @classmethod
    def from_gallery(
        cls,
        gallery,
        X,
        images,
        y=None,
        *,
        k=5,
        label="label",
        where=None,
        probe_images=None,
        image_shape=None,
        ax=None,
    ):
        """Search a gallery and show what it finds.

        Probes that are in the gallery find themselves first, at distance 0: search for
        others, or leave them out by ``where``.

        Parameters
        ----------
        gallery : Gallery
            Gallery to search. It keeps embeddings, so the images come from ``images``.

        X : array-like of shape (n_probes, ...)
            Probes, 25 at most, as ``gallery.search`` takes them: images, rows, file
            names or, if the gallery has no embedder, embeddings.

        images : array-like or mapping
            Where ``images[id]`` is the image of an item, its row or its file name: an
            array or a list whose row numbers are the ids, or a dict; or a Series or
            DataFrame of pandas whose index holds the ids.

        y : array-like of shape (n_probes,) or None, default=None
            Labels of the probes. None gives no verdict.

        k : int, default=5
            Neighbours of each probe, from 1 to 25.

        label : str or None, default="label"
            Key of the metadata that holds the label of an item. None shows no labels,
            and so do galleries without metadata, unless ``y`` is given.

        where : dict or None, default=None
            Condition on the metadata of the items, as for ``gallery.search``.

        probe_images : sequence of n_probes images, rows or file names, default=None
            What to show of the probes. None takes ``X``.

        image_shape : tuple of int or None, default=None
            Shape that rows unfold to, ``(height, width)`` or
            ``(height, width, n_channels)``. None takes that of the gallery's embedder.

        ax : matplotlib Axes or None, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : NeighborsDisplay
            The display, with what it has drawn.

        Raises
        ------
        KeyError
            If ``images`` lacks an item that was found.

        TypeError
            If ``probe_images`` is no sequence.

        ValueError
            If there are too many probes or neighbours, lengths differ, labels are asked
            for that the items do not have, an id is twice in the index of ``images``,
            or images cannot be shown; also what ``gallery.search`` raises.

        See Also
        --------
        sksiamese.search.Gallery.search : Distances, ids and metadata without a picture.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_digits
        >>> from sksiamese.display import NeighborsDisplay
        >>> from sksiamese.search import Gallery
        >>> X, y = load_digits(return_X_y=True)
        >>> images, probes = X.reshape(-1, 8, 8), slice(1500, 1503)
        >>> gallery = Gallery(None)  # of the pixels themselves
        >>> metadata = [{"label": int(label)} for label in y[:1500]]
        >>> ids = gallery.add(X[:1500], metadata=metadata)
        >>> display = NeighborsDisplay.from_gallery(
        ...     gallery, X[probes], images, y[probes], probe_images=images[probes], k=4
        ... )
        >>> display.ax_.get_title()
        '12 of 12 neighbours right'
        >>> plt.close(display.figure_)
        """
        _check_size(len(X), k)
        probes_name = "X" if probe_images is None else "probe_images"
        if probe_images is None:
            if gallery.embedder is None:
                raise ValueError(
                    "X holds embeddings, as the gallery has no embedder: pass the"
                    " images of the probes as probe_images."
                )
            probe_images = X
        probe_images = list_probes(probe_images, len(X))
        siamese = find_siamese(gallery.embedder)
        distances, ids, metadata = gallery.search(
            X, k=k, where=where, return_metadata=True
        )
        ids = ids.tolist()
        found = find_entries(images, dict.fromkeys(i for row in ids for i in row))
        found = {
            key: load_image(entry, "images", image_shape, siamese)
            for key, entry in found.items()
        }
        probes = [
            load_image(entry, probes_name, image_shape, siamese)
            for entry in probe_images
        ]
        display = cls(
            probes=probes,
            neighbors=[[found[i] for i in row] for row in ids],
            distances=distances,
            labels=_read_labels(metadata, label, y),
            y=None if y is None else np.asarray(y),
        )
        return display.plot(ax)

    def plot(self, ax=None):
        """Draw the grid.

        Letters shrink with the images, to 4 points at least, and labels are cut after
        15 letters.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on, at any size. None makes a figure.

        Returns
        -------
        NeighborsDisplay
            The display itself.

        Raises
        ------
        ValueError
            If lengths differ, images have no pixels or infinite ones, or the labels of
            probes and items are not of one kind.

        See Also
        --------
        matplotlib.axes.Axes.imshow : What draws the images.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_digits
        >>> from sksiamese.display import NeighborsDisplay
        >>> images = load_digits().images
        >>> display = NeighborsDisplay(
        ...     probes=images[:1], neighbors=[images[10:12]], distances=[[0.2, 0.7]]
        ... )
        >>> [text.get_text() for text in display.plot().texts_]
        ['probe', '0.200', '0.700']
        >>> plt.close(display.figure_)
        """
        distances = self._check_shapes()
        n, k = distances.shape
        verdicts = _judge(self.labels, self.y, distances.shape)
        images = []
        for probe, found in zip(self.probes, self.neighbors, strict=True):
            images.append(check_image(probe, "probes"))
            images.extend(check_image(image, "neighbors") for image in found)
        pictures = iter(_make_pictures(images))
        row_height = _CELL + 0.1 + (1 if self.labels is None else 2) * _LINE
        width, height = (k + 1) * _CELL + _GAP, n * row_height
        self.ax_ = ax = make_axes(ax, (1.2 * width, 0.4 + 1.2 * height), self)
        self.figure_ = ax.figure
        box = ax.get_window_extent()
        # Of one unit, in points.
        unit = 72 / ax.figure.dpi * min(box.width / width, box.height / height)
        font_size = float(np.clip(unit / 7.5, 4, 10))
        self.pictures_, self.frames_, self.texts_ = [], [], []
        for row in range(n):
            for column, text in enumerate(self._captions(row, distances, verdicts)):
                verdict = verdicts[row, column - 1] if column else None
                corner = column * _CELL + bool(column) * _GAP, row * row_height
                self._draw(corner, next(pictures), verdict)
                self._write(corner, text, verdict, font_size)
        ax.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
        ax.set_axis_off()
        judged = [verdict for verdict in verdicts.flat if verdict is not None]
        if judged:
            ax.set_title(f"{sum(judged)} of {len(judged)} neighbours right")
        return self

    def _check_shapes(self):
        """Check that all parts tell of the same probes and items."""
        distances = check_array(self.distances, input_name="distances")
        n, k = distances.shape
        _check_size(n, k)
        for name in ("neighbors", "labels"):
            rows = getattr(self, name)
            if rows is not None and [len(row) for row in rows] != [k] * n:
                raise ValueError(
                    f"{name} must hold {n} rows of {k}, one for each entry of"
                    f" distances, but holds {[len(row) for row in rows]}."
                )
        if len(self.probes) != n:
            raise ValueError(
                f"probes holds {len(self.probes)} images, but there are {n} rows of"
                " neighbours: pass one image for each."
            )
        if self.y is not None and self.labels is None:
            raise ValueError(
                "y is given, but there are no labels to compare it with: pass the"
                " labels of the items, or y=None."
            )
        return distances

    def _captions(self, row, distances, verdicts):
        """Texts of one row."""
        truth = "" if self.y is None else f"{_name(np.asarray(self.y)[row])}\n"
        texts = [f"{truth}probe"]
        for column, distance in enumerate(distances[row]):
            text = f"{distance:#.3g}{_VERDICTS[verdicts[row, column]]}"
            if self.labels is not None:
                text = f"{_name(self.labels[row][column])}\n{text}"
            texts.append(text)
        return texts

    def _draw(self, corner, picture, verdict):
        """Draw an image of any shape into the middle of a square, and its frame."""
        from matplotlib.patches import Rectangle

        height, width = np.array(picture.shape[:2]) / max(picture.shape[:2])
        left = corner[0] + (_CELL - width) / 2
        top = corner[1] + (_CELL - height) / 2
        self.pictures_.append(
            self.ax_.imshow(
                picture,
                extent=(left, left + width, top + height, top),
                interpolation="nearest",
            )
        )
        frame = Rectangle(
            (corner[0] + 0.05, corner[1] + 0.05),
            _CELL - 0.1,
            _CELL - 0.1,
            facecolor="0.85",
            zorder=-1,
            **_LOOKS[verdict],
        )
        self.frames_.append(self.ax_.add_patch(frame))

    def _write(self, corner, text, verdict, font_size):
        """Write what stands under an image."""
        self.texts_.append(
            self.ax_.text(
                corner[0] + _CELL / 2,
                corner[1] + _CELL,
                text,
                ha="center",
                va="top",
                fontsize=font_size,
                fontweight="bold" if verdict is False else "normal",
                parse_math=False,  # a label may hold dollar signs
            )
        )


def _check_size(n, k):
    """Refuse what is empty or does not fit on a screen."""
    if not 1 <= n <= _MAX:
        raise ValueError(
            f"X has {n} probes, but 1 to {_MAX} can be shown: pass some, such as X[:5]."
        )
    if not isinstance(k, Integral) or not 1 <= k <= _MAX:
        raise ValueError(f"k must be a whole number from 1 to {_MAX}, got {k!r}.")


def _read_labels(metadata, label, y):
    """Labels of the items found; None if there are none to be had."""
    if label is None:
        return None
    keys = sorted({key for row in metadata for item in row for key in item})
    if label not in keys:
        if not keys and y is None:
            return None
        raise ValueError(
            f"label={label!r} is in the metadata of none of the items found, which have"
            f" {', '.join(map(repr, keys)) or 'none'}: pass the key of their label, or"
            " label=None and y=None to show distances alone."
        )
    return [[item.get(label) for item in row] for row in metadata]


def _judge(labels, y, shape):
    """Whether each item has the label of its probe; None where that is not known."""
    verdicts = np.full(shape, None)
    if y is None:
        return verdicts
    flat = [label for row in labels for label in row]
    known = [k for k, label in enumerate(flat) if label is not None]
    truth, found = encode_together(
        (y, "y", shape[0]), ([flat[k] for k in known], "labels", len(known))
    )
    rows = np.array(known, dtype=int) // shape[1]
    verdicts.flat[known] = truth[rows] == found
    return verdicts


def _name(label):
    """Label short enough to stand under its image."""
    text = "?" if label is None else str(label)
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"


def _make_pictures(images):
    """Scale images of several shapes to colours, by one scale for all of them."""
    others = [image for image in images if image.dtype != np.uint8]
    # As floats, since the difference of two small integers may be none of them.
    low = min((float(image.min()) for image in others), default=0)
    high = max((float(image.max()) for image in others), default=1)
    if low < 0 or high > 1:
        images = [
            image
            if image.dtype == np.uint8
            else (image.astype(np.float64) - low) / ((high - low) or 1)
            for image in images
        ]
    return [make_pictures(image[None])[0] for image in images]
