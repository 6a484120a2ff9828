"""A symmetric matrix as a chart of coloured cells with their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources

import numpy as np
from jaxtyping import Float

from multiprompt.reports.drawing import svg, text

STRONGEST = 0.5
"""Opacity of the strongest colour: numbers stay readable on it, in light and in dark."""

_WIDTH, _GAP, _FOOT = 400.0, 6.0, 18.0
_CHARACTER = 6.0
"""Width of a character of a label."""
_SMALLEST, _LARGEST = 24.0, 52.0
"""Sides of a cell."""
_ROOMY = 30.0
"""Side of a cell from which its number has room for a zero before the point."""


def heatmap_chart(
    title: str, labels: Sequence[str], matrix: Float[np.ndarray, "K K"], deviation: Float[np.ndarray, "K K"]
) -> str:
    """Cells whose colour is as strong as their value, from the smallest to the largest beside the diagonal.

    Where values are negative, a second colour shows them, and both get stronger from zero. Of few labels the chart is
    400 units wide; it is wider, and then not shrunk below that, where cells would be too small for their numbers.

    Args:
        title: what it shows.
        labels: of rows and columns.
        matrix: symmetric; NaN for a cell without a value.
        deviation: of the values, told in the description; NaN where there is none.
    """
    room = _CHARACTER * max(map(len, labels)) + _GAP
    side = min(_LARGEST, max(_SMALLEST, (_WIDTH - 1 - room) / len(labels)))
    beside = matrix[~np.eye(len(labels), dtype=bool)]
    beside = beside[~np.isnan(beside)]
    low, high = (float(beside.min()), float(beside.max())) if beside.size else (0.0, 1.0)
    digits = 3 if high - low < 0.1 and side >= _ROOMY else 2
    parts = []
    for i, label in enumerate(labels):
        middle = room + side * (i + 0.5)
        parts.append(text(room - _GAP, middle + 3.5, label, "label", "end"))
        parts.append(
            f'<text class="label" transform="translate({middle + 3.5:.1f} {room - _GAP:.1f}) rotate(-90)">'
            f"{escape(label)}</text>"
        )
        for j in range(len(labels)):
            parts.append(_cell(room + side * j, room + side * i, side, float(matrix[i, j]), low, high, digits))
    pairs = [
        f"{labels[i]} and {labels[j]}: {_number(float(matrix[i, j]), digits)}{_spread(float(deviation[i, j]))}"
        for i in range(len(labels))
        for j in range(i + 1, len(labels))
    ]
    bottom = room + side * len(labels) + 1
    width = max(_WIDTH, bottom)
    parts.append(text(room, bottom + _FOOT - 4, _scale(low, high, digits), "tick"))
    return svg(title, "; ".join(pairs), width, bottom + _FOOT, parts, width if width > _WIDTH else None, "heatmap")


def _scale(low: float, high: float, digits: int) -> str:
    """What the colours mean, in words that fit below the cells."""
    if low < 0:
        return f"colours from 0 to ±{_number(max(-low, high), digits)}"
    return f"colours from {_number(low, digits)} to {_number(high, digits)}"


def _number(value: float, digits: int) -> str:
    return "–" if np.isnan(value) else f"{round(value, digits) + 0.0:.{digits}f}"


def _spread(deviation: float) -> str:
    return "" if np.isnan(deviation) else f" ± {deviation:.3f}"


def _cell(x: float, y: float, side: float, value: float, low: float, high: float, digits: int) -> str:
    opacity = 0.0 if np.isnan(value) else STRONGEST * strength(value, low, high)
    kind = "negative" if value < 0 else "positive"
    shown = _number(value, digits) if side >= _ROOMY else _number(value, digits).replace("0.", ".")
    return (
        f'<rect class="cell {kind}" x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{side - 1:.1f}" '
        f'height="{side - 1:.1f}" fill-opacity="{opacity:.2f}"/>'
        + text(x + side / 2, y + side / 2 + 3.5, shown, "value", "middle")
    )


def strength(value: float, low: float, high: float) -> float:
    """How strong the colour of a value is, 0 to 1, given the smallest and the largest value beside the diagonal."""
    if low < 0:
        return min(1.0, abs(value) / max(abs(low), abs(high)))
    if high == low:
        return 0.5
    return min(1.0, max(0.0, (value - low) / (high - low)))


def heatmap_file(
    title: str, labels: Sequence[str], matrix: Float[np.ndarray, "K K"], deviation: Float[np.ndarray, "K K"]
) -> str:
    """The same chart as an SVG file of its own: it carries the page's styles, and a ground in their colour."""
    style = resources.files("multiprompt.reports").joinpath("assets/report.css").read_text(encoding="utf-8")
    own = "svg { font-family: system-ui, sans-serif; max-width: 45rem; } svg .ground { fill: var(--page); }"
    inside = heatmap_chart(title, labels, matrix, deviation).removeprefix("<svg ")
    start, end = inside.split("</desc>", 1)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {start}</desc><style>\n{escape(style, quote=False)}{own}\n</style>'
        f'<rect class="ground" width="100%" height="100%"/>{end}\n'
    )
