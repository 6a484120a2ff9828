"""Steps of prompt tuning, and scoring, on the embedded model: its padded passes against transformers' own code."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import cycle

import numpy as np
import torch

from common import alternate, describe_machine, print_ratios, training_options
from multiprompt import DataOptions, evaluate, load_backbone, load_task
from multiprompt.backbone import T5Backbone
from multiprompt.backbone.t5.fast import restore
from multiprompt.batch import Batch
from multiprompt.data import collate
from multiprompt.methods import PromptTuning
from multiprompt.prompts import SoftPrompt
from multiprompt.recipes import PreparedTask
from multiprompt.training import LiveTraining, Training, step

OURS = "multiprompt"
STEPS = 5


def contestants(rate: float) -> dict[str, T5Backbone]:
    """The embedded model, which was trained without dropout, with a dropout rate of its own."""
    ways = {}
    for name, attention in ((OURS, "eager"), ("transformers, eager", "eager"), ("transformers, sdpa", "sdpa")):
        ways[name] = load_backbone("embedded", device="cpu", attention=attention)
        for module in ways[name].model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = rate
            elif type(module).__name__ == "T5Attention":
                module.dropout = rate
        if name != OURS:
            restore(ways[name].model)
    return ways


def prompt() -> SoftPrompt:
    return SoftPrompt([torch.randn(20, 96, generator=torch.Generator().manual_seed(1))])


def micro_batches(task: PreparedTask, size: int) -> Iterator[list[Batch]]:
    order = np.random.default_rng(0).permutation(len(task.train))
    tasks = np.zeros(size, dtype=np.int64)
    drawn = [order[start : start + size] for start in range(0, 4 * size, size)]
    return cycle([[collate([task.train], tasks, positions, 0)] for positions in drawn])


def stepper(backbone: T5Backbone, task: PreparedTask, size: int, dropout: bool) -> Callable[[], None]:
    method = PromptTuning(backbone, prompt(), 0.01, dropout=dropout)
    run = LiveTraining(Training(method, micro_batches(task, size), training_options(dropout), steps=10**6, seed=0))

    def steps() -> None:
        for _ in range(STEPS):
            step([run])

    return steps


def scorer(backbone: T5Backbone, task: PreparedTask) -> Callable[[], None]:
    def scores() -> None:
        evaluate(backbone, task, prompt())

    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--task", default="mini-rte")
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 16, 32, 64])
    arguments = parser.parse_args()
    print(describe_machine())
    for rate in (0.0, 0.1):
        ways = contestants(rate)
        task = load_task(arguments.task, ways[OURS], DataOptions(max_train=256, max_test=1000))
        for size in arguments.sizes:
            print(f"{arguments.task}, {STEPS} steps with {size} rows, dropout {rate}")
            runs = {name: stepper(backbone, task, size, rate > 0) for name, backbone in ways.items()}
            print_ratios(alternate(runs, arguments.rounds), OURS)
        if not rate:
            print(f"{arguments.task}, scores of {len(task.test)} rows")
            runs = {name: scorer(backbone, task) for name, backbone in ways.items()}
            print_ratios(alternate(runs, arguments.rounds), OURS)


if __name__ == "__main__":
    main()
