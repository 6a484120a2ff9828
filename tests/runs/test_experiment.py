"""A whole experiment on a random backbone: what is written, that kills change nothing, what is refused."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from conftest import build_tiny_model, save_tiny
from multiprompt.config import load_experiment
from multiprompt.errors import CheckpointError, ConfigError, DataError, TrainingError, UnknownNameError
from multiprompt.evaluation.results import read_results
from multiprompt.files import read_json
from multiprompt.methods.prompt_starts import start_target_prompt
from multiprompt.prompts import DecomposedPrompt, SharedPrompt, compose, load_prompt
from multiprompt.recipes.target import target_epochs
from multiprompt.runs import open_run, run_experiment
from multiprompt.tasks import TASKS
from recipes.small import KillAt, Killed, small_experiment, stored_tensors


def test_text_is_written_from_data_with_beams_and_scored_by_subsets(tiny_folder, tmp_path):
    def write(folder: str, **splits: list[dict]) -> None:
        (tmp_path / "nlg" / folder).mkdir(parents=True)
        for split, rows in splits.items():
            (tmp_path / "nlg" / folder / f"{split}.jsonl").write_text(
                "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
            )

    meals = [{"meaning_representation": f"name[A{n // 2}]", "human_reference": f"text {n}"} for n in range(8)]
    write("e2e_nlg", train=meals, validation=meals, test=meals[:6])
    facts = [
        {
            "category": category,
            "modified_triple_sets": {"mtriple_set": [[f"{category} | is | {n}"]]},
            "lex": {"text": ["one text", f"text {n}"]},
        }
        for n in range(3)
        for category in ("Airport", "Artist")
    ]
    write("webnlg", train=facts, validation=facts, test=facts)
    experiment = small_experiment(
        tiny_folder,
        data={"location": str(tmp_path)},
        source=None,
        targets={"tasks": ["e2e", "webnlg"], "methods": {"prompt_tuning": {}}},
    )
    run_experiment(experiment, tmp_path / "run")
    e2e, webnlg = read_results(tmp_path / "run" / "results.json")[1]
    assert (e2e.metric, e2e.n) == ("bleu_e2e", 3)
    assert list(e2e.metrics) == ["bleu_e2e", "nist", "meteor_e2e", "rouge_l", "cider"]
    names = ("bleu_webnlg", "meteor", "ter")
    assert set(webnlg.metrics) == {f"{name}{part}" for name in names for part in ("", "/seen", "/unseen")}
    assert "webnlg: of 6 test examples 3 seen and 3 unseen" in webnlg.notes
    # errors per word of reference: the whole lies between its parts
    parts = sorted(webnlg.metrics[f"ter/{part}"] for part in ("seen", "unseen"))
    assert parts[0] <= webnlg.metrics["ter"] <= parts[1]
    predictions = (tmp_path / "run" / "seed-1" / "target-e2e-prompt_tuning-all" / "predictions-e2e.jsonl").read_text(
        encoding="utf-8"
    )
    rows = [json.loads(line) for line in predictions.splitlines()]
    assert [(row["row"], row["references"]) for row in rows[:2]] == [
        ("test:0", ["text 0", "text 1"]),
        ("test:2", ["text 2", "text 3"]),
    ]


def test_epochs_are_those_of_the_paper():
    assert [target_epochs([TASKS["rte"]], [size]) for size in (10_000, 10_001)] == [20, 10]
    assert target_epochs([TASKS["squad"]], [5]) == 5
    assert target_epochs([TASKS["e2e"]], [5]) == target_epochs([TASKS["webnlg"]], [5]) == 10


@pytest.fixture(scope="module")
def backbone(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def finished(backbone, tmp_path_factory) -> Path:
    """A finished run of the whole method, which tests read."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    run_experiment(small_experiment(backbone), folder)
    return folder


