"""Data flows one way: a part of the package imports only from parts that stand below it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import multiprompt

ROOT = Path(multiprompt.__file__).parent

LEVELS = [
    ["_version", "definition", "errors", "text"],
    [
        "batch",
        "examples",
        "files",
        "network",
        "options",
        "parallel",
        "registry",
        "seeding",
        "strict_yaml",
        "terms",
    ],
    ["health", "losses", "metrics", "mini", "plan", "prompts", "token_files"],
    ["backbone", "tasks"],
    ["config", "data", "methods"],
    ["evaluation", "training"],
    ["recipes"],
    ["runs"],
    ["forecast", "reports"],
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
    "backbone.published",
    "terms",
    "network",
]
"""Modules that a laptop without torch could use."""


def modules() -> list[Path]:
    found = sorted(
        path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem not in ("__init__", "__main__")
    )
    assert len(found) > 150
    return found


def imported_parts(path: Path) -> set[str]:
    """Parts of multiprompt that a module imports, those inside functions included."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
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


def test_imports_point_down():
    imports = [(path, other) for path in modules() for other in imported_parts(path)]
    assert len({path for path, _ in imports}) > 100
    wrong = []
    for path, other in imports:
        part = path.relative_to(ROOT).parts[0].removesuffix(".py")
        assert part in LEVEL_OF, f"{part} has no level; give it one here and in docs/architecture.md"
        if other != part and not other.startswith("__") and LEVEL_OF[other] >= LEVEL_OF[part]:  # but for the version
            wrong.append(f"{path.relative_to(ROOT)} imports {other}, which is not below it")
    assert wrong == []


def test_shapes_are_checked_where_the_lower_layers_state_them():
    """While tests run, by the packages that pyproject.toml names."""
    project = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    (option,) = re.findall(r"--jaxtyping-packages=(\S+)", project["tool"]["pytest"]["ini_options"]["addopts"])
    checked = option.split(",")
    stating = []
    for path in modules():
        place = path.relative_to(ROOT).with_suffix("")
        if place.parts[0] in ("batch", "backbone", "data", "losses", "prompts"):
            name = ".".join(("multiprompt", *place.parts)).removesuffix(".__init__")
            if re.search(r"^\s*from jaxtyping import", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
                stating.append(name)
    assert len(stating) >= 10
    assert [name for name in stating if not any(f"{name}.".startswith(f"{each}.") for each in checked)] == []


def test_every_file_of_the_package_is_shipped():
    """What is no Python module is in a wheel only if pyproject.toml says so."""
    project = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["multiprompt"]
    shipped = {path for pattern in patterns for path in ROOT.glob(pattern)}
    files = {path for path in ROOT.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    others = {path for path in files if path.suffix not in (".py", ".pyc")}
    assert len(others) > 40
    assert others <= shipped


def test_no_module_is_too_long_to_read():
    long = {p.name: n for p in modules() if (n := len(p.read_text(encoding="utf-8").splitlines())) > 550}
    assert not long


def test_light_parts_do_not_load_torch():
    imports = "; ".join(f"import multiprompt.{part}" for part in NO_TORCH)
    code = f"import sys, multiprompt; {imports}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_can_be_imported():
    assert len(multiprompt.__all__) > 20
    for name in multiprompt.__all__:
        assert getattr(multiprompt, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        multiprompt.nothing  # noqa: B018
