"""Whether this package is right and fast on a GPU: one command, no network, at most six minutes on one card.

    python benchmarks/gpu_check.py --out gpu_check.json

1. The tests marked ``gpu``: the backbone against transformers in float32 and bfloat16, every method, resuming, joint
   runs, generation.
2. Steps of prompt tuning, source training and fine-tuning on T5-base shape with random weights, in bfloat16 and batches
   of 32: examples a second, memory, how often a step waits for the device, and the share of the best bfloat16 matrix
   product measured here. Beside them peft or transformers in a plain loop, in turns (peft where it is installed).
3. Generated answers against the same answers teacher-forced: where the two disagree, the scores must be next to equal.
4. A source step under torch's profiler: which kernels take the time, and how long the card is idle.
5. What one more pass costs, in tokens (see ``benchmarks/pass_costs.py``).

What is printed is written as JSON too, with the names of the card and of all versions. ``--device cpu --shape tiny``
goes through the same program on a processor, for its logic; figures of that mean nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import pass_costs
from common import (
    PROMPT_LENGTH,
    SHAPES,
    describe_machine,
    random_backbone,
    random_examples,
    random_prompt,
    seconds_on,
)
from multiprompt.backbone import T5Backbone
from multiprompt.batch import IGNORED, Batch
from multiprompt.data import TokenisedExamples
from multiprompt.methods import PromptTuning
from multiprompt.training import LiveTraining, step
from peak_share import multiply_adds

BATCH_SIZE = 32
SOURCE_TASKS = ("mnli", "qnli", "qqp", "sst2", "squad", "record")
PASSES = {"prompt_tuning": 1.0, "source_training": 1.5, "fine_tuning": 1.5}
"""Work of a step in that of a forward pass and a backward pass towards the activations, which ``multiply_adds`` counts:
the teacher is half of it again (forward only), the gradients of the weights too."""

Timed = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shape", choices=tuple(SHAPES), default="base")
    parser.add_argument("--steps", type=int, default=10, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-tests", action="store_true")
    parser.add_argument("--out", type=Path, help="file for the figures, as JSON")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit(
            f"torch {torch.__version__} sees no GPU here; --device cpu --shape tiny goes through the program's logic"
        )
    record: dict[str, Any] = {"machine": describe_machine(), "device": card_of(device), "shape": arguments.shape}
    print(f"{record['device']}; {record['machine']}", flush=True)
    began = time.monotonic()
    if not arguments.skip_tests:
        record["tests"] = run_tests(device)
    record["product"] = best_product(device)
    print(f"best square product: {record['product'] / 1e12:.1f} million million multiply-adds a second", flush=True)
    record["steps"] = compare_steps(arguments.shape, device, arguments.steps, arguments.rounds, record["product"])
    record["answers"] = compare_answers(arguments.shape, device)
    record["profile"] = profile_source_step(arguments.shape, device)
    record["pass_cost"] = cost_of_a_pass(arguments.shape, device)
    record["seconds"] = round(time.monotonic() - began, 1)
    print(f"{record['seconds']} s in all")
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        print(f"written to {arguments.out}")
    if not record.get("tests", {"passed": True})["passed"] or not record["answers"]["agree"]:
        sys.exit("something is wrong on this device; see above")


def card_of(device: torch.device) -> str:
    """Name, memory and compute capability of a card."""
    if device.type != "cuda":
        return str(device)
    card = torch.cuda.get_device_properties(device)
    size = f"{card.total_memory / 2**30:.0f} GiB"
    return f"{card.name}, {size}, capability {card.major}.{card.minor}, CUDA {torch.version.cuda}"


def run_tests(device: torch.device) -> dict[str, Any]:
    """The tests of devices: those marked ``gpu``, or, on a processor, the same ones there."""
    tests = Path(__file__).parents[1] / "tests/devices"
    chosen = ["-m", "gpu"] if device.type == "cuda" else ["-m", "not gpu"]
    began = time.monotonic()
    outcome = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            str(tests),
            *chosen,
            "-n",
            "0",
            "-o",
            "addopts=--import-mode=importlib",
            "--rootdir",
            str(tests.parents[1]),
        ],
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    lines = outcome.stdout.strip().splitlines()
    passed = outcome.returncode == 0 and " passed" in lines[-1]  # not where all were skipped
    print("\n".join(lines[-1:] if passed else lines), flush=True)
    return {
        "passed": passed,
        "summary": lines[-1] if lines else outcome.stderr[-500:],
        "seconds": round(time.monotonic() - began, 1),
    }


def best_product(device: torch.device) -> float:
    """Multiply-adds a second of the best of some square products, in bfloat16 on a GPU."""
    precision, sizes = (torch.bfloat16, (4096, 8192)) if device.type == "cuda" else (torch.float32, (512, 1024))
    best = 0.0
    for size in sizes:
        left, right = (torch.randn(size, size, device=device, dtype=precision) for _ in range(2))
        for _ in range(10):
            best = max(best, size**3 / seconds_on(device, lambda left=left, right=right: left @ right))
    return best


def contestants_of(
    name: str, tasks: list[TokenisedExamples], joined: TokenisedExamples, shape: str, device: str, steps: int
) -> dict[str, Timed]:
    """What takes ``steps`` steps: ours, and the peer where its package is there."""
    try:
        import method_steps
        import source_step
    except ImportError as error:
        print(f"  no peer ({error})")
        return {}
    if name == "source_training":
        run = LiveTraining(source_step.our_training(tasks, True, 10**6, shape, device))

        def ours() -> None:
            for _ in range(steps):
                step([run])

        return {"multiprompt": ours, "peft": source_step.with_peft(tasks, True, steps, shape, device)}
    return {
        "multiprompt": method_steps.ours(name, joined, True, shape, device, BATCH_SIZE),
        "peft" if name in method_steps.PEFT else "transformers": method_steps.peer(
            name, joined, True, shape, device, BATCH_SIZE
        ),
    }


def compare_steps(shape: str, device: torch.device, steps: int, rounds: int, product: float) -> dict[str, Any]:
    """Speed, memory and waits of steps, ours and a peer's in turns."""
    tasks = [random_examples([task], 400, seed=number) for number, task in enumerate(SOURCE_TASKS)]
    joined = random_examples(SOURCE_TASKS, steps * BATCH_SIZE)
    work = multiply_adds(SHAPES[shape], joined.sources.lengths, joined.targets.lengths)
    figures: dict[str, Any] = {}
    for name, passes in PASSES.items():
        print(f"{name}, {steps} steps of {BATCH_SIZE}, dropout on:", flush=True)
        contestants = contestants_of(name, tasks, joined, shape, str(device), steps)
        seconds: dict[str, list[float]] = {contestant: [] for contestant in contestants}
        memory: dict[str, float] = {}
        for turn in range(rounds + 1):
            for contestant, run in contestants.items():
                with peak_memory(device) as peak:
                    taken = seconds_on(device, run)
                if turn:
                    seconds[contestant].append(taken)
                    memory[contestant] = peak[0]
        for contestant, each in seconds.items():
            median = statistics.median(each)
            ratio = statistics.median(theirs / own for theirs, own in zip(each, seconds["multiprompt"], strict=True))
            figures[f"{name}, {contestant}"] = {
                "examples_per_second": round(steps * BATCH_SIZE / median, 1),
                "times_ours": round(ratio, 2),
                "share_of_product": round(passes * work / median / product, 3),
                "memory_gib": round(memory[contestant], 2),
                "waits_per_step": waits(device, contestants[contestant]) / steps,
            }
            print(f"  {contestant:14} {figures[f'{name}, {contestant}']}", flush=True)
    return figures


