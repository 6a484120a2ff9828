"""Seconds of the parts of a run, measured on this machine with this backbone and these rows."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from multiprompt.backbone.base import Backbone
from multiprompt.batch import Batch
from multiprompt.evaluation.generate import answer_batch, answer_batches, by_length
from multiprompt.evaluation.scoring import dev_score, evaluate_answers
from multiprompt.files import existing_folder, write_text
from multiprompt.forecast.stand_ins import open_stand_in
from multiprompt.forecast.workload import Decoding, Job, Kind, Stretch, answer_length, cost_of, decoding_of
from multiprompt.methods import Method
from multiprompt.recipes.prepare import PreparedTask
from multiprompt.runs.materials import Materials
from multiprompt.training import LiveTraining, step
from multiprompt.training.active import Stream

SECONDS = 20.0
"""For the whole measurement. One kind of work is measured even if that takes longer."""

COUNTED_STEPS = 3
"""Steps that are timed, after one that is not."""

FEW_ROWS = 8
"""Rows of the smaller of two batches of answers: what a round costs shows in the difference."""

SCORED_ROWS = 2000
"""Rows on which the metrics are timed; more take proportionally longer."""

Clock = Callable[[], float]


@dataclass
class Speeds:
    """What was measured.

    Attributes:
        steps: seconds of a joint step, by the key of its stretch, for each token of its cost.
        families: the same, by its families.
        answers: seconds of a round of decoding and of a token, by kind of method.
        opening: seconds until a method is built and in force, by its name.
        scoring: seconds of the metrics of a task, on its dev and its test rows, by its name.
        file: seconds that a small file takes until it is safe on the disk.
        byte: seconds for each further byte.
    """

    steps: dict[tuple[Kind, ...], float] = field(default_factory=dict)
    families: dict[tuple[tuple[str, int, bool, str, int], ...], float] = field(default_factory=dict)
    answers: dict[tuple[str, int], tuple[float, float]] = field(default_factory=dict)
    opening: dict[str, float] = field(default_factory=dict)
    scoring: dict[str, tuple[float, float]] = field(default_factory=dict)
    file: float = 0.0
    byte: float = 0.0

    def of_step(self, stretch: Stretch) -> float:
        """Seconds of a joint step: as measured, or by its tokens from what is most like it."""
        rate = self.steps.get(stretch.key) or self.families.get(stretch.families)
        if rate is None:
            wanted, size = {family[0] for family in stretch.families}, len(stretch.jobs)
            likest = min(
                self.families,
                key=lambda families: (wanted != {family[0] for family in families}, abs(len(families) - size)),
            )
            rate = self.families[likest]
        return rate * stretch.cost

    def of_answers(self, job: Job, decoding: Decoding) -> float:
        """Seconds of decoding."""
        known = self.answers.get(job.kind.answering)
        likest = [known] if known else list(self.answers.values())
        a_round, a_token = (statistics.fmean(each[part] for each in likest) for part in (0, 1))
        return a_round * decoding.rounds + a_token * decoding.tokens

    def of_opening(self, job: Job) -> float:
        """Seconds until the method of a job is in force."""
        return self.opening.get(job.kind.method) or statistics.fmean(self.opening.values())


class _Counted:
    """A stream of batches that adds up what they cost."""

    def __init__(self, stream: Stream, backbone: Backbone, prompt_length: int, passes: int) -> None:
        self.stream, self.backbone, self.prompt_length, self.passes = stream, backbone, prompt_length, passes
        self.cost = 0.0

    def __iter__(self) -> Iterator[list[Batch]]:
        return self

    def __next__(self) -> list[Batch]:
        batches = next(self.stream)
        self.cost += self.passes * cost_of(batches, self.backbone, self.prompt_length)
        return batches

    def state(self) -> dict[str, Any]:
        return self.stream.state()

    def restore(self, state: dict[str, Any]) -> None:
        self.stream.restore(state)


def measure(
    inputs: Materials, stretches: Sequence[Stretch], near: Path, seconds: float = SECONDS, clock: Clock = time.monotonic
) -> Speeds:
    """Time what a run consists of. First one stretch of every family, the most work first; then others, as time allows.

    Args:
        inputs: backbone and data.
        stretches: at least one.
        near: folder on whose disk the run will be; files are written to one beside it, or to that of the system.
        seconds: for all of it, about.
        clock: seconds that pass.
    """
    ends = clock() + seconds
    speeds = Speeds()
    speeds.file, speeds.byte = _disk_speed(near, clock)
    ordered = sorted(stretches, key=lambda stretch: -stretch.steps * stretch.cost)
    for task in inputs.tasks.values():  # of those too whose stages are done: the whole run is estimated as well
        speeds.scoring[task.name] = _scoring_seconds(task, clock)
    for again in (False, True):
        for stretch in ordered:
            if speeds.families and clock() > ends:
                return speeds
            if stretch.key not in speeds.steps and (again or stretch.families not in speeds.families):
                _measure_stretch(inputs, stretch, speeds, ends, clock)
    return speeds


def _measure_stretch(inputs: Materials, stretch: Stretch, speeds: Speeds, ends: float, clock: Clock) -> None:
    """Time steps of a stretch, and answers of the methods in it."""
    with ExitStack() as stack:
        runs, streams = [], []
        for job in stretch.jobs:
            began = clock()
            opened = open_stand_in(inputs, job.node)
            method = stack.enter_context(opened.method)
            speeds.opening[job.kind.method] = min(clock() - began, speeds.opening.get(job.kind.method, float("inf")))
            training = opened.training()
            streams.append(_Counted(training.stream, inputs.backbone, method.prompt_length, job.passes))
            runs.append(LiveTraining(replace(training, stream=streams[-1])))
        rate = _step_rate(runs, streams, ends, clock)
        speeds.steps[stretch.key] = rate
        speeds.families.setdefault(stretch.families, rate)
        for job, run in zip(stretch.jobs, runs, strict=True):
            method = run.training.method
            if job.kind.answering not in speeds.answers:
                speeds.answers[job.kind.answering] = _answer_speed(method, job.tasks[0], ends, clock)
        # A checkpoint holds copies of the tensors, of the best ones and of the optimiser's: they belong to the peak.
        copies = 4 if stretch.jobs[0].options.training.optimiser == "adamw" else 2
        held = [tensor.clone() for _ in range(copies) for tensor in runs[0].training.method.tensors().values()]
        del held


def _step_rate(runs: Sequence[LiveTraining], streams: Sequence[_Counted], ends: float, clock: Clock) -> float:
    """Seconds of a joint step for each token of its cost; the median, which a step that is held up does not move."""
    rates: list[float] = []
    for turn in range(1 + COUNTED_STEPS):
        began, before = clock(), sum(stream.cost for stream in streams)
        step(runs)
        _synchronise(runs[0].training.method.backbone)
        rate = (clock() - began) / (sum(stream.cost for stream in streams) - before)
        if turn == 1:
            rates.clear()  # the first step finds nothing prepared; it counts only where there is no time for another
        rates.append(rate)
        if turn != 1 and clock() > ends:
            break
    return statistics.median(rates)


def _answer_speed(method: Method, task: PreparedTask, ends: float, clock: Clock) -> tuple[float, float]:
    """Seconds of a round of decoding, and of a token, from a batch as large as they will be and from a small one."""
    lengths = task.test.sources.lengths + method.prompt_length
    batches = list(answer_batches(lengths, by_length(lengths), task.task.beams))
    rows = batches[len(batches) // 2]
    few = rows[-FEW_ROWS:]
    _answer_seconds(method, task, few, clock)
    seconds, work = _answer_seconds(method, task, few, clock)
    if len(rows) >= 2 * FEW_ROWS and clock() < ends:
        more_seconds, more = _answer_seconds(method, task, rows, clock)
        a_token = max(0.0, (more_seconds - seconds) / (more.tokens - work.tokens))
        return max(0.0, seconds - a_token * work.tokens) / work.rounds, a_token
    return 0.0, seconds / work.tokens


def _answer_seconds(method: Method, task: PreparedTask, rows: Any, clock: Clock) -> tuple[float, Decoding]:
    work = decoding_of(method.backbone, task, task.test, rows, method.prompt_length)
    length = answer_length(task, task.test, rows)
    with method.backbone.answers_of(length):
        began = clock()
        answer_batch(method, task.test, rows, 0, length, task.task.beams)
        _synchronise(method.backbone)
        return clock() - began, work


def _scoring_seconds(task: PreparedTask, clock: Clock) -> tuple[float, float]:
    """Seconds of the dev metric and of all test metrics with their intervals."""
    dev, test = task.data.dev[:SCORED_ROWS], task.data.test[:SCORED_ROWS]
    began = clock()
    dev_score(task.task, dev, [example.target for example in dev])
    between = clock()
    evaluate_answers(task.task, test, [example.target for example in test], task.baselines)
    seconds = between - began, clock() - between
    return seconds[0] * len(task.data.dev) / len(dev), seconds[1] * len(task.data.test) / len(test)


def _disk_speed(near: Path, clock: Clock) -> tuple[float, float]:
    """Seconds of a small file, and of each further byte."""
    existing = existing_folder(near)
    # Nothing is written in the folder of a run.
    home = existing.parent if existing == near.absolute() else existing
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=".multiprompt-plan-", dir=home))
        except OSError:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
        times = []
        for size in (1000, 1000, 1000, 4_000_000):
            text = "x" * size
            began = clock()
            write_text(Path(folder) / "file", text)
            times.append(clock() - began)
    small = statistics.median(times[:3])
    return small, max(0.0, times[-1] - small) / 4_000_000


def _synchronise(backbone: Backbone) -> None:
    if backbone.device.type == "cuda":
        torch.cuda.synchronize(backbone.device)
