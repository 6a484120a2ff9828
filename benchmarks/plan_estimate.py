"""What `multiprompt plan` says of a run, and what the run then takes: time, memory, disk.

Plans an experiment and runs it, each in a process of its own, imports and report included. With one thread the time is
that of the processor, which other programs do not lengthen; it leaves out waiting for the disk. The memory is the peak
of the process; the disk is what lies in the run folder, without its locks.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

# Nothing heavy is imported here: a process begins with the peak of the one that started it.

CUT_DOWN = (
    "data.max_train=500",
    "data.max_test=300",
    "data.max_dev=100",
    "teachers.training.steps=20",
    "source.training.steps=20",
    "targets.tasks=[mini-rte, mini-mrpc]",
    "targets.training.steps=20",
    "targets.few_shot_training.steps=10",
    "targets.methods.spot.early_steps=10",
)
"""Of the recipe all-methods."""


@dataclass(frozen=True)
class Figures:
    """Seconds, peak bytes of memory, bytes on disk; and the seconds that finding them out took."""

    seconds: float
    memory: float
    disk: float
    spent: float


def clock() -> float:
    """Wall time; with a single thread the time of the processor."""
    return time.process_time() if os.environ.get("OMP_NUM_THREADS") == "1" else time.monotonic()


def planned(config: str, overrides: Sequence[str], folder: Path) -> Figures:
    """What is estimated."""
    began = clock()
    from multiprompt.cli.configuration import load_checked
    from multiprompt.forecast.estimate import estimate_run

    imported = clock() - began
    estimate = estimate_run(load_checked(config, overrides), folder, clock=clock)
    seconds = estimate.seconds(left=True)
    assert seconds is not None, "it was measured"
    return Figures(seconds + imported, estimate.memory or 0, estimate.bytes, clock() - began)


def done(config: str, overrides: Sequence[str], folder: Path) -> Figures:
    """What it took."""
    began = clock()
    from multiprompt.cli.configuration import load_checked
    from multiprompt.reports import write_report
    from multiprompt.runs import run_experiment

    run_experiment(load_checked(config, overrides), folder)
    write_report(folder)
    seconds = clock() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".lock")]
    return Figures(seconds, peak, sum(path.stat().st_size for path in files), seconds)


def apart(function: Callable[..., Figures], *arguments: object) -> Figures:
    """The value of a function in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", nargs="?", default="all-methods")
    parser.add_argument("overrides", nargs="*", help="KEY=VALUE; without a configuration, a cut-down all-methods")
    arguments = parser.parse_args()
    overrides = arguments.overrides or (CUT_DOWN if arguments.config == "all-methods" else ())
    with tempfile.TemporaryDirectory() as place:
        rest = arguments.config, overrides, Path(place) / "run"
        estimate, truth = apart(planned, *rest), apart(done, *rest)
    print(f"planning took {estimate.spent:.1f} s")
    for name, unit in (("seconds", 1.0), ("memory", 1e6), ("disk", 1e6)):
        said, was = getattr(estimate, name) / unit, getattr(truth, name) / unit
        what = name if name == "seconds" else f"{name}, MB"
        print(f"  {what:12} estimated {said:9.2f}   taken {was:9.2f}   ratio {said / was:.2f}")


if __name__ == "__main__":
    main()
