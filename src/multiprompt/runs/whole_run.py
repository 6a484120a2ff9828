"""A whole experiment in a run folder: teachers, source training, target adaptation, scores; for every seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from multiprompt.errors import CheckpointError, ConfigError, refuse_one_text
from multiprompt.evaluation.results import Score, write_results
from multiprompt.methods import check_packages
from multiprompt.options import Experiment
from multiprompt.parallel import distributed_processes, processes
from multiprompt.plan import plan_stages
from multiprompt.runs.execute import execute_nodes
from multiprompt.runs.graph import Node, build_graph, choice, plan_of_node, run_graph
from multiprompt.runs.materials import load_materials
from multiprompt.runs.ray_cluster import Cluster, connection, execute_graph
from multiprompt.runs.run_folder import (
    check_run_folder,
    differences,
    only_process,
    read_run_config,
    write_config,
    write_environment,
)
from multiprompt.runs.settle import (
    bring_in,
    find_stages,
    finished_stages,
    not_finished,
    put_aside,
    unfinished_needs,
)
from multiprompt.training import SILENT, Progress


def run_experiment(
    experiment: Experiment,
    folder: Path | str,
    *,
    resume: bool = False,
    reuse: Sequence[Path | str] = (),
    cluster: Cluster | None = None,
    progress: Progress = SILENT,
) -> None:
    """Run all stages; those that are finished already are passed over, an unfinished one goes on.

    Processes that were started together share the work; the main one alone writes and tells.

    Args:
        experiment: what to run.
        folder: of the run; made if it does not exist.
        resume: go on with what the folder holds. If it holds another configuration, the stages that the change does
            not touch are kept, the others are set aside and made again.
        reuse: folders of other runs; finished stages that this one needs are copied from there.
        cluster: execute the stages on its workers, which must see the folder under the same path; None executes them
            in this process.
        progress: told about everything.

    Raises:
        MultipromptError: any of its kinds; what is in the folder stays as it is, and ``resume`` goes on from there.
    """
    refuse_one_text(reuse, "reuse")
    with distributed_processes() as connected:
        if cluster is not None and connected.count > 1:
            raise ConfigError(
                f"this program was started as {connected.count} processes, which train every stage together; a cluster "
                "spreads the stages. Choose one: start it without the launcher, or leave out --ray"
            )
        told = progress if connected.is_main else SILENT
        _run_experiment(experiment, Path(folder), resume, [Path(run) for run in reuse], cluster, told)


def _run_experiment(
    experiment: Experiment,
    folder: Path,
    resume: bool,
    reuse: Sequence[Path],
    cluster: Cluster | None,
    progress: Progress,
) -> None:
    stages = plan_stages(experiment)
    check_packages(stage.method for stage in stages)
    for other in reuse:
        read_run_config(other)
    before = processes().on_main(lambda: check_run_folder(folder, resume))
    with ExitStack() as stack:
        known = processes().on_main(folder.exists)
        if known and processes().is_main:
            stack.enter_context(only_process(folder))
        if cluster is not None:
            stack.enter_context(connection(cluster))
        changes = [] if before is None else differences(before, experiment)
        if changes:
            progress.message("\n  - ".join([f"{folder} holds another configuration, which is changed:", *changes]))
        inputs = load_materials(experiment, stages, progress)
        nodes = build_graph(inputs, experiment.seeds, stages)

        def settle() -> dict[str, list[Score]]:
            if not known:  # a run that cannot begin leaves no folder behind
                stack.enter_context(only_process(folder))
                check_run_folder(folder, resume)
            found = find_stages(nodes, folder, reuse, progress)
            put_aside(nodes, found, folder, progress)
            write_config(experiment, folder)
            write_environment(
                folder,
                experiment.seeds,
                {name: task.data.fingerprint for name, task in inputs.tasks.items()},
                inputs.backbone.facts() | {"fingerprint": inputs.backbone_digest},
                torch.get_num_threads() if cluster is None else cluster.threads,
            )
            bring_in(nodes, found, folder, progress)
            return finished_stages(nodes, folder)

        scores = processes().on_main(settle)
        if scores:
            progress.message(f"{len(scores)} of {len(nodes)} stages are done already")
        _write_scores(experiment, folder, nodes, scores)

        def keep(node: Node, of_node: list[Score]) -> None:
            scores[node.key] = of_node
            _write_scores(experiment, folder, nodes, scores)

        def execute(chosen: Sequence[Node]) -> None:
            for node, of_node in execute_nodes(inputs, chosen, folder, progress):
                keep(node, of_node)

        if cluster is not None:
            execute_graph(cluster, inputs, nodes, tuple(scores), folder, keep, progress)
            return
        run_graph(nodes, set(scores), execute, choice(experiment.together))


def run_node(experiment: Experiment, folder: Path, key: str, *, progress: Progress = SILENT) -> list[Score]:
    """Execute one node of a run, in a process of its own if need be, unless it is done.

    Whoever schedules the nodes holds the run folder and writes ``config.yaml`` and ``results.json``; this writes the
    folder of its stage only, and keeps other processes out of that.

    Args:
        experiment: what is run.
        folder: of the run.
        key: of the node, such as "seed-1/source".
        progress: told about everything.

    Returns:
        The scores of the stage.

    Raises:
        UnknownNameError: the experiment has no such node.
        CheckpointError: the folder is another experiment's, a stage that it needs is not finished, or another process
            executes the node.
        MultipromptError: the training fails; what is in the folder stays.
    """
    seed, stages = plan_of_node(experiment, key)
    changes = differences(read_run_config(folder), experiment)
    if changes:
        raise CheckpointError("\n  - ".join([f"{folder} holds a run of another configuration:", *changes]))
    inputs = load_materials(experiment, stages, progress)
    nodes = build_graph(inputs, [seed], stages)
    node = nodes[key]
    for needed in unfinished_needs(node, folder):
        raise not_finished(node, needed, folder)
    ((_, scores),) = execute_nodes(inputs, [node], folder, progress)
    return scores


def _write_scores(
    experiment: Experiment, folder: Path, nodes: Mapping[str, Node], scores: Mapping[str, list[Score]]
) -> None:
    """Write the scores of all nodes that are done, in plan order."""
    if not processes().is_main:
        return
    done = [score for key in nodes for score in scores.get(key, [])]
    write_results(folder / "results.json", experiment.name, done)
