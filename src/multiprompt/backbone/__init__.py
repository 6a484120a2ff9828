"""The frozen language model: loading it, putting a prompt in front of it, generating with it."""

from multiprompt.backbone.frozen_t5 import BackboneOutput, FrozenT5, HiddenStates, Inputs
from multiprompt.backbone.loading import load_backbone, load_tokenizer, outline_backbone, pick_attention

__all__ = [
    "BackboneOutput",
    "FrozenT5",
    "HiddenStates",
    "Inputs",
    "load_backbone",
    "load_tokenizer",
    "outline_backbone",
    "pick_attention",
]
