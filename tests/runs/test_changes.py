"""A configuration that changes between two runs, and stages of other runs: what is kept, set aside, taken, made."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import save_tiny
from multiprompt.config import load_experiment
from multiprompt.errors import CheckpointError
from multiprompt.evaluation.results import read_results
from multiprompt.files import describe_file, read_json, write_json
from multiprompt.options import Experiment
from multiprompt.reports import read_run, write_report
from multiprompt.runs import open_run, run_experiment
from multiprompt.runs.materials import load_materials
from recipes.small import KillAt, Killed, Listener, small_experiment, stored_tensors

SOURCES = ["teacher-mini-sst2", "teacher-mini-qqp", "source"]
MPT, TUNING = "target-mini-rte-mpt-all", "target-mini-rte-prompt_tuning-all"


@pytest.fixture(scope="module")
def backbone(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def finished(backbone, tmp_path_factory) -> Path:
    """A finished run of the first configuration; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    run(experiment_of(backbone), folder)
    return folder


def experiment_of(backbone: Path, **changes) -> Experiment:
    values = {
        "source": {"tasks": ["mini-sst2", "mini-qqp"]},
        "targets": {"tasks": ["mini-rte"], "methods": {"mpt": {}, "prompt_tuning": {}}},
    }
    return small_experiment(backbone, **(values | changes))


def with_source_rate(experiment: Experiment, rate: float) -> Experiment:
    assert experiment.source is not None
    return replace(experiment, source=replace(experiment.source, learning_rate=rate))


def run(experiment: Experiment, folder: Path, **options) -> Listener:
    listener = Listener()
    run_experiment(experiment, folder, progress=listener, **options)
    return listener


def assert_same(folder: Path, other: Path) -> None:
    """Both hold the same stages with the same tensors, bit by bit, and the same scores."""
    one, two = ({name: t for name, t in stored_tensors(f).items() if name.startswith("seed-")} for f in (folder, other))
    assert one.keys() == two.keys()
    assert all(torch.equal(two[name], tensor) for name, tensor in one.items())
    values = [
        [(s.task, s.method, s.seed, s.value) for s in read_results(f / "results.json")[1]] for f in (folder, other)
    ]
    assert values[0] == values[1]


def test_a_change_redoes_what_it_touches_and_back_again_redoes_nothing(backbone, finished, tmp_path):
    first = experiment_of(backbone)
    folder = shutil.copytree(finished, tmp_path / "run")
    before = read_results(folder / "results.json")[1]
    second = replace(with_source_rate(first, 0.01), name="second")
    listener = run(second, folder, resume=True)
    assert listener.trained == ["source", MPT]
    assert listener.said("source.learning_rate: the folder has 0.3, asked for is 0.01")
    assert listener.said("2 stages of another configuration or other data: moved to ")
    assert listener.said("3 of 5 stages are done already")
    assert load_experiment(folder / "config.yaml") == second
    run(second, tmp_path / "alone")
    assert_same(folder, tmp_path / "alone")
    aside = sorted(path.name[:-13] for path in (folder / "set-aside" / "seed-1").iterdir())
    assert aside == ["source", MPT]

    # what reads a run sees the new one
    now = read_results(folder / "results.json")[1]
    assert open_run(folder).scores() == now
    assert [score.value for score in open_run(folder).evaluate()] == [score.value for score in now]
    assert len(open_run(folder).answer("mini-rte", ["a text"])) == 1
    write_report(folder)
    read = read_run(folder)
    assert (read.label, read.missing, list(read.scores)) == ("second", (), now)

    back = run(first, folder, resume=True)
    assert back.trained == []
    assert back.said("2 stages set aside before: moved back")
    assert back.said("5 of 5 stages are done already")
    assert read_results(folder / "results.json")[1] == before
    assert {path.name[:-13] for path in (folder / "set-aside" / "seed-1").iterdir()} == {"source", MPT}


def test_stages_and_seeds_that_are_added_or_left_out(tiny_folder, tmp_path):
    folder = tmp_path / "run"
    only = {"tasks": ["mini-rte"], "methods": {"prompt_tuning": {}}}
    one = small_experiment(tiny_folder, source=None, targets=only)
    run(one, folder)
    more = small_experiment(
        tiny_folder, seeds=[1, 2], source=None, targets=only | {"methods": {"prompt_tuning": {}, "bitfit": {}}}
    )
    listener = run(more, folder, resume=True)
    bitfit = "target-mini-rte-bitfit-all"
    assert listener.trained == [f"seed 1, {bitfit}", f"seed 2, {TUNING}", f"seed 2, {bitfit}"]
    assert len(read_results(folder / "results.json")[1]) == 4
    assert read_json(folder / "environment.json")["seeds"] == [1, 2]
    assert run(one, folder, resume=True).trained == []
    assert [(score.seed, score.method) for score in read_results(folder / "results.json")[1]] == [(1, "prompt_tuning")]
    assert [path.name for path in folder.glob("seed-*/*")] == [TUNING]
    assert run(more, folder, resume=True).trained == []


