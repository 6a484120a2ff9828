"""Few-shot runs on the embedded model: trained together, one after the other, and by peft in a plain loop.

For every k: 10 draws of k examples from each of 3 target tasks, prompt tuning, a fixed number of steps with batches of
all k examples. The three ways take turns in one process. Beside the ratios stands their bound: no company can make an
example cheaper than it is in the best batch of a single run, so the gain over steps of k examples is bounded by their
seconds per example divided by the least seconds per example of one run on the same tasks with batches of 64 to 256. The
fixed cost of a step is that of the line through seconds per step of batches of 4 to 64. Memory is the growth of the
process for each run more.
"""

from __future__ import annotations

import argparse
import gc
import statistics
from collections.abc import Callable, Sequence

import numpy as np
import psutil
import torch
from peft import PromptTuningConfig, TaskType, get_peft_model

from common import alternate, clock, describe_machine, plain_batch, stream_of
from multiprompt.backbone import FrozenT5, load_backbone
from multiprompt.backbone.fast import restore
from multiprompt.data import EpochSampler, TaskSampler, TokenisedExamples
from multiprompt.methods import PromptTuning
from multiprompt.options import DataOptions, TrainingOptions
from multiprompt.prompts import SharedPrompt, SoftPrompt, vocabulary_rows
from multiprompt.recipes import PreparedTask, load_task
from multiprompt.training import Run, Training, step, train, train_together

PROMPT_LENGTH = 20
RATE = 0.05


def training_of(backbone: FrozenT5, examples: TokenisedExamples, steps: int, batch_size: int, seed: int) -> Training:
    """Prompt tuning on a few examples."""
    generator = torch.Generator().manual_seed(seed)
    method = PromptTuning(
        backbone, SoftPrompt([vocabulary_rows(backbone.embedding, PROMPT_LENGTH, generator)]), RATE, dropout=False
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


def step_seconds(backbone: FrozenT5, tasks: Sequence[PreparedTask], size: int) -> float:
    """A step of one run with so many examples of all tasks."""
    sampler = TaskSampler([len(task.train) for task in tasks], size, 0, "iid")
    stream = stream_of(backbone, [task.train for task in tasks], sampler, PROMPT_LENGTH)
    start = vocabulary_rows(backbone.embedding, PROMPT_LENGTH, torch.Generator().manual_seed(0))
    method = PromptTuning(backbone, SharedPrompt(start, len(tasks)), RATE, dropout=False)
    run = Run(Training(method, stream, TrainingOptions(dropout=False), 10**6, 0))
    seconds = []
    for turn in range(12):
        began = clock()
        step([run])
        seconds += [clock() - began] * (turn > 1)
    return statistics.median(seconds)


def least_cost(backbone: FrozenT5, tasks: Sequence[PreparedTask]) -> float:
    """The least seconds per example of any batch."""
    small = (4, 8, 16, 32, 64)
    slope, fixed = np.polyfit(small, [step_seconds(backbone, tasks, size) for size in small], 1)
    print(f"a step of n examples takes {1000 * fixed:.1f} + {1000 * slope:.2f} n ms")
    costs = {size: step_seconds(backbone, tasks, size) / size for size in (64, 96, 128, 192, 256)}
    best = min(costs, key=lambda size: costs[size])
    print(f"an example takes at least {1000 * costs[best]:.2f} ms, in batches of {best}")
    return costs[best]


def memory_of(make: Callable[[], list[Training]]) -> float:
    """KiB for every run beyond the first."""
    trainings = make()
    train_together(trainings[:1])
    gc.collect()
    before = psutil.Process().memory_info().rss
    runs = [Run(training) for training in trainings[1:]]
    step(runs)
    return (psutil.Process().memory_info().rss - before) / len(runs) / 1024


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
    options = DataOptions(max_train=2000, max_dev=10, max_test=10)
    tasks = [load_task(name, backbone, options) for name in arguments.tasks]
    least = least_cost(backbone, tasks)
    total = dict.fromkeys(("together", "one after the other", "peft in a plain loop"), 0.0)
    for k in arguments.shots:
        draws = [task.few_shot(k, seed, True, backbone).train for task in tasks for seed in range(arguments.draws)]

        def make(draws: Sequence[TokenisedExamples] = draws, k: int = k) -> list[Training]:
            return [training_of(backbone, each, arguments.steps, k, seed) for seed, each in enumerate(draws)]

        contestants: dict[str, Callable[[], None]] = {
            "together": lambda make=make: train_together(make()),
            "one after the other": lambda make=make: [train(training) for training in make()],
            "peft in a plain loop": with_peft(draws, arguments.steps),
        }
        seconds = alternate(contestants, arguments.rounds)
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        print(f"k = {k}: {len(draws)} runs of {arguments.steps} steps, {memory_of(make):.0f} KiB for each run more")
        for name, value in medians.items():
            ratio = statistics.median(t / o for t, o in zip(seconds[name], seconds["together"], strict=True))
            print(f"  {name:24} {value:7.2f} s   {ratio:.2f} x together", flush=True)
            total[name] += value
        gained = medians["one after the other"] / medians["together"]
        bound = medians["one after the other"] / (len(draws) * arguments.steps * k * least)
        print(f"  bound {bound:.2f}, reached {gained / bound:.0%} of it")
    ratios = (f"{name} {seconds / total['together']:.2f} x together" for name, seconds in total.items())
    print(f"all k: {', '.join(ratios)}")


if __name__ == "__main__":
    main()
