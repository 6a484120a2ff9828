"""How much work a stage is, in tokens and rounds of decoding, by its data and options; nothing is timed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from multiprompt.backbone.base import Backbone
from multiprompt.batch import Batch
from multiprompt.data import TokenisedExamples, collate
from multiprompt.evaluation.generate import answer_batches, by_length
from multiprompt.forecast.stand_ins import open_stand_in
from multiprompt.methods import PromptTuning
from multiprompt.plan import joins
from multiprompt.recipes.prepare import PreparedTask
from multiprompt.recipes.stage_training import stage_stream
from multiprompt.runs.graph import Node
from multiprompt.runs.materials import Materials
from multiprompt.runs.stage_options import StageOptions, options_for
from multiprompt.terms import TermKind

SAMPLED_STEPS = 12
"""Steps whose batches are drawn to say how long batches are."""

HEADER = 80
"""Bytes that a tensor's entry takes in a safetensors file, about."""


@dataclass(frozen=True)
class Kind:
    """Work that takes the same time whatever the seed and the draw.

    Attributes:
        method: "teacher", "student", ..., or of a target.
        batch_size: examples of a step.
        dropout: whether the backbone drops out.
        optimiser: its name.
        tasks: of the stage.
    """

    method: str
    batch_size: int
    dropout: bool
    optimiser: str
    tasks: tuple[str, ...]

    @property
    def family(self) -> tuple[str, int, bool, str, int]:
        """Work whose time differs by the lengths of its texts alone: all that only stands before the inputs is one."""
        name = "joined" if joins(self.method) else self.method
        return name, self.batch_size, self.dropout, self.optimiser, len(self.tasks)

    @property
    def answering(self) -> tuple[str, int]:
        """The same for decoding."""
        return "joined" if joins(self.method) else self.method, len(self.tasks)


@dataclass(frozen=True)
class Mould:
    """Sizes of a method.

    Attributes:
        prompt_length: rows in front of every source.
        trained: numbers.
        stored: bytes that it leaves: its tensors, and merged ones if it is a prompt.
        checkpoint: bytes of its largest checkpoint: its tensors, the optimiser's, the best ones.
        terms: kinds of the terms of its loss.
    """

    prompt_length: int
    trained: int
    stored: int
    checkpoint: int
    terms: tuple[TermKind, ...]


@dataclass(frozen=True)
class Decoding:
    """The answers to a set of examples.

    Attributes:
        tokens: that run through the model, prompt and padding counted.
        rounds: in which every answer of a batch grows by a token, over all batches.
    """

    tokens: float = 0.0
    rounds: float = 0.0

    def __add__(self, other: Decoding) -> Decoding:
        return Decoding(self.tokens + other.tokens, self.rounds + other.rounds)


@dataclass(frozen=True)
class Job:
    """A node and how much work it is.

    Attributes:
        node: of the graph.
        kind: what its speed depends on.
        mould: sizes of its method.
        tasks: cut to the shots.
        options: of the stage.
        steps: of its training.
        step_cost: of a step on average, in tokens; see ``cost_of``.
        dev: one evaluation on the dev rows of its tasks.
        test: the evaluation at its end.
    """

    node: Node
    kind: Kind
    mould: Mould
    tasks: tuple[PreparedTask, ...]
    options: StageOptions
    steps: int
    step_cost: float
    dev: Decoding
    test: Decoding

    @property
    def passes(self) -> int:
        """Times that a step goes through the model: forward, twice as much backward, and forward for the teachers."""
        return 4 if {"logits", "states"} & set(self.mould.terms) else 3

    def evaluations(self, steps_done: int) -> int:
        """Evaluations on the dev rows that are left."""
        if not self.node.stage.scored:
            return 0
        training = self.options.training
        every = training.evaluate_every or self.steps
        return training.evaluations(self.steps) - steps_done // every


