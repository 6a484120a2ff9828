"""Few-shot runs on the embedded model: trained together, one after the other, and by peft in a plain loop.

For every k: 10 draws of k examples from each of 3 target tasks, prompt tuning, a fixed number of steps with batches of
all k examples. All ways take turns in one process, round by round, and ratios are medians over rounds, so that a
machine whose speed changes changes them little. Beside the ratios stands their bound: no company can make an example
cheaper than it is in the best batch of a single run, if that is no larger than what all runs' batches come to. So as
many examples in such batches of one run, which take their turns too, are the least that can be hoped for. Memory is the
peak of a process with all runs over that with one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import torch
from peft import PromptTuningConfig, TaskType, get_peft_model

from common import alternate, describe_machine, forget_peak, plain_batch, resident, stream_of
from multiprompt.backbone import T5Backbone, load_backbone
from multiprompt.backbone.t5.fast import restore
from multiprompt.data import EpochSampler, TaskSampler, TokenisedExamples
from multiprompt.methods import PromptTuning
from multiprompt.options import DataOptions, TrainingOptions
from multiprompt.prompts import SharedPrompt, SoftPrompt, vocabulary_rows
from multiprompt.recipes import PreparedTask, load_task
from multiprompt.training import LiveTraining, Training, step, train, train_together

PROMPT_LENGTH = 20
RATE = 0.05
FEW = DataOptions(max_train=2000, max_dev=10, max_test=10)
"""Rows of a task: draws are made from these."""
LARGE = (64, 128, 256)
"""Batches of a single run, of which the best is the bound; of them those that are no larger than a joint step."""


def training_of(backbone: T5Backbone, examples: TokenisedExamples, steps: int, batch_size: int, seed: int) -> Training:
    """Prompt tuning on a few examples."""
    generator = torch.Generator().manual_seed(seed)
    method = PromptTuning(
        backbone, SoftPrompt([vocabulary_rows(backbone.frequent, PROMPT_LENGTH, generator)]), RATE, dropout=False
    )
    stream = stream_of(backbone, [examples], EpochSampler(examples.sources.lengths, batch_size, seed), PROMPT_LENGTH)
    options = TrainingOptions(dropout=False, select="last", batch_size=batch_size)
    return Training(method, stream, options, steps, seed)


def with_peft(draws: Sequence[TokenisedExamples], steps: int) -> Callable[[], None]:
    """Every run in a loop as the library's examples show it, on the same model as transformers runs it."""
    model = load_backbone("embedded", attention="sdpa").model
    restore(model)
    config = PromptTuningConfig(
        task_type=TaskType.SEQ_2_SEQ_LM, num_virtual_tokens=PROMPT_LENGTH, num_transformer_submodules=1
    )
    tuned = get_peft_model(model, config)
    tuned.eval()
    trained = [parameter for parameter in tuned.parameters() if parameter.requires_grad]

    def run() -> None:
        for seed, examples in enumerate(draws):
            random = np.random.default_rng(seed)
            optimiser = torch.optim.AdamW(trained, lr=RATE)
            for _ in range(steps):
                drawn = [(0, position) for position in random.permutation(len(examples)).tolist()]
                tuned(**plain_batch([examples], drawn, None)).loss.backward()
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimiser.step()
                optimiser.zero_grad()

    return run


def large_batches(backbone: T5Backbone, tasks: Sequence[PreparedTask], size: int, steps: int) -> Callable[[], None]:
    """One run on all tasks takes so many steps with batches of ``size``."""
    sampler = TaskSampler([len(task.train) for task in tasks], size, 0, "iid")
    stream = stream_of(backbone, [task.train for task in tasks], sampler, PROMPT_LENGTH)
    start = vocabulary_rows(backbone.frequent, PROMPT_LENGTH, torch.Generator().manual_seed(0))
    method = PromptTuning(backbone, SharedPrompt(start, len(tasks)), RATE, dropout=False)
    training = LiveTraining(Training(method, stream, TrainingOptions(dropout=False), 10**6, 0))

    def run() -> None:
        for _ in range(steps):
            step([training])

    return run


def draws_of(backbone: T5Backbone, tasks: Sequence[PreparedTask], k: int, draws: int) -> list[TokenisedExamples]:
    """The k examples of every draw of every task."""
    return [task.few_shot(k, seed, True, backbone).train for task in tasks for seed in range(draws)]


def peak_of(names: Sequence[str], k: int, draws: int, number: int) -> float:
    """Most MiB that this process has held while so many runs took some steps; for a process of its own."""
    backbone = load_backbone("embedded")
    tasks = [load_task(name, backbone, FEW) for name in names]
    examples = draws_of(backbone, tasks, k, draws)[:number]
    forget_peak()
    runs = [LiveTraining(training_of(backbone, each, 3, k, seed)) for seed, each in enumerate(examples)]
    for _ in range(3):
        step(runs)
    return resident("VmHWM")


def memory_of(names: Sequence[str], k: int, draws: int) -> float:
    """MiB for every run beyond the first: the peak with all of them against the peak with one."""
    number = len(names) * draws
    peaks = []
    for count in (1, number):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            peaks.append(pool.submit(peak_of, names, k, draws, count).result())
    return (peaks[1] - peaks[0]) / (number - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=["mini-rte", "mini-boolq", "mini-mrpc"])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--shots", type=int, nargs="+", default=[4, 16, 32])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(describe_machine())
    backbone = load_backbone("embedded")
    tasks = [load_task(name, backbone, FEW) for name in arguments.tasks]
    sums: dict[str, list[float]] = {}
    for k in arguments.shots:
        draws = draws_of(backbone, tasks, k, arguments.draws)

        def make(draws: Sequence[TokenisedExamples] = draws, k: int = k) -> list[Training]:
            return [training_of(backbone, each, arguments.steps, k, seed) for seed, each in enumerate(draws)]

        contestants: dict[str, Callable[[], Any]] = {
            "together": lambda make=make: train_together(make()),
            "one after the other": lambda make=make: [train(training) for training in make()],
            "peft in a plain loop": with_peft(draws, arguments.steps),
        }
        examples = len(draws) * arguments.steps * k
        joint = len(draws) * k
        sizes = [size for size in LARGE if size < joint] + [joint]
        large = {f"one run, batches of {size}": (size, max(1, round(examples / size))) for size in sizes}
        for name, (size, steps) in large.items():
            contestants[name] = large_batches(backbone, tasks, size, steps)
        seconds = alternate(contestants, arguments.rounds)
        for name, (size, steps) in large.items():  # as if the batches came out even
            seconds[name] = [value * examples / (steps * size) for value in seconds[name]]
        more = memory_of(arguments.tasks, k, arguments.draws)
        print(f"k = {k}: {len(draws)} runs of {arguments.steps} steps, {more:.1f} MiB for each run more")
        for name, values in seconds.items():
            times = ratio(values, seconds["together"])
            print(f"  {name:24} {statistics.median(values):7.2f} s   {times:.2f} x together")
            sums[name] = [a + b for a, b in zip(sums.get(name, [0.0] * len(values)), values, strict=True)]
        best = min((seconds[name] for name in large), key=statistics.median)
        bound = ratio(seconds["one after the other"], best)
        print(f"  bound {bound:.2f}, reached {ratio(best, seconds['together']):.0%} of it", flush=True)
    for name in ("one after the other", "peft in a plain loop"):
        print(f"all k: {name} {ratio(sums[name], sums['together']):.2f} x together")


def ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """Median over rounds."""
    return statistics.median(one / other for one, other in zip(values, others, strict=True))


if __name__ == "__main__":
    main()
