"""Experiments as YAML: read with every error of a file reported together, and written back in full."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from multiprompt.errors import ConfigError
from multiprompt.options import Experiment


def load_experiment(path: Path, overrides: Iterable[str] = ()) -> Experiment:
    """Read an experiment from a YAML file.

    Args:
        path: the file.
        overrides: ``"section.key=value"``, each value read as YAML.

    Raises:
        ConfigError: the file is missing or not YAML, or with all its unknown keys, wrong types and contradictions.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error}") from error
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds {type(values).__name__}; expected keys such as name, source and targets")
    for override in overrides:
        _override(values, override)
    return build_experiment(values, where=str(path))


def _override(values: dict[str, Any], override: str) -> None:
    import yaml

    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"cannot read {override!r}; expected key=value, such as prompt.length=20")
    section = values
    *parents, last = key.split(".")
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise ConfigError(f"cannot set {key}: {parent} is the value {section!r}, not a section")
    try:
        section[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value of {override!r} is not YAML: {error}") from error


def build_experiment(values: Mapping[str, Any], where: str = "the configuration") -> Experiment:
    """Check plain values and make an experiment of them.

    Raises:
        ConfigError: with every unknown key, wrong type and contradiction that was found.
    """
    from pydantic import TypeAdapter, ValidationError

    problems = _unknown_keys(Experiment, values, "")
    known = _without_unknown(Experiment, values)
    try:
        experiment = TypeAdapter(Experiment).validate_python(known)
    except ValidationError as error:
        problems += [_problem(entry) for entry in error.errors(include_url=False)]
    if problems:
        shown = "\n".join(f"  - {problem}" for problem in problems)
        raise ConfigError(f"{where} has {len(problems)} problem{'s' * (len(problems) > 1)}:\n{shown}")
    return experiment


def _problem(entry: Mapping[str, Any]) -> str:
    """One line of a validation error: key, value, what was expected, the closest valid value."""
    if isinstance(entry.get("ctx", {}).get("error"), ConfigError):
        return str(entry["ctx"]["error"])  # a contradiction that a section's own check found
    # Pydantic names the branches of a union and the entries of a mapping in the path; a reader wants the key alone.
    parts = [str(part) for part in entry["loc"] if not str(part).startswith(("literal[", "constrained", "int"))]
    key = ".".join(part for part in parts if part != "[key]")
    message = entry["msg"][0].lower() + entry["msg"][1:]
    if entry["type"] == "missing":
        return f"{key} is missing"
    text = f"{key} is {entry['input']!r}: {message}"
    expected = str(entry.get("ctx", {}).get("expected", ""))
    choices = [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ") if choice]
    close = difflib.get_close_matches(str(entry["input"]), choices, n=1)
    return f"{text}; did you mean {close[0]!r}?" if close else text


def _sections(kind: Any) -> dict[str, Any]:
    """For every field of a dataclass the dataclass of its value, or None where the value is plain."""
    hints = typing.get_type_hints(kind)
    sections = {}
    for name, hint in hints.items():
        candidates = [hint, *typing.get_args(hint)]
        sections[name] = next((c for c in candidates if dataclasses.is_dataclass(c)), None)
    return sections


def _is_mapping_of_sections(kind: Any, name: str) -> bool:
    return typing.get_origin(typing.get_type_hints(kind)[name]) is dict


def _unknown_keys(kind: Any, values: Mapping[str, Any], prefix: str) -> list[str]:
    sections = _sections(kind)
    problems = []
    for key, value in values.items():
        path = f"{prefix}{key}"
        if key not in sections:
            close = difflib.get_close_matches(str(key), sections, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(sections)}"
            problems.append(f"{path} is not a key (value {value!r}); {hint}")
        elif sections[key] and isinstance(value, Mapping):
            if _is_mapping_of_sections(kind, key):
                for name, options in value.items():
                    if isinstance(options, Mapping):
                        problems += _unknown_keys(sections[key], options, f"{path}.{name}.")
            else:
                problems += _unknown_keys(sections[key], value, f"{path}.")
    return problems


def _without_unknown(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    sections = _sections(kind)
    known: dict[str, Any] = {}
    for key, value in values.items():
        section = sections.get(key)
        if key not in sections:
            continue
        if section and isinstance(value, Mapping):
            if _is_mapping_of_sections(kind, key):
                known[key] = {
                    name: _without_unknown(section, options) if isinstance(options, Mapping) else options or {}
                    for name, options in value.items()
                }
            else:
                known[key] = _without_unknown(section, value)
        else:
            known[key] = value
    return known


def to_plain(options: Any) -> Any:
    """Options as plain values, tuples as lists: what YAML and JSON can hold."""
    if dataclasses.is_dataclass(options) and not isinstance(options, type):
        return {f.name: to_plain(getattr(options, f.name)) for f in dataclasses.fields(options)}
    if isinstance(options, Mapping):
        return {key: to_plain(value) for key, value in options.items()}
    if isinstance(options, (tuple, list)):
        return [to_plain(value) for value in options]
    return options


def to_yaml(experiment: Experiment) -> str:
    """The resolved experiment, every default written out, as YAML that ``load_experiment`` reads."""
    import yaml

    return yaml.safe_dump(to_plain(experiment), sort_keys=False, allow_unicode=True)
