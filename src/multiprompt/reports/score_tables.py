"""Scores as tables: plain data first, then Markdown and the terminal."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from multiprompt.evaluation.results import Score
from multiprompt.evaluation.summaries import Average, Summary, average_over_tasks, summarise
from multiprompt.health import INVALID_LIMIT
from multiprompt.plan import SOURCE_METHODS, Shots
from multiprompt.text import printable

if TYPE_CHECKING:
    import rich.table

MOST_METHODS = 5
"""Methods beyond which each has a row instead of a column."""

LEGEND = {
    "†": "not safely above the constant answer, one answer given every time: the 95 % interval of the value reaches it",
    "‡": f"more than {100 * INVALID_LIMIT:g} % of the outputs are no answer of the task",
    "=": "equal: the published value is shown to be within 2 points of ours (5 % of the range on other scales)",
    "✓": "compatible: it lies within the 95 % interval, which is narrow enough to say so",
    "?": "too imprecise to say: it lies within an interval that leaves more than this margin open to each side",
    "≠": "differs: it lies outside the interval",
    "○": "not comparable with the published value",
}

CONSTANT, _ = BASELINES = ("constant answer", "word rule")
"""What a score is seen against: columns, or rows of a table that is turned."""

EMPTY = "–"
"""Stands where there is no value."""


@dataclass(frozen=True)
class Cell:
    """One entry.

    Attributes:
        text: what is shown.
        marks: keys of ``LEGEND``.
        note: said beside the text, less prominently.
    """

    text: str
    marks: str = ""
    note: str = ""

    def __str__(self) -> str:
        noted = f"{self.text} ({self.note})" if self.note else self.text
        return f"{noted} {self.marks}" if self.marks else noted


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows.

    Attributes:
        caption: what it shows.
        columns: the head.
        rows: the body.
        footer: rows that sum up the body.
        text_columns: number of columns from the left that hold words; the rest holds numbers.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    footer: tuple[tuple[Cell, ...], ...] = ()
    text_columns: int = 1

    @property
    def marks(self) -> str:
        """The marks that occur in it."""
        return "".join(mark for mark in LEGEND if any(mark in cell.marks for row in self.rows for cell in row))


def number(value: float, deviation: float | None = None, digits: int = 1) -> str:
    """A score with so many decimals, and its deviation if there is one."""
    shown = f"{round(value, digits) + 0.0:.{digits}f}"  # adding zero turns -0.0 into 0.0
    return shown if deviation is None else f"{shown} ± {deviation:.{digits}f}"


def signed(value: float, digits: int = 1) -> str:
    """Points with their sign."""
    shown = number(value, digits=digits)
    return shown if shown.startswith("-") or not float(shown) else f"+{shown}"


def marks_of(low: float, constant: float, invalid: float) -> str:
    """The marks that a score deserves.

    Args:
        low: lower end of the 95 % interval of its value.
        constant: what a constant answer gets.
        invalid: share (0 to 1) of outputs that are no answer.
    """
    return "†" * (low <= constant) + "‡" * (invalid > INVALID_LIMIT)


def _marks(summary: Summary) -> str:
    return marks_of(summary.interval[0], summary.majority, summary.invalid)


def shots_text(shots: Shots) -> str:
    """Training examples in words."""
    return "all training examples" if shots == "all" else f"{shots} training examples"


def targets_caption(shots: Shots, summaries: Sequence[Summary]) -> str:
    """What a table of target tasks shows; with few examples also the number of draws and the choice of the tensors."""
    parts = ["Target tasks", shots_text(shots)]
    draws = sorted({summary.num_draws for summary in summaries})
    if draws[-1] > 1:
        parts.append(f"{draws[-1]} draws" if len(draws) == 1 else f"{draws[0]} to {draws[-1]} draws")
    selection = summaries[0].selection
    if shots != "all" and selection and not differ_in_selection(shots, summaries):
        parts.append(selection)
    return ", ".join(parts)


def differ_in_selection(shots: Shots, summaries: Iterable[Summary]) -> bool:
    """Whether scores with few examples follow several protocols, so that each must say which."""
    return shots != "all" and len({summary.selection for summary in summaries}) > 1


def method_head(summary: Summary, label: str | None, tell_selection: bool) -> str:
    """The name of a method among others.

    Args:
        summary: one of the method's.
        label: of its run, where there are several.
        tell_selection: see ``differ_in_selection``.
    """
    protocol = f", {summary.selection or 'selection not recorded'}" if tell_selection else ""
    return (summary.method if label is None else f"{summary.method} · {label}") + protocol


def shots_order(shots: Shots) -> tuple[int, int]:
    """Sort key: all training examples first, then fewer before more."""
    return (0, 0) if shots == "all" else (1, shots)


def headline_tables(scores: Mapping[str, Sequence[Score]]) -> list[Table]:
    """Task × method: target tasks for every number of training examples, then source tasks.

    A table of many methods is turned, so that it stays narrow.

    Args:
        scores: label of a run -> its scores. With several runs the label is part of the column's head.
    """
    columns = _columns(scores)
    targets = [key for key in columns if key[1] not in SOURCE_METHODS]
    sources = [key for key in columns if key[1] in SOURCE_METHODS]
    every_shots = dict.fromkeys(key[2] for key in targets)
    tables = []
    for shots in sorted(every_shots, key=shots_order):
        chosen = {key: columns[key] for key in targets if key[2] == shots}
        summaries = [summary for column in chosen.values() for summary in column.summaries.values()]
        tables.append(_headline(targets_caption(shots, summaries), chosen, len(scores) > 1))
    if sources:
        tables.append(_headline("Source tasks", {key: columns[key] for key in sources}, len(scores) > 1))
    return tables


_Key = tuple[str, str, Shots]


@dataclass(frozen=True)
class _Column:
    summaries: dict[str, Summary]
    average: Average | None


def _columns(scores: Mapping[str, Sequence[Score]]) -> dict[_Key, _Column]:
    """(label, method, shots) -> its summaries by task."""
    columns: dict[_Key, _Column] = {}
    for label, own in scores.items():
        averages = {(a.method, a.shots): a for a in average_over_tasks(own)}
        for summary in summarise(own):
            key = (label, summary.method, summary.shots)
            column = columns.setdefault(key, _Column({}, averages.get(key[1:])))
            column.summaries[summary.task] = summary
    return columns


def _headline(caption: str, columns: Mapping[_Key, _Column], several: bool) -> Table:
    tasks = list(dict.fromkeys(task for column in columns.values() for task in column.summaries))
    rows = []
    names = _baselines(summary for column in columns.values() for summary in column.summaries.values())
    bases: list[list[float | None]] = []
    for task in tasks:
        summaries = [column.summaries.get(task) for column in columns.values()]
        present = [summary for summary in summaries if summary]
        metrics = ", ".join(dict.fromkeys(summary.metric for summary in present))
        bases.append([_baseline(present[0], name) for name in names])
        cells = [Cell(number(s.mean, s.deviation), _marks(s)) if s else Cell(EMPTY) for s in summaries]
        rows.append((Cell(task, note=metrics), *map(_base_cell, bases[-1]), *cells))
    averages = [c.average if c.average and set(c.average.tasks) == set(tasks) else None for c in columns.values()]
    footer = []
    if len(tasks) > 1:
        shown = [Cell(number(a.mean, a.deviation)) if a else Cell(EMPTY) for a in averages]
        footer.append((Cell("average"), *map(_base_cell, map(_mean, zip(*bases, strict=True))), *shown))
    parameters = [Cell(_parameters(column)) for column in columns.values()]
    footer.append((Cell("parameters per task"), *[Cell("")] * len(names), *parameters))
    firsts = {key: next(iter(column.summaries.values())) for key, column in columns.items()}
    mixed = any(differ_in_selection(shots, firsts.values()) for _, _, shots in columns)
    heads = [method_head(first, key[0] if several else None, mixed) for key, first in firsts.items()]
    table = Table(caption, ("task", *names, *heads), tuple(rows), tuple(footer))
    return _turned(table) if len(heads) > max(MOST_METHODS, len(tasks)) else table


def _baselines(scores: Iterable[Summary | Score]) -> tuple[str, ...]:
    """Those that some score has."""
    return BASELINES if any(score.shortcut is not None for score in scores) else (CONSTANT,)


def _baseline(of: Summary, name: str) -> float | None:
    return of.majority if name == CONSTANT else of.shortcut


def _base_cell(value: float | None) -> Cell:
    return Cell(EMPTY if value is None else number(value))


def _mean(values: Iterable[float | None]) -> float | None:
    """Of all of them; None unless each is there."""
    known = list(values)
    present = [value for value in known if value is not None]
    return statistics.fmean(present) if len(present) == len(known) else None


def _turned(table: Table) -> Table:
    """The same with a row for every method; the baselines come last."""
    body = (*table.rows, *table.footer)
    lines = [(Cell(head), *(row[i] for row in body)) for i, head in enumerate(table.columns) if i > 0]
    methods, bases = ([line for line in lines if (str(line[0]) in BASELINES) is base] for base in (False, True))
    return Table(table.caption, ("method", *(str(row[0]) for row in body)), tuple(methods), tuple(bases))


def _parameters(column: _Column) -> str:
    counts = sorted({summary.parameters for summary in column.summaries.values()})
    return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"


def score_table(scores: Mapping[str, Sequence[Score]]) -> Table:
    """Every (task, method, examples) with all that is needed to judge its value."""
    several, draws, few = len(scores) > 1, _has_draws(scores), _has_few_shot(scores)
    bases = _baselines(score for own in scores.values() for score in own)
    heads: tuple[str, ...] = (
        *("task, method, examples", "value", "95 % interval", *bases, "metric"),
        *(("selection",) if few else ()),
        *("invalid", "n", "seeds"),
        *(("repeats",) if draws else ()),
    )
    rows = []
    for label, own in scores.items():
        for s in sorted(summarise(own), key=lambda s: (s.method in SOURCE_METHODS, shots_order(s.shots))):
            row = (
                Cell(s.task, note=name_note(s.method, s.shots, label if several else "")),
                Cell(number(s.mean, s.deviation), _marks(s)),
                Cell(f"{number(s.interval[0])} to {number(s.interval[1])}"),
                *(_base_cell(_baseline(s, name)) for name in bases),
                Cell(s.metric),
                *((Cell(s.selection or EMPTY),) if few else ()),
                Cell(f"{100 * s.invalid:.1f} %"),
                Cell(f"{s.n:,}"),
                Cell(str(s.num_seeds)),
                *((Cell(str(len(s.repeats))),) if draws else ()),
            )
            rows.append(row)
    return Table("Value, bootstrap interval and baseline", heads, tuple(rows))


def name_note(*parts: int | str) -> str:
    """What names a row beside its first word, so that its value can stand second: method, examples, run, ..."""
    shown = (f"{part} examples" if part == "all" or isinstance(part, int) else part for part in parts)
    return ", ".join(filter(None, shown))


def _has_draws(scores: Mapping[str, Sequence[Score]]) -> bool:
    return any(score.draw for own in scores.values() for score in own)


def _has_few_shot(scores: Mapping[str, Sequence[Score]]) -> bool:
    return any(score.shots != "all" for own in scores.values() for score in own)


def seed_table(scores: Mapping[str, Sequence[Score]]) -> Table:
    """Every seed, and every draw where there are several, for itself: all metrics, the chosen step, time."""
    several, draws = len(scores) > 1, _has_draws(scores)
    heads = ("task, method, examples, seed", "metrics", "dev", "best step", "steps", "seconds", "examples/s")
    rows = []
    for label, own in scores.items():
        for s in own:
            drawn = f"draw {s.draw}" if draws and s.shots != "all" else ""
            name = name_note(s.method, s.shots, f"seed {s.seed}", drawn, label if several else "")
            row = (
                Cell(s.task, note=name),
                Cell(", ".join(f"{name} {number(value)}" for name, value in s.metrics.items())),
                Cell(EMPTY if s.dev_value is None else number(s.dev_value)),
                Cell(f"{s.best_step:,}"),
                Cell(f"{s.steps:,}"),
                Cell(f"{s.seconds:,.0f}"),
                Cell(f"{s.examples_per_second:,.1f}"),
            )
            rows.append(row)
    caption = "Every seed and draw, with all metrics" if draws else "Every seed, with all metrics"
    return Table(caption, heads, tuple(rows), text_columns=2)


def to_markdown(table: Table) -> str:
    """A table in Markdown, caption and legend included."""
    lines = [f"**{escape_markdown(table.caption)}**", "", _line(map(escape_markdown, table.columns))]
    lines.append(_line("---" if i < table.text_columns else "---:" for i in range(len(table.columns))))
    lines += [_line(escape_markdown(str(cell)) for cell in row) for row in (*table.rows, *table.footer)]
    legend = [f"{mark} {LEGEND[mark]}" for mark in table.marks]
    return "\n".join([*lines, *(["", "; ".join(legend)] if legend else [])]) + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escape_markdown(text: str) -> str:
    """Text as it is: on one line, with everything escaped that Markdown would read as markup."""
    escaped = re.sub(r"([\\|*<>`\[\]#])", r"\\\1", " ".join(text.split()))
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", escaped)  # an underscore inside a word is no markup


def to_rich(table: Table, widths: Sequence[int] | None = None) -> rich.table.Table:
    """A table for the terminal, legend included.

    Args:
        table: what is shown.
        widths: of the columns; None leaves them to the terminal.
    """
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    legend = "; ".join(f"{mark} {LEGEND[mark]}" for mark in table.marks)
    shown = RichTable(
        title=Text(printable(table.caption), style="bold"),
        caption=Text(legend) if legend else None,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for position, head in enumerate(table.columns):
        side: Literal["left", "right"] = "left" if position < table.text_columns else "right"
        width = None if widths is None else widths[position]
        shown.add_column(Text(printable(head)), justify=side, width=width, overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(printable(str(cell)), style="yellow" if cell.marks else "") for cell in row))
    if table.footer:
        shown.add_section()
    for row in table.footer:
        shown.add_row(
            *(Text(printable(str(cell)), style="bold" if row[0].text == "average" else "dim") for cell in row)
        )
    return shown
