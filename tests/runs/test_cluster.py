"""Stages on a ray cluster of this machine: the same results as one process, whatever dies in between."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import THREADS, save_tiny
from multiprompt.config import to_yaml
from multiprompt.errors import CheckpointError, ConfigError, TrainingError
from multiprompt.evaluation.results import read_results
from multiprompt.files import read_json
from multiprompt.options import Experiment, Methods, PromptTuningOptions
from multiprompt.plan import plan_stages
from multiprompt.runs import Cluster, ray_cluster, run_experiment
from multiprompt.runs.graph import Node, build_graph
from multiprompt.runs.materials import load_materials
from multiprompt.runs.ray_worker import Order, Report, config_digest, fulfil
from multiprompt.runs.run_folder import only_process, write_config
from multiprompt.training import SILENT
from recipes.small import Listener, assert_as_alone, small_experiment, stored_tensors
from rounding import smooth_optimisers

ENVIRONMENT = {
    "OMP_NUM_THREADS": str(THREADS),
    "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
}
"""Of the workers; they are as nice as the tests, which other programs may keep waiting."""

TUNING = "seed-1/target-mini-rte-prompt_tuning-all"


@pytest.fixture(scope="module")
def backbone(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def two_workers():
    """A cluster of two workers, which the process is connected to."""
    ray = pytest.importorskip("ray", reason="needs the ray library")
    sessions = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # names of sockets must be short
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        small = {"num_cpus": 2 * THREADS, "object_store_memory": 80 * 2**20, "include_dashboard": False}
        ray.init(address="local", **small, log_to_driver=False, logging_level="ERROR", _temp_dir=sessions)
        yield Cluster(threads=THREADS)
        ray.shutdown()
    shutil.rmtree(sessions, ignore_errors=True)


def small(backbone: Path, **changes) -> Experiment:
    """Two teachers, a source training, two targets; one stage after the other, so that results are bitwise the same."""
    source = {"tasks": ["mini-sst2", "mini-qqp"]}
    targets = {"tasks": ["mini-rte"], "methods": {"mpt": {}, "prompt_tuning": {}}}
    return small_experiment(backbone, **({"source": source, "targets": targets, "together": False} | changes))


def lone(backbone: Path, *methods: str, **changes) -> Experiment:
    targets = {"tasks": ["mini-rte"], "methods": {method: {} for method in methods or ("prompt_tuning",)}}
    return small(backbone, source=None, targets=targets | changes)


def assert_same(folder: Path, whole: Path) -> None:
    expected, tensors = stored_tensors(whole), stored_tensors(folder)
    assert expected.keys() == tensors.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())
    scores = [[(s.task, s.method, s.value) for s in read_results(f / "results.json")[1]] for f in (folder, whole)]
    assert scores[0] == scores[1]
    assert not list(folder.rglob("checkpoint.safetensors"))
    assert not list(folder.rglob(".lock.json"))


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


# with ray


def test_two_workers_give_what_one_process_gives(backbone, two_workers, tmp_path):
    experiment, listener = small(backbone), Listener()
    run_experiment(experiment, tmp_path / "run", cluster=two_workers, progress=listener)
    stages = ["teacher-mini-sst2", "teacher-mini-qqp", "source", "target-mini-rte-mpt-all"]
    assert sorted(listener.trained) == sorted([*stages, "target-mini-rte-prompt_tuning-all"])
    assert listener.begun == []
    begun = [text for text in listener.messages if text.startswith("begun")]
    assert begun[:2] == ["begun: teacher-mini-sst2", "begun: teacher-mini-qqp"]
    assert listener.said(": no better than a constant answer"), "what workers say is heard"
    run_experiment(experiment, tmp_path / "whole")
    assert_same(tmp_path / "run", tmp_path / "whole")
    again = Listener()
    run_experiment(experiment, tmp_path / "run", resume=True, progress=again)
    assert again.trained == []
    assert again.said("5 of 5 stages are done already")
    assert read_json(tmp_path / "run" / "environment.json")["threads"] == THREADS


@pytest.mark.slow
@pytest.mark.launched
def test_stages_that_train_together_are_split_over_the_workers(smooth_folder, two_workers, tmp_path, monkeypatch):
    def smoothly(order: Order) -> Report:
        with smooth_optimisers():
            return fulfil(order)

    monkeypatch.setattr(ray_cluster, "fulfil", smoothly)
    experiment, listener = small(smooth_folder, seeds=[1, 2], together=True), Listener()
    run_experiment(experiment, tmp_path / "run", cluster=two_workers, progress=listener)
    begun = [text for text in listener.messages if text.startswith("begun")]
    assert begun[:2] == [
        "begun: seed 1, teacher-mini-sst2, seed 1, teacher-mini-qqp, seed 1, target-mini-rte-prompt_tuning-all",
        "begun: seed 2, teacher-mini-sst2, seed 2, teacher-mini-qqp, seed 2, target-mini-rte-prompt_tuning-all",
    ]
    with smooth_optimisers():
        run_experiment(replace(experiment, together=False), tmp_path / "alone")
    assert_as_alone(tmp_path / "run", tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.launched
def test_a_worker_that_is_killed_in_the_middle_of_a_stage(backbone, two_workers, tmp_path):
    training = {"steps": 150, "batch_size": 6, "evaluate_every": 50, "checkpoint_seconds": 0.0001, "log_every": 1}
    experiment = lone(backbone, "prompt_tuning", "bitfit", training=training)
    folder, killed = tmp_path / "run", []

    def kill() -> None:
        wait_for((folder / TUNING / "checkpoint.safetensors").exists, "a checkpoint")
        killed.append(read_json(folder / TUNING / ".lock.json")["process"])
        os.kill(killed[0], signal.SIGKILL)
        wait_for(lambda: (folder / TUNING / ".lock.json").exists(), "the second worker")

    thread = threading.Thread(target=kill)
    thread.start()
    run_experiment(experiment, folder, cluster=two_workers)
    thread.join()
    assert killed
    assert killed != [os.getpid()]
    run_experiment(experiment, tmp_path / "whole")
    assert_same(folder, tmp_path / "whole")
    steps = [
        line.split(",")[0]
        for line in (folder / TUNING / "log.jsonl").read_text(encoding="utf-8").splitlines()
        if "loss" in line
    ]
    assert len(steps) == len(set(steps)) == 150


@pytest.mark.slow
@pytest.mark.launched
def test_a_stage_that_fails_lets_those_under_way_end(backbone, two_workers, tmp_path):
    experiment = lone(backbone, "prompt_tuning", "bitfit", "dept")
    experiment = with_rate(experiment, 1e30)
    folder = tmp_path / "run"
    with pytest.raises(TrainingError, match=r"target-mini-rte-prompt_tuning-all( has diverged|, step 3)") as caught:
        run_experiment(experiment, folder, cluster=two_workers)
    assert type(caught.value) is TrainingError
    finished = {score.method for score in read_results(folder / "results.json")[1]}
    assert "prompt_tuning" not in finished
    assert {path.parent.name.split("-")[3] for path in folder.rglob("result.json")} == finished
    assert not list(folder.rglob(".lock.json"))
    mended, listener = with_rate(experiment, 0.1), Listener()
    run_experiment(mended, folder, resume=True, cluster=two_workers, progress=listener)
    assert "target-mini-rte-prompt_tuning-all" in listener.trained
    assert len(listener.trained) == 3 - len(finished)
    run_experiment(mended, tmp_path / "whole")
    shutil.rmtree(folder / "set-aside")
    assert_same(folder, tmp_path / "whole")


def with_rate(experiment: Experiment, rate: float) -> Experiment:
    methods = Methods(**{**experiment.targets.methods, "prompt_tuning": PromptTuningOptions(rate)})
    return replace(experiment, targets=replace(experiment.targets, methods=methods))


@pytest.mark.slow
@pytest.mark.launched
@pytest.mark.parametrize("how", ["out of memory", "killed"])
def test_a_worker_that_dies_every_time(backbone, two_workers, tmp_path, monkeypatch, how):
    memory = how == "out of memory"

    def dies(order: Order) -> Report:
        if order.nodes[0].stage.method != "prompt_tuning":
            return fulfil(order)
        if memory:
            from ray.exceptions import OutOfMemoryError

            raise OutOfMemoryError("96 % of the memory are used")
        with (order.folder / "attempts").open("a", encoding="utf-8") as attempts:
            attempts.write(".")
        os._exit(1)

    experiment, folder = lone(backbone, "prompt_tuning", "bitfit"), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(ray_cluster, "fulfil", dies)
        says = "the machine ran out of memory" if memory else "the worker died 4 times"
        with pytest.raises(TrainingError, match=f"target-mini-rte-prompt_tuning-all: {says}.*max_micro_batch.*resume"):
            run_experiment(experiment, folder, cluster=two_workers)
    if not memory:
        assert (folder / "attempts").read_text(encoding="utf-8") == "...."
        (folder / "attempts").unlink()
    assert [score.method for score in read_results(folder / "results.json")[1]] == ["bitfit"]
    listener = Listener()
    run_experiment(experiment, folder, resume=True, cluster=two_workers, progress=listener)
    assert listener.trained == ["target-mini-rte-prompt_tuning-all"]


@pytest.mark.slow
@pytest.mark.launched
def test_a_machine_without_the_package(backbone, two_workers, tmp_path, monkeypatch):
    elsewhere = types.ModuleType("only_here")
    exec("def fulfil(order): ...", elsewhere.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", elsewhere)
    monkeypatch.setattr(ray_cluster, "fulfil", elsewhere.fulfil)
    with pytest.raises(ConfigError, match=r"cannot load multiprompt: .*only_here(.|\n)*same release on every machine"):
        run_experiment(lone(backbone), tmp_path / "run", cluster=two_workers)


@pytest.mark.slow
@pytest.mark.launched
def test_a_mistake_in_the_program_ends_what_is_under_way(backbone, two_workers, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")

    def mistaken(order: Order) -> Report:
        if order.nodes[0].stage.method == "prompt_tuning":
            raise AssertionError("this cannot be")
        with only_process(order.folder / order.nodes[0].key):
            time.sleep(600)
        raise AssertionError

    monkeypatch.setattr(ray_cluster, "fulfil", mistaken)
    experiment, folder = lone(backbone, "prompt_tuning", "bitfit"), tmp_path / "run"
    with pytest.raises(ray.exceptions.RayTaskError, match="this cannot be"):
        run_experiment(experiment, folder, cluster=two_workers)
    monkeypatch.undo()
    run_experiment(experiment, folder, resume=True)  # no lock is held


def listening(process: int) -> list[str]:
    """The addresses that a process, and those that it has started, can be reached at."""
    psutil = pytest.importorskip("psutil", reason="comes with accelerate")
    started = psutil.Process(process)
    return [
        connection.laddr.ip
        for each in (started, *started.children(recursive=True))
        for connection in each.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]


@pytest.mark.slow
@pytest.mark.launched
def test_a_driver_that_is_killed(backbone, tmp_path):
    pytest.importorskip("ray", reason="needs the ray library")
    training = {"steps": 60, "batch_size": 6, "evaluate_every": 20, "checkpoint_seconds": 0.0001}
    experiment = small(backbone, teachers={"training": training})
    folder, config = tmp_path / "run", tmp_path / "small.yaml"
    config.write_text(to_yaml(experiment), encoding="utf-8")
    command = [sys.executable, "-m", "multiprompt", "run", str(config), "--out", str(folder), "--ray", "local"]
    with (tmp_path / "said").open("w", encoding="utf-8") as said:
        process = subprocess.Popen(command, env=os.environ | ENVIRONMENT, stdout=said, stderr=said)
        try:
            teacher = folder / "seed-1/teacher-mini-sst2"
            wait_for((teacher / "checkpoint.safetensors").exists, "a checkpoint")
            worker = read_json(teacher / ".lock.json")["process"]
            heard = listening(process.pid)
        finally:
            process.kill()
            process.wait()
    assert worker != process.pid
    assert heard, "ray listens for its workers"
    assert all(address.removeprefix("::ffff:") in ("127.0.0.1", "::1") for address in heard)
    assert "note: begun: teacher-mini-sst2" in (tmp_path / "said").read_text(encoding="utf-8")
    wait_for(lambda: not Path(f"/proc/{worker}").exists(), "the end of the worker")
    run_experiment(experiment, folder, resume=True)
    run_experiment(experiment, tmp_path / "whole")
    assert_same(folder, tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.launched
def test_a_stage_that_no_machine_has_room_for(backbone, two_workers, tmp_path):
    with pytest.raises(ConfigError, match="no machine of the cluster has 3 processors for a stage; the largest has 2"):
        run_experiment(lone(backbone), tmp_path / "run", cluster=Cluster(threads=3))
    assert {path.name for path in tmp_path.glob("run/*")} <= {".lock"}


# without ray


def test_without_ray_the_extra_is_named(backbone, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r'pip install "multiprompt\[ray\]"'):
        run_experiment(lone(backbone), tmp_path / "run", cluster=Cluster())
    assert not (tmp_path / "run").exists()
    run_experiment(lone(backbone), tmp_path / "run")


def test_a_cluster_that_is_not_there(backbone, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="needs the ray library")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # other tests may have a connection, and keep it
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:2")
    for address, shown in (("127.0.0.1:1", "127.0.0.1:1"), ("auto", "127.0.0.1:2")):
        with pytest.raises(ConfigError, match=f"no connection to the ray cluster '{shown}'.*refused(.|\n)*ray start"):
            run_experiment(lone(backbone), tmp_path / "run", cluster=Cluster(address))
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_a_cluster():
    with pytest.raises(ConfigError, match="1 thread or more, not 0"):
        Cluster(threads=0)
    with pytest.raises(ConfigError, match="ray client"):
        Cluster("ray://head:10001")


def test_stages_on_gpus_need_machines_that_have_some(monkeypatch):
    machines = [{"CPU": 8.0}, {"CPU": 6.0, "GPU": 2.0}]
    monkeypatch.setattr(ray_cluster, "_machines", lambda: machines)
    assert ray_cluster._workers(2) == 7
    assert ray_cluster._workers(2, gpus=1) == 2
    del machines[1]
    with pytest.raises(ConfigError, match="the cluster has none for a stage; give backbone.device=cpu"):
        ray_cluster._check_size(Cluster(threads=2), gpus=1)


def order_of(experiment: Experiment, folder: Path, key: str = TUNING, patience: float = 0.01) -> Order:
    stages = plan_stages(experiment)
    nodes = build_graph(load_materials(experiment, stages, SILENT), experiment.seeds, stages)
    write_config(experiment, folder)
    return Order(folder, config_digest(folder) or "", [nodes[key]], 1, folder, patience)


@pytest.fixture
def when_it_waits(monkeypatch) -> Callable[[Callable[[], None]], None]:
    """Has something happen as soon as a worker of this process waits for the first time, and no sooner."""

    def happens(change: Callable[[], None]) -> None:
        wait = time.sleep

        def changed(seconds: float) -> None:
            monkeypatch.setattr(time, "sleep", wait)
            change()

        monkeypatch.setattr(time, "sleep", changed)

    return happens


def test_a_worker_that_does_not_see_the_run_says_so(backbone, tmp_path, when_it_waits):
    order = order_of(lone(backbone), tmp_path / "run")
    report = fulfil(replace(order, folder=tmp_path / "elsewhere", patience=60.0))  # no folder: it does not wait
    assert isinstance(report.error, CheckpointError)
    assert f"does not see {tmp_path / 'elsewhere'}/config.yaml as the run has written it: it sees no such" in str(
        report.error
    )
    assert not (tmp_path / "elsewhere").exists()
    report = fulfil(replace(order, config="another"))
    assert "it sees other content. The run's folder must lie on storage that all machines" in str(report.error)
    assert report.scores == {}
    (order.folder / "config.yaml").unlink()
    written = []
    when_it_waits(lambda: written.append(write_config(lone(backbone), order.folder)))
    assert list(fulfil(replace(order, patience=60.0)).scores) == [TUNING], "what was written a moment ago arrives"
    assert written, "it did wait"


def test_a_worker_with_other_data_or_another_release_says_so(backbone, tmp_path):
    order = order_of(lone(backbone), tmp_path / "run")
    (node,) = order.nodes
    for name, value, says in (
        ("version", 0, "what a stage does"),
        ("backbone", "another", "the backbone or its tokenizer"),
        ("data", [["mini-rte", "1", "another", 20]], "the data of mini-rte"),
    ):
        other: Node = replace(node, made_from=dict(node.made_from) | {name: value})
        report = fulfil(replace(order, nodes=[other]))
        assert isinstance(report.error, ConfigError)
        assert f"has another version of {says} than the process that runs the experiment" in str(report.error)
    assert not (order.folder / TUNING).exists()


def test_a_worker_waits_for_what_a_stage_starts_from(backbone, tmp_path):
    experiment, folder = small(backbone), tmp_path / "run"
    order = order_of(experiment, folder, "seed-1/source")
    assert "teacher-mini-sst2 is not finished, and seed-1/source starts from it" in str(fulfil(order).error)
    for name in ("teacher-mini-sst2", "teacher-mini-qqp"):
        assert fulfil(order_of(experiment, folder, f"seed-1/{name}")).error is None
    assert fulfil(order).error is None


def test_a_worker_waits_for_one_that_was_given_up_and_takes_what_that_has_finished(backbone, tmp_path, when_it_waits):
    order = order_of(lone(backbone), tmp_path / "run")
    with only_process(order.folder / TUNING):
        report = fulfil(order)
    assert isinstance(report.error, CheckpointError)
    assert f"{TUNING} is being written by process {os.getpid()} on" in str(report.error)
    assert "(waited 0 s)" in str(report.error)
    held = ExitStack()
    held.enter_context(only_process(order.folder / TUNING))
    given_up = []
    when_it_waits(lambda: given_up.append(held.close()))
    first = fulfil(replace(order, patience=60.0))
    assert first.error is None
    assert given_up, "it did wait"
    before = {path: path.stat().st_mtime_ns for path in (order.folder / TUNING).glob("[!.]*")}
    assert len(before) >= 4
    again = fulfil(order)
    assert again.scores == first.scores
    assert {path: path.stat().st_mtime_ns for path in (order.folder / TUNING).glob("[!.]*")} == before
