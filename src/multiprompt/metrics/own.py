"""A metric of a user's own: a function in a Python file on their disk.

The file is run where a task of theirs names it, and nowhere else: when the task is loaded to be trained or scored.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from multiprompt.errors import ConfigError
from multiprompt.metrics.base import Metric, Predictions, References


class OwnFunction:
    """``name(predictions, references) -> float`` of a file, which is run when the function is first needed.

    Args:
        path: of the Python file.
        name: of the function.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The function itself.

        Raises:
            ConfigError: the file cannot be read or run, or holds no such function.
        """
        module = ModuleType(self.path.stem)
        module.__file__ = str(self.path)
        try:
            # not imported: a file that was changed a moment ago is run as it is now
            exec(compile(self.path.read_bytes(), str(self.path), "exec"), vars(module))
        except FileNotFoundError:
            raise ConfigError(f"the file of the metric {self.name!r}, {self.path}, does not exist") from None
        except Exception as error:  # whatever the user's code raises
            raise ConfigError(f"{self.path} cannot be run: {type(error).__name__}: {error}") from error
        found = getattr(module, self.name, None)
        if not callable(found):
            names = sorted(name for name, value in vars(module).items() if isinstance(value, FunctionType))
            raise ConfigError(f"{self.path} has no function {self.name!r}; it has {', '.join(names) or 'none'}")
        return found

    def __call__(self, predictions: Predictions, references: References) -> float:
        """The value of some answers.

        Raises:
            ConfigError: the function fails, or gives something else than a finite number.
        """
        function = self.function
        try:
            value = function([text.strip() for text in predictions], [list(texts) for texts in references])
            number = float(value)
        except Exception as error:  # whatever the user's code raises
            raise ConfigError(
                f"the metric {self.path}:{self.name} fails on {len(predictions)} examples: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not math.isfinite(number):
            raise ConfigError(
                f"the metric {self.path}:{self.name} gives {value} on {len(predictions)} examples; expected a finite "
                "number"
            )
        return number


def own_metric(path: Path, name: str) -> Metric:
    """The metric that a function in a file is. The file is not run yet.

    Args:
        path: of the Python file.
        name: of the function, and of the metric.
    """
    return Metric(
        name=name,
        definition=f"What {name} in {path} gives.",
        range=(-math.inf, math.inf),
        function=OwnFunction(path, name),
    )
