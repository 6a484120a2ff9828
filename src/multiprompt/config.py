"""Experiments and tasks as YAML: read with every error of a file reported together, and written back in full."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import os
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from multiprompt.definition import TaskDefinition, is_task_file, metric_function
from multiprompt.errors import ConfigError, closest, problem_list, refuse_one_text, shortened
from multiprompt.files import decoded
from multiprompt.options import (
    REASONS,
    Experiment,
    Methods,
    is_method_file,
    method_records,
    other_names,
    take_in_method_files,
)
from multiprompt.tasks import make_task, own_metric_problems, problems_of
from multiprompt.text import printable

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def load_experiment(path: Path | str, overrides: Iterable[str] = ()) -> Experiment:
    """Read an experiment from a YAML file.

    The path of a task's file among the names of tasks is relative to the experiment's file, in an override to the
    current folder. What it holds becomes a part of the experiment. So are the paths of the data files of its own tasks,
    which are absolute in what is returned. The path of a Python file among the methods is one too: the file is run, and
    the method that it registers is meant.

    Args:
        path: the file.
        overrides: ``"section.key=value"``, each value read as YAML.

    Returns:
        The experiment, with all defaults.

    Raises:
        ConfigError: the file is missing or not YAML, or with all its unknown keys, wrong types and contradictions.
    """
    values, problems = read_experiment(Path(path), overrides)
    experiment, more = check_experiment(values)
    if experiment is None or problems or more:
        raise problem_list(str(path), [*problems, *more])
    return experiment


def read_experiment(path: Path, overrides: Iterable[str] = ()) -> tuple[dict[str, Any], list[str]]:
    """The plain values of an experiment's file with its overrides and its files of tasks, as ``load_experiment``.

    Returns:
        The values, in the long form where there is a shorter one, and what is wrong with overrides and files of tasks.

    Raises:
        ConfigError: the file is missing or not YAML.
    """
    refuse_one_text(overrides, "the overrides")
    values = spelled_out(read_values(path, "name, source and targets"))
    take_in_files(values, path.parent)  # an override may change what such a file holds, or name another one
    _anchor_files(values, path.parent)
    problems = []
    for change in overrides:
        try:
            override(values, change)
        except ConfigError as error:
            problems.append(str(error))
        values = spelled_out(values)
    problems += take_in_files(values, Path())
    _anchor_files(values, Path())
    return values, problems


def check_experiment(values: Mapping[str, Any]) -> tuple[Experiment | None, list[str]]:
    """The experiment of plain values, if one can be made, and everything that is wrong with them."""
    experiment, problems, _ = _checked(Experiment, values)
    return experiment, problems


def load_task_file(path: Path) -> TaskDefinition:
    """Read a task of one's own from a YAML or TOML file; its data files and metrics get absolute paths.

    Raises:
        ConfigError: the file is missing or cannot be read, or with all its problems.
    """
    values = read_values(path, "name, source, label and files")
    definition, problems, wrong = _checked(TaskDefinition, values)
    if definition is None:  # look at the rest of the file too
        definition, _, _ = _checked(TaskDefinition, {key: value for key, value in values.items() if key not in wrong})
    assert definition is not None, "every key has a default"
    problems += problems_of(definition, wrong)
    files = {split: os.path.abspath(path.parent / file) for split, file in definition.files.items()}
    metrics = tuple(_with_absolute_file(name, path.parent) for name in definition.metrics)
    problems += [f"files.{split}: {file} does not exist" for split, file in files.items() if not Path(file).is_file()]
    definition = dataclasses.replace(definition, files=files, metrics=metrics)
    problems = problems or own_metric_problems(make_task(definition))
    if problems:
        raise problem_list(str(path), problems)
    return definition


def _with_absolute_file(metric: str, base: Path) -> str:
    own = metric_function(metric)
    return metric if own is None else f"{os.path.abspath(base / own[0])}:{own[1]}"


def read_values(path: Path, expected: str) -> dict[str, Any]:
    """What a YAML or TOML file holds.

    Args:
        path: the file.
        expected: names of its keys, for the error.

    Raises:
        ConfigError: it cannot be read, or holds no keys.
    """
    try:
        text = decoded(path.read_bytes(), str(path), ConfigError)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    values = _load_toml(text, str(path)) if path.suffix == ".toml" else _load_yaml(text, str(path))
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds {type(values).__name__}; expected keys such as {expected}")
    return values


def task_name(name: str) -> str:
    """The name of a task that is given by its name, or by the path of its file.

    Raises:
        ConfigError: the file is missing or cannot be read, or with all its problems.
    """
    return load_task_file(Path(name)).name if is_task_file(name) else name


def _load_toml(text: str, where: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not TOML: {error}") from error


def _load_yaml(text: str, where: str) -> Any:
    from multiprompt.strict_yaml import load_yaml  # loads yaml, which takes time

    return load_yaml(text, where)


def spelled_out(values: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment's plain values with what may be written shorter in its long form.

    ``backbone: t5-base`` is its name; one task, seed or number of shots is a list of one; and ``methods: [mpt, lora]``
    are methods with their defaults. What is wrong stays as it is.
    """
    values = dict(values)
    if isinstance(values.get("backbone"), str):
        values["backbone"] = {"name": values["backbone"]}
    if isinstance(values.get("seeds"), int):
        values["seeds"] = [values["seeds"]]
    for section in ("source", "targets"):
        if isinstance(values.get(section), Mapping):
            inner = values[section] = dict(values[section])
            for key in ("tasks", "shots"):
                if isinstance(inner.get(key), str | int):
                    inner[key] = [inner[key]]
            if "methods" in inner:
                inner["methods"] = _methods(inner["methods"])
    return values


