"""CONFIG and its overrides on the command line: from words to a checked experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multiprompt.errors import ConfigError, MultipromptError, unknown_name

if TYPE_CHECKING:
    from multiprompt.options import Experiment

ConfigArgument = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a shipped recipe (see: ls recipes).")
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changes to it, such as prompt.length=20 or 'seeds=[1, 2]'."),
]


def find_config(name: str) -> Path:
    """The file that CONFIG means.

    Raises:
        UnknownNameError: there is neither a file nor a recipe of this name.
    """
    path = Path(name)
    if path.exists() or path.suffix in (".yaml", ".yml"):
        return path  # a file that cannot be read is reported when it is read
    from multiprompt.recipes.shipped import recipe_names, recipe_path

    if name not in recipe_names():
        raise unknown_name("file or recipe", name, recipe_names())
    return recipe_path(name)


def load_checked(name: str, overrides: Sequence[str] | None) -> Experiment:
    """The experiment, with its task names and files checked too.

    Raises:
        ConfigError: with every problem that was found.
    """
    from multiprompt.config import load_experiment, to_plain
    from multiprompt.tasks import make_task, own_metric_problems, problems_of

    path = find_config(name)
    try:
        experiment = load_experiment(path, overrides or ())
    except ConfigError as error:
        more = _problems(_plain_values(path, overrides or ()))
        raise ConfigError("\n".join([str(error), *more])) from error
    problems = _problems(to_plain(experiment))
    for name, task in experiment.tasks.items():
        named = replace(task, name=name)
        found = problems_of(named) or own_metric_problems(make_task(named))
        problems += [f"  - tasks.{name}: {problem}" for problem in found]
    if problems:
        plural = "s" * (len(problems) > 1)
        raise ConfigError("\n".join([f"{path} has {len(problems)} problem{plural}:", *problems]))
    return experiment


def _plain_values(path: Path, overrides: Sequence[str]) -> Mapping[str, Any]:
    """What the file holds, as far as it can be read, without the sections that an override changes."""
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    changed = {override.split("=")[0].split(".")[0] for override in overrides}
    return {key: value for key, value in values.items() if key not in changed} if isinstance(values, dict) else {}


def _problems(values: Mapping[str, Any]) -> list[str]:
    """Lines about task names that are not registered, and about files that are not there."""
    from multiprompt.definition import is_task_file
    from multiprompt.tasks import TASKS

    problems = []
    held = values.get("tasks")
    own = held if isinstance(held, Mapping) else {}
    methods = _get(values, "targets", "methods")
    lists = {f"{section}.tasks": _get(values, section, "tasks") for section in ("source", "targets")}
    for method in methods if isinstance(methods, Mapping) else ():
        lists[f"targets.methods.{method}.source_tasks"] = _get(methods, method, "source_tasks")
    for where, names in lists.items():
        for name in names if isinstance(names, list) else []:
            if name in own or is_task_file(str(name)):
                continue
            try:
                TASKS[name]
            except MultipromptError as error:
                problems.append(f"  - {where}: {error}")
    for section, key in (("targets", "source_prompt"), ("prompt", "path"), ("data", "location")):
        path = _get(values, section, key)
        if isinstance(path, str) and not Path(path).exists():
            problems.append(f"  - {section}.{key}: {path} does not exist")
    return problems


def _get(values: Mapping[str, Any], section: str, key: str) -> Any:
    inner = values.get(section)
    return inner.get(key) if isinstance(inner, Mapping) else None
