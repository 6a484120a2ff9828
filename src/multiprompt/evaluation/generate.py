"""Answers of a method to sources, by greedy decoding or beam search."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Integer

from multiprompt.data import TokenisedExamples, collate
from multiprompt.methods import Method
from multiprompt.parallel import processes

PADDED_TOKENS = 16_384
"""Most source tokens of a batch, prompt and padding counted, for every beam: enough to keep a processor busy."""


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
    own: dict[int, tuple[str, bool]] = {}
    done = 0
    order = by_length(examples)[processes().rank :: processes().count]
    for positions in answer_batches(examples, order, method.prompt_length, beams):
        decoded = answer_batch(method, examples, positions, task_id, max_new_tokens, beams)
        own |= dict(zip(positions.tolist(), decoded, strict=True))
        done += len(positions)
        on_batch(done)
    answers = {position: answer for part in processes().gather(own) for position, answer in part.items()}
    texts = [answers[position][0] for position in range(len(examples))]
    return Generated(texts, sum(not ended for _, ended in answers.values()))


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
    backbone = method.backbone
    tasks = np.zeros(len(positions), dtype=np.int64)
    batch = collate([examples], tasks, positions, int(backbone.tokenizer.pad_token_id))
    batch = replace(batch, task_ids=torch.full_like(batch.task_ids, task_id)).to(backbone.device)
    ids = method.generate(batch, max_new_tokens, beams)
    texts = backbone.tokenizer.batch_decode(ids, skip_special_tokens=True)
    ended = (ids == backbone.tokenizer.eos_token_id).any(dim=1).tolist()
    return [(text.strip(), end) for text, end in zip(texts, ended, strict=True)]


def by_length(examples: TokenisedExamples) -> Integer[np.ndarray, " n"]:
    """Their positions, the shortest source first."""
    return np.argsort(examples.sources.lengths, kind="stable")


def answer_batches(
    examples: TokenisedExamples, order: Integer[np.ndarray, " n"], prompt_length: int, beams: int = 1
) -> Iterator[Integer[np.ndarray, " k"]]:
    """The positions of the examples that are decoded together.

    Args:
        examples: tokenised sources.
        order: positions of those that are wanted, shortest first.
        prompt_length: rows in front of every source.
        beams: width of the beam search.
    """
    done = 0
    while done < len(order):
        size = _batch_size(examples, order, done, prompt_length, PADDED_TOKENS // beams)
        yield order[done : done + size]
        done += size


def _batch_size(examples: TokenisedExamples, order: np.ndarray, start: int, prompt_length: int, budget: int) -> int:
    """How many of the next examples (shortest first) fit into the budget of padded tokens."""
    lengths = examples.sources.lengths[order[start:]] + prompt_length
    padded = lengths * np.arange(1, len(lengths) + 1)
    return max(1, int(np.searchsorted(padded, budget, side="right")))
