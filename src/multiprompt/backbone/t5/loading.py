"""The weights of a T5 from a checkpoint, and its shapes without weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from multiprompt.backbone.checkpoint_files import Checkpoint, stored_tensors
from multiprompt.errors import BackboneError

EMBEDDINGS = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
"""Names that a checkpoint may have the input embedding under; each of them, or several."""

HEAD = "lm_head.weight"
"""The output layer: one more name of the embedding (T5 v1.0), or a tensor of its own (v1.1)."""


def load_t5(checkpoint: Checkpoint, dtype: torch.dtype, attention: str) -> Any:
    """A ``T5ForConditionalGeneration`` with the weights of a checkpoint.

    Raises:
        BackboneError: weights that the checkpoint does not give, or gives twice.
        Exception: whatever transformers raises where it cannot read the checkpoint.
    """
    from transformers import T5Config, T5ForConditionalGeneration

    loaded: Any = T5ForConditionalGeneration.from_pretrained(
        checkpoint.path, dtype=dtype, attn_implementation=attention, output_loading_info=True, **checkpoint.source
    )
    model, report = loaded
    config, _ = T5Config.get_config_dict(checkpoint.path, **checkpoint.source)
    _put_embeddings(checkpoint.name, model, checkpoint.files(), config)
    _refuse_fresh_weights(checkpoint.name, report)
    return model


def outline_t5(config: Any) -> Any:
    """A ``T5ForConditionalGeneration`` of a configuration, without weights; inside torch's meta device."""
    from transformers import T5ForConditionalGeneration

    model = T5ForConditionalGeneration(config)
    if not config.scale_decoder_outputs:
        # T5 v1.1 has an output layer of its own, which transformers finds out when it reads the weights only.
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    return model


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
