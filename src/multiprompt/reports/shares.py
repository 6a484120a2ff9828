"""The terms of a loss over a training, as parts of the whole."""

from __future__ import annotations

from collections.abc import Sequence

from multiprompt.health import loss_shares, percent
from multiprompt.reports.drawing import Axis, short, svg, text
from multiprompt.reports.run_contents import Points, Stage
from multiprompt.reports.score_charts import COLOURS, thin

_WIDTH, _HEIGHT = 480.0, 200.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 20.0, 12.0, 34.0


def term_shares(stages: Sequence[Stage]) -> dict[str, Points]:
    """Term -> its share of the loss by step, the mean over seeds and draws that have logged the step."""
    sums: dict[int, tuple[int, dict[str, float]]] = {}
    for stage in stages:
        for record in stage.records:
            shares = loss_shares(record)
            if shares:
                count, total = sums.get(record["step"], (0, {}))
                sums[record["step"]] = count + 1, {term: total.get(term, 0.0) + share for term, share in shares.items()}
    terms = dict.fromkeys(term for _, total in sums.values() for term in total)
    return {
        term: thin(tuple((step, total.get(term, 0.0) / count) for step, (count, total) in sorted(sums.items())))
        for term in terms
    }


def term_chart(name: str, shares: dict[str, Points]) -> str:
    """Areas on top of each other, which add up to the whole loss.

    Args:
        name: of the stage.
        shares: term -> its share by step, all at the same steps; of several steps.
    """
    steps = [step for step, _ in next(iter(shares.values()))]
    across = Axis(0.0, float(steps[-1]), _LEFT, _WIDTH - _RIGHT, about=5, ends=True)
    up = Axis(0.0, 1.0, _HEIGHT - _BOTTOM, _TOP)
    parts, below = [], [0.0] * len(steps)
    for position, points in enumerate(shares.values()):
        above = [low + share for low, (_, share) in zip(below, points, strict=True)]
        edges = [*zip(steps, above, strict=True), *reversed(list(zip(steps, below, strict=True)))]
        places = " ".join(f"{across(step):.1f},{up(min(share, 1.0)):.1f}" for step, share in edges)
        parts.append(f'<polygon class="area method{position % COLOURS}" points="{places}"/>')
        below = above
    for tick in up.ticks():
        y = up(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(text(_LEFT - 5, y + 4, f"{100 * tick:.0f} %", "tick", "end"))
    for tick in across.ticks():
        parts.append(text(across(tick), _HEIGHT - _BOTTOM + 14, short(tick), "tick", "middle"))
    parts.append(text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 4, "step", "label", "middle"))
    described = "; ".join(
        f"{term}: {percent(points[0][1])} at step {steps[0]}, {percent(points[-1][1])} at step {steps[-1]}"
        for term, points in shares.items()
    )
    return svg(f"{name}: shares of the loss", described, _WIDTH, _HEIGHT, parts)
