"""Draws the picture of the README from the results of a quickstart.

Usage: python tools/draw_quickstart.py runs/quickstart/results.json docs/images/quickstart.svg

Every small dot is one draw of the training examples, a large dot is the mean over the draws. The picture has its own
background and follows the light or dark scheme of the reader.
"""

from __future__ import annotations

import argparse
import statistics
from html import escape
from pathlib import Path

from multiprompt.evaluation.results import Score, read_results

METHODS = {"mpt": "multitask prompt tuning (mpt)", "prompt_tuning": "prompt tuning from scratch"}
"""Methods in the order of their rows, and their names in the legend."""

WIDTH, LEFT, RIGHT, ROW, GAP, TOP = 720.0, 118.0, 74.0, 26.0, 20.0, 92.0
LOW, HIGH = 30, 100

STYLE = """
svg { font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; font-size: 14px; }
.page { fill: #ffffff; } text { fill: #1c2127; } .quiet { fill: #56606b; } .title { font-weight: 600; font-size: 16px; }
.grid { stroke: #dde2e8; } .constant { stroke: #56606b; stroke-width: 2; stroke-dasharray: 3 3; }
.rule { stroke: #2f7d4f; stroke-width: 2; } .mpt { fill: #1f5fa8; } .prompt_tuning { fill: #b4541a; }
.draw { opacity: .35; } .value { font-weight: 600; }
@media (prefers-color-scheme: dark) {
  .page { fill: #14181d; } text { fill: #e4e8ec; } .quiet { fill: #a5b0bb; } .grid { stroke: #2e363f; }
  .constant { stroke: #a5b0bb; } .rule { stroke: #7cc79a; } .mpt { fill: #7fb2ee; } .prompt_tuning { fill: #eb9a63; }
  .draw { opacity: .5; }
}
"""


def main() -> None:
    """Read the results, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results.json of a run of the recipe quickstart")
    parser.add_argument("out", type=Path, help="the SVG file")
    arguments = parser.parse_args()
    _, scores = read_results(arguments.results)
    arguments.out.write_text(draw([score for score in scores if score.method in METHODS]), encoding="utf-8")


def draw(scores: list[Score]) -> str:
    """The picture as SVG.

    Args:
        scores: the target scores of the methods, one for every task, method and draw.
    """
    shots, draws = {score.shots for score in scores}, len({score.draw for score in scores})
    groups = {task: [score for score in scores if score.task == task] for task in dict.fromkeys(s.task for s in scores)}
    parts = [
        text(16, 28, f"New tasks from {'/'.join(map(str, sorted(shots)))} examples each: test accuracy", "title"),
        *legend(draws),
    ]
    bottom = TOP + len(groups) * (2 * ROW + GAP)
    for tick in range(LOW, HIGH + 1, 10):
        parts.append(line(place(tick), TOP - 8, bottom - GAP + 8, "grid"))
        parts.append(text(place(tick), bottom + 6, f"{tick}", "quiet", "middle"))
    described = []
    top = TOP
    for task, group in groups.items():
        parts.append(text(LEFT - 14, top + ROW + 5, task, anchor="end"))
        parts.append(line(place(group[0].majority), top, top + 2 * ROW, "constant"))
        if group[0].shortcut is not None:
            parts.append(line(place(group[0].shortcut), top, top + 2 * ROW, "rule"))
        for method in METHODS:
            values = [score.value for score in group if score.method == method]
            y = top + ROW / 2
            parts += [dot(value, y, 4, f"{method} draw") for value in values]
            parts.append(dot(statistics.fmean(values), y, 7.5, method))
            shown = f"{statistics.fmean(values):.1f}"
            parts.append(text(WIDTH - 16, y + 5, shown, f"value {method}", "end"))
            described.append(f"{task}, {method}: {shown}")
            top += ROW
        top += GAP
    height = bottom + 22
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" '
        f'aria-labelledby="title description">\n<title id="title">Test accuracy of the quickstart</title>\n'
        f'<desc id="description">{escape("; ".join(described))}</desc>\n<style>{STYLE}</style>\n'
        f'<rect class="page" width="100%" height="100%" rx="6"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def legend(draws: int) -> list[str]:
    """Two lines below the title: the methods, and the marks."""
    parts, x = [], 22.0
    for method, name in METHODS.items():
        parts += [f'<circle class="{method}" cx="{x:.0f}" cy="48" r="6"/>', text(x + 12, 53, name)]
        x += 250
    parts += [
        '<circle class="mpt draw" cx="22" cy="70" r="4"/>',
        text(34, 75, f"one of {draws} draws", "quiet"),
        line(272, 62, 78, "constant"),
        text(282, 75, "constant answer", "quiet"),
        line(422, 62, 78, "rule"),
        text(432, 75, "rule on shared words, no model", "quiet"),
    ]
    return parts


def place(value: float) -> float:
    """The horizontal place of an accuracy."""
    return LEFT + (value - LOW) / (HIGH - LOW) * (WIDTH - LEFT - RIGHT)


def dot(value: float, y: float, radius: float, kind: str) -> str:
    """A filled circle at an accuracy."""
    return f'<circle class="{kind}" cx="{place(value):.1f}" cy="{y:.1f}" r="{radius:g}"/>'


def line(x: float, top: float, bottom: float, kind: str) -> str:
    """A vertical line."""
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>'


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Words at a place."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


if __name__ == "__main__":
    main()
