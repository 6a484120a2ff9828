"""The graph of an experiment: its nodes and identities, which are ready, and a node on its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from multiprompt.config import load_experiment, to_plain
from multiprompt.errors import CheckpointError, ConfigError, TrainingError, UnknownNameError
from multiprompt.evaluation.results import read_results
from multiprompt.files import read_json, write_text
from multiprompt.options import Experiment, Methods, PromptTuningOptions, method_record
from multiprompt.plan import PlannedStage, plan_stages
from multiprompt.runs import run_experiment, run_node
from multiprompt.runs.execute import finish_node, open_node
from multiprompt.runs.graph import Node, build_graph, company, digest, ready_nodes, run_graph, spread
from multiprompt.runs.materials import load_materials
from multiprompt.runs.run_folder import write_config
from multiprompt.training import SILENT, train
from recipes.small import Listener, assert_as_alone, small_experiment, stored_tensors
from rounding import smooth_optimisers


def two_sources(backbone, **changes) -> Experiment:
    source = {"tasks": ["mini-sst2", "mini-qqp"]}
    targets = {"tasks": ["mini-rte"], "methods": {"mpt": {}, "prompt_tuning": {}}}
    return small_experiment(backbone, **({"source": source, "targets": targets} | changes))


def graph_of(experiment: Experiment) -> dict[str, Node]:
    stages = plan_stages(experiment)
    return build_graph(load_materials(experiment, stages, SILENT), experiment.seeds, stages)


def identities(experiment: Experiment) -> dict[str, str]:
    return {key: node.identity for key, node in graph_of(experiment).items()}


def node(name: str, *needs: str) -> Node:
    needed = tuple(f"seed-1/teacher-{n}" for n in needs)
    return Node(1, PlannedStage("teacher", (name,), "teacher"), name, needed, "", 32, False, {})


def test_the_nodes_are_those_of_all_seeds_in_plan_order(tiny_folder):
    nodes = graph_of(two_sources(tiny_folder, seeds=[3, 4]))
    names = ["teacher-mini-sst2", "teacher-mini-qqp", "source", "target-mini-rte-mpt-all"]
    names.append("target-mini-rte-prompt_tuning-all")
    assert list(nodes) == [f"seed-{seed}/{name}" for seed in (3, 4) for name in names]
    assert nodes["seed-4/source"].needs == ("seed-4/teacher-mini-sst2", "seed-4/teacher-mini-qqp")
    assert nodes["seed-3/target-mini-rte-mpt-all"].needs == ("seed-3/source",)
    assert nodes["seed-3/source"].title == "seed 3, source"
    assert len({each.identity for each in nodes.values()}) == len(nodes)
    assert all(each.identity == digest(each.made_from) for each in nodes.values())


def test_an_identity_changes_with_what_a_stage_depends_on_and_with_nothing_else(tiny_folder):
    experiment = two_sources(tiny_folder)
    before = identities(experiment)

    def changed(other: Experiment) -> set[str]:
        after = identities(other)
        assert after.keys() == before.keys()
        return {key.removeprefix("seed-1/") for key in before if before[key] != after[key]}

    source, mpt = {"source"}, {"target-mini-rte-mpt-all"}
    tuning = {"target-mini-rte-prompt_tuning-all"}
    teachers = {"teacher-mini-sst2", "teacher-mini-qqp"}
    assert changed(replace(experiment, name="another")) == set()
    assert changed(replace(experiment, teachers=replace(experiment.teachers, learning_rate=0.7))) == (
        teachers | source | mpt
    )
    assert changed(replace(experiment, source=replace(experiment.source, learning_rate=0.7))) == source | mpt
    methods = Methods(**{name: replace(options) for name, options in experiment.targets.methods.items()})
    assert changed(replace(experiment, targets=replace(experiment.targets, methods=methods))) == set()
    training = replace(experiment.targets.training, steps=3)
    assert changed(replace(experiment, targets=replace(experiment.targets, training=training))) == mpt | tuning
    every = teachers | source | mpt | tuning
    for data in ({"max_train": 15}, {"max_source_length": 20}, {"compat": "attempt"}, {"task_names": True}):
        assert changed(replace(experiment, data=replace(experiment.data, **data))) == every, data


def test_where_a_target_starts_changes_its_identity_alone(tiny_folder):
    def keys_of(method: str, **options) -> dict[str, str]:
        targets = {"tasks": ["mini-rte", "mini-boolq"], "methods": {method: options}}
        return {key: node.identity for key, node in graph_of(two_sources(tiny_folder, targets=targets)).items()}

    first = {"source_tasks": ["mini-sst2", "mini-qqp"]}
    plain, begun = keys_of("adapters"), keys_of("adapters", **first)
    assert begun.keys() - plain.keys() == {"seed-1/source-multitask_adapters"}
    near = keys_of("adapters", **first, nearest={"mini-rte": "mini-qqp"})
    changed = [key.removeprefix("seed-1/") for key, identity in near.items() if identity != begun[key]]
    assert changed == ["target-mini-rte-adapters-all"]
    assert all(plain[key] != begun[key] for key in plain if "adapters" in key)


def test_every_option_of_a_method_and_the_version_of_its_code_are_in_the_identity(tiny_folder):
    for method in ("adapters", "fine_tuning", "hyperformer"):
        experiment = two_sources(tiny_folder, source=None, targets={"tasks": ["mini-rte"], "methods": {method: {}}})
        depends_on = graph_of(experiment)[f"seed-1/target-mini-rte-{method}-all"].made_from["depends_on"]
        options = experiment.targets.methods.chosen()[method]
        assert depends_on["method"].keys() == to_plain(options).keys()
        assert depends_on["training"].keys() == to_plain(experiment.targets.training).keys()
        assert depends_on["method_version"] == method_record(method).version


def test_a_moved_project_keeps_its_identities(tiny_folder, tmp_path, monkeypatch):
    """Where the rows of an own task lie is in no identity and, below the current directory, in no configuration."""
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    monkeypatch.chdir(before)
    splits = ("train", "validation", "test")
    for split in splits:
        rows = [{"text": f"{word} {split}", "label": place % 2} for place, word in enumerate("abcdefgh")]
        write_text(before / "data" / f"{split}.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    definition = {
        "name": "own",
        "source": "{text}",
        "label": {"column": "label", "words": ["no", "yes"]},
        "split": {"kind": "official"},
        "files": {split: f"data/{split}.jsonl" for split in splits},
    }
    experiment = {
        "name": "moved",
        "backbone": {"name": str(tiny_folder)},
        "targets": {"tasks": ["./own.yaml"], "methods": {"prompt_tuning": {}}},
    }
    write_text(before / "own.yaml", yaml.safe_dump(definition))
    write_text(before / "experiment.yaml", yaml.safe_dump(experiment))
    write_config(load_experiment(Path("experiment.yaml")), Path("runs/one"))
    expected = identities(load_experiment(Path("runs/one/config.yaml")))
    before.rename(after)
    monkeypatch.chdir(after / "runs")
    moved = load_experiment(Path("one/config.yaml"))
    assert moved.tasks["own"].files["train"] == str(after / "data" / "train.jsonl")
    assert identities(moved) == expected
    # Somebody else's rows under the same path are other rows.
    write_text(after / "data" / "train.jsonl", '{"text": "another", "label": 0}\n' * 8)
    assert identities(moved) != expected


def test_identities_are_known_before_anything_is_trained_and_so_are_few_shot_draws(tiny_folder, tmp_path):
    shots = {"tasks": ["mini-rte"], "methods": {"mpt": {}}, "shots": [21]}
    listener = Listener()
    with pytest.raises(ConfigError, match="k is 21; expected from 1 to 20"):
        run_experiment(two_sources(tiny_folder, targets=shots), tmp_path / "run", progress=listener)
    assert listener.trained == []
    assert not (tmp_path / "run").exists()


def test_ready_are_nodes_that_nobody_has_begun_and_whose_needs_are_done():
    nodes = {each.key: each for each in (node("a"), node("b"), node("c", "a", "b"), node("d", "a"), node("e", "c"))}

    def ready(done: str, begun: str = "") -> str:
        keys = [{f"seed-1/teacher-{name}" for name in names} for names in (done, begun)]
        return "".join(each.identity for each in ready_nodes(nodes, *keys))

    assert ready("") == "ab"
    assert ready("", "a") == "b"
    assert ready("a") == "bd"
    assert ready("ab") == "cd"
    assert ready("abd", "c") == ""
    assert ready("abcd") == "e"
    assert ready("abcde") == ""
    order: list[str] = []
    run_graph(nodes, {"seed-1/teacher-b"}, lambda chosen: order.append("".join(n.identity for n in chosen)))
    assert order == ["a", "cd", "e"]
    alone: list[str] = []
    run_graph(nodes, (), lambda chosen: alone.extend(n.identity for n in chosen), lambda ready: [ready[0]])
    assert "".join(alone) == "abcde"


def test_company_trains_the_same_way_and_fills_a_pass():
    def named(name: str, method: str = "prompt_tuning", batch_size: int = 32, dropout: bool = False) -> Node:
        stage = PlannedStage("target", (name,), method)
        return Node(1, stage, name, (), "", batch_size, dropout, {})

    def chosen(*nodes: Node) -> str:
        return "".join(each.identity for each in company(nodes))

    assert chosen(named("a"), named("b", "mpt"), named("c", "fine_tuning"), named("d", "spot")) == "abd"
    assert chosen(named("c", "fine_tuning"), named("a")) == "c"
    assert chosen(named("a"), named("b", dropout=True), named("c")) == "ac"
    assert chosen(named("a"), named("b", batch_size=97), named("c", batch_size=96), named("d")) == "ac"
    assert chosen(named("a", batch_size=500), named("b", batch_size=1)) == "a"


def test_ready_nodes_are_spread_so_that_no_worker_is_idle():
    def named(names: str, method: str = "prompt_tuning") -> list[Node]:
        return [Node(1, PlannedStage("target", (name,), method), name, (), "", 32, False, {}) for name in names]

    def shares(ready: list[Node], workers: int, free: int, **options) -> str:
        return " ".join("".join(n.identity for n in share) for share in spread(ready, workers, free, **options))

    assert shares(named("abcdef"), 2, 2) == "abc def"
    assert shares(named("abcde"), 2, 2) == "abc de"
    assert shares(named("abcde"), 4, 4) == "ab c d e"
    assert shares(named("ab"), 5, 5) == "a b"
    assert shares(named("abcdefghijkl"), 2, 2) == "abcd efgh"  # four of 32 examples fill a pass
    # those that are busy will want something too
    assert shares(named("abcd"), 2, 1) == "ab"
    assert shares(named("abcd"), 4, 1) == "a"
    assert shares(named("abcd"), 2, 0) == ""
    assert shares([], 2, 2) == ""
    # fine-tuning trains alone, and whoever gets it gets nothing else
    assert shares(named("x", "fine_tuning") + named("abcd"), 2, 2) == "x abcd"
    assert shares(named("a") + named("x", "fine_tuning") + named("b"), 2, 2) == "ab x"
    assert shares(named("abcd"), 3, 2, choose=lambda ready: [ready[0]]) == "a b"


@smooth_optimisers()
def test_stages_that_train_together_end_as_each_does_alone(smooth_folder, tmp_path):
    experiment = two_sources(smooth_folder, seeds=[3, 4])
    listener = Listener()
    run_experiment(experiment, tmp_path / "joint", progress=listener)
    assert listener.begun == [
        "6 together, seed 3, teacher-mini-sst2 and others",  # prompt tuning needs no source prompt
        "seed 3, source",
        "seed 3, target-mini-rte-mpt-all",
        "seed 4, source",
        "seed 4, target-mini-rte-mpt-all",
    ]
    run_experiment(replace(experiment, together=False), tmp_path / "alone")
    assert_as_alone(tmp_path / "joint", tmp_path / "alone")
    run_experiment(replace(experiment, together=False), tmp_path / "joint", resume=True)  # not another experiment


def test_a_stage_that_breaks_lets_those_beside_it_end(tiny_folder, tmp_path):
    breaks = {"prompt_tuning": {"learning_rate": 1e30}, "decomposed_prompt_tuning": {"rank": 2}}
    experiment = two_sources(tiny_folder, source=None, targets={"tasks": ["mini-rte"], "methods": breaks})
    folder = tmp_path / "run"
    with pytest.raises(TrainingError, match="target-mini-rte-prompt_tuning-all has diverged: after step 2"):
        run_experiment(experiment, folder)
    assert (folder / "seed-1/target-mini-rte-decomposed_prompt_tuning-all/result.json").exists()
    assert [score.method for score in read_results(folder / "results.json")[1]] == ["decomposed_prompt_tuning"]
    mended = Methods(**{**experiment.targets.methods, "prompt_tuning": PromptTuningOptions(0.1)})
    listener = Listener()
    targets = replace(experiment.targets, methods=mended)
    run_experiment(replace(experiment, targets=targets), folder, resume=True, progress=listener)
    assert listener.trained == ["target-mini-rte-prompt_tuning-all"]


def test_what_stops_a_node_stops_the_graph():
    nodes = {each.key: each for each in (node("a"), node("b", "a"))}
    seen: list[str] = []

    def fail(chosen: Sequence[Node]) -> None:
        seen.extend(each.identity for each in chosen)
        raise ConfigError("no")

    with pytest.raises(ConfigError, match="no"):
        run_graph(nodes, (), fail)
    assert seen == ["a"]


def test_nodes_on_their_own_give_what_the_experiment_gives(tiny_folder, tmp_path):
    experiment = two_sources(tiny_folder, together=False)
    run_experiment(experiment, tmp_path / "whole")
    folder = tmp_path / "apart"
    write_config(experiment, folder)
    with pytest.raises(CheckpointError, match=r"teacher-mini-sst2 is not finished, and seed-1/source starts from it"):
        run_node(experiment, folder, "seed-1/source")
    with pytest.raises(UnknownNameError, match="did you mean 'seed-1/source'"):
        run_node(experiment, folder, "seed-1/sourc")
    with pytest.raises(CheckpointError, match="prompt.length: the folder has 4, asked for is 5"):
        run_node(replace(experiment, prompt=replace(experiment.prompt, length=5)), folder, "seed-1/source")
    scores = []
    for key in graph_of(experiment):
        listener = Listener()
        scores += run_node(experiment, folder, key, progress=listener)
        assert listener.trained == [key.removeprefix("seed-1/")]
    again = Listener()
    assert run_node(experiment, folder, key, progress=again)[0] == scores[-1]
    assert again.trained == []
    expected, tensors = stored_tensors(tmp_path / "whole"), stored_tensors(folder)
    assert expected.keys() == tensors.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())
    stored = read_results(tmp_path / "whole" / "results.json")[1]
    assert [(s.task, s.method, s.value) for s in scores] == [(s.task, s.method, s.value) for s in stored]
    # a run takes what processes have done
    whole = Listener()
    run_experiment(experiment, folder, resume=True, progress=whole)
    assert whole.trained == []
    assert whole.said("5 of 5 stages are done already")


def test_the_parts_of_several_nodes_can_be_interleaved(tiny_folder, tmp_path):
    """As a loop does that trains several nodes together."""
    experiment = two_sources(tiny_folder, together=False)
    run_experiment(experiment, tmp_path / "whole")
    stages = plan_stages(experiment)
    inputs = load_materials(experiment, stages, SILENT)
    nodes = build_graph(inputs, experiment.seeds, stages)
    done: set[str] = set()
    while together := ready_nodes(nodes, done):
        opened = [open_node(inputs, each, tmp_path / "joint", SILENT) for each in together]
        reports = [train(each.training()) for each in opened]
        for each, report in zip(opened, reports, strict=True):
            finish_node(each, report)
        done |= {each.key for each in together}
    expected, tensors = stored_tensors(tmp_path / "whole"), stored_tensors(tmp_path / "joint")
    assert expected.keys() == tensors.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())


def test_a_stage_says_whose_it_is_before_it_is_trained(tiny_folder, tmp_path):
    experiment = two_sources(
        tiny_folder, source=None, targets={"tasks": ["mini-rte"], "methods": {"prompt_tuning": {}}}
    )
    folder = tmp_path / "run"

    class Look(Listener):
        def begin(self, stage, total):
            self.record = read_json(folder / "seed-1" / stage / "stage.json")

    look = Look()
    run_experiment(experiment, folder, progress=look)
    assert digest(look.record["made_from"]) == look.record["identity"]
    depends_on = look.record["made_from"]["depends_on"]
    assert depends_on["prompt"]["length"] == 4
    assert depends_on["training"]["steps"] == 4
    result = read_json(folder / "seed-1/target-mini-rte-prompt_tuning-all/result.json")
    assert result["identity"] == look.record["identity"]
    names = {"log.jsonl", "prompt.safetensors", "merged.safetensors", "predictions-mini-rte.jsonl"}
    assert set(result["files"]) == names
