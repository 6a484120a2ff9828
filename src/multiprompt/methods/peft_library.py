"""LoRA, IA3 and prefix tuning as the ``peft`` library builds them, behind the protocol of the other methods.

peft writes into the model that it is given. Here that happens inside the ``with`` block only: its layers are made once,
taken out again at once, and stand in the model from the beginning of the block to its end.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from multiprompt.backbone.base import Backbone
from multiprompt.backbone.shape import Shape
from multiprompt.backbone.t5.passes import hiding
from multiprompt.batch import Batch, counted_positions
from multiprompt.losses import token_cross_entropy
from multiprompt.methods.arithmetic import Item
from multiprompt.methods.base import Method, ParameterGroup, TaskMethod, task_term
from multiprompt.methods.start import Start
from multiprompt.options import PromptOptions
from multiprompt.terms import Term

ADAPTER = "default"
"""What peft calls a set of trained tensors where nobody names it."""


class PeftMethod(TaskMethod):
    """What the methods of the library have in common.

    Args:
        backbone: the frozen model. Inside the ``with`` block it takes transformers' own passes, which peft builds on.
        trained: the trained parameters by name.
        learning_rate: of all of them.
        dropout: whether the model drops out while training.
    """

    title = "the tensors of peft"

    def __init__(
        self, backbone: Backbone, trained: Mapping[str, nn.Parameter], learning_rate: float, dropout: bool
    ) -> None:
        super().__init__(backbone, dropout)
        self._trained = dict(trained)
        self.learning_rate = learning_rate

    def change(self, stack: ExitStack) -> None:
        stack.enter_context(self.backbone.ordinary_passes())

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup("peft", list(self._trained.values()), self.learning_rate)]

    def parameters(self) -> Mapping[str, nn.Parameter]:
        return self._trained


class PeftLayers(PeftMethod):
    """LoRA or IA3: peft's layers in the place of some of the model's linear layers.

    Args:
        backbone: the frozen model.
        layers: peft's layers, each around the layer whose name it goes by.
        learning_rate: of their trained tensors.
        dropout: whether the model drops out while training.
    """

    def __init__(self, backbone: Backbone, layers: Mapping[str, Any], learning_rate: float, dropout: bool) -> None:
        self.layers = dict(layers)
        trained = {
            f"{name}.{part}".replace(f".{ADAPTER}", ""): parameter
            for name, layer in self.layers.items()
            for part, parameter in layer.named_parameters()
            if parameter.requires_grad
        }
        super().__init__(backbone, trained, learning_rate, dropout)

    def change(self, stack: ExitStack) -> None:
        super().change(stack)
        model = self.backbone.model
        for name, layer in self.layers.items():
            stack.callback(model.set_submodule, name, layer.get_base_layer())
            model.set_submodule(name, layer)


def lora(backbone: Backbone, rank: int, alpha: float, learning_rate: float, dropout: bool, seed: int) -> PeftLayers:
    """A low-rank update of the weights of queries and values, in all attention layers of encoder and decoder.

    Hu et al., *LoRA: Low-Rank Adaptation of Large Language Models*, ICLR 2022, arXiv:2106.09685. Queries and values are
    peft's choice for a T5. An update of a weight ``[O, I]`` is ``alpha / rank * B @ A``, with ``A`` ``[rank, I]`` drawn
    and ``B`` ``[O, rank]`` zero at first.

    Args:
        backbone: the frozen model.
        rank: of the updates.
        alpha: see above.
        learning_rate: of ``A`` and ``B``.
        dropout: whether the model drops out while training.
        seed: of ``A``.
    """
    import peft

    config = peft.LoraConfig(r=rank, lora_alpha=alpha)  # type: ignore[arg-type]  # it is divided by the rank
    return PeftLayers(backbone, _made_layers(backbone, peft.LoraModel, config, seed), learning_rate, dropout)


def ia3(backbone: Backbone, learning_rate: float, dropout: bool, seed: int) -> PeftLayers:
    """Scales of all keys and values and of what the last feed-forward layer reads, one at first.

    Liu et al., *Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning*, NeurIPS 2022,
    arXiv:2205.05638. The three places, in all blocks and in cross-attention too, are peft's choice for a T5.

    Args:
        backbone: the frozen model.
        learning_rate: of the scales.
        dropout: whether the model drops out while training.
        seed: of whatever peft draws, which is thrown away for ones.
    """
    import peft

    layers = _made_layers(backbone, peft.IA3Model, peft.IA3Config(), seed)
    return PeftLayers(backbone, layers, learning_rate, dropout)


def _made_layers(backbone: Backbone, tuner: Any, config: Any, seed: int) -> dict[str, Any]:
    """The layers that peft puts into a model, by the names of those they replace; the model is left as it was."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    model = backbone.model
    with _drawing_from(seed):
        made = tuner(model, config, ADAPTER)
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, BaseTunerLayer)}
    made.unload()
    for layer in layers.values():
        _in_float32(layer)
    return layers


