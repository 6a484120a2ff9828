"""Stages spread over the machines of a ray cluster: who gives the orders, and what becomes of their failures."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multiprompt.errors import ConfigError, TrainingError
from multiprompt.evaluation.results import Score
from multiprompt.runs.graph import Node, choice, ready_nodes, spread
from multiprompt.runs.materials import Materials
from multiprompt.runs.outcome import summary_of
from multiprompt.runs.ray_worker import Order, Report, config_digest, fulfil
from multiprompt.training import Progress

LOCAL = "local"
"""Address of a cluster that is started on this machine, for the run alone."""

RETRIES = 3
"""How often stages are begun again, each from its checkpoint, when their worker has died."""

STORE_BYTES = 80 * 2**20
"""Object store of a local cluster, near the least that ray takes: stages hand over files."""

LOOK_SECONDS = 10.0
"""Time after which machines that have joined the cluster get work, if no stage is finished before."""


_logger = logging.getLogger("multiprompt.runs")


@dataclass(frozen=True)
class Cluster:
    """Where stages are executed.

    Attributes:
        address: "local" starts workers on this machine; "auto" finds the ray cluster that the machine belongs to;
            "HOST:PORT" is that of a head node. A connection that the process has already is used, and stays.
        threads: of a stage: processors that it reserves, and threads of torch.

    Raises:
        ConfigError: there is no thread, or the address is that of a ray client.
    """

    address: str = LOCAL
    threads: int = 1

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ConfigError(f"a stage on a cluster needs 1 thread or more, not {self.threads}")
        if self.address.startswith("ray://"):
            raise ConfigError(
                f"{self.address} is the address of a ray client, whose stages end with its connection; start the run "
                "on a machine of the cluster, with the address auto"
            )


def import_ray() -> Any:
    """The library, which is loaded by those who use it only.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            f"stages on a cluster need the ray library ({error}); install it on every machine with "
            'pip install "multiprompt[ray]"'
        ) from error
    return ray


@contextlib.contextmanager
def connection(cluster: Cluster) -> Iterator[None]:
    """A connection to a cluster, unless the process has one.

    Raises:
        ConfigError: ray is missing, the cluster cannot be reached, or no machine has the threads of a stage.
    """
    if cluster.address == LOCAL:
        # Before ray is loaded: what listens for workers, which run whatever they are sent, listens on the loopback
        # address only. (By this name ray switches clusters on for systems whose firewalls would ask.)
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody has asked for a report about this cluster
    ray = import_ray()
    if ray.is_initialized():
        _check_size(cluster)
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if cluster.address == LOCAL:
        quiet |= {"include_dashboard": False, "object_store_memory": STORE_BYTES}
    address = (os.environ.get("RAY_ADDRESS") or "auto") if cluster.address == "auto" else cluster.address
    try:
        _knock(address)
        ray.init(address=address, **quiet)
    except Exception as error:  # ray raises anything, plain Exception too
        ray.shutdown()
        raise ConfigError(
            f"no connection to the ray cluster {address!r}: {error}\nIs it started (ray start --head), and "
            "does every machine have the same versions of Python and ray?"
        ) from error
    try:
        host = ray.util.get_node_ip_address()
        if cluster.address == LOCAL and not host.startswith("127."):
            _logger.warning(
                "the workers of this run can be reached from the network, at %s: this program loaded ray before "
                "multiprompt could tell it to keep to this machine",
                host,
            )
        _check_size(cluster)
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Find out in seconds whether somebody listens at HOST:PORT; ray would try for minutes.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=LOOK_SECONDS).close()


def _check_size(cluster: Cluster, gpus: int = 0) -> None:
    if not _workers(cluster.threads):
        most = max((int(machine.get("CPU", 0)) for machine in _machines()), default=0)
        raise ConfigError(
            f"no machine of the cluster has {cluster.threads} processors for a stage; the largest has {most} (option "
            "--threads-per-stage)"
        )
    if not _workers(cluster.threads, gpus):
        raise ConfigError(
            "this machine would train on a GPU, but the cluster has none for a stage; give backbone.device=cpu, or "
            "start ray where it sees the GPUs"
        )


def _machines() -> list[dict[str, float]]:
    return [node["Resources"] for node in import_ray().nodes() if node["Alive"]]


