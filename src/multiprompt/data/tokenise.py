"""Text examples to token ids, kept as two flat arrays each: no padding, no Python object per token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from multiprompt.errors import DataError
from multiprompt.examples import TextExample


@dataclass(frozen=True)
class Ragged:
    """Sequences of different lengths in one array.

    Attributes:
        values: all ids, sequence after sequence.
        offsets: where each sequence begins; one more entry than there are sequences.
    """

    values: Int[np.ndarray, " total"]
    offsets: Int[np.ndarray, " n_plus_1"]

    @staticmethod
    def of(sequences: Sequence[Sequence[int]]) -> Ragged:
        """Pack Python lists."""
        lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        values = np.fromiter((i for s in sequences for i in s), dtype=np.int32, count=int(offsets[-1]))
        return Ragged(values, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int | np.integer) -> Int[np.ndarray, " n"]:
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> Int[np.ndarray, " n"]:
        """Length of every sequence."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class TokenisedExamples:
    """The examples of one task as token ids.

    Attributes:
        sources: source tokens, cut on the right to the task's limit, end-of-sequence kept.
        targets: target tokens, likewise.
        truncated_sources: how many sources were longer than the limit.
        truncated_targets: how many targets were.
    """

    sources: Ragged
    targets: Ragged
    truncated_sources: int
    truncated_targets: int

    def __len__(self) -> int:
        return len(self.sources)


def tokenise(
    examples: Sequence[TextExample], tokenizer: Any, max_source_length: int, max_target_length: int
) -> TokenisedExamples:
    """Tokenise and cut to the limits.

    Args:
        examples: at least one.
        tokenizer: a transformers tokenizer that ends every text with its end-of-sequence token.
        max_source_length: tokens, end-of-sequence included, prompt not counted.
        max_target_length: tokens, end-of-sequence included.

    Raises:
        DataError: there is no example, or a target has no token.
    """
    if not examples:
        raise DataError("there is no example to tokenise")
    sources, cut_sources = _encode([e.source for e in examples], tokenizer, max_source_length)
    targets, cut_targets = _encode([e.target for e in examples], tokenizer, max_target_length)
    return TokenisedExamples(sources, targets, cut_sources, cut_targets)


def _encode(texts: list[str], tokenizer: Any, limit: int) -> tuple[Ragged, int]:
    encoded: list[list[int]] = tokenizer(
        texts, add_special_tokens=True, truncation=False, verbose=False, return_attention_mask=False
    )["input_ids"]
    truncated = 0
    for index, ids in enumerate(encoded):
        if len(ids) > limit:
            truncated += 1
            encoded[index] = [*ids[: limit - 1], ids[-1]]
    return Ragged.of(encoded), truncated
