"""The report of one run or several as one page: no network, no script, readable on a phone."""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from html import escape
from importlib import resources
from typing import Any

from multiprompt._version import __version__
from multiprompt.evaluation.results import Score
from multiprompt.evaluation.summaries import Summary, summarise
from multiprompt.plan import SOURCE_METHODS, Shots
from multiprompt.reports.learning_section import (
    TITLE,
    by_advice,
    checked,
    headline,
    noticed,
    several_tasks,
    share_table,
)
from multiprompt.reports.opening import comparison_table, opening, run_comparisons
from multiprompt.reports.run_contents import Run, Stage, notes_of
from multiprompt.reports.score_charts import COLOURS, loss_chart, score_chart
from multiprompt.reports.score_tables import (
    LEGEND,
    Cell,
    Table,
    differ_in_selection,
    headline_tables,
    method_head,
    score_table,
    seed_table,
    targets_caption,
)
from multiprompt.reports.shares import term_chart, term_shares

HOW_TO_READ = (
    "Values are test metrics on a scale of 100: the mean over the seeds, ± the sample standard deviation where there "
    "are several. The 95 % interval of a value, in the charts and under “Every score”, is a bootstrap over the test "
    "examples; with several seeds its bounds are means of the seeds' bounds, so it tells what the size of the test set "
    "leaves open, not how far seeds differ."
)

HOW_TO_READ_DIFFERENCES = (
    "The 95 % interval of a paired difference, at the top of the page and in the table of differences, is another "
    "one: it covers the {over} and, where the answers are stored, the test rows together. Its variance is the sum of "
    "that over the {over} and of what the rows do to all of them alike, with Student's t. An interval that holds 0 "
    "does not say that two methods are equal: its ends say how large a difference is left open."
)

HOW_TO_READ_FEW_SHOT = (
    "With few training examples, full-dev means that the tensors with the best value on the whole dev set were kept, "
    "which has more labels than the examples; last-step, that those of the last step were."
)

HOW_TO_READ_DRAWS = (
    "Where the examples were drawn several times, every draw of every seed is a repeat: means and deviations are over "
    "all repeats. The seeds differ in the source prompt too, the draws of one seed share it."
)

FOOTER = f"<footer>Written by multiprompt {__version__} from the files of the run.</footer>"

MOST_NOTES = 12
"""Notes beyond which they are folded away."""


def render_html(runs: Sequence[Run]) -> str:
    """The whole page."""
    scores = {run.label: run.scores for run in runs}
    title = ", ".join(run.label for run in runs)
    parts = [
        f"<header><h1>{escape(title)}</h1>",
        *_opening(runs),
        f'<p class="lead">{escape(" · ".join(lead(runs)))}</p></header>',
        *_missing(runs),
    ]
    if any(scores.values()):
        parts.append("<section><h2>Scores</h2>")
        charts = _score_charts(scores)
        for table in headline_tables(scores):
            parts.append(f'<div class="pair"><div>{table_html(table)}</div>{charts.get(table.caption, "")}</div>')
        if compared := comparison_table(runs):
            parts.append(details(compared.caption, table_html(compared)))
        parts.append(f"<p>{escape(how_to_read(runs))}</p></section><section><h2>Every score</h2>")
        seeds = seed_table(scores)
        parts += [table_html(score_table(scores)), details(seeds.caption, table_html(seeds))]
        parts.append("</section>")
    parts += [*_learning(runs), *_curves(runs)]
    notes = notes_of(runs)
    if notes:
        shown = f'<ul class="notes">{items(notes)}</ul>'
        shown = shown if len(notes) <= MOST_NOTES else details(f"{len(notes)} notes on the data", shown)
        parts.append(f"<section><h2>Notes</h2>{shown}</section>")
    parts.append("<section><h2>How it was made</h2>")
    for run in runs:
        suffix = f" of {run.label}" if len(runs) > 1 else ""
        parts.append(details(f"Resolved configuration{suffix}", f"<pre>{escape(run.configuration)}</pre>"))
        if run.environment:
            parts.append(details(f"Environment{suffix}", _environment(run.environment)))
    parts.append(f"</section>{FOOTER}")
    return page(title, parts)


