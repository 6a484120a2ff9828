"""What every shipped study would do, without running it: seeds, stages, steps, and the numbers its methods train."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from multiprompt.backbone import outline_backbone
from multiprompt.forecast.hours import costs_of
from multiprompt.forecast.parameters import trained_numbers
from multiprompt.options import Experiment, SpotOptions
from multiprompt.plan import plan_stages
from multiprompt.runs.stage_options import stage_options
from multiprompt.studies import SCALES, experiments_of, load_study, study_names
from multiprompt.tasks import TASKS
from studies.shipped import shipped

PLANNED = {
    "mini/table1/single": (5, 88, 12_980),
    "mini/table1/glue": (5, 12, 4380),
    "mini/table1/glue-named": (5, 2, 1200),
    "mini/table1/superglue": (5, 12, 3580),
    "mini/table1/superglue-named": (5, 2, 800),
    "mini/table2/single": (5, 56, 8580),
    "mini/table3/few": (5, 152, 12_960),
    "mini/table4/few": (10, 127, 11_340),
    "mini/table4/consistent": (5, 67, 6540),
    "mini/table4/no-qqp": (10, 18, 2450),
    "mini/table4/no-qnli": (10, 18, 2450),
    "mini/table5/text": (5, 10, 2940),
    "mini/table6/both": (5, 15, 2660),
    "mini/table6/decomposition": (5, 9, 1160),
    "mini/table6/distillation": (5, 15, 2660),
    "mini/table6/neither": (5, 9, 1160),
    "mini/table7/six": (5, 19, 3120),
    "mini/table7/three": (5, 16, 2250),
    "mini/table7/twelve": (5, 25, 4860),
    "mini/figure4/small": (5, 28, 4980),
    "mini/figure4/base": (5, 28, 4980),
    "mini/figure5/l20": (5, 15, 2940),
    "mini/figure5/l5": (5, 15, 2940),
    "mini/figure5/l60": (5, 15, 2940),
    "mini/ablations/full": (5, 15, 2660),
    "mini/ablations/no-hidden": (5, 15, 2660),
    "mini/ablations/distance": (5, 15, 2660),
    "mini/ablations/shared": (5, 15, 2660),
    "mini/ablations/task": (5, 15, 2660),
    "mini/ablations/one-rate": (5, 15, 2660),
    "mini/ablations/no-sampling": (5, 15, 2660),
    "paper/table1/single": (3, 111, 2_893_657),
    "paper/table1/spot-mnli": (3, 20, 841_581),
    "paper/table1/glue": (3, 13, 2_295_171),
    "paper/table1/superglue": (3, 13, 601_677),
    "paper/table2/single": (3, 71, 1_464_573),
    "paper/table2/spot-mnli": (3, 15, 644_569),
    "paper/table3/few": (1, 730, 1_684_719),
    "paper/table3/spot-mnli": (1, 97, 611_235),
    "paper/table4/few": (1, 787, 1_301_235),
    "paper/table5/large": (3, 11, 1_490_233),
    "paper/table6/both": (3, 12, 539_534),
    "paper/table6/decomposition": (3, 6, 192_044),
    "paper/table6/distillation": (3, 12, 539_534),
    "paper/table6/neither": (3, 6, 192_044),
    "paper/table7/six": (3, 15, 644_569),
    "paper/table7/twelve": (3, 21, 773_441),
    "paper/figure4/small": (3, 22, 195_270),
    "paper/figure4/base": (3, 22, 610_220),
    "paper/figure4/large": (3, 22, 1_627_266),
    "paper/figure5/l100": (3, 17, 557_833),
    "paper/figure5/l200": (3, 17, 557_833),
    "paper/figure5/l300": (3, 17, 557_833),
    "paper/figure5/l400": (3, 17, 557_833),
    "paper/figure5/l300-table2": (3, 15, 644_569),
    "paper/ablations/full": (3, 12, 539_534),
    "paper/ablations/no-hidden": (3, 12, 539_534),
    "paper/ablations/distance": (3, 12, 539_534),
    "paper/ablations/shared": (3, 12, 539_534),
    "paper/ablations/task": (3, 12, 539_534),
    "paper/ablations/no-sampling": (3, 12, 539_534),
}
"""Seeds, and stages and steps of each of them, by scale, study and run.

