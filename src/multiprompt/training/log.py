"""The log of a stage: one JSON object a line, cut back to the checkpoint when a stage is resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from multiprompt.errors import CheckpointError
from multiprompt.files import cannot_write, make_folder, sync, write_text
from multiprompt.text import json_text, lines_of

Record = dict[str, Any]
"""One line."""


class JsonLog:
    """Appends records that each hold a ``"step"``.

    Args:
        path: the file; None writes nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def cut(self, step: int) -> tuple[list[Record], list[Record]]:
        """Drop what was logged after ``step``, and a last line that was not finished.

        Returns:
            The records that stay, and those that are dropped.
        """
        kept: list[Record] = []
        dropped: list[Record] = []
        if self.path is None or not self.path.exists():
            return kept, dropped
        lines = []
        try:  # a line that was cut by a full disk may end within a character
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be read: {error}") from error
        for line in lines_of(text):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if record["step"] <= step:
                lines.append(line)
                kept.append(record)
            else:
                dropped.append(record)
        write_text(self.path, "".join(f"{line}\n" for line in lines))
        return kept, dropped

    def write(self, record: Record) -> None:
        """Append one record."""
        if self.path is None:
            return
        try:
            make_folder(self.path.parent)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json_text(record) + "\n")
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def sync(self) -> None:
        """Wait until all that was written is on the disk.

        Raises:
            CheckpointError: the disk fails.
        """
        if self.path is None or not self.path.exists():
            return
        try:
            sync(self.path)
            sync(self.path.parent)
        except OSError as error:
            raise cannot_write(self.path, error) from error
