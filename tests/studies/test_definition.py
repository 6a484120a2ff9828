"""Every study that is shipped: it loads, its runs can be planned, and each of its cells is the result of a stage."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from importlib import resources

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import T5Config, T5ForConditionalGeneration

from multiprompt.backbone.published import PublishedModel
from multiprompt.config import build_experiment
from multiprompt.errors import ConfigError, UnknownNameError
from multiprompt.forecast.hours import ANSWER_TOKENS, _forward, costs_of
from multiprompt.options import Experiment
from multiprompt.plan import plan_stages
from multiprompt.recipes.build import check_packages
from multiprompt.studies import SCALES, Scale, experiments_of, load_study, studies_of, study_names
from multiprompt.studies.cells import published_value
from multiprompt.studies.study_definition import Choice, Study, merged
from multiprompt.tasks import TASKS
from studies.shipped import shipped

EVERY = [(scale, name) for scale in SCALES for name in study_names(scale)]


def choices_of(study: Study) -> Iterator[Choice]:
    """All that is shown of scores."""
    for table in study.tables:
        for row in table.rows:
            for column in table.columns:
                yield row.within(column).within(table.scores)
    for claim in study.claims:
        yield claim.better.within(claim.scores)
        yield claim.worse.within(claim.scores)
    for curve in study.curves:
        for series in curve.series:
            yield from (choice.within(series.scores) for choice in series.points.values())
    for scatter in study.scatters:
        yield from (point.within(scatter.scores) for point in scatter.points)
    yield from (heatmap.scores for heatmap in study.heatmaps)


def experiments_by_run(name: str, scale: Scale) -> dict[str, Experiment]:
    """Of a study and of those that it uses, as it calls them."""
    found = {}
    for of in studies_of(name, scale):
        for run, experiment in shipped(of, scale).items():
            found[run if of == name else f"{of}/{run}"] = experiment
    return found


def test_the_paper_is_there_at_both_scales():
    names = [f"table{n}" for n in range(1, 8)] + ["figure2", "figure4", "figure5", "ablations"]
    assert study_names("paper") == names
    assert study_names("mini") == names


@pytest.mark.parametrize(("scale", "name"), EVERY)
def test_every_cell_is_the_result_of_a_stage(scale, name):
    study, runs = load_study(name, scale), experiments_by_run(name, scale)
    planned = {
        (run, stage.method, task, stage.shots)
        for run, experiment in runs.items()
        for stage in plan_stages(experiment)
        for task in stage.tasks
    }
    choices = list(choices_of(study))
    assert runs
    assert choices or study.learning
    for choice in choices:
        assert choice.tasks
        for task in choice.tasks:
            assert (choice.run, choice.method, task, choice.shots or "all") in planned
            assert choice.metric is None or choice.metric in TASKS[task].metrics
    for experiment in runs.values():
        check_packages(stage.method for stage in plan_stages(experiment))


@pytest.mark.parametrize(("scale", "name"), EVERY)
def test_every_run_has_a_plan_and_a_cost(scale, name):
    for experiment in shipped(name, scale).values():
        costs = costs_of(experiment)
        assert costs
        assert [cost.stage.name for cost in costs] == [stage.name for stage in plan_stages(experiment)]
        assert all(cost.steps > 0 for cost in costs)
        assert all((cost.hours is None) == (scale == "mini") for cost in costs)


def test_published_names_exist():
    """A cell whose row or column is misspelt would silently stand without its published value."""
    checked = 0
    for name in study_names("paper"):
        for table in load_study(name, "paper").tables:
            if table.published is None:
                continue
            checked += 1
            found = [
                published_value(table.published, row.published_name, column.published_name)
                for row in table.rows
                for column in table.columns
            ]
            assert any(found)
            for row in table.rows:
                in_row = [published_value(table.published, row.published_name, c.published_name) for c in table.columns]
                assert any(in_row) or (name, row.label) in UNPRINTED, (name, row.label)
    assert checked >= 8


UNPRINTED = {("figure5", label) for label in ("MPT, 200 rows", "PT, 200 rows", "PT, 300 rows", "PT, 400 rows")} | {
    ("table1", "HyperFormer*"),
    ("table1", "HyperDecoder*"),
    ("table1", "Finetuning*"),
    ("table1", "Adapters*"),
}
"""Rows without a printed value: points of an image, and starred rows that are printed for GLUE alone."""


def test_published_averages_are_means_of_their_cells():
    """A slip in a figure that was carried over would break its row's average."""
    record = json.loads(resources.files("multiprompt.studies").joinpath("published.json").read_text(encoding="utf-8"))
    groups = {
        "GLUE average": ("MNLI", "QQP", "QNLI", "SST-2", "STS-B", "MRPC", "RTE", "CoLA"),
        "SuperGLUE average": ("MultiRC", "BoolQ", "WiC", "WSC", "CB"),
        "MRQA average": ("NQ", "HotpotQA", "SearchQA", "NewsQA"),
        "Others average": ("WinoGrande", "Yelp-2", "SciTail", "PAWS-Wiki"),
    }
    checked = 0
    for rows in record["tables"].values():
        for row in rows.values():
            for average, members in groups.items():
                if average in row["cells"] and all(member in row["cells"] for member in members):
                    mean = statistics.fmean(row["cells"][member][0] for member in members)
                    assert row["cells"][average][0] == pytest.approx(mean, abs=0.11)
                    checked += 1
    assert checked > 40