A change to a base or to a default changes every study that is built on it, and is seen here. By hand: mini/table6/both
has 6 teachers of 250 steps, a source prompt of 240, and 4 tasks of 150 and of 80 steps: 15 stages, 2,660 steps. In
paper/table3/few three methods begin with 5 epochs of GLUE's 946,118 rows, 147,831 steps of 32 each, and only there do
stages begin so.
"""

TRAINED = {
    ("embedded-small", "mpt", 20, 1): 1364,
    ("embedded-small", "prompt_tuning", 20, 1): 1280,
    ("embedded-small", "fine_tuning", 20, 1): 349_312,
    ("embedded-small", "spot", 20, 1): 1280,
    ("embedded-small", "attempt", 20, 1): 2944,
    ("embedded-small", "adapters", 20, 1): 11_856,
    ("embedded-small", "bitfit", 20, 1): 5248,
    ("embedded-small", "mpt", 20, 6): 1784,
    ("embedded-small", "fine_tuning", 20, 6): 349_312,
    ("embedded-small", "attempt", 20, 6): 9344,
    ("embedded-small", "adapters", 20, 6): 66_656,
    ("embedded-small", "hyperformer", 20, 6): 47_008,
    ("embedded-small", "hyperdecoder", 20, 6): 60_452,
    ("embedded-small", "mpt", 20, 4): 1616,
    ("embedded-small", "fine_tuning", 20, 4): 349_312,
    ("embedded-small", "attempt", 20, 4): 6784,
    ("embedded-small", "adapters", 20, 4): 44_736,
    ("embedded-small", "hyperformer", 20, 4): 46_976,
    ("embedded-small", "hyperdecoder", 20, 4): 60_452,
    ("embedded-small", "hyperformer", 20, 1): 46_928,
    ("embedded", "mpt", 20, 1): 2036,
    ("embedded", "prompt_tuning", 20, 1): 1920,
    ("embedded", "fine_tuning", 20, 1): 843_520,
    ("embedded", "attempt", 20, 1): 4416,
    ("embedded", "adapters", 20, 1): 30_480,
    ("embedded-small", "mpt", 5, 1): 389,
    ("embedded-small", "prompt_tuning", 5, 1): 320,
    ("embedded-small", "mpt", 60, 1): 3964,
    ("embedded-small", "prompt_tuning", 60, 1): 3840,
    ("embedded-small", "shared_only", 20, 1): 1280,
    ("embedded-small", "task_only", 20, 1): 84,
    ("t5-base", "mpt", 100, 1): 77_668,
    ("t5-base", "prompt_tuning", 100, 1): 76_800,
    ("t5-base", "fine_tuning", 100, 1): 222_903_552,
    ("t5-base", "spot", 100, 1): 76_800,
    ("t5-base", "attempt", 100, 1): 231_936,
    ("t5-base", "adapters", 100, 1): 1_855_104,
    ("t5-base", "bitfit", 100, 1): 280_960,
    ("t5-base", "mpt", 100, 8): 83_744,
    ("t5-base", "fine_tuning", 100, 8): 222_903_552,
    ("t5-base", "attempt", 100, 8): 769_536,
    ("t5-base", "adapters", 100, 8): 14_507_520,
    ("t5-base", "hyperformer", 100, 8): 5_211_056,
    ("t5-base", "hyperdecoder", 100, 8): 14_078_008,
    ("t5-base", "mpt", 100, 5): 81_140,
    ("t5-base", "fine_tuning", 100, 5): 222_903_552,
    ("t5-base", "attempt", 100, 5): 539_136,
    ("t5-base", "adapters", 100, 5): 9_085_056,
    ("t5-base", "hyperformer", 100, 5): 5_210_864,
    ("t5-base", "hyperdecoder", 100, 5): 14_078_008,
    ("t5-base", "hyperformer", 100, 1): 5_210_608,
    ("t5-large", "mpt", 100, 1): 103_524,
    ("t5-large", "prompt_tuning", 100, 1): 102_400,
    ("t5-small", "mpt", 100, 1): 51_812,
    ("t5-small", "prompt_tuning", 100, 1): 51_200,
    ("t5-small", "fine_tuning", 100, 1): 60_506_624,
    ("t5-small", "attempt", 100, 1): 154_624,
    ("t5-small", "adapters", 100, 1): 422_272,
    ("t5-large", "fine_tuning", 100, 1): 737_668_096,
    ("t5-large", "attempt", 100, 1): 309_248,
    ("t5-large", "adapters", 100, 1): 6_517_760,
    ("t5-base", "mpt", 200, 1): 154_568,
    ("t5-base", "prompt_tuning", 200, 1): 153_600,
    ("t5-base", "mpt", 300, 1): 231_468,
    ("t5-base", "prompt_tuning", 300, 1): 230_400,
    ("t5-base", "mpt", 400, 1): 308_368,
    ("t5-base", "prompt_tuning", 400, 1): 307_200,
    ("t5-base", "shared_only", 100, 1): 76_800,
    ("t5-base", "task_only", 100, 1): 868,
}
"""Trained numbers of all tasks of a training together.

