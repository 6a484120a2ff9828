"""Which outputs are answers."""

from __future__ import annotations

import pytest

from multiprompt.errors import ConfigError
from multiprompt.metrics import AnswerKind, invalid_share, is_valid


@pytest.mark.parametrize(
    ("output", "kind", "valid"),
    [
        ("1", "label", True),
        (" 1\n", "label", True),
        ("10", "label", False),
        ("", "label", False),
        ("0.0", "number", True),
        ("5", "number", True),
        ("5.2", "number", False),
        ("-1", "number", False),
        ("nan", "number", False),
        ("good", "number", False),
        ("anything", "text", True),
        (" \n", "text", False),
    ],
)
def test_is_valid(output: str, kind: str, valid: bool) -> None:
    assert is_valid(output, ("0", "1") if kind == "label" else None, kind) is valid


def test_labels_need_words() -> None:
    with pytest.raises(ConfigError, match="label words"):
        is_valid("1", None, AnswerKind.LABEL)


def test_share() -> None:
    assert invalid_share(["0", "x", "1", ""], ("0", "1"), "label") == 50
    assert invalid_share([], None, "text") == 0
