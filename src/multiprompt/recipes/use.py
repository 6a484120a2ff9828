"""Using a prompt that is at hand: its score on a task, its answers to texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multiprompt.backbone.base import Backbone
from multiprompt.backbone.texts import TextCoder
from multiprompt.data import TokenisedExamples, tokenise
from multiprompt.errors import CheckpointError, DataError, refuse_one_text, shortened
from multiprompt.evaluation.generate import generate_answers, rank
from multiprompt.evaluation.scoring import Evaluation, evaluate_task, labels_to_rank
from multiprompt.examples import TextExample
from multiprompt.methods import Method, PromptTuning
from multiprompt.prompts import Prompt
from multiprompt.recipes.prepare import PreparedTask
from multiprompt.tasks import Row, Task
from multiprompt.text import is_unicode


def evaluate_method(method: Method, task: PreparedTask, task_id: int = 0, *, ranked: bool = False) -> Evaluation:
    """Score a trained method on the test examples of a task; see ``evaluate_task``."""
    return evaluate_task(method, task.task, task.data.test, task.test, task_id, task.baselines, ranked=ranked)


def check_width(what: str, width: int, backbone: Backbone) -> None:
    """Check that a prompt fits the embeddings of a backbone.

    Args:
        what: the prompt, in words.
        width: numbers in each of its rows.
        backbone: that it is to be used with.

    Raises:
        CheckpointError: the widths differ.
    """
    if width != backbone.width:
        raise CheckpointError(
            f"{what} has width {width}; the backbone {backbone.name} has {backbone.width}. Is it the model that the "
            "prompt was trained with?"
        )


def check_sources(sources: Sequence[str | Row]) -> None:
    """Check source texts that a person gives; rows among them are checked when texts are made of them.

    Raises:
        ConfigError: they are one text, not a list.
        DataError: there is none, or one holds half of a character.
    """
    refuse_one_text(sources, "the source texts")
    if not len(sources):
        raise DataError("there is no source text; expected one or more")
    for number, source in enumerate(sources, start=1):
        if isinstance(source, str) and not is_unicode(source):
            raise DataError(f"source text {number} holds half of a character: {shortened(source)}")


def texts_of(task: Task, sources: Sequence[str | Row]) -> list[str]:
    """Source texts as they are, and those that the task makes of rows.

    Raises:
        DataError: a row lacks a column, or holds something that the task cannot use.
    """
    return [text_of(task, source, number) for number, source in enumerate(sources, start=1)]


def text_of(task: Task, source: str | Row, number: int) -> str:
    """One of them; ``number`` is its place, for errors."""
    return source if isinstance(source, str) else task.source_text(source, where=f"input {number}")


def source_tokens(task: Task, sources: Sequence[str], coder: TextCoder) -> TokenisedExamples:
    """Source texts as tokens, cut to the limit of the task."""
    examples = [TextExample(source, "", (), str(row)) for row, source in enumerate(sources)]
    return tokenise(examples, coder, task.max_source_length, task.max_target_length)


def answer_with(method: Method, task: Task, sources: Sequence[str], task_id: int = 0) -> list[str]:
    """Answers of a trained method to source texts; errors as of ``check_sources``."""
    check_sources(sources)
    tokens = source_tokens(task, sources, method.backbone.coder)
    return generate_answers(method, tokens, task_id, task.generation_length, task.beams)


def rank_with(method: Method, task: Task, sources: Sequence[str], task_id: int = 0) -> list[dict[str, float]]:
    """The labels of the task with their probabilities for every source text, the most probable first.

    Errors as of ``check_sources`` and ``labels_to_rank``.
    """
    check_sources(sources)
    labels = labels_to_rank(task)
    scores = rank(method, source_tokens(task, sources, method.backbone.coder), task_id, labels)
    shares = np.exp(scores - scores.max(1, keepdims=True))
    probabilities = (shares / shares.sum(1, keepdims=True)).tolist()
    orders = np.argsort(-scores, axis=1, kind="stable").tolist()
    return [{labels[i]: row[i] for i in order} for row, order in zip(probabilities, orders, strict=True)]


def evaluate(
    backbone: Backbone, task: PreparedTask, prompt: Prompt, task_id: int = 0, *, ranked: bool = False
) -> Evaluation:
    """Score a prompt on the test examples of a task.

    Args:
        backbone: the frozen model.
        task: gives the examples and the metrics.
        prompt: of one task or several.
        task_id: position of the task among the prompt's tasks.
        ranked: whether the most probable label of the task is the answer, and not what the model writes.

    Returns:
        The answers, every metric of the task with its interval, and what a constant answer gets.

    Raises:
        ConfigError: the answers are to be ranked, and the task has no labels.
        IndexError: the prompt has no such task.
    """
    return evaluate_method(PromptTuning(backbone, prompt), task, task_id, ranked=ranked)


def answer(
    backbone: Backbone, task: PreparedTask, prompt: Prompt, sources: Sequence[str], task_id: int = 0
) -> list[str]:
    """Answers of a prompt to source texts in the format of the task.

    Args:
        backbone: the frozen model.
        task: gives the limits of source and answer.
        prompt: of one task or several.
        sources: texts such as ``task.data.test[0].source``.
        task_id: position of the task among the prompt's tasks.

    Returns:
        An answer to each of them, in their order.

    Raises:
        ConfigError: the sources are one text.
        DataError: there is none, or one holds half of a character.
        IndexError: the prompt has no such task.
    """
    return answer_with(PromptTuning(backbone, prompt), task.task, sources, task_id)
