"""A finished run as an object: answers alone and mixed, ranking, scores, prompts, and what it refuses."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import multiprompt as mp
from conftest import save_tiny
from multiprompt.data import load_task_data
from multiprompt.errors import CheckpointError, ConfigError, DataError, UnknownNameError
from multiprompt.evaluation import generate
from multiprompt.evaluation.results import read_results
from multiprompt.methods import TaskMethod
from multiprompt.recipes.use import evaluate_method
from multiprompt.runs import finished_run, run_experiment
from multiprompt.tasks import TASKS
from recipes.small import Listener, small_experiment
from rounding import SMOOTH, assert_clear

SOURCES, TARGETS = ("mini-sst2", "mini-squad"), ("mini-rte", "mini-e2e")
JOINED = ("mpt", "prompt_tuning", "spot", "attempt", "dept")
OTHERS = ("adapters", "fine_tuning")
SHORT = {"steps": 3, "batch_size": 4, "select": "last"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Of a finished run of two seeds, with prompts of two lengths (that of dept is shorter) and layers inside."""
    methods = {name: {} for name in (*JOINED, *OTHERS)}
    methods |= {"spot": {"start": SOURCES[0]}, "attempt": {"bottleneck": 4}, "adapters": {"reduction": 4}}
    experiment = small_experiment(
        save_tiny(tmp_path_factory.mktemp("backbone"), **SMOOTH),
        seeds=[1, 2],
        teachers={"training": SHORT},
        source={"tasks": list(SOURCES), "training": SHORT},
        targets={"tasks": list(TARGETS), "methods": methods, "training": SHORT},
    )
    folder = tmp_path_factory.mktemp("runs") / "run"
    run_experiment(experiment, folder)
    return folder


@pytest.fixture(scope="module")
def run(folder) -> mp.FinishedRun:
    return mp.open_run(folder)


@pytest.fixture(scope="module")
def pool(run) -> dict[tuple[str, str], dict[str, str]]:
    """Texts for every task and method with the answers that each gets alone; no rounding changes one of them."""
    found = {}
    for task in TARGETS:
        texts = [example.source for example in load_task_data(TASKS[task], max_test=4).test]
        texts += ["a", f"{texts[0]} and {texts[1]} and more than the limit"]
        for method in (*JOINED, *OTHERS):
            answers = {}
            for text in texts:
                (answers[text],) = assert_clear(run.backbone, lambda t=text: run.answer(task, [t], method))  # noqa: B023
            found[task, method] = answers
    assert len({tuple(answers.values()) for answers in found.values()}) > len(JOINED), "the cases differ"
    return found


