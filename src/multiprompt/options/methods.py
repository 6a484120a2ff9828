"""The options of every method that adapts to target tasks; defaults are the published ones (see docs/methods.md).

A configuration names the methods that it compares, each with what differs from its defaults.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from multiprompt.errors import ConfigError, option_error
from multiprompt.options.checks import check_positive, check_values


@dataclass(frozen=True)
class MethodOptions:
    """What the options of all methods have in common.

    Raises:
        ConfigError: a number is not above 0, or source tasks contradict.
    """

    method: ClassVar[str]
    version: ClassVar[int] = 1
    """Raised when the method would train other tensors from the same options; its stages get new identities."""

    def __post_init__(self) -> None:
        section = f"targets.methods.{self.method}"
        check_values(self, section)
        for option in dataclasses.fields(self):
            value = getattr(self, option.name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                check_positive(self, section, option.name)
        self._check_source_tasks(getattr(self, "source_tasks", ()), getattr(self, "nearest", {}))

    def _check_source_tasks(self, source_tasks: tuple[str, ...], nearest: Mapping[str, str]) -> None:
        """Of the methods that can be trained on source tasks first."""
        where = f"targets.methods.{self.method}"
        for task in source_tasks:
            if source_tasks.count(task) > 1:
                raise ConfigError(f"{where}.source_tasks has {task!r} twice")
        for target, task in nearest.items():
            if task not in source_tasks:
                known = ", ".join(source_tasks) or "none; name them there"
                raise ConfigError(f"{where}.nearest: {target} is near {task!r}, which is not in source_tasks ({known})")


@dataclass(frozen=True)
class MptOptions(MethodOptions):
    """Multitask prompt tuning, stage 2: the shared prompt and the mean factors of the source tasks, tuned on.

    Raises:
        ConfigError: a number is not above 0.
    """

    method = "mpt"

    learning_rate: float = 0.3
    """Of the shared prompt."""
    factor_learning_rate: float = 0.4
    """Of u and v."""
    adapt: Literal["both", "shared_only", "task_only"] = "both"
    """What is used and tuned (section 4.3): all, the shared prompt without u and v, or u and v alone."""


@dataclass(frozen=True)
class PromptTuningOptions(MethodOptions):
    """A prompt of its own for every task (Lester et al. 2021).

    Raises:
        ConfigError: a number is not above 0.
    """

    method = "prompt_tuning"

    learning_rate: float = 0.3
    """Of the prompt."""


@dataclass(frozen=True)
class FineTuningOptions(MethodOptions):
    """Every weight of the backbone.

    Raises:
        ConfigError: a number is not above 0, or source tasks contradict.
    """

    method = "fine_tuning"

    learning_rate: float = 3e-4
    """Of all weights."""
    source_tasks: tuple[str, ...] = ()
    """Tasks that the model is trained on first, all together: targets start from it, and not from the backbone."""


@dataclass(frozen=True)
class SpotOptions(MethodOptions):
    """A prompt that starts from what source tasks have learned (Vu et al. 2022).

    Raises:
        ConfigError: a number is not above 0.
    """

    method = "spot"

    learning_rate: float = 0.3
    """Of the prompt."""
    start: str = "retrieved"
    """"retrieved" (the most similar source prompt), "weighted" (the mean of all, by similarity), "mixture" (one prompt
    trained on all source tasks), or the name of a source task."""
    early_steps: int = 100
    """Steps of ordinary prompt tuning that give the target's own prompt, which the source prompts are compared with."""

    @property
    def steps_before(self) -> int:
        """Early steps that are taken: none where the start is known without them."""
        return self.early_steps if self.start in ("retrieved", "weighted") else 0


@dataclass(frozen=True)
class AttemptOptions(MethodOptions):
    """A prompt mixed from source prompts for every example (Asai et al. 2022).

    Raises:
        ConfigError: a number is not above 0.
    """

    method = "attempt"

    learning_rate: float = 0.3
    """Of the target prompt."""
    attention_learning_rate: float = 0.1
    """Of the attention network."""
    bottleneck: int = 100
    """Inner width of the attention network."""
    temperature: float | None = None
    """Scores are divided by it; None for e times the width of the model, as in the published code."""
    pretrained: bool = False
    """Train the attention network on the source tasks first."""


@dataclass(frozen=True)
class AdapterOptions(MethodOptions):
    """Small bottleneck layers inside every block, and the layer norms (Houlsby et al. 2019).

    Raises:
        ConfigError: a number is not above 0, or source tasks contradict.
    """

    method = "adapters"

    learning_rate: float = 3e-4
    """Of the layers and norms."""
    reduction: int = 32
    """The bottleneck is the width of the model divided by it."""
    places: Literal["both", "self_attention"] = "both"
    """After self-attention and after the feed-forward layer of every block, or after self-attention alone."""
    source_tasks: tuple[str, ...] = ()
    """Tasks that the adapters and norms are trained on first, all together: targets start from them."""
    nearest: dict[str, str] = field(default_factory=dict)
    """By target, the source task whose adapters it starts from. A target that is not named starts from its own if it is
    a source task, or else from that of the first one."""


@dataclass(frozen=True)
class BitFitOptions(MethodOptions):
    """A bias on every layer and norm (Ben Zaken et al. 2022).

    Raises:
        ConfigError: a number is not above 0.
    """

    method = "bitfit"

    learning_rate: float = 3e-4
    """Of the biases."""