@contextmanager
def peak_memory(device: torch.device) -> Iterator[list[float]]:
    """GiB that a card holds at most inside; on a processor 0."""
    peak = [0.0]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    yield peak
    if device.type == "cuda":
        peak[0] = torch.cuda.max_memory_allocated(device) / 2**30


def waits(device: torch.device, run: Timed) -> int:
    """How often the host waits for the card; on a processor 0."""
    if device.type != "cuda":
        return 0
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(each.message) for each in caught)


def compare_answers(shape: str, device: torch.device) -> dict[str, Any]:
    """Greedy answers, and what the model says of them when they are given to it.

    In bfloat16 two passes over the same tokens differ by rounding, and the better of two words may change where their
    scores are next to equal. So a generated token is right if the teacher-forced score is within a hundredth (or, in
    float32, a ten-thousandth) of the best one's, relative to the spread of the scores.
    """
    backbone = random_backbone(shape, device=device)
    method = PromptTuning(backbone, random_prompt(backbone.width), dropout=False)
    with torch.no_grad():
        # random scores of T5's size are all alike otherwise: a fault would not show
        backbone.model.lm_head.weight.mul_(4)
    examples = random_examples(SOURCE_TASKS, BATCH_SIZE)
    width = int(examples.sources.lengths.max())
    ids = torch.zeros(BATCH_SIZE, width, dtype=torch.long)
    for row in range(BATCH_SIZE):
        source = torch.as_tensor(examples.sources[row].astype("int64"))
        ids[row, : len(source)] = source
    mask, tasks = (ids != 0).long(), torch.zeros(BATCH_SIZE, dtype=torch.long)
    asked = Batch(ids, mask, torch.zeros(BATCH_SIZE, 1, dtype=torch.long), tasks).to(device)
    answers = method.generate(asked, max_new_tokens=8)[:, 1:].cpu()
    ended = (answers == 1).cumsum(1) - (answers == 1).long() > 0
    labels = answers.masked_fill(ended, IGNORED)
    forced = Batch(ids, mask, labels, tasks).to(device)
    with torch.no_grad():
        output = backbone.forward(forced, method.prompts(forced))
    best, given = output.logits.max(1).values, output.logits.gather(1, output.labels[:, None])[:, 0]
    missing = ((best - given) / output.logits.std(1)).cpu()
    limit = 0.01 if output.logits.dtype == torch.bfloat16 or backbone.embedding.dtype == torch.bfloat16 else 1e-4
    figures = {
        "tokens": len(missing),
        "same": int((missing == 0).sum()),
        "largest_lack": round(float(missing.max()), 6),
        "limit": limit,
        "agree": bool((missing <= limit).all()),
    }
    print(f"generated against teacher-forced: {figures}", flush=True)
    return figures


