"""Every error that a user can cause.

    MultipromptError
    ├── ConfigError        a configuration or an argument (also ValueError)
    ├── UnknownNameError   a task, method, metric, ... that is not registered (also KeyError)
    ├── DataError          a file, a row, a field (also ValueError)
    ├── BackboneError      a model or tokenizer that cannot be used (also RuntimeError)
    ├── CheckpointError    a checkpoint or run folder that does not fit (also RuntimeError)
    └── TrainingError      a run that cannot go on, such as a loss that is not finite (also RuntimeError)

A message holds what was wrong, where, and what to do. The command line prints it without a traceback.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence


class MultipromptError(Exception):
    """Base class: something that a user can put right."""


class ConfigError(MultipromptError, ValueError):
    """A configuration or an argument is wrong.

    Attributes:
        problems: what is wrong, one line each, where a whole file was looked at.
        problem: what is wrong with a section of options, from the option's name on; see ``option_error``.
    """

    problems: tuple[str, ...] = ()
    problem: str | None = None


class UnknownNameError(MultipromptError, KeyError):
    """A name is not registered; the message lists the closest names."""

    def __str__(self) -> str:  # KeyError would print the message in quotes
        return str(self.args[0])


class DataError(MultipromptError, ValueError):
    """A data file, a row or a field is wrong; the message says which."""


class BackboneError(MultipromptError, RuntimeError):
    """A model or tokenizer cannot be loaded or used."""


class CheckpointError(MultipromptError, RuntimeError):
    """A checkpoint or a run folder does not fit what is asked for."""


class TrainingError(MultipromptError, RuntimeError):
    """Training cannot go on."""


def unknown_name(
    kind: str, name: str, known: Iterable[str], long_names: Mapping[str, str] | None = None
) -> UnknownNameError:
    """An error for ``name`` that shows the closest of the ``known`` names, or all of them if none is close.

    Args:
        kind: what the names are of.
        name: that is not known.
        known: names.
        long_names: other name -> known name, for ``closest``.
    """
    names = sorted(known)
    close = closest(name, names, 3, long_names)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"known: {', '.join(names)}"
    return UnknownNameError(f"unknown {kind} {name!r}; {hint}")


def closest(name: str, known: Iterable[str], most: int, long_names: Mapping[str, str] | None = None) -> list[str]:
    """The known names that are most like a name.

    Args:
        name: any.
        known: names.
        most: names to give.
        long_names: other name -> known name; one that the name is, or nearly is, gives its known name alone.
    """
    names = list(known)
    others = {other: short for other, short in (long_names or {}).items() if short in names}
    plain = name.lower().replace("-", "_").replace(" ", "_")
    for other in difflib.get_close_matches(plain, [*others, *names] if others else [], n=1, cutoff=0.85):
        return [others.get(other, other)]
    return difflib.get_close_matches(name, names, n=most, cutoff=0.5)


def option_error(section: str, problem: str) -> ConfigError:
    """An error about an option of a section. A configuration may hold the section under another path, which it says.

    Args:
        section: as Python names it, such as "training".
        problem: what is wrong, beginning with the name of the option: "steps is -5; expected more than 0".
    """
    error = ConfigError(f"{section}.{problem}")
    error.problem = problem
    return error


def refuse_one_text(values: object, what: str) -> None:
    """Refuse a text or a path where a list of them is expected: its characters would be taken for texts.

    Args:
        values: what was given.
        what: it is, for the error.

    Raises:
        ConfigError: it is one text.
    """
    if isinstance(values, str | bytes | os.PathLike):
        raise ConfigError(f"{what}: expected a list, not the text {shortened(str(values))}; put it into a list")


def shortened(value: object, most: int = 80) -> str:
    """A value within a message: its ``repr``, cut where it is long."""
    shown = repr(value)
    return shown if len(shown) <= most else shown[: most - 3] + "..."


def problem_list(where: str, problems: Sequence[str]) -> ConfigError:
    """One error that lists everything that is wrong with a file."""
    shown = "\n".join(f"  - {problem}" for problem in problems)
    error = ConfigError(f"{where} has {len(problems)} problem{'s' * (len(problems) > 1)}:\n{shown}")
    error.problems = tuple(problems)
    return error
