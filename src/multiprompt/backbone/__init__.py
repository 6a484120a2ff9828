"""Frozen language models: loading one, putting prompts in front of it, answering with it.

Names are loaded when they are first used: the table of published models needs no torch.
"""

from __future__ import annotations

from multiprompt.lazy import lazy_names

_HOMES = {
    "Backbone": "multiprompt.backbone.base",
    "BackboneOutput": "multiprompt.backbone.base",
    "HiddenStates": "multiprompt.backbone.base",
    "Inputs": "multiprompt.backbone.base",
    "Sublayer": "multiprompt.backbone.base",
    "Site": "multiprompt.backbone.base",
    "States": "multiprompt.backbone.base",
    "T5Backbone": "multiprompt.backbone.t5.model",
    "TextCoder": "multiprompt.backbone.texts",
    "load_backbone": "multiprompt.backbone.loading",
    "load_coder": "multiprompt.backbone.loading",
    "outline_backbone": "multiprompt.backbone.loading",
    "pick_attention": "multiprompt.backbone.loading",
}

__getattr__, __all__ = lazy_names(__name__, _HOMES)
