"""Print what every stage of every shipped recipe and study is called, as JSON: to compare two states of the code.

    python tools/stage_identities.py > after.json

An experiment whose backbone and data are in the package gives the identities of its stages; another one the signatures
of ``forecast/hours.py``, which hold the options alone. An experiment that gives neither is told on standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from multiprompt.backbone.published import SHIPPED
from multiprompt.config import load_experiment
from multiprompt.errors import MultipromptError
from multiprompt.forecast.hours import costs_of
from multiprompt.options import Experiment
from multiprompt.plan import plan_stages
from multiprompt.recipes.shipped import recipe_names, recipe_path
from multiprompt.runs.graph import build_graph
from multiprompt.runs.materials import load_materials
from multiprompt.studies import experiments_of, load_study, study_names
from multiprompt.training import SILENT


def experiments() -> Iterator[tuple[str, Experiment]]:
    """Every shipped experiment with a name that is its own."""
    for name in recipe_names():
        yield f"recipe {name}", load_experiment(recipe_path(name))
    for scale in ("mini", "paper"):
        for study in study_names(scale):
            for run, experiment in experiments_of(study, load_study(study, scale), scale).items():
                yield f"study {scale} {study} {run}", experiment


def identities(experiment: Experiment) -> dict[str, str]:
    """Of every stage of every seed, by key."""
    stages = plan_stages(experiment)
    inputs = load_materials(experiment, stages, SILENT)
    return {key: node.identity for key, node in build_graph(inputs, experiment.seeds, stages).items()}


def signatures(experiment: Experiment) -> dict[str, str]:
    """Of every stage of one seed, by name."""
    return {cost.stage.name: cost.signature for cost in costs_of(experiment)}


def is_shipped(experiment: Experiment) -> bool:
    """Whether the package has all that the experiment needs."""
    tasks = {task for stage in plan_stages(experiment) for task in stage.tasks}
    return experiment.backbone.name in SHIPPED and all(task.startswith("mini-") for task in tasks)


def main() -> None:
    """Print all of them."""
    found = {}
    for name, experiment in experiments():
        try:
            found[name] = identities(experiment) if is_shipped(experiment) else signatures(experiment)
        except MultipromptError as error:
            print(f"{name}: {error}", file=sys.stderr)
    json.dump(found, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
