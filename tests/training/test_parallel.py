"""Several processes end as one does, and fail together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file
from torch.distributed import TCPStore

from conftest import THREADS, random_batch
from multiprompt.batch import Batch
from multiprompt.config import to_yaml
from multiprompt.errors import ConfigError
from multiprompt.evaluation.generate import generate_answers
from multiprompt.evaluation.results import read_results
from multiprompt.parallel import Processes, distributed_processes
from multiprompt.training.step import own_examples
from recipes.small import assert_as_alone, small_experiment
from rounding import SAME, assert_clear, assert_same_moves
from training import parallel_cases as cases

TESTS = Path(__file__).parents[1]
PROCESSES = 2


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(TESTS)])
    return os.environ | {"OMP_NUM_THREADS": str(THREADS), "PYTHONPATH": path} | more


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The folders of two processes that have done all cases together, started as a launcher starts them."""
    folder = tmp_path_factory.mktemp("joint")
    # As the agent of torchrun does, this process holds the store where they meet: its port is never free for others.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    where = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": str(PROCESSES),
    }
    started = [
        subprocess.Popen(
            [sys.executable, cases.__file__, str(folder)],
            env=environment(**where, RANK=str(rank), LOCAL_RANK=str(rank)),
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        for rank in range(PROCESSES)
    ]
    said = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0] * PROCESSES, "\n".join(said)
    return [folder / f"process-{rank}" for rank in range(PROCESSES)]


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, torch.Tensor]]]:
    """The same cases in one process: the folder of their logs, and the tensors of each."""
    folder = tmp_path_factory.mktemp("single")
    return folder, {case: cases.do(case, folder) for case in cases.CASES}


def told(folder: Path) -> dict:
    return json.loads((folder / "told.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", cases.CASES)
def test_two_processes_train_what_one_trains(joint, single, case):
    alone = single[1][case]
    first, second = (load_file(folder / f"{case}.safetensors") for folder in joint)
    start = cases.start_of(case)
    assert_same_moves(first, alone, start)
    assert all(torch.equal(second[name], tensor) for name, tensor in first.items()), "replicas stay equal"
    if case in ("prompt_tuning", "source"):
        absent = "prompts.1" if case == "prompt_tuning" else "u.1"
        assert torch.equal(first[absent], start[absent])
        moved = "prompts.2" if case == "prompt_tuning" else "u.2"
        assert not torch.equal(first[moved], start[moved])


@pytest.mark.parametrize("case", [case for case in cases.CASES if case != "together"])
def test_the_log_is_that_of_one_process_and_written_once(joint, single, case):
    lines = [
        [json.loads(line) for line in (folder / f"{case}.jsonl").read_text(encoding="utf-8").splitlines()]
        for folder in (single[0], joint[0])
    ]
    assert not (joint[1] / f"{case}.jsonl").exists()
    assert len(lines[0]) == len(lines[1]) > cases.STEPS
    for ours, alone in zip(lines[1], lines[0], strict=True):
        assert ours.keys() == alone.keys()
        for key in {"loss", "dev", "gradient_norm", "step"} & alone.keys():
            assert ours[key] == pytest.approx(alone[key], rel=SAME, abs=2e-5), key
        for key in {"terms", "tasks"} & alone.keys():
            assert ours[key] == pytest.approx(alone[key], rel=SAME, abs=2e-5), key


def test_answers_are_gathered_in_their_order(joint):
    method = cases.method_of("prompt_tuning", cases.backbone())
    alone = assert_clear(method.backbone, lambda: generate_answers(method, cases.examples_to_answer(), 0, 5))
    assert len(set(alone)) > 1
    for folder in joint:
        assert told(folder)["answers"] == alone


def test_processes_draw_dropout_masks_of_their_own(joint):
    masks = told(joint[0])["masks"]
    assert masks == told(joint[1])["masks"]
    assert len(set(masks)) == PROCESSES


def test_a_failure_in_one_process_ends_all_alike(joint):
    first, second = map(told, joint)
    assert first["not finite"].startswith("the loss is not finite (terms: task) in spoilt, step 2")
    assert first["together"][0] == f"{cases.STEPS} steps"
    assert first["together"][1].startswith("the loss is not finite (terms: task) in broken, step 2")
    assert "process 0 at step 0 of run-0, process 1 at step 0 of run-1" in first["other place"]
    assert first["shared error"] == "a file is missing on this machine"
    assert "went on" not in first
    assert first | {"rank": 1} == second


def test_a_process_whose_fellow_is_killed_says_so(joint):
    message = (joint[0] / "lost.txt").read_text(encoding="utf-8")
    assert message.startswith("process 0 of 2 has lost the others")
    assert message.endswith("Start all of them again with --resume")


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_examples_are_dealt_out_once_and_evenly(monkeypatch, count):
    batches = cases.Drawn(4, 11, 4).__next__()
    batches = [*batches, random_batch(7, 1, 1)]
    parts = []
    for rank in range(count):
        process = Processes()
        process.rank, process.count = rank, count
        monkeypatch.setattr("multiprompt.parallel._current", process)
        parts.append(own_examples(batches))
    for index, batch in enumerate(batches):
        rows = [row for own in parts if index in own for row in unpadded(own[index])]
        assert sorted(rows) == sorted(unpadded(batch))
    sizes = [sum(len(batch) for batch in own.values()) for own in parts]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) > 0


