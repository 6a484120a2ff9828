"""The experiments of every shipped study, read once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from multiprompt.options import Experiment
from multiprompt.studies import Scale, experiments_of, load_study


@cache
def shipped(name: str, scale: Scale) -> Mapping[str, Experiment]:
    """The runs of a study, by name."""
    return MappingProxyType(experiments_of(name, load_study(name, scale), scale))