def page(title: str, parts: Iterable[str]) -> str:
    """A page of its own: style included, nothing to load, and a policy that allows the browser nothing else."""
    style = resources.files("multiprompt.reports").joinpath("assets/report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(style)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def _policy(style: str) -> str:
    """Content security policy of a page that has this style and nothing else: no script, image, frame, form or load."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def lead(runs: Sequence[Run]) -> list[str]:
    """What was run, in a few words each."""
    scores = [score for run in runs for score in run.scores]
    tasks = {score.task for score in scores if score.method not in SOURCE_METHODS}
    names = dict.fromkeys(
        str(run.environment.get("backbone", {}).get("name", run.experiment.backbone.name)) for run in runs
    )
    seeds = _each([len(run.experiment.seeds) for run in runs], "seed")
    parts = [f"backbone {', '.join(names)}", seeds if len(runs) == 1 else f"{len(runs)} runs of {seeds} each"]
    if tasks:
        parts.insert(1, f"{len(tasks)} target task{'s' * (len(tasks) != 1)}")
    draws = [max((score.draw + 1 for score in run.scores), default=1) for run in runs]
    if max(draws) > 1:
        parts.append(f"{_each(draws, 'draw')} of few examples for each seed")
    # The scores of a stage share its training; stages that are trained together may take the very same time.
    seconds = sum(stage.scores[0].seconds for run in runs for stage in run.stages if stage.scores)
    if seconds:
        parts.append(f"{duration(seconds)} of training")
    return parts


def _each(counts: Sequence[int], what: str) -> str:
    """How many every run has: "3 seeds", or "1 to 3 seeds" where they differ."""
    low, high = min(counts), max(counts)
    return f"{low if low == high else f'{low} to {high}'} {what}{'s' * (high != 1)}"


def how_to_read(runs: Sequence[Run]) -> str:
    """What the numbers of these runs mean."""
    every = [score for run in runs for score in run.scores]
    parts = [HOW_TO_READ]
    compared = [found.difference for run in runs for found in run_comparisons(run)]
    over = dict.fromkeys(difference.what for difference in compared if difference.interval)
    if over:
        parts.append(HOW_TO_READ_DIFFERENCES.format(over=" or the ".join(over)))
    if any(score.draw for score in every):
        parts.append(HOW_TO_READ_DRAWS)
    if any(score.shots != "all" for score in every):
        parts.append(HOW_TO_READ_FEW_SHOT)
    return " ".join(parts)


def duration(seconds: float) -> str:
    """A span of time, to two units at most."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _opening(runs: Sequence[Run]) -> Iterable[str]:
    """The result, the model, what the interval covers, and the words of the tables."""
    told = opening(runs)
    yield from (f'<p class="result">{escape(sentence)}</p>' for sentence in told.results)
    yield from (f"<p>{escape(sentence)}</p>" for sentence in told.models)
    yield from (f'<p class="covers">{escape(sentence)}</p>' for sentence in told.covers)
    if told.words:
        entries = (f"<div><dt>{escape(word)}</dt><dd>{escape(meaning)}</dd></div>" for word, meaning in told.words)
        yield f'<dl class="words">{"".join(entries)}</dl>'


def _missing(runs: Sequence[Run]) -> Iterable[str]:
    lines = [f"{run.label}: {line}" if len(runs) > 1 else line for run in runs for line in run.missing]
    if lines:
        yield (
            '<div class="notice" role="note"><strong>Not finished.</strong> The page shows what is there. '
            f"Missing:<ul>{items(lines)}</ul></div>"
        )


def items(texts: Iterable[str]) -> str:
    """Entries of a list."""
    return "".join(f"<li>{escape(text)}</li>" for text in texts)


def details(summary: str, content: str, opened: bool = False) -> str:
    """What is folded away under a line."""
    return f"<details{' open' * opened}><summary>{escape(summary)}</summary>{content}</details>"


def table_html(table: Table) -> str:
    """A table with its caption and legend."""
    head = "".join(
        f'<th scope="col"{_class(i >= table.text_columns)}>{escape(name)}</th>' for i, name in enumerate(table.columns)
    )
    body = "".join(f"<tr>{_row(row, table.text_columns)}</tr>" for row in table.rows)
    foot = "".join(
        f"<tr{' class=parameters' * row[0].text.startswith('parameters')}>{_row(row, table.text_columns)}</tr>"
        for row in table.footer
    )
    # A region that scrolls must be reachable by keyboard and have a name.
    shown = (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(table.caption)}"><table>'
        f"<caption>{escape(table.caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
        f"{f'<tfoot>{foot}</tfoot>' if foot else ''}</table></div>"
    )
    if table.marks:
        shown += f'<p class="legend">{"<br>".join(f"{m} {escape(LEGEND[m])}" for m in table.marks)}</p>'
    return shown


def _row(row: Sequence[Cell], text_columns: int) -> str:
    first = replace(row[0], note="")
    note = f" <small>{escape(row[0].note)}</small>" if row[0].note else ""
    cells = [f'<th scope="row">{escape(str(first))}{note}</th>']
    for position, cell in enumerate(row[1:], start=1):
        cells.append(f"<td{_class(position >= text_columns, bool(cell.marks))}>{_whole(escape(str(cell)))}</td>")
    return "".join(cells)


def _whole(value: str) -> str:
    """On a phone a value may be cut in two lines, but not between a sign and what it belongs to."""
    for sign in ("± ", " †", " ‡"):
        value = value.replace(sign, sign.replace(" ", "\u00a0"))
    return value


