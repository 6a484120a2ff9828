"""The configurations that are shipped with the package."""

from __future__ import annotations

from pathlib import Path

from multiprompt.errors import unknown_name

_FOLDER = Path(__file__).parent / "configs"


def recipe_names() -> list[str]:
    """Names of all shipped configurations."""
    return sorted(path.relative_to(_FOLDER).with_suffix("").as_posix() for path in _FOLDER.rglob("*.yaml"))


def recipe_path(name: str) -> Path:
    """File of a shipped configuration.

    Raises:
        UnknownNameError: there is none of this name.
    """
    path = _FOLDER / f"{name}.yaml"
    if name not in recipe_names():
        raise unknown_name("recipe", name, recipe_names())
    return path
