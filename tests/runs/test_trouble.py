"""Two processes, files edited by hand, a full disk: what is said, and that the experiment can go on."""

from __future__ import annotations

import builtins
import errno
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError

from conftest import save_tiny
from multiprompt.analysis import prompt_similarity, transfer_matrix
from multiprompt.analysis.contents import nearest_entries
from multiprompt.config import load_experiment
from multiprompt.errors import CheckpointError, ConfigError, DataError, UnknownNameError
from multiprompt.evaluation.results import read_results
from multiprompt.forecast.estimate import estimate_run
from multiprompt.methods import PromptTuning
from multiprompt.methods.prompt_starts import start_target_prompt
from multiprompt.metrics import invalid_share
from multiprompt.prompts import SharedPrompt, SoftPrompt
from multiprompt.recipes.use import answer_with
from multiprompt.reports import read_run, write_report
from multiprompt.runs import open_run, run_experiment, run_node
from multiprompt.runs.run_folder import only_process
from multiprompt.studies import reproduce
from multiprompt.tasks import TASKS, compat_variant
from recipes.small import KillAt, Killed, Listener, small_experiment, stored_tensors

STAGE = "seed-1/target-mini-rte-prompt_tuning-all"


@pytest.fixture(scope="module")
def backbone(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("backbone"))


def one_stage(backbone: Path):
    targets = {"tasks": ["mini-rte"], "methods": {"prompt_tuning": {}}}
    return small_experiment(backbone, source=None, targets=targets)


