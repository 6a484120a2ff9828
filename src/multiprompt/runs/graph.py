"""An experiment as a graph: one node for every stage of every seed, each with the identity of what it will hold."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from multiprompt.config import to_plain
from multiprompt.definition import TaskDefinition, metric_function
from multiprompt.errors import unknown_name
from multiprompt.options import Experiment
from multiprompt.plan import JOINED, PlannedStage, plan_stages
from multiprompt.recipes.prepare import PreparedTask, metric_files
from multiprompt.runs.materials import Materials
from multiprompt.runs.stage_options import options_for
from multiprompt.tasks import Task

STAGE_VERSION = 4
"""Raised when a stage would give other tensors from the same inputs, or when inputs are named in another way."""


JOINT_STEP_EXAMPLES = 128
"""Examples of a joint step beyond which more company saves little; see docs/performance.md."""


@dataclass(frozen=True)
class Node:
    """A stage of one seed.

    Attributes:
        seed: of everything that the stage draws.
        stage: what it does.
        identity: digest of ``made_from``; two stages of one identity hold the same tensors, up to
            the rounding that company brings.
        needs: keys of the nodes that it starts from.
        title: for progress and errors.
        batch_size: examples of a step.
        dropout: whether the backbone drops out while it trains.
        made_from: all that the stage depends on, as plain values: options, data, backbone, identities of the stages
            that it starts from.
    """

    seed: int
    stage: PlannedStage
    identity: str
    needs: tuple[str, ...]
    title: str
    batch_size: int
    dropout: bool
    made_from: Mapping[str, Any] = field(compare=False, repr=False)

    @property
    def key(self) -> str:
        """Its name in the graph: its folder, relative to that of the run."""
        return node_key(self.seed, self.stage.name)


def node_key(seed: int, stage: str) -> str:
    """Key of the node of the stage of this name, such as "seed-1/teacher-rte"."""
    return f"seed-{seed}/{stage}"


def digest(value: Any) -> str:
    """Identity of plain values: SHA-256 of their canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def build_graph(inputs: Materials, seeds: Iterable[int], stages: Sequence[PlannedStage]) -> dict[str, Node]:
    """The nodes by key, in plan order, seed by seed. Nothing is trained.

    Args:
        inputs: backbone and data.
        seeds: of the nodes.
        stages: in plan order: a stage comes after those that it starts from.

    Raises:
        ConfigError: a task has fewer examples than a stage asks for.
    """
    experiment = inputs.experiment
    one_seed = len(experiment.seeds) == 1
    given: dict[str, str] = {}
    if inputs.source_prompt is not None:
        given["source"] = digest({name: p.tolist() for name, p in inputs.source_prompt.named_parameters()})
    nodes: dict[str, Node] = {}
    for seed in seeds:
        identities = dict(given)
        for stage in stages:
            tasks = inputs.tasks_of(stage, seed)
            options = options_for(inputs.experiment, stage, tasks)
            made_from = _made_from(inputs, seed, stage, tasks, options.plain, identities)
            identities[stage.name] = digest(made_from)
            needs = tuple(key for name in stage.needs if (key := node_key(seed, name)) in nodes)
            title = stage.name if one_seed else f"seed {seed}, {stage.name}"
            training = options.training
            batch_size = min(training.batch_size, sum(len(task.train) for task in tasks))
            node = Node(seed, stage, identities[stage.name], needs, title, batch_size, training.dropout, made_from)
            nodes[node.key] = node
    return nodes


def _made_from(
    inputs: Materials,
    seed: int,
    stage: PlannedStage,
    tasks: Sequence[PreparedTask],
    options: Mapping[str, Any],
    identities: Mapping[str, str],
) -> dict[str, Any]:
    depends_on = dict(options)
    own = {name: own_task(definition) for name in stage.tasks if (definition := inputs.experiment.tasks.get(name))}
    if own:  # the version of a registered task says the same
        depends_on["own_tasks"] = own
    if metrics := _own_metrics(tasks):
        depends_on["own_metrics"] = metrics
    return {
        "version": STAGE_VERSION,
        "stage": stage.name,
        "seed": seed,
        "backbone": inputs.backbone_digest,
        "data": _data(tasks),
        "compat": inputs.experiment.data.compat,
        "depends_on": depends_on | {name: identities[name] for name in stage.needs},
    }


def own_task(definition: TaskDefinition) -> dict[str, Any]:
    """What a stage depends on of a task of the user's own: all but where its files lie.

    Digests of the rows, and of the code of its metrics, stand for them.
    """
    plain = {key: value for key, value in to_plain(definition).items() if key not in ("files", "hub")}
    functions = [metric_function(name) for name in definition.metrics]
    names = [own[1] if own else name for own, name in zip(functions, definition.metrics, strict=True)]
    return plain | {"metrics": names}


def _own_metrics(tasks: Sequence[PreparedTask]) -> dict[str, dict[str, str]]:
    """The content of the files of metrics of the user's own, by task; they choose checkpoints."""
    return {task.name: files for task in tasks if (files := metric_files(task.task))}


def _data(tasks: Sequence[PreparedTask]) -> list[list[Any]]:
    """Of every task its rows, and how much of its texts a model reads and writes."""
    return [
        [each.name, each.task.version, each.data.fingerprint, len(each.train), *_limits(each.task)] for each in tasks
    ]


