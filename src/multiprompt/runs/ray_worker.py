"""What a process of a cluster does: some nodes of a run whose folder it shares with the process that gives orders."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from multiprompt.config import load_experiment
from multiprompt.errors import CheckpointError, ConfigError, MultipromptError
from multiprompt.evaluation.results import Score
from multiprompt.runs.execute import execute_nodes
from multiprompt.runs.graph import Node, other_inputs
from multiprompt.runs.materials import Materials, load_materials
from multiprompt.runs.settle import not_finished, unfinished_needs
from multiprompt.training import SILENT

PATIENCE = 120.0
"""Seconds to wait for what another machine has written or locked: longer than network disks keep old directories (a
minute) and locks of machines that are gone (the lease of an NFS server, 90 seconds by default)."""


@dataclass(frozen=True)
class Order:
    """Nodes to execute.

    Attributes:
        folder: of the run; an absolute path.
        config: SHA-256 of its config.yaml.
        nodes: that train together; their needs are finished.
        threads: of torch.
        directory: relative paths of the configuration begin there.
        patience: seconds to wait for other processes and for what they have written.
    """

    folder: Path
    config: str
    nodes: Sequence[Node]
    threads: int
    directory: Path
    patience: float = PATIENCE


@dataclass
class Report:
    """What came of an order.

    Attributes:
        scores: of every node that is finished, by key.
        messages: that a person should read.
        error: that ended it; None if all nodes are finished.
        host: name of the machine.
        seconds: from the first to the last moment.
    """

    scores: dict[str, list[Score]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    error: MultipromptError | OSError | None = None
    host: str = field(default_factory=socket.gethostname)
    seconds: float = 0.0


class _Notes:
    """Keeps the messages of a training."""

    def __init__(self, messages: list[str]) -> None:
        self.messages = messages

    def begin(self, stage: str, total: int) -> None: ...
    def step(self, step: int, loss: float, examples_per_second: float) -> None: ...
    def end(self, stage: str, summary: str) -> None: ...
    def message(self, text: str) -> None:
        self.messages.append(text)


_LOADED: dict[tuple[Path, str], Materials] = {}
"""Backbone and tasks of the run that this process works for, by its folder and configuration; at most one."""


def config_digest(folder: Path) -> str | None:
    """SHA-256 of the configuration in a run's folder; None if there is none."""
    try:
        return hashlib.sha256((folder / "config.yaml").read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def fulfil(order: Order) -> Report:
    """Execute an order in this process, which keeps backbone and tasks for the next one.

    Errors that a user can cause are part of the report, beside the nodes that were finished before.
    """
    import torch

    began, report = time.monotonic(), Report()
    torch.set_num_threads(order.threads)
    try:
        _check_folder(order)
        with contextlib.chdir(order.directory) if order.directory.is_dir() else contextlib.nullcontext():
            inputs = _inputs(order)
            for node in order.nodes:
                _check_node(inputs, node, order)
            progress = _Notes(report.messages)
            for node, scores in execute_nodes(inputs, order.nodes, order.folder, progress, order.patience):
                report.scores[node.key] = scores
    except (MultipromptError, OSError) as error:
        report.error = error
    report.seconds = time.monotonic() - began
    return report


def _check_folder(order: Order) -> None:
    """Check that this process sees the folder of the run, as the process that gave the order does."""
    deadline = time.monotonic() + order.patience
    while (seen := config_digest(order.folder)) != order.config:
        if not order.folder.is_dir() or time.monotonic() > deadline:
            what = "it sees no such file" if seen is None else "it sees other content"
            raise CheckpointError(
                f"a worker on {socket.gethostname()} does not see {order.folder / 'config.yaml'} as the run has "
                f"written it: {what}. The run's folder must lie on storage that all machines of the cluster share, "
                "under the same path; choose such a folder with --out"
            )
        time.sleep(min(1.0, order.patience))


def _inputs(order: Order) -> Materials:
    """Backbone and tasks of the nodes; what is loaded already is taken."""
    key = order.folder, order.config
    loaded = _LOADED.pop(key, None)
    _LOADED.clear()
    experiment = load_experiment(order.folder / "config.yaml") if loaded is None else loaded.experiment
    # The process that gives orders has loaded all this, and has told what a reader should know about it.
    _LOADED[key] = load_materials(experiment, [node.stage for node in order.nodes], SILENT, loaded)
    return _LOADED[key]


def _check_node(inputs: Materials, node: Node, order: Order) -> None:
    """Check that a node would become here what its identity says, and that what it starts from has arrived."""
    if differ := other_inputs(inputs, node):
        raise ConfigError(
            f"{node.title}: a worker on {socket.gethostname()} has another version of {' and '.join(differ)} than the "
            "process that runs the experiment; install the same release and put the same files on every machine"
        )
    deadline = time.monotonic() + order.patience
    while unfinished := unfinished_needs(node, order.folder):
        if time.monotonic() > deadline:
            raise not_finished(node, unfinished[0], order.folder)
        time.sleep(min(1.0, order.patience))