@pytest.fixture(scope="module")
def finished(backbone, tmp_path_factory) -> Path:
    """A finished run of one stage, of which tests take a copy."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    run_experiment(one_stage(backbone), folder)
    return folder


def three_stages(backbone: Path):
    sources = {"tasks": ["mini-sst2", "mini-qqp"], "distillation": {"kind": "none"}}
    return small_experiment(
        backbone, source=sources, targets={"tasks": ["mini-rte"], "methods": {"mpt": {}, "bitfit": {}}}
    )


def test_all_missing_data_files_are_listed_before_anything_is_loaded(tmp_path):
    (tmp_path / "superglue" / "cb").mkdir(parents=True)
    targets = {"tasks": ["rte", "cb", "mnli"], "methods": {"prompt_tuning": {}}}
    experiment = small_experiment(Path("no-backbone"), source=None, targets=targets, data={"location": str(tmp_path)})
    with pytest.raises(DataError) as caught:
        run_experiment(experiment, tmp_path / "run")
    first, *lines = str(caught.value).splitlines()
    assert first == "data is missing:"
    assert [line.split(" in ")[0] for line in lines] == [
        "  - task 'rte' has no split 'train'",
        "  - task 'rte' has no split 'validation'",
        "  - task 'cb' has no split 'train'",
        "  - task 'cb' has no split 'validation'",
        "  - task 'mnli' has no split 'train'",
        "  - task 'mnli' has no split 'validation_matched'",  # dev may be made of train
    ]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "call",
    [
        lambda: run_experiment(one_stage(Path("tiny")), Path("run"), reuse="other"),
        lambda: run_experiment(one_stage(Path("tiny")), Path("run"), reuse=Path("other")),
        lambda: estimate_run(one_stage(Path("tiny")), Path("run"), reuse="other"),
        lambda: transfer_matrix(Path("run"), tasks="rte"),
        lambda: prompt_similarity("run"),
        lambda: prompt_similarity([Path("run")], "teacher-*"),
        lambda: load_experiment(Path("x.yaml"), "prompt.length=3"),
        lambda: reproduce("table6", "mini", Path("runs"), overrides="seeds=[1]"),
        lambda: invalid_share("01", ("0", "1"), "label"),
        lambda: invalid_share(["0"], "01", "label"),
    ],
)
def test_one_text_where_a_list_is_expected_is_refused(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r": expected a list, not the text '.*'; put it into a list"):
        call()
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "call",
    [
        lambda: start_target_prompt(SharedPrompt(torch.zeros(2, 4), 1), 1, "bst"),
        lambda: compat_variant(TASKS["rte"], "bst"),
        lambda: nearest_entries(torch.zeros(2, 4).numpy(), torch.zeros(3, 4).numpy(), "bst"),
        lambda: reproduce("table6", "bst", Path("runs")),
    ],
)
def test_a_choice_that_does_not_exist_is_refused(call):
    with pytest.raises(UnknownNameError, match=r"unknown \w+( of \w+)? 'bst'; "):
        call()


def test_texts_that_cannot_be_answered_are_named(tiny_backbone):
    def answer_to(*sources: str):
        return answer_with(PromptTuning(tiny_backbone, SoftPrompt([torch.zeros(2, 16)])), TASKS["mini-rte"], sources)

    assert len(answer_to("a", "b\u2028\x1b")) == 2
    with pytest.raises(DataError, match=r"source text 2 holds half of a character: 'b\\ud800'"):
        answer_to("a", "b\ud800")
    with pytest.raises(DataError, match="there is no source text"):
        answer_to()
    with pytest.raises(ConfigError, match="there is no run folder to report on"):
        write_report([])


# two processes


def test_a_second_process_is_told_who_is_at_work(backbone, tmp_path):
    folder, experiment = tmp_path / "run", one_stage(backbone)
    seen: list[str] = []

    class Second(Listener):
        def step(self, step, loss, speed):
            if step == 2:
                with pytest.raises(CheckpointError) as caught:
                    run_experiment(experiment, folder, resume=True)
                seen.append(str(caught.value))
                assert open_run(folder).scores() == [], "reading needs no lock"
                assert read_run(folder).missing

    run_experiment(experiment, folder, progress=Second())
    assert f"{folder} is being written by process {os.getpid()} on {socket.gethostname()} since 20" in seen[0]
    assert "Nothing was changed" in seen[0]
    run_experiment(experiment, folder, resume=True)
    assert not list(folder.rglob(".lock.json"))


def test_two_processes_that_begin_at_once(backbone, tmp_path, monkeypatch):
    """The second one finds no folder, and a running process in it once its backbone is loaded."""
    from multiprompt.runs import whole_run as module

    folder, load = tmp_path / "run", module.load_materials

    def slow(*arguments):
        inputs = load(*arguments)
        other.enter()
        return inputs

    class Other:
        def enter(self):
            self.lock = only_process(folder)
            self.lock.__enter__()

    other = Other()
    monkeypatch.setattr(module, "load_materials", slow)
    with pytest.raises(CheckpointError, match="is being written by process"):
        run_experiment(one_stage(backbone), folder)
    other.lock.__exit__(None, None, None)
    assert {path.name for path in folder.iterdir()} <= {".lock"}
    monkeypatch.undo()
    run_experiment(one_stage(backbone), folder)  # the folder that holds only a lock is no run
    assert len(open_run(folder).scores()) == 1


def test_a_process_that_is_killed_leaves_no_lock(tmp_path):
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom multiprompt.runs.run_folder import only_process\n"
        "with only_process(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, encoding="utf-8")
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(CheckpointError, match=f"process {process.pid} on "), only_process(tmp_path):
            pass
        (tmp_path / ".lock.json").unlink()
        with pytest.raises(CheckpointError, match="by another process; wait"), only_process(tmp_path):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    with only_process(tmp_path):
        pass


def test_a_disk_without_locks_is_refused(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    message = "cannot lock files.*Choose a folder on another disk"
    with pytest.raises(CheckpointError, match=message), only_process(tmp_path):
        pass
    assert not list(tmp_path.glob(".lock.json"))


def test_a_node_that_another_process_executes_is_left_to_it(backbone, tmp_path):
    folder, experiment = tmp_path / "run", one_stage(backbone)
    with pytest.raises(Killed):
        run_experiment(experiment, folder, progress=KillAt(2))
    before = {path: path.read_bytes() for path in (folder / STAGE).iterdir()}
    changed = small_experiment(backbone, source=None, prompt={"length": 3}, targets={"methods": {"prompt_tuning": {}}})
    with only_process(folder / STAGE):
        for wanted in (experiment, changed):
            with pytest.raises(CheckpointError, match=f"{STAGE} is being written by process"):
                run_experiment(wanted, folder, resume=True)
        with pytest.raises(CheckpointError, match=f"{STAGE} is being written by process"):
            run_node(experiment, folder, STAGE)
    assert all(path.read_bytes() == content for path, content in before.items())
    run_experiment(experiment, folder, resume=True)
    assert len(open_run(folder).scores()) == 1


# files edited by hand


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize(
    ("name", "edit", "says"),
    [
        ("prompt.safetensors", flip, "prompt.safetensors is not as it was written"),
        ("merged.safetensors", shorten, "merged.safetensors is not as it was written"),
        ("prompt.safetensors", Path.unlink, "prompt.safetensors is missing"),
        ("predictions-mini-rte.jsonl", shorten, "predictions-mini-rte.jsonl is not as it was written"),
        ("log.jsonl", Path.unlink, "log.jsonl is missing"),
        ("result.json", shorten, "result.json cannot be read as JSON"),
        ("result.json", lambda path: path.write_text("{}", encoding="utf-8"), "result.json is damaged"),
        ("result.json", lambda path: path.write_text("3", encoding="utf-8"), "result.json is damaged"),
    ],
)
def test_a_finished_stage_that_was_edited_is_named_and_made_again_once_it_is_away(
    backbone, finished, tmp_path, name, edit, says
):
    folder, experiment = shutil.copytree(finished, tmp_path / "run"), one_stage(backbone)
    expected = stored_tensors(finished)
    edit(folder / STAGE / name)
    for use in (lambda: run_experiment(experiment, folder, resume=True), lambda: open_run(folder).evaluate()):
        with pytest.raises(CheckpointError) as caught:
            use()
        assert f"{folder / STAGE}/{says}" in str(caught.value)
        assert f"Delete the folder {folder / STAGE}, or move it elsewhere" in str(caught.value)
    with pytest.raises(CheckpointError, match="with --resume"):
        open_run(folder).answer("mini-rte", ["text"])
    (folder / STAGE).rename(tmp_path / "elsewhere")
    listener = Listener()
    run_experiment(experiment, folder, resume=True, progress=listener)
    assert len(listener.trained) == 1
    assert all(torch.equal(tensor, expected[key]) for key, tensor in stored_tensors(folder).items())
    assert open_run(folder).evaluate()


def test_a_stage_that_is_made_again_leaves_those_that_hang_on_it(backbone, tmp_path):
    folder, experiment = tmp_path / "run", three_stages(backbone)
    run_experiment(experiment, folder)
    shutil.rmtree(folder / "seed-1" / "source")
    listener = Listener()
    run_experiment(experiment, folder, resume=True, progress=listener)
    assert listener.trained == ["source"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "checkpoint.safetensors",
            "{",
            "checkpoint.safetensors is damaged .*; delete this file to begin the stage again",
        ),
        ("stage.json", "{", "stage.json is damaged .* Delete the folder"),
        ("stage.json", "[]", "stage.json is damaged .* Delete the folder"),
    ],
)
def test_a_half_trained_stage_that_was_edited(backbone, tmp_path, name, content, says):
    folder, experiment = tmp_path / "run", one_stage(backbone)
    with pytest.raises(Killed):
        run_experiment(experiment, folder, progress=KillAt(2))
    (folder / STAGE / name).write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=says):
        run_experiment(experiment, folder, resume=True)
    (folder / STAGE / name).unlink()
    run_experiment(experiment, folder, resume=True)
    assert len(open_run(folder).scores()) == 1


# a full disk


class FullDisk:
    """Space runs out in the middle of a certain write of a certain file; afterwards there is space again."""

    def __init__(self, monkeypatch, name: str, number: int) -> None:
        self.name, self.left = name, number
        opened, saved, copied = io.open, safetensors.torch.save_file, shutil.copyfile

        def open_file(file, mode="r", *arguments, **options):
            handle = opened(file, mode, *arguments, **options)
            if not isinstance(file, int) and set(mode) & set("wax") and self.hits(file):
                write = handle.write
                handle.close()
                handle = opened(file, mode.replace("b", "") + "b", buffering=0)
                write = handle.write

                class Half:
                    def __enter__(self):
                        return self

                    def __exit__(self, *_):
                        handle.close()

                    def write(self, content):
                        content = content.encode() if isinstance(content, str) else bytes(content)
                        write(content[: len(content) // 2])
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

                return Half()
            return handle

        def save_file(tensors, file, metadata=None):
            saved(tensors, file, metadata)
            if self.hits(file):
                os.truncate(file, Path(file).stat().st_size // 2)
                raise SafetensorError(f"Error while serializing: I/O error: {os.strerror(errno.ENOSPC)} (os error 28)")

        def copyfile(source, file):
            copied(source, file)
            if self.hits(file):
                os.truncate(file, Path(file).stat().st_size // 2)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
            return file

        monkeypatch.setattr(io, "open", open_file)
        monkeypatch.setattr(builtins, "open", open_file)
        monkeypatch.setattr(safetensors.torch, "save_file", save_file)
        monkeypatch.setattr(shutil, "copyfile", copyfile)

    def hits(self, file) -> bool:
        name = Path(file).name
        if name != self.name and not name.startswith(f".{self.name}."):
            return False
        self.left -= 1
        return self.left == 0


@pytest.fixture(scope="module")
def whole(backbone, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    run_experiment(three_stages(backbone), folder)
    return folder


def assert_same(folder: Path, whole: Path) -> None:
    expected, tensors = stored_tensors(whole), stored_tensors(folder)
    assert expected.keys() == tensors.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())
    scores = [[(s.task, s.method, s.value) for s in read_results(f / "results.json")[1]] for f in (folder, whole)]
    assert scores[0] == scores[1]
    assert not list(folder.rglob("checkpoint.safetensors"))
    leftovers = {path.name for path in folder.rglob(".*")}
    assert leftovers == {".lock"}
    logs = [path.relative_to(whole) for path in sorted(whole.rglob("log.jsonl"))]
    assert logs
    for log in logs:
        lines = [len((f / log).read_text(encoding="utf-8").splitlines()) for f in (folder, whole)]
        assert lines[0] == lines[1], log


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("config.yaml", 1),
        ("environment.json", 1),
        ("stage.json", 2),
        ("log.jsonl", 1),
        ("log.jsonl", 9),
        ("checkpoint.safetensors", 1),
        ("checkpoint.safetensors", 7),
        ("prompt.safetensors", 2),
        ("merged.safetensors", 1),
        ("method.safetensors", 1),
        ("predictions-mini-qqp.jsonl", 1),
        ("result.json", 2),
        ("results.json", 1),
        ("results.json", 3),
    ],
)
def test_a_disk_that_is_full_in_the_middle_of_a_write(backbone, tmp_path, monkeypatch, whole, name, number):
    folder, experiment = tmp_path / "run", three_stages(backbone)
    with monkeypatch.context() as patch:
        disk = FullDisk(patch, name, number)
        with pytest.raises(CheckpointError, match=rf"cannot write .*/{name}: .*No space left.*--resume"):
            run_experiment(experiment, folder)
        assert disk.left == 0
    run_experiment(experiment, folder, resume=(folder / "config.yaml").exists())
    assert_same(folder, whole)


@pytest.mark.parametrize("name", ["prompt.safetensors", "result.json"])
def test_a_disk_that_is_full_while_stages_are_copied(backbone, tmp_path, monkeypatch, whole, name):
    folder, experiment = tmp_path / "run", three_stages(backbone)
    with monkeypatch.context() as patch:
        FullDisk(patch, name, 1)
        with pytest.raises(CheckpointError, match=rf"cannot write .*/{name}: .*No space left.*--resume"):
            run_experiment(experiment, folder, reuse=[whole])
    listener = Listener()
    run_experiment(experiment, folder, resume=True, reuse=[whole], progress=listener)
    assert listener.trained == []
    assert_same(folder, whole)


def test_a_log_that_ends_within_a_character_is_cut(tmp_path):
    from multiprompt.training.log import JsonLog

    path = tmp_path / "log.jsonl"
    path.write_bytes('{"step": 1}\n{"step": 2, "tasks": {"ü'.encode()[:-1])
    JsonLog(path).cut(5)
    assert path.read_text(encoding="utf-8") == '{"step": 1}\n'