def _methods(value: Any) -> Any:
    """Methods by name with their options, of one name or of a list; a list with one that stands twice stays."""
    if isinstance(value, str):
        return {value: {}}
    if not isinstance(value, list):
        return value
    entries = [
        entry if isinstance(entry, Mapping) else {entry: {}} for entry in value if isinstance(entry, str | Mapping)
    ]
    named = {name: options for entry in entries for name, options in entry.items()}
    return named if len(entries) == len(value) and len(named) == sum(map(len, entries)) else value


def take_in_files(values: dict[str, Any], base: Path) -> list[str]:
    """Replace paths of files of own tasks and methods by their names, and keep what they stand for.

    Args:
        values: of an experiment.
        base: the folder that paths are relative to.

    Returns:
        What is wrong with the files.
    """
    return take_in_method_files(values, base) + take_in_task_files(values, base)


def take_in_task_files(values: dict[str, Any], base: Path) -> list[str]:
    """Replace paths of task files by the names of their tasks, and put what the files hold under ``tasks``.

    A path whose file is wrong stays, from the current folder on.

    Args:
        values: of an experiment; every option that names tasks is looked at.
        base: the folder that paths are relative to.

    Returns:
        What is wrong with the files.
    """
    problems: list[str] = []

    def name_of(where: str, entry: Any) -> Any:
        if not isinstance(entry, str) or not is_task_file(entry):
            return entry
        path = entry if base == Path() else os.path.join(base, entry)
        try:
            definition = load_task_file(Path(path))
        except ConfigError as error:
            of_file = [f"{path}: {problem}" for problem in error.problems] or [str(error)]
            problems.extend(f"{where}: {problem}" for problem in of_file)
            return path
        plain, held = to_plain(definition), values.get("tasks")
        tasks = {**held} if isinstance(held, Mapping) else {}
        if tasks.setdefault(definition.name, plain) != plain:
            problems.append(f"{where}: {path} is a second task named {definition.name!r}; rename one")
            return path
        values["tasks"] = tasks
        return definition.name

    sections = {name: section for name in ("source", "targets") if isinstance(section := values.get(name), dict)}
    methods = sections.get("targets", {}).get("methods")
    named = methods.items() if isinstance(methods, dict) else ()
    sections |= {f"targets.methods.{name}": options for name, options in named if isinstance(options, dict)}
    for section, options in sections.items():
        for key in ("tasks", "source_tasks", "nearest", "start"):
            where, value = f"{section}.{key}", options.get(key)
            if isinstance(value, list):
                options[key] = [name_of(where, entry) for entry in value]
            elif isinstance(value, dict):
                options[key] = {name_of(where, target): name_of(where, task) for target, task in value.items()}
            elif key in options:
                options[key] = name_of(where, value)
    return list(dict.fromkeys(problems))