@dataclass(frozen=True)
class HyperFormerOptions(MethodOptions):
    """Adapters generated from embeddings of task, layer and place (HyperFormer++, Mahabadi et al. 2021).

    Raises:
        ConfigError: a number is not above 0, or source tasks contradict.
    """

    method = "hyperformer"
    version = 2

    learning_rate: float = 3e-4
    """Of the network and the norms."""
    reduction: int = 32
    """The bottleneck of the generated adapters is the width of the model divided by it."""
    embedding: int = 64
    """Width of the embeddings of task, layer and place, and of the projected one."""
    hidden: int = 128
    """Inner width of the network that projects the three embeddings."""
    source_tasks: tuple[str, ...] = ()
    """Tasks that the network and the norms are trained on first, all together: targets start from them."""
    nearest: dict[str, str] = field(default_factory=dict)
    """By target, the source task whose embedding it starts from. A target that is not named starts from its own if it
    is a source task, or else from that of the first one."""


@dataclass(frozen=True)
class HyperDecoderOptions(MethodOptions):
    """Decoder adapters generated from every example's encoded source (Ivison and Peters 2022).

    Raises:
        ConfigError: a number is not above 0.
    """

    method = "hyperdecoder"

    learning_rate: float = 3e-4
    """Of the adapters and the generator."""
    bottleneck: int = 64
    """Of the adapters of encoder and decoder."""
    layer_embedding: int = 10
    """Width of the embedding of a decoder layer."""
    hidden: int = 128
    """Inner width of the generator."""


@dataclass(frozen=True)
class DeptOptions(MethodOptions):
    """A shorter prompt and a low-rank matrix added to the source's embeddings (Shi and Lipani 2024).

    Raises:
        ConfigError: a number is not above 0, or the share is not below 1.
    """

    method = "dept"

    learning_rate: float = 0.3
    """Of the prompt."""
    matrix_learning_rate: float = 5e-4
    """Of the two factors of the low-rank matrix."""
    length_share: float = 0.4
    """Length of the prompt, as a share of prompt.length; the rest of the numbers goes to the matrix."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.length_share < 1:
            raise option_error("targets.methods.dept", f"length_share is {self.length_share}; expected a share below 1")


@dataclass(frozen=True)
class DecomposedPromptTuningOptions(MethodOptions):
    """A prompt that is the product of two thin matrices (Xiao et al. 2023).

    Raises:
        ConfigError: a number is not above 0.
    """

    method = "decomposed_prompt_tuning"

    learning_rate: float = 0.3
    """Of both matrices."""
    rank: int = 10
    """Inner width of the product."""


@dataclass(frozen=True)
class LoraOptions(MethodOptions):
    """Low-rank updates of the attention's weights, by the peft library (Hu et al. 2022).

    Raises:
        ConfigError: a number is not above 0.
    """

    method = "lora"

    learning_rate: float = 3e-4
    """Of the updates."""
    rank: int = 8
    """Inner width of the updates."""
    alpha: float = 16.0
    """The update is scaled by alpha / rank."""


@dataclass(frozen=True)
class Ia3Options(MethodOptions):
    """Learned scales of keys, values and feed-forward activations, by the peft library (Liu et al. 2022).

    Raises:
        ConfigError: a number is not above 0.
    """

    method = "ia3"

    learning_rate: float = 3e-3
    """Of the scales."""


@dataclass(frozen=True)
class PrefixTuningOptions(MethodOptions):
    """Learned keys and values in front of every attention layer, by the peft library (Li and Liang 2021).

    Raises:
        ConfigError: a number is not above 0.
    """

    method = "prefix_tuning"

    learning_rate: float = 0.3
    """Of the prefix."""


@dataclass(frozen=True)
class Methods:
    """The methods of a comparison, each by its name with its options; those that are None do not take part."""

    mpt: MptOptions | None = None
    prompt_tuning: PromptTuningOptions | None = None
    fine_tuning: FineTuningOptions | None = None
    spot: SpotOptions | None = None
    attempt: AttemptOptions | None = None
    adapters: AdapterOptions | None = None
    bitfit: BitFitOptions | None = None
    hyperformer: HyperFormerOptions | None = None
    hyperdecoder: HyperDecoderOptions | None = None
    dept: DeptOptions | None = None
    decomposed_prompt_tuning: DecomposedPromptTuningOptions | None = None
    lora: LoraOptions | None = None
    ia3: Ia3Options | None = None
    prefix_tuning: PrefixTuningOptions | None = None

    def chosen(self) -> dict[str, Any]:
        """Name and options of those that take part."""
        named = ((method.name, getattr(self, method.name)) for method in dataclasses.fields(self))
        return {name: options for name, options in named if options is not None}


LONG_NAMES: Mapping[str, str] = {
    "multitask_prompt_tuning": "mpt",
    "multi_task_prompt_tuning": "mpt",
    "pt": "prompt_tuning",
    "prompt": "prompt_tuning",
    "soft_prompt": "prompt_tuning",
    "soft_prompt_tuning": "prompt_tuning",
    "ft": "fine_tuning",
    "full": "fine_tuning",
    "finetuning": "fine_tuning",
    "full_fine_tuning": "fine_tuning",
    "full_finetuning": "fine_tuning",
    "soft_prompt_transfer": "spot",
    "attentional_mixtures_of_soft_prompt_tuning": "attempt",
    "bottleneck_adapters": "adapters",
    "houlsby_adapters": "adapters",
    "bias_tuning": "bitfit",
    "bias_only_fine_tuning": "bitfit",
    "hyperformer++": "hyperformer",
    "hyper_former": "hyperformer",
    "hyper_decoder": "hyperdecoder",
    "hyperdecoders": "hyperdecoder",
    "dpt": "decomposed_prompt_tuning",
    "low_rank_adaptation": "lora",
    "(ia)3": "ia3",
    "(ia)^3": "ia3",
    "infused_adapter": "ia3",
    "prefix": "prefix_tuning",
}
"""Other names of methods, as papers and people write them -> the name here."""
