"""Predictions to numbers: every metric of the task, what a constant answer gets, and how sure the value is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from multiprompt.data import TokenisedExamples
from multiprompt.errors import ConfigError
from multiprompt.evaluation.baselines import Baselines, groups_of
from multiprompt.evaluation.generate import generate, generate_answers, rank
from multiprompt.evaluation.results import value_and_interval
from multiprompt.examples import TextExample
from multiprompt.methods import Method
from multiprompt.metrics import score
from multiprompt.tasks import Task


@dataclass(frozen=True)
class Evaluation:
    """The answers of a method on a set of examples, and what they are worth.

    Attributes:
        predictions: decoded answers, in the order of the examples.
        metrics: every metric of the task by name, on the scale of the study; ``name/subset`` for a part of the test
            set.
        value: the metric that the study reports.
        majority: that metric for a constant answer, the one of ``Baselines``.
        invalid: share (0 to 1) of answers that are no answer of the task, such as an unknown label.
        interval: bootstrap 95 % interval of ``value`` over the examples.
        intervals: the same for every metric of the task.
        unended: share (0 to 1) of answers without an end-of-sequence token; None where only texts are at hand.
        shortcut: that metric for the answers of the task's rule on words; None for a task without one.
    """

    predictions: list[str]
    metrics: dict[str, float]
    value: float
    majority: float
    invalid: float
    interval: tuple[float, float]
    intervals: dict[str, tuple[float, float]]
    unended: float | None = None
    shortcut: float | None = None

    def fields_of(self, record: type) -> dict[str, Any]:
        """What it gives to a record such as ``Score``: the fields that both have, and ``n``, the number of answers."""
        known = vars(self) | {"n": len(self.predictions)}
        return {field.name: known[field.name] for field in fields(record) if field.name in known}

    def __repr__(self) -> str:
        values = ", ".join(f"{name} {value:.1f}" for name, value in self.metrics.items())
        return f"Evaluation({values}, constant answer {self.majority:.1f}, of {len(self.predictions):,} examples)"


def dev_value(
    method: Method, task: Task, examples: Sequence[TextExample], tokens: TokenisedExamples, task_id: int
) -> float:
    """The reported metric of the task, for the choice of a checkpoint."""
    return dev_score(task, examples, generate_answers(method, tokens, task_id, task.generation_length, task.beams))


def dev_score(task: Task, examples: Sequence[TextExample], predictions: Sequence[str]) -> float:
    """The reported metric of answers that are at hand."""
    references = [example.references for example in examples]
    return score(task.metric(task.reported), predictions, references, task.labels, groups_of(examples))


def evaluate_task(
    method: Method,
    task: Task,
    examples: Sequence[TextExample],
    tokens: TokenisedExamples,
    task_id: int,
    baselines: Baselines,
    *,
    ranked: bool = False,
    on_batch: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Answer and score.

    Args:
        method: what is evaluated.
        task: how answers are compared.
        examples: with their references.
        tokens: the same examples tokenised.
        task_id: position of the task among the method's tasks.
        baselines: of the task.
        ranked: whether the most probable label of the task is the answer, and not what the model writes.
        on_batch: told how many examples are answered.

    Raises:
        ConfigError: the answers are to be ranked, and the task has no labels.
    """
    if ranked:
        labels = labels_to_rank(task)
        best = rank(method, tokens, task_id, labels, on_batch=on_batch).argmax(1)
        return evaluate_answers(task, examples, [labels[each] for each in best.tolist()], baselines)
    decoded = generate(method, tokens, task_id, task.generation_length, task.beams, on_batch=on_batch)
    evaluation = evaluate_answers(task, examples, decoded.texts, baselines)
    return replace(evaluation, unended=decoded.unended / len(decoded.texts))


def labels_to_rank(task: Task) -> tuple[str, ...]:
    """The labels of a task.

    Raises:
        ConfigError: it has none.
    """
    if task.labels is None:
        raise ConfigError(f"{task.name} has no labels, so its answers cannot be ranked; let the model write them")
    return task.labels


def evaluate_answers(
    task: Task, examples: Sequence[TextExample], predictions: list[str], baselines: Baselines
) -> Evaluation:
    """Score answers that are at hand.

    Args:
        task: how answers are compared.
        examples: with their references.
        predictions: one for each of the examples.
        baselines: of the task.
    """
    references = [example.references for example in examples]
    groups = groups_of(examples)
    clusters = [example.cluster for example in examples]
    metrics, intervals = {}, {}
    for name in task.metrics:
        measured = value_and_interval(task.metric(name), predictions, references, task.labels, groups, clusters)
        metrics[name], intervals[name] = measured
    for subset in sorted({example.subset for example in examples} - {""}):
        chosen = [position for position, example in enumerate(examples) if example.subset == subset]
        outputs, golds = [predictions[i] for i in chosen], [references[i] for i in chosen]
        own = groups_of([examples[i] for i in chosen])
        for name in task.metrics:
            metrics[f"{name}/{subset}"] = score(task.metric(name), outputs, golds, task.labels, own)

    def reported(answers: list[str]) -> float:
        return score(task.metric(task.reported), answers, references, task.labels, groups)

    by_rule = baselines.rule_answers(task, examples)
    return Evaluation(
        predictions=predictions,
        metrics=metrics,
        value=metrics[task.reported],
        majority=reported(baselines.constant_answers(examples)),
        invalid=sum(not task.is_valid(prediction) for prediction in predictions) / len(predictions),
        interval=intervals[task.reported],
        intervals=intervals,
        shortcut=None if by_rule is None else reported(by_rule),
    )