@pytest.fixture(scope="module")
def one_after_the_other(backbone, tmp_path_factory) -> Path:
    """The same, without joint passes."""
    folder = tmp_path_factory.mktemp("one-after-the-other") / "run"
    run_experiment(small_experiment(backbone, together=False), folder)
    return folder


def test_a_run_leaves_everything_that_it_says(backbone, finished):
    experiment, folder = small_experiment(backbone), finished
    assert load_experiment(folder / "config.yaml") == experiment
    environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    assert environment["packages"]["torch"] == torch.__version__.partition("+")[0] or torch.__version__
    assert set(environment["data"]) == {"mini-sst2", "mini-qqp", "mini-squad", "mini-rte", "mini-boolq"}
    stages = sorted(path.name for path in (folder / "seed-1").iterdir())
    assert stages == sorted(
        [
            "source",
            "teacher-mini-sst2",
            "teacher-mini-qqp",
            "teacher-mini-squad",
            *(
                f"target-{task}-{method}-all"
                for task in ("mini-rte", "mini-boolq")
                for method in ("mpt", "prompt_tuning", "fine_tuning")
            ),
        ]
    )
    scores = read_results(folder / "results.json")[1]
    assert {(s.task, s.method) for s in scores} == {
        *((task, role) for task in experiment.source.tasks for role in ("teacher", "student")),
        *((task, method) for task in experiment.targets.tasks for method in experiment.targets.methods.chosen()),
    }
    parameters = {s.method: s.parameters for s in scores}
    # 4 x 16 alone; shared by three tasks plus u and v; alone with u and v.
    assert parameters["teacher"] == parameters["prompt_tuning"] == 64
    assert parameters["student"] == round(64 / 3 + 4 + 16)
    assert parameters["mpt"] == 64 + 4 + 16
    for score in scores:
        assert score.n == 8
        assert score.interval[0] <= score.value <= score.interval[1]
    log = (folder / "seed-1" / "source" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [record for record in map(json.loads, log) if "loss" in record]
    assert [record["step"] for record in losses] == [1, 2, 3, 4]
    assert list(losses[0]["terms"]) == ["task", "logits", "encoder states", "decoder states"]
    assert set(losses[0]["tasks"]) <= set(experiment.source.tasks)
    assert not list(folder.rglob("checkpoint.safetensors"))
    predictions = (
        (folder / "seed-1" / "source" / "predictions-mini-squad.jsonl").read_text(encoding="utf-8").splitlines()
    )
    assert len(predictions) == 8


def test_the_merged_prompt_is_the_product(finished):
    for stage, tasks in (("source", 3), ("target-mini-rte-mpt-all", 1)):
        folder = finished / "seed-1" / stage
        stored, merged = (
            load_prompt(folder / "prompt.safetensors"),
            load_prompt(folder / "merged.safetensors"),
        )
        assert isinstance(stored.prompt, DecomposedPrompt)
        assert len(stored.tasks) == tasks
        product = compose(stored.prompt.shared, torch.stack(list(stored.prompt.u)), torch.stack(list(stored.prompt.v)))
        assert torch.equal(merged.prompt.all_tasks(), product)


@pytest.mark.parametrize(("kills", "together"), [((2, 5, 9), False), ((4, 8, 1, 3, 2, 2, 7), False), ((2, 3, 4), True)])
def test_a_run_that_is_killed_again_and_again_ends_bitwise_the_same(request, backbone, tmp_path, kills, together):
    # One after the other teachers take steps 1 to 12, the source 13 to 16, the targets the rest. Side by side they take
    # 4 steps, and runs that are killed before any of them ends go through the same joint passes again.
    experiment = small_experiment(backbone, together=together)
    whole, killed = request.getfixturevalue("finished" if together else "one_after_the_other"), tmp_path / "killed"
    for number, kill in enumerate(kills):
        with pytest.raises(Killed):
            run_experiment(experiment, killed, resume=number > 0, progress=KillAt(kill))
    run_experiment(experiment, killed, resume=True)
    expected, tensors = stored_tensors(whole), stored_tensors(killed)
    assert expected.keys() == tensors.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensors[name], tensor), name
    values = [[(s.task, s.method, s.value) for s in read_results(f / "results.json")[1]] for f in (whole, killed)]
    assert values[0] == values[1]


