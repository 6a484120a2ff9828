"""What all charts are drawn with: axes, words, the frame. Inline SVG; colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape, unescape


class Axis:
    """Values to places. Both ends are moved outwards to ticks, so that all values lie between two of them.

    Args:
        low: the smallest value.
        high: the largest one; where it is hardly larger, the axis goes beyond both.
        start: place of the low end.
        end: place of the high end.
        about: how many steps there are between the values, or fewer; at the ends there may be one more each.
        ends: whether the axis ends at the largest value itself, as the steps of a training do.
    """

    name = "linear"

    def __init__(self, low: float, high: float, start: float, end: float, about: int = 4, ends: bool = False) -> None:
        if not high - low > 1e-9 * max(abs(low), abs(high)):  # steps so small would vanish beside the values
            low, high = low - 0.5 * (low != 0), high + (0.5 if high else 1.0)
        self.step = _round_step((high - low) / about)
        self.low = math.floor(low / self.step + 1e-9) * self.step
        self.high = high if ends else math.ceil(high / self.step - 1e-9) * self.step
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values, from end to end."""
        first = round(self.low / self.step)
        count = math.floor((self.high - self.low) / self.step + 1e-9)
        return [(first + i) * self.step for i in range(count + 1)]


class LogAxis:
    """Positive values to places by their logarithm, between powers of ten.

    Args:
        low: the smallest value.
        high: the largest one.
        start: place of the low end.
        end: place of the high end.
        about: most ticks.
    """

    name = "log"

    def __init__(self, low: float, high: float, start: float, end: float, about: int = 4) -> None:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        self.first, self.powers = first, max(last - first, 1)
        self.start, self.end, self.about = start, end, about

    def __call__(self, value: float) -> float:
        return self.start + (math.log10(value) - self.first) / self.powers * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Powers of ten."""
        every = math.ceil((self.powers + 1) / self.about)
        return [10.0**power for power in range(self.first, self.first + self.powers + 1, every)]


def _round_step(rough: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))


def short(value: float) -> str:
    """A value at a tick."""
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{round(value, 6) + 0.0:g}"


def text(x: float, y: float, words: str, kind: str, anchor: str = "start") -> str:
    """Words at a place."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def svg(
    title: str,
    description: str,
    width: float,
    height: float,
    parts: Sequence[str],
    least_width: float | None = None,
    kind: str = "chart",
) -> str:
    """A whole chart, with what it shows in words for those who do not see it.

    Args:
        title: what it shows.
        description: its values.
        width: of the drawing, in its own units; on a page it fills the width that there is.
        height: of the drawing.
        parts: the drawing.
        least_width: pixels that it has whatever the page's width; put it into an element that scrolls.
        kind: class of the chart, for the style sheet.
    """
    least = f' width="{least_width:g}"' if least_width else ""
    kind += " least" * bool(least_width)
    return (
        f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" role="img"{least}><title>{escape(title)}</title>'
        f"<desc>{escape(description)}</desc>{''.join(parts)}</svg>"
    )


def in_words(chart: str) -> str:
    """What a chart of ``svg`` shows, in the words that it carries: its text alternative where nothing can be drawn."""
    return unescape(chart.partition("<desc>")[2].partition("</desc>")[0])
