"""``multiprompt plan``: what a run will do and take, before it begins."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multiprompt.cli.arguments import ReuseOption, RunFolderOption
from multiprompt.cli.configuration import ConfigArgument, OverridesArgument, load_checked
from multiprompt.cli.failures import reports_failures
from multiprompt.cli.output import echo

if TYPE_CHECKING:
    from multiprompt.forecast.estimate import Estimate, Seconds, StageEstimate

NAMED = 3
"""Most tasks or seeds that are named in a row; of more the number is said."""


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(short_help="Say what a run will do, and estimate its cost.")(plan)


@reports_failures()
def plan(
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    out: RunFolderOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="As in `run`. The plan is the same with it and without it.")
    ] = False,
    reuse: ReuseOption = None,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Time a few steps of every kind of work on this machine.")
    ] = True,
) -> None:
    """List the stages of a run and how many of them are done. Estimate time, memory and disk.

    Nothing in the run's folder changes, and a run may be at work there. Times are measured on this machine as it is
    now.

    \b
    Example:
        multiprompt plan quickstart
        multiprompt plan my-experiment.yaml source.learning_rate=0.1 --out runs/other --reuse runs/my-experiment
        multiprompt plan all-methods 'seeds=[0, 1, 2]' --no-measure
    """
    began = time.monotonic()
    experiment = load_checked(config, overrides)

    from multiprompt.cli.progress import terminal_progress
    from multiprompt.cli.run import folder_name
    from multiprompt.forecast.estimate import estimate_run
    from multiprompt.forecast.measure import SECONDS

    folder = out or Path("runs") / folder_name(experiment.name)
    started = time.monotonic() - began
    with terminal_progress() as progress:
        seconds = SECONDS if measure else 0.0
        estimate = estimate_run(experiment, folder, reuse=reuse or (), seconds=seconds, progress=progress)
    _print(estimate, folder, started, resume)


def group_stages(stages: Sequence[StageEstimate]) -> list[list[StageEstimate]]:
    """Stages that share a row: of one kind, method and number of shots, in plan order."""
    groups: dict[Any, list[StageEstimate]] = {}
    for each in stages:
        stage = each.job.node.stage
        groups.setdefault((stage.kind, stage.method, stage.shots), []).append(each)
    return list(groups.values())


def _print(estimate: Estimate, folder: Path, started: float, resume: bool) -> None:
    from multiprompt.cli.output import print_rows, print_text

    # What a reader looks for first stands first: in a narrow terminal the table is printed in parts.
    heads = ("stage", "method", "shots", "stages", "state", "each", "in all", "left")
    more = ("tasks", "seeds", "steps x examples", "trained")
    rows = map(_row, group_stages(estimate.stages))
    print_rows((*heads, *more), rows, numbers=(3, 5, 6, 7, 10, 11), keys=3)
    joint = _together(estimate)
    if joint:
        echo("")
        print_rows(("times", "trained together"), joint, numbers=(0,))
    echo("")
    for line in (*_changes(estimate, folder, resume), *_totals(estimate, started)):
        print_text(line, 2)


def _row(group: Sequence[StageEstimate]) -> tuple[str, ...]:
    stage = group[0].job.node.stage
    tasks = list(dict.fromkeys(each.job.node.stage.tasks for each in group))
    names = [" + ".join(each) if len(each) <= NAMED else f"{len(each)} together" for each in tasks]
    steps, sizes = [each.job.steps for each in group], [each.job.kind.batch_size for each in group]
    whole = [each.whole for each in group if each.whole is not None]
    left = [each.left for each in group if each.left is not None]
    states = Counter(each.standing.state for each in group)
    begun = sum(each.standing.steps_done for each in group)
    return (
        stage.kind,
        stage.method,
        str(stage.shots) if stage.kind == "target" else "",
        f"{len(group):,}",
        ", ".join(f"{n:,} {state}" + f" ({begun:,} steps)" * (state == "begun") for state, n in states.items()),
        _span(_sum(whole) / len(whole)) if whole else "",
        _span(_sum(whole)) if whole else "",
        _span(_sum(left)) if left else "",
        _named(names, "tasks"),
        _named([str(seed) for seed in dict.fromkeys(each.job.node.seed for each in group)], "seeds"),
        f"{_range(steps)} x {_range(sizes)}",
        _range([each.job.mould.trained for each in group]),
    )


def _named(names: Sequence[str], what: str) -> str:
    return ", ".join(names) if len(names) <= NAMED else f"{len(names)} {what}"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _sum(parts: Sequence[Seconds]) -> float:
    return sum(part.total for part in parts)


def _together(estimate: Estimate) -> list[tuple[str, str]]:
    """How often which stages train side by side."""
    of_key = {each.job.node.key: each for each in estimate.stages}
    counts: Counter[str] = Counter()
    for keys in estimate.trainings:
        if len(keys) > 1:
            members = Counter(_title(of_key[key]) for key in keys)
            counts[", ".join(f"{n} x {title}" for title, n in members.items())] += 1
    return [(f"{n:,}", members) for members, n in counts.items()]


def _title(each: StageEstimate) -> str:
    stage = each.job.node.stage
    if stage.kind == "target":
        return f"{stage.method} {stage.shots}"
    return stage.kind if stage.kind == stage.method else f"{stage.kind} {stage.method}"


def _changes(estimate: Estimate, folder: Path, resume: bool) -> Iterator[str]:
    """How the run in the folder differs."""
    if estimate.changes:
        yield "\n  - ".join([f"{folder} holds another configuration:", *estimate.changes])
    reasons = Counter(reason for each in estimate.stages for reason in each.standing.reasons)
    if reasons:
        lines = (f"{_stages(n)}: {reason}" for reason, n in reasons.items())
        yield "\n  - ".join(["stages are made again because of this:", *lines])
    if estimate.to_set_aside:
        yield f"{_stages(len(estimate.to_set_aside))} in {folder} will be set aside"
    if estimate.holds_run and not resume:
        yield f"{folder} holds a run; `multiprompt run` goes on with it if you add --resume"


def _totals(estimate: Estimate, started: float) -> Iterator[str]:
    from multiprompt.forecast.estimate import Seconds

    left, whole = estimate.seconds(left=True), estimate.seconds(left=False)
    if left is not None and whole is not None:
        parts = sum((each.left for each in estimate.stages if each.left is not None), Seconds())
        plural = "s" * (estimate.threads > 1)
        threads = f" with {estimate.threads} thread{plural}" if estimate.device == "cpu" else ""
        yield f"time left: about {_span(left + started)} on this machine ({estimate.device}{threads})"
        yield (
            f"  loading {_span(estimate.loading + started)}, beginning of stages {_span(parts.opening)}, "
            f"training {_span(parts.training)}, dev rows {_span(parts.dev)}, test rows {_span(parts.test)}, "
            f"files and report {_span(parts.files + estimate.report)}"
        )
        yield f"time of the whole run: about {_span(whole + started)}"
    if estimate.memory is not None:
        yield f"memory: about {_size(estimate.memory)} at its peak"
    yield (
        f"disk: about {_size(estimate.bytes)} in the end, {_size(estimate.bytes_left)} of it yet to be written; "
        f"checkpoints up to {_size(estimate.checkpoint)} meanwhile; {_size(estimate.free)} are free"
    )


def _stages(number: int) -> str:
    return "1 stage" if number == 1 else f"{number:,} stages"


def _span(seconds: float) -> str:
    from multiprompt.cli.progress import span

    return span(seconds) if seconds >= 9.5 else f"{seconds:.1f} s"


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
