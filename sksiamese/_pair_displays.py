"""PairDistanceDisplay and DetDisplay: how far pairs lie apart (layer 4, step 2)."""

import numpy as np
from scipy.stats import norm

from sksiamese._plotting import (
    DIFFERENT,
    KIND_NAMES,
    SAME,
    check_distances,
    check_threshold,
    error_rates,
    find_threshold,
    make_axes,
    pair_distances,
    percent,
)
from sksiamese.metrics import det_points, equal_error_rate

# Rates that the axes of a DET curve are ticked at: one decade each, finer around 50 %.
_TICKS = (1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99)
_MINOR_TICKS = (0.002, 0.005, 0.02, 0.03, 0.07, 0.15, 0.3, 0.5, 0.7, 0.85, 0.97)


class _PairDisplay:
    """What is drawn from the distances of pairs; a subclass has ``plot``."""

    def __init__(self, *, same, distances, threshold=None, name=None):
        self.distances, self.same = check_distances(distances, same)
        self.threshold = check_threshold(threshold)
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        pairs,
        same,
        *,
        images=None,
        threshold="auto",
        name=None,
        ax=None,
        **kwargs,
    ):
        """Plot the distances that an estimator measures between pairs of images.

        Take pairs of images that the estimator was not fitted on: those of training
        images lie apart even where nothing was learned that holds for others.

        Parameters
        ----------
        estimator : estimator
            Fitted SiameseVerifier, SiameseEmbedder or SiameseClassifier, a pipeline
            that ends in one, a search of one, or anything else with
            ``pair_distance(pairs)``.

        pairs : array-like of shape (n_pairs, 2, ...) or tuple of two array-likes
            Pairs of images, as one array or as their first and second members; row
            numbers of ``images``, if that is given.

        same : array-like of shape (n_pairs,)
            Whether each pair is of one class; True or 1 if so.

        images : array-like of shape (n, ...) or None, default=None
            Images, rows or file names that ``pairs`` point into.

        threshold : float, "auto" or None, default="auto"
            Distance up to which pairs count as the same. ``"auto"`` takes the
            ``threshold_`` of a verifier, and none where there is none.

        name : str or None, default=None
            What to call the estimator. None takes the name of its class.

        ax : matplotlib Axes or None, default=None
            Axes to draw on. None makes a figure.

        **kwargs : dict
            Passed to ``plot``.

        Returns
        -------
        display : PairDistanceDisplay or DetDisplay
            The display, with what it has drawn.

        See Also
        --------
        from_predictions : Plot distances that were measured before.
        sksiamese.pairs.sample_pairs : Draw pairs of row numbers.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseEmbedder
        >>> from sksiamese.display import DetDisplay
        >>> from sksiamese.pairs import sample_pairs
        >>> X, y = load_digits(return_X_y=True)
        >>> embedder = SiameseEmbedder("mlp", max_epochs=1, random_state=0)
        >>> embedder = embedder.fit(X[:200], y[:200])
        >>> pairs, same = sample_pairs(y[200:], 100, random_state=0)
        >>> display = DetDisplay.from_estimator(embedder, pairs, same, images=X[200:])
        >>> display.equal_error_rate_ < 0.5  # better than chance
        True
        >>> plt.close(display.figure_)
        """
        return cls.from_predictions(
            same,
            pair_distances(estimator, pairs, images),
            threshold=find_threshold(estimator, threshold),
            name=type(estimator).__name__ if name is None else name,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls, same, distances, *, threshold=None, name=None, ax=None, **kwargs
    ):
        """Plot given distances of pairs.

        They may come from any model. Of scores, of which large ones mean alike, pass
        what falls with them, such as 1 minus the cosine similarity.

        Parameters
        ----------
        same : array-like of shape (n_pairs,)
            Whether each pair is of one class; True or 1 if so.

        distances : array-like of shape (n_pairs,)
            Distance of each pair, >= 0; smaller is more alike.

        threshold : float or None, default=None
            Distance up to which pairs count as the same.

        name : str or None, default=None
            What to call the source of the distances.

        ax : matplotlib Axes or None, default=None
            Axes to draw on. None makes a figure.

        **kwargs : dict
            Passed to ``plot``.

        Returns
        -------
        display : PairDistanceDisplay or DetDisplay
            The display, with what it has drawn.

        See Also
        --------
        from_estimator : Measure the distances, too.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sksiamese.display import PairDistanceDisplay
        >>> display = PairDistanceDisplay.from_predictions(
        ...     [1, 1, 0, 0], [0.1, 0.4, 0.9, 1.3], name="By hand"
        ... )
        >>> display.ax_.get_title()
        'By hand'
        >>> plt.close(display.figure_)
        """
        display = cls(same=same, distances=distances, threshold=threshold, name=name)
        return display.plot(ax, **kwargs)

    def _describe(self):
        """Threshold and the errors there, as the legend has them."""
        rates = error_rates(self.distances, self.same, self.threshold)
        return "\n".join(
            [f"threshold {self.threshold:.3g}"]
            + [
                f"{error} {percent(rate)}"
                for error, rate in zip(
                    ("false accepts", "false rejects"), rates, strict=True
                )
                if rate is not None
            ]
        )


