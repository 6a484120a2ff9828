"""Text in files and on terminals: where its lines end, what JSON holds of it, and how it is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
# C0 but for tabs and line ends, DEL, C1, separators of lines and paragraphs, and what turns the direction of writing
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def lines_of(text: str) -> list[str]:
    r"""The lines of a file's text, without their ends. A line ends at ``\n`` or ``\r\n`` and nowhere else.

    ``str.splitlines`` also cuts at U+2028, U+0085, form feeds and others, which may stand within a record.
    """
    lines = text.split("\n")
    if not lines[-1]:  # the last line has an end, too
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: it holds no lone surrogate, which is half of a character."""
    return _LONE_SURROGATE.search(text) is None


def printable(text: str, one_line: bool = False) -> str:
    r"""The text as a terminal may show it: control characters are written out, such as ``\x1b`` for ESC.

    So nothing that data, files or models hold can move the cursor, change colours, or turn the direction of what
    follows.

    Args:
        text: any text. Its tabs stay.
        one_line: write line ends out too, as ``\n``; else they stay.
    """
    shown = _CONTROL.sub(_escaped, text)
    return shown.replace("\n", "\\n") if one_line else shown


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def json_text(value: Any, indent: int | None = None, default: Callable[[Any], Any] | None = None) -> str:
    """A value as JSON whose characters are all visible: control characters are escaped, letters of all scripts stay.

    Args:
        value: to write.
        indent: spaces of a level; None writes one line.
        default: what to write for a value that JSON has no kind for.

    Raises:
        ValueError: it holds a number that is not finite.
        TypeError: it holds a value of another kind, and there is no default.
    """
    plain = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False, default=default)
    return re.sub(r"[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", plain)
