"""Print the log of a pretraining run as Markdown tables: the curve, and the last accuracies of every skill.

Usage: python tools/pretrain/show_log.py LOG.jsonl [ROWS]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

COLUMNS = ("qa", "cloze", "sentiment", "yes_no", "nli", "paraphrase", "answerable", "pronoun_check")
Record = dict[str, Any]


def thin(records: list[Record], rows: int) -> list[Record]:
    """Keep about ``rows`` records, evenly spaced, with the last one."""
    stride = max(1, -(-len(records) // rows))
    return [record for index, record in enumerate(records) if (len(records) - 1 - index) % stride == 0]


def curve(records: list[Record]) -> str:
    """Return the course of loss and accuracy with the instruction in natural words."""
    lines = [
        "| step | examples | minutes | loss | " + " | ".join(COLUMNS) + " |",
        "|" + "---:|" * (4 + len(COLUMNS)),
    ]
    for record in records:
        scores = record["accuracy"]
        cells = [f"{scores.get(f'{name}/natural', scores.get(name)):.2f}" for name in COLUMNS]
        lines.append(
            f"| {record['step']:,} | {record['examples']:,} | {record['seconds'] / 60:.0f} "
            f"| {record['loss']:.3f} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def final_scores(record: Record) -> str:
    """Return one line for each skill and answer style: with the instruction, and with the soft prefix."""
    lines = ["| skill / answers | instruction | soft prefix |", "|---|---:|---:|"]
    scores = record["accuracy"]
    for name, value in scores.items():
        if not name.endswith("+prefix"):
            prefix = scores.get(f"{name}+prefix")
            lines.append(f"| {name} | {value:.2f} | {'' if prefix is None else f'{prefix:.2f}'} |")
    return "\n".join(lines)


def main() -> None:
    """Print both tables."""
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    print(curve(thin(records, int(sys.argv[2]) if len(sys.argv) == 3 else 12)))
    print()
    print(final_scores(records[-1]))


if __name__ == "__main__":
    main()
