"""HistoryDisplay: how a training went (layer 4, step 2)."""

import numpy as np

from sksiamese._plotting import DIFFERENT, SAME, find_siamese, make_axes

_CURVES = ("loss", "positive_distance", "negative_distance", "validation_score")


class HistoryDisplay:
    """Loss, distances and validation score of each epoch of a training.

    Make one by :meth:`from_estimator` or :meth:`from_history`. Three panels share the
    epochs: the loss; the mean distances of the training pairs of one class and of two,
    which must part for anything to be learned; the area under the ROC curve of held-out
    pairs (0.5 is chance), with its best epoch marked. What was not recorded has no
    panel. A loss that still falls in the last epoch asks for more of them; both
    distances near 0 tell of collapsed embeddings; a held-out curve that falls while the
    distances part, of overfitting.

    Read more in the :ref:`User Guide <guide-losses>`.

    Parameters
    ----------
    history : dict of array-likes of shape (n_epochs,)
        As ``history_`` of an estimator: ``"loss"``, ``"positive_distance"``,
        ``"negative_distance"``, ``"validation_score"``, each of which may be missing.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that hold the panels.

    figure_ : matplotlib Figure
        Figure that holds them.

    axes_ : dict of matplotlib Axes
        The panels: ``"loss"``, ``"distance"``, ``"validation_score"``.

    lines_ : dict of matplotlib Line2D
        The curves, by their name in the history.

    See Also
    --------
    PairDistanceDisplay : Distances of same and different pairs after the training.
    sklearn.model_selection.LearningCurveDisplay : Scores by number of images.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sksiamese.display import HistoryDisplay
    >>> display = HistoryDisplay.from_history(
    ...     {"loss": [0.5, 0.3, 0.2], "validation_score": [0.8, 0.95, 0.94]}
    ... )
    >>> list(display.axes_)
    ['loss', 'validation_score']
    >>> plt.close(display.figure_)
    """

    def __init__(self, *, history):
        self.history = history

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Plot the training of a fitted estimator.

        Of a search it is the training of the best estimator, on all images. There is no
        panel of held-out pairs where ``validation_fraction`` left too few images for
        them.

        Parameters
        ----------
        estimator : estimator
            Fitted SiameseEmbedder or SiameseClassifier; a SiameseVerifier, pipeline or
            search that holds one.

        ax : matplotlib Axes or None, default=None
            Axes to divide into panels. None makes a figure.

        Returns
        -------
        display : HistoryDisplay
            The display, with what it has drawn.

        Raises
        ------
        TypeError
            If there is no ``history_`` in it.

        NotFittedError
            If it is, or holds, a SiameseEmbedder or SiameseClassifier without a fit.

        See Also
        --------
        from_history : Plot the records of a training alone.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_digits
        >>> from sksiamese import SiameseEmbedder
        >>> from sksiamese.display import HistoryDisplay
        >>> X, y = load_digits(return_X_y=True)
        >>> embedder = SiameseEmbedder("mlp", max_epochs=2, random_state=0)
        >>> display = HistoryDisplay.from_estimator(embedder.fit(X[:200], y[:200]))
        >>> list(display.lines_)
        ['loss', 'positive_distance', 'negative_distance', 'validation_score']
        >>> plt.close(display.figure_)
        """
        siamese = find_siamese(estimator)
        if siamese is None:
            raise TypeError(
                "estimator must be a fitted SiameseEmbedder or SiameseClassifier, or a"
                " verifier, pipeline or search that holds one, got"
                f" {estimator!r}."
            )
        return cls.from_history(siamese.history_, ax=ax)

    @classmethod
    def from_history(cls, history, *, ax=None):
        """Plot a training by its records.

        Records of several calls of ``partial_fit``, or of another program, can be
        joined first.

        Parameters
        ----------
        history : dict of array-likes of shape (n_epochs,)
            As ``history_`` of an estimator: ``"loss"``, ``"positive_distance"``,
            ``"negative_distance"``, ``"validation_score"``, each of which may be
            missing.

        ax : matplotlib Axes or None, default=None
            Axes to divide into panels. None makes a figure.

        Returns
        -------
        display : HistoryDisplay
            The display, with what it has drawn.

        Raises
        ------
        ValueError
            If there is nothing to plot or the records differ in length.

        See Also
        --------
        from_estimator : Take the records of a fitted estimator.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sksiamese.display import HistoryDisplay
        >>> display = HistoryDisplay.from_history({"loss": [0.5, 0.3, 0.2]})
        >>> display.lines_["loss"].get_ydata()
        array([0.5, 0.3, 0.2])
        >>> plt.close(display.figure_)
        """
        return cls(history=history).plot(ax)

    def plot(self, ax=None):
        """Draw the panels.

        They stand one above the other within the axes, whose frame is hidden.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to divide into panels. None makes a figure.

        Returns
        -------
        HistoryDisplay
            The display itself.

        Raises
        ------
        ValueError
            If there is nothing to plot or the records differ in length.

        See Also
        --------
        matplotlib.axes.Axes.inset_axes : What makes the panels.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sksiamese.display import HistoryDisplay
        >>> figure, ax = plt.subplots(figsize=(4, 2))
        >>> display = HistoryDisplay(history={"loss": [0.5, 0.3]}).plot(ax)
        >>> display.axes_["loss"].get_xlabel()
        'Epoch'
        >>> plt.close(figure)
        """
        curves = _read_history(self.history)
        kinds = {"distance": ("positive_distance", "negative_distance")}
        panels = [
            (panel, [name for name in kinds.get(panel, (panel,)) if name in curves])
            for panel in ("loss", "distance", "validation_score")
        ]
        panels = [(panel, names) for panel, names in panels if names]
        self.ax_ = make_axes(ax, (6.4, 0.6 + 1.8 * len(panels)), self)
        self.figure_ = self.ax_.figure
        self.ax_.set_axis_off()
        self.axes_, self.lines_ = {}, {}
        height = 1 / len(panels)
        # A line of text above each panel, where the legend covers no curve.
        line = 20 / 72 * self.figure_.dpi / self.ax_.get_window_extent().height
        line = min(line, 0.4 * height)
        for k, (panel, names) in enumerate(panels):
            inner = self.ax_.inset_axes([0, 1 - (k + 1) * height, 1, height - line])
            self.axes_[panel] = inner
            for name in names:
                self.lines_[name] = _plot_curve(inner, name, curves[name])
            inner.margins(y=0.12)
        self._label()
        return self

    def _label(self):
        """Share the epochs, name the axes and mark the best score."""
        from matplotlib.ticker import MaxNLocator

        labels = {
            "loss": "Loss",
            "distance": "Distance",
            "validation_score": "Pair AUC",
        }
        inner = list(self.axes_.values())
        for axes in inner[:-1]:
            axes.sharex(inner[-1])
            axes.tick_params(labelbottom=False)
        inner[-1].set_xlabel("Epoch")
        inner[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        for panel, axes in self.axes_.items():
            axes.set_ylabel(labels[panel], fontsize="small")
            axes.tick_params(labelsize="small")
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.grid(True, linewidth=0.5, alpha=0.5)
            axes.legend(
                loc="lower right",
                bbox_to_anchor=(1, 1),
                borderaxespad=0,
                ncols=2,
                columnspacing=1.2,
                frameon=False,
                fontsize="small",
            )


def _read_history(history):
    """Check records and leave out those without a value."""
    if not hasattr(history, "keys"):
        raise TypeError(
            f"history must be a dict, as history_ of an estimator, got {history!r}."
        )
    curves = {
        name: np.asarray(history[name], dtype=np.float64)
        for name in _CURVES
        if name in history
    }
    for name, values in curves.items():
        if values.ndim != 1:
            raise ValueError(
                f"history has {name!r} of shape {values.shape}: pass a flat list with"
                " one value for each epoch."
            )
    if len({values.shape for values in curves.values()}) > 1:
        lengths = {name: len(values) for name, values in curves.items()}
        raise ValueError(f"history must have one value for each epoch, got {lengths}.")
    curves = {name: v for name, v in curves.items() if np.isfinite(v).any()}
    if not curves:
        raise ValueError(
            f"history has no value of {', '.join(_CURVES)}: pass history_ of a fitted"
            " estimator."
        )
    return curves


def _plot_curve(axes, name, values):
    """Draw one record."""
    epochs = np.arange(1, len(values) + 1)
    looks = {
        "loss": {"color": "black", "label": "training"},
        "positive_distance": {"color": SAME, "label": "training pairs, same class"},
        "negative_distance": {
            "color": DIFFERENT,
            "label": "different classes",
            "linestyle": "--",
        },
        "validation_score": {"color": "black", "label": "held-out pairs"},
    }
    marker = "." if len(values) <= 30 else None  # a single epoch has no line to see
    (line,) = axes.plot(epochs, values, marker=marker, **looks[name])
    if name == "validation_score":
        best = np.nanargmax(values)
        axes.plot(
            epochs[best],
            values[best],
            "o",
            color="black",
            markerfacecolor="white",
            markersize=8,
            label=f"best: {values[best]:.3f} in epoch {epochs[best]}",
        )
    return line
