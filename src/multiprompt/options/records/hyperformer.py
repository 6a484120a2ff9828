"""HyperFormer."""

from __future__ import annotations

from dataclasses import dataclass, field

from multiprompt.options.records.base import MethodOptions, MethodRecord, register_method, trained_first


@dataclass(frozen=True)
class HyperFormerOptions(MethodOptions):
    """Adapters generated from embeddings of task, layer and place (HyperFormer++, Mahabadi et al. 2021).

    Raises:
        ConfigError: a number is not above 0, or source tasks contradict.
    """

    method = "hyperformer"

    learning_rate: float = 3e-4
    """Learning rate of the network and the norms."""
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


register_method(
    MethodRecord(
        options=HyperFormerOptions,
        version=2,
        about="Generators that write adapters from embeddings of task, block and place, and the norms.",
        trains="5,211,056/K on T5-base, K = 8",
        build="multiprompt.methods.hyperformer:build",
        count="multiprompt.methods.hyperformer:count",
        place=8,
        other_names=("hyperformer++", "hyper_former"),
        needs=trained_first,
        first="multitask_hyperformer",
        grouped=True,
    )
)
