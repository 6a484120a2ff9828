"""Steps of one process against the same steps of several processes that share them.

The processes are started once. In every round the first one takes some steps alone while the others wait; then all take
the same steps together. Wall time; nothing else should be running.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

from common import describe_machine, random_backbone, random_examples, random_prompt, stream_of, training_options
from multiprompt.backbone import T5Backbone
from multiprompt.data import EpochSampler, TokenisedExamples
from multiprompt.methods import FineTuning, Method, PromptTuning
from multiprompt.parallel import distributed_processes
from multiprompt.training import LiveTraining, Training, step

METHODS = {
    "prompt_tuning": lambda backbone, dropout: PromptTuning(backbone, random_prompt(backbone.width), dropout=dropout),
    "fine_tuning": lambda backbone, dropout: FineTuning(backbone, dropout=dropout),
}


def run_of(
    method: Method, backbone: T5Backbone, examples: TokenisedExamples, batch: int, dropout: bool
) -> LiveTraining:
    sampler = EpochSampler(examples.sources.lengths, batch, seed=0)
    stream = stream_of(backbone, [examples], sampler, method.prompt_length)
    return LiveTraining(Training(method, stream, training_options(dropout), steps=10**6, seed=0))


def take(run: LiveTraining, steps: int) -> float:
    """Seconds for one step."""
    began = time.perf_counter()
    for _ in range(steps):
        step([run])
    return (time.perf_counter() - began) / steps


def measure(arguments: argparse.Namespace) -> None:
    dropout = arguments.dropout == "on"
    examples = random_examples(("sst2", "mrpc", "qnli"), 8 * arguments.batch)
    backbone = random_backbone("small")
    with METHODS[arguments.method](backbone, dropout) as method:
        alone, joint = (run_of(method, backbone, examples, arguments.batch, dropout) for _ in range(2))
        seconds: list[tuple[float, float]] = []
        for _ in range(arguments.rounds + 1):
            own = take(alone, arguments.steps) if int(os.environ["RANK"]) == 0 else 0.0
            with distributed_processes() as connected:
                connected.barrier()
                shared = take(joint, arguments.steps)
            seconds.append((own, shared))
    if int(os.environ["RANK"]) == 0:
        print(describe_machine())
        print(f"T5-small shape, {arguments.method}, batch {arguments.batch}, dropout {arguments.dropout}")
        counted = seconds[1:]
        ratios = [own / shared for own, shared in counted]
        own, shared = (statistics.median(values) for values in zip(*counted, strict=True))
        print(
            f"1 process {own:.3f} s a step, {arguments.processes} processes {shared:.3f} s: "
            f"{statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", nargs="?", choices=METHODS, default="prompt_tuning")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=1, help="in every turn")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--dropout", choices=("off", "on"), default="on")
    arguments = parser.parse_args()
    if "RANK" in os.environ:
        measure(arguments)
        return
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    sys.exit(subprocess.call([*launcher, "--nproc_per_node", str(arguments.processes), *sys.argv]))


if __name__ == "__main__":
    main()
