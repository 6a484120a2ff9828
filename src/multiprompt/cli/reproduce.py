"""``multiprompt reproduce``: a table or a figure of the study."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multiprompt.cli.arguments import RayOption, ResumeOption, ThreadsOption
from multiprompt.cli.configuration import OverridesArgument
from multiprompt.cli.failures import STOPPED_RUN, reports_failures
from multiprompt.cli.output import echo

if TYPE_CHECKING:
    from multiprompt.studies import Scale


class ScaleChoice(StrEnum):
    """How large."""

    MINI = "mini"
    PAPER = "paper"


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(short_help="Run a table or a figure of the paper.")(reproduce)


@reports_failures(STOPPED_RUN)
def reproduce(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Any of table1 to table7, figure2, figure4, figure5, ablations, or all."),
    ],
    overrides: OverridesArgument = None,
    scale: Annotated[
        ScaleChoice,
        typer.Option(help="mini: the embedded model, on a laptop; paper: published models and the hub, on GPUs."),
    ] = ScaleChoice.MINI,
    out: Annotated[Path | None, typer.Option(help="Folder for all runs; default: runs/study-SCALE.")] = None,
    resume: ResumeOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the runs and their cost. No data, model or network is needed.")
    ] = False,
    ray: RayOption = None,
    threads_per_stage: ThreadsOption = None,
) -> None:
    """Run all experiments of a table or a figure, and write its report (page, Markdown, CSV).

    Every run has a folder of its own, STUDY/RUN. Stages that several runs share are trained once and copied. After a
    stop, --resume continues.

    \b
    Example:
        multiprompt reproduce table6
        multiprompt reproduce all --resume
        multiprompt reproduce table4 'seeds=[0, 1]' --out runs/two-seeds
        multiprompt reproduce table1 --scale paper --dry-run
    """
    from multiprompt.cli.run import cluster_of

    chosen: Scale = scale.value
    if dry_run:
        _print_plan(name, chosen, overrides or ())
        return
    from multiprompt import studies
    from multiprompt.cli.output import print_tables_of
    from multiprompt.cli.progress import terminal_progress

    folder = out or Path("runs") / f"study-{chosen}"
    cluster = cluster_of(ray, threads_per_stage)
    with terminal_progress() as progress:
        page, shown = studies.reproduce(
            name, chosen, folder, overrides=overrides or (), resume=resume, cluster=cluster, progress=progress
        )
    for study in shown:
        print_tables_of(study.tables)
    echo(f"report: {page}")


def _print_plan(name: str, scale: Scale, overrides: Sequence[str]) -> None:
    """Every run with its stages, steps and cost; what several runs share counts once."""
    from multiprompt import studies
    from multiprompt.cli.output import print_rows, print_text
    from multiprompt.forecast.hours import PEAK, REACHED, costs_of

    known: set[tuple[int, str]] = set()
    rows, whole, stages = [], 0.0, 0
    for study in studies.studies_of(name, scale):
        for run, experiment in studies.experiments_of(
            study, studies.load_study(study, scale), scale, overrides
        ).items():
            costs = costs_of(experiment)
            new = [(seed, each) for seed in experiment.seeds for each in costs if (seed, each.signature) not in known]
            known |= {(seed, each.signature) for seed, each in new}
            hours = [each.hours for _, each in new if each.hours is not None]
            whole, stages = whole + sum(hours), stages + len(new)
            shown = f"{sum(hours):,.1f}" if hours else ""
            steps = sum(each.steps for _, each in new)
            numbers = (len(new), steps, len(experiment.seeds), len(costs))
            rows.append((f"{study}/{run}", shown, *(f"{number:,}" for number in numbers), experiment.backbone.name))
    heads = ("run", "GPU-hours", "stages to do", "steps", "seeds", "stages of a seed", "backbone")
    print_rows(heads, rows, numbers=(1, 2, 3, 4, 5))
    print_text(f"{stages:,} stages in all; those that runs share are done once")
    if whole:
        print_text(
            f"{whole:,.0f} GPU-hours in all, by arithmetic: operations / ({PEAK / 1e12:g} TFLOP/s of an A100 x "
            f"{REACHED:g} that is reached), every source as long as its task allows (see docs/study.md)"
        )