def test_a_stage_that_is_half_trained_goes_on_when_it_is_asked_for_again(tiny_folder, tmp_path):
    folder, first = tmp_path / "run", replace(experiment_of(tiny_folder), together=False)
    with pytest.raises(Killed):  # teachers take 8 steps: in the source
        run_experiment(first, folder, progress=KillAt(10))
    identity = read_json(folder / "seed-1" / "source" / "stage.json")["identity"]
    second = with_source_rate(first, 0.01)
    run(second, folder, resume=True)
    kept = folder / "set-aside" / "seed-1" / f"source-{identity[:12]}"
    assert (kept / "checkpoint.safetensors").exists()
    steps: list[int] = []

    class Steps(Listener):
        def step(self, step, loss, speed):
            steps.append(step)

    run_experiment(first, folder, resume=True, progress=Steps())
    assert steps == [2, 3, 4, *range(1, 5)], "the source goes on after its first step; then mpt"
    assert not kept.exists()
    run(first, tmp_path / "whole")
    assert_same(folder, tmp_path / "whole")


def two_targets(backbone: Path) -> dict[str, Experiment]:
    """An experiment, and what it is changed into."""
    methods = {"methods": {"prompt_tuning": {}}, "tasks": ["mini-rte", "mini-boolq"]}
    first = small_experiment(backbone, source=None, targets=methods)
    return {"first": first, "second": replace(first, prompt=replace(first.prompt, length=5))}


@pytest.fixture(scope="module")
def each_alone(backbone, tmp_path_factory) -> Path:
    """A folder with a finished run of either."""
    folder = tmp_path_factory.mktemp("alone")
    for name, experiment in two_targets(backbone).items():
        run(experiment, folder / name)
    return folder


@pytest.mark.parametrize("where", ["put_aside", "write_config", "bring_in"])
@pytest.mark.parametrize("then", ["first", "second"])
def test_a_change_that_is_killed_while_stages_are_moved(backbone, each_alone, tmp_path, monkeypatch, where, then):
    from multiprompt.runs import whole_run as module

    experiments = two_targets(backbone)
    folder = shutil.copytree(each_alone / "first", tmp_path / "run")
    done = getattr(module, where)

    def killed(*arguments):
        done(*arguments)
        raise Killed

    monkeypatch.setattr(module, where, killed)
    with pytest.raises(Killed):
        run_experiment(experiments["second"], folder, resume=True)
    monkeypatch.undo()
    assert len(run(experiments[then], folder, resume=True).trained) == (0 if then == "first" else 2)
    assert_same(folder, each_alone / then)