def _anchor_files(values: dict[str, Any], base: Path) -> None:
    """Make the paths of data and metrics of an experiment's own tasks absolute; wrong values are left to the checks."""
    tasks = values.get("tasks")
    for task in tasks.values() if isinstance(tasks, Mapping) else ():
        if not isinstance(task, dict):
            continue
        files, metrics = task.get("files"), task.get("metrics")
        if isinstance(files, dict):
            absolute = {split: os.path.abspath(base / file) for split, file in files.items() if isinstance(file, str)}
            task["files"] = files | absolute
        if isinstance(metrics, list):
            task["metrics"] = [_with_absolute_file(name, base) if isinstance(name, str) else name for name in metrics]


def override(values: dict[str, Any], change: str) -> None:
    """Put ``"section.key=value"`` in its place; the value is read as YAML.

    Raises:
        ConfigError: it is not of this form, or a section is a plain value.
    """
    key, separator, text = change.partition("=")
    if not separator or not key:
        raise ConfigError(f"cannot read {change!r}; expected key=value, such as prompt.length=20")
    section = values
    *parents, last = key.split(".")
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise ConfigError(f"cannot set {key}: {parent} is the value {section!r}, not a section")
    section[last] = _load_yaml(text, f"the value of {change!r}")


def build_experiment(values: Mapping[str, Any], where: str = "the configuration") -> Experiment:
    """Check plain values and make an experiment of them.

    Raises:
        ConfigError: with every unknown key, wrong type and contradiction that was found.
    """
    values = spelled_out(values)
    if problems := take_in_method_files(values, Path()):
        raise problem_list(where, problems)
    return build_options(Experiment, values, where)


Options = TypeVar("Options")


def build_options(kind: type[Options], values: Mapping[str, Any], where: str) -> Options:
    """Check plain values and make a dataclass of them.

    Raises:
        ConfigError: with every unknown key, wrong type and contradiction that was found.
    """
    options, problems, _ = _checked(kind, values)
    if options is None or problems:
        raise problem_list(where, problems)
    return options


def _checked(kind: type[Options], values: Mapping[str, Any]) -> tuple[Options | None, list[str], set[str]]:
    """The options if they can be made, all problems of the values, and the top-level keys that are wrong."""
    from pydantic import ValidationError

    if kind is Experiment:
        values = spelled_out(values)
    problems = _unknown_keys(kind, values, "")
    try:
        adapter = _adapter(typing.cast(Any, kind), tuple(record.options for record in method_records()))
        return adapter.validate_python(_without_unknown(kind, values)), problems, set()
    except ValidationError as error:
        entries = error.errors(include_url=False)
        wrong = {str(entry["loc"][0]) for entry in entries if entry["loc"]}
        return None, problems + _problems(entries), wrong


@functools.cache  # to make one takes as long as a hundred checks
def _adapter(kind: Any, methods: tuple[Any, ...]) -> TypeAdapter[Any]:
    """What makes options of plain values, while these are the options of the methods that are known."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _key(entry: Mapping[str, Any]) -> str:
    # Pydantic names the branches of a union and the entries of a mapping in the path; a reader wants the key alone.
    branches = ("literal[", "constrained", "int", "tuple[", "dict[", "SplitDefinition")
    parts = [str(part) for part in entry["loc"] if not str(part).startswith(branches) and part not in ("str", "bool")]
    return ".".join(part for part in parts if part != "[key]")


def _problems(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line for every key: of the branches of a union, those that the value was meant for speak."""
    by_key: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        by_key.setdefault(_key(entry), []).append(entry)
    inner = {key for key in by_key if any(other.startswith(f"{key}.") for other in by_key)}
    return [_problem(key, same) for key, same in by_key.items() if key not in inner or key == ""]


