"""What a run will do, and what it will take: time, memory and disk, before anything is trained."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from multiprompt.backbone.base import Backbone
from multiprompt.errors import refuse_one_text
from multiprompt.files import existing_folder
from multiprompt.forecast.disk import common_bytes, stage_bytes
from multiprompt.forecast.measure import SECONDS, Clock, Speeds, measure
from multiprompt.forecast.workload import Job, Stretch, Workload, stretches_of
from multiprompt.methods import check_packages
from multiprompt.options import Experiment
from multiprompt.plan import plan_stages
from multiprompt.runs.graph import build_graph, joint_trainings
from multiprompt.runs.materials import load_materials
from multiprompt.runs.run_folder import check_run_folder, differences, read_run_config
from multiprompt.runs.survey import Standing, survey_run
from multiprompt.training import SILENT, Progress, checkpoint_interval

FILES = 7
"""Files that a stage writes beside its checkpoints and its predictions."""

REPORT_SECONDS = 0.003
"""For each score in the report."""


@dataclass(frozen=True)
class Seconds:
    """What a stage takes, alone or as its share of a joint training.

    Attributes:
        opening: until its method can be trained.
        training: its steps.
        dev: evaluations on dev rows.
        test: the evaluation on test rows.
        files: checkpoints and what it leaves.
    """

    opening: float = 0.0
    training: float = 0.0
    dev: float = 0.0
    test: float = 0.0
    files: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return sum(getattr(self, each.name) for each in fields(self))

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True)
class StageEstimate:
    """One stage of one seed.

    Attributes:
        job: its node, and how much work it is.
        standing: whether it is done, and so on.
        whole: what it takes from its beginning, if all stages are run; None if nothing was measured.
        left: what it will take in this run; None if nothing was measured.
        bytes: that it leaves on disk.
    """

    job: Job
    standing: Standing
    whole: Seconds | None
    left: Seconds | None
    bytes: int


@dataclass(frozen=True)
class Estimate:
    """What a run will do and take.

    Attributes:
        stages: of all seeds, in plan order.
        trainings: keys of the stages that will be trained together, training by training, in their order.
        changes: options that differ from those in the folder, one line each.
        to_set_aside: stages in the folder that will be moved out of their place.
        holds_run: whether the folder holds a run, which ``resume`` goes on with.
        loading: seconds for backbone and data, as they were.
        report: seconds for the report.
        memory: peak bytes of the process, or on a GPU those of the device; None if nothing was measured.
        bytes: on disk, of all stages and the run's own files.
        bytes_left: of them those that are yet to be written.
        checkpoint: bytes of the checkpoints of the joint training whose checkpoints are largest.
        free: bytes that the disk has left.
        device: that the backbone is on.
        threads: of this process on a processor.
    """

    stages: tuple[StageEstimate, ...]
    trainings: tuple[tuple[str, ...], ...]
    changes: tuple[str, ...]
    to_set_aside: tuple[str, ...]
    holds_run: bool
    loading: float
    report: float
    memory: int | None
    bytes: int
    bytes_left: int
    checkpoint: int
    free: int
    device: str
    threads: int

    def seconds(self, left: bool) -> float | None:
        """Of the whole run, or of what is left of it; None if nothing was measured."""
        parts = [stage.left if left else stage.whole for stage in self.stages]
        measured = [part.total for part in parts if part is not None]
        return self.loading + self.report + sum(measured) if len(measured) == len(parts) else None


def estimate_run(
    experiment: Experiment,
    folder: Path,
    *,
    reuse: Sequence[Path] = (),
    seconds: float = SECONDS,
    progress: Progress = SILENT,
    clock: Clock = time.monotonic,
) -> Estimate:
    """Say what ``run_experiment`` would do with these arguments and ``resume``. Nothing in the folder changes.

    Args:
        experiment: what would be run.
        folder: of the run. A run may be at work in it.
        reuse: folders of other runs.
        seconds: for the measurement, about; 0 measures nothing.
        progress: told what a run would tell before its first stage.
        clock: seconds that pass.

    Raises:
        MultipromptError: any that a run would raise before its first stage, but for the folder being in use.
    """
    refuse_one_text(reuse, "reuse")
    began = clock()
    stages = plan_stages(experiment)
    check_packages(stage.method for stage in stages)
    for other in reuse:
        read_run_config(other)
    before = check_run_folder(folder, resume=True)
    inputs = load_materials(experiment, stages, progress)
    nodes = build_graph(inputs, experiment.seeds, stages)
    loading = clock() - began
    survey = survey_run(nodes, folder, reuse, progress)
    jobs = Workload(inputs).jobs(nodes)
    steps_done = {key: standing.steps_done for key, standing in survey.standings.items()}
    trainings = joint_trainings(nodes, survey.finished(), experiment.together)
    left = [[jobs[node.key] for node in training] for training in trainings]
    whole = [[jobs[node.key] for node in training] for training in joint_trainings(nodes, (), experiment.together)]
    whole_times: dict[str, Seconds] | None = None
    left_times: dict[str, Seconds] | None = None
    memory = None
    sizes = {key: stage_bytes(job) for key, job in jobs.items()}
    states = {key: standing.state for key, standing in survey.standings.items()}
    if seconds > 0 and left:
        progress.message(f"timing the kinds of work on this machine takes about {seconds:.0f} s; a large model longer")
        speeds = measure(inputs, _all_stretches(left, steps_done), folder, seconds, clock)
        memory = _peak_memory(inputs.backbone)
        whole_times = _seconds_of(whole, {}, sizes, speeds)
        left_times = dict.fromkeys(jobs, Seconds()) | _seconds_of(left, steps_done, sizes, speeds)
        for key in (key for key in jobs if states[key] == "reused"):
            left_times[key] = Seconds(files=_writing(jobs[key], sizes[key], speeds))
    common = common_bytes(jobs.values())
    to_write = sum(sizes[key] for key in jobs if states[key] not in ("done", "set aside"))
    return Estimate(
        stages=tuple(
            StageEstimate(
                job,
                survey.standings[key],
                whole_times[key] if whole_times else None,
                left_times[key] if left_times else None,
                sizes[key],
            )
            for key, job in jobs.items()
        ),
        trainings=tuple(tuple(node.key for node in training) for training in trainings),
        changes=() if before is None else tuple(differences(before, experiment)),
        to_set_aside=survey.to_set_aside,
        holds_run=before is not None,
        loading=loading,
        report=REPORT_SECONDS * sum(len(job.tasks) for job in jobs.values()),
        memory=memory,
        bytes=sum(sizes.values()) + common,
        bytes_left=to_write + common if to_write else 0,
        checkpoint=max((sum(job.mould.checkpoint for job in training) for training in left), default=0),
        free=shutil.disk_usage(existing_folder(folder)).free,
        device=str(inputs.backbone.device),
        threads=torch.get_num_threads(),
    )


def _all_stretches(trainings: Sequence[Sequence[Job]], steps_done: Mapping[str, int]) -> list[Stretch]:
    """All that has to be timed."""
    stretches = [stretch for jobs in trainings for stretch in stretches_of(jobs, steps_done)]
    idle = [Stretch((job,), 0) for jobs in trainings for job in jobs]  # a stage may have nothing left but its end
    return stretches or idle


def _seconds_of(
    trainings: Sequence[Sequence[Job]], steps_done: Mapping[str, int], sizes: Mapping[str, int], speeds: Speeds
) -> dict[str, Seconds]:
    """What the stages of some joint trainings take, by key. Joint steps are shared out by their tokens."""
    seconds: dict[str, Seconds] = {}
    for jobs in trainings:
        training, saves = ({job.node.key: 0.0 for job in jobs} for _ in range(2))
        for stretch in stretches_of(jobs, steps_done):
            whole = stretch.steps * speeds.of_step(stretch)
            for job in stretch.jobs:
                key = job.node.key
                training[key] += whole * job.step_cost * job.passes / stretch.cost
                # All save when one has its last step, and from time to time, which is after every step at most.
                often = min(checkpoint_interval(job.options.training, job.mould.checkpoint) for job in stretch.jobs)
                saves[key] += min(stretch.steps, 1 + whole / often if often > 0 else stretch.steps)
        for job in jobs:
            key = job.node.key
            scoring = [speeds.scoring[task.name] for task in job.tasks if job.node.stage.scored]
            a_dev = speeds.of_answers(job, job.dev) + sum(dev for dev, _ in scoring)
            seconds[key] = Seconds(
                opening=speeds.of_opening(job),
                training=training[key],
                dev=job.evaluations(steps_done.get(key, 0)) * a_dev,
                test=speeds.of_answers(job, job.test) + sum(test for _, test in scoring),
                files=_writing(job, sizes[key], speeds)
                + saves[key] * (speeds.file + speeds.byte * job.mould.checkpoint),
            )
    return seconds


def _writing(job: Job, size: int, speeds: Speeds) -> float:
    """Seconds to write what a stage leaves."""
    return (FILES + len(job.tasks) * job.node.stage.scored) * speeds.file + speeds.byte * size


def _peak_memory(backbone: Backbone) -> int | None:
    """Most bytes that were in use so far: of the GPU, or of this process; None where the system does not say."""
    if backbone.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(backbone.device))
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
