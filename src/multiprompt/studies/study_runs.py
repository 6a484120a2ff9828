"""Run what a study needs, each run in a folder of its own, and write its report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from multiprompt.errors import CheckpointError
from multiprompt.reports import write_report
from multiprompt.runs import run_experiment
from multiprompt.runs.ray_cluster import Cluster
from multiprompt.studies.study_definition import ALL, Scale, experiments_of, load_study, study_names
from multiprompt.studies.study_report import Shown, write_study_report
from multiprompt.training import SILENT, Progress


def reproduce(
    name: str,
    scale: Scale,
    folder: Path,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    cluster: Cluster | None = None,
    progress: Progress = SILENT,
) -> tuple[Path, list[Shown]]:
    """Run a study and write its report; what another run below the folder has done already is taken from there.

    Args:
        name: of the study, or ``ALL``.
        scale: "mini" or "paper".
        folder: holds STUDY/RUN for every run of every study, and the reports.
        overrides: ``"section.key=value"``, for all runs.
        resume: go on with what the folder holds.
        cluster: see ``run_experiment``.
        progress: told about everything.

    Returns:
        The page, and the studies as they are shown on it.

    Raises:
        UnknownNameError: there is no such study.
        CheckpointError: the folder holds runs of these studies, and ``resume`` is not given.
        MultipromptError: as ``run_experiment``; what is done stays, and ``resume`` goes on from there.
    """
    chosen = studies_of(name, scale)
    begun = [run for run in runs_below(folder) if run.parent.name in chosen]
    if begun and not resume:
        held = ", ".join(dict.fromkeys(run.parent.name for run in begun))
        raise CheckpointError(
            f"{folder} holds runs of {held} already; add --resume to go on with them, or choose another folder"
        )
    for study in chosen:
        for run, experiment in experiments_of(study, load_study(study, scale), scale, overrides).items():
            progress.message(f"{study}, run {run}")
            own = folder / study / run
            others = [other for other in runs_below(folder) if other != own]
            run_experiment(experiment, own, resume=resume, reuse=others, cluster=cluster, progress=progress)
            write_report(own)
    shown, page = (chosen, folder / "report.html") if name == ALL else ([name], folder / name / "report.html")
    return page, write_study_report(shown, scale, folder, page)


def studies_of(name: str, scale: Scale) -> list[str]:
    """The studies whose runs a study shows, itself last; of ``ALL`` every one, each after those that it needs."""
    ordered: dict[str, None] = {}
    for each in study_names(scale) if name == ALL else [name]:
        ordered |= dict.fromkeys([*load_study(each, scale).uses, each])
    return list(ordered)


def runs_below(folder: Path) -> Iterator[Path]:
    """Folders of runs, STUDY/RUN."""
    return (config.parent for config in sorted(folder.glob("*/*/config.yaml")))
