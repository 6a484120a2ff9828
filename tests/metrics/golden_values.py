"""What independent programs made of the texts in tests/golden/inputs.json; make_golden.py there says which and how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "golden"
_INPUTS = json.loads((FOLDER / "inputs.json").read_text(encoding="utf-8"))

OUTPUTS: list[str] = [example["output"] for example in _INPUTS]
REFERENCES: list[list[str]] = [example["references"] for example in _INPUTS]
VALUES: dict[str, Any] = json.loads((FOLDER / "values.json").read_text(encoding="utf-8"))