def test_published_differences_are_those_of_the_printed_cells():
    """Of every finding whose two sides are rows or columns of a printed table."""
    checked = 0
    for name in study_names("paper"):
        study = load_study(name, "paper")
        printed = {}
        for table in study.tables:
            for row in table.rows:
                for column in table.columns:
                    choice = row.within(column).within(table.scores)
                    cell = published_value(table.published or "", row.published_name, column.published_name)
                    if cell is not None and len(choice.tasks) == 1:
                        printed[choice.run, choice.method, choice.shots or "all", choice.tasks[0]] = cell.mean
        for claim in study.claims:
            sides = [
                [printed.get((side.run, side.method, side.shots or "all", task)) for task in side.tasks]
                for side in (claim.better.within(claim.scores), claim.worse.within(claim.scores))
            ]
            if claim.published is None or None in sides[0] + sides[1]:
                continue
            better, worse = map(statistics.fmean, sides)
            assert claim.published == pytest.approx(better - worse, abs=0.11), (name, claim.text)
            checked += 1
    assert checked >= 15


def test_costs_follow_the_formula():
    """T5-base by hand: 32 examples of 356 source tokens, 16 target tokens, forward and back."""
    run = shipped("table6", "paper")["neither"]
    cost = next(cost for cost in costs_of(run) if cost.stage.name == "target-cb-mpt-all")
    width, inner, layers = 768, 3072, 12
    encoder = layers * (4 * width * width + 2 * width * inner)
    decoder = layers * (6 * width * width + 2 * width * inner)  # queries and outputs of cross-attention
    crossed = layers * 2 * width * width  # its keys and values, which are made of source tokens
    source, target = 356, 16
    scores = 4 * width * layers * (source**2 + target**2 + source * target)
    forward = 2 * source * (encoder + crossed) + 2 * target * (decoder + 32128 * width) + scores
    assert cost.steps == round(20 * 250 / 32)
    assert cost.operations == pytest.approx(forward * (cost.steps * 32 * 2 + 8 * 28 + 28), rel=1e-9)  # dev 8 times
    teachers = [c for c in costs_of(run) if c.stage.kind == "teacher"]
    assert teachers == []  # nothing is distilled, and no method starts from them


