"""Run folders as a recipe would leave them, written by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

from multiprompt.config import build_experiment, to_yaml
from multiprompt.evaluation.results import Score, write_results
from multiprompt.files import write_json, write_text
from multiprompt.plan import plan_stages

CONFIGURATION = {
    "name": "small <comparison>",
    "seeds": [1, 2],
    "source": {"tasks": ["mini-sst2", "mini-mnli"]},
    "targets": {
        "tasks": ["mini-rte", "mini-cola"],
        "methods": {"mpt": {}, "prompt_tuning": {}},
        "shots": [16, "all"],
    },
}


def fake_score(**changes) -> Score:
    values = {
        "task": "mini-rte",
        "method": "mpt",
        "seed": 1,
        "shots": "all",
        "metric": "accuracy",
        "value": 71.25,
        "metrics": {"accuracy": 71.25},
        "n": 400,
        "majority": 52.5,
        "invalid": 0.0,
        "interval": (67.0, 75.5),
        "parameters": 4_321,
        "steps": 300,
        "best_step": 200,
        "dev_value": 73.0,
        "seconds": 61.5,
        "examples_per_second": 120.5,
        "truncated": 0.0,
        "task_version": 1,
        "fingerprint": "abc",
        "notes": (),
    }
    return Score(**(values | changes))


def fake_scores(seeds=(1, 2)) -> list[Score]:
    """Targets, teachers and students; one value below the majority, one with many invalid outputs."""
    scores = []
    for seed in seeds:
        for task, base in (("mini-sst2", 88.0), ("mini-mnli", 64.0)):
            scores.append(fake_score(task=task, method="teacher", seed=seed, value=base + seed, interval=(60, 92)))
            scores.append(fake_score(task=task, method="student", seed=seed, value=base - 1, interval=(60, 91)))
        for shots, lift in ((16, 0.0), ("all", 9.0)):
            for method, base in (("mpt", 66.0), ("prompt_tuning", 60.0)):
                value = base + lift + seed
                scores.append(
                    fake_score(method=method, seed=seed, shots=shots, value=value, interval=(value - 4.5, value + 4))
                )
                low = method == "prompt_tuning" and shots == 16
                value = 0.0 if low else base / 2 + lift
                scores.append(
                    fake_score(
                        task="mini-cola",
                        method=method,
                        metric="matthews",
                        metrics={"matthews": value, "accuracy": 80.0},
                        majority=0.0,
                        seed=seed,
                        shots=shots,
                        value=value,
                        interval=(value - 6, value + 7),
                        invalid=0.081 if low else 0.01,
                        notes=("mini-cola: 3 of 400 test sources cut to 256 tokens & more",),
                    )
                )
    return scores


def fake_log(steps: int, rate: float) -> str:
    lines = []
    for step in range(10, steps + 1, 10):
        loss = 0.4 + 3.1 * math.exp(-rate * step / 60) + 0.08 * math.sin(step * 7.3)
        lines.append({"step": step, "loss": round(loss, 6), "terms": {"task": loss}, "tasks": {}})
        if step % 100 == 0:
            lines.append({"step": step, "dev": 55 + 20 * (1 - math.exp(-rate * step / 80))})
    return "".join(json.dumps(line) + "\n" for line in lines)


def write_fake_run(folder: Path, finished: bool = True, **changes) -> Path:
    experiment = build_experiment(CONFIGURATION | changes)
    write_text(folder / "config.yaml", to_yaml(experiment))
    if not finished:
        write_text(folder / "seed-1" / "teacher-mini-sst2" / "log.jsonl", fake_log(40, 1.0) + '{"step": 50, "lo')
        return folder
    write_json(
        folder / "environment.json",
        {"python": "3.11.9", "packages": {"torch": "2.9"}, "seeds": [1, 2], "backbone": {"name": "embedded"}},
    )
    write_results(folder / "results.json", experiment.name, fake_scores(experiment.seeds))
    for seed in experiment.seeds:
        for position, name in enumerate(stage.name for stage in plan_stages(experiment)):
            stage = folder / f"seed-{seed}" / name
            write_text(stage / "log.jsonl", fake_log(600, 1 + position / 7 + seed / 5))
            write_json(stage / "result.json", {"version": 1, "identity": "x", "scores": []})
    return folder
