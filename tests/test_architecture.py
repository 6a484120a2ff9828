"""Data flows one way: a part of the package imports only from parts that stand below it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import multiprompt

ROOT = Path(multiprompt.__file__).parent

LEVELS = [
    ["_version", "definition", "errors"],
    ["batch", "examples", "files", "options", "parallel", "registry", "seeding", "t5_family"],
    ["health", "losses", "metrics", "mini", "plan", "prompts", "token_files"],
    ["backbone", "tasks"],
    ["config", "data", "methods"],
    ["evaluation", "training"],
    ["recipes", "reports"],
    ["analysis"],
    ["studies"],
    ["cli"],
]
LEVEL_OF = {part: level for level, parts in enumerate(LEVELS) for part in parts}

NO_TORCH = [
    "tasks",
    "metrics",
    "mini",
    "health",
    "reports",
    "config",
    "options",
    "errors",
    "evaluation.differences",
    "evaluation.results",
    "evaluation.summaries",
    "token_files",
    "t5_family",
]
"""Modules that a laptop without torch could use."""


def modules() -> list[Path]:
    return sorted(
        path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem not in ("__init__", "__main__")
    )


def imported_parts(path: Path) -> set[str]:
    """Parts of multiprompt that a module imports, those inside functions included."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction"
            names = [node.module or ""]
            if node.module == "multiprompt":
                names = [f"multiprompt.{alias.name}" for alias in node.names]
        parts |= {name.split(".")[1] for name in names if name.startswith("multiprompt.")}
    return parts


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_down(path):
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert part in LEVEL_OF, f"{part} has no level; give it one here and in docs/architecture.md"
    for other in imported_parts(path) - {part}:
        if other.startswith("__"):  # the version
            continue
        assert LEVEL_OF[other] < LEVEL_OF[part], f"{path.relative_to(ROOT)} imports {other}, which is not below it"


def test_every_file_of_the_package_is_shipped():
    """What is no Python module is in a wheel only if pyproject.toml says so."""
    import tomllib

    project = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["multiprompt"]
    shipped = {path for pattern in patterns for path in ROOT.glob(pattern)}
    files = {path for path in ROOT.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path for path in files if path.suffix not in (".py", ".pyc")} <= shipped


def test_no_module_is_too_long_to_read():
    long = {p.name: n for p in modules() if (n := len(p.read_text().splitlines())) > 550}
    assert not long


def test_light_parts_do_not_load_torch():
    imports = "; ".join(f"import multiprompt.{part}" for part in NO_TORCH)
    code = f"import sys, multiprompt; {imports}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_can_be_imported():
    for name in multiprompt.__all__:
        assert getattr(multiprompt, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        multiprompt.nothing  # noqa: B018
