"""What an experiment is, as frozen dataclasses whose defaults are the values of the paper.

The classes of options of methods, such as ``LoraOptions``, are found through the records of the methods.
"""

from __future__ import annotations

from typing import Any

from multiprompt.options.checks import FLOAT16, REASONS
from multiprompt.options.experiment import (
    BackboneOptions,
    DataOptions,
    DistillationOptions,
    Experiment,
    MixingOptions,
    PromptOptions,
    Selection,
    SourceOptions,
    TargetOptions,
    TeacherOptions,
    TrainingOptions,
)
from multiprompt.options.methods import Methods
from multiprompt.options.own_methods import OwnMethod, is_method_file, load_method_file, take_in_method_files
from multiprompt.options.records import (
    MethodOptions,
    MethodRecord,
    Needs,
    method_record,
    method_records,
    option_classes,
    other_names,
    record_of_stage,
    register_method,
)

__all__ = [
    "FLOAT16",
    "REASONS",
    "BackboneOptions",
    "DataOptions",
    "DistillationOptions",
    "Experiment",
    "MethodOptions",
    "MethodRecord",
    "Methods",
    "MixingOptions",
    "Needs",
    "OwnMethod",
    "PromptOptions",
    "Selection",
    "SourceOptions",
    "TargetOptions",
    "TeacherOptions",
    "TrainingOptions",
    "is_method_file",
    "load_method_file",
    "method_record",
    "method_records",
    "option_classes",
    "other_names",
    "record_of_stage",
    "register_method",
    "take_in_method_files",
]


def __getattr__(name: str) -> Any:
    if name in (classes := option_classes()):
        return classes[name]
    raise AttributeError(f"module 'multiprompt.options' has no attribute {name!r}")
