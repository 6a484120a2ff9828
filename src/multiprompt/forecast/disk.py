"""How much disk the stages of an experiment take, before they are there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from multiprompt.forecast.workload import Job
from multiprompt.recipes.prepare import PreparedTask
from multiprompt.runs.outcome import prediction_lines

SCORE, METRIC, FILE = 670, 135, 170
"""Bytes of a score in a record, of each of its metrics with its interval, and of the entry of a file."""

LOG_LINE, LOG_NAME = 165, 30
"""Bytes of a line of a log, and of each task, term of the loss and rate in it."""

REPORT, REPORT_SCORE = 60_000, 1_700
"""Bytes of the report's two files and of the run's own records, and what each score adds to the report."""

SAMPLED_ROWS = 500
"""Test rows whose lines are written to say how long lines are."""


def stage_bytes(job: Job) -> int:
    """What a stage leaves: tensors, answers, its log and its records."""
    record = {"version": 1, "identity": job.node.identity, "made_from": job.node.made_from}
    size = len(json.dumps(record, indent=2)) + job.mould.stored + _log_bytes(job) + FILE * (3 + len(job.tasks))
    for task in job.tasks:
        size += _prediction_bytes(task) + score_bytes(task)
        if job.node.stage.shots != "all":
            size += sum(len(example.row_id) + 12 for example in task.data.train)
    return size


def common_bytes(jobs: Iterable[Job]) -> int:
    """The run's own files: configuration, environment, all scores once more, the report."""
    return REPORT + sum(score_bytes(task) + REPORT_SCORE for job in jobs for task in job.tasks)


def score_bytes(task: PreparedTask) -> int:
    """A score of a task as JSON."""
    return SCORE + METRIC * len(task.task.metrics) + sum(len(note.encode()) + 12 for note in task.notes())


def _prediction_bytes(task: PreparedTask) -> int:
    rows = task.data.test[:SAMPLED_ROWS]
    few = replace(task, data=replace(task.data, test=rows))
    text = prediction_lines(few, [example.target for example in rows])
    return round(len(text.encode()) * len(task.data.test) / len(rows))


def _log_bytes(job: Job) -> int:
    training = job.options.training
    lines = job.steps // training.log_every + (job.steps % training.log_every > 0)
    line = LOG_LINE + LOG_NAME * (min(len(job.tasks), job.kind.batch_size) + len(job.mould.terms))
    return lines * line + 30 * job.evaluations(0)
