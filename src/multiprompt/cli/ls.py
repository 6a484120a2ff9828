"""``multiprompt ls``: what there is to choose from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multiprompt.cli.failures import reports_failures

if TYPE_CHECKING:
    from multiprompt.tasks import Task

FAMILIES = ("glue", "superglue", "mrqa", "multiple choice", "others", "generation", "mini")


class Kind(StrEnum):
    """What can be listed."""

    TASKS = "tasks"
    METHODS = "methods"
    RECIPES = "recipes"
    BACKBONES = "backbones"


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(short_help="List tasks, methods, recipes or backbones.")(ls)


@reports_failures()
def ls(kind: Annotated[Kind, typer.Argument(help="What to list.", show_default=False)]) -> None:
    """List tasks, methods, shipped recipes, or backbones.

    \b
    Example:
        multiprompt ls tasks
        multiprompt ls recipes
    """
    from multiprompt.cli.output import print_rows, print_text

    match kind:
        case Kind.TASKS:
            print_rows(("task", "train", "dev", "test", "reported", "answers"), _tasks(), numbers=(1, 2, 3))
            print_text(
                "Sizes are those of the whole official data after the split rule. A task of your own is a file: see "
                "docs/your-own-task.md."
            )
        case Kind.METHODS:
            from multiprompt.options import method_records

            rows = ((record.name, record.trains, record.about) for record in method_records())
            print_rows(("method", "parameters per task", "what is trained"), rows)
            print_text("l: rows of the prompt (100), d: width of the backbone, r: rank, b: width of a bottleneck")
            print_text("K: tasks of a group, which share what is divided by K; see docs/methods.md")
        case Kind.RECIPES:
            print_rows(("recipe", "what it does"), _recipes())
        case Kind.BACKBONES:
            from multiprompt.backbone.published import OTHER_MODELS

            print_rows(("backbone", "width", "parameters", "where"), _backbones())
            print_text(OTHER_MODELS)


def _tasks() -> Iterable[tuple[str, ...]]:
    from multiprompt.tasks import TASKS

    families: dict[str, list[Task]] = {}
    for task in TASKS.values():
        families.setdefault(task.family, []).append(task)
    for family, tasks in sorted(families.items(), key=lambda item: FAMILIES.index(item[0])):
        yield (f"{family} ({len(tasks)})",)
        for task in tasks:
            sizes = task.sizes()
            shown = [f"{sizes[part]:,}" if part in sizes else "?" for part in ("train", "dev", "test")]
            answers = f"{task.kind}" if task.labels is None else "/".join(task.labels)
            yield f"  {task.name}", *shown, task.reported, answers


def _recipes() -> Iterable[tuple[str, str]]:
    from multiprompt.recipes.shipped import recipe_names, recipe_path

    for name in recipe_names():
        first = recipe_path(name).read_text(encoding="utf-8").partition("\n")[0]
        yield name, first.removeprefix("#").strip() if first.startswith("#") else ""


def _backbones() -> Iterable[tuple[str, ...]]:
    import multiprompt
    from multiprompt.backbone.published import PUBLISHED, SHIPPED

    for name in SHIPPED:
        folder = Path(multiprompt.__file__).parent / "backbone" / name
        width = json.loads((folder / "config.json").read_text(encoding="utf-8"))["d_model"]
        yield name, f"{width:,}", f"{_stored_numbers(folder / 'model.safetensors'):,}", "in this package"
    for name, model in PUBLISHED.items():
        yield name, f"{model.width:,}", f"{model.parameters:,}", "Hugging Face hub"


def _stored_numbers(path: Path) -> int:
    """Numbers in a safetensors file, from its header alone."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
