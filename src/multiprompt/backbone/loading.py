"""Loading a T5-family model from the hub, from a folder, or one that comes with this package."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from multiprompt.backbone.checkpoint_files import checkpoint_files, stored_tensors
from multiprompt.backbone.published import EMBEDDED, SHIPPED, published_model
from multiprompt.backbone.t5.model import T5Backbone
from multiprompt.backbone.texts import TextCoder
from multiprompt.errors import BackboneError
from multiprompt.network import hub_trouble
from multiprompt.options import FLOAT16

EMBEDDINGS = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
"""Names that a checkpoint may have the input embedding under; each of them, or several."""

HEAD = "lm_head.weight"
"""The output layer: one more name of the embedding (T5 v1.0), or a tensor of its own (v1.1)."""

_logger = logging.getLogger("multiprompt.backbone")


def load_backbone(
    name: str = EMBEDDED,
    *,
    revision: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    attention: str = "auto",
) -> T5Backbone:
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
    from transformers import T5Config, T5ForConditionalGeneration

    chosen_device = _pick_device(device)
    dtype = _pick_precision(precision, chosen_device)
    path = _path(name)
    _load_config(name, revision)
    implementation = pick_attention(chosen_device) if attention == "auto" else attention
    try:
        with _quiet():
            loaded: Any = T5ForConditionalGeneration.from_pretrained(
                path,
                revision=revision,  # type: ignore[arg-type]
                dtype=dtype,
                attn_implementation=implementation,
                output_loading_info=True,
                local_files_only=_out_of_reach(path),
            )
    except Exception as error:
        raise BackboneError(f"cannot load the weights of {name!r}: {_first_line(error)}") from error
    model, report = loaded
    files = checkpoint_files(path, revision, _out_of_reach(path))
    config, _ = T5Config.get_config_dict(path, revision=revision, local_files_only=_out_of_reach(path))
    _put_embeddings(name, model, files, config)
    _refuse_fresh_weights(name, report)
    tokenizer = load_coder(name, revision=revision).tokenizer
    _check_vocabulary(name, model, tokenizer)
    backbone = T5Backbone(model.to(chosen_device), tokenizer, name, files)
    facts = backbone.facts()
    _logger.info("backbone %s", ", ".join(f"{key} {value}" for key, value in facts.items()))
    return backbone


def outline_backbone(name: str) -> T5Backbone:
    """A backbone without weights or tokenizer: its shapes, on torch's meta device. Enough to count with.

    Args:
        name: a model that ``multiprompt.backbone.published`` lists (no network is needed), or as for ``load_backbone``.

    Raises:
        BackboneError: the configuration cannot be found or read, or is not a T5's.
    """
    from transformers import T5Config, T5ForConditionalGeneration

    published = published_model(name)
    config = T5Config(**published.shape) if published else _load_config(name, None)
    with torch.device("meta"):
        model = T5ForConditionalGeneration(config)
    if not config.scale_decoder_outputs:
        # T5 v1.1 has an output layer of its own, which transformers finds out when it reads the weights only.
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    return T5Backbone(model, None, name)


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
    if config.model_type != "t5":
        raise BackboneError(f"the backbone {name!r} is a {config.model_type!r} model; only the T5 family is supported")
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


def _put_embeddings(name: str, model: Any, files: Sequence[Path], config: Mapping[str, Any]) -> None:
    """Give a model the embedding and the output layer that its checkpoint holds, under whatever names.

    transformers takes a copy for another, or the output layer for the embedding, where a checkpoint lacks one of the
    names or where the copies differ.

    Args:
        name: of the backbone.
        model: whose weights are loaded.
        files: of the checkpoint.
        config: what its config.json says.

    Raises:
        BackboneError: the checkpoint has no embedding, copies of it that differ, or no output layer where the model
            has one of its own.
    """
    # transformers sets tie_word_embeddings whatever config.json says, and keeps that here.
    shares_head = bool(model.config.scale_decoder_outputs)
    names = (*EMBEDDINGS, HEAD) if shares_head else EMBEDDINGS
    stored = dict(stored_tensors(files, (*EMBEDDINGS, HEAD)))
    copies = [key for key in names if key in stored]
    if not copies:
        raise BackboneError(f"the checkpoint of {name!r} has no embedding; expected one of {', '.join(names)}")
    first = stored[copies[0]]
    for other in copies[1:]:
        if not torch.equal(stored[other], first):
            raise BackboneError(
                f"the checkpoint of {name!r} has two embeddings: {copies[0]} and {other} differ, and the model has one "
                "for both. Check how the checkpoint was written"
                + (", and tie_word_embeddings in config.json" if other == HEAD else "")
            )
    if HEAD not in stored and config.get("tie_word_embeddings") is False:
        raise BackboneError(
            f"the checkpoint of {name!r} lacks {HEAD}: by its config.json (tie_word_embeddings is false) the model has "
            "an output layer of its own"
        )
    dtype, shape = model.shared.weight.dtype, model.shared.weight.shape
    for key in {copies[0], HEAD} & set(stored):
        if stored[key].shape != shape:
            raise BackboneError(
                f"{key} of {name!r} has the shape {tuple(stored[key].shape)}; by its config.json it is {tuple(shape)}"
            )
    embedding = torch.nn.Parameter(first.to(dtype))
    for module in (model.shared, model.encoder.embed_tokens, model.decoder.embed_tokens):
        module.weight = embedding
    own_head = not shares_head and HEAD in stored
    model.lm_head.weight = torch.nn.Parameter(stored[HEAD].to(dtype)) if own_head else embedding


def _refuse_fresh_weights(name: str, report: dict[str, Any]) -> None:
    missing = sorted(set(report.get("missing_keys", ())) - {*EMBEDDINGS, HEAD})
    mismatched = sorted(str(entry) for entry in report.get("mismatched_keys", ()))
    if missing or mismatched:
        some = ", ".join((missing + mismatched)[:5])
        raise BackboneError(
            f"the checkpoint of {name!r} lacks {len(missing) + len(mismatched)} weights of the model ({some}, ...): "
            "they would be random. Check that the folder holds a complete T5ForConditionalGeneration"
        )


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
