"""The course of a training: which panels, which curves, where the best epoch is."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from sksiamese.display import HistoryDisplay

HISTORY = {
    "loss": [0.9, 0.5, 0.3, 0.25],
    "positive_distance": [0.6, 0.5, 0.45, 0.4],
    "negative_distance": [0.7, 1.0, 1.2, 1.25],
    "validation_score": [0.8, 0.95, 0.99, 0.98],
    "seconds": [1.0, 1.0, 1.0, 1.0],
}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_history_curves_are_the_records():
    display = HistoryDisplay.from_history(HISTORY)
    assert list(display.axes_) == ["loss", "distance", "validation_score"]
    assert set(display.lines_) == set(HISTORY) - {"seconds"}
    for name, line in display.lines_.items():
        assert list(line.get_xdata()) == [1, 2, 3, 4]
        assert list(line.get_ydata()) == HISTORY[name]


def test_history_distances_differ_in_more_than_colour():
    lines = HistoryDisplay.from_history(HISTORY).lines_
    positive, negative = lines["positive_distance"], lines["negative_distance"]
    assert positive.axes is negative.axes
    assert positive.get_linestyle() != negative.get_linestyle()


def test_history_marks_the_best_epoch():
    history = {**HISTORY, "validation_score": [np.nan, 0.95, 0.9913, 0.98]}
    ax = HistoryDisplay.from_history(history).axes_["validation_score"]
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts[-1] == "best: 0.991 in epoch 3"
    assert ax.lines[-1].get_data() == (3, 0.9913)


def test_history_without_validation_has_no_panel_for_it():
    history = {**HISTORY, "validation_score": [np.nan] * 4}
    assert list(HistoryDisplay.from_history(history).axes_) == ["loss", "distance"]
    assert list(HistoryDisplay.from_history({"loss": [1.0]}).axes_) == ["loss"]


def test_history_panels_share_whole_epochs():
    display = HistoryDisplay.from_history(HISTORY)
    display.figure_.draw_without_rendering()
    limits = {ax.get_xlim() for ax in display.axes_.values()}
    assert len(limits) == 1
    ticks = display.axes_["validation_score"].get_xticks()
    assert all(tick == int(tick) for tick in ticks)


def test_history_panels_lie_within_the_given_axes_and_apart():
    figure, axes = plt.subplots(2, 2)
    display = HistoryDisplay.from_history(HISTORY, ax=axes[0, 1])
    figure.draw_without_rendering()
    outer = axes[0, 1].get_window_extent()
    boxes = [ax.get_window_extent() for ax in display.axes_.values()]
    for box in boxes:
        assert outer.x0 - 1 <= box.x0 < box.x1 <= outer.x1 + 1
        assert outer.y0 - 1 <= box.y0 < box.y1 <= outer.y1 + 1
    for upper, lower in zip(boxes, boxes[1:], strict=False):
        assert lower.y1 < upper.y0


@pytest.mark.parametrize("names", [["loss"], ["loss", "positive_distance"], HISTORY])
def test_history_legends_lie_above_their_panels_and_within_the_figure(names):
    display = HistoryDisplay.from_history({name: HISTORY[name] for name in names})
    display.figure_.draw_without_rendering()
    panels = list(display.axes_.values())
    for above, panel in zip([None, *panels], panels, strict=False):
        legend = panel.get_legend().get_window_extent()
        assert legend.y0 >= panel.get_window_extent().y1 - 1
        if above is None:
            assert legend.y1 <= display.figure_.bbox.y1 + 1
        else:
            assert legend.y1 <= above.get_window_extent().y0 + 1
        assert legend.x0 >= display.figure_.bbox.x0


@pytest.mark.parametrize(
    ("history", "error", "message"),
    [
        ({"seconds": [1.0]}, ValueError, "history has no value of loss"),
        ({"loss": []}, ValueError, "history has no value of loss"),
        ({"loss": [np.nan]}, ValueError, "history has no value of loss"),
        (
            {"loss": [1.0, 2.0], "validation_score": [1.0]},
            ValueError,
            "history must have one value for each epoch.*'loss': 2",
        ),
        ([1.0, 2.0], TypeError, "history must be a dict"),
        ({"loss": 1.0}, ValueError, r"history has 'loss' of shape \(\)"),
        ({"loss": [[1.0, 2.0]]}, ValueError, r"history has 'loss' of shape \(1, 2\)"),
    ],
)
def test_history_bad_records_are_named(history, error, message):
    with pytest.raises(error, match=message):
        HistoryDisplay.from_history(history)
    assert not plt.get_fignums()


def test_history_estimator_without_one_is_named():
    class Model:
        def pair_distance(self, pairs):
            return np.zeros(len(pairs[0]))

    for estimator in (LogisticRegression(), Model()):
        with pytest.raises(TypeError, match="estimator must be a fitted Siamese"):
            HistoryDisplay.from_estimator(estimator)
