"""The work of a node in three parts, open, train and finish, so that several nodes can be trained together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from multiprompt.errors import TrainingError
from multiprompt.evaluation.results import Score
from multiprompt.methods import Method
from multiprompt.parallel import processes
from multiprompt.recipes.build import Learned, Start, build_method, load_learned
from multiprompt.recipes.prepare import PreparedTask
from multiprompt.recipes.stage_training import Place, stage_training
from multiprompt.runs.graph import Node, node_key
from multiprompt.runs.materials import Materials
from multiprompt.runs.outcome import drawn_examples, outcomes_of, summary_of, tell_findings, write_predictions
from multiprompt.runs.run_folder import only_process
from multiprompt.runs.stage_folder import begin_stage, check_whole, finish_stage, read_result
from multiprompt.runs.stage_options import StageOptions, options_for
from multiprompt.training import Progress, Training, TrainingReport, train_together


@dataclass(frozen=True)
class OpenNode:
    """A node that can be trained.

    Attributes:
        node: of the graph.
        method: as it stands before its training. Train and finish inside its ``with`` block.
        tasks: in the order of the task ids, cut to the shots.
        options: what its training needs of the experiment.
        place: folder, identity, progress.
    """

    node: Node
    method: Method
    tasks: list[PreparedTask]
    options: StageOptions
    place: Place

    def training(self) -> Training:
        """What the training loop does with it."""
        options = self.options
        rest = options.training, options.mixing, options.default_epochs, self.node.seed, self.place
        return stage_training(self.method, self.tasks, *rest)


def open_node(inputs: Materials, node: Node, run: Path, progress: Progress) -> OpenNode:
    """Build the method of a node from what earlier nodes have learned, and mark the node's folder as its own.

    Args:
        inputs: backbone, data, options.
        node: all that it needs is finished.
        run: folder of the run.
        progress: told about the training.

    Raises:
        ConfigError: the options do not fit the backbone.
        CheckpointError: what an earlier node has learned is missing or damaged, or the folder is another stage's.
    """
    stage, folder = node.stage, run / node.key
    tasks = inputs.tasks_of(stage, node.seed)
    options = options_for(inputs.experiment, stage, tasks)
    start = start_of(inputs, node, tasks, options, _earlier(inputs, node, run))
    if processes().is_main:
        begin_stage(folder, node.identity, node.made_from)
    place = Place(stage.name, folder, node.identity, progress, node.title)
    return OpenNode(node, build_method(stage.method, start), tasks, options, place)


def start_of(
    inputs: Materials, node: Node, tasks: Sequence[PreparedTask], options: StageOptions, earlier: Mapping[str, Learned]
) -> Start:
    """What the method of a node is made from.

    Args:
        inputs: backbone, data, options.
        node: of the graph.
        tasks: of the node, cut to its shots.
        options: of the node.
        earlier: what the stages that it needs have learned, by their names.
    """
    return Start(
        backbone=inputs.backbone,
        tasks=node.stage.tasks,
        options=options.method,
        training=options.training,
        prompt=inputs.experiment.prompt,
        earlier=earlier,
        seed=node.seed,
        stage=node.stage.name,
        max_source_length=max(task.task.max_source_length for task in tasks),
        data=tasks,
    )


def _earlier(inputs: Materials, node: Node, run: Path) -> Mapping[str, Learned]:
    """What the stages that a node needs have learned, by their names."""
    earlier: dict[str, Learned] = {}
    for name in node.stage.needs:
        key = node_key(node.seed, name)
        if key in node.needs:
            earlier[name] = load_learned(run / key)
        else:
            assert inputs.source_prompt is not None, "only the source prompt can be that of another run"
            earlier[name] = inputs.source_prompt
    return earlier


def finish_node(opened: OpenNode, report: TrainingReport) -> list[Score]:
    """Store what a node has trained, score it, write its answers, and its result last.

    Raises:
        CheckpointError: a file cannot be written; what was trained is kept in the checkpoint.
    """
    node, place = opened.node, opened.place
    assert place.folder is not None, "open_node gave it"
    selection = opened.options.training.selection(report.steps)
    outcomes = outcomes_of(opened.method, opened.tasks, report, selection, node.stage, node.seed, place)
    scores = [outcome.score for outcome in outcomes]
    if processes().is_main:
        for outcome, task in zip(outcomes, opened.tasks, strict=True):
            write_predictions(place.folder, task, outcome)
        tell_findings(place, report.steps, outcomes, opened.tasks)
        drawn = {} if node.stage.shots == "all" else drawn_examples(opened.tasks)
        finish_stage(place.folder, node.identity, scores, drawn)
    processes().barrier()  # later stages read what the main process has written
    place.progress.end(node.title, summary_of(scores))
    return scores


def execute_nodes(
    inputs: Materials, nodes: Sequence[Node], run: Path, progress: Progress, patience: float = 0.0
) -> Iterator[tuple[Node, list[Score]]]:
    """All three parts, on one node or on several that train together; no other process works on them meanwhile.

    What another process has finished is taken as it is.

    Args:
        inputs: backbone, data, options.
        nodes: whose needs are finished.
        run: folder of the run.
        progress: told about the training.
        patience: seconds to wait for a process that still works on a node.

    Yields:
        Every node that is finished, with its scores.

    Raises:
        TrainingError: a node cannot go on; the others are finished first.
        MultipromptError: any of its kinds; what is in the folders stays, and the next execution goes on from there.
    """
    with ExitStack() as stack:
        opened = []
        for node in nodes:
            if processes().is_main:
                stack.enter_context(only_process(run / node.key, patience))
            result = processes().on_main(partial(read_result, run / node.key))
            if result is not None and result.identity == node.identity:
                check_whole(run / node.key, result)
                yield node, list(result.scores)
                continue
            opened.append(open_node(inputs, node, run, progress))
            stack.enter_context(opened[-1].method)
        reports = train_together([each.training() for each in opened], progress) if opened else []
        for each, report in zip(opened, reports, strict=True):
            if isinstance(report, TrainingReport):
                yield each.node, finish_node(each, report)
        for report in reports:
            if isinstance(report, TrainingError):
                raise report