def test_a_folder_that_holds_a_run_or_something_else_is_refused_and_left_alone(tiny_folder, tmp_path):
    folder = tmp_path / "run"
    experiment = small_experiment(tiny_folder, source=None, targets={"methods": {"prompt_tuning": {}}})
    run_experiment(experiment, folder)
    before = stored_tensors(folder)
    with pytest.raises(CheckpointError, match="holds a run already; add --resume"):
        run_experiment(experiment, folder)
    changed = replace(experiment, prompt=replace(experiment.prompt, length=5))
    with pytest.raises(CheckpointError, match="holds a run already; add --resume"):
        run_experiment(changed, folder)
    run_experiment(experiment, folder, resume=True)
    for name, tensor in stored_tensors(folder).items():
        assert torch.equal(tensor, before[name])
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(CheckpointError, match="holds files but no run"):
        run_experiment(experiment, other)


def test_a_stored_prompt_can_be_the_source(backbone, finished, tmp_path):
    source = finished / "seed-1" / "source" / "prompt.safetensors"
    values = small_experiment(backbone, source=None, targets={"source_prompt": str(source), "methods": {"mpt": {}}})
    run_experiment(values, tmp_path / "two")
    names = [
        f"seed-1/target-{task}-mpt-all/prompt.safetensors/{t}" for task in ("mini-rte",) for t in ("shared", "u.0")
    ]
    one, two = stored_tensors(finished), stored_tensors(tmp_path / "two")
    for name in names:
        assert torch.equal(one[name], two[name])


def test_group_few_shot_and_ablations(tiny_folder, tmp_path):
    run_experiment(
        small_experiment(
            tiny_folder,
            source={"decomposed": False, "distillation": {"kind": "no_hidden"}},
            targets={
                "methods": {"mpt": {}},
                "group": True,
                "shots": [4, "all"],
                "few_shot_training": {"steps": 2},
            },
        ),
        tmp_path / "plain",
    )
    assert isinstance(load_prompt(tmp_path / "plain/seed-1/source/prompt.safetensors").prompt, SharedPrompt)
    drawn = read_json(tmp_path / "plain/seed-1/target-group-mpt-4/result.json")["few_shot_rows"]
    assert {task: len(set(rows)) for task, rows in drawn.items()} == {"mini-rte": 4, "mini-boolq": 4}
    assert all(row.startswith("train:") for rows in drawn.values() for row in rows)
    assert "few_shot_rows" not in read_json(tmp_path / "plain/seed-1/target-group-mpt-all/result.json")
    run_experiment(
        small_experiment(
            tiny_folder,
            source={"distillation": {"kind": "none"}},
            targets={"methods": {"mpt": {"adapt": "task_only"}}, "group": True},
        ),
        tmp_path / "group",
    )
    assert not list((tmp_path / "group" / "seed-1").glob("teacher-*")), "no teacher is needed without distillation"
    source = load_prompt(tmp_path / "group/seed-1/source/prompt.safetensors").prompt
    target = load_prompt(tmp_path / "group/seed-1/target-group-mpt-all/prompt.safetensors")
    assert target.tasks == ("mini-rte", "mini-boolq")
    assert torch.equal(target.prompt.shared, source.shared), "task_only leaves the shared prompt alone"
    scores = read_results(tmp_path / "group" / "results.json")[1]
    assert {s.task for s in scores if s.method == "mpt"} == {"mini-rte", "mini-boolq"}


def tasks_of_the_steps(folder: Path) -> list[set[str]]:
    """The tasks in the batch of every step."""
    records = map(json.loads, (folder / "log.jsonl").read_text(encoding="utf-8").splitlines())
    return [set(record["tasks"]) for record in records if "loss" in record]