class PairDistanceDisplay(_PairDisplay):
    """Histograms of the distances of same and different pairs, with the threshold.

    Make one by :meth:`from_estimator` or :meth:`from_predictions`. The less the two
    histograms overlap, the better pairs can be told apart; same pairs to the right of
    the threshold are rejected, different ones to its left accepted, and the legend says
    how many. The area of each histogram is 1, however many pairs of that kind there
    are; with pairs of one kind there is one histogram.

    Read more in the :ref:`User Guide <guide-verify>`.

    Parameters
    ----------
    same : array-like of shape (n_pairs,)
        Whether each pair is of one class; True or 1 if so.

    distances : array-like of shape (n_pairs,)
        Distance of each pair, >= 0; smaller is more alike.

    threshold : float or None, default=None
        Distance up to which pairs count as the same.

    name : str or None, default=None
        Title of the axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes drawn on.

    figure_ : matplotlib Figure
        Figure that holds them.

    histograms_ : dict of matplotlib Polygon
        Outlines of the histograms: ``"same"`` and ``"different"``.

    line_ : matplotlib Line2D or None
        Line at the threshold.

    See Also
    --------
    DetDisplay : The errors at all thresholds.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sksiamese.display import PairDistanceDisplay
    >>> display = PairDistanceDisplay.from_predictions(
    ...     [1, 1, 1, 0, 0, 0], [0.1, 0.2, 0.7, 0.6, 1.1, 1.3], threshold=0.5
    ... )
    >>> print(display.ax_.get_legend().get_texts()[-1].get_text())
    threshold 0.5
    false accepts 0 %
    false rejects 33.3 %
    >>> plt.close(display.figure_)
    """

    def plot(self, ax=None, *, name=None, bins=None):
        """Draw the histograms.

        A display can be drawn again, with other bins or on other axes.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on. None makes a figure.

        name : str or None, default=None
            Title of the axes; None takes that of the display.

        bins : int or None, default=None
            Number of bins, which both kinds share. None goes by the number of pairs, 8
            to 60.

        Returns
        -------
        PairDistanceDisplay
            The display itself.

        See Also
        --------
        matplotlib.axes.Axes.hist : What draws them.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sksiamese.display import PairDistanceDisplay
        >>> display = PairDistanceDisplay(
        ...     same=[1, 1, 0, 0], distances=[0.1, 0.4, 0.9, 1.3], threshold=0.5
        ... ).plot(bins=4)
        >>> list(display.histograms_)
        ['same', 'different']
        >>> plt.close(display.figure_)
        """
        self.ax_ = ax = make_axes(ax, (6.4, 4.0), self)
        self.figure_ = ax.figure
        kinds = [kind for kind in (True, False) if (self.same == kind).any()]
        if bins is None:
            fewest = min((self.same == kind).sum() for kind in kinds)
            bins = int(np.clip(2 * np.cbrt(fewest), 8, 60))  # Rice's rule
        edges = np.histogram_bin_edges(self.distances, bins)
        self.histograms_ = {}
        for kind in kinds:
            values = self.distances[self.same == kind]
            color = SAME if kind else DIFFERENT
            _, _, (outline,) = ax.hist(
                values,
                edges,
                density=True,
                histtype="stepfilled",
                facecolor=(color, 0.4),
                edgecolor=color,
                linewidth=1.5,
                hatch=None if kind else "///",
                label=f"{KIND_NAMES[kind]} ({len(values):,} pairs)",
            )
            self.histograms_[KIND_NAMES[kind]] = outline
        self.line_ = None
        if self.threshold is not None:
            self.line_ = ax.axvline(
                self.threshold, color="black", linestyle="--", label=self._describe()
            )
        ax.set(xlabel="Embedding distance", ylabel="Density of pairs of each kind")
        if name or self.name:
            ax.set_title(name or self.name)
        ax.margins(y=0.3)  # room for the legend
        ax.legend(fontsize="small")
        return self


