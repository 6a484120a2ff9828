"""Models of the T5 family by name: those on the Hugging Face hub with their shapes and sizes, and our own. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from multiprompt.backbone.shape import Shape
from multiprompt.backbone.t5.sizes import t5_operations, t5_shape

EMBEDDED = "embedded"
"""The small model that comes with the package."""

SHIPPED = ("embedded-small", EMBEDDED)
"""All that come with the package, each a folder of ``multiprompt.backbone`` by its name."""


@dataclass(frozen=True)
class PublishedModel:
    """A model as its published configuration describes it.

    Attributes:
        shape: values of its ``T5Config``.
        parameters: numbers in its weights; tied ones are counted once.
    """

    shape: Mapping[str, Any]
    parameters: int

    @property
    def width(self) -> int:
        """Of the model, D."""
        return int(self.shape["d_model"])

    @property
    def sizes(self) -> Shape:
        """The same as every backbone says it."""
        return t5_shape(self.shape, tied=self.shape.get("tie_word_embeddings", True))

    def operations(self, source: int, target: int) -> float:
        """Operations of a forward pass over one example; see ``Backbone.operations``."""
        return t5_operations(self.sizes, source, target)

    def config(self) -> Any:
        """Its configuration as transformers takes it."""
        from transformers import T5Config

        return T5Config(**self.shape)


def _first(d_model: int, d_ff: int, num_layers: int, num_heads: int) -> dict[str, Any]:
    """T5 as first published (v1.0): the output layer is the embedding, the feed-forward layer has no gate."""
    return {
        "vocab_size": 32128,
        "d_model": d_model,
        "d_kv": 64,
        "d_ff": d_ff,
        "num_layers": num_layers,
        "num_heads": num_heads,
    }


def _second(d_model: int, d_ff: int, num_layers: int, num_heads: int) -> dict[str, Any]:
    """T5 v1.1, and what was trained from it: an output layer of its own, and a gate."""
    shape = _first(d_model, d_ff, num_layers, num_heads)
    return shape | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}


_SMALL = PublishedModel(_second(512, 1024, 8, 6), 76_961_152)
_BASE = PublishedModel(_second(768, 2048, 12, 12), 247_577_856)
_LARGE = PublishedModel(_second(1024, 2816, 24, 16), 783_150_080)

PUBLISHED: Mapping[str, PublishedModel] = {
    "t5-small": PublishedModel(_first(512, 2048, 6, 8), 60_506_624),
    "t5-base": PublishedModel(_first(768, 3072, 12, 12), 222_903_552),
    "t5-large": PublishedModel(_first(1024, 4096, 24, 16), 737_668_096),
    "google/t5-v1_1-small": _SMALL,
    "google/t5-v1_1-base": _BASE,
    "google/t5-v1_1-large": _LARGE,
    "google/t5-small-lm-adapt": _SMALL,
    "google/t5-base-lm-adapt": _BASE,
    "google/t5-large-lm-adapt": _LARGE,
    "google/flan-t5-small": _SMALL,
    "google/flan-t5-base": _BASE,
    "google/flan-t5-large": _LARGE,
}

OTHER_MODELS = "Any other T5, v1.1, LM-adapted or Flan model works too: its name on the hub, or a folder."
"""What else can be a backbone, in words."""

_FULL_NAMES = {f"google-t5/{name}": name for name in PUBLISHED if "/" not in name}


def published_model(name: str) -> PublishedModel | None:
    """The published model of this name, "t5-base" or in full "google-t5/t5-base"; ``None`` for any other."""
    return PUBLISHED.get(_FULL_NAMES.get(name, name))


def note_on_model(name: str) -> str | None:
    """What should be known before a prompt is trained for a model of this name or folder; None for nothing."""
    last = name.rstrip("/").rpartition("/")[2]
    if "t5-v1_1" not in last or "lm-adapt" in last:
        return None
    adapted = f"google/t5-{last.rpartition('-')[2]}-lm-adapt"
    return (
        f"the backbone {name} is T5 v1.1 as it was pretrained, which has only filled gaps: prompts alone hardly teach "
        f"it to answer. Take the LM-adapted one ({adapted}), t5-base or flan-t5-base"
    )