@dataclass
class Workload:
    """Sizes up nodes; what several of them have in common is looked at once.

    Attributes:
        inputs: backbone, data, options.
    """

    inputs: Materials
    _moulds: dict[tuple[str, int, int], Mould] = field(default_factory=dict)
    _costs: dict[tuple[Kind, int], float] = field(default_factory=dict)
    _decodings: dict[tuple[str, str, int], Decoding] = field(default_factory=dict)

    def jobs(self, nodes: Mapping[str, Node]) -> dict[str, Job]:
        """The jobs of some nodes, by key.

        Raises:
            ConfigError: the options do not fit the backbone or the data.
        """
        return {key: self._job(node) for key, node in nodes.items()}

    def _job(self, node: Node) -> Job:
        tasks = tuple(self.inputs.tasks_of(node.stage, node.seed))
        options = options_for(self.inputs.experiment, node.stage, tasks)
        training, mould = options.training, self._mould(node, tasks)
        scored = tasks if node.stage.scored else ()
        kind = Kind(node.stage.method, node.batch_size, node.dropout, training.optimiser, node.stage.tasks)
        return Job(
            node=node,
            kind=kind,
            mould=mould,
            tasks=tasks,
            options=options,
            steps=training.steps_for(sum(len(task.train) for task in tasks), options.default_epochs),
            step_cost=self._step_cost(node, kind, mould, tasks, options),
            dev=self._decoding(scored, "dev", mould.prompt_length),
            test=self._decoding(scored, "test", mould.prompt_length),
        )

    def _mould(self, node: Node, tasks: Sequence[PreparedTask]) -> Mould:
        key = node.stage.method, len(tasks), max(task.task.max_source_length for task in tasks)
        if key not in self._moulds:
            opened = open_stand_in(self.inputs, node)
            method = opened.method
            tensors = method.tensors()
            numbers = sum(tensor.numel() for tensor in tensors.values())
            trained = sum(p.numel() for group in method.parameter_groups() for p in group.parameters)
            stored = 4 * numbers + HEADER * (len(tensors) + 1)  # trained tensors are float32
            if isinstance(method, PromptTuning):
                stored += len(tasks) * (4 * method.prompt.length * method.prompt.width + HEADER) + HEADER
            moments = 2 * trained if opened.options.training.optimiser == "adamw" else 0
            checkpoint = 4 * (2 * numbers + moments)
            pad, zero = int(method.backbone.tokenizer.pad_token_id), np.zeros(1, int)
            first = collate([tasks[0].train], zero, zero, pad)
            terms = tuple(term.kind for term in method.terms(first))
            self._moulds[key] = Mould(method.prompt_length, trained, stored, checkpoint, terms)
        return self._moulds[key]

    def _step_cost(
        self, node: Node, kind: Kind, mould: Mould, tasks: Sequence[PreparedTask], options: StageOptions
    ) -> float:
        key = kind, mould.prompt_length
        if key not in self._costs:
            backbone, length = self.inputs.backbone, mould.prompt_length
            rest = options.training, options.mixing, node.seed, node.stage.name
            stream = stage_stream(backbone, length, tasks, *rest)
            costs = [cost_of(batches, backbone, length) for batches in islice(stream, SAMPLED_STEPS)]
            self._costs[key] = sum(costs) / len(costs)
        return self._costs[key]

    def _decoding(self, tasks: Sequence[PreparedTask], part: str, prompt_length: int) -> Decoding:
        total = Decoding()
        for task in tasks:
            key = task.name, part, prompt_length
            if key not in self._decodings:
                examples = getattr(task, part)
                lengths = examples.sources.lengths + prompt_length
                batches = answer_batches(lengths, by_length(lengths), task.task.beams)
                each = (decoding_of(self.inputs.backbone, task, examples, rows, prompt_length) for rows in batches)
                self._decodings[key] = sum(each, Decoding())
            total += self._decodings[key]
        return total


def cost_of(batches: Sequence[Batch], backbone: Backbone, prompt_length: int) -> float:
    """Work of the micro-batches of a step: tokens, with the prompts and with padding where the backbone pads."""
    fixed = backbone.costs.micro_batch if backbone.pads else 0
    return float(sum(backbone.tokens_of_pass(batch, prompt_length) + fixed for batch in batches))


def decoding_of(
    backbone: Backbone, task: PreparedTask, examples: TokenisedExamples, rows: np.ndarray, prompt_length: int
) -> Decoding:
    """The work of answering some examples as one batch, with answers as long as the references: as trained ones are."""
    lengths = examples.sources.lengths[rows] + prompt_length
    rounds = answer_length(task, examples, rows)
    sources = float(len(rows) * lengths.max()) if backbone.pads else float(lengths.sum())
    return Decoding(sources + len(rows) * task.task.beams * rounds, rounds)


def answer_length(task: PreparedTask, examples: TokenisedExamples, rows: np.ndarray) -> int:
    """Tokens of the longest reference of some examples, end-of-sequence included, within the limit of answers."""
    return int(min(examples.targets.lengths[rows].max(), task.task.generation_length))


@dataclass(frozen=True)
class Stretch:
    """Steps that the same nodes take together.

    Attributes:
        jobs: of the nodes.
        steps: joint ones.
    """

    jobs: tuple[Job, ...]
    steps: int

    @property
    def key(self) -> tuple[Kind, ...]:
        """Stretches with the same key have steps of the same time."""
        return tuple(sorted((job.kind for job in self.jobs), key=repr))

    @property
    def families(self) -> tuple[tuple[str, int, bool, str, int], ...]:
        """Stretches with the same families have steps whose time differs by the lengths of the texts alone."""
        return tuple(sorted(job.kind.family for job in self.jobs))

    @property
    def cost(self) -> float:
        """Of a joint step, in tokens, each as often as it goes through the model."""
        return math.fsum(job.step_cost * job.passes for job in self.jobs)


def stretches_of(jobs: Sequence[Job], steps_done: Mapping[str, int]) -> list[Stretch]:
    """A joint training, cut where one of the nodes has its last step.

    Args:
        jobs: of the nodes that train together.
        steps_done: by their checkpoints, by key; 0 where there is none.
    """
    left = {job.node.key: job.steps - steps_done.get(job.node.key, 0) for job in jobs}
    stretches, before = [], 0
    for end in sorted({steps for steps in left.values() if steps > 0}):
        active = tuple(job for job in jobs if left[job.node.key] >= end)
        stretches.append(Stretch(active, end - before))
        before = end
    return stretches