class PrefixTuning(PeftMethod):
    """A prefix of learned keys and values for the decoder, as peft gives it to a T5.

    Li and Liang, *Prefix-Tuning: Optimizing Continuous Prompts for Generation*, ACL 2021, arXiv:2101.00190, have a
    prefix in every attention layer. What peft does with an encoder-decoder model is less. It trains
    ``[P, 2 L E]`` numbers (L decoder blocks, E the width of all heads together), without a network behind them, and
    hands them to the decoder as a cache of P earlier positions. So:

    * decoder self-attention has the prefix; the encoder and cross-attention have none;
    * the numbers are dealt out by four to a block, of which self-attention takes the first two and the other two, meant
      for cross-attention, are dropped; at the end of the row the dealing starts over. With an even number of blocks,
      as in every published T5, half of the numbers take no part, and block i has the prefix of block i + L / 2;
    * the first values are N(0, 1).

    So it is in peft 0.21.2. The count of trained numbers takes in those that take no part, as peft's does.

    Args:
        backbone: the frozen model.
        length: P.
        learning_rate: of the prefix.
        dropout: whether the model drops out while training.
        seed: of the first values.
    """

    def __init__(self, backbone: Backbone, length: int, learning_rate: float, dropout: bool, seed: int) -> None:
        import peft

        config = backbone.model.config
        shape = peft.PrefixTuningConfig(
            task_type="SEQ_2_SEQ_LM",
            num_virtual_tokens=length,
            num_transformer_submodules=2,
            # peft would take the width of the model and the blocks of the encoder, which differ in some T5
            num_layers=config.num_decoder_layers,
            num_attention_heads=config.num_heads,
            token_dim=config.num_heads * config.d_kv,
        )
        with _drawing_from(seed), warnings.catch_warnings():
            # peft asks transformers for something by a name that is going to be dropped
            warnings.simplefilter("ignore", FutureWarning)
            self.model = peft.PeftModelForSeq2SeqLM(backbone.model, shape)
        prefix = _in_float32(self.model.prompt_encoder[ADAPTER]).embedding.weight
        super().__init__(backbone, {"prefix": prefix}, learning_rate, dropout)

    def losses(self, batch: Batch) -> tuple[Term, ...]:
        with self.backbone.dropout(self.dropout):
            logits = self._logits(batch)
        example_ids, positions = counted_positions(batch.known.targets, self.backbone.device)
        logits, labels = (each.flatten(0, 1).index_select(0, positions) for each in (logits, batch.labels))
        return (task_term(batch, token_cross_entropy(logits, labels, example_ids, len(batch))),)

    @torch.no_grad()
    def rank(self, batch: Batch, answers: Sequence[Sequence[int]]) -> Float[Tensor, "B C"]:
        columns = []
        for answer in answers:
            labels = torch.tensor([answer], device=self.backbone.device).expand(len(batch), -1)
            with self.backbone.dropout(False):
                scores = torch.log_softmax(self._logits(replace(batch, labels=labels)).float(), -1)
            columns.append(scores.gather(2, labels.unsqueeze(-1)).sum((1, 2)))
        return torch.stack(columns, 1)

    def _logits(self, batch: Batch) -> Float[Tensor, "B T V"]:
        with cache_by_its_name(self.backbone.model):
            output = self.model(
                input_ids=batch.input_ids,
                attention_mask=hiding(batch.attention_mask, self.backbone.embedding.dtype),
                decoder_input_ids=self.backbone.model._shift_right(batch.labels),
            )
        logits: Tensor = output.logits
        return logits

    @torch.no_grad()
    def generate(self, batch: Batch, max_new_tokens: int, beams: int = 1) -> Int[Tensor, "B T"]:
        try:
            with self.backbone.dropout(False), cache_by_its_name(self.backbone.model):
                ids: Tensor = self.model.generate(
                    input_ids=batch.input_ids,
                    attention_mask=batch.attention_mask,
                    do_sample=False,
                    num_beams=beams,
                    max_new_tokens=max_new_tokens,
                )
        finally:
            # peft gives the model a method of its own for the time of a call, and leaves the old one as an attribute
            self.backbone.model.__dict__.pop("prepare_inputs_for_generation", None)
        return ids


