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

METHODS = (
    (
        "mpt",
        "A shared prompt learnt from many source tasks, and a low-rank matrix per task, all tuned on the target.",
        "l·d + r·(l + d); in a group of K tasks l·d/K + r·(l + d)",
    ),
    ("prompt_tuning", "A prompt of its own for each task, from scratch; also how teachers are trained.", "l·d"),
    ("fine_tuning", "Every weight of the backbone.", "all of the backbone; in a group all/K"),
    (
        "spot",
        "A prompt that starts from source prompts: from one, from their mean, or from one of all sources.",
        "l·d",
    ),
    (
        "attempt",
        "A prompt that a small network mixes, for each example, from frozen source prompts and the task's own.",
        "l·d + 2·d·b + 2·d; in a group l·d + (2·d·b + 2·d)/K",
    ),
    (
        "adapters",
        "A bottleneck behind self-attention and feed-forward of every block, and the norms.",
        "2·d·b + b + d for each place, and the norms; in a group norms/K",
    ),
    ("bitfit", "A bias on every layer and norm.", "outputs of all layers (280,960 on T5-base)"),
    (
        "hyperformer",
        "Generators that write adapters from embeddings of task, block and place, and the norms.",
        "5,211,056/K on T5-base, K = 8",
    ),
    (
        "hyperdecoder",
        "Encoder adapters, and a generator that writes those of the decoder for each example.",
        "14,078,008/K on T5-base",
    ),
    ("dept", "A shorter prompt, and a low-rank matrix added to the embeddings of the source.", "at most l·d"),
    ("decomposed_prompt_tuning", "A prompt that is the product of two thin matrices.", "r·(l + d)"),
    (
        "lora",
        "Low-rank updates of queries and values, by the peft library.",
        "2·r·d for each of them (884,736 on T5-base, r = 8)",
    ),
    ("ia3", "Scales of keys, values and inner states, by the peft library.", "129,024 on T5-base"),
    (
        "prefix_tuning",
        "Keys and values in front of the decoder's self-attention, by the peft library.",
        "2·l·d for each decoder block",
    ),
)


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
            print_rows(("method", "parameters per task", "what is trained"), ((n, f, w) for n, w, f in METHODS))
            print_text("l: rows of the prompt (100), d: width of the backbone, r: rank, b: width of a bottleneck")
            print_text("K: tasks of a group, which share what is divided by K; see docs/methods.md")
        case Kind.RECIPES:
            print_rows(("recipe", "what it does"), _recipes())
        case Kind.BACKBONES:
            print_rows(("backbone", "width", "parameters", "where"), _backbones())
            print_text("Any other T5, v1.1, LM-adapted or Flan model works too: its name on the hub, or a folder.")


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
