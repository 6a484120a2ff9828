"""Tokens, padding, and the cutting of a batch by length."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import build_tiny_tokenizer
from multiprompt.backbone import TextCoder
from multiprompt.batch import IGNORED
from multiprompt.data import (
    BatchStream,
    EpochSampler,
    Ragged,
    TaskSampler,
    TokenisedExamples,
    collate,
    cut_by_length,
    tokenise,
)
from multiprompt.errors import DataError
from multiprompt.examples import TextExample

CODER = TextCoder(build_tiny_tokenizer())


def examples(*sources: str, target: str = "1") -> list[TextExample]:
    return [TextExample(source, target, (target,), f"train:{i}") for i, source in enumerate(sources)]


def test_tokenise_cuts_on_the_right_keeps_the_end_and_counts():
    tokens = tokenise(examples("abc", "abcdef", target="xyz"), CODER, 5, 3)
    assert CODER.tokenizer.decode(tokens.sources[0]) == "abc</s>"
    assert CODER.tokenizer.decode(tokens.sources[1]) == "abcd</s>"
    assert (tokens.truncated_sources, tokens.truncated_targets) == (1, 2)
    assert tokens.sources.lengths.tolist() == [4, 5]
    with pytest.raises(DataError, match="no example"):
        tokenise([], CODER, 5, 3)


@given(texts=st.lists(st.text(alphabet="abc xyz", max_size=30), min_size=1, max_size=8), limit=st.integers(2, 12))
@settings(max_examples=30)
def test_tokenise_is_the_tokenizers_own_truncation(texts, limit):
    tokens = tokenise(examples(*texts), CODER, limit, 4)
    expected = CODER.tokenizer(texts, truncation=True, max_length=limit)["input_ids"]
    assert [tokens.sources[i].tolist() for i in range(len(texts))] == expected


def test_collate_pads_on_the_right_with_a_mask():
    tokens = [tokenise(examples("ab", "abcd"), CODER, 9, 4), tokenise(examples("x"), CODER, 9, 4)]
    batch = collate(tokens, np.array([1, 0]), np.array([0, 1]), pad_id=0)
    assert batch.attention_mask.tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]
    assert batch.input_ids[0, 2:].tolist() == [0, 0, 0]
    assert batch.task_ids.tolist() == [1, 0]
    longer = tokenise(examples("a", target="12"), CODER, 9, 4)
    both = collate([tokens[0], longer], np.array([0, 1]), np.array([0, 0]), pad_id=0)
    assert both.labels[0, 2].item() == IGNORED
    assert both.target_lengths.tolist() == [2.0, 3.0]


@given(
    lengths=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_collate_is_row_by_row_padding(lengths, seed):
    random = np.random.default_rng(seed)
    tasks = []
    for of_task in lengths:
        sources, targets = ([random.integers(1, 60_000, n).tolist() for n in of_task] for _ in range(2))
        narrow = Ragged(Ragged.of(sources).values.astype(np.uint16), Ragged.of(sources).offsets)
        tasks.append(TokenisedExamples(narrow, Ragged.of(targets), 0, 0))
    task_of = random.integers(0, len(tasks), 7)
    positions = np.array([random.integers(len(tasks[task])) for task in task_of])
    batch = collate(tasks, task_of, positions, pad_id=0)
    pairs = list(zip(task_of, positions, strict=True))
    for ours, side, value in ((batch.input_ids, "sources", 0), (batch.labels, "targets", IGNORED)):
        rows = [torch.from_numpy(getattr(tasks[task], side)[position].astype(np.int64)) for task, position in pairs]
        expected = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)
        assert torch.equal(ours, expected)
    assert torch.equal(batch.attention_mask, (batch.input_ids != 0).long())
    assert batch.task_ids.tolist() == task_of.tolist()


def cost(lengths: np.ndarray, pieces: list[np.ndarray], overhead: int, prompt: int) -> int:
    return sum(len(piece) * (int(lengths[piece].max()) + prompt) + overhead for piece in pieces)


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=7),
    overhead=st.integers(0, 80),
    prompt=st.integers(0, 20),
)
def test_cuts_are_the_best_of_all(lengths, overhead, prompt):
    array = np.array(lengths)
    pieces = cut_by_length(array, overhead, prompt)
    assert sorted(np.concatenate(pieces).tolist()) == list(range(len(lengths)))
    order = np.argsort(array, kind="stable")
    best = min(
        cost(array, np.split(order, list(places)), overhead, prompt)
        for count in range(len(lengths))
        for places in itertools.combinations(range(1, len(lengths)), count)
    )
    assert cost(array, pieces, overhead, prompt) == best


def cuts_one_by_one(lengths: np.ndarray, overhead: int, prompt: int) -> list[list[int]]:
    """The same cuts in quadratic time: of equally good ones, that with the longest last micro-batch."""
    order = np.argsort(lengths, kind="stable")
    rows = lengths[order] + prompt
    best, before = [0], [0]
    for end in range(1, len(rows) + 1):
        costs = [best[start] + (end - start) * int(rows[end - 1]) + overhead for start in range(end)]
        before.append(costs.index(min(costs)))
        best.append(min(costs))
    pieces, end = [], len(rows)
    while end:
        pieces.insert(0, order[before[end] : end].tolist())
        end = before[end]
    return pieces


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=70),
    overhead=st.integers(0, 200),
    prompt=st.integers(0, 100),
)
def test_cuts_of_large_batches_are_the_same_bit_for_bit(lengths, overhead, prompt):
    # Gradients do not depend on cuts, but their last bits do, and a resumed run must end with the same ones.
    pieces = cut_by_length(np.array(lengths), overhead, prompt)
    assert [piece.tolist() for piece in pieces] == cuts_one_by_one(np.array(lengths), overhead, prompt)


def test_micro_batches_are_the_parts_of_the_step_padded_for_themselves():
    tasks = [tokenise(examples(*("ab" * k for k in range(1, 9)), target="1" * n), CODER, 20, 4) for n in (1, 3)]
    stream = BatchStream(tasks, TaskSampler([8, 8], 8, 0), 0, prompt_length=2, micro_batch_cost=4)
    reference = TaskSampler([8, 8], 8, 0)
    for _ in range(4):
        task_of, positions = reference.draw()
        lengths = np.array([len(tasks[t].sources[p]) for t, p in zip(task_of, positions, strict=True)])
        pieces = cut_by_length(lengths, 4, 2)
        for micro, piece in zip(next(stream), pieces, strict=True):
            alone = collate(tasks, task_of[piece], positions[piece], 0)
            assert torch.equal(micro.input_ids, alone.input_ids)
            assert torch.equal(micro.attention_mask, alone.attention_mask)
            assert torch.equal(micro.labels, alone.labels)
            assert torch.equal(micro.task_ids, alone.task_ids)


def test_a_stream_gives_what_the_sampler_drew_and_can_be_restored():
    tasks = [tokenise(examples(*("ab" * k for k in range(1, 9))), CODER, 20, 4) for _ in range(2)]

    def stream() -> BatchStream:
        return BatchStream(tasks, TaskSampler([8, 8], 8, 0), 0, max_micro_batch=3, micro_batch_cost=4)

    ours, reference = stream(), TaskSampler([8, 8], 8, 0)
    for _ in range(3):
        task_of, positions = reference.draw()
        micro = next(ours)
        assert all(len(batch) <= 3 for batch in micro)
        lengths = sorted(len(tasks[t].sources[p]) for t, p in zip(task_of, positions, strict=True))
        assert sorted(np.concatenate([batch.source_lengths for batch in micro]).tolist()) == lengths
        assert torch.cat([batch.task_ids for batch in micro]).bincount().tolist() == np.bincount(task_of).tolist()
    other = stream()
    other.restore(ours.state())
    assert torch.equal(next(other)[0].input_ids, next(ours)[0].input_ids)


def test_a_backbone_that_does_not_pad_gets_whole_steps_in_the_order_of_the_sampler():
    tasks = [tokenise(examples(*("ab" * k for k in range(1, 9))), CODER, 20, 4) for _ in range(2)]
    stream = BatchStream(tasks, TaskSampler([8, 8], 8, 0), 0, micro_batch_cost=None)
    task_of, positions = TaskSampler([8, 8], 8, 0).draw()
    (batch,) = next(stream)
    assert batch.task_ids.tolist() == task_of.tolist()
    assert batch.source_lengths.tolist() == [len(tasks[t].sources[p]) for t, p in zip(task_of, positions, strict=True)]


def test_one_task_needs_no_task_sampling():
    tokens = tokenise(examples("a", "bb", "ccc"), CODER, 9, 4)
    stream = BatchStream([tokens], EpochSampler(tokens.sources.lengths, 2, 0), 0)
    sizes = [sum(len(batch) for batch in next(stream)) for _ in range(4)]
    assert sorted(sizes[:2]) == sorted(sizes[2:]) == [1, 2]
