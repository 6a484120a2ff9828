"""What a language model is made of, in numbers: enough to count what a method trains. No torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StackShape:
    """Blocks that follow each other.

    Attributes:
        name: of the stack, as its backbone calls it.
        blocks: number of them.
        attentions: attention layers in a block.
        norms: layer norms in a block.
    """

    name: str
    blocks: int
    attentions: int
    norms: int


@dataclass(frozen=True)
class Shape:
    """Sizes of a language model.

    Attributes:
        width: D of the model.
        heads: width of all heads of an attention layer together.
        inner: width of the feed-forward layer.
        gates: matrices that lead into the feed-forward layer; 2 with a gate.
        stacks: in the order in which a source passes them.
        last_norms: layer norms outside the blocks.
        positions: trained numbers of each stack that say how far apart two positions are.
        words: rows of the embedding.
        tied: whether the output layer is the embedding.
    """

    width: int
    heads: int
    inner: int
    gates: int
    stacks: tuple[StackShape, ...]
    last_norms: int
    positions: int
    words: int
    tied: bool

    @property
    def blocks(self) -> int:
        """Of all stacks."""
        return sum(stack.blocks for stack in self.stacks)

    @property
    def attentions(self) -> int:
        """Attention layers of the model."""
        return sum(stack.blocks * stack.attentions for stack in self.stacks)

    @property
    def norms(self) -> int:
        """Layer norms of the model."""
        return sum(stack.blocks * stack.norms for stack in self.stacks) + self.last_norms
