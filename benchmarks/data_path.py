"""From texts to batches: tokenising against ``datasets.map``, the cache, sampling from a large mixture.

    python benchmarks/data_path.py --tokenizer DIR

Every figure is taken in a process of its own, which this program starts, so that peaks of memory are theirs alone.
Contestants take turns. Rows are generated: as long as MNLI's, of words of the tokenizer's vocabulary.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

SIZES = {"mnli": 392_702, "qqp": 362_846, "qnli": 103_743, "sst2": 66_349, "squad": 86_599, "record": 137_000}
"""Training examples of the study's source tasks, one for each answer of ReCoRD."""

BATCH_SIZE = 32
SAMPLERS = {
    "proportional, 32 from up to 6 tasks": ("proportional", 32, 6),
    "uniform_tasks, 32 from up to 6 tasks": ("uniform_tasks", 32, 6),
    "iid, 32 from any tasks": ("iid", 32, None),
    "proportional, 160 from any tasks": ("proportional", 160, None),
}
"""Mode, batch size, most tasks in a batch."""
SECONDS = 3.0


def mebibytes(kibibytes: int) -> float:
    return kibibytes / 1024


def peak_memory() -> float:
    """Of this process, in MiB; and of the largest of its children, if it had any."""
    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return mebibytes(max(own, children))


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What a call gives; its wall time, and the time of all processors, which other programs lengthen less."""
    began, used = time.perf_counter(), processor_seconds()
    result = work()
    return result, {"seconds": time.perf_counter() - began, "processor": processor_seconds() - used}


def processor_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def mnli_texts(tokenizer: Any, rows: int) -> list[str]:
    """Texts of about 40 tokens, words drawn by Zipf's law."""
    from common import LENGTHS

    random = np.random.default_rng(0)
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    words = [piece[1:] for piece, _ in pieces if piece.startswith("▁") and piece[1:].isalpha()]
    # Every sixth word is made of two pieces: real text has words of several tokens too.
    pairs = random.integers(0, len(words), (len(words), 2)).tolist()
    words = [words[i] + words[j] if n % 6 == 5 else words[n] for n, (i, j) in enumerate(pairs)]
    mean, spread = LENGTHS["mnli"]
    sigma = np.log1p((spread / mean) ** 2)
    counts = np.clip(random.lognormal(np.log(0.62 * mean) - sigma / 2, sigma**0.5, rows).round(), 4, 200).astype(int)
    weights = np.cumsum(1 / np.arange(10, 10 + len(words)))
    drawn = np.searchsorted(weights, random.random(counts.sum()) * weights[-1])
    ends = np.concatenate([[0], np.cumsum(counts)]).tolist()
    texts = []
    for begin, end in pairwise(ends):
        middle = begin + 2 * (end - begin) // 3
        premise, hypothesis = (
            " ".join([words[i] for i in drawn[a:b].tolist()]) for a, b in ((begin, middle), (middle, end))
        )
        texts.append(f"mnli premise: {premise.capitalize()}. hypothesis: {hypothesis.capitalize()}.")
    return texts


# --- parts: each is run in a process of its own and returns its figures -------------------------------------


def tokenise_ours(folder: Path, tokenizer_name: str, rows: int) -> dict[str, float]:
    """Tokenise into the cache, or load from it if it is there."""
    os.environ["MULTIPROMPT_CACHE"] = str(folder / "cache")
    from multiprompt.backbone import load_coder
    from multiprompt.data import tokenise_cached
    from multiprompt.examples import TextExample
    from multiprompt.tasks import TASKS

    coder = load_coder(tokenizer_name)
    examples = tuple(
        TextExample(text, label := "012"[i % 3], (label,), f"train:{i}")
        for i, text in enumerate(mnli_texts(coder.tokenizer, rows))
    )
    before = peak_memory()
    tokens, times = timed(lambda: tokenise_cached(examples, TASKS["mnli"], "train", coder))
    assert not tokens.sources.values.flags.writeable, "it must be a memory map"
    return times | {
        "peak": peak_memory(),
        "peak before": before,
        "tokens a row": len(tokens.sources.values) / len(tokens),
        "characters a row": sum(len(example.source) for example in examples) / len(examples),
    }


def write_dataset(folder: Path, tokenizer_name: str, rows: int) -> dict[str, float]:
    """The same rows as a dataset on disk, which a map reads through memory maps."""
    import datasets

    from multiprompt.backbone import load_coder

    texts = mnli_texts(load_coder(tokenizer_name).tokenizer, rows)
    targets = ["012"[i % 3] for i in range(rows)]
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict({"source": texts, "target": targets}).save_to_disk(folder / "rows")
    return {}