class DetDisplay(_PairDisplay):
    """Detection error tradeoff: false rejects against false accepts of a verification.

    Make one by :meth:`from_estimator` or :meth:`from_predictions`. The nearer a curve
    lies to the lower left corner the better; chance is a falling line through 50 %. On
    axes of normal deviates the curve of normally distributed distances is a straight
    line [1]_, and small rates get room. A circle marks equal errors, where the curve
    meets the dotted line, and a cross the threshold, if there is one. A rate of 0,
    which has no place on such axes, is drawn at half a pair.

    Read more in the :ref:`User Guide <guide-verify>`.

    Parameters
    ----------
    same : array-like of shape (n_pairs,)
        Whether each pair is of one class; True or 1 if so. Both kinds are needed.

    distances : array-like of shape (n_pairs,)
        Distance of each pair, >= 0; smaller is more alike.

    threshold : float or None, default=None
        Distance up to which pairs count as the same.

    name : str or None, default=None
        Name in the legend.

    Attributes
    ----------
    equal_error_rate_ : float
        Rate at which both errors are equally frequent.

    ax_ : matplotlib Axes
        Axes drawn on.

    figure_ : matplotlib Figure
        Figure that holds them.

    line_ : matplotlib Line2D
        The curve.

    equal_error_point_, threshold_point_ : matplotlib Line2D
        The marked points; ``threshold_point_`` is None without a threshold.

    See Also
    --------
    sklearn.metrics.DetCurveDisplay : The curve of a classifier, on fixed axes.
    sksiamese.metrics.det_points : The rates.

    References
    ----------
    .. [1] Martin, Doddington, Kamm, Ordowski, Przybocki, "The DET Curve in Assessment
       of Detection Task Performance", Eurospeech 1997,
       https://doi.org/10.21437/Eurospeech.1997-504

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sksiamese.display import DetDisplay
    >>> display = DetDisplay.from_predictions(
    ...     [1, 1, 1, 1, 0, 0, 0, 0], [0.1, 0.2, 0.3, 0.7, 0.6, 1.1, 1.2, 1.3]
    ... )
    >>> display.equal_error_rate_
    0.25
    >>> plt.close(display.figure_)
    """

    def plot(self, ax=None, *, name=None, **kwargs):
        """Draw the curve; on axes that hold others, beside them.

        Limits grow as needed, and each curve takes the next colour.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on. None makes a figure.

        name : str or None, default=None
            Name in the legend; None takes that of the display.

        **kwargs : dict
            Passed to ``Axes.plot``, for the curve.

        Returns
        -------
        DetDisplay
            The display itself.

        Raises
        ------
        ValueError
            If there are no pairs of one of the kinds.

        See Also
        --------
        matplotlib.axes.Axes.plot : What draws the curve.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sksiamese.display import DetDisplay
        >>> same = [1, 1, 1, 1, 0, 0, 0, 0]
        >>> good = DetDisplay(same=same, distances=[1, 2, 3, 6, 5, 7, 8, 9], name="A")
        >>> poor = DetDisplay(same=same, distances=[1, 4, 6, 8, 2, 5, 7, 9], name="B")
        >>> _ = poor.plot(good.plot().ax_, linestyle="--")
        >>> [text.get_text() for text in good.ax_.get_legend().get_texts()]
        ['A (EER 25 %)', 'B (EER 50 %)']
        >>> plt.close(good.figure_)
        """
        if self.same.all() or not self.same.any():
            kind = KIND_NAMES[bool(self.same[0])]
            raise ValueError(
                f"same says that all pairs are {kind}, but a DET curve needs pairs of"
                " both kinds."
            )
        self.equal_error_rate_ = equal_error_rate(self.same, -self.distances)
        rates = det_points(self.same, -self.distances)[:2]
        self.ax_ = ax = make_axes(ax, (5.0, 5.0), self)
        self.figure_ = ax.figure
        earlier = [*ax.get_xlim(), *ax.get_ylim()] if ax.has_data() else []
        label = f"EER {percent(self.equal_error_rate_)}"
        name = name or self.name
        label = kwargs.pop("label", f"{name} ({label})" if name else label)
        (self.line_,) = ax.plot(*self._place(*rates), **kwargs)
        color = self.line_.get_color()
        # With the look of the curve, so that the legend shows a line with a circle.
        self.equal_error_point_ = self._mark(
            [self.equal_error_rate_] * 2,
            "o",
            color=color,
            markersize=9,
            fillstyle="none",
            linestyle=self.line_.get_linestyle(),
            linewidth=self.line_.get_linewidth(),
            label=label,
        )
        self.threshold_point_ = None
        if self.threshold is not None:
            self.threshold_point_ = self._mark(
                error_rates(self.distances, self.same, self.threshold),
                "X",
                color=color,
                markeredgecolor="black",
                label=self._describe(),
            )
        self._set_axes(earlier)
        return self

    def _floor(self):
        """Half a pair of each kind: where rates of 0 are drawn, far and frr."""
        return 0.5 / (~self.same).sum(), 0.5 / self.same.sum()

    def _place(self, far, frr):
        """Coordinates of error rates."""
        return [
            norm.ppf(np.clip(rate, floor, 1 - floor))
            for rate, floor in zip((far, frr), self._floor(), strict=True)
        ]

    def _mark(self, rates, marker, **kwargs):
        """Mark a point of the curve."""
        x, y = self._place(*rates)
        kwargs = {"linestyle": "none", "markersize": 7, "zorder": 3, **kwargs}
        return self.ax_.plot([x], [y], marker=marker, clip_on=False, **kwargs)[0]

    def _set_axes(self, earlier):
        """Set limits, ticks in per cent and labels; keep what is drawn in view."""
        ax = self.ax_
        worst = max(0.6, min(2 * self.equal_error_rate_, 0.99))
        ends = [*norm.ppf([min(self._floor()), worst]), *earlier]
        for point in (self.equal_error_point_, self.threshold_point_):
            if point is not None:
                ends += [*point.get_xdata(), *point.get_ydata()]
        limits = min(ends), max(ends)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_ticks(norm.ppf(_TICKS), [f"{100 * t:g}" for t in _TICKS])
            axis.set_ticks(norm.ppf(_MINOR_TICKS), minor=True)
        ax.set(
            xlim=limits,
            ylim=limits,
            aspect="equal",
            xlabel="False accept rate (% of different pairs)",
            ylabel="False reject rate (% of same pairs)",
        )
        ax.grid(True, linewidth=0.5, alpha=0.5)
        if not earlier:
            ax.axline((0, 0), slope=1, color="gray", linestyle=":", linewidth=1)
        ax.legend(fontsize="small")