def _workers(threads: int, gpus: int = 0) -> int:
    """How many stages the machines can execute at once."""
    slots = 0
    for machine in _machines():
        fits = int(machine.get("CPU", 0)) // threads
        slots += min(fits, int(machine.get("GPU", 0)) // gpus) if gpus else fits
    return slots


def execute_graph(
    cluster: Cluster,
    inputs: Materials,
    nodes: Mapping[str, Node],
    done: Sequence[str],
    folder: Path,
    keep: Callable[[Node, list[Score]], None],
    progress: Progress,
) -> None:
    """Execute what is not done on the workers of a cluster, inside its ``connection``.

    Args:
        cluster: where.
        inputs: that the nodes were made from.
        nodes: by key, in plan order.
        done: keys of the nodes that are done already.
        folder: of the run, whose config.yaml is written.
        keep: called with every node that is finished, and its scores.
        progress: told what begins and what is finished.

    Raises:
        ConfigError: the backbone is on a GPU, and no machine has one for a stage.
        MultipromptError: of the first stages that failed; those under way were finished and kept.
    """
    ray = import_ray()
    config = config_digest(folder)
    assert config is not None, "the run has written it"
    # A GPU for each stage if this machine would take one; workers are kept, with what they have loaded.
    gpus = int(inputs.backbone.device.type == "cuda")
    _check_size(cluster, gpus)
    resources = {"num_cpus": cluster.threads, "num_gpus": gpus}
    remote = ray.remote(max_retries=RETRIES, max_calls=0, **resources)(fulfil)
    choose = choice(inputs.experiment.together)
    finished, failure = set(done), None
    under_way: dict[Any, list[Node]] = {}
    try:
        while True:
            begun = {node.key for chosen in under_way.values() for node in chosen}
            workers = max(_workers(cluster.threads, gpus), 1)  # none for a moment: the stage waits for one
            free = 0 if failure else workers - len(under_way)
            for chosen in spread(ready_nodes(nodes, finished, begun), workers, free, choose):
                order = Order(folder.resolve(), config, chosen, cluster.threads, Path.cwd())
                under_way[remote.remote(order)] = chosen
                progress.message(f"begun: {_names(chosen)}")
            if not under_way:
                break
            for task in ray.wait(list(under_way), timeout=LOOK_SECONDS)[0]:
                chosen = under_way.pop(task)
                report = _report(task, chosen)
                for text in report.messages:
                    progress.message(text)
                for node in chosen:
                    if node.key in report.scores:
                        scores = report.scores[node.key]
                        finished.add(node.key)
                        keep(node, scores)
                        progress.end(node.title, f"{summary_of(scores)}, in {report.seconds:.0f} s on {report.host}")
                if report.error is not None:
                    progress.message(f"failed: {report.error}. The run ends when the stages under way are finished")
                    failure = failure or report.error
    finally:
        _cancel(under_way)
    if failure is not None:
        raise failure


def _report(task: Any, chosen: Sequence[Node]) -> Report:
    """The report of some nodes; one about their worker if there is none.

    Raises:
        ConfigError: multiprompt is not installed where the worker runs.
        ray.exceptions.RayTaskError: a mistake in the program; it shows the traceback of the worker.
    """
    ray = import_ray()
    known = ray.exceptions
    advice = (
        "Run fewer stages at once (--threads-per-stage), set max_micro_batch in the training options, or use machines "
        "with more memory; then go on with --resume. What is finished stays, the others go on from their checkpoints"
    )
    try:
        report: Report = ray.get(task)
        return report
    except known.OutOfMemoryError as error:
        text = f"{_names(chosen)}: the machine ran out of memory, and ray has ended the worker. {advice}"
        return Report(error=_caused(text, error))
    except (known.WorkerCrashedError, known.NodeDiedError, known.LocalRayletDiedError) as error:
        text = (
            f"{_names(chosen)}: the worker died {RETRIES + 1} times, or its machine is gone. Most often the system "
            f"ends a process because memory ran out. {advice}"
        )
        return Report(error=_caused(text, error))
    except known.RayTaskError as error:
        if "failed to import on the worker" not in str(error):
            raise
        last = str(error).strip().rpartition("\n")[-1]
        raise ConfigError(
            f"a worker of the cluster cannot load multiprompt: {last}\nInstall the same release on every machine"
        ) from error


def _caused(text: str, error: Exception) -> TrainingError:
    failure = TrainingError(text)
    failure.__cause__ = error
    return failure


def _names(nodes: Sequence[Node]) -> str:
    return ", ".join(node.title for node in nodes)


def _cancel(under_way: Mapping[Any, Sequence[Node]]) -> None:
    """End stages that nobody waits for any more, so that their locks are free; their checkpoints stay."""
    if under_way:
        ray = import_ray()
        for task in under_way:
            ray.cancel(task, force=True)
        ray.wait(list(under_way), num_returns=len(under_way), timeout=LOOK_SECONDS)
