"""Curves of losses: every value has its place, and an axis that lets it be seen."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from multiprompt.evaluation.summaries import summarise
from multiprompt.reports.drawing import Axis, LogAxis, in_words, svg
from multiprompt.reports.run_contents import Stage
from multiprompt.reports.score_charts import loss_chart, score_chart
from reports.fake_runs import fake_score


def ticks_of(losses):
    """The numbers beside the vertical axis, and the heights of the curve."""
    stage = Stage(0, "source", 0, tuple((10 * i, loss) for i, loss in enumerate(losses)), (), True)
    drawn = ET.fromstring(loss_chart("source", [stage]))
    ticks = [float(each.text) for each in drawn.iter("text") if each.get("text-anchor") == "end"]
    (curve,) = drawn.iter("polyline")
    return ticks, [float(place.split(",")[1]) for place in curve.get("points").split()]


def test_losses_that_fall_by_orders_of_magnitude_get_a_logarithmic_axis():
    ticks, heights = ticks_of([80.0, 8.0, 0.8, 0.8, 0.8])
    assert ticks == [0.1, 1, 10, 100]
    assert "loss (log scale)" in loss_chart("x", [Stage(0, "x", 0, ((1, 80.0), (2, 0.8), (3, 0.7)), (), True)])
    assert "loss (linear scale)" in loss_chart("x", [Stage(0, "x", 0, ((1, 80.0), (2, 40.0), (3, 20.0)), (), True)])
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.2)


@pytest.mark.parametrize("losses", [[2.0, 1.0, 0.5], [80.0, 0.5, 0.0]], ids=["of one size", "with a zero"])
def test_others_have_an_axis_from_zero(losses):
    ticks, heights = ticks_of(losses)
    assert ticks[0] == 0
    assert ticks[2] - ticks[1] == pytest.approx(ticks[1] - ticks[0])
    assert heights == sorted(heights)  # falling losses; heights are counted from the top


@given(st.floats(-100, 100), st.floats(-100, 100), st.integers(2, 6), st.booleans())
@example(-100.0, -99.99999999999999, 2, False)  # one step of a float apart
def test_values_lie_between_two_ticks(one, other, about, upright):
    low, high = sorted((one, other))
    places = (100.0, 0.0) if upright else (0.0, 100.0)
    axis = Axis(low, high, *places, about)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= about + 3
    assert ticks[0] <= low + 1e-6
    assert ticks[-1] >= high - 1e-6
    assert (axis(ticks[0]), axis(ticks[-1])) == pytest.approx(places)


def test_an_axis_of_scores_holds_the_ends_of_their_intervals():
    """Also where the smallest value is zero."""
    (summary,) = summarise([fake_score(value=76.5, majority=0.0, interval=(72.0, 80.5))])
    drawn = ET.fromstring(score_chart("scores", {"mini-rte": [("mpt", summary)]}))
    (bar,) = [line for line in drawn.iter("line") if line.get("class", "").startswith("bar")]
    grid = [float(line.get("x1")) for line in drawn.iter("line") if line.get("class") == "grid"]
    assert min(grid) <= float(bar.get("x1")) <= float(bar.get("x2")) <= max(grid)


def test_steps_end_where_a_training_ends():
    assert Axis(0.0, 1234.0, 0.0, 100.0, ends=True)(1234.0) == 100.0


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 6))
def test_a_logarithmic_axis_holds_its_values_between_its_ends(one, other, about):
    low, high = sorted((one, other))
    axis = LogAxis(low, high, 100.0, 0.0, about)
    assert -1e-6 <= axis(high) <= axis(low) <= 100 + 1e-6
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= about
    assert ticks == sorted(set(ticks))


def test_the_words_of_a_chart_are_read_back():
    said = "MPT < PT & 70.0 ± 1.0"
    assert in_words(svg("title", said, 10, 10, ["<text>desc</text>"])) == said
    assert re.search("MPT &lt; PT", svg("title", said, 10, 10, []))
