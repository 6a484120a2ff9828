"""A task made ready for one backbone: rows loaded, split and tokenised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from multiprompt.backbone.base import Backbone
from multiprompt.backbone.texts import TextCoder
from multiprompt.config import load_task_file
from multiprompt.data import (
    TaskData,
    TokenisedExamples,
    draw_few_shot,
    load_task_data,
    look_at_texts,
    look_at_tokens,
    tokenise,
    tokenise_cached,
)
from multiprompt.data.sources import Generation
from multiprompt.definition import TaskDefinition, is_task_file
from multiprompt.errors import problem_list
from multiprompt.evaluation.baselines import Baselines
from multiprompt.files import describe_file
from multiprompt.metrics import OwnFunction
from multiprompt.options import DataOptions
from multiprompt.tasks import TASKS, Task, compat_variant, make_task, own_metric_problems


@dataclass(frozen=True)
class PreparedTask:
    """The examples of a task as text and as tokens.

    Attributes:
        data: the examples as text.
        train: training examples as tokens; so ``dev`` and ``test``.
        noticed: what the data has that a training should not begin with, of the whole task in a few-shot draw too.
        whole: the whole task, in a few-shot draw.
    """

    data: TaskData
    train: TokenisedExamples
    dev: TokenisedExamples
    test: TokenisedExamples
    noticed: tuple[str, ...] = ()
    whole: PreparedTask | None = None

    def __repr__(self) -> str:
        return repr(self.data).replace("TaskData", "PreparedTask", 1)

    @property
    def task(self) -> Task:
        """The task itself."""
        return self.data.task

    @property
    def name(self) -> str:
        """The task's name."""
        return self.data.task.name

    @cached_property
    def baselines(self) -> Baselines:
        """What needs no model, chosen on all training rows; of the whole task in a few-shot draw too."""
        return self.whole.baselines if self.whole else Baselines.of(self.task, self.data.train)

    def notes(self) -> tuple[str, ...]:
        """What a reader of results should know about the data, truncation included."""
        notes = [*self.data.notes, *self.noticed]
        for part in ("train", "dev", "test"):
            tokens: TokenisedExamples = getattr(self, part)
            for side, cut, limit in (
                ("sources", tokens.truncated_sources, self.task.max_source_length),
                ("targets", tokens.truncated_targets, self.task.max_target_length),
            ):
                if cut:
                    notes.append(f"{self.name}: {cut} of {len(tokens)} {part} {side} cut to {limit} tokens")
        return tuple(notes)

    def few_shot(self, k: int, seed: int, balanced: bool, backbone: Backbone) -> PreparedTask:
        """The same task with ``k`` of its training examples.

        Raises:
            ConfigError: there are fewer than ``k``.
        """
        # Open answers and scores have no classes to draw evenly from.
        train = draw_few_shot(self.data.train, k, seed, balanced and self.task.labels is not None)
        data = replace(self.data, train=train, counts=self.data.counts | {"train": len(train)})
        limits = (self.task.max_source_length, self.task.max_target_length)
        tokens = tokenise(train, backbone.coder, *limits)
        return replace(self, data=data, train=tokens, whole=self.whole or self)


def metric_files(task: Task) -> dict[str, str]:
    """SHA-256 of the file of every metric of the user's own, by the name of the metric."""
    functions = {name: metric.function for name, metric in task.own_metrics.items()}
    return {name: describe_file(f.path)["sha256"] for name, f in functions.items() if isinstance(f, OwnFunction)}


def choose_task(
    name: str, options: DataOptions, own: Mapping[str, TaskDefinition] | None = None
) -> tuple[Task, tuple[str, ...]]:
    """A task as the options want it, and what a reader of results should know about that.

    Raises:
        UnknownNameError: there is no such task.
        ConfigError: a task of one's own is wrong.
    """
    notes: tuple[str, ...] = ()
    if own and name in own:
        task = make_task(replace(own[name], name=name))
    elif is_task_file(name):
        task = make_task(load_task_file(Path(name)))
    else:
        task, notes = compat_variant(TASKS[name], options.compat)
    if options.task_names and task.family == "mini":
        task = replace(task, prefix=task.name.removeprefix("mini-"))
    if options.max_source_length is not None:
        task = replace(task, max_source_length=options.max_source_length)
    return task, notes


def load_task(
    name: str,
    backbone: Backbone,
    options: DataOptions | None = None,
    own: Mapping[str, TaskDefinition] | None = None,
) -> PreparedTask:
    """Load a task's rows, split them by its rule and tokenise them, or take the tokens from the cache.

    Args:
        name: a registered task, such as ``"rte"`` or ``"mini-rte"``, or the path of a task's file.
        backbone: says how texts become tokens.
        options: where rows come from, and limits.
        own: tasks of an experiment's own, by name.

    Returns:
        The task with its examples, as text and as tokens.

    Raises:
        UnknownNameError: there is no such task.
        ConfigError: the file of a task is wrong; the message lists all its problems.
        DataError: rows are missing or wrong; the message says which.
    """
    return prepare_task(name, backbone.coder, options or DataOptions(), own)


def prepare_task(
    name: str, coder: TextCoder, options: DataOptions, own: Mapping[str, TaskDefinition] | None = None
) -> PreparedTask:
    """The same without a backbone: to know how its texts become tokens is enough."""
    data = read_task(name, options, own)
    task = data.task
    parts = {"train": data.train, "dev": data.dev, "test": data.test}
    tokens = {part: tokenise_cached(examples, task, part, coder) for part, examples in parts.items()}
    looked_at = {part: (examples, tokens[part]) for part, examples in parts.items()}
    noticed = (*look_at_texts(data), *look_at_tokens(data, looked_at, coder.unknown_id))
    return PreparedTask(data, tokens["train"], tokens["dev"], tokens["test"], noticed)


def read_task(name: str, options: DataOptions, own: Mapping[str, TaskDefinition] | None = None) -> TaskData:
    """The rows of a task as texts, as the options want them."""
    task, notes = choose_task(name, options, own)
    if problems := own_metric_problems(task):  # before anything is trained
        raise problem_list(f"the task {task.name!r}", problems)
    data = load_task_data(
        task,
        Path(options.location) if options.location else None,
        split_seed=options.split_seed,
        max_train=options.max_train,
        max_dev=options.max_dev,
        max_test=options.max_test,
        generation=Generation(label_coding=options.label_coding),
    )
    return replace(data, notes=(*notes, *data.notes))
