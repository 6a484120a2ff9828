"""The figures of a study: a score against something that is varied, and trained numbers against the score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from multiprompt.reports.drawing import Axis, short, svg, text
from multiprompt.reports.score_tables import number
from multiprompt.studies.cells import Measured

_WIDTH, _HEIGHT = 480.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 16.0, 24.0, 40.0


@dataclass(frozen=True)
class ShownSeries:
    """A line of a chart: places on the horizontal axis and what was measured there."""

    label: str
    points: tuple[tuple[float, Measured], ...]


def curve_chart(title: str, across: str, series: Sequence[ShownSeries], logarithmic: bool = False) -> str:
    """Lines through means, with their 95 % intervals.

    Args:
        title: what it shows.
        across: name of the horizontal axis.
        series: in the order of their colours; each with one point or more.
        logarithmic: whether the horizontal axis is.
    """
    places = sorted({place for each in series for place, _ in each.points})
    values = [bound for each in series for _, ours in each.points for bound in (*ours.interval, ours.mean)]
    up = Axis(min(values), max(values), _HEIGHT - _BOTTOM, _TOP, about=6)
    scale = math.log10 if logarithmic else float
    low, high = scale(places[0]), scale(places[-1])
    span = (high - low) or 1.0

    def x_of(place: float) -> float:
        room = _WIDTH - _LEFT - _RIGHT - 24
        return _LEFT + 12 + (scale(place) - low) / span * room

    parts = [_lines(up)]
    parts += [text(x_of(place), _HEIGHT - _BOTTOM + 16, short(place), "tick", "middle") for place in places]
    described = []
    for position, each in enumerate(series):
        # Intervals at the same place stand side by side.
        shift = 3.0 * (position - (len(series) - 1) / 2)
        spots = [(x_of(place) + shift, up(ours.mean)) for place, ours in each.points]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        parts.append(f'<polyline class="line method{position}" points="{joined}"/>')
        for (x, _), (place, ours) in zip(spots, each.points, strict=True):
            parts.append(_measured(x, ours, up, position))
            described.append(f"{each.label}, {short(place)}: {number(ours.mean, ours.deviation)}")
    scaled = f"{across} (log scale)" if logarithmic else across
    parts.append(text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, scaled, "label", "middle"))
    return svg(f"{title}, by {across}", "; ".join(described), _WIDTH, _HEIGHT, parts)


@dataclass(frozen=True)
class ShownPoint:
    """A method in the chart of sizes and scores."""

    label: str
    ours: Measured


def scatter_chart(title: str, points: Sequence[ShownPoint]) -> str:
    """Trained numbers per task (logarithmic) against the score, every point with its name and its 95 % interval."""
    values = [bound for point in points for bound in (*point.ours.interval, point.ours.mean)]
    up = Axis(min(values), max(values), _HEIGHT - _BOTTOM, _TOP, about=6)
    sizes = [point.ours.parameters for point in points]
    first, last = math.floor(math.log10(min(sizes))), math.ceil(math.log10(max(sizes)))
    last += first == last

    def x_of(size: float) -> float:
        return _LEFT + (math.log10(size) - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)

    parts = [_lines(up)]
    for power in range(first, last + 1):
        x = x_of(10.0**power)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
        parts.append(text(x, _HEIGHT - _BOTTOM + 16, _power(power), "tick", "middle"))
    taken: list[tuple[float, float, float]] = []
    names = []
    for point in sorted(points, key=lambda point: -point.ours.mean):
        x, y = x_of(point.ours.parameters), up(point.ours.mean)
        parts.append(_measured(x, point.ours, up, 0))
        names.append(_named(point.label, x, y, taken))
    parts += names  # on top of all intervals
    parts.append(
        text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, "trained numbers per task (log scale)", "label", "middle")
    )
    described = (
        f"{point.label}: {point.ours.parameters:,} trained numbers, {number(point.ours.mean, point.ours.deviation)}"
        for point in points
    )
    return svg(title, "; ".join(described), _WIDTH, _HEIGHT, parts)


def _measured(x: float, ours: Measured, up: Axis, colour: int) -> str:
    """A dot at the mean, and its 95 % interval."""
    bottom, top = (up(bound) for bound in ours.interval)
    bar = f'<line class="bar method{colour}" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom:.1f}" y2="{top:.1f}"/>'
    return f'{bar}<circle class="dot method{colour}" cx="{x:.1f}" cy="{up(ours.mean):.1f}" r="3.5"/>'


def _named(label: str, x: float, y: float, taken: list[tuple[float, float, float]]) -> str:
    """The name beside its point, moved down until it covers no earlier name; on the left where the chart ends."""
    width = 7.0 * len(label)
    left = x + 8 + width > _WIDTH - 2
    start = x - 8 - width if left else x + 8
    height = y + 4
    while any(abs(height - other) < 12 and start < end and begin < start + width for begin, end, other in taken):
        height += 3
    taken.append((start, start + width, height))
    return text(x - 8 if left else x + 8, height, label, "label", "end" if left else "start")


def _power(power: int) -> str:
    names = {3: "1 k", 4: "10 k", 5: "100 k", 6: "1 M", 7: "10 M", 8: "100 M", 9: "1 G"}
    return names.get(power, str(10**power))


def _lines(up: Axis) -> str:
    parts = []
    for tick in up.ticks():
        y = up(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(text(_LEFT - 6, y + 3, short(tick), "tick", "end"))
    return "".join(parts)