def tokenise_datasets(folder: Path, tokenizer_name: str, rows: int) -> dict[str, float]:
    """``datasets.map`` with the same tokenizer, batched, two processes, into an Arrow file."""
    import datasets

    from multiprompt.backbone import load_coder

    datasets.disable_progress_bars()
    tokenizer = load_coder(tokenizer_name).tokenizer
    dataset = datasets.load_from_disk(str(folder / "rows"))

    def encode(batch: dict[str, list[str]]) -> dict[str, Any]:
        options = {"truncation": True, "return_attention_mask": False}
        sources = tokenizer(batch["source"], max_length=256, **options)["input_ids"]
        return {"input_ids": sources, "labels": tokenizer(batch["target"], max_length=8, **options)["input_ids"]}

    options = {"num_proc": 2, "remove_columns": ["source", "target"], "load_from_cache_file": False}
    tokens, times = timed(lambda: dataset.map(encode, batched=True, **options))
    assert len(tokens) == rows
    return times | {"peak": peak_memory()}


def write_mixture(folder: Path, *_: Any) -> dict[str, float]:
    """Token files of the six source tasks: lengths as in ``common.LENGTHS``, random ids."""
    from common import LENGTHS
    from multiprompt.token_files import write_token_file

    random = np.random.default_rng(0)
    for task, size in SIZES.items():
        mean, spread = LENGTHS[task]
        sigma = np.log1p((spread / mean) ** 2)
        sources = np.clip(random.lognormal(np.log(mean) - sigma / 2, sigma**0.5, size).round(), 5, 256)
        targets = random.integers(2, 8 if task in ("squad", "record") else 4, size)
        arrays = {}
        for side, lengths in (("source", sources), ("target", targets)):
            offsets = np.concatenate([[0], np.cumsum(lengths.astype(np.int64))])
            arrays[f"{side}_values"] = random.integers(3, 32_000, offsets[-1], dtype=np.uint16)
            arrays[f"{side}_offsets"] = offsets
        write_token_file(folder / f"{task}.tokens", arrays, {"task": task})
    return {}


def sample_mixture(folder: Path, *_: Any) -> dict[str, float]:
    """Examples a second of the sampler, of padded batches, and of batches cut by length; and memory after all that."""
    import torch

    from multiprompt.backbone.costs import CPU
    from multiprompt.data import BatchStream, Ragged, TaskSampler, TokenisedExamples
    from multiprompt.token_files import open_token_file

    torch.set_num_threads(1)
    tasks = []
    for task in SIZES:
        arrays, _ = open_token_file(folder / f"{task}.tokens")
        source, target = (Ragged(arrays[f"{side}_values"], arrays[f"{side}_offsets"]) for side in ("source", "target"))
        tasks.append(TokenisedExamples(source, target, 0, 0))
    figures = {"examples": float(sum(map(len, tasks)))}
    sampler = TaskSampler([len(task) for task in tasks], BATCH_SIZE, seed=0)
    padded = BatchStream(tasks, sampler, 0, prompt_length=100, micro_batch_cost=None)
    cut = BatchStream(tasks, sampler, 0, prompt_length=100, micro_batch_cost=CPU.micro_batch)
    for name, draw in {"positions": sampler.draw, "padded": padded.__next__, "cut": cut.__next__}.items():
        figures[name] = BATCH_SIZE / seconds_of(draw)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    resident, anonymous = (int(status.split(f"{key}:")[1].split()[0]) for key in ("VmRSS", "RssAnon"))
    mapped = resident_of(folder)
    return figures | {
        "beyond the map": mebibytes(resident - mapped),
        "anonymous": mebibytes(anonymous),
        "map": mebibytes(mapped),
    }