def test_stages_of_other_runs_are_copied_from_where_they_are_too_when_set_aside(backbone, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    first = experiment_of(backbone, together=False)  # a stage that is made again has other company
    run(first, one)
    other_targets = replace(first, targets=replace(first.targets, tasks=("mini-boolq",)))
    listener = run(other_targets, two, reuse=[one])
    assert listener.trained == ["target-mini-boolq-mpt-all", "target-mini-boolq-prompt_tuning-all"]
    assert listener.said(f"3 stages copied from {one}")
    assert (two / "seed-1" / "source" / "log.jsonl").exists(), "the report draws it"
    run(other_targets, tmp_path / "alone")
    assert_same(two, tmp_path / "alone")
    run(with_source_rate(first, 0.01), one, resume=True)  # sets the source aside
    (one / "seed-1" / "teacher-mini-qqp" / "stage.json").unlink()  # its result says enough
    assert run(first, tmp_path / "three", reuse=[one, two]).trained == []
    assert (tmp_path / "three" / "seed-1" / "teacher-mini-qqp" / "stage.json").exists()
    # in a run that exists, half trained
    with pytest.raises(Killed):
        run_experiment(first, tmp_path / "four", progress=KillAt(10))
    assert run(first, tmp_path / "four", resume=True, reuse=[one]).trained == []
    assert_same(tmp_path / "four", tmp_path / "three")
    assert not list((tmp_path / "four").rglob("checkpoint.safetensors"))


def test_what_cannot_be_reused_is_made(backbone, finished, tmp_path):
    experiment = experiment_of(backbone)
    one = shutil.copytree(finished, tmp_path / "one")
    prompt = one / "seed-1" / "source" / "prompt.safetensors"
    prompt.write_bytes(prompt.read_bytes()[:-1] + b"!")
    listener = run(experiment, tmp_path / "two", reuse=[one])
    assert listener.trained == ["source"]
    assert listener.said(f"not reused: {prompt} is not as it was written")
    with pytest.raises(CheckpointError, match="nowhere is not a run folder"):
        run(experiment, tmp_path / "three", reuse=[tmp_path / "nowhere"])
    assert not (tmp_path / "three").exists()


@pytest.mark.parametrize("name", ["../../config.yaml", "/etc/passwd", "sub/tensors.safetensors", ".lock", "stage.json"])
def test_a_foreign_result_names_files_of_its_own_stage_only(backbone, finished, tmp_path, name):
    one, two = shutil.copytree(finished, tmp_path / "one"), tmp_path / "two"
    record = read_json(one / "seed-1" / "source" / "result.json")
    record["files"][name] = describe_file(one / "config.yaml")
    write_json(one / "seed-1" / "source" / "result.json", record)
    listener = run(experiment_of(backbone), two, reuse=[one])
    assert listener.said(f"lists '{name}', which is no file of a stage")
    assert listener.trained == ["source"]
    assert load_experiment(two / "config.yaml") == experiment_of(backbone)


def test_a_link_in_a_foreign_stage_is_not_followed(backbone, finished, tmp_path):
    one = shutil.copytree(finished, tmp_path / "one")
    prompt = one / "seed-1" / "source" / "prompt.safetensors"
    prompt.rename(tmp_path / "elsewhere.safetensors")
    prompt.symlink_to(tmp_path / "elsewhere.safetensors")
    listener = run(experiment_of(backbone), tmp_path / "two", reuse=[one])
    assert listener.said(f"not reused: {prompt} is a link or no file")
    assert listener.trained == ["source"]


@pytest.mark.parametrize("what", ["weights", "tokenizer"])
def test_a_backbone_that_has_changed_is_noticed_by_whoever_uses_it(backbone, finished, tmp_path, monkeypatch, what):
    changed, folder = shutil.copytree(backbone, tmp_path / "backbone"), shutil.copytree(finished, tmp_path / "run")
    config = (folder / "config.yaml").read_text(encoding="utf-8")
    (folder / "config.yaml").write_text(config.replace(str(backbone), str(changed)), encoding="utf-8")
    assert len(open_run(folder).answer("mini-rte", ["a text"])) == 1  # the same files in another folder
    if what == "weights":
        tensors = load_file(changed / "model.safetensors")
        tensors["decoder.final_layer_norm.weight"][-1] = 2.0
        save_file(tensors, changed / "model.safetensors", {"format": "pt"})
    else:
        content = read_json(changed / "tokenizer.json")
        words = content["model"]["vocab"]
        words["a"], words["b"] = words["b"], words["a"]
        write_json(changed / "tokenizer.json", content)
    with pytest.raises(CheckpointError, match="its weights or its tokenizer have changed since"):
        open_run(folder).answer("mini-rte", ["a text"])
    with pytest.raises(CheckpointError, match="its weights or its tokenizer have changed since"):
        open_run(folder).evaluate()
    again = run(load_experiment(folder / "config.yaml"), folder, resume=True)
    assert set(again.trained) == {*SOURCES, MPT, TUNING}


def test_a_prompt_of_another_backbone_is_not_taken_without_a_word(backbone, finished, tmp_path):
    source = finished / "seed-1" / "source" / "prompt.safetensors"
    targets = {"tasks": ["mini-rte"], "source_prompt": str(source), "methods": {"mpt": {}}}
    same = small_experiment(shutil.copytree(backbone, tmp_path / "copy"), source=None, targets=targets)
    assert not run(same, tmp_path / "same").said("was trained with")
    other = save_tiny(tmp_path / "other", feed_forward_proj="gated-gelu")
    plain = {"source": None, "targets": {"tasks": ["mini-rte"], "methods": {"prompt_tuning": {}}}}
    for taken in ({"targets": targets}, {"prompt": {"start": "saved", "path": str(source)}}):
        listener = Listener()
        load_materials(small_experiment(other, **(plain | taken)), [], listener)
        said = f"the prompt in {source}: it was trained with {backbone}, which is not used here, but {other}"
        assert listener.said(said)