def unpadded(batch: Batch) -> list[tuple]:
    return [
        (ids[mask.bool()].tolist(), labels[labels >= 0].tolist(), int(task))
        for ids, mask, labels, task in zip(
            batch.input_ids, batch.attention_mask, batch.labels, batch.task_ids, strict=True
        )
    ]


def test_without_accelerate_the_message_names_the_extra(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ConfigError, match=r"started as 2 processes.*multiprompt\[parallel\]"), distributed_processes():
        pass


def test_a_launcher_that_starts_one_process_in_place_of_several_is_noticed(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "False")
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(ConfigError, match="has started one.*torchrun"), distributed_processes():
        pass


def test_one_process_does_not_load_accelerate(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with distributed_processes() as alone:
        assert (alone.rank, alone.count, alone.is_main) == (0, 1, True)
        assert alone.gather("value") == ["value"]
        assert alone.on_main(lambda: 3) == 3


# The command, started by the launcher.

COMMAND = "training.smooth_command"
"""``multiprompt`` with smooth optimisers."""


def launch(config: Path, out: Path, *options: str, processes: int = PROCESSES, **more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", COMMAND]
    if processes > 1:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        command += ["-m", COMMAND]
    return subprocess.Popen(
        [*command, "run", str(config), "--out", str(out), *options],
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.fixture
def config(smooth_folder: Path, tmp_path: Path) -> Path:
    """Teachers, source, two targets by three methods, without dropout."""
    training = {"steps": 6, "batch_size": 6, "evaluate_every": 3, "checkpoint_seconds": 0.0001, "dropout": False}
    sections = {name: {"training": training} for name in ("teachers", "source", "targets")}
    path = tmp_path / "small.yaml"
    path.write_text(to_yaml(small_experiment(smooth_folder, **sections)), encoding="utf-8")
    return path


def assert_same_run(folder: Path, alone: Path) -> None:
    assert_as_alone(folder, alone)
    ours, theirs = (read_results(each / "results.json")[1] for each in (folder, alone))
    assert [(s.task, s.method, s.metrics, s.dev_value) for s in ours] == [
        (s.task, s.method, s.metrics, s.dev_value) for s in theirs
    ]


@pytest.mark.slow
@pytest.mark.launched
def test_a_launched_run_is_that_of_one_process(config, tmp_path):
    code, out, err = finish(launch(config, tmp_path / "two"))
    assert code == 0, err
    assert out.count("report: ") == 1
    assert err.count("teacher-mini-sst2: mini-sst2 ") == 1
    assert json.loads((tmp_path / "two" / "environment.json").read_text(encoding="utf-8"))["processes_together"] == 2
    code, _, err = finish(launch(config, tmp_path / "one", processes=1))
    assert code == 0, err
    assert_same_run(tmp_path / "two", tmp_path / "one")
    code, _, err = finish(launch(config, tmp_path / "two"))
    assert code != 0
    assert err.count("holds a run already; add --resume") == 1


def kill_in(stage: Path, process: subprocess.Popen) -> None:
    """Kill a launcher and its processes as soon as a stage has logged a step."""
    ends = time.monotonic() + 200
    while not ((stage / "log.jsonl").exists() and (stage / "checkpoint.safetensors").exists()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends
        time.sleep(0.01)
    for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        each.kill()
    process.communicate()
    assert not (stage / "result.json").exists(), "it was killed too late"


@pytest.mark.slow
@pytest.mark.launched
def test_a_killed_run_goes_on_with_any_number_of_processes(config, tmp_path):
    code, _, err = finish(launch(config, tmp_path / "one", processes=1))
    assert code == 0, err
    folder = tmp_path / "two"
    kill_in(folder / "seed-1" / "teacher-mini-qqp", launch(config, folder))
    kill_in(folder / "seed-1" / "source", launch(config, folder, "--resume"))
    kill_in(folder / "seed-1" / "target-mini-rte-fine_tuning-all", launch(config, folder, "--resume", processes=1))
    code, _, err = finish(launch(config, folder, "--resume"))
    assert code == 0, err
    assert_same_run(folder, tmp_path / "one")


@pytest.mark.slow
@pytest.mark.launched
def test_a_loss_that_is_not_finite_ends_a_launched_run_with_one_message(config, tmp_path):
    code, out, err = finish(launch(config, tmp_path / "two", "source.learning_rate=1.0e+30"))
    assert code != 0
    assert (err.count("error: "), err.count("not finite")) == (1, 1), err
    assert "report" not in out
    code, _, err = finish(launch(config, tmp_path / "two", "source.learning_rate=1.0e+30", "--resume", processes=1))
    assert (err.count("error: "), err.count("not finite")) == (1, 1), err