By backbone, method (of mpt what it adapts, unless it is both), rows of the prompt and tasks. By hand: a prompt has
20 x 64, u and v of a task 20 + 64. Those of the embedded models are what runs of the studies reported, those of
HyperFormer with the layer norms added: 64 for each of 2 x 3 + 3 x 2 + 2.
"""


@cache
def runs() -> dict[str, Experiment]:
    """Every run of every study, by scale, study and run."""
    return {
        f"{scale}/{name}/{run}": experiment
        for scale in SCALES
        for name in study_names(scale)
        for run, experiment in shipped(name, scale).items()
    }


def test_every_run_has_its_stages_and_steps():
    planned = {}
    for run, experiment in runs().items():
        costs = costs_of(experiment)
        planned[run] = (len(experiment.seeds), len(costs), sum(cost.steps for cost in costs))
    assert planned == PLANNED


@pytest.mark.parametrize("short", ["t5-small", "t5-base", "t5-large"])
def test_a_full_name_of_the_hub_costs_the_same(short):
    table = load_study("table3", "paper")
    costs = {
        name: [
            [cost.operations for cost in costs_of(experiment)]
            for experiment in experiments_of("table3", table, "paper", [f"backbone.name={name}"]).values()
        ]
        for name in (short, f"google-t5/{short}")
    }
    assert costs[short] == costs[f"google-t5/{short}"]
    assert all(operations for stages in costs[short] for operations in stages)


EVALUATIONS = {
    "cb": (20, 8),  # 156 steps, 8 an epoch: every 20
    "wsc": (20, 18),
    "rte": (78, 20),  # 1,556 steps: once an epoch
    "mrpc": (115, 20),
    "stsb": (180, 20),
    "boolq": (295, 20),
    "cola": (267, 21),  # 20 epochs are 5,344 steps, and 20 times 267 5,340
    "wic": (170, 20),
    "multirc": (500, 18),  # 8,513 steps; an epoch has 851
    "mnli": (500, 246),
}
"""Steps between the looks at the dev set and how many there are, on the tasks of Table 1 at the paper's scale."""


def test_dev_rows_are_looked_at_often_enough_to_choose():
    experiment = runs()["paper/table1/single"]
    found = {}
    for stage in plan_stages(experiment):
        if stage.method == "mpt" and stage.tasks[0] in EVALUATIONS:
            task = TASKS[stage.tasks[0]]
            size = task.sizes()["train"]
            options = stage_options(experiment, stage, [task], [size])
            steps = options.training.steps_for(size, options.default_epochs)
            assert options.training.selection(steps) == "full-dev"
            found[task.name] = options.training.evaluate_every, options.training.evaluations(steps)
    assert found == EVALUATIONS


def test_few_examples_have_their_looks_at_the_dev_set_every_50_steps():
    for run in ("paper/table3/few", "paper/table4/few"):
        experiment = runs()[run]
        assert experiment.targets is not None
        for k in (4, 16, 32):
            assert experiment.targets.few_shot_training.in_steps(k).evaluate_every == 50


def test_few_examples_of_table_3_start_where_the_quoted_ones_do():
    few = runs()["paper/table3/few"]
    needs = {(stage.method, stage.tasks[0]): stage.needs for stage in plan_stages(few) if stage.shots == 4}
    tasks = {stage.name: stage.tasks for stage in plan_stages(few)}
    assert few.targets is not None
    glue = sorted(task.name for task in TASKS.values() if task.family == "glue")
    for method in ("fine_tuning", "adapters", "hyperformer"):
        for target in ("boolq", "cb", "scitail"):
            assert needs[method, target] == (f"source-multitask_{method}",)
        assert sorted(tasks[f"source-multitask_{method}"]) == glue
    assert needs["prompt_tuning", "cb"] == ()
    spot = runs()["paper/table3/spot-mnli"].targets
    assert spot is not None
    assert spot.methods.chosen() == {"spot": SpotOptions(start="mnli", early_steps=10_000)}
    assert (spot.shots, spot.draws, spot.tasks) == (few.targets.shots, few.targets.draws, few.targets.tasks)


def methods_of_runs() -> Iterator[tuple[tuple[str, str, int, int], Any, Experiment]]:
    """For every method of every run: its key in ``TRAINED``, its options, and the experiment."""
    for experiment in runs().values():
        assert experiment.targets is not None
        together = len(experiment.targets.tasks) if experiment.targets.group else 1
        for name, options in experiment.targets.methods.chosen().items():
            adapt = getattr(options, "adapt", "both")
            key = (experiment.backbone.name, name if adapt == "both" else adapt, experiment.prompt.length, together)
            yield key, options, experiment


@pytest.mark.parametrize("backbone", sorted({key[0] for key in TRAINED}))
def test_every_method_trains_its_numbers(backbone):
    model = outline_backbone(backbone)
    counted: dict[tuple[str, str, int, int], set[int]] = {}
    for key, options, experiment in methods_of_runs():
        if key[0] != backbone:
            continue
        method = "mpt" if key[1] in ("shared_only", "task_only") else key[1]
        if method == "spot":  # a start that is retrieved has to be trained first
            options = SpotOptions(start="task")
        prompt = replace(experiment.prompt, start="normal")
        counted.setdefault(key, set()).add(trained_numbers(method, model, key[3], options, prompt))
    assert counted == {key: {number} for key, number in TRAINED.items() if key[0] == backbone}
