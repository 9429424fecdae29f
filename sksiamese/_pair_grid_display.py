"""PairGridDisplay: the images of pairs, with their distance (layer 4, step 2)."""

import math
from numbers import Integral

import numpy as np

from sksiamese._pictures import load_images, make_pictures
from sksiamese._plotting import (
    KIND_NAMES,
    SAME,
    check_distances,
    check_threshold,
    find_siamese,
    find_threshold,
    make_axes,
    pair_distances,
    pair_members,
)
from sksiamese._validation import take_rows

_ORDERS = ("hardest", "random", "given")
_WRONG = "#D55E00"  # vermilion of Okabe and Ito's palette


class PairGridDisplay:
    r"""Pairs of images in a grid, with distance, truth and verdict.

    Make one by :meth:`from_estimator` or :meth:`from_predictions`. Under each pair
    stand what it is in truth and its distance; with a threshold also whether that
    judges it right. Wrong pairs are in bold, in a dashed frame. The hardest pairs come
    first; look there for wrong labels, and for what the network takes for alike.

    Read more in the :ref:`User Guide <guide-verify>`.

    Parameters
    ----------
    first, second : array-like of shape (n_pairs, height, width[, n_channels])
        Members of the pairs to show.

    same : array-like of shape (n_pairs,)
        Whether each pair is of one class; True or 1 if so.

    distances : array-like of shape (n_pairs,)
        Distance of each pair, >= 0.

    threshold : float or None, default=None
        Distance up to which pairs count as the same.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes drawn on.

    figure_ : matplotlib Figure
        Figure that holds them.

    pictures_ : list of matplotlib AxesImage
        The images: both members of the first pair, of the second, ...

    frames_ : list of matplotlib Rectangle
        A frame around each pair.

    texts_ : list of matplotlib Text
        What stands under each pair.

    See Also
    --------
    PairDistanceDisplay : The distances of all pairs.
    NeighborsDisplay : Images beside those found for them.

    Notes
    -----
    Bytes and floats in [0, 1] keep their brightness; other values are stretched from
    the smallest to the largest one of all images shown. Images of one channel are grey,
    of three in colour, and of others the mean of the channels.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from sksiamese.display import PairGridDisplay
    >>> display = PairGridDisplay.from_predictions(
    ...     [[0, 10], [0, 1], [1, 2]],
    ...     [True, False, False],
    ...     [0.3, 0.4, 1.2],
    ...     images=load_digits().images,
    ...     threshold=0.5,
    ... )
    >>> [text.get_text() for text in display.texts_]
    ['different 0.400\nwrong', 'same 0.300\nright', 'different 1.20\nright']
    >>> plt.close(display.figure_)
    """

    def __init__(self, *, first, second, same, distances, threshold=None):
        self.first = first
        self.second = second
        self.same = same
        self.distances = distances
        self.threshold = threshold

    @classmethod
    def from_estimator(
        cls,
        estimator,
        pairs,
        same,
        *,
        images=None,
        image_shape=None,
        threshold="auto",
        order="hardest",
        n_pairs=12,
        random_state=None,
        ax=None,
    ):
        """Show pairs with the distances that an estimator measures.

        All pairs are measured, and only those shown are kept as images.

        Parameters
        ----------
        estimator : estimator
            Fitted SiameseVerifier, SiameseEmbedder or SiameseClassifier, a pipeline
            that ends in one, a search of one, or anything else with
            ``pair_distance(pairs)``.

        pairs : array-like of shape (n_pairs, 2, ...) or tuple of two array-likes
            Pairs of images, rows or file names, as one array or as their first and
            second members; row numbers of ``images``, if that is given.

        same : array-like of shape (n_pairs,)
            Whether each pair is of one class; True or 1 if so.

        images : array-like of shape (n, ...) or None, default=None
            Images, rows or file names that ``pairs`` point into.

        image_shape : tuple of int or None, default=None
            Shape that rows unfold to, ``(height, width)`` or
            ``(height, width, n_channels)``. None takes that of the estimator.

        threshold : float, "auto" or None, default="auto"
            Distance up to which pairs count as the same. ``"auto"`` takes the
            ``threshold_`` of a verifier, and none where there is none.

        order : {"hardest", "random", "given"}, default="hardest"
            Which pairs to show, and in what order. ``"hardest"`` goes by how far the
            distance is on the wrong side of the threshold or, without one, of the
            middle between the mean distances of same and different pairs.

        n_pairs : int, default=12
            Largest number of pairs to show.

        random_state : int or None, default=None
            Seed of ``order="random"``. None draws anew each time.

        ax : matplotlib Axes or None, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : PairGridDisplay
            The display, with what it has drawn.

        See Also
        --------
        from_predictions : Show pairs whose distances were measured before.
        sksiamese.pairs.sample_pairs : Draw pairs of row numbers.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseEmbedder
        >>> from sksiamese.display import PairGridDisplay
        >>> from sksiamese.pairs import sample_pairs
        >>> X, y = load_digits(return_X_y=True)
        >>> embedder = SiameseEmbedder("mlp", max_epochs=1, random_state=0)
        >>> embedder = embedder.fit(X[:200], y[:200])
        >>> pairs, same = sample_pairs(y[200:], 100, random_state=0)
        >>> display = PairGridDisplay.from_estimator(
        ...     embedder, pairs, same, images=X[200:], image_shape=(8, 8), n_pairs=6
        ... )
        >>> len(display.frames_), len(display.pictures_)
        (6, 12)
        >>> plt.close(display.figure_)
        """
        distances = pair_distances(estimator, pairs, images)
        threshold = find_threshold(estimator, threshold)
        rows = _choose(same, distances, threshold, order, n_pairs, random_state)
        siamese = find_siamese(estimator)
        return cls._show(
            pairs, same, distances, rows, images, image_shape, threshold, ax, siamese
        )

    @classmethod
    def from_predictions(
        cls,
        pairs,
        same,
        distances,
        *,
        images=None,
        image_shape=None,
        threshold=None,
        order="hardest",
        n_pairs=12,
        random_state=None,
        ax=None,
    ):
        """Show pairs with given distances.

        They may come from any model. File names are refused, since only an estimator
        tells how to read them: pass images.

        Parameters
        ----------
        pairs : array-like of shape (n_pairs, 2, ...) or tuple of two array-likes
            Pairs of images or rows, as one array or as their first and second members;
            row numbers of ``images``, if that is given.

        same : array-like of shape (n_pairs,)
            Whether each pair is of one class; True or 1 if so.

        distances : array-like of shape (n_pairs,)
            Distance of each pair, >= 0; smaller is more alike.

        images : array-like of shape (n, ...) or None, default=None
            Images or rows that ``pairs`` point into.

        image_shape : tuple of int or None, default=None
            Shape that rows unfold to, ``(height, width)`` or
            ``(height, width, n_channels)``.

        threshold : float or None, default=None
            Distance up to which pairs count as the same.

        order : {"hardest", "random", "given"}, default="hardest"
            Which pairs to show, and in what order. ``"hardest"`` goes by how far the
            distance is on the wrong side of the threshold or, without one, of the
            middle between the mean distances of same and different pairs.

        n_pairs : int, default=12
            Largest number of pairs to show.

        random_state : int or None, default=None
            Seed of ``order="random"``. None draws anew each time.

        ax : matplotlib Axes or None, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : PairGridDisplay
            The display, with what it has drawn.

        See Also
        --------
        from_estimator : Measure the distances, too.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_digits
        >>> from sksiamese.display import PairGridDisplay
        >>> X, y = load_digits(return_X_y=True)
        >>> display = PairGridDisplay.from_predictions(
        ...     [[0, 1], [0, 10]],
        ...     [False, True],
        ...     [1.2, 0.3],
        ...     images=X,
        ...     image_shape=(8, 8),
        ... )
        >>> [text.get_text() for text in display.texts_]
        ['different 1.20', 'same 0.300']
        >>> plt.close(display.figure_)
        """
        threshold = check_threshold(threshold)
        rows = _choose(same, distances, threshold, order, n_pairs, random_state)
        return cls._show(
            pairs, same, distances, rows, images, image_shape, threshold, ax, None
        )

    @classmethod
    def _show(
        cls, pairs, same, distances, rows, images, image_shape, threshold, ax, siamese
    ):
        """Fetch the images of some pairs and draw them."""
        is_tuple = isinstance(pairs, tuple)
        for part in pairs if is_tuple else (pairs,):
            if len(part) != len(distances):
                raise ValueError(
                    f"distances has {len(distances)} entries, but there are"
                    f" {len(part)} pairs."
                )
        if is_tuple:
            pairs = tuple(take_rows(part, rows) for part in pairs)
        else:
            pairs = np.asarray(pairs)[rows]
        first, second = (
            load_images(part, image_shape=image_shape, siamese=siamese)
            for part in pair_members(pairs, images)
        )
        display = cls(
            first=first,
            second=second,
            same=np.asarray(same)[rows],
            distances=np.asarray(distances)[rows],
            threshold=threshold,
        )
        return display.plot(ax)

    def plot(self, ax=None):
        """Draw the grid.

        Letters shrink with the images, to 4 points at least.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on, at any size: the grid takes as many columns as fill it
            best. None makes a figure of up to four columns.

        Returns
        -------
        PairGridDisplay
            The display itself.

        Raises
        ------
        ValueError
            If the members of pairs differ in shape.

        See Also
        --------
        matplotlib.axes.Axes.imshow : What draws the images.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_digits
        >>> from sksiamese.display import PairGridDisplay
        >>> images = load_digits().images
        >>> display = PairGridDisplay(
        ...     first=images[:2],
        ...     second=images[10:12],
        ...     same=[1, 1],
        ...     distances=[0.3, 0.9],
        ... )
        >>> figure, ax = plt.subplots(figsize=(4, 2))
        >>> display.plot(ax).ax_ is ax
        True
        >>> plt.close(figure)
        """
        distances, same = check_distances(self.distances, self.same)
        shapes = np.shape(self.first), np.shape(self.second)
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"pairs has first members of shape {shapes[0]}, but second members of"
                f" shape {shapes[1]}: pass images of one shape."
            )
        pictures = make_pictures(np.concatenate([self.first, self.second]))
        pictures = np.stack([pictures[: len(same)], pictures[len(same) :]], axis=1)
        n, (height, width) = len(same), pictures.shape[2:4]
        longest = max(height, width)
        size = width / longest, height / longest
        # Below the frame one line of text, or two with a verdict.
        cell = 2 * size[0] + 0.3, size[1] + (0.5 if self.threshold is None else 0.75)
        columns = min(n, 4)
        figsize = 2 * columns, 0.4 + 2 * math.ceil(n / columns) * cell[1] / cell[0]
        self.ax_ = ax = make_axes(ax, figsize, self)
        self.figure_ = ax.figure
        box = ax.get_window_extent()
        columns = _fill(n, cell, (box.width, box.height))
        n_rows = math.ceil(n / columns)
        # Of one unit, the longer side of an image, in points.
        unit = 72 / ax.figure.dpi
        unit *= min(box.width / columns / cell[0], box.height / n_rows / cell[1])
        font_size = float(np.clip(unit * cell[0] / 9.5, 4, 10))
        self.pictures_, self.frames_, self.texts_ = [], [], []
        for k in range(n):
            corner = k % columns * cell[0], k // columns * cell[1]
            self._draw_pair(corner, size, pictures[k])
            self._label_pair(corner, size, distances[k], same[k], font_size)
        ax.set(xlim=(0, columns * cell[0]), ylim=(n_rows * cell[1], 0), aspect="equal")
        ax.set_axis_off()
        if self.threshold is not None:
            ax.set_title(f"Threshold {self.threshold:.3g}")
        return self

    def _draw_pair(self, corner, size, pair):
        """Draw two images side by side."""
        top = corner[1] + 0.1
        for member, picture in enumerate(pair):
            left = corner[0] + 0.13 + member * (size[0] + 0.04)
            self.pictures_.append(
                self.ax_.imshow(
                    picture,
                    extent=(left, left + size[0], top + size[1], top),
                    interpolation="nearest",
                )
            )

    def _label_pair(self, corner, size, distance, same, font_size):
        """Draw the frame and the text of a pair."""
        from matplotlib.patches import Rectangle

        text = f"{KIND_NAMES[bool(same)]} {distance:#.3g}"
        # The face is what lies between the two images, which may both be white.
        look = {"facecolor": "0.85", "edgecolor": "gray", "linewidth": 1}
        wrong = False
        if self.threshold is not None:
            wrong = same != (distance <= self.threshold)
            text += "\nwrong" if wrong else "\nright"
            look["edgecolor"] = SAME
        if wrong:
            width = min(2.5, font_size / 4)
            look |= {"edgecolor": _WRONG, "linewidth": width, "linestyle": "--"}
        frame = Rectangle(
            (corner[0] + 0.07, corner[1] + 0.04),
            2 * size[0] + 0.16,
            size[1] + 0.12,
            zorder=-1,
            **look,
        )
        self.frames_.append(self.ax_.add_patch(frame))
        self.texts_.append(
            self.ax_.text(
                corner[0] + size[0] + 0.15,
                corner[1] + size[1] + 0.2,
                text,
                ha="center",
                va="top",
                fontsize=font_size,
                fontweight="bold" if wrong else "normal",
            )
        )


def _choose(same, distances, threshold, order, n_pairs, random_state):
    """Rows of the pairs to show, in order."""
    distances, same = check_distances(distances, same)
    if order not in _ORDERS:
        raise ValueError(f"order must be one of {', '.join(_ORDERS)}, got {order!r}.")
    if not isinstance(n_pairs, Integral) or n_pairs < 1:
        raise ValueError(f"n_pairs must be a whole number from 1 on, got {n_pairs!r}.")
    rows = np.arange(len(same))
    if order == "random":
        rows = np.random.default_rng(random_state).permutation(rows)
    if order == "hardest":
        if threshold is None:
            kinds = [distances[same == kind] for kind in (True, False)]
            threshold = np.mean([kind.mean() for kind in kinds if len(kind)])
        error = np.where(same, distances - threshold, threshold - distances)
        rows = np.argsort(-error, kind="stable")
    return rows[:n_pairs]


def _fill(n, cell, area):
    """Count the columns with which n cells fill an area best."""

    def scale(columns):
        n_rows = math.ceil(n / columns)
        return min(area[0] / (columns * cell[0]), area[1] / (n_rows * cell[1]))

    return max(range(1, n + 1), key=scale)
