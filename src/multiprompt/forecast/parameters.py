"""How many numbers a method trains: counted on a backbone without weights, beside the arithmetic of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from multiprompt.backbone.base import Backbone
from multiprompt.backbone.loading import outline_backbone
from multiprompt.errors import ConfigError, unknown_name
from multiprompt.forecast.stand_ins import stand_ins
from multiprompt.methods import Method, PromptTuning
from multiprompt.methods.dept import matrix_rank
from multiprompt.methods.hyperformer import PLACES
from multiprompt.options import (
    LONG_NAMES,
    AdapterOptions,
    AttemptOptions,
    BitFitOptions,
    DecomposedPromptTuningOptions,
    DeptOptions,
    FineTuningOptions,
    HyperDecoderOptions,
    HyperFormerOptions,
    Ia3Options,
    LoraOptions,
    MethodOptions,
    MptOptions,
    PrefixTuningOptions,
    PromptOptions,
    PromptTuningOptions,
    SpotOptions,
    TrainingOptions,
)
from multiprompt.plan import GROUPED
from multiprompt.prompts import DecomposedPrompt
from multiprompt.recipes.build import Start, build_method

SOURCE = "source"
"""Name of the source stage of multitask prompt tuning, which is counted too."""

MAX_SOURCE_LENGTH = 256
"""Source tokens of most tasks: DePT adds a row to each."""


@dataclass(frozen=True)
class Item:
    """Trained numbers of one kind: ``times`` the sum of the products of the parts.

    Attributes:
        name: what they are.
        times: how often the sum occurs.
        parts: the factors of every product.
        shared: whether the tasks of a group share them.
    """

    name: str
    times: int
    parts: tuple[tuple[int, ...], ...]
    shared: bool = False

    def formula(self, tasks: int) -> str:
        """The arithmetic for one task of a group."""
        products = " + ".join(" · ".join(map(str, part)) for part in self.parts)
        if self.times != 1:
            products = f"{self.times} · {products}" if len(self.parts) == 1 else f"{self.times} · ({products})"
        elif len(self.parts) > 1 and self.shared and tasks > 1:
            products = f"({products})"
        return f"{products} / {tasks}" if self.shared and tasks > 1 else products

    def per_task(self, tasks: int) -> float:
        """Its value."""
        numbers = self.times * sum(map(math.prod, self.parts))
        return numbers / tasks if self.shared else numbers


@dataclass(frozen=True)
class ParameterCount:
    """What a method trains.

    Attributes:
        method: its name.
        backbone: name of the backbone.
        tasks: of the group; 1 for a task alone.
        items: the arithmetic.
        trained: numbers that the method, as it was built, trains for all tasks together.
        frozen: numbers of the backbone.
    """

    method: str
    backbone: str
    tasks: int
    items: tuple[Item, ...]
    trained: int
    frozen: int

    @property
    def per_task(self) -> float:
        """Trained numbers for each task."""
        return self.trained / self.tasks


def count_parameters(
    method: str, backbone: str = "t5-base", group: int = 1, length: int = 100, rank: int | None = None
) -> ParameterCount:
    """Build a method with its default options on a backbone without weights, and count what it trains.

    Args:
        method: its name, or "source" for the source stage of multitask prompt tuning.
        backbone: a published model, "embedded", "embedded-small", a folder, or another name on the hub.
        group: tasks that are trained together. Methods that share nothing among tasks are built for one task.
        length: of prompts.
        rank: of the factors of mpt and of its source stage, of lora, or of decomposed_prompt_tuning; None for the
            default of the method.

    Raises:
        UnknownNameError: there is no such method.
        ConfigError: a number is not positive, the method has no rank, or its package is not installed.
        BackboneError: the configuration of the backbone cannot be read.
    """
    if method not in _METHODS:
        raise unknown_name("method", method, _METHODS, LONG_NAMES)
    if group < 1:
        raise ConfigError(f"the group is of {group} tasks; expected 1 or more")
    tasks = group if method in (*GROUPED, SOURCE) else 1
    options, items = _METHODS[method]
    options, prompt = _with_rank(method, options, PromptOptions(length=length, start="normal"), rank)
    model = outline_backbone(backbone)
    trained = trained_numbers(method, model, tasks, options, prompt)
    arithmetic = tuple(items(_Shape.of(model.model.config, prompt), options))
    count = ParameterCount(method, backbone, tasks, arithmetic, trained, model.parameter_count())
    assert math.isclose(count.per_task, sum(item.per_task(tasks) for item in arithmetic)), f"arithmetic of {method}"
    return count


def trained_numbers(method: str, backbone: Backbone, tasks: int, options: Any, prompt: PromptOptions) -> int:
    """Build a method on a backbone without weights or tokenizer, and count what it trains for all tasks together.

    Args:
        method: its name, or "source".
        backbone: of ``outline_backbone``.
        tasks: that are trained together.
        options: of the method; nothing that has to be trained or retrieved before.
        prompt: starts from random numbers, as words need a tokenizer.
    """
    start = _start(backbone, tasks, options, prompt)
    built = _source_stage(start) if method == SOURCE else build_method(method, start)
    return sum(p.numel() for each in built.parameter_groups() for p in each.parameters)


def countable_methods() -> tuple[str, ...]:
    """What ``count_parameters`` knows, the source stage last."""
    return tuple(_METHODS)


def _with_rank(method: str, options: Any, prompt: PromptOptions, rank: int | None) -> tuple[Any, PromptOptions]:
    """Options of the method and of its prompts, with the rank in the one or in the other."""
    if rank is None:
        return options, prompt
    if isinstance(options, MptOptions):
        return options, replace(prompt, rank=rank)
    if not hasattr(options, "rank"):
        raise ConfigError(f"{method} has no rank; mpt, {SOURCE}, decomposed_prompt_tuning and lora have one")
    return replace(options, rank=rank), prompt


def _start(backbone: Backbone, tasks: int, options: Any, prompt: PromptOptions) -> Start:
    """What the method is built from; what earlier stages would have learned is zero here."""
    rows = torch.zeros(prompt.length, backbone.width)
    return Start(
        backbone=backbone,
        tasks=tuple(f"task-{number}" for number in range(tasks)),
        options=options,
        training=TrainingOptions(),
        prompt=prompt,
        earlier=stand_ins(("source", "teacher-task"), rows, prompt.rank),
        seed=0,
        stage="params",
        max_source_length=MAX_SOURCE_LENGTH,
    )


def _source_stage(start: Start) -> Method:
    source = start.prompt_of("source")
    assert isinstance(source, DecomposedPrompt), "see _start"
    return PromptTuning(start.backbone, DecomposedPrompt(source.shared, [source.mean_factors()] * len(start.tasks)))


@dataclass(frozen=True)
class _Shape:
    """Sizes of a backbone and of its prompts.

    Attributes:
        width: of the model.
        heads: width of all attention heads together.
        inner: width inside the feed-forward layer.
        gates: matrices that lead into it: one, or two with a gate.
        encoder: blocks.
        decoder: blocks.
        words: rows of the embedding.
        tied: whether it is the output layer too.
        buckets: of relative positions, for all heads.
        length: rows of a prompt.
        rank: of the factors of a shared prompt.
    """

    width: int
    heads: int
    inner: int
    gates: int
    encoder: int
    decoder: int
    words: int
    tied: bool
    buckets: int
    length: int
    rank: int

    @staticmethod
    def of(config: Any, prompt: PromptOptions) -> _Shape:
        return _Shape(
            width=config.d_model,
            heads=config.num_heads * config.d_kv,
            inner=config.d_ff,
            gates=2 if config.is_gated_act else 1,
            encoder=config.num_layers,
            decoder=config.num_decoder_layers,
            words=config.vocab_size,
            tied=config.scale_decoder_outputs,  # of v1.0, as the tie is
            buckets=config.relative_attention_num_buckets * config.num_heads,
            length=prompt.length,
            rank=prompt.rank,
        )

    @property
    def attentions(self) -> int:
        """Attention layers: one for each encoder block, two for each decoder block."""
        return self.encoder + 2 * self.decoder

    @property
    def norms(self) -> int:
        """Layer norms: two for each encoder block, three for each decoder block, one behind each stack."""
        return 2 * self.encoder + 3 * self.decoder + 2

    def adapter(self, inner: int) -> tuple[tuple[int, ...], ...]:
        """Both matrices of an adapter, and both biases."""
        return (2, self.width, inner), (inner,), (self.width,)


def _prompt(shape: _Shape, _: Any) -> list[Item]:
    return [Item("prompt", 1, ((shape.length, shape.width),))]


def _decomposed(shape: _Shape, _: Any) -> list[Item]:
    return [
        Item("shared prompt", 1, ((shape.length, shape.width),), shared=True),
        Item("u and v", shape.rank, ((shape.length,), (shape.width,))),
    ]


def _fine_tuning(shape: _Shape, _: Any) -> list[Item]:
    attention, norm = (4, shape.width, shape.heads), (shape.width,)
    forward = (shape.gates + 1, shape.width, shape.inner)
    rows = (shape.words, shape.width)
    return [
        Item("embedding", 1, (rows,), shared=True),
        Item("encoder blocks", shape.encoder, (attention, forward, (2, *norm)), shared=True),
        Item("decoder blocks", shape.decoder, ((2, *attention), forward, (3, *norm)), shared=True),
        Item("position buckets", 1, ((2, shape.buckets),), shared=True),
        Item("last norms", 1, ((2, *norm),), shared=True),
        *([] if shape.tied else [Item("output layer", 1, (rows,), shared=True)]),
    ]


def _attempt(shape: _Shape, options: Any) -> list[Item]:
    return [
        Item("target prompt", 1, ((shape.length, shape.width),)),
        Item("attention network", 1, ((2, shape.width, options.bottleneck),), shared=True),
        Item("its layer norm", 1, ((2, shape.width),), shared=True),
    ]


def _adapters(shape: _Shape, options: Any) -> list[Item]:
    sites = (shape.encoder + shape.decoder) * (2 if options.places == "both" else 1)
    return [
        Item("adapters", sites, shape.adapter(max(1, shape.width // options.reduction))),
        Item("layer norms", shape.norms, ((shape.width,),), shared=True),
    ]


def _bitfit(shape: _Shape, _: Any) -> list[Item]:
    forward, width = (shape.gates, shape.inner), (shape.width,)
    return [
        Item("encoder blocks", shape.encoder, ((3, shape.heads), width, forward, width, (2, *width))),
        Item("decoder blocks", shape.decoder, ((6, shape.heads), (2, *width), forward, width, (3, *width))),
        Item("output layer", 1, ((shape.words,),)),
    ]


def _hyperformer(shape: _Shape, options: Any) -> list[Item]:
    inner, code, hidden = max(1, shape.width // options.reduction), options.embedding, options.hidden
    projection = ((3, code, hidden), (hidden,), (hidden, code), (code,))
    places = len(PLACES)
    return [
        Item("task embedding", 1, ((code,),)),
        Item("embeddings of blocks and places", code, ((shape.encoder,), (shape.decoder,), (2, places)), shared=True),
        Item("projections and their norms", 2, (*projection, (2, code)), shared=True),
        Item("writing layers", 2 * (code + 1), (*shape.adapter(inner), (2, shape.width)), shared=True),
        Item("layer norms", shape.norms, ((shape.width,),), shared=True),
    ]


def _hyperdecoder(shape: _Shape, options: Any) -> list[Item]:
    inner, code, hidden = options.bottleneck, options.layer_embedding, options.hidden
    return [
        Item("encoder adapters", shape.encoder, shape.adapter(inner), shared=True),
        Item("embeddings of decoder blocks", 1, ((shape.decoder, code),), shared=True),
        Item("projection", hidden, ((shape.width,), (code,), (1,)), shared=True),
        Item("writing layers", hidden + 1, shape.adapter(inner), shared=True),
    ]


def _dept(shape: _Shape, options: Any) -> list[Item]:
    short = max(1, round(options.length_share * shape.length))
    rank = matrix_rank(shape.length, short, shape.width, MAX_SOURCE_LENGTH)
    return [
        Item("shorter prompt", 1, ((short, shape.width),)),
        Item("matrix", rank, ((MAX_SOURCE_LENGTH,), (shape.width,))),
    ]


def _thin(shape: _Shape, options: Any) -> list[Item]:
    return [Item("two thin matrices", options.rank, ((shape.length,), (shape.width,)))]


def _lora(shape: _Shape, options: Any) -> list[Item]:
    return [
        Item("updates of q and v", 2 * shape.attentions, ((options.rank, shape.width), (options.rank, shape.heads)))
    ]


def _ia3(shape: _Shape, _: Any) -> list[Item]:
    return [
        Item("scales of k and v", shape.attentions, ((2, shape.heads),)),
        Item("feed-forward scales", shape.encoder + shape.decoder, ((shape.inner,),)),
    ]


def _prefix(shape: _Shape, _: Any) -> list[Item]:
    # See PrefixTuning: an even number of blocks leaves every other pair of keys and values without a place.
    name = "keys and values" if shape.decoder % 2 else "keys and values, half of them unused"
    return [Item(name, shape.decoder, ((2, shape.length, shape.heads),))]


_METHODS: Mapping[str, tuple[MethodOptions, Callable[[_Shape, Any], list[Item]]]] = {
    "mpt": (MptOptions(), _decomposed),
    "prompt_tuning": (PromptTuningOptions(), _prompt),
    "fine_tuning": (FineTuningOptions(), _fine_tuning),
    "spot": (SpotOptions(start="task"), _prompt),
    "attempt": (AttemptOptions(), _attempt),
    "adapters": (AdapterOptions(), _adapters),
    "bitfit": (BitFitOptions(), _bitfit),
    "hyperformer": (HyperFormerOptions(), _hyperformer),
    "hyperdecoder": (HyperDecoderOptions(), _hyperdecoder),
    "dept": (DeptOptions(), _dept),
    "decomposed_prompt_tuning": (DecomposedPromptTuningOptions(), _thin),
    "lora": (LoraOptions(), _lora),
    "ia3": (Ia3Options(), _ia3),
    "prefix_tuning": (PrefixTuningOptions(), _prefix),
    SOURCE: (MptOptions(), _decomposed),
}
"""Default options and arithmetic of every method."""
