"""What the benchmarks share: random models of known shapes, examples of known lengths, timing, the machine."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from multiprompt.backbone import T5Backbone, products
from multiprompt.backbone.loading import pick_attention
from multiprompt.batch import IGNORED
from multiprompt.data import BatchStream, Ragged, Sampler, TokenisedExamples
from multiprompt.options import TrainingOptions
from multiprompt.prompts import SoftPrompt

PROMPT_LENGTH = 100


def clock() -> float:
    """Wall time; with a single thread the time of the processor, which other programs do not lengthen."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def seconds_on(device: torch.device, run: Callable[[], object]) -> float:
    """Wall time of a function; of a GPU too, which goes on working when the function has returned."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def resident(field: str) -> float:
    """MiB of this process: VmRSS (now) or VmHWM (the most)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def forget_peak() -> None:
    """VmHWM begins anew; a process begins with that of the one that started it."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"d_model": 96, "d_kv": 24, "d_ff": 384, "num_layers": 4, "num_heads": 4, "vocab_size": 2048},
    "small": {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "vocab_size": 32128},
    "base": {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12, "vocab_size": 32128},
}
LENGTHS: dict[str, tuple[float, float]] = {
    "mnli": (40, 17),
    "qnli": (50, 20),
    "qqp": (30, 13),
    "sst2": (18, 9),
    "squad": (180, 60),
    "record": (256, 70),
    "mrpc": (53, 14),
}
"""Mean and standard deviation of the source lengths that are drawn, task prefix included."""


def random_model(shape: str, attention: str | None = None, device: torch.device | str = "cpu") -> Any:
    """A random ``T5ForConditionalGeneration``, in bfloat16 on a GPU; with transformers' attention unless named."""
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    options = {} if attention is None else {"attn_implementation": attention}
    model = T5ForConditionalGeneration._from_config(T5Config(decoder_start_token_id=0, **SHAPES[shape]), **options)
    precision = torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32
    return model.to(device, precision).requires_grad_(False).eval()


def random_backbone(shape: str, attention: str | None = None, device: torch.device | str = "cpu") -> T5Backbone:
    """What ``load_backbone`` gives on a device, with random weights."""
    model = random_model(shape, attention or pick_attention(torch.device(device)), device)
    return T5Backbone(model, SimpleNamespace(pad_token_id=0), shape)


def random_prompt(width: int) -> SoftPrompt:
    """A plain prompt with N(0, 1) rows."""
    return SoftPrompt([torch.randn(PROMPT_LENGTH, width, generator=torch.Generator().manual_seed(1))])


def random_examples(
    tasks: Sequence[str], count: int, vocabulary: int = 2048, seed: int = 0, limit: int = 256
) -> TokenisedExamples:
    """Examples with log-normal source lengths, drawn from the tasks in turn; targets of 2 or 3 tokens."""
    random = np.random.default_rng(seed)
    sources = []
    for index in range(count):
        mean, spread = LENGTHS[tasks[index % len(tasks)]]
        sigma = np.log1p((spread / mean) ** 2)
        length = int(np.clip(round(random.lognormal(np.log(mean) - sigma / 2, sigma**0.5)), 5, limit))
        sources.append(random.integers(3, vocabulary, length).tolist())
    targets = [random.integers(3, vocabulary, random.integers(2, 4)).tolist() for _ in range(count)]
    return TokenisedExamples(Ragged.of(sources), Ragged.of(targets), 0, 0)


def plain_batch(
    tasks: Sequence[TokenisedExamples],
    drawn: Sequence[tuple[int, int]],
    width: int | None,
    device: torch.device | str = "cpu",
) -> Any:
    """Padding as most training scripts do it: to the longest example, or to a fixed width."""
    sources = [torch.from_numpy(tasks[t].sources[i].astype(np.int64)) for t, i in drawn]
    targets = [torch.from_numpy(tasks[t].targets[i].astype(np.int64)) for t, i in drawn]
    ids = torch.nn.utils.rnn.pad_sequence(sources, batch_first=True)
    if width is not None:
        ids = torch.nn.functional.pad(ids, (0, width - ids.shape[1]))
    lengths = torch.tensor([len(source) for source in sources])
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    labels = torch.nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=IGNORED)
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {name: tensor.to(device) for name, tensor in batch.items()}


def stream_of(
    backbone: T5Backbone, tasks: Sequence[TokenisedExamples], sampler: Sampler, prompt_length: int = PROMPT_LENGTH
) -> BatchStream:
    """The batches as a run gets them."""
    cost = backbone.costs.micro_batch if backbone.pads else None
    return BatchStream(tasks, sampler, 0, prompt_length, None, cost, backbone.costs.most_tokens)


def training_options(dropout: bool) -> TrainingOptions:
    """The defaults, but for dropout."""
    return TrainingOptions(dropout=dropout, select="last")


def alternate(contestants: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every contestant in every round, after a round that does not count; A B A B ..."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, run in contestants.items():
            began = clock()
            run()
            if turn:
                seconds[name].append(clock() - began)
    return seconds


def print_ratios(seconds: dict[str, list[float]], ours: str) -> None:
    """Median seconds of every contestant, and the median of its ratios to ours, round by round."""
    for name, values in seconds.items():
        ratios = [theirs / own for theirs, own in zip(values, seconds[ours], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        median = statistics.median(ratios)
        print(f"  {name:48} {statistics.median(values):8.3f} s   {median:5.2f} x ours   ({spread})", flush=True)


def matmul_peak(seconds: float, tiled: bool = False) -> float:
    """Multiply-adds a second of the best of some square float32 products.

    Args:
        seconds: spent on each size.
        tiled: one operand is in oneDNN's tiles beforehand, as frozen weights are; else torch.mm as it is.
    """
    best = 0.0
    for size in (1024, 1536, 2048):
        left, right, out = torch.randn(size, size), torch.randn(size, size), torch.empty(size, size)
        products.tile([right] if tiled else [])
        ends = clock() + seconds
        while clock() < ends:
            began = clock()
            if tiled:
                products.apply(right, left)
            else:
                torch.mm(left, right, out=out)
            best = max(best, size**3 / (clock() - began))
    return best


def describe_machine() -> str:
    """Processor features, cores, memory, versions."""
    flags, memory = "", ""
    if Path("/proc/cpuinfo").exists():
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        flags = " ".join(flag for flag in ("avx2", "avx512f", "amx_tile") if f" {flag}" in text)
        memory = f"{int(Path('/proc/meminfo').read_text(encoding='utf-8').split()[1]) / 2**20:.0f} GiB"
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
    return (
        f"{platform.machine()} {flags}, {torch.get_num_threads()} threads, {memory}; "
        f"Python {platform.python_version()}, {packages}"
    )