def resident_of(folder: Path) -> int:
    """Resident KiB of this process that are pages of the files in a folder."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if "-" in line.split()[0]:  # the head of a mapping: addresses, ..., file
            inside = line.endswith(".tokens") and str(folder) in line
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


def time_samplers(*_: Any) -> dict[str, float]:
    """Microseconds a batch with 6 and with 160 tasks, in turns; and how far shares are from what is expected."""
    from multiprompt.data import TaskSampler

    few = list(SIZES.values())
    many = np.random.default_rng(1).integers(2_000, 400_000, 160).tolist()
    figures = {}
    for name, (mode, batch_size, most) in SAMPLERS.items():
        samplers = {len(sizes): TaskSampler(sizes, batch_size, 0, mode, max_tasks=most) for sizes in (few, many)}
        rounds = [{tasks: seconds_of(sampler.draw, 0.3) for tasks, sampler in samplers.items()} for _ in range(7)]
        for tasks in samplers:
            figures[f"{name}: {tasks}"] = 1e6 * statistics.median(times[tasks] for times in rounds)
        figures[f"{name}: ratio"] = statistics.median(times[160] / times[6] for times in rounds)
        sampler = TaskSampler(many, batch_size, 0, mode, max_tasks=most)
        counts = np.zeros(160)
        for _ in range(20_000):
            drawn, _ = sampler.draw()
            counts += np.bincount(drawn, minlength=160)
        expected = np.full(160, 1 / 160) if mode == "uniform_tasks" else sampler.rates
        apart = np.abs(counts / counts.sum() - expected)
        figures[f"{name}: largest"] = 100 * float(apart.max())
        figures[f"{name}: sum"] = 100 * float(apart.sum())
    return figures


def seconds_of(draw: Callable[[], Any], seconds: float = SECONDS) -> float:
    """Time of one draw, by the time of the processor: these parts run on one thread."""
    for _ in range(100):
        draw()
    began, drawn = time.process_time(), 0
    while (taken := time.process_time() - began) < seconds:
        for _ in range(50):
            draw()
        drawn += 50
    return taken / drawn


PARTS: dict[str, Callable[..., dict[str, float]]] = {
    part.__name__: part
    for part in (tokenise_ours, write_dataset, tokenise_datasets, write_mixture, sample_mixture, time_samplers)
}

# --- the program ---------------------------------------------------------------------------------------------


def run(part: str, folder: Path, options: argparse.Namespace, threads: int = 1) -> dict[str, float]:
    """The figures of a part, from a new process."""
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder)]
    command += ["--tokenizer", options.tokenizer, "--rows", str(options.rows)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, encoding="utf-8")
    return json.loads(done.stdout.splitlines()[-1])


def print_tokenising(folder: Path, options: argparse.Namespace) -> None:
    run("write_dataset", folder, options)
    ratios = []
    for turn in range(options.rounds):
        ours = run("tokenise_ours", folder, options)
        theirs = run("tokenise_datasets", folder, options)
        loaded = run("tokenise_ours", folder, options)
        for path in (folder / "cache").rglob("*.tokens"):
            size = path.stat().st_size / 1e6
            path.unlink()
        ratios.append(theirs["seconds"] / ours["seconds"])
        if not turn:
            print(
                f"tokenise and cache {options.rows:,} rows of {ours['tokens a row']:.1f} tokens "
                f"({ours['characters a row']:.0f} characters)"
            )
        for name, figures in (("multiprompt", ours), ("datasets.map, 2 processes", theirs), ("from the cache", loaded)):
            print(
                f"  {name:28} {figures['seconds']:6.2f} s  {options.rows / figures['seconds']:9,.0f} rows/s  "
                f"({figures['processor']:.2f} s of processors)  peak {figures['peak']:5.0f} MiB"
            )
        before = ours["peak before"]
        print(
            f"  ratio {ratios[-1]:.2f}; file {size:.0f} MB; {before:.0f} MiB of the peak are libraries and texts",
            flush=True,
        )
    if len(ratios) > 1:
        print(f"  ratio, median: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def print_sampling(folder: Path, options: argparse.Namespace) -> None:
    run("write_mixture", folder, options)
    figures = run("sample_mixture", folder, options)
    print(f"mixture of {figures['examples']:,.0f} examples, batches of {BATCH_SIZE}, one thread: examples/s")
    for name, what in (("positions", "positions only"), ("padded", "padded tensors"), ("cut", "tensors cut by length")):
        print(f"  {what:28} {figures[name]:10,.0f}")
    print(
        f"  resident: {figures['beyond the map']:.0f} MiB beyond the memory map ({figures['anonymous']:.0f} of them "
        f"anonymous, the rest libraries), {figures['map']:.0f} of the map",
        flush=True,
    )
    print("sampler, microseconds a batch; shares after 20,000 batches")
    figures = run("time_samplers", folder, options)
    for name in SAMPLERS:
        six, many, ratio, largest, total = (
            figures[f"{name}: {what}"] for what in ("6", "160", "ratio", "largest", "sum")
        )
        print(
            f"  {name:38} 6 tasks {six:5.1f}, 160 tasks {many:5.1f}: {ratio:.2f}; shares of 160 at most {largest:.3f} "
            f"points off, {total:.2f} together"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizer", default="embedded", help="a backbone's name or folder; a real T5's says most")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(PARTS[options.part](options.folder, options.tokenizer, options.rows)))
        return
    from common import describe_machine

    print(describe_machine(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        print_tokenising(Path(name), options)
        print_sampling(Path(name), options)


if __name__ == "__main__":
    main()
