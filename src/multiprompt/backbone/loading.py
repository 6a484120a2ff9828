"""Loading a model from the hub, from a folder, or one that comes with this package."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from multiprompt.backbone.base import Backbone
from multiprompt.backbone.checkpoint_files import Checkpoint
from multiprompt.backbone.published import EMBEDDED, SHIPPED, published_model
from multiprompt.backbone.t5.loading import load_t5, outline_t5
from multiprompt.backbone.t5.model import T5Backbone
from multiprompt.backbone.texts import TextCoder
from multiprompt.errors import BackboneError
from multiprompt.network import hub_trouble
from multiprompt.options import FLOAT16

_logger = logging.getLogger("multiprompt.backbone")


def load_backbone(
    name: str = EMBEDDED,
    *,
    revision: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    attention: str = "auto",
) -> Backbone:
    """Load a frozen T5 (v1.0, v1.1, LM-adapted or Flan; any size) with its tokenizer.

    Args:
        name: ``"embedded"`` or ``"embedded-small"``, which come with this package, the name of a model on the hub such
            as ``"t5-base"``, or a folder.
        revision: commit or tag on the hub.
        device: ``"auto"`` takes the GPU if there is one.
        precision: of the frozen weights; ``"auto"`` is bfloat16 on a GPU that computes in it and float32 elsewhere.
            Trained tensors of every method, the optimiser's states and the loss are float32 always.
        attention: transformers' name of an attention implementation, or ``"auto"`` (see ``pick_attention``).

    Returns:
        The model with its tokenizer, in evaluation mode, no weight of which is trained.

    Raises:
        BackboneError: the model cannot be found or read, is not a T5, has weights that the checkpoint does not give or
            gives twice, does not fit its tokenizer, or the precision cannot be used.
    """
    chosen_device = _pick_device(device)
    dtype = _pick_precision(precision, chosen_device)
    family = _family(name, _load_config(name, revision))
    checkpoint = Checkpoint(name, _path(name), revision, _out_of_reach(_path(name)))
    implementation = pick_attention(chosen_device) if attention == "auto" else attention
    try:
        with _quiet():
            model = family.load(checkpoint, dtype, implementation)
    except BackboneError:
        raise
    except Exception as error:
        raise BackboneError(f"cannot load the weights of {name!r}: {_first_line(error)}") from error
    tokenizer = load_coder(name, revision=revision).tokenizer
    _check_vocabulary(name, model, tokenizer)
    backbone = family.backbone(model.to(chosen_device), tokenizer, name, checkpoint.files())
    facts = backbone.facts()
    _logger.info("backbone %s", ", ".join(f"{key} {value}" for key, value in facts.items()))
    return backbone


def outline_backbone(name: str) -> Backbone:
    """A backbone without weights or tokenizer: its shapes, on torch's meta device. Enough to count with.

    Args:
        name: a model that ``multiprompt.backbone.published`` lists (no network is needed), or as for ``load_backbone``.

    Raises:
        BackboneError: the configuration cannot be found or read, or is not a T5's.
    """
    published = published_model(name)
    config = published.config() if published else _load_config(name, None)
    family = _family(name, config)
    with torch.device("meta"):
        model = family.outline(config)
    return family.backbone(model, None, name)


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        model_types: what the configurations of its models are called.
        backbone: the protocol on such a model.
        load: makes a model with the weights of a checkpoint, in a precision, with an attention implementation.
        outline: makes a model of a configuration, without weights.
    """

    model_types: tuple[str, ...]
    backbone: Callable[..., Backbone]
    load: Callable[[Checkpoint, torch.dtype, str], Any]
    outline: Callable[[Any], Any]


FAMILIES = (Family(("t5",), T5Backbone, load_t5, outline_t5),)
"""Every family of models that backbones are made of."""


def _family(name: str, config: Any) -> Family:
    for family in FAMILIES:
        if config.model_type in family.model_types:
            return family
    raise BackboneError(f"the backbone {name!r} is a {config.model_type!r} model; only the T5 family is supported")


