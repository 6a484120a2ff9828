"""``multiprompt run``: an experiment from a configuration."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from multiprompt.cli.arguments import RayOption, ResumeOption, ReuseOption, RunFolderOption, ThreadsOption
from multiprompt.cli.configuration import ConfigArgument, OverridesArgument, load_checked
from multiprompt.cli.failures import STOPPED_RUN, reports_failures
from multiprompt.cli.output import echo
from multiprompt.errors import ConfigError
from multiprompt.parallel import distributed_processes

if TYPE_CHECKING:
    from multiprompt.runs.ray_cluster import Cluster


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(short_help="Run an experiment.")(run)


@reports_failures(STOPPED_RUN)
def run(
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    out: RunFolderOption = None,
    resume: ResumeOption = False,
    reuse: ReuseOption = None,
    ray: RayOption = None,
    threads_per_stage: ThreadsOption = None,
) -> None:
    """Run an experiment: teachers, source training, target tasks, report.

    The run has a folder of its own. A run that was stopped continues with --resume and ends with the same numbers.
    After a change of options, --resume trains only the stages that the change affects. --reuse copies finished stages
    from other runs. With --ray the stages run side by side on all machines of a cluster; the folder must be on storage
    that the machines share.

    \b
    Example:
        multiprompt run quickstart prompt.length=20 --out runs/short-prompt
        multiprompt run my-experiment.yaml 'seeds=[1, 2, 3]'
        multiprompt run my-experiment.yaml --resume
        multiprompt run my-experiment.yaml source.learning_rate=0.1 --out runs/other --reuse runs/my-experiment
        multiprompt run my-experiment.yaml --ray auto --threads-per-stage 4 --out /shared/runs/mine
    """
    run_and_report(config, overrides, out, resume, reuse or (), cluster_of(ray, threads_per_stage))


def cluster_of(ray: str | None, threads_per_stage: int | None) -> Cluster | None:
    """The cluster that the options mean; None for this process.

    Raises:
        ConfigError: threads without a cluster, or an address that cannot be one.
    """
    if ray is None:
        if threads_per_stage is not None:
            raise ConfigError("--threads-per-stage is for stages on a cluster; give --ray ADDRESS too")
        return None
    from multiprompt.runs.ray_cluster import Cluster

    return Cluster(ray, threads_per_stage or 1)


def run_and_report(
    config: str,
    overrides: Sequence[str] | None,
    out: Path | None,
    resume: bool,
    reuse: Sequence[Path] = (),
    cluster: Cluster | None = None,
) -> None:
    """Run an experiment, write its report, print the tables and where the page is.

    Of processes that were started together the main one writes and prints.
    """
    with distributed_processes() as connected:
        experiment = load_checked(config, overrides)
        folder = out or Path("runs") / folder_name(experiment.name)

        from multiprompt import runs
        from multiprompt.cli.output import print_runs
        from multiprompt.cli.progress import terminal_progress
        from multiprompt.reports import read_run, write_report

        if not connected.is_main:
            runs.run_experiment(experiment, folder, resume=resume, reuse=reuse)
            return
        with terminal_progress() as progress:
            runs.run_experiment(experiment, folder, resume=resume, reuse=reuse, cluster=cluster, progress=progress)
        page = write_report(folder)
        print_runs([read_run(folder, answers=False)])
        echo(f"report: {page}")


def folder_name(experiment: str) -> str:
    """An experiment's name as a file name."""
    return re.sub(r"[^\w.-]+", "-", experiment).strip("-.") or "experiment"