def test_fine_tuning_of_a_group_with_all_and_with_few_examples(tiny_folder, tmp_path):
    def run(mode: str) -> Path:
        training = {"steps": 8, "batch_size": 6, "log_every": 1}
        targets = {
            "tasks": ["mini-rte", "mini-boolq"],
            "methods": {"fine_tuning": {}},
            "group": True,
            "shots": [4, "all"],
            "training": training,
            "few_shot_training": training,
            "mixing": {"mode": mode},
        }
        run_experiment(small_experiment(tiny_folder, source=None, targets=targets), tmp_path / mode)
        return tmp_path / mode

    both = {"mini-rte", "mini-boolq"}
    tensors = {}
    for mode in ("uniform_tasks", "proportional"):
        folder = run(mode)
        scores = read_results(folder / "results.json")[1]
        assert {(s.task, s.shots) for s in scores} == {(task, shots) for task in both for shots in (4, "all")}
        weights = build_tiny_model().num_parameters()
        assert {s.parameters for s in scores} == {round(weights / 2)}, "one model for two tasks"
        for shots in (4, "all"):
            place = folder / "seed-1" / f"target-group-fine_tuning-{shots}"
            steps = tasks_of_the_steps(place)
            assert len(steps) == 8
            # two tasks are drawn for a batch of either kind, in the proportional one with replacement
            alone = [step for step in steps if step != both]
            assert bool(alone) == (mode == "proportional")
            tensors[mode, shots] = load_file(place / "method.safetensors")
        drawn = read_json(folder / "seed-1/target-group-fine_tuning-4/result.json")["few_shot_rows"]
        assert {task: len(rows) for task, rows in drawn.items()} == dict.fromkeys(both, 4)
        again = {(s.task, s.shots): s.value for s in open_run(folder).evaluate()}
        assert again == {(s.task, s.shots): s.value for s in scores}
    for one, other in (
        (("uniform_tasks", "all"), ("uniform_tasks", 4)),
        (("uniform_tasks", "all"), ("proportional", "all")),
    ):
        assert not torch.equal(tensors[one]["shared.weight"], tensors[other]["shared.weight"])


def test_the_start_of_a_target():
    shared, generator = torch.randn(4, 6), torch.Generator().manual_seed(0)
    factors = [(torch.randn(4, 1, generator=generator), torch.randn(1, 6, generator=generator)) for _ in range(3)]
    source = DecomposedPrompt(shared, factors)
    u, v = (torch.stack(column).mean(0) for column in zip(*factors, strict=True))
    both = start_target_prompt(source, 2)
    assert torch.allclose(both.all_tasks(), (shared * (u @ v)).expand(2, -1, -1))
    alone = start_target_prompt(source, 2, "shared_only")
    assert torch.equal(alone.all_tasks(), shared.expand(2, -1, -1))
    both.shared.data.zero_()
    assert torch.equal(source.shared, shared), "the source must not change"


def test_using_a_run(finished, tmp_path):
    folder = finished
    stored = {(s.task, s.method): s.value for s in read_results(folder / "results.json")[1]}
    again = {(s.task, s.method): s.value for s in open_run(folder).evaluate()}
    assert again == stored
    assert {s.task for s in open_run(folder).evaluate(tasks=["mini-rte"])} == {"mini-rte"}
    lines = (
        (folder / "seed-1/target-mini-rte-mpt-all/predictions-mini-rte.jsonl").read_text(encoding="utf-8").splitlines()
    )
    from multiprompt.data import load_task_data

    texts = [example.source for example in load_task_data(TASKS["mini-rte"], max_test=8).test]
    assert open_run(folder).answer("mini-rte", texts) == [json.loads(line)["prediction"] for line in lines]
    assert len(open_run(folder).answer("mini-rte", texts[:2], method="fine_tuning", seed=1)) == 2
    with pytest.raises(UnknownNameError, match="'mini-rtee'; did you mean 'mini-rte'"):
        open_run(folder).answer("mini-rtee", texts)
    with pytest.raises(UnknownNameError, match="unknown method for 'mini-rte' in this run 'spot'"):
        open_run(folder).answer("mini-rte", texts, method="spot")
    with pytest.raises(CheckpointError, match="seed 9"):
        open_run(folder).answer("mini-rte", texts, seed=9)
    with pytest.raises(CheckpointError, match="not a run folder"):
        open_run(tmp_path).evaluate()