@pytest.mark.parametrize("gate", [{}, {"feed_forward_proj": "gated-gelu"}])
def test_a_forward_pass_has_the_operations_that_torch_counts(gate):
    shape = {"vocab_size": 100, "d_model": 32, "d_kv": 4, "d_ff": 48, "num_layers": 3, "num_heads": 5} | gate
    options = {"prompt": {"length": 7}, "data": {"max_source_length": 20}, "source": {"tasks": ["cb", "rte"]}}
    task, run = TASKS["cb"], build_experiment({"name": "x", "backbone": {"name": "t5-small"}} | options)
    config = T5Config(**shape, pad_token_id=0, decoder_start_token_id=0)
    config._attn_implementation = "eager"  # products that the counter sees
    model = T5ForConditionalGeneration(config).eval()
    source, target = torch.ones(1, 27, dtype=torch.long), torch.ones(1, ANSWER_TOKENS, dtype=torch.long)
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        model(input_ids=source, decoder_input_ids=target, use_cache=False)
    assert _forward(PublishedModel(shape, 0), task, run) == counted.get_total_flops()


def test_only_a_start_that_is_retrieved_costs_early_steps():
    runs = experiments_of("table3", load_study("table3", "paper"), "paper")
    costs = {
        run: next(cost for cost in costs_of(runs[run]) if cost.stage.name == "target-cb-spot-4")
        for run in ("few", "spot-mnli")
    }
    assert costs["few"].steps == costs["spot-mnli"].steps == 1000
    one, other = costs["few"].operations, costs["spot-mnli"].operations
    assert one is not None
    assert other is not None
    # 4 examples, forward and back, in 1,000 early and 1,000 other steps; 28 dev rows 20 times and 28 test rows
    assert one / other == pytest.approx((2000 * 4 * 2 + 21 * 28) / (1000 * 4 * 2 + 21 * 28))


def test_table_5_shows_every_metric_of_its_tasks():
    study = load_study("table5", "paper")
    for task, table in zip(("e2e", "webnlg"), study.tables, strict=True):
        assert table.scores.tasks == (task,)
        assert tuple(column.metric for column in table.columns) == TASKS[task].metrics
    judged = [claim.scores.metric for claim in study.claims]
    assert judged == [*TASKS["e2e"].metrics, *TASKS["webnlg"].metrics]


def test_every_study_with_findings_has_one_primary_finding(tmp_path, monkeypatch):
    for scale, name in EVERY:
        claims = load_study(name, scale).claims
        assert sum(claim.primary for claim in claims) == bool(claims)
    (tmp_path / "mini").mkdir()
    monkeypatch.setattr("multiprompt.studies.study_definition._FOLDER", tmp_path)
    choice = "{run: a, method: mpt, tasks: [mini-rte]}"
    claim = f"{{text: t, better: {choice}, worse: {choice}}}"
    (tmp_path / "mini" / "table1.yaml").write_text(f"title: t\nclaims: [{claim}, {claim}]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="0 of the 2 claims are primary; expected exactly one"):
        load_study("table1", "mini")


def test_changes_are_merged_into_the_base():
    base = {"source": {"tasks": ["a"], "training": {"steps": 1}}, "targets": {"methods": {"mpt": {"x": 1}, "lora": {}}}}
    changed = merged(base, {"source": {"training": {"batch_size": 2}}, "targets": {"methods": ["mpt"]}}, base)
    assert changed == {
        "source": {"tasks": ["a"], "training": {"steps": 1, "batch_size": 2}},
        "targets": {"methods": {"mpt": {"x": 1}}},
    }
    several = merged(base, {"targets": {"methods": ["lora", {"mpt": {"y": 2}}]}}, base)
    assert several["targets"]["methods"] == {"lora": {}, "mpt": {"x": 1, "y": 2}}
    assert merged(base, {"source": None}, base) == {"targets": base["targets"]}
    assert base["source"]["training"] == {"steps": 1}


def test_what_is_no_study_is_said():
    with pytest.raises(UnknownNameError, match="did you mean 'table6'"):
        load_study("tabel6", "mini")
    study = Study("t", runs={"one": {"like": "other"}})
    with pytest.raises(ConfigError, match="run one: like is 'other'; expected an earlier run"):
        experiments_of("t", study, "mini")
