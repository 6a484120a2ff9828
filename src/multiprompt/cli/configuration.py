"""CONFIG and its overrides on the command line: from words to a checked experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multiprompt.errors import problem_list, unknown_name

if TYPE_CHECKING:
    from multiprompt.options import Experiment

ConfigArgument = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a shipped recipe (see: ls recipes).")
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changed options, such as prompt.length=20 or 'seeds=[1, 2]'."),
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
    from multiprompt.config import check_experiment, read_experiment, to_plain
    from multiprompt.tasks import make_task, own_metric_problems, problems_of

    path = find_config(name)
    values, problems = read_experiment(path, overrides or ())
    experiment, more = check_experiment(values)
    problems += [*more, *_problems(values if experiment is None else to_plain(experiment))]
    for name, task in experiment.tasks.items() if experiment else ():
        named = replace(task, name=name)
        found = problems_of(named) or own_metric_problems(make_task(named))
        problems += [f"tasks.{name}: {problem}" for problem in found]
    if experiment is None or problems:
        raise problem_list(str(path), problems)
    return experiment


def _problems(values: Mapping[str, Any]) -> list[str]:
    """Task names that are not registered, and files that are not there."""
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
            if isinstance(name, str) and name not in TASKS:
                problems.append(f"{where}: {unknown_name('task', name, TASKS)}")
    for section, key in (("targets", "source_prompt"), ("prompt", "path"), ("data", "location")):
        path = _get(values, section, key)
        if isinstance(path, str) and not Path(path).exists():
            problems.append(f"{section}.{key}: {path} does not exist")
    return problems


def _get(values: Mapping[str, Any], section: str, key: str) -> Any:
    inner = values.get(section)
    return inner.get(key) if isinstance(inner, Mapping) else None
