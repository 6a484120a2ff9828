"""``multiprompt show``: what the model gets to see of a task."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multiprompt.cli.failures import reports_failures
from multiprompt.cli.output import echo
from multiprompt.text import printable

if TYPE_CHECKING:
    from multiprompt.backbone.texts import TextCoder
    from multiprompt.data import TaskData
    from multiprompt.examples import TextExample
    from multiprompt.tasks import Task

COUNTED_ROWS = 1000
"""Rows of a split that are tokenised to say how many are cut, and what else is to be noticed in tokens."""

LONGEST_ANSWER = 60
"""Characters beyond which answers are counted, not listed."""


class Split(StrEnum):
    """Parts of a task's data, after its split rule."""

    TRAIN = "train"
    DEV = "dev"
    TEST = "test"


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(short_help="Print rows of a task as text and tokens.")(show)


@reports_failures()
def show(
    task: Annotated[
        str,
        typer.Argument(metavar="TASK", help="Name of a task (see: ls tasks), or the YAML or TOML file of your own."),
    ],
    rows: Annotated[int, typer.Option(min=0, help="Number of rows to print.")] = 3,
    data: Annotated[
        Path | None, typer.Option(help="Folder with the data; default: the hub. Generated tasks need neither.")
    ] = None,
    backbone: Annotated[str, typer.Option(help="Backbone whose tokenizer is used, without its weights.")] = "embedded",
    split: Annotated[Split, typer.Option(help="Split that the rows are taken from.")] = Split.TRAIN,
) -> None:
    """Print rows of a task as text and as tokens, the sizes of its splits, and its labels.

    \b
    Example:
        multiprompt show mini-rte
        multiprompt show rte --data data --backbone t5-base --rows 1 --split test
        multiprompt show ./my-task.yaml
    """
    chosen = find_task(task)

    from multiprompt.backbone.loading import load_coder
    from multiprompt.data import load_task_data

    coder = load_coder(backbone)
    loaded = load_task_data(chosen, data)
    examples = getattr(loaded, split.value)
    echo(f"{chosen.name}: {chosen.family}, reports {chosen.reported}\n")
    for example in examples[:rows]:
        _print_example(chosen, example, coder)
    _print_splits(loaded, coder)


def find_task(name: str) -> Task:
    """A registered task, or the one that a file of the user defines."""
    from multiprompt.definition import is_task_file
    from multiprompt.tasks import TASKS, make_task

    if not is_task_file(name):
        return TASKS[name]
    from multiprompt.config import load_task_file

    return make_task(load_task_file(Path(name)))


def _print_example(task: Task, example: TextExample, coder: TextCoder) -> None:
    from multiprompt.data.tokenise import tokenise

    tokens = tokenise([example], coder, task.max_source_length, task.max_target_length)
    echo(f"row {example.row_id}")
    source = example.source, tokens.sources[0], tokens.truncated_sources, task.max_source_length
    target = example.target, tokens.targets[0], tokens.truncated_targets, task.max_target_length
    sides = ("source", coder.source_ids, source), ("target", coder.target_ids, target)
    for side, encode, (text, kept, cut, limit) in sides:
        whole = len(encode([text])[0])
        pieces = " ".join(coder.pieces(kept.tolist()))
        state = f"cut from {whole} to {len(kept)}" if cut else "not truncated"
        echo(f"  {side:<10} {printable(text, one_line=True)}")
        echo(f"  {'tokens':<10} {len(kept)} of at most {limit}, {state}")
        echo(f"  {'pieces':<10} {printable(pieces, one_line=True)}")
    echo(f"  {'references':<10} {printable(' | '.join(example.references), one_line=True)}")
    echo(f"  {'masks':<10} attention {len(tokens.sources[0])}, labels {len(tokens.targets[0])}\n")


def _print_splits(loaded: TaskData, coder: TextCoder) -> None:
    from multiprompt.cli.output import print_rows, print_text
    from multiprompt.data import look_at_texts, look_at_tokens
    from multiprompt.data.tokenise import tokenise

    task = loaded.task
    rows, looked_at = [], {}
    for split in Split:
        examples = getattr(loaded, split.value)
        first = examples[:COUNTED_ROWS]
        tokens = tokenise(first, coder, task.max_source_length, task.max_target_length)
        looked_at[split.value] = first, tokens
        rows.append(
            (
                split.value,
                f"{len(examples):,}",
                f"{100 * tokens.truncated_sources / len(first):.1f} % of {len(first):,}",
                _answers(examples),
            )
        )
    print_rows(("split", "rows", "sources cut", "answers"), rows, numbers=(1,))
    noticed = (*look_at_texts(loaded), *look_at_tokens(loaded, looked_at, coder.unknown_id))
    for note in (*loaded.notes, *noticed):
        print_text(f"note: {note}", 2)


def _answers(examples: tuple[TextExample, ...]) -> str:
    counts = Counter(example.target for example in examples)
    if any(len(target) > LONGEST_ANSWER for target in counts):
        return f"{len(counts):,} different texts"
    shown = ", ".join(f"{printable(target, one_line=True)} {count:,}" for target, count in counts.most_common(6))
    return shown if len(counts) <= 6 else f"{len(counts):,} different ones; most often: {shown}"