@contextmanager
def cache_by_its_name(model: Any) -> Iterator[None]:
    """Inside the block a prefix reaches the model, whatever the release of transformers calls a cache.

    peft hands it over as ``past_key_values``. From 5.24 on that is ``cache``, and in generation a new, empty one of
    that name would win: the prefix would be lost without an error.
    """
    if "cache" not in inspect.signature(model.forward).parameters:
        yield
        return

    def rename(_: Any, arguments: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        prefix = named.pop("past_key_values", None)
        return arguments, named if prefix is None else named | {"cache": prefix}

    handle = model.register_forward_pre_hook(rename, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _drawing_from(seed: int) -> Iterator[None]:
    """peft draws from torch's global generator: inside the block it is seeded, afterwards it is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        yield


def _in_float32(module: Any) -> Any:
    """A module of peft whose trained tensors are float32, whatever the precision of the model."""
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return module


def build_lora(start: Start) -> Method:
    """New updates of queries and values."""
    options = start.options
    rest = options.learning_rate, start.training.dropout, start.draw_seed("lora")
    return lora(start.backbone, options.rank, options.alpha, *rest)


def build_ia3(start: Start) -> Method:
    """Scales of one."""
    return ia3(start.backbone, start.options.learning_rate, start.training.dropout, start.draw_seed("ia3"))


def build_prefix(start: Start) -> Method:
    """A new prefix, as long as prompts are."""
    rest = start.options.learning_rate, start.training.dropout, start.draw_seed("prefix")
    return PrefixTuning(start.backbone, start.prompt.length, *rest)


def count_lora(shape: Shape, _: PromptOptions, options: Any) -> list[Item]:
    """The arithmetic of what LoRA trains."""
    parts = (options.rank, shape.width), (options.rank, shape.heads)
    return [Item("updates of q and v", 2 * shape.attentions, parts)]


def count_ia3(shape: Shape, _: PromptOptions, __: Any) -> list[Item]:
    """The arithmetic of what IA3 trains."""
    return [
        Item("scales of k and v", shape.attentions, ((2, shape.heads),)),
        Item("feed-forward scales", shape.blocks, ((shape.inner,),)),
    ]


def count_prefix(shape: Shape, prompt: PromptOptions, _: Any) -> list[Item]:
    """The arithmetic of what prefix tuning trains; see ``PrefixTuning`` on what takes no part."""
    blocks = shape.stacks[-1].blocks
    name = "keys and values" if blocks % 2 else "keys and values, half of them unused"
    return [Item(name, blocks, ((2, prompt.length, shape.heads),))]