@given(st.data())
@settings(max_examples=40)
def test_mixed_answers_are_those_of_each_text_alone(run, pool, data):
    methods = {task: data.draw(st.sampled_from((*JOINED, *OTHERS))) for task in TARGETS}
    choices = st.sampled_from([(task, text) for task in TARGETS for text in pool[task, methods[task]]])
    examples = data.draw(st.lists(choices, min_size=1, max_size=12))
    budget = data.draw(st.sampled_from([40, 200, generate.PADDED_TOKENS]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "PADDED_TOKENS", budget)
        answers = run.answer_mixed(examples, methods)
    assert answers == [pool[task, methods[task]][text] for task, text in examples]


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("method", [*JOINED, "adapters"])
def test_tasks_of_one_limit_share_batches(run, monkeypatch, beams, method):
    """Two tasks go through the backbone in one call where the method acts on inputs alone, with beams too."""
    choose = finished_run.choose_task

    def with_beams(*arguments):
        task, notes = choose(*arguments)
        return replace(task, beams=beams, generation_length=5), notes

    monkeypatch.setattr(finished_run, "choose_task", with_beams)
    texts = ["a text", "another text", "the third"]
    expected = {task: run.answer(task, texts, method) for task in TARGETS}
    calls, decode = [], run.backbone.generate
    monkeypatch.setattr(
        run.backbone, "generate", lambda inputs, *rest: calls.append((len(inputs), *rest)) or decode(inputs, *rest)
    )
    answers = run.answer_mixed([(task, text) for text in texts for task in TARGETS], method)
    assert answers == [answer for pair in zip(*expected.values(), strict=True) for answer in pair]
    assert calls == ([(2, 5, beams)] if method in JOINED else [(1, 5, beams)] * 2)


def test_the_limits_are_those_of_each_task(run, monkeypatch):
    lengths = {task: run.task(task).generation_length for task in TARGETS}
    assert len(set(lengths.values())) == 2
    calls, decode = [], run.backbone.generate
    monkeypatch.setattr(
        run.backbone,
        "generate",
        lambda inputs, *rest: calls.append((inputs[0].batch.input_ids.shape[1], rest[0])) or decode(inputs, *rest),
    )
    run.answer_mixed([(task, "a long text " * 9) for task in TARGETS])
    assert sorted(calls) == sorted((24, length) for length in lengths.values())


def test_one_backbone_and_one_reading_for_many_uses(folder, monkeypatch):
    loaded, restored = [], []
    load, restore = finished_run.load_backbone, finished_run.restore
    monkeypatch.setattr(finished_run, "load_backbone", lambda **options: loaded.append(1) or load(**options))
    monkeypatch.setattr(
        finished_run, "restore", lambda *arguments: restored.append(arguments[-1].name) or restore(*arguments)
    )
    run = mp.open_run(str(folder))
    assert (run.tasks, run.seeds) == ((*SOURCES, *TARGETS), (1, 2))
    run.prompt("mini-rte")
    assert (loaded, restored) == ([], []), "looking needs no model"
    weights = {name: tensor.clone() for name, tensor in run.backbone.weights().items()}
    for _ in range(2):
        for method in ("mpt", *OTHERS):
            run.answer("mini-rte", ["a text"], method)
            run.rank("mini-rte", ["a text"], method)
    assert len(loaded) == 1
    names = [f"target-mini-rte-{method}-all" for method in ("mpt", "adapters")]
    assert [restored.count(name) for name in names] == [1, 1]
    assert restored.count("target-mini-rte-fine_tuning-all") == 4, "whole models are not kept"
    assert all(torch.equal(tensor, weights[name]) for name, tensor in run.backbone.weights().items())


def test_what_is_in_it(folder, run):
    methods = {"teacher": SOURCES, "student": SOURCES} | dict.fromkeys((*JOINED, *OTHERS), TARGETS)
    assert {name: set(tasks) for name, tasks in run.methods.items()} == {n: set(t) for n, t in methods.items()}
    assert repr(run).startswith(f"FinishedRun('{folder}', seeds 1, 2: teacher (mini-sst2, mini-squad), ")
    assert "mpt (mini-rte, mini-e2e)" in repr(run)
    assert "\n" not in repr(run)
    assert run.scores() == read_results(folder / "results.json")[1]
    assert run.experiment.name == "small"
    assert run.task("mini-rte").max_source_length == 24


def test_scores_again(run):
    listener = Listener()
    again = run.evaluate(["mini-rte"], max_test=3, progress=listener)
    assert [(s.method, s.seed, s.n) for s in again] == [(m, s, 3) for s in (1, 2) for m in run.methods if m in METHODS]
    assert len(listener.trained) == len(again)
    stored = [s for s in run.scores() if s.task == "mini-rte"]
    assert [s.value for s in run.evaluate(["mini-rte"])] == [s.value for s in stored]


METHODS = (*JOINED, *OTHERS)


@pytest.mark.parametrize("method", ["mpt", "dept", "adapters"])
def test_ranks_as_a_ranked_evaluation_does(run, method):
    task = mp.load_task("mini-rte", run.backbone, run.experiment.data)
    texts = [example.source for example in task.data.test]
    ranked = run.rank("mini-rte", texts, method)
    trained = run._trained(run.folder / "seed-1" / f"target-mini-rte-{method}-all")
    with trained.inside() as inside:
        assert isinstance(inside, TaskMethod)
        expected = evaluate_method(inside, task, ranked=True).predictions
    assert [next(iter(each)) for each in ranked] == expected
    for each in ranked:
        assert set(each) == set(task.task.labels)
        assert sum(each.values()) == pytest.approx(1)
        assert list(each.values()) == sorted(each.values(), reverse=True)


def test_a_prompt_is_the_matrix_that_the_stage_has_merged(folder, run):
    for seed in (1, 2):
        stored = mp.load_prompt(folder / f"seed-{seed}" / "target-mini-rte-mpt-all" / "merged.safetensors")
        assert torch.equal(run.prompt("mini-rte", "mpt", seed), stored.prompt.all_tasks()[0])
    source = mp.load_prompt(folder / "seed-1" / "source" / "merged.safetensors")
    prompt = run.prompt("mini-squad", "student")
    assert torch.equal(prompt, source.prompt.all_tasks()[SOURCES.index("mini-squad")])
    assert (tuple(prompt.shape), prompt.requires_grad) == ((4, run.backbone.width), False)
    for method in ("dept", "attempt", "adapters"):
        with pytest.raises(ConfigError, match=f"{method} has trained no prompt .* that have: mpt, prompt_tuning, spot"):
            run.prompt("mini-rte", method)


@pytest.mark.parametrize(
    ("use", "error", "says"),
    [
        (lambda run: run.answer("mini-rtee", ["x"]), UnknownNameError, "unknown task of this run 'mini-rtee'; did you"),
        (lambda run: run.evaluate(["mini-rtee"]), UnknownNameError, "did you mean 'mini-rte'"),
        (lambda run: run.answer_mixed([("mini-rtee", "x")]), UnknownNameError, "did you mean 'mini-rte'"),
        (lambda run: run.task("mini-rtee"), UnknownNameError, "did you mean 'mini-rte'"),
        (lambda run: run.answer("mini-rte", "x"), ConfigError, "expected a list, not the text 'x'"),
        (lambda run: run.rank("mini-rte", "x"), ConfigError, "expected a list, not the text 'x'"),
        (lambda run: run.evaluate("mini-rte"), ConfigError, "tasks: expected a list, not the text 'mini-rte'"),
        (lambda run: run.answer_mixed("xy"), ConfigError, "the examples: expected a list, not the text 'xy'"),
        (lambda run: run.answer_mixed([("mini-rte", "x"), "xy"]), ConfigError, "example 2: expected a pair .* 'xy'"),
        (lambda run: run.answer("mini-rte", []), DataError, "there is no source text"),
        (lambda run: run.rank("mini-rte", []), DataError, "there is no source text"),
        (lambda run: run.answer_mixed([]), DataError, "there is no source text"),
        (lambda run: run.answer("mini-rte", ["a", "\ud800"]), DataError, "source text 2 holds half of a character"),
        (lambda run: run.answer("mini-rte", [{"sentence1": "x"}]), DataError, "input 1: column 'sentence2' is missing"),
        (
            lambda run: run.answer_mixed([("mini-e2e", "x"), ("mini-rte", {"sentence1": "x"})]),
            DataError,
            "input 2: column 'sentence2' is missing",
        ),
        (
            lambda run: run.answer("mini-rte", ["x"], "lora"),
            UnknownNameError,
            "unknown method for 'mini-rte' .* 'lora'",
        ),
        (lambda run: run.answer_mixed([("mini-rte", "x")], {"rte": "mpt"}), UnknownNameError, "task of this run 'rte'"),
        (lambda run: run.answer("mini-rte", ["x"], seed=9), CheckpointError, "with seed 9; its seeds: 1, 2"),
        (lambda run: run.prompt("mini-rte", seed=9), CheckpointError, "with seed 9"),
        (lambda run: run.rank("mini-e2e", ["x"]), ConfigError, "mini-e2e has no labels"),
    ],
)
def test_wrong_uses_are_refused_before_anything_is_loaded(folder, use, error, says):
    run = mp.open_run(folder)
    with pytest.raises(error, match=says):
        use(run)
    assert "backbone" not in vars(run)


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(CheckpointError, match="not a run folder"):
        mp.open_run(tmp_path)


def test_what_is_not_finished_is_not_there(folder, tmp_path):
    half = shutil.copytree(folder, tmp_path / "half")
    for path in half.glob("seed-*/target-mini-e2e-*/result.json"):
        path.unlink()
    (half / "seed-1" / "target-mini-rte-mpt-all" / "result.json").unlink()
    for path in half.glob("seed-2/target-mini-rte-*/result.json"):
        path.unlink()
    run = mp.open_run(half)
    assert (run.tasks, run.seeds) == ((*SOURCES, "mini-rte"), (1, 2))
    assert "mpt" not in run.methods
    with pytest.raises(CheckpointError, match="has not finished anything for 'mini-e2e'; run .* with --resume"):
        run.answer("mini-e2e", ["x"])
    with pytest.raises(CheckpointError, match="not finished mpt for 'mini-rte' with seed 1; run .* with --resume"):
        run.answer("mini-rte", ["x"], "mpt")
    with pytest.raises(CheckpointError, match="not finished anything for 'mini-rte' with seed 2; .* with --resume"):
        run.answer("mini-rte", ["x"], seed=2)
    assert run.answer("mini-rte", ["x"]) == run.answer("mini-rte", ["x"], "prompt_tuning")
    for path in half.glob("seed-*/*/result.json"):
        path.unlink()
    assert repr(mp.open_run(half)).endswith("nothing finished)")


def test_a_damaged_stage_is_named_by_every_use(folder, tmp_path):
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    path = damaged / "seed-1" / "target-mini-rte-mpt-all" / "prompt.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    run = mp.open_run(damaged)
    for use in (
        lambda: run.answer("mini-rte", ["x"]),
        lambda: run.rank("mini-rte", ["x"]),
        lambda: run.prompt("mini-rte"),
        lambda: run.evaluate(["mini-rte"]),
    ):
        with pytest.raises(CheckpointError, match=r"prompt\.safetensors is not as it was written"):
            use()
