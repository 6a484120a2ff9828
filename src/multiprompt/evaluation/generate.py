"""Answers of a method to sources: by greedy decoding, by beam search, or by ranking given ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Integer

from multiprompt.batch import Batch
from multiprompt.data import TokenisedExamples, collate
from multiprompt.methods import Method, TaskMethod
from multiprompt.parallel import processes

PADDED_TOKENS = 16_384
"""Most source tokens of a batch, prompt and padding counted, for every beam: enough to keep a processor busy."""


@dataclass(frozen=True)
class Request:
    """Sources of one task, for a method that acts on the inputs of the backbone alone (``TaskMethod.joins``).

    Attributes:
        method: gives the backbone and the prompt.
        examples: tokenised sources.
        task_id: position of the task among the method's tasks.
    """

    method: Method
    examples: TokenisedExamples
    task_id: int


@dataclass(frozen=True)
class Generated:
    """Answers as they were decoded.

    Attributes:
        texts: of every example, without special tokens and outer white space.
        unended: how many have no end-of-sequence token: they ended at the limit.
    """

    texts: list[str]
    unended: int


def generate_answers(
    method: Method,
    examples: TokenisedExamples,
    task_id: int,
    max_new_tokens: int,
    beams: int = 1,
) -> list[str]:
    """Decode an answer for every example, in their order; see ``generate``."""
    return generate(method, examples, task_id, max_new_tokens, beams).texts


def generate(
    method: Method,
    examples: TokenisedExamples,
    task_id: int,
    max_new_tokens: int,
    beams: int = 1,
    *,
    on_batch: Callable[[int], None] = lambda done: None,
) -> Generated:
    """Decode an answer for every example, in their order, and count those that do not come to an end.

    Examples of similar length are decoded together; padding does not change an answer. Processes that work together
    decode each a part of them, and all have all answers.

    Args:
        method: gives the backbone and the prompt.
        examples: tokenised sources.
        task_id: position of the task among the method's tasks.
        max_new_tokens: longest answer, end-of-sequence included.
        beams: width of the beam search; 1 is greedy decoding.
        on_batch: told how many examples this process has done.
    """

    def answer(positions: Integer[np.ndarray, " k"]) -> list[tuple[str, bool]]:
        return answer_batch(method, examples, positions, task_id, max_new_tokens, beams)

    answers = _of_all(examples.sources.lengths + method.prompt_length, answer, beams, on_batch)
    return Generated([text for text, _ in answers], sum(not ended for _, ended in answers))


def generate_together(requests: Sequence[Request], max_new_tokens: int, beams: int = 1) -> list[list[str]]:
    """Decode answers to the sources of several tasks, in batches that mix the tasks.

    Every answer is the one that ``generate`` gives. Examples of similar length, prompt included, are decoded together,
    whatever their task.

    Args:
        requests: at least one; all methods have one backbone.
        max_new_tokens: longest answer, end-of-sequence included.
        beams: width of the beam search; 1 is greedy decoding.

    Returns:
        The answers of every request, in the order of its examples.
    """
    backbone = requests[0].method.backbone
    sizes = [len(each.examples) for each in requests]
    owners = np.repeat(np.arange(len(requests)), sizes)
    rows = np.concatenate([np.arange(size) for size in sizes])
    lengths = np.concatenate([each.examples.sources.lengths + each.method.prompt_length for each in requests])

    @torch.no_grad()
    def answer(positions: Integer[np.ndarray, " k"]) -> list[str]:
        inputs, order = [], []
        for owner in np.unique(owners[positions]):
            request, chosen = requests[owner], positions[owners[positions] == owner]
            batch = _batch_of(request.method, request.examples, rows[chosen], request.task_id)
            assert isinstance(request.method, TaskMethod), "all that joins is one"
            inputs.append(request.method.inputs(batch))
            order += chosen.tolist()
        answers = backbone.coder.answers(backbone.generate(inputs, max_new_tokens, beams))
        texts = {position: text for position, (text, _) in zip(order, answers, strict=True)}
        return [texts[position] for position in positions.tolist()]

    texts = iter(_of_all(lengths, answer, beams))
    return [list(islice(texts, size)) for size in sizes]


def rank(
    method: Method,
    examples: TokenisedExamples,
    task_id: int,
    answers: Sequence[str],
    *,
    on_batch: Callable[[int], None] = lambda done: None,
) -> Float[np.ndarray, "n C"]:
    """Log-probability of every given answer to every example, end-of-sequence included.

    Args:
        method: gives the backbone and the prompt.
        examples: tokenised sources.
        task_id: position of the task among the method's tasks.
        answers: texts, such as the labels of the task.
        on_batch: told how many examples this process has done.
    """
    ids = method.backbone.coder.target_ids(list(answers))

    def score(positions: Integer[np.ndarray, " k"]) -> list[list[float]]:
        scores: list[list[float]] = method.rank(_batch_of(method, examples, positions, task_id), ids).tolist()
        return scores

    return np.array(_of_all(examples.sources.lengths + method.prompt_length, score, 1, on_batch))


Answer = TypeVar("Answer")


def _of_all(
    lengths: Integer[np.ndarray, " n"],
    answer: Callable[[Integer[np.ndarray, " k"]], list[Answer]],
    beams: int,
    on_batch: Callable[[int], None] = lambda done: None,
) -> list[Answer]:
    """What ``answer`` gives for all examples, batch by batch, in the order of the examples; shared among processes."""
    own: dict[int, Answer] = {}
    order = by_length(lengths)[processes().rank :: processes().count]
    for positions in answer_batches(lengths, order, beams):
        own |= dict(zip(positions.tolist(), answer(positions), strict=True))
        on_batch(len(own))
    answers = {position: each for part in processes().gather(own) for position, each in part.items()}
    return [answers[position] for position in range(len(lengths))]


def answer_batch(
    method: Method,
    examples: TokenisedExamples,
    positions: Integer[np.ndarray, " k"],
    task_id: int,
    max_new_tokens: int,
    beams: int = 1,
) -> list[tuple[str, bool]]:
    """The answers to some of the examples, decoded as one batch, and whether each came to its end.

    The arguments are those of ``generate``.
    """
    ids = method.generate(_batch_of(method, examples, positions, task_id), max_new_tokens, beams)
    return method.backbone.coder.answers(ids)


def _batch_of(method: Method, examples: TokenisedExamples, positions: Integer[np.ndarray, " k"], task_id: int) -> Batch:
    tasks = np.zeros(len(positions), dtype=np.int64)
    batch = collate([examples], tasks, positions, method.backbone.coder.pad_id)
    return replace(batch, task_ids=torch.full_like(batch.task_ids, task_id)).to(method.backbone.device)


def by_length(lengths: Integer[np.ndarray, " n"]) -> Integer[np.ndarray, " n"]:
    """The positions of examples, the shortest first."""
    return np.argsort(lengths, kind="stable")


def answer_batches(
    lengths: Integer[np.ndarray, " n"], order: Integer[np.ndarray, " n"], beams: int = 1
) -> Iterator[Integer[np.ndarray, " k"]]:
    """The positions of the examples that are decoded together.

    Args:
        lengths: tokens of every source, and the prompt rows in front of it.
        order: positions of those that are wanted, shortest first.
        beams: width of the beam search.
    """
    done = 0
    while done < len(order):
        size = _batch_size(lengths[order[done:]], PADDED_TOKENS // beams)
        yield order[done : done + size]
        done += size


def _batch_size(lengths: Integer[np.ndarray, " n"], budget: int) -> int:
    """How many of the next examples (shortest first) fit into the budget of padded tokens."""
    padded = lengths * np.arange(1, len(lengths) + 1)
    return max(1, int(np.searchsorted(padded, budget, side="right")))