def test_what_goes_wrong_is_said_and_what_was_done_stays(tiny_folder, tmp_path):
    folder = tmp_path / "run"
    bad = small_experiment(
        tiny_folder,
        targets={
            "methods": {"mpt": {"learning_rate": 1e30, "factor_learning_rate": 1e30}},
            "tasks": ["mini-rte"],
        },
    )
    with pytest.raises(TrainingError, match="target-mini-rte-mpt-all, step"):
        run_experiment(bad, folder)
    before = stored_tensors(folder)
    assert "seed-1/source/prompt.safetensors/shared" in before
    with pytest.raises(TrainingError):
        run_experiment(bad, folder, resume=True)
    assert stored_tensors(folder).keys() == before.keys()
    with pytest.raises(UnknownNameError, match="did you mean 'mini-sst2'"):
        run_experiment(small_experiment(tiny_folder, source={"tasks": ["mini-sst22", "mini-qqp"]}), tmp_path / "a")
    local = small_experiment(tiny_folder, source=None, targets={"tasks": ["rte"], "methods": {"prompt_tuning": {}}})
    with pytest.raises(DataError, match="does not exist"):
        run_experiment(replace(local, data=replace(local.data, location=str(tmp_path / "no"))), tmp_path / "b")
    assert not (tmp_path / "b").exists(), "a run that cannot begin leaves no folder behind"
    with pytest.raises(ConfigError, match="a prompt of 120 rows cannot start from 98 distinct"):
        run_experiment(small_experiment(tiny_folder, prompt={"length": 120}), tmp_path / "c")


def test_a_package_that_a_method_needs_is_missed_before_anything_runs(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    experiment = small_experiment(tiny_folder, targets={"methods": {"mpt": {}, "lora": {}}})
    with pytest.raises(ConfigError, match=r"multiprompt\[peft\]"):
        run_experiment(experiment, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_questions_are_judged_as_a_whole(tiny_folder, tmp_path):
    rows = tmp_path / "data" / "super_glue" / "multirc"
    rows.mkdir(parents=True)
    for split in ("train", "validation"):
        lines = [
            {"paragraph": "p", "question": "q", "answer": str(n), "label": n % 2}
            | {"idx": {"paragraph": 0, "question": n // 3, "answer": n}}
            for n in range(24)
        ]
        (rows / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    experiment = small_experiment(
        tiny_folder,
        data={"location": str(tmp_path / "data"), "max_test": 12},
        source={"tasks": ["mini-sst2", "multirc"]},
        targets={"tasks": ["multirc"], "methods": {"fine_tuning": {"learning_rate": 0.001}}},
    )
    run_experiment(experiment, tmp_path / "run")
    _, scores = read_results(tmp_path / "run" / "results.json")
    target = scores[-1]
    assert (target.task, target.method, target.metric) == ("multirc", "fine_tuning", "f1")
    folder = tmp_path / "run" / "seed-1" / "target-multirc-fine_tuning-all"
    answers = [
        json.loads(line) for line in (folder / "predictions-multirc.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    right: dict[str, bool] = {}
    for answer in answers:
        question = f"paragraph 0, question {int(answer['row'].split(':')[1]) // 3}"
        assert answer["group"] == question
        right[question] = right.get(question, True) and answer["prediction"] == answer["references"][0]
    assert target.metrics["question_exact_match"] == pytest.approx(100 * sum(right.values()) / len(right))
    assert [score.metrics for score in open_run(tmp_path / "run").evaluate()] == [score.metrics for score in scores]
