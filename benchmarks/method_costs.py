"""Speed and memory of training every method of a finished run, each in a process of its own.

Every method starts from what the run's earlier stages have learned and trains on one of its target tasks with the
run's batches. Printed are training examples per second (the median step; methods take turns, round by round), the
largest resident memory of the process, and how far that is above what it held before the first step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import forget_peak, resident
from multiprompt.plan import plan_stages
from multiprompt.runs.execute import open_node
from multiprompt.runs.graph import build_graph, node_key
from multiprompt.runs.materials import load_materials
from multiprompt.runs.run_folder import read_run_config
from multiprompt.training import SILENT, LiveTraining, step

WARM_UP = 3


def measure(folder: Path, task: str, method: str, steps: int) -> dict[str, float]:
    """Train a few steps of one method."""
    experiment = read_run_config(folder)
    stages = plan_stages(experiment)
    seed = experiment.seeds[0]
    wanted = next(s for s in stages if s.kind == "target" and (s.method, s.tasks, s.shots) == (method, (task,), "all"))
    inputs = load_materials(experiment, stages, SILENT)
    nodes = build_graph(inputs, [seed], stages)
    node = nodes[node_key(seed, wanted.name)]
    with tempfile.TemporaryDirectory() as scratch:
        run_folder = Path(scratch)
        for needed in node.needs:
            (run_folder / needed).parent.mkdir(parents=True, exist_ok=True)
            (run_folder / needed).symlink_to((folder / needed).resolve(), target_is_directory=True)
        opened = open_node(inputs, node, run_folder, SILENT)
        before = resident("VmRSS")
        with opened.method:
            run = LiveTraining(opened.training())
            seconds = []
            forget_peak()
            for _ in range(WARM_UP + steps):
                began = time.perf_counter()
                (result,) = step([run]).values()
                run.after_step(result, 0.0)
                seconds.append((time.perf_counter() - began) / result.examples)
        peak = resident("VmHWM")
    return {"speed": 1 / statistics.median(seconds[WARM_UP:]), "peak": peak, "growth": peak - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of a run with targets")
    parser.add_argument("--task", default="mini-rte")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="measure this method in this process and print JSON")
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.folder, arguments.task, arguments.only, arguments.steps)))
        return
    targets = read_run_config(arguments.folder).targets
    assert targets is not None, "the run has targets"
    found: dict[str, list[dict[str, float]]] = {name: [] for name in targets.methods.chosen()}
    for _ in range(arguments.rounds):
        for name, rounds in found.items():
            command = [sys.executable, __file__, str(arguments.folder), "--task", arguments.task, "--only", name]
            done = subprocess.run(
                [*command, "--steps", str(arguments.steps)], capture_output=True, encoding="utf-8", check=True
            )
            rounds.append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{'method':26} {'examples/s':>10} {'peak MiB':>9} {'growth MiB':>11}")
    for name, rounds in found.items():
        speed, peak, growth = (statistics.median(each[key] for each in rounds) for key in ("speed", "peak", "growth"))
        print(f"{name:26} {speed:10.0f} {peak:9.0f} {growth:11.0f}")


if __name__ == "__main__":
    main()
