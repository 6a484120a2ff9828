"""What a person sees when a verb fails: one message and an exit code, or a traceback if asked for."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import typer

from multiprompt.cli.output import echo
from multiprompt.errors import MultipromptError

STOPPED = "stopped"
STOPPED_RUN = "stopped; continue with --resume"


@dataclass
class Failures:
    """How failures are shown; set by the global options."""

    show_traceback: bool = False


FAILURES = Failures()


def reports_failures(stopped: str = STOPPED) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates a verb: errors that a user can cause end it with a message and exit code 1, Ctrl-C with 130.

    Args:
        stopped: the message after Ctrl-C.
    """

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(verb)
        def wrapped(*arguments: Any, **options: Any) -> None:
            try:
                verb(*arguments, **options)
            except KeyboardInterrupt:
                _say(stopped)
                raise typer.Exit(130) from None
            except BrokenPipeError:  # such as `| head`: Typer ends quietly
                raise
            except (MultipromptError, OSError) as error:
                if FAILURES.show_traceback:
                    raise
                _say(f"error: {_text(error)}")
                raise typer.Exit(1) from None

        return wrapped

    return decorate


def speaks() -> bool:
    """Whether this process tells people: of several that a launcher has started, the first of every machine does."""
    return int(os.environ.get("LOCAL_RANK") or 0) == 0


def _say(text: str) -> None:
    if speaks():
        echo(text, err=True)


def _text(error: Exception) -> str:
    where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return f"the disk is mounted read-only{where}; choose a folder on another one"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return (
            f"no space left on the disk{where}. Results already written are untouched; free some space, then go on "
            "with --resume"
        )
    return str(error)
