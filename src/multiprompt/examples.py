"""The plain-text form of a dataset row: what a task makes of it, before any token."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TextExample:
    """One text-to-text example.

    Attributes:
        source: the text that the model reads (the prompt is not part of it).
        target: the text that the model learns to write.
        references: the texts that a prediction is compared with; ``(target,)`` for most tasks.
        row_id: where the row comes from, ``"<official split>:<row number from 0>"``; with the folder or configuration
            before the split, ``"arc_easy/train:0"``, where a task joins several.
        group: the name of what the row is judged together with, such as a question with several answers; ``None``
            where no metric asks for it.
        cluster: digest of a text that other rows have too, such as a passage with several questions: answers to such
            rows are right or wrong together, so intervals draw them together; ``None`` where a row has no such text.
        subset: the part of the test set that it belongs to and that is scored by itself too; "" for none.
    """

    source: str
    target: str
    references: tuple[str, ...]
    row_id: str
    group: str | None = None
    subset: str = ""
    cluster: str | None = None
