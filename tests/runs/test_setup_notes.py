"""What is said about backbone and rates before a training begins."""

from __future__ import annotations

import pytest

from multiprompt.backbone.published import PUBLISHED, note_on_model
from multiprompt.config import build_experiment, load_experiment
from multiprompt.recipes.shipped import recipe_names, recipe_path
from multiprompt.runs.setup_notes import notes_on_setup


def notes(backbone: str, methods: dict, **sections) -> list[str]:
    values = {"name": "x", "backbone": {"name": backbone}, "targets": {"tasks": ["mini-rte"], "methods": methods}}
    return notes_on_setup(build_experiment(values | sections))


@pytest.mark.parametrize("backbone", ["embedded", "embedded-small"])
def test_a_default_rate_for_published_models_is_said_with_the_one_that_was_found(backbone):
    (note,) = notes(backbone, {"lora": {}, "prompt_tuning": {"learning_rate": 0.1}})
    assert f"the backbone is {backbone}" in note
    assert "targets.methods.lora.learning_rate is 0.0003, found was 0.003." in note
    assert "prompt_tuning" not in note
    assert "recipe all-methods" in note
    assert notes(backbone, {"lora": {"learning_rate": 0.001}}) == []
    assert (
        notes(backbone, {"spot": {}}, source={"tasks": ["mini-sst2", "mini-qqp"], "learning_rate": 0.02})[0].count(
            "found was"
        )
        == 2
    ), "teachers and factors; for spot the default is what was found"


def test_rates_of_stages_that_do_not_run_are_not_named():
    source = {"tasks": ["mini-sst2", "mini-qqp"], "distillation": {"kind": "none"}}
    (note,) = notes("embedded", {"mpt": {}}, source=source)
    assert "teachers" not in note
    assert "source.factor_learning_rate is 0.3, found was 0.01" in note
    assert "targets.methods.mpt.factor_learning_rate is 0.4, found was 0.01" in note


def test_other_models_have_the_rates_that_were_published_for_them():
    assert notes("t5-base", {"lora": {}}) == []


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_have_nothing_to_say(name):
    assert notes_on_setup(load_experiment(recipe_path(name))) == []


def test_t5_v1_1_that_is_not_adapted_is_said():
    told = {name for name in PUBLISHED if note_on_model(name)}
    assert told == {f"google/t5-v1_1-{size}" for size in ("small", "base", "large")}
    assert "google/t5-large-lm-adapt" in str(note_on_model("google/t5-v1_1-large"))
    assert note_on_model("/models/t5-v1_1-base/")
    assert note_on_model("/models/t5-v1_1-base-lm-adapt") is None
    assert notes("google/t5-v1_1-base", {"lora": {}}) == [note_on_model("google/t5-v1_1-base")]
