"""Arguments and options that several verbs have: one name and one meaning for each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import typer

from multiprompt.cli.output import print_note

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]
RunsArgument = Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders of runs, finished or not.")]
RunFolderOption = Annotated[Path | None, typer.Option("--out", help="Folder of the run; default: runs/<name>.")]
NumbersOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write the numbers to this JSON file as well.")
]
ResumeOption = Annotated[
    bool,
    typer.Option("--resume", help="Continue the run in the folder; only what changed options affect is redone."),
]
ReuseOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--reuse",
        metavar="RUN",
        help="Run to copy finished stages from, where they fit; may be given several times.",
    ),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Ray cluster that runs the stages: local (started on this machine), auto (the cluster that this machine "
        "belongs to) or HOST:PORT.",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads-per-stage", min=1, help="Processors for each stage on the cluster; default: 1."),
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of the run; default: its first one.")]
TasksOption = Annotated[list[str] | None, typer.Option("--task", help="Only this task; may be given several times.")]

Value = TypeVar("Value")


def renamed(value: Value, former: Value, name: str, former_name: str) -> Value:
    """The value of an option that had another name in an earlier release; a person who gives that is told.

    Args:
        value: given by the name of today.
        former: given by the former name; empty if it is not given.
        name: of today, such as "--out".
        former_name: such as "--json".
    """
    if not former:
        return value
    print_note(f"{former_name} is now {name}; the former name still works")
    return former
