"""What the rest of the package may ask of a frozen language model; each family answers in a folder of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from multiprompt.backbone.costs import pass_costs
from multiprompt.backbone.fingerprint import model_digest, weights_digest
from multiprompt.backbone.shape import Shape
from multiprompt.backbone.texts import TextCoder
from multiprompt.batch import Batch
from multiprompt.files import tensors_digest

HiddenStates = Literal["none", "last", "all"]
"""Which hidden states of a pass are kept: none, the last ones (after the final norm), or those after every block."""

Sublayer = Literal["self_attention", "feed_forward"]
"""Which sublayer of a block."""


@dataclass(frozen=True)
class Inputs:
    """Examples of one training, as they enter the model.

    Attributes:
        batch: on the device of the model.
        prompts: the prompt of every example, or None for the bare model.
        shift: added to the embeddings of the first N source tokens.
        random_state: where the random numbers of dropout go on, and moved on by it; None for torch's own state, which
            only inputs that are alone may use.
    """

    batch: Batch
    prompts: Float[Tensor, "B P D"] | None = None
    shift: Float[Tensor, "N D"] | None = None
    random_state: Tensor | None = None

    @property
    def prompt_length(self) -> int:
        """Rows in front of every source."""
        return 0 if self.prompts is None else self.prompts.shape[1]


@dataclass(frozen=True)
class States:
    """Hidden states of one stack.

    Attributes:
        values: the last state, or the state after every block, depending on what was asked for.
        mask: true for the positions that count, prompt rows among them.
    """

    values: tuple[Float[Tensor, "B N D"], ...]
    mask: Bool[Tensor, "B N"]


@dataclass(frozen=True)
class BackboneOutput:
    """What one pass gives.

    Attributes:
        logits: scores of the target positions that count, example after example; fp32.
        labels: the token at each of these positions.
        example_ids: the example that each position belongs to.
        states: the hidden states that were asked for, by the name of their stack; empty if none were.
    """

    logits: Float[Tensor, "N V"]
    labels: Int[Tensor, " N"]
    example_ids: Int[Tensor, " N"]
    states: Mapping[str, States]


@dataclass(frozen=True)
class Site:
    """A module of a block whose output, before the residual sum, can go through another layer.

    Attributes:
        stack: name of the stack.
        block: position of the block in its stack.
        place: which sublayer of the block.
        module: whose output it is.
    """

    stack: str
    block: int
    place: Sublayer
    module: nn.Module


class Backbone(ABC):
    """A language model whose weights no prompt method moves, and its tokenizer.

    A prompt is concatenated before the embeddings of a source, and attended to by all that follows, in training and in
    generation (section 3 of the paper).

    Args:
        model: a transformers model; put in evaluation mode, every weight frozen.
        tokenizer: its tokenizer; None for a model that is only counted.
        name: what the user called it.
        files: of the checkpoint that the weights come from; none for a model that was made in memory.

    Attributes:
        family: name of the family of models that it belongs to.
        costs: what one more pass in training costs, and how much one may hold.
    """

    family: ClassVar[str]

    def __init__(self, model: Any, tokenizer: Any, name: str, files: Sequence[Path] = ()) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.files = tuple(files)
        self._weights_digest: str | None = None
        model.requires_grad_(False)
        model.eval()
        self.costs = pass_costs(self.device, self.token_bytes)

    def __repr__(self) -> str:
        precision = str(self.embedding.dtype).removeprefix("torch.")
        count = f"{self.parameter_count():,} parameters, width {self.width}"
        return f"{type(self).__name__}({self.name!r}, {count}, {precision} on {self.device})"

    # What it is

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Its sizes."""

    @abstractmethod
    def operations(self, source: int, target: int) -> float:
        """Operations of a forward pass over one example.

        Args:
            source: tokens of the source, prompt rows included.
            target: tokens of the target.
        """

    @property
    @abstractmethod
    def token_bytes(self) -> int:
        """Bytes that autograd keeps for one position of a source, all blocks together; an estimate from above."""

    @property
    def width(self) -> int:
        """Width D of prompts and embeddings."""
        return self.shape.width

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.device

    @property
    def embedding(self) -> Float[Tensor, "V D"]:
        """The loaded input embedding."""
        weight: Tensor = self.model.get_input_embeddings().weight
        return weight

    @property
    def frequent(self) -> Float[Tensor, "F D"]:
        """The rows of the embedding that prompts start from: those of frequent pieces, if the family knows them."""
        return self.embedding[: len(self.tokenizer)]

    def embed(self, ids: Int[Tensor, "*any"]) -> Float[Tensor, "*any D"]:
        """The embeddings of tokens, as the model reads them."""
        embedded: Tensor = self.model.get_input_embeddings()(ids)
        return embedded

    def weights(self) -> dict[str, nn.Parameter]:
        """All its weights by name, tied ones once."""
        return dict(self.model.named_parameters())

    def parameter_count(self) -> int:
        """Number of its weights, tied ones counted once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def fingerprint(self) -> str:
        """A digest of all weights and of the tokenizer: tells one model from another.

        Weights count as their checkpoint stores them, so the precision that they are loaded in changes nothing. Those
        of a model that was made in memory count as saving it would store them.
        """
        if self.files and self._weights_digest is None:
            self._weights_digest = weights_digest(self.files)
        return model_digest(self._weights_digest or tensors_digest(self.weights()), self.tokenizer)

    def facts(self) -> dict[str, str | int | float]:
        """What a record of a run should say about the model."""
        rows = self.embedding[: len(self.tokenizer)].float()
        return {
            "name": self.name,
            "parameters": self.parameter_count(),
            "width": self.width,
            "precision": str(self.embedding.dtype).removeprefix("torch."),
            "device": str(self.device),
            "attention": str(self.model.config._attn_implementation),
            "embedding_std": round(float(rows.std()), 4),
        }

    # Texts, tokens, positions

    @cached_property
    def coder(self) -> TextCoder:
        """How texts become its tokens."""
        return TextCoder(self.tokenizer)

    @property
    def pads(self) -> bool:
        """Whether a batch runs through the model with its padding, so that examples of like length belong together."""
        return True

    def positions(self, sources: Int[np.ndarray, " B"], targets: Int[np.ndarray, " B"]) -> Int[np.ndarray, " B"]:
        """Positions by which the work of examples is compared, without their prompts.

        Args:
            sources: tokens of every source.
            targets: tokens of every target.
        """
        return sources

    @abstractmethod
    def tokens_of_pass(self, batch: Batch, prompt_length: int) -> int:
        """Positions that a training pass over a batch computes: prompts, and padding where the model pads."""

    # Passes

    def forward(
        self,
        batch: Batch,
        prompts: Float[Tensor, "B P D"] | None,
        hidden: HiddenStates = "none",
        shift: Float[Tensor, "N D"] | None = None,
    ) -> BackboneOutput:
        """Teacher-forced pass over a batch.

        Args:
            batch: on the device of the model.
            prompts: the prompt of every example, or None for the bare model.
            hidden: which hidden states to keep.
            shift: added to the embeddings of the first N source tokens.
        """
        return self.forward_together([Inputs(batch, prompts, shift)], hidden)

    @abstractmethod
    def forward_together(self, inputs: Sequence[Inputs], hidden: HiddenStates = "none") -> BackboneOutput:
        """One pass over the examples of several trainings, whose prompts may differ in length.

        Every example comes out as it would in a pass of its own training, up to the rounding of float32, also with
        dropout.

        Args:
            inputs: of every training; the output holds their examples in this order.
            hidden: which hidden states to keep.
        """

    @abstractmethod
    def state_counts(self, batch: Batch, prompt_length: int) -> dict[str, Int[np.ndarray, " B"]]:
        """Positions of every example that count in the hidden states of each stack, by its name; before any pass."""

    @abstractmethod
    def generate(self, inputs: Sequence[Inputs], max_new_tokens: int, beams: int = 1) -> Int[Tensor, "B T"]:
        """Token ids of answers to the sources, by greedy decoding, or by beam search with length penalty 1.

        Args:
            inputs: examples of any tasks; prompts may differ in length. Labels do not matter.
            max_new_tokens: longest answer, end-of-sequence included.
            beams: width of the beam search; 1 is greedy decoding.
        """

    @abstractmethod
    def rank(self, inputs: Sequence[Inputs], answers: Sequence[Sequence[int]]) -> Float[Tensor, "B C"]:
        """Log-probability of every given answer after every source, summed over the tokens of the answer.

        Args:
            inputs: examples of any tasks; prompts may differ in length. Labels do not matter.
            answers: token ids of each, end-of-sequence included if it is to count.
        """

    @contextmanager
    def answers_of(self, length: int) -> Iterator[None]:
        """Inside the ``with`` block no answer ends before ``length`` tokens."""
        settings = self.model.generation_config
        before, settings.min_new_tokens = settings.min_new_tokens, length
        try:
            yield
        finally:
            settings.min_new_tokens = before

    # What a method may change, for the time of a ``with`` block

    @contextmanager
    def dropout(self, active: bool) -> Iterator[None]:
        """Switch the dropout of the frozen model on or off inside the ``with`` block."""
        before = self.model.training
        if before != active:
            _set_training(self.model, active)
        try:
            yield
        finally:
            if before != active:
                _set_training(self.model, before)

    def ordinary_passes(self) -> AbstractContextManager[None]:
        """Inside the ``with`` block the model runs transformers' own code, which hooks and replaced layers need."""
        return nullcontext()

    @contextmanager
    def unfrozen(self) -> Iterator[None]:
        """Inside the ``with`` block all weights are float32 copies that can be trained; then the old ones are back."""
        with ExitStack() as stack:
            for parameter in self.model.parameters():
                stack.callback(setattr, parameter, "data", parameter.data)
                parameter.data = parameter.data.to(torch.float32, copy=True)
            # Undone first: gradients of float32 do not fit the weights of a backbone in bfloat16.
            stack.callback(self.model.zero_grad, set_to_none=True)
            stack.callback(self.model.requires_grad_, False)
            self.model.requires_grad_(True)
            yield

    @abstractmethod
    def sites(self, places: Iterable[Sublayer]) -> list[Site]:
        """The sites of all blocks, stack by stack and block by block, at some places of each."""

    @abstractmethod
    def norms(self) -> list[nn.Module]:
        """Every layer norm of the model."""

    @abstractmethod
    def outputs(self) -> dict[str, tuple[nn.Module, int]]:
        """What can be given a bias: every linear layer and every norm in a block, by name, with its output's width."""


def _set_training(model: Any, active: bool) -> None:
    """``model.train(active)``, which takes ten times as long: it looks for parameters in every value that is set."""
    for module in model.modules():
        object.__setattr__(module, "training", active)
