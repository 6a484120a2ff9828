"""Frozen language models: loading one, putting prompts in front of it, answering with it.

Names are loaded when they are first used: the table of published models needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprompt.backbone.base import Backbone, BackboneOutput, HiddenStates, Inputs, Site, States, Sublayer
    from multiprompt.backbone.loading import load_backbone, load_coder, outline_backbone, pick_attention
    from multiprompt.backbone.t5.model import T5Backbone
    from multiprompt.backbone.texts import TextCoder

_HOMES = {
    "Backbone": "base",
    "BackboneOutput": "base",
    "HiddenStates": "base",
    "Inputs": "base",
    "Sublayer": "base",
    "Site": "base",
    "States": "base",
    "T5Backbone": "t5.model",
    "TextCoder": "texts",
    "load_backbone": "loading",
    "load_coder": "loading",
    "outline_backbone": "loading",
    "pick_attention": "loading",
}

__all__ = [
    "Backbone",
    "BackboneOutput",
    "HiddenStates",
    "Inputs",
    "Site",
    "States",
    "Sublayer",
    "T5Backbone",
    "TextCoder",
    "load_backbone",
    "load_coder",
    "outline_backbone",
    "pick_attention",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"multiprompt.backbone.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'multiprompt.backbone' has no attribute {name!r}")
