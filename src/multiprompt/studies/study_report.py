"""The report of one study or several: a page, the same as Markdown, and every cell as CSV. Reads files only."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from multiprompt.analysis import prompt_similarity
from multiprompt.files import write_text
from multiprompt.plan import PlannedStage
from multiprompt.reports.drawing import in_words
from multiprompt.reports.heatmap import heatmap_chart
from multiprompt.reports.html import FOOTER, details, items, page, table_html
from multiprompt.reports.run_contents import Run, read_run
from multiprompt.reports.score_charts import loss_chart
from multiprompt.reports.score_tables import Table, escape_markdown, to_markdown
from multiprompt.studies.cells import measure
from multiprompt.studies.study_charts import ShownPoint, ShownSeries, curve_chart, scatter_chart
from multiprompt.studies.study_definition import HeatmapDefinition, LearningDefinition, Scale, Study, load_study
from multiprompt.studies.study_tables import (
    HEADS,
    Scores,
    ShownCell,
    cells_of,
    claims_table,
    detail_table,
    judge_claims,
    records_of,
    shown_table,
)

HOW_TO_READ = (
    "Values are test metrics on a scale of 100: the mean over the seeds, ± their sample standard deviation. Intervals "
    "of 95 % cover other seeds and other test rows of the same kind together: the variance over the seeds, and what "
    "the rows do to all seeds alike, with Student's t and Satterthwaite's degrees of freedom. Rows that share a "
    "passage count as one. Where answers are not stored, the interval of a difference covers seeds alone, and says "
    "so. Differences are paired: the same seed, draw, task and rows on both sides. Every study has one primary "
    "finding, named before it is run, which is tested alone at 5 %; the other findings of the study are tested "
    "together, their p adjusted by Holm, while their intervals are each one's own. A finding holds, is reversed, or "
    "is not shown, by this p. Not shown is not equal: beside it stands how large a difference is left open, or that "
    "two one-sided tests show it to be within the margin (2 points; 5 % of the range on scales other than 100). Draws "
    "of few examples that share a seed share its source prompt, so they are averaged before seeds are compared. A "
    "published value without a printed deviation has ± ?; ours stands in for it, since none printed is not zero."
)

MINI = (
    "The embedded model and its generated tasks: rows and columns are those of the study, with families of generated "
    "tasks in place of the benchmarks. The values say how the methods compare here; they cannot be compared with the "
    "published ones."
)


@dataclass(frozen=True)
class Chart:
    """A figure: inline SVG with its caption and the keys of its colours."""

    caption: str
    svg: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shown:
    """A study as it is shown."""

    name: str
    study: Study
    tables: tuple[Table, ...]
    cells: tuple[tuple[str, list[list[ShownCell]]], ...]
    charts: tuple[Chart, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]


def write_study_report(names: Sequence[str], scale: Scale, folder: Path, out: Path) -> list[Shown]:
    """Write the page of studies, as Markdown and CSV beside it.

    Args:
        names: of the studies.
        scale: their scale.
        folder: holds STUDY/RUN; runs that are missing or not finished leave their cells empty.
        out: the page; .md and .csv go beside it.

    Returns:
        The studies as they are shown.

    Raises:
        CheckpointError: a file of a run is damaged, or the report cannot be written.
    """
    shown = [show(name, scale, folder) for name in names]
    write_text(out, _page(shown, scale))
    write_text(out.with_suffix(".md"), _markdown(shown, scale))
    write_text(out.with_suffix(".csv"), _csv(shown))
    return shown


def show(name: str, scale: Scale, folder: Path) -> Shown:
    """A study with what its runs have so far."""
    study = load_study(name, scale)
    runs = {f"{of}/{run}": folder / of / run for of in (name, *study.uses) for run in load_study(of, scale).runs}
    read = {key: read_run(place, answers=False) for key, place in runs.items() if (place / "config.yaml").is_file()}
    # A study calls its own runs by their names alone.
    scores: Scores = {key: run.scores for full, run in read.items() for key in (full, full.removeprefix(f"{name}/"))}
    cells = [(table.title, cells_of(table, scores, scale)) for table in study.tables]
    tables = [shown_table(table, of_table) for table, (_, of_table) in zip(study.tables, cells, strict=True)]
    if study.claims:
        tables.append(claims_table(judge_claims(study.claims, scores)))
    missing = [f"{key}: not begun" for key in runs if key not in read]
    missing += [f"{key}: {line}" for key, run in read.items() for line in run.missing]
    return Shown(
        name,
        study,
        tuple(tables),
        tuple(cells),
        tuple(_charts(name, study, scores, read)),
        tuple(missing),
        _notes(cells),
    )


def _notes(cells: Sequence[tuple[str, list[list[ShownCell]]]]) -> tuple[str, ...]:
    """What rows and columns, and the data behind them, must say."""
    every = [cell for _, table in cells for line in table for cell in line]
    own = (f"{cell.row}, {cell.column}: {cell.why}" for cell in every if cell.why)
    said = (note for cell in every for note in cell.notes)
    data = (note for cell in every if cell.ours for note in cell.ours.notes)
    return tuple(dict.fromkeys([*said, *own, *data]))


def _charts(name: str, study: Study, scores: Scores, runs: Mapping[str, Run]) -> Iterator[Chart]:
    def run_of(chosen: str | None) -> Run | None:
        return runs.get(chosen if chosen and "/" in chosen else f"{name}/{chosen}")

    for scatter in study.scatters:
        points = []
        for line in scatter.points:
            ours = measure(scores, line.within(scatter.scores))
            if ours is not None:
                points.append(ShownPoint(line.label, ours))
        if points:
            yield Chart(scatter.title, scatter_chart(scatter.title, points))
    for curve in study.curves:
        series = []
        for each in curve.series:
            found = [
                (place, measure(scores, choice.within(each.scores))) for place, choice in sorted(each.points.items())
            ]
            present = tuple((place, ours) for place, ours in found if ours is not None)
            if present:
                series.append(ShownSeries(each.label, present))
        if series:
            chart = curve_chart(curve.title, curve.across, series, curve.logarithmic)
            yield Chart(f"{curve.title}, by {curve.across}", chart, tuple(each.label for each in series))
    for heatmap in study.heatmaps:
        yield from _heatmap(heatmap, run_of(heatmap.scores.run))
    for learning in study.learning:
        yield from _learning(learning, run_of(learning.run))


def _heatmap(heatmap: HeatmapDefinition, run: Run | None) -> Iterator[Chart]:
    """Cosines of the prompts that are there; none of fewer than two."""
    chosen = heatmap.scores
    names = [PlannedStage("target", (t,), chosen.method or "", chosen.shots or "all").name for t in chosen.tasks]
    finished = {stage.name for stage in run.stages if stage.finished} if run else set()
    patterns = [name for name in names if name in finished]
    if run is None or len(patterns) < 2:
        return
    similarity = prompt_similarity([run.folder], patterns)
    yield Chart(heatmap.title, heatmap_chart(heatmap.title, similarity.labels, similarity.mean, similarity.deviation))


def _learning(learning: LearningDefinition, run: Run | None) -> Iterator[Chart]:
    for name in learning.stages:
        stages = [stage for stage in run.stages if stage.name == name and stage.losses] if run else []
        if stages:
            yield Chart(f"{learning.title}: {name}", loss_chart(name, stages))


def _page(shown: Sequence[Shown], scale: Scale) -> str:
    title = f"The study at {scale} scale" if len(shown) > 1 else shown[0].study.title
    lead = f"{scale} scale · {', '.join(each.name for each in shown)}"
    parts = [f'<header><h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p></header>']
    if scale == "mini":
        parts.append(f'<div class="notice" role="note">{escape(MINI)}</div>')
    for each in shown:
        parts.append(f'<section id="{each.name}">')
        if len(shown) > 1:
            parts.append(f"<h2>{escape(each.study.title)}</h2>")
        if each.study.about:
            parts.append(f"<p>{escape(each.study.about)}</p>")
        if each.missing:
            parts.append(
                '<div class="notice" role="note"><strong>Not finished.</strong> Cells without a value are to come.'
                f"<ul>{items(each.missing)}</ul></div>"
            )
        parts += map(table_html, each.tables)
        if each.charts:
            parts.append(f'<div class="studies">{"".join(map(_figure, each.charts))}</div>')
        for caption, cells in each.cells:
            table = detail_table(caption, cells)
            if table.rows:
                parts.append(details(f"Every value: {caption}", table_html(table)))
        if each.notes:
            parts.append(details(f"{len(each.notes)} notes", f'<ul class="notes">{items(each.notes)}</ul>'))
        parts.append("</section>")
    parts.append(f"<section><h2>How to read it</h2><p>{escape(HOW_TO_READ)}</p></section>{FOOTER}")
    return page(title, parts)


def _figure(chart: Chart) -> str:
    keys = "".join(f'<span class="key key{i}">{escape(key)}</span>' for i, key in enumerate(chart.keys))
    return (
        f'<figure class="wide"><figcaption>{escape(chart.caption)}</figcaption><div class="keys">{keys}</div>'
        f"{chart.svg}</figure>"
    )


def _said(chart: Chart) -> str:
    return escape_markdown(in_words(chart.svg))


def _markdown(shown: Sequence[Shown], scale: Scale) -> str:
    parts = [f"# The study at {scale} scale" if len(shown) > 1 else f"# {escape_markdown(shown[0].study.title)}"]
    if scale == "mini":
        parts.append(MINI)
    for each in shown:
        if len(shown) > 1:
            parts.append(f"## {escape_markdown(each.study.title)}")
        if each.study.about:
            parts.append(escape_markdown(each.study.about))
        if each.missing:
            parts += ["**Not finished:**", "\n".join(f"- {escape_markdown(line)}" for line in each.missing)]
        parts += [to_markdown(table).rstrip() for table in each.tables]
        parts += [f"**{escape_markdown(c.caption)}** (drawn on the page): {_said(c)}." for c in each.charts]
        if each.notes:
            parts.append("\n".join(f"- {escape_markdown(note)}" for note in each.notes))
    parts.append(HOW_TO_READ)
    return "\n\n".join(parts) + "\n"


def _csv(shown: Sequence[Shown]) -> str:
    """Every cell of every table, one a line."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("study", "table", *HEADS))
    for each in shown:
        for caption, cells in each.cells:
            writer.writerows((each.name, caption, *record) for record in records_of(cells))
    return file.getvalue()