def _limits(task: Task) -> tuple[int, int, int, int]:
    return task.max_source_length, task.max_target_length, task.generation_length, task.beams


def other_inputs(inputs: Materials, node: Node) -> list[str]:
    """What a node was made from that is not as it is here, in words: its code, the backbone, data of a task.

    Args:
        inputs: loaded here, for the options that the node was made from.
        node: of a graph that was built elsewhere.

    Raises:
        ConfigError: a task has fewer examples than the node asks for.
    """
    made_from = node.made_from
    tasks = inputs.tasks_of(node.stage, node.seed)
    data = zip(made_from["data"], _data(tasks), strict=True)
    pairs: list[tuple[str, Any, Any]] = [
        ("what a stage does", made_from["version"], STAGE_VERSION),
        ("the backbone or its tokenizer", made_from["backbone"], inputs.backbone_digest),
        *((f"the data of {here[0]}", there, here) for there, here in data),
        ("the metrics of your own", made_from["depends_on"].get("own_metrics", {}), _own_metrics(tasks)),
    ]
    return [what for what, there, here in pairs if there != here]


def ready_nodes(nodes: Mapping[str, Node], done: Collection[str], begun: Collection[str] = ()) -> list[Node]:
    """Nodes that can be executed now, in plan order: all that they need is done, and nobody has begun them.

    Args:
        nodes: by key, in plan order.
        done: keys of the nodes that are done.
        begun: keys of those that somebody executes.
    """
    open_nodes = [node for key, node in nodes.items() if key not in done and key not in begun]
    return [node for node in open_nodes if all(key in done for key in node.needs)]


def company(ready: Sequence[Node], most_examples: int = JOINT_STEP_EXAMPLES) -> list[Node]:
    """The first node, and those that can train side by side with it: as many as fill the joint passes.

    Args:
        ready: nodes that can be executed now.
        most_examples: of the joint steps; the first node may have more.
    """
    first = ready[0]
    chosen, examples = [first], first.batch_size
    for node in ready[1:]:
        joins = first.stage.method in JOINED and node.stage.method in JOINED and node.dropout == first.dropout
        if joins and examples + node.batch_size <= most_examples:
            chosen.append(node)
            examples += node.batch_size
    return chosen


def choice(together: bool) -> Callable[[Sequence[Node]], list[Node]]:
    """Which of the nodes that are ready come next: with their company, or one after the other."""
    return company if together else lambda ready: [ready[0]]


def spread(
    ready: Sequence[Node], workers: int, free: int, choose: Callable[[Sequence[Node]], list[Node]] = company
) -> list[list[Node]]:
    """Nodes for the workers that have nothing to do: what is ready is split evenly over all workers.

    Busy ones count too: were all given to the only one that is free, those that are done a moment later would be idle.

    Args:
        ready: nodes that can be executed now, in plan order.
        workers: number of all workers.
        free: how many of them have nothing to do.
        choose: which of some nodes train together; its first nodes are taken, as many as a share has.

    Returns:
        For each free worker that gets something, what it gets. The other nodes come later.
    """
    shares: list[list[Node]] = []
    left = list(ready)
    while left and len(shares) < free:
        share = math.ceil(len(left) / (workers - len(shares)))
        shares.append(choose(left)[:share])
        taken = {node.key for node in shares[-1]}
        left = [node for node in left if node.key not in taken]
    return shares


def run_graph(
    nodes: Mapping[str, Node],
    done: Iterable[str],
    execute: Callable[[Sequence[Node]], None],
    choose: Callable[[Sequence[Node]], list[Node]] = company,
) -> None:
    """Execute what is not done, in plan order as far as it goes.

    Args:
        nodes: by key, in plan order.
        done: keys of the nodes that are done already.
        execute: does the work of some nodes; what it raises ends the run.
        choose: which of the nodes that are ready come next.
    """
    finished = set(done)
    while ready := ready_nodes(nodes, finished):
        chosen = choose(ready)
        execute(chosen)
        finished |= {node.key for node in chosen}


def joint_trainings(nodes: Mapping[str, Node], done: Iterable[str], together: bool) -> list[list[Node]]:
    """What ``run_graph`` executes, training by training, in its order. Nothing is executed.

    Args:
        nodes: by key, in plan order.
        done: keys of the nodes that are done already.
        together: whether nodes are trained side by side.
    """
    trainings: list[list[Node]] = []
    run_graph(nodes, done, lambda chosen: trainings.append(list(chosen)), choice(together))
    return trainings


def plan_of_node(experiment: Experiment, key: str) -> tuple[int, list[PlannedStage]]:
    """The seed of a node, and the stages that it hangs on, itself last.

    Raises:
        UnknownNameError: the experiment has no such node.
    """
    stages = plan_stages(experiment)
    known = {node_key(seed, stage.name): (seed, stage) for seed in experiment.seeds for stage in stages}
    if key not in known:
        raise unknown_name("stage of this experiment", key, known)
    seed, last = known[key]
    wanted = {last.name}
    for stage in reversed(stages):
        if stage.name in wanted:
            wanted |= set(stage.needs)
    return seed, [stage for stage in stages if stage.name in wanted]