def _problem(key: str, entries: Sequence[Mapping[str, Any]]) -> str:
    """One line of a validation error: key, value, what was expected, the closest valid value."""
    first = entries[0]
    error = first.get("ctx", {}).get("error")
    if isinstance(error, ConfigError):  # what a section's own check found
        return f"{key}.{error.problem}" if error.problem and key else str(error)
    if first["type"] == "missing":
        return f"{key} is missing"
    messages = dict.fromkeys(entry["msg"][0].lower() + entry["msg"][1:] for entry in entries)
    reason = REASONS.get((key.rpartition(".")[2], str(first["input"])))
    if reason is not None:
        return f"{key} is {first['input']!r}: {reason}"
    if key == "targets.methods" and isinstance(first["input"], list):
        return f"{key} is {shortened(first['input'])}: expected names of methods, each once, with options or without"
    text = f"{key} is {shortened(first['input'])}: {', or '.join(messages)}"
    expected = ", ".join(str(entry.get("ctx", {}).get("expected", "")) for entry in entries)
    choices = [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ") if choice]
    close = difflib.get_close_matches(str(first["input"]), choices, n=1)
    return f"{text}; did you mean {close[0]!r}?" if close else text


def _sections(kind: Any) -> dict[str, Any]:
    """For every key of a section the dataclass of its value, or None where the value is plain."""
    return {record.name: record.options for record in method_records()} if kind is Methods else _fields(kind)


@functools.cache
def _fields(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    sections = {}
    for field in dataclasses.fields(kind):
        candidates = [hints[field.name], *typing.get_args(hints[field.name])]
        sections[field.name] = next((c for c in candidates if dataclasses.is_dataclass(c) or c is Methods), None)
    return sections


def _is_mapping_of_sections(kind: Any, name: str) -> bool:
    return kind is not Methods and typing.get_origin(typing.get_type_hints(kind)[name]) is dict


def _unknown_keys(kind: Any, values: Mapping[str, Any], prefix: str) -> list[str]:
    sections = _sections(kind)
    problems = []
    for key, value in values.items():
        path = f"{prefix}{key}"
        if key not in sections:
            if kind is Methods and is_method_file(str(key)) and os.path.isabs(key):
                continue  # take_in_method_files has said what is wrong with it
            close = closest(str(key), sections, 1, other_names() if kind is Methods else None)
            hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(sections)}"
            problems.append(f"{path} is not a key (value {shortened(value)}); {hint}")
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
        if key not in sections:
            continue
        section = sections[key]
        # a method that is named without any options takes part with its defaults
        value = {} if value is None and kind is Methods else value
        if section and isinstance(value, Mapping):
            if _is_mapping_of_sections(kind, key):
                known[key] = {
                    name: _without_unknown(section, options) if isinstance(options, Mapping) else options
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


def to_yaml(experiment: Experiment, folder: Path | None = None) -> str:
    """The resolved experiment, every default written out, as YAML that ``load_experiment`` reads.

    Args:
        experiment: what to write.
        folder: that the file will be in. Files of own tasks that lie below the current directory, as the folder does,
            are written relative to it, so that a project can be moved; None writes absolute paths.
    """
    import yaml

    plain = to_plain(experiment)
    here = Path.cwd()

    def near(file: str) -> str:
        return Path(os.path.relpath(file, folder)).as_posix() if Path(file).is_relative_to(here) else file

    if folder is not None and folder.absolute().is_relative_to(here):
        plain["own_methods"] = {name: near(file) for name, file in plain["own_methods"].items()}
        for task in plain["tasks"].values():
            task["files"] = {split: near(file) for split, file in task["files"].items()}
            functions = [metric_function(name) for name in task["metrics"]]
            pairs = zip(functions, task["metrics"], strict=True)
            task["metrics"] = [f"{near(own[0])}:{own[1]}" if own else name for own, name in pairs]
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    # characters that a terminal must not get are escaped, and then all others beyond ASCII
    return text if printable(text) == text else yaml.safe_dump(plain, sort_keys=False)
