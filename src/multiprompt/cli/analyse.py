"""``multiprompt analyse``: what the prompts of finished runs say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from multiprompt.cli.arguments import NumbersOption, RunArgument, RunsArgument, SeedOption, TasksOption, renamed
from multiprompt.cli.failures import reports_failures
from multiprompt.cli.output import echo
from multiprompt.errors import ConfigError


class MetricChoice(StrEnum):
    """How near is measured."""

    COSINE = "cosine"
    EUCLID = "euclid"


FormerJson = Annotated[Path | None, typer.Option("--json", hidden=True)]
"""The former name of ``--out``, from before ``predict --json`` printed JSON."""


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    verbs = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
    verbs.callback()(analyse)
    verbs.command(short_help="Print how similar prompts are, and which tasks cluster.")(similarity)
    verbs.command(short_help="Score every source prompt on every target task.")(transfer)
    verbs.command(short_help="Print what one prompt holds.")(prompt)
    app.add_typer(verbs, name="analyse", short_help="Compare and inspect the prompts of finished runs.")


def analyse() -> None:
    """Compare and inspect the prompts of finished runs: similarity, transfer to other tasks, contents.

    The results of a run do not change. docs/analysis.md says what every number means.

    \b
    Example:
        multiprompt analyse similarity runs/quickstart
        multiprompt analyse transfer runs/quickstart
        multiprompt analyse prompt runs/quickstart source
    """


@reports_failures()
def similarity(
    runs: RunsArgument,
    stage: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Names of stages, such as 'teacher-*'; may be given several times. Default: mpt on targets with all "
            "examples, or all stages with a prompt if the run has none of these.",
        ),
    ] = None,
    row_wise: Annotated[
        bool, typer.Option("--row-wise", help="Use the mean of the row-wise cosines, not the cosine of the mean rows.")
    ] = False,
    out: NumbersOption = None,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw a heatmap into this SVG file.")] = None,
    former_stages: Annotated[list[str] | None, typer.Option("--stages", hidden=True)] = None,
    former_rows: Annotated[bool, typer.Option("--rows", hidden=True)] = False,
    former_json: FormerJson = None,
) -> None:
    """Print the cosines between prompts, with their mean and sample deviation over seeds, in clusters.

    A task is represented by the mean of its prompt's rows (Figure 4 of the paper). Prompts of different seeds are never
    compared.

    \b
    Example:
        multiprompt analyse similarity runs/three-seeds
        multiprompt analyse similarity runs/three-seeds --stage 'teacher-*' --svg teachers.svg
    """
    stage = renamed(stage, former_stages, "--stage", "--stages")
    row_wise = renamed(row_wise, former_rows, "--row-wise", "--rows")
    out = renamed(out, former_json, "--out", "--json")
    if svg is not None and svg.suffix != ".svg":
        raise ConfigError(f"the heatmap is an SVG file: expected a name that ends in .svg, not {svg}")

    from multiprompt.analysis.analysis_tables import similarity_table
    from multiprompt.analysis.similarity import prompt_similarity
    from multiprompt.files import write_text
    from multiprompt.reports.heatmap import heatmap_file

    found = prompt_similarity(runs, stage or None, row_wise)
    table = similarity_table(found)
    _show([table], found.sentences(), found.notes, found.to_json(), out)
    if svg is not None:
        write_text(svg, heatmap_file(table.caption, found.labels, found.mean, found.deviation))
        echo(f"heatmap: {svg}")


@reports_failures("stopped; the same command goes on with what is done")
def transfer(
    run: RunArgument,
    steps: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Also score every source prompt after N steps on the target."),
    ] = 0,
    with_student: Annotated[
        bool,
        typer.Option("--with-student", help="Also score the prompts of source training and the start of targets."),
    ] = False,
    seed: SeedOption = None,
    task: TasksOption = None,
    out: NumbersOption = None,
    former_json: FormerJson = None,
) -> None:
    """Score every source prompt on the dev rows of every target task, and say which helps.

    Scores are kept in RUN/analysis/transfer.json. After a stop the same command continues; nothing is trained twice.

    \b
    Example:
        multiprompt analyse transfer runs/quickstart
        multiprompt analyse transfer runs/quickstart --steps 50 --with-student --task mini-rte
    """
    from multiprompt.analysis.advice import advice, rank_agreement
    from multiprompt.analysis.analysis_tables import transfer_tables
    from multiprompt.analysis.transfer import transfer_matrix
    from multiprompt.cli.progress import terminal_progress

    out = renamed(out, former_json, "--out", "--json")
    with terminal_progress() as progress:
        found = transfer_matrix(run, steps, with_student=with_student, seed=seed, tasks=task, progress=progress)
    said = advice(found)
    agreement = {str(kind): rank_agreement(found, kind) for kind in found.kinds}
    _show(transfer_tables(found), said, (), found.to_json() | {"spearman": agreement, "advice": said}, out)


@reports_failures()
def prompt(
    run: RunArgument,
    stage: Annotated[
        str,
        typer.Argument(metavar="STAGE", help="Stage, such as seed-1/source; a name alone is of the first seed."),
    ],
    task: Annotated[str | None, typer.Option(help="Task of a stage that has several; default: the first.")] = None,
    metric: Annotated[MetricChoice, typer.Option(help="Measure of what is nearest.")] = MetricChoice.COSINE,
    nearest: Annotated[int, typer.Option(min=1, metavar="N", help="Number of vocabulary entries for each row.")] = 5,
    out: NumbersOption = None,
    former_json: FormerJson = None,
) -> None:
    """Print the vocabulary entries nearest to a prompt's rows, its norms, and facts about its task factors.

    \b
    Example:
        multiprompt analyse prompt runs/quickstart target-mini-rte-mpt-4
        multiprompt analyse prompt runs/quickstart source --task mini-mnli --metric euclid
    """
    from multiprompt.analysis.analysis_tables import factor_sentences, prompt_tables
    from multiprompt.analysis.contents import inspect_prompt

    out = renamed(out, former_json, "--out", "--json")
    found = inspect_prompt(run, stage, task, metric.value, nearest)
    said = factor_sentences(found.factors) if found.factors is not None else []
    notes = [f"{found.stage} has a prompt for each of {', '.join(found.tasks)}; choose with --task"]
    _show(prompt_tables(found), said, notes if len(found.tasks) > 1 and task is None else (), found.to_json(), out)


def _show(
    tables: Iterable[Any], sentences: Iterable[str], notes: Iterable[str], plain: Mapping[str, Any], out: Path | None
) -> None:
    """Print tables and sentences, notes to standard error, and write the numbers."""
    from multiprompt.cli.output import print_note, print_tables_of, print_text
    from multiprompt.files import write_json

    print_tables_of(tables)
    for sentence in sentences:
        print_text(sentence)
    for note in notes:
        print_note(note)
    if out is not None:
        write_json(out, plain)
        echo(f"numbers: {out}")