def _class(is_number: bool, is_marked: bool = False) -> str:
    names = ["n"] * is_number + ["marked"] * is_marked
    return f' class="{" ".join(names)}"' if names else ""


def _score_charts(scores: Mapping[str, Sequence[Score]]) -> dict[str, str]:
    """Caption of a headline table -> the same values as a chart, with their intervals."""
    by_shots: dict[Shots, list[tuple[str | None, Summary]]] = {}
    for label, own in scores.items():
        for summary in summarise(own):
            if summary.method not in SOURCE_METHODS:
                by_shots.setdefault(summary.shots, []).append((label if len(scores) > 1 else None, summary))
    charts = {}
    for shots, labelled in by_shots.items():
        summaries = [summary for _, summary in labelled]
        caption, mixed = targets_caption(shots, summaries), differ_in_selection(shots, summaries)
        tasks: dict[str, list[tuple[str, Summary]]] = {}
        for run, summary in labelled:
            tasks.setdefault(summary.task, []).append((method_head(summary, run, mixed), summary))
        heads = dict.fromkeys(head for entries in tasks.values() for head, _ in entries)
        named = heads if len(heads) <= COLOURS else ()  # beyond, the chart itself names its rows
        keys = "".join(f'<span class="key key{i}">{escape(head)}</span>' for i, head in enumerate(named))
        keys += '<span class="key tick">constant answer</span>'
        charts[caption] = (
            f'<figure class="wide"><figcaption>The same values with their 95 % bootstrap intervals</figcaption>'
            f'<div class="keys">{keys}</div>{score_chart(f"{caption}: values and 95 % intervals", tasks)}</figure>'
        )
    return charts


def _learning(runs: Sequence[Run]) -> Iterable[str]:
    """A line for every rule that has found something; where, and what to try, is folded away."""
    rules = checked(runs)
    if not rules:
        return
    found = noticed(runs)
    yield f"<section><h2>{TITLE}</h2>"
    quiet = ", ".join(rule for rule in rules if rule not in found)
    if not found:
        yield f"<p>Nothing noticed. Checked: {escape(quiet)}.</p>"
    for rule, entries in found.items():
        shown = "".join(
            f'<p>{escape(advice)}</p><ul class="notes">{items(lines)}</ul>'
            for advice, lines in by_advice(entries).items()
        )
        yield details(headline(rule, entries), shown)
    if found and quiet:
        yield f"<p>Checked, and nothing noticed: {escape(quiet)}.</p>"
    figures = []
    for name, stages in several_tasks(runs):
        shares = term_shares(stages)
        if shares and len(next(iter(shares.values()))) > 1:
            keys = "".join(f'<span class="key key{i % COLOURS}">{escape(term)}</span>' for i, term in enumerate(shares))
            figures.append(
                f'<figure class="wide"><figcaption>Terms of the loss, {escape(name)}</figcaption>'
                f'<div class="keys">{keys}</div>{term_chart(name, shares)}</figure>'
            )
        if table := share_table(name, stages):
            figures.append(table_html(table))
    if figures:
        yield details("Shares of the terms and of the tasks", "".join(figures))
    yield "</section>"


def _curves(runs: Sequence[Run]) -> Iterable[str]:
    """Charts in groups: teachers, source, targets; the seeds and draws of a stage share one chart."""
    groups: dict[str, list[str]] = {}
    for run in runs:
        by_name: dict[str, list[Stage]] = {}
        for stage in run.stages:
            if stage.losses:
                by_name.setdefault(stage.name, []).append(stage)
        for name, stages in by_name.items():
            shown = f"{name} · {run.label}" if len(runs) > 1 else name
            kind = {"teacher": "Teachers", "source": "Source training"}.get(name.split("-")[0], "Target adaptation")
            figure = f"<figure><figcaption>{escape(shown)}</figcaption>{loss_chart(shown, stages)}</figure>"
            groups.setdefault(kind, []).append(figure)
    if not groups:
        return
    yield "<section><h2>Training</h2>"
    what = "seed and draw" if any(stage.draw for run in runs for stage in run.stages) else "seed"
    yield '<div class="keys"><span class="key key0">'
    yield f"training loss, a curve for every {what}</span>"
    yield '<span class="key key1">dev metric (right axis, dashed, linear scale)</span></div>'
    many = sum(map(len, groups.values())) > 24
    for position, (kind, figures) in enumerate(groups.items()):
        charts = f'<div class="charts">{"".join(figures)}</div>'
        yield details(f"{kind} ({len(figures)})", charts, opened=not many or position == 0)
    yield "</section>"


def _environment(environment: Mapping[str, Any]) -> str:
    rows = [(Cell(name), Cell(value)) for name, value in flatten(environment)]
    return table_html(Table("Where it ran", ("what", "value"), tuple(rows), text_columns=2))


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested names and values as lines."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield f"{prefix}{name}", ", ".join(map(str, itertools.islice(value, 50)))
        else:
            yield f"{prefix}{name}", str(value)
