"""Inline SVG: scores with their intervals, and loss curves. Colours come from the page's style sheet."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from multiprompt.evaluation.summaries import Summary
from multiprompt.reports.drawing import Axis, LogAxis, short, svg, text
from multiprompt.reports.run_contents import Points, Stage
from multiprompt.reports.score_tables import number

MOST_POINTS = 160
"""Points of a curve beyond which neighbours are averaged: more could not be told apart."""

COLOURS = 6
"""Methods that colours tell apart; where there are more, every row of a chart bears its name."""

_WIDTH, _HEIGHT = 320.0, 190.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 12.0, 20.0, 34.0


def loss_chart(name: str, stages: Sequence[Stage]) -> str:
    """Loss and dev metric of one stage over its steps, a curve for every seed and draw.

    The loss has a logarithmic axis where half of the losses would else lie in its lowest tenth; the axis says which it
    is. The dev metric has an axis of its own on the right, which is linear.
    """
    losses = [thin(stage.losses) for stage in stages]
    last = max((points[-1][0] for points in losses if points), default=1)
    dev = [stage.dev for stage in stages if len(stage.dev) > 1]
    right = _RIGHT + (24.0 if dev else 0.0)
    across = Axis(0.0, float(last), _LEFT, _WIDTH - right, ends=True)
    up = _loss_axis([value for points in losses for _, value in points])
    parts = [_grid(across, up, right)]
    for position, points in enumerate(losses):
        parts.append(_curve(points, across, up, f"loss seed{min(position, 3)}"))
    if dev:
        values = [value for points in dev for _, value in points]
        second = Axis(min(values), max(values), _HEIGHT - _BOTTOM, _TOP, about=3)
        parts += [_curve(points, across, second, "dev") for points in dev]
        for tick in second.ticks():
            parts.append(text(_WIDTH - right + 5, second(tick) + 3, short(tick), "tick dev-text"))
        parts.append(text(_WIDTH - right + 5, 9.0, "dev", "label dev-text"))
    parts.append(text(2.0, 9.0, f"loss ({up.name} scale)", "label"))
    parts.append(text((_LEFT + _WIDTH - right) / 2, _HEIGHT - 4, "step", "label", "middle"))
    described = "; ".join(_describe(stage) for stage in stages)
    return svg(f"{name}: training loss", described, _WIDTH, _HEIGHT, parts, kind="chart losses")


def _loss_axis(losses: Sequence[float]) -> Axis | LogAxis:
    highest = max(losses, default=1.0)
    if losses and min(losses) > 0 and statistics.median(losses) < highest / 10:
        return LogAxis(min(losses), highest, _HEIGHT - _BOTTOM, _TOP)
    return Axis(0.0, highest, _HEIGHT - _BOTTOM, _TOP)


def _describe(stage: Stage) -> str:
    words = f"seed {stage.seed}, draw {stage.draw}: " if stage.draw else f"seed {stage.seed}: "
    if stage.losses:
        (first, start), (last, end) = stage.losses[0], stage.losses[-1]
        words += f"loss {start:.3g} at step {first}, {end:.3g} at step {last}"
    if stage.dev:
        step, value = max(stage.dev, key=lambda point: point[1])
        words += f", best dev value {number(value)} at step {step}"
    return words


def score_chart(title: str, tasks: Mapping[str, Sequence[tuple[str, Summary]]]) -> str:
    """A dot and its 95 % interval for every task and method; a tick shows the constant answer.

    Args:
        title: what it shows.
        tasks: task -> (head of the method, summary), the methods in the order of their colours.
    """
    heads = list(dict.fromkeys(head for entries in tasks.values() for head, _ in entries))
    coloured = len(heads) <= COLOURS
    row, gap, width = 15.0, 12.0 if coloured else 30.0, 480.0
    left = min(210.0, 20.0 + 8.0 * max(map(len, tasks if coloured else heads)))  # room for the longest name
    summaries = [summary for entries in tasks.values() for _, summary in entries]
    low = min(min(s.interval[0], s.mean, s.majority) for s in summaries)
    high = max(max(s.interval[1], s.mean, s.majority) for s in summaries)
    across = Axis(low, high, left, width - 16, about=6)
    height = 26.0 + sum(row * len(entries) + gap for entries in tasks.values())
    parts = []
    for tick in across.ticks():
        x = across(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{height - 20:.1f}"/>')
        parts.append(text(x, height - 6, short(tick), "tick", "middle"))
    top = 6.0
    lines = []
    for task, entries in tasks.items():
        if coloured:
            parts.append(text(left - 10, top + row * len(entries) / 2 + 4, task, "label", "end"))
        else:
            top += gap / 2
            parts.append(text(4, top, task, "label heading"))
            top += gap / 4
        x = across(entries[0][1].majority)
        parts.append(
            f'<line class="constant" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{top + row * len(entries):.1f}"/>'
        )
        for head, s in entries:
            y = top + row / 2
            colour = f"method{heads.index(head) if coloured else 0}"
            if not coloured:
                parts.append(text(left - 10, y + 4, head, "tick", "end"))
            (start, end), centre = (across(s.interval[0]), across(s.interval[1])), across(s.mean)
            parts.append(f'<line class="bar {colour}" x1="{start:.1f}" x2="{end:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<circle class="dot {colour}" cx="{centre:.1f}" cy="{y:.1f}" r="4"/>')
            lines.append(f"{task}, {head}: {number(s.mean)}, {number(s.interval[0])} to {number(s.interval[1])}")
            top += row
        top += gap if coloured else gap / 4
    return svg(title, "; ".join(lines), width, height, parts)


def thin(points: Points) -> Points:
    """At most ``MOST_POINTS`` points: means of neighbours, at the last step of each group."""
    size = math.ceil(len(points) / MOST_POINTS)
    if size <= 1:
        return points
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return tuple((group[-1][0], sum(v for _, v in group) / len(group)) for group in groups)


def _grid(across: Axis, up: Axis | LogAxis, right: float) -> str:
    parts = []
    for tick in up.ticks():
        y = up(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(text(_LEFT - 5, y + 3, short(tick), "tick", "end"))
    for tick in across.ticks():
        parts.append(text(across(tick), _HEIGHT - _BOTTOM + 13, short(tick), "tick", "middle"))
    return "".join(parts)


def _curve(points: Points, across: Axis, up: Axis | LogAxis, kind: str) -> str:
    if len(points) == 1:
        points *= 2  # a line of no length is drawn as a dot, a single point not at all
    places = " ".join(f"{across(step):.1f},{up(value):.1f}" for step, value in points)
    return f'<polyline class="curve {kind}" points="{places}"/>'
