"""The records of all methods, one file a method: to add one, add a file here and its implementation in ``methods/``."""

from __future__ import annotations

import importlib
import pkgutil

from multiprompt.options.records.base import (
    MethodOptions,
    MethodRecord,
    Needs,
    method_record,
    method_records,
    other_names,
    record_of_stage,
    register_method,
)

__all__ = [
    "MethodOptions",
    "MethodRecord",
    "Needs",
    "method_record",
    "method_records",
    "option_classes",
    "other_names",
    "record_of_stage",
    "register_method",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def option_classes() -> dict[str, type[MethodOptions]]:
    """The classes of options of the shipped methods, by their names."""
    return {record.options.__name__: record.options for record in method_records() if record.shipped}
