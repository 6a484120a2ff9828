"""Learning rates that are defaults for another kind of model than the backbone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from multiprompt.backbone.published import SHIPPED, note_on_model
from multiprompt.config import load_experiment
from multiprompt.options import Experiment
from multiprompt.recipes.shipped import recipe_path

FOUND_IN = "all-methods"
"""The recipe with a rate for every method that was found on an embedded model."""


def notes_on_setup(experiment: Experiment) -> list[str]:
    """What should be known about backbone and rates before anything is trained."""
    name = experiment.backbone.name
    notes = [*filter(None, (note_on_model(name),))]
    others = list(_other_rates(experiment)) if name in SHIPPED else []
    if others:
        notes.append(
            f"learning rates that are defaults for the published models of the study, while the backbone is {name}: "
            f"{'; '.join(others)}. With such a rate the model may learn nothing; the others were found on the embedded "
            f"model (recipe {FOUND_IN})"
        )
    return notes


def _other_rates(experiment: Experiment) -> Iterator[str]:
    """Every rate that is its default, where another one was found."""
    found = load_experiment(recipe_path(FOUND_IN))
    sections: list[tuple[str, Any, Any]] = []
    if experiment.source is not None:
        distilled = experiment.source.distillation.kind != "none"
        sections += [("teachers", experiment.teachers, found.teachers)] * distilled
        sections.append(("source", experiment.source, found.source))
    if experiment.targets is not None and found.targets is not None:
        known = found.targets.methods.chosen()
        for method, options in experiment.targets.methods.chosen().items():
            sections.append((f"targets.methods.{method}", options, known[method]))
    for where, options, better in sections:
        for option in dataclasses.fields(options):
            if option.name.endswith("learning_rate"):
                value, other = getattr(options, option.name), getattr(better, option.name)
                if value == option.default != other:
                    yield f"{where}.{option.name} is {value:g}, found was {other:g}"
