"""What earlier stages will have learned, before they have: prompts of the right shape, to count and to time with."""

from __future__ import annotations

from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor

from multiprompt.methods import Learned, build_method
from multiprompt.methods.prompt_starts import start_rows
from multiprompt.plan import EARLY
from multiprompt.prompts import DecomposedPrompt, SharedPrompt, SoftPrompt, start_task_factors
from multiprompt.recipes.stage_training import Place
from multiprompt.runs.execute import OpenNode, start_of
from multiprompt.runs.graph import Node
from multiprompt.runs.materials import Materials
from multiprompt.runs.stage_options import options_for


def stand_ins(names: Iterable[str], rows: Float[Tensor, "P D"], rank: int) -> dict[str, Learned]:
    """A prompt for every stage that some method needs, by the stages' names.

    ATTEMPT's network needs none, nor do methods that are trained on source tasks first: what was not trained has the
    same shape.

    Args:
        names: of the stages.
        rows: of every prompt.
        rank: of the factors of the source prompt; 0 for a source prompt without factors.
    """
    length, width = rows.shape
    earlier: dict[str, Learned] = {}
    for name in names:
        if name.startswith("teacher-") or name.endswith(EARLY):
            earlier[name] = SoftPrompt([rows])
        elif name == "source" and rank:
            earlier[name] = DecomposedPrompt(rows, [start_task_factors(length, width, rank)])
        elif name in ("source", "source-mixture"):
            earlier[name] = SharedPrompt(rows, 1)
    return earlier


def open_stand_in(inputs: Materials, node: Node) -> OpenNode:
    """A node that can be trained without any other having been, and that keeps nothing on disk.

    Args:
        inputs: backbone, data, options.
        node: of the graph.

    Raises:
        ConfigError: the options do not fit the backbone.
    """
    experiment = inputs.experiment
    tasks = inputs.tasks_of(node.stage, node.seed)
    options = options_for(experiment, node.stage, tasks)
    factors = experiment.source is None or experiment.source.decomposed
    rows = start_rows(experiment.prompt, inputs.backbone, seed=0).cpu()
    earlier = stand_ins(node.stage.needs, rows, experiment.prompt.rank if factors else 0)
    if "source" in earlier and inputs.source_prompt is not None:
        earlier["source"] = inputs.source_prompt
    start = start_of(inputs, node, tasks, options, earlier)
    return OpenNode(node, build_method(node.stage.method, start), tasks, options, Place(node.stage.name))
