"""A method of a user's own: a Python file on their disk that registers the record of one method.

The file is run where a configuration names it: when the configuration is read.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from multiprompt.errors import ConfigError, MultipromptError
from multiprompt.options.records.base import MethodRecord, register_method, registered_by


@dataclass(frozen=True)
class OwnMethod:
    """What a file holds.

    Attributes:
        record: of the method that it registers.
        digest: SHA-256 of the file as it was run.
    """

    record: MethodRecord
    digest: str


_LOADED: dict[Path, OwnMethod] = {}
"""By file, as it was run last."""


def is_method_file(name: str) -> bool:
    """Whether the name of a method is the path of a Python file."""
    return name.endswith(".py")


def load_method_file(path: Path | str) -> OwnMethod:
    """Run a file that registers a method; one that was run already, and is as it was then, is not run again.

    Args:
        path: of the Python file.

    Raises:
        ConfigError: the file cannot be read or run, or does not register one method.
    """
    path = Path(path).absolute()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"the file of a method, {path}, cannot be read: {error.strerror}") from error
    digest = hashlib.sha256(content).hexdigest()
    known = _LOADED.get(path)
    if known is None or known.digest != digest:
        # A name of its own among the modules: dataclasses look their annotations up there.
        module = ModuleType(f"multiprompt_method_{digest[:16]}_{path.stem}")
        module.__file__ = str(path)
        sys.modules[module.__name__] = module
        # not imported: a file that was changed a moment ago is run as it is now
        found = registered_by(lambda: _run(content, module))
        if len(found) != 1:
            names = ", ".join(record.name for record in found) or "none"
            raise ConfigError(
                f"{path} registers {len(found)} methods ({names}); expected one: "
                "multiprompt.register_method(multiprompt.MethodRecord(...))"
            )
        known = _LOADED[path] = OwnMethod(found[0], digest)
    register_method(known.record)  # a file elsewhere may have registered another one under its name
    return known


def _run(content: bytes, module: ModuleType) -> None:
    try:
        exec(compile(content, str(module.__file__), "exec"), vars(module))
    except MultipromptError as error:  # of the record
        raise ConfigError(f"{module.__file__}: {error}") from error
    except Exception as error:  # whatever the user's code raises
        raise ConfigError(f"{module.__file__} cannot be run: {type(error).__name__}: {error}") from error


def take_in_method_files(values: dict[str, Any], base: Path) -> list[str]:
    """Load the files of own methods, and replace their paths among the methods by names.

    The paths are kept under ``own_methods``, as absolute ones. A path whose file is wrong stays, as an absolute one.

    Args:
        values: of an experiment.
        base: the folder that paths are relative to.

    Returns:
        What is wrong with the files.
    """
    problems: list[str] = []
    files = {name: os.path.abspath(base / file) for name, file in _texts(values.get("own_methods")).items()}
    targets = values.get("targets")
    methods = targets.get("methods") if isinstance(targets, dict) else None

    def name_of(where: str, file: str) -> str | None:
        try:
            return load_method_file(file).record.name
        except ConfigError as error:
            problems.append(f"{where}: {error}")
            return None

    for name, file in files.items():
        found = name_of("own_methods", file)
        if found is not None and found != name:
            problems.append(f"own_methods.{name}: {file} registers the method {found!r}")
    if isinstance(targets, dict) and isinstance(methods, dict):
        named: dict[Any, Any] = {}
        for key, options in methods.items():
            if not is_method_file(str(key)):
                named[key] = options
                continue
            file = os.path.abspath(base / key)
            found = name_of("targets.methods", file)
            if found is None:
                named[file] = options
            elif found in methods or files.get(found, file) != file:
                problems.append(f"targets.methods: {file} is a second method named {found!r}; rename one")
                named[file] = options
            else:
                files[found] = file
                named[found] = options
        targets["methods"] = named
    if files:
        values["own_methods"] = files
    return list(dict.fromkeys(problems))


def _texts(value: Any) -> Mapping[str, str]:
    """A mapping from texts to texts; another value is left to the checks."""
    texts = isinstance(value, Mapping) and all(isinstance(each, str) for pair in value.items() for each in pair)
    return value if texts else {}
