"""Learning rates of all methods on the embedded model, found without a look at the target tasks.

Each held-out source task plays the target in turn: the teachers and source prompts of the other five are what methods
start from. Every method of the recipe has the same number of tries, each three times the one before, and the recipe's
budget of steps; a try counts by its dev scores over held-out tasks and shots. Stages that a try has in common with the
first one are taken from its folder, and an interrupted search goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from pathlib import Path
from typing import Any

import torch

from multiprompt.config import load_experiment
from multiprompt.evaluation.results import read_results
from multiprompt.options import Experiment, Methods
from multiprompt.recipes import recipe_path
from multiprompt.runs import run_experiment

FACTORS = (1, 3, 10, 30)
LOWEST: dict[str, dict[str, float]] = {
    "mpt": {"learning_rate": 0.002, "factor_learning_rate": 0.001},
    "prompt_tuning": {"learning_rate": 0.01},
    "fine_tuning": {"learning_rate": 1e-4},
    "spot": {"learning_rate": 0.01},
    "attempt": {"learning_rate": 0.01, "attention_learning_rate": 0.002},
    "adapters": {"learning_rate": 0.001},
    "bitfit": {"learning_rate": 0.001},
    "hyperformer": {"learning_rate": 0.001},
    "hyperdecoder": {"learning_rate": 0.001},
    "dept": {"learning_rate": 0.01, "matrix_learning_rate": 0.0002},
    "decomposed_prompt_tuning": {"learning_rate": 0.01},
    "lora": {"learning_rate": 0.001},
    "ia3": {"learning_rate": 0.003},
    "prefix_tuning": {"learning_rate": 0.01},
}
"""The lowest rates that are tried; where a method has two, both rise together."""


def try_of(base: Experiment, held_out: str, factor: int) -> Experiment:
    """The recipe with one source task as its target, and all rates ``factor`` times the lowest."""
    assert base.source, "the recipe has source tasks"
    assert base.targets, "the recipe has targets"
    chosen: dict[str, Any] = {}
    for name, options in base.targets.methods.chosen().items():
        rates = {key: float(f"{factor * rate:.3g}") for key, rate in LOWEST[name].items()}
        chosen[name] = dataclasses.replace(options, **rates)
    others = tuple(task for task in base.source.tasks if task != held_out)
    return dataclasses.replace(
        base,
        data=dataclasses.replace(base.data, max_dev=500, max_test=50),  # the dev score counts
        source=dataclasses.replace(base.source, tasks=others),
        targets=dataclasses.replace(base.targets, tasks=(held_out,), methods=Methods(**chosen)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for the runs; goes on with what is there")
    parser.add_argument("--recipe", default="all-methods")
    parser.add_argument("--held-out", nargs="+", default=["mini-qqp", "mini-qnli"])
    arguments = parser.parse_args()
    base = load_experiment(recipe_path(arguments.recipe))
    dev: dict[str, dict[int, list[float]]] = {}
    for held_out in arguments.held_out:
        for factor in FACTORS:
            folder = arguments.folder / f"{held_out}-{factor}"
            experiment = try_of(base, held_out, factor)
            first = arguments.folder / f"{held_out}-{FACTORS[0]}"
            run_experiment(experiment, folder, resume=folder.exists(), reuse=() if folder == first else (first,))
            for score in read_results(folder / "results.json")[1]:
                if score.task == held_out and score.dev_value is not None:
                    dev.setdefault(score.method, {}).setdefault(factor, []).append(score.dev_value)
            print(f"{held_out}, {factor} times the lowest rates: done", flush=True)
    print(f"mean dev score on {', '.join(arguments.held_out)}, {torch.get_num_threads()} threads")
    print(f"{'method':26} {'lowest rate':>11}  " + " ".join(f"x{factor:<6}" for factor in FACTORS) + "best")
    for method, by_factor in dev.items():
        means = {factor: statistics.mean(values) for factor, values in by_factor.items()}
        best = max(means, key=lambda factor: means[factor])
        rates = ", ".join(f"{name} {best * rate:.3g}" for name, rate in LOWEST[method].items())
        shown = " ".join(f"{means[factor]:<7.1f}" for factor in FACTORS)
        print(f"{method:26} {LOWEST[method]['learning_rate']:>11}  {shown}{rates}")


if __name__ == "__main__":
    main()
