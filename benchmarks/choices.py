"""Figures behind some defaults: attention implementation, cost of a micro-batch, size of evaluation batches."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from itertools import repeat

import numpy as np
import torch

from common import (
    PROMPT_LENGTH,
    clock,
    describe_machine,
    random_backbone,
    random_examples,
    random_prompt,
    training_options,
)
from multiprompt.backbone import Inputs
from multiprompt.backbone.t5.fast import restore
from multiprompt.batch import Batch
from multiprompt.data import collate
from multiprompt.methods import PromptTuning
from multiprompt.training import LiveTraining, Training, step


def seconds(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of every contestant; A B A B ..."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, run in contestants.items():
            began = clock()
            run()
            if turn:
                taken[name].append(clock() - began)
    return {name: statistics.median(values) for name, values in taken.items()}


def stepper(shape: str, attention: str, fast: bool, micro_batches: list[Batch]) -> Callable[[], object]:
    backbone = random_backbone(shape, attention)
    if not fast:
        restore(backbone.model)
    method = PromptTuning(backbone, random_prompt(backbone.width), dropout=False)
    run = LiveTraining(Training(method, repeat(micro_batches), training_options(False), steps=10**6, seed=0))
    return lambda: step([run])


def generator(shape: str, attention: str, fast: bool, batch: Batch, new_tokens: int) -> Callable[[], object]:
    backbone = random_backbone(shape, attention)
    if not fast:
        restore(backbone.model)
    prompts = random_prompt(backbone.width)(batch.task_ids)
    options = {"min_new_tokens": new_tokens}
    return lambda: backbone.generate([Inputs(batch, prompts)], new_tokens, **options)


def equal_batch(size: int, length: int) -> Batch:
    ids = torch.randint(3, 2000, (size, length), generator=torch.Generator().manual_seed(0))
    return Batch(ids, torch.ones_like(ids), ids[:, :3], torch.zeros(size, dtype=torch.long))


def attention(shape: str, rounds: int) -> None:
    examples = random_examples(("sst2", "mrpc", "qnli"), 16)
    batch = collate([examples], np.zeros(16, dtype=np.int64), np.arange(16), 0)
    variants = {"eager": ("eager", False), "sdpa": ("sdpa", False), "accelerated": ("eager", True)}
    times = seconds({name: stepper(shape, *how, [batch]) for name, how in variants.items()}, rounds)
    print(f"{shape}: training step, dropout off:", *(f"{name} {value:.3f} s" for name, value in times.items()))
    variants["accelerated, sdpa"] = ("sdpa", True)
    times = seconds({name: generator(shape, *how, batch, 8) for name, how in variants.items()}, rounds)
    print(f"{shape}: 8 new tokens:", *(f"{name} {value:.3f} s" for name, value in times.items()), flush=True)


def micro_batches(shape: str, rounds: int) -> None:
    whole = equal_batch(16, 50)
    halves = [equal_batch(8, 50)] * 2
    quarters = [equal_batch(4, 50)] * 4
    for fast in (False, True):
        runs = {
            name: stepper(shape, "eager", fast, pieces)
            for name, pieces in {"1": [whole], "2": halves, "4": quarters}.items()
        }
        times = seconds(runs, rounds)
        per_token = times["1"] / (16 * (50 + PROMPT_LENGTH))
        extra = (times["4"] - times["1"]) / 3
        name = "accelerated" if fast else "transformers"
        print(
            f"{shape}, {name}: one more micro-batch costs {1000 * extra:.1f} ms = "
            f"{extra / per_token:.0f} tokens ({', '.join(f'{k}: {v:.3f} s' for k, v in times.items())})",
            flush=True,
        )


def evaluation(shape: str, rounds: int) -> None:
    for tokens in (4096, 16384, 49152):
        size = tokens // (50 + PROMPT_LENGTH)
        run = generator(shape, "eager", True, equal_batch(size, 50), 3)
        taken = seconds({"run": run}, max(2, rounds // 2))["run"]
        print(f"{shape}: evaluation in batches of {tokens} tokens: {size / taken:.1f} examples/s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(describe_machine())
    for shape in ("tiny", "small"):
        micro_batches(shape, arguments.rounds)
        attention(shape, arguments.rounds)
        evaluation(shape, arguments.rounds)


if __name__ == "__main__":
    main()
