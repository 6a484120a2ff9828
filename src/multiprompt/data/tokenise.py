"""Text examples to token ids, kept as two flat arrays each: no padding, no Python object per token."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from multiprompt.backbone.texts import TextCoder
from multiprompt.errors import DataError
from multiprompt.examples import TextExample

CHUNK = 256
"""Texts that are encoded at once: what is in memory besides the ids is bounded; larger chunks are slower."""


@dataclass(frozen=True)
class Ragged:
    """Sequences of different lengths in one array.

    Attributes:
        values: all ids, sequence after sequence; may be a read-only memory map.
        offsets: where each sequence begins; one more entry than there are sequences.
    """

    values: Integer[np.ndarray, " total"]
    offsets: Integer[np.ndarray, " n_plus_1"]

    @staticmethod
    def of(sequences: Sequence[Sequence[int]]) -> Ragged:
        """Pack Python lists."""
        lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        values = np.fromiter((i for s in sequences for i in s), dtype=np.int32, count=int(offsets[-1]))
        return Ragged(values, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        return f"Ragged({len(self):,} sequences, {len(self.values):,} ids)"

    def __getitem__(self, index: int | np.integer) -> Integer[np.ndarray, " n"]:
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> Integer[np.ndarray, " n"]:
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

    def __repr__(self) -> str:
        tokens = f"{len(self.sources.values):,} source and {len(self.targets.values):,} target tokens"
        return f"TokenisedExamples({len(self):,} examples, {tokens})"


def tokenise(
    examples: Sequence[TextExample], coder: TextCoder, max_source_length: int, max_target_length: int
) -> TokenisedExamples:
    """Tokenise and cut to the limits.

    Args:
        examples: at least one.
        coder: of the backbone.
        max_source_length: tokens, the end of a source included, prompt not counted.
        max_target_length: tokens, end-of-sequence included.

    Raises:
        DataError: there is no example.
    """
    if not examples:
        raise DataError("there is no example to tokenise")
    sources, targets = [e.source for e in examples], [e.target for e in examples]
    source_ids, cut_sources = _encode(sources, coder.source_ids, coder.cut_source, max_source_length)
    target_ids, cut_targets = _encode(targets, coder.target_ids, coder.cut_target, max_target_length)
    return TokenisedExamples(source_ids, target_ids, cut_sources, cut_targets)


def _encode(
    texts: list[str],
    encode: Callable[[list[str]], list[list[int]]],
    cut: Callable[[list[int], int], list[int]],
    limit: int,
) -> tuple[Ragged, int]:
    values = array("i")
    offsets = array("q", [0])
    truncated = 0
    for start in range(0, len(texts), CHUNK):
        chunk = texts[start : start + CHUNK]
        distinct = list(dict.fromkeys(chunk))  # of labels there are few
        encoded = dict(zip(distinct, encode(distinct), strict=True))
        for text in chunk:
            ids = encoded[text]
            if len(ids) > limit:
                truncated += 1
                ids = cut(ids, limit)
            values.fromlist(ids)
            offsets.append(len(values))
    return Ragged(np.frombuffer(values, dtype=np.int32), np.frombuffer(offsets, dtype=np.int64)), truncated
