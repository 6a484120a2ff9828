"""How often a training step waits for a GPU, counted on one that is pretended.

While the host waits, the GPU has nothing to do afterwards: it is kept busy only by operations that are launched ahead.
"""

from __future__ import annotations

import pytest
import torch

from multiprompt.batch import Batch
from multiprompt.methods import build_method
from multiprompt.options import MixingOptions, TrainingOptions
from multiprompt.recipes.stage_training import Place, stage_training
from multiprompt.training import LiveTraining, step
from pretended_device import Counts, counted, pretended_cuda
from recipes.every_kind import KINDS, data_of, prepared, start_of
from recipes.test_devices import VARIANTS, tiny

TRAINING = TrainingOptions(steps=100, batch_size=8, log_every=1)


def counts_of_a_step(kind: str, micro_batch: int | None = None) -> Counts:
    """A step of a stage on a GPU, after one in which its optimiser has made its state."""
    options = TrainingOptions(steps=100, batch_size=8, log_every=1, max_micro_batch=micro_batch)
    with pretended_cuda():
        backbone = tiny("cuda")
        tasks = prepared(backbone)
        start = start_of(kind, backbone, options, **VARIANTS.get(kind, [{}])[-1])
        with build_method(kind, start) as method:
            run = LiveTraining(
                stage_training(method, data_of(start, tasks), options, MixingOptions(), 1, 1, Place(kind))
            )
            step([run])
            with counted() as counts:
                step([run])
    return counts


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_reads_the_device_once(kind):
    waits = counts_of_a_step(kind).waits
    allowed = 2 if kind == "prefix_tuning" else 1  # peft sends the numbers of its prefix rows anew in every pass
    assert 1 <= len(waits) <= allowed, waits


def test_further_micro_batches_do_not_wait():
    whole, cut = counts_of_a_step("student"), counts_of_a_step("student", micro_batch=2)
    assert cut.operations > 3 * whole.operations, "it was cut"
    assert len(cut.waits) == len(whole.waits) == 1


def test_several_runs_wait_as_often_as_one():
    with pretended_cuda():
        backbone = tiny("cuda")
        tasks = prepared(backbone)
        runs = []
        for seed in range(3):
            start = start_of("prompt_tuning", backbone, TRAINING)
            method = build_method("prompt_tuning", start)
            runs.append(
                LiveTraining(
                    stage_training(method, data_of(start, tasks), TRAINING, MixingOptions(), 1, seed, Place("a"))
                )
            )
        step(runs)
        with counted() as counts:
            step(runs)
    assert len(counts.waits) == 1, counts.waits


def test_what_waits_is_counted():
    with pretended_cuda():
        tensor = torch.arange(6).pin_memory().to("cuda", non_blocking=True)
        for wait in (
            lambda: tensor.tolist(),
            lambda: tensor.cpu(),
            lambda: tensor.to("cpu"),
            lambda: int(tensor[2]),
            lambda: bool((tensor > 0).any()),
            lambda: tensor[tensor > 2],
            lambda: tensor.nonzero(),
            lambda: torch.unique(tensor),
            lambda: torch.arange(3).to("cuda"),
        ):
            with counted() as counts:
                wait()
            assert len(counts.waits) == 1, counts.waits
        with counted() as counts:
            torch.arange(3).pin_memory().to("cuda", non_blocking=True).add(1).index_select(0, tensor[:2])
        assert counts.waits == []
        assert counts.operations >= 3


def test_a_batch_that_was_moved_is_known_without_a_wait():
    ids = torch.tensor([[5, 6, 7], [8, 0, 0]])
    batch = Batch(ids, (ids != 0).long(), torch.tensor([[4, -100], [9, 1]]), torch.tensor([2, 0]))
    with pretended_cuda(), counted() as counts:
        moved = batch.to("cuda")
        assert moved.source_lengths.tolist() == [3, 1]
        assert moved.target_lengths.tolist() == [1, 2]
        assert list(moved.tasks.present) == [0, 2]
        assert counts.waits == []
        assert moved.tasks.index.tolist() == [1, 0]
        for name in ("input_ids", "attention_mask", "labels", "task_ids"):
            assert getattr(moved, name).tolist() == getattr(batch, name).tolist()