def _load_config(name: str, revision: str | None) -> Any:
    """The configuration of a backbone.

    Raises:
        BackboneError: it cannot be found or read, or is not a T5's.
    """
    from transformers import AutoConfig

    path = _path(name)
    if (name.startswith((".", "/", "~")) or name.count("/") > 1) and not Path(path).is_dir():
        raise BackboneError(f"the backbone folder {name} does not exist")
    try:
        config = AutoConfig.from_pretrained(path, revision=revision, local_files_only=_out_of_reach(path))
    except Exception as error:  # the hub client raises errors of many kinds
        raise BackboneError(
            f"cannot load the backbone {name!r}: {_first_line(error)}. Expected {', '.join(map(repr, SHIPPED))}, a "
            "folder with a config.json, or the name of a model on the hub (which needs a network or an earlier "
            "download)"
        ) from error
    return config


def load_coder(name: str = EMBEDDED, *, revision: str | None = None) -> TextCoder:
    """How texts become tokens of a backbone, without loading its weights.

    Raises:
        BackboneError: it cannot be found or read.
    """
    from transformers import AutoTokenizer

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # notes about legacy behaviour that cannot be acted upon
            path = _path(name)
            out_of_reach = _out_of_reach(path)
            return TextCoder(AutoTokenizer.from_pretrained(path, revision=revision, local_files_only=out_of_reach))
    except Exception as error:  # the hub client raises errors of many kinds
        raise BackboneError(f"cannot load the tokenizer of {name!r}: {_first_line(error)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars and notes of transformers: what it would report is checked, and raised as an error."""
    from transformers.utils import logging as transformers_logging

    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def _path(name: str) -> str:
    return str(Path(__file__).parent / name) if name in SHIPPED else name


def _out_of_reach(path: str) -> bool:
    """Whether only earlier downloads can be loaded, so that transformers does not try for half a minute."""
    return hub_trouble(path) is not None


def pick_attention(device: torch.device) -> str:
    """The attention implementation for a kind of device.

    T5 adds a position bias to the scores, which rules out the fused kernels that need none. On a CPU eager attention
    was measured to be faster (docs/performance.md). On a GPU sdpa is chosen, not measured: its memory-efficient kernel
    takes a bias and keeps no scores.
    """
    return "eager" if device.type == "cpu" else "sdpa"


def _pick_device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except Exception as error:
        raise BackboneError(f"the device {device!r} cannot be used: {_first_line(error)}") from error
    return chosen


def _pick_precision(precision: str, device: torch.device) -> torch.dtype:
    hardware_has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "auto":
        return torch.bfloat16 if hardware_has_bf16 else torch.float32
    if precision in ("float16", "fp16", "half"):
        raise BackboneError(f"precision is {precision!r}: {FLOAT16}")
    if precision == "bfloat16":
        if not hardware_has_bf16:
            raise BackboneError(
                f"precision bfloat16 needs a GPU that computes in it; on {device.type!r} it would be emulated, many "
                "times slower than float32. Use float32 or auto"
            )
        return torch.bfloat16
    if precision == "float32":
        return torch.float32
    raise BackboneError(f"unknown precision {precision!r}; expected auto, float32 or bfloat16")


def _check_vocabulary(name: str, model: Any, tokenizer: Any) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise BackboneError(
            f"the tokenizer of {name!r} has token ids up to {largest}, but its embedding has {rows} rows: model and "
            "tokenizer do not belong together"
        )
    for what, of_model, of_tokenizer in (
        ("padding", model.config.pad_token_id, tokenizer.pad_token_id),
        ("end-of-sequence", model.config.eos_token_id, tokenizer.eos_token_id),
    ):
        if of_model != of_tokenizer:
            raise BackboneError(
                f"the {what} token of {name!r} is {of_model} in the model and {of_tokenizer} in the tokenizer: model "
                "and tokenizer do not belong together"
            )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
