"""Histograms of distances and the detection error tradeoff, by their artists."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import det_curve

from sksiamese.display import DetDisplay, PairDistanceDisplay
from sksiamese.metrics import equal_error_rate

RNG = np.random.default_rng(0)
SAME = np.repeat([True, False], [300, 900])
DISTANCES = np.concatenate([RNG.normal(0.5, 0.15, 300), RNG.normal(1.2, 0.2, 900)])
DISTANCES = np.abs(DISTANCES)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def legend_texts(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


@pytest.mark.parametrize("bins", [None, 25])
def test_distances_histogram_areas_are_one_and_heights_are_densities(bins):
    display = PairDistanceDisplay.from_predictions(SAME, DISTANCES, bins=bins)
    n_bins = bins or 13  # 2 * 300 ** (1 / 3)
    edges = np.linspace(DISTANCES.min(), DISTANCES.max(), n_bins + 1)
    for kind, name in ((True, "same"), (False, "different")):
        values = DISTANCES[SAME == kind]
        xy = display.histograms_[name].get_xy()
        for k in range(n_bins):
            count = ((values >= edges[k]) & (values < edges[k + 1])).sum()
            count += k == n_bins - 1 and (values == edges[-1]).sum()
            density = count / len(values) / (edges[1] - edges[0])
            inside = np.isclose(xy[:, 0], edges[k])
            assert np.isclose(xy[inside, 1], density).any()
    assert legend_texts(display) == ["same (300 pairs)", "different (900 pairs)"]
    assert display.line_ is None


def test_distances_threshold_is_a_line_with_its_errors():
    display = PairDistanceDisplay.from_predictions(SAME, DISTANCES, threshold=0.8)
    assert list(display.line_.get_xdata()) == [0.8, 0.8]
    far = 100 * (DISTANCES[~SAME] <= 0.8).mean()
    frr = 100 * (DISTANCES[SAME] > 0.8).mean()
    assert legend_texts(display)[2] == (
        f"threshold 0.8\nfalse accepts {far:.3g} %\nfalse rejects {frr:.3g} %"
    )


def test_distances_threshold_outside_the_data_is_in_view():
    display = PairDistanceDisplay.from_predictions(SAME, DISTANCES, threshold=3.0)
    assert display.ax_.get_xlim()[1] > 3.0


@pytest.mark.parametrize("kind", [True, False])
def test_distances_of_one_kind_make_one_histogram(kind):
    display = PairDistanceDisplay.from_predictions(
        SAME[SAME == kind], DISTANCES[SAME == kind], threshold=0.8
    )
    assert list(display.histograms_) == ["same" if kind else "different"]
    assert ("false accepts" in legend_texts(display)[1]) != kind
    assert ("false rejects" in legend_texts(display)[1]) == kind


def test_distances_that_are_all_equal_are_drawn():
    display = PairDistanceDisplay.from_predictions([1, 0], [0.5, 0.5], threshold=0.5)
    assert "false accepts 100 %\nfalse rejects 0 %" in legend_texts(display)[2]


def test_distances_kinds_differ_in_more_than_colour():
    display = PairDistanceDisplay.from_predictions(SAME, DISTANCES)
    hatches = {shape.get_hatch() for shape in display.histograms_.values()}
    assert len(hatches) == 2


def test_det_curve_is_that_of_scikit_learn():
    display = DetDisplay.from_predictions(SAME, DISTANCES)
    x, y = display.line_.get_data()
    far, frr, _ = det_curve(SAME, -DISTANCES)
    floors = 0.5 / 900, 0.5 / 300
    drawn = set(zip(x.round(9), y.round(9), strict=True))
    for point in zip(far, frr, strict=True):
        place = [norm.ppf(max(r, f)) for r, f in zip(point, floors, strict=True)]
        assert tuple(np.round(place, 9)) in drawn


def test_det_marks_the_point_of_equal_errors_and_the_threshold():
    display = DetDisplay.from_predictions(SAME, DISTANCES, threshold=0.8, name="this")
    eer = equal_error_rate(SAME, -DISTANCES)
    assert display.equal_error_rate_ == eer
    for drawn in display.equal_error_point_.get_data():
        assert norm.cdf(drawn) == pytest.approx([eer])
    far, frr = (DISTANCES[~SAME] <= 0.8).mean(), (DISTANCES[SAME] > 0.8).mean()
    x, y = display.threshold_point_.get_data()
    assert norm.cdf([*x, *y]) == pytest.approx([far, frr])
    curve, threshold = legend_texts(display)
    assert curve == f"this (EER {100 * eer:.3g} %)"
    assert threshold.startswith("threshold 0.8\nfalse accepts")


def test_det_legend_shows_the_curve_with_the_circle_of_equal_errors():
    display = DetDisplay.from_predictions(
        SAME, DISTANCES, label="mine", linestyle="--", color="green"
    )
    (handle,) = display.ax_.get_legend().legend_handles
    assert legend_texts(display) == ["mine"]
    assert handle.get_color() == "green"
    assert handle.get_linestyle() == display.line_.get_linestyle() == "--"
    assert handle.get_marker() == display.equal_error_point_.get_marker() == "o"


def test_det_axes_are_in_per_cent():
    ax = DetDisplay.from_predictions(SAME, DISTANCES).ax_
    for axis in (ax.xaxis, ax.yaxis):
        for tick in axis.get_major_ticks():
            percent = float(tick.label1.get_text())
            place = tick.get_loc()
            assert 100 * norm.cdf(place) == pytest.approx(percent)
    assert "%" in ax.get_xlabel()
    assert "%" in ax.get_ylabel()


def test_det_perfect_separation_is_drawn_in_view():
    display = DetDisplay.from_predictions([1, 1, 0, 0], [0, 0.1, 1, 2], threshold=0.5)
    assert display.equal_error_rate_ == 0
    low, high = display.ax_.get_xlim()
    for point in (display.equal_error_point_, display.threshold_point_):
        for drawn in point.get_data():
            assert low <= drawn[0] <= high


@pytest.mark.parametrize("threshold", [0.0, 0.1, 1.2, 1.7, 5.0])
def test_det_threshold_of_any_errors_is_in_view(threshold):
    display = DetDisplay.from_predictions(SAME, DISTANCES, threshold=threshold)
    for limits, drawn in zip(
        (display.ax_.get_xlim(), display.ax_.get_ylim()),
        display.threshold_point_.get_data(),
        strict=True,
    ):
        assert limits[0] <= drawn[0] <= limits[1]


def test_det_reversed_distances_have_equal_errors_in_view():
    display = DetDisplay.from_predictions(SAME, 1.0 + SAME)
    assert display.equal_error_rate_ == 1
    for drawn in display.equal_error_point_.get_data():
        assert drawn[0] <= display.ax_.get_xlim()[1]


def test_det_useless_distances_show_the_whole_curve():
    same = np.arange(2000) % 2 == 0
    display = DetDisplay.from_predictions(same, np.random.default_rng(0).random(2000))
    assert norm.cdf(display.ax_.get_xlim()[1]) > 0.9


def test_det_second_curve_shares_the_axes():
    first = DetDisplay.from_predictions(SAME, DISTANCES, name="good")
    low = first.ax_.get_xlim()[0]
    few = np.r_[:50, 300:350]
    second = DetDisplay.from_predictions(SAME[few], DISTANCES[few], ax=first.ax_)
    assert second.ax_ is first.ax_
    assert second.ax_.get_xlim()[0] == low
    assert len(legend_texts(second)) == 2
    assert first.line_.get_color() != second.line_.get_color()


def test_det_keywords_reach_the_curve():
    display = DetDisplay.from_predictions(SAME, DISTANCES, color="green", linewidth=3)
    assert display.line_.get_color() == "green"
    assert display.equal_error_point_.get_color() == "green"
    assert display.line_.get_linewidth() == 3


@pytest.mark.parametrize("kind", [True, False])
def test_det_one_kind_is_refused_without_a_figure(kind):
    with pytest.raises(ValueError, match="same says that all pairs are .* both kinds"):
        DetDisplay.from_predictions(SAME[SAME == kind], DISTANCES[SAME == kind])
    assert not plt.get_fignums()
