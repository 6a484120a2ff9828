"""Quirks of published code that change numbers: off unless asked for, and then said in every result."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, get_args

from multiprompt.errors import unknown_name
from multiprompt.tasks.answers import ScoreAnswer
from multiprompt.tasks.base import SMALL, Task
from multiprompt.tasks.text import Template

Compat = Literal["none", "attempt"]

ATTEMPT_GENERATION_LENGTH = 20


def compat_variant(task: Task, compat: Compat) -> tuple[Task, tuple[str, ...]]:
    """A task as the code of a published study has it, and what differs from ours.

    ``"attempt"``: STS-B rounded to 0.1, the first option of WinoGrande in both places, SciTail with halves of its dev
    set and other field names, and no answer beyond 20 tokens. Generated rows, and tasks of writing text, have no
    published form.

    Raises:
        UnknownNameError: there is no such kind.
    """
    if compat not in get_args(Compat):
        raise unknown_name("kind of compat", compat, get_args(Compat))
    if compat == "none" or task.generator is not None or task.family == "generation":
        return task, ()
    changes: dict[str, Any] = {}
    notes: list[str] = []
    if task.name == "stsb":
        changes["answer"] = ScoreAnswer(per_unit=10)
        notes.append("scores rounded to 0.1")
    elif task.name == "winogrande":
        changes["source"] = Template("sentence: {sentence} option0: {option1} option1: {option1}")
        notes.append("the first option stands in both places")
    elif task.name == "scitail":
        changes["source"] = Template("premise: {sentence1} hypothesis: {sentence2}")
        changes["split_rule"] = SMALL
        notes.append("fields named premise and hypothesis, test is half of the dev set")
    if task.generation_length > ATTEMPT_GENERATION_LENGTH:
        changes["generation_length"] = ATTEMPT_GENERATION_LENGTH
        notes.append(f"answers of at most {ATTEMPT_GENERATION_LENGTH} tokens")
    return replace(task, **changes), tuple(f"{task.name}: as in published code ({compat}): {note}" for note in notes)