def profile_source_step(shape: str, device: torch.device) -> dict[str, Any]:
    """Kernels of a source step, and the share of its time in which the card has nothing to do."""
    try:
        import source_step
    except ImportError as error:
        return {"left_out": str(error)}
    from torch.profiler import ProfilerActivity, profile

    tasks = [random_examples([task], 400, seed=number) for number, task in enumerate(SOURCE_TASKS)]
    run = LiveTraining(source_step.our_training(tasks, True, 10**6, shape, str(device)))
    for _ in range(3):
        step([run])
    cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as profiled:
        wall = seconds_on(device, lambda: step([run]))
    rows = []
    for event in profiled.key_averages():
        taken = event.self_device_time_total if cuda else event.self_cpu_time_total
        if taken:
            rows.append((taken / 1e6, event.count, event.key))
    busy = sum(seconds for seconds, _, _ in rows)
    figures = {
        "seconds": round(wall, 4),
        "idle_share": round(max(0.0, 1 - busy / wall), 3) if cuda else None,
        "launches": sum(count for _, count, _ in rows) if cuda else None,
        "kernels": [
            {"seconds": round(seconds, 5), "count": count, "name": name[:90]}
            for seconds, count, name in sorted(rows, reverse=True)[:12]
        ],
    }
    print(f"a source step: {figures['seconds']} s, idle {figures['idle_share']}, {figures['launches']} launches")
    for kernel in figures["kernels"]:
        print(f"  {1000 * kernel['seconds']:8.2f} ms  {kernel['count']:6}  {kernel['name']}", flush=True)
    return figures


def cost_of_a_pass(shape: str, device: torch.device) -> dict[str, Any]:
    """Measured cost of a pass beside the one in use."""
    backbone: T5Backbone = random_backbone(shape, device=device)
    _, fixed, for_token = pass_costs.measured(backbone, 64, 3)
    figures = {
        "fixed_seconds": round(fixed, 5),
        "tokens_per_second": round(1 / for_token),
        "tokens": round(fixed / for_token),
        "in_use": backbone.costs.micro_batch,
        "most_tokens": backbone.costs.most_tokens,
    }
    print(f"one more pass of {64 + PROMPT_LENGTH} positions an example: {figures}", flush=True)
    return figures


if __name__ == "__main__":
    main()
