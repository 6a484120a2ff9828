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
from collections.abc import Iterable, Sequence


class MultipromptError(Exception):
    """Base class: something that a user can put right."""


class ConfigError(MultipromptError, ValueError):
    """A configuration or an argument is wrong."""


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


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """An error for ``name`` that shows the closest of the ``known`` names, or all of them if none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"known: {', '.join(names)}"
    return UnknownNameError(f"unknown {kind} {name!r}; {hint}")


def refuse_one_text(values: object, what: str) -> None:
    """Refuse a text where a list of texts is expected: its characters would be taken for texts.

    Args:
        values: what was given.
        what: it is, for the error.

    Raises:
        ConfigError: it is one text.
    """
    if isinstance(values, str | bytes):
        raise ConfigError(f"{what}: expected a list of texts, not the text {shortened(values)}; put it into a list")


def shortened(value: object, most: int = 80) -> str:
    """A value within a message: its ``repr``, cut where it is long."""
    shown = repr(value)
    return shown if len(shown) <= most else shown[: most - 3] + "..."


def problem_list(where: str, problems: Sequence[str]) -> ConfigError:
    """One error that lists everything that is wrong with a file."""
    shown = "\n".join(f"  - {problem}" for problem in problems)
    return ConfigError(f"{where} has {len(problems)} problem{'s' * (len(problems) > 1)}:\n{shown}")
