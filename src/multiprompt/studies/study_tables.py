"""The tables of a study: every cell with what is needed to judge it, to look at and to reckon with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from multiprompt.evaluation.differences import Difference
from multiprompt.evaluation.differences import Verdict as Finding
from multiprompt.evaluation.results import Score
from multiprompt.evaluation.uncertainty import holm
from multiprompt.reports.score_tables import BASELINES, EMPTY, Cell, Table, marks_of, number, signed
from multiprompt.studies.cells import (
    Measured,
    Published,
    Verdict,
    difference,
    measure,
    published_value,
    verdict,
)
from multiprompt.studies.study_definition import Claim, Line, Scale, TableDefinition

Scores = Mapping[str, Sequence[Score]]
"""Of every run, by STUDY/RUN."""

MARKS: Mapping[Verdict, str] = {
    "equal": "=",
    "compatible": "✓",
    "too imprecise": "?",
    "differs": "≠",
    "not comparable": "○",
}
"""Keys of the legend in ``reports.score_tables``."""


@dataclass(frozen=True)
class ShownCell:
    """A cell of a table.

    Attributes:
        row: label.
        column: label.
        ours: what was measured; None if it is not there yet.
        theirs: what the paper prints; None at mini scale and where it prints nothing.
        verdict: of the comparison; None without both.
        why: the reason of "not comparable".
        notes: of its row and its column.
        digits: decimals that are shown.
    """

    row: str
    column: str
    ours: Measured | None
    theirs: Published | None
    verdict: Verdict | None
    why: str
    notes: tuple[str, ...]
    digits: int


def cells_of(table: TableDefinition, scores: Scores, scale: Scale) -> list[list[ShownCell]]:
    """All cells, row by row."""
    return [[_cell(table, row, column, scores, scale) for column in table.columns] for row in table.rows]


def _cell(table: TableDefinition, row: Line, column: Line, scores: Scores, scale: Scale) -> ShownCell:
    ours = measure(scores, row.within(column).within(table.scores))
    theirs = None
    if scale == "paper" and table.published is not None:
        theirs = published_value(table.published, row.published_name, column.published_name)
    why = row.incomparable or column.incomparable
    judged = verdict(ours, theirs, why) if ours is not None and theirs is not None else None
    notes = tuple(filter(None, (row.note, column.note)))
    why = (judged == "not comparable" and why) or ""
    return ShownCell(row.label, column.label, ours, theirs, judged, why, notes, max(row.digits, column.digits))


def shown_table(table: TableDefinition, cells: Sequence[Sequence[ShownCell]]) -> Table:
    """A table to look at: mean, deviation, and beside it what the paper prints."""
    rows = []
    for line in cells:
        parameters = [cell.ours.parameters for cell in line if cell.ours is not None]
        extra = (Cell(f"{max(parameters):,}" if parameters else EMPTY),) * table.parameters
        rows.append((Cell(line[0].row), *extra, *map(_shown, line)))
    heads = (table.rows_head, *(("trained per task",) * table.parameters), *(column.label for column in table.columns))
    footer = []
    for name, values in _baselines(cells).items():
        shown = (Cell(EMPTY if value is None else number(value)) for value in values)
        footer.append((Cell(name), *(Cell(EMPTY),) * table.parameters, *shown))
    return Table(table.title, heads, tuple(rows), tuple(footer))


def _baselines(cells: Sequence[Sequence[ShownCell]]) -> dict[str, list[float | None]]:
    """What needs no model, by column, where all rows of a column are the same tasks and some column has a value."""
    found: dict[str, list[float | None]] = {name: [] for name in BASELINES}
    for column in zip(*cells, strict=True):
        measured = [cell.ours for cell in column if cell.ours is not None]
        pairs = {(ours.majority, ours.shortcut) for ours in measured}
        if len(pairs) > 1:
            return {}
        for own, value in zip(found.values(), next(iter(pairs), (None, None)), strict=True):
            own.append(value)
    return {name: values for name, values in found.items() if any(value is not None for value in values)}


def _shown(cell: ShownCell) -> Cell:
    marks = MARKS[cell.verdict] if cell.verdict else ""
    ours = EMPTY
    if cell.ours is not None:
        ours = number(cell.ours.mean, cell.ours.deviation, cell.digits)
        majority = -math.inf if cell.ours.majority is None else cell.ours.majority
        marks += marks_of(cell.ours.interval[0], majority, cell.ours.invalid)
    return Cell(ours, marks, "" if cell.theirs is None else f"paper {_published(cell.theirs, cell.digits)}")


def _published(theirs: Published, digits: int) -> str:
    """A printed value; a deviation that is not printed is not zero."""
    shown = number(theirs.mean, theirs.deviation, digits)
    return shown if theirs.deviation is not None else f"{shown} ± ?"


HEADS = (
    *("row", "column", "value", "deviation", "low", "high", "seeds", "repeats", "n", "constant answer"),
    *("word rule", "invalid", "parameters", "metrics", "paper", "paper deviation", "verdict", "why", "notes"),
)
"""Of the rows of ``records_of``: the interval is that of 95 % confidence, the share of invalid answers 0 to 1."""


def records_of(cells: Sequence[Sequence[ShownCell]]) -> Iterator[tuple[str | float | int | None, ...]]:
    """Every cell in full."""
    for line in cells:
        for cell in line:
            ours, theirs = cell.ours, cell.theirs
            yield (
                *(cell.row, cell.column),
                *(
                    (None,) * 12
                    if ours is None
                    else (
                        *(ours.mean, ours.deviation, *ours.interval, len(ours.values), ours.repeats, ours.n),
                        *(ours.majority, ours.shortcut, ours.invalid, ours.parameters, " ".join(ours.metrics)),
                    )
                ),
                *((None, None) if theirs is None else (theirs.mean, theirs.deviation)),
                *(cell.verdict, cell.why, "; ".join(cell.notes)),
            )


def detail_table(title: str, cells: Sequence[Sequence[ShownCell]]) -> Table:
    """Every cell on a line of its own, with its interval and baseline."""
    rows = []
    for cell in (cell for line in cells for cell in line):
        ours = cell.ours
        if ours is None:
            continue
        shown = _shown(cell)
        low, high = (number(bound, digits=cell.digits) for bound in ours.interval)
        bases = (EMPTY if value is None else number(value) for value in (ours.majority, ours.shortcut))
        rows.append(
            (
                *(Cell(cell.row, note=cell.column), Cell(shown.text, shown.marks), Cell(f"{low} to {high}")),
                *(
                    Cell(", ".join(ours.metrics)),
                    *map(Cell, bases),
                    Cell(f"{100 * ours.invalid:.1f} %"),
                    Cell(f"{ours.n:,}"),
                ),
                *(
                    Cell(str(len(ours.values))),
                    Cell(str(ours.repeats)),
                    Cell(shown.note.removeprefix("paper ") or EMPTY),
                ),
            )
        )
    heads = (
        "row (column)",
        "value",
        "95 % interval",
        "metric",
        *BASELINES,
        "invalid",
        "n",
        "seeds",
        "repeats",
        "paper",
    )
    return Table(title, heads, tuple(rows))


@dataclass(frozen=True)
class JudgedClaim:
    """A claim and what was found.

    Attributes:
        claim: the claim.
        found: the difference; None where it has not been measured.
        p_value: of the primary finding as it is, of the others adjusted by Holm for all of them.
    """

    claim: Claim
    found: Difference | None
    p_value: float

    @property
    def verdict(self) -> Finding | None:
        """What can be said, by the adjusted p; None where nothing has been measured."""
        return None if self.found is None else self.found.verdict_at(self.p_value)


def judge_claims(claims: Sequence[Claim], scores: Scores) -> list[JudgedClaim]:
    """The paired difference behind every claim, and how it stands among the others.

    Claims that have not been measured yet count among those that are tested, so a verdict stands when they are.
    """
    found = [
        difference(scores, claim.better.within(claim.scores), claim.worse.within(claim.scores)) for claim in claims
    ]
    alone = [1.0 if each is None else each.p_value for each in found]
    adjusted = iter(holm([p for claim, p in zip(claims, alone, strict=True) if not claim.primary]))
    return [
        JudgedClaim(claim, each, p if claim.primary else next(adjusted))
        for claim, each, p in zip(claims, found, alone, strict=True)
    ]


def claims_table(judged: Sequence[JudgedClaim]) -> Table:
    """What the paper finds, and whether it holds here."""
    rows = []
    for each in judged:
        found, digits = each.found, each.claim.digits
        interval = p_values = EMPTY
        if found is not None and found.interval is not None:
            interval = " to ".join(signed(bound, digits) for bound in found.interval)
            p_values = _p(found.p_value) if each.claim.primary else f"{_p(found.p_value)}, {_p(each.p_value)}"
        rows.append(
            (
                Cell(each.claim.text, note="primary" if each.claim.primary else ""),
                Cell(each.verdict or EMPTY, note=_left_open(each)),
                Cell(EMPTY if found is None else signed(found.mean, digits)),
                Cell(interval),
                Cell(p_values),
                Cell(EMPTY if found is None else found.over),
                Cell(EMPTY if each.claim.published is None else signed(each.claim.published, digits)),
            )
        )
    heads = (
        "what the paper finds",
        "here",
        "paired difference",
        "95 % interval",
        "p, adjusted",
        "over",
        "in the paper",
    )
    return Table("What holds", heads, tuple(rows), text_columns=2)


def _p(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _left_open(each: JudgedClaim) -> str:
    """What a difference that is not shown may still be: not shown is not equal."""
    found, digits = each.found, each.claim.digits
    if found is None or each.verdict != "not shown":
        return ""
    if found.equal:
        return f"equal within {number(found.margin, digits=digits)}"
    return "" if found.leaves_open is None else f"up to {number(found.leaves_open, digits=digits)} is open"
