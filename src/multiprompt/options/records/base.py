"""One record a method: all that the package knows about it, as plain data. No torch."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

from multiprompt.errors import ConfigError, unknown_name
from multiprompt.options.checks import check_positive, check_values

STAGES = ("student", "teacher", "mixture", "early")
"""What stages train that belong to no method: the shared prompt of all source tasks, the prompt of one of them, a plain
prompt of all of them, and the first steps of ordinary prompt tuning on a target."""

AFTER_ALL = 1000
"""Place in lists of a method that names none."""


@dataclass(frozen=True)
class MethodOptions:
    """What the options of all methods have in common.

    Raises:
        ConfigError: a number is not above 0, or source tasks contradict.
    """

    method: ClassVar[str]
    """Name of the method."""

    def __post_init__(self) -> None:
        section = f"targets.methods.{self.method}"
        check_values(self, section)
        for option in dataclasses.fields(self):
            value = getattr(self, option.name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                check_positive(self, section, option.name)
        self._check_source_tasks(getattr(self, "source_tasks", ()), getattr(self, "nearest", {}))

    def _check_source_tasks(self, source_tasks: tuple[str, ...], nearest: Mapping[str, str]) -> None:
        """Of the methods that can be trained on source tasks first."""
        where = f"targets.methods.{self.method}"
        for task in source_tasks:
            if source_tasks.count(task) > 1:
                raise ConfigError(f"{where}.source_tasks has {task!r} twice")
        for target, task in nearest.items():
            if task not in source_tasks:
                known = ", ".join(source_tasks) or "none; name them there"
                raise ConfigError(f"{where}.nearest: {target} is near {task!r}, which is not in source_tasks ({known})")


@dataclass(frozen=True)
class Needs:
    """What a method starts from; nothing by default.

    Attributes:
        student: the shared prompt of all source tasks.
        mixture: a plain prompt of all source tasks.
        teachers: the prompts of these source tasks.
        first: tasks that the method itself is trained on first, all together; ``"all"`` for all source tasks.
        early_steps: steps of ordinary prompt tuning on the target, at the method's ``learning_rate``, whose prompt the
            method looks at; for methods that adapt to one task at a time.
    """

    student: bool = False
    mixture: bool = False
    teachers: tuple[str, ...] | Literal["all"] = ()
    first: tuple[str, ...] | Literal["all"] = ()
    early_steps: int = 0


def starts_from_nothing(options: Any, source_tasks: tuple[str, ...]) -> Needs:
    """The needs of a method that starts from the backbone alone."""
    return Needs()


def trained_first(options: Any, source_tasks: tuple[str, ...]) -> Needs:
    """The needs of a method that is trained on the tasks of its option ``source_tasks`` first."""
    return Needs(first=options.source_tasks)


@dataclass(frozen=True, kw_only=True)
class MethodRecord:
    """All that the package knows about a method.

    Attributes:
        options: class of its options; its ``method`` is the name.
        version: raised when the method would train other tensors from the same options: its stages get new identities.
        about: a sentence about it.
        trains: how many numbers it trains for each task, as a short text.
        build: from what it starts from (``methods.Start``) to the method (``methods.Method``). A function, or
            ``"module:function"``, which is imported when it is called first.
        count: the arithmetic of what it trains, from the shape of the backbone (``backbone.shape.Shape``),
            ``PromptOptions`` and its own options to a list of ``methods.Item``; in the same form. None for no
            arithmetic.
        place: in lists; methods of one place stand in the order of their registration.
        other_names: as papers and people write it, in lower case with ``_``.
        needs: what it starts from, by its options and the source tasks of the experiment.
        first: what its own training on several source tasks is called; empty for a method without one.
        grouped: whether it can share something among the tasks of a group; other methods adapt to one task at a time.
        before_inputs: whether all that it adds is in front of the inputs of the backbone, so that several trainings can
            share passes.
        families: of backbones that it is defined on; None for all.
        package: that it needs, and the extra of multiprompt that installs it; None for nothing.
        moves_backbone: whether it trains every weight of the backbone.

    Raises:
        ConfigError: the record lacks something, or its name cannot be used.
    """

    options: type[MethodOptions]
    version: int = 0
    about: str = ""
    trains: str = ""
    build: Callable[[Any], Any] | str | None = None
    count: Callable[[Any, Any, Any], Any] | str | None = None
    place: int = AFTER_ALL
    other_names: tuple[str, ...] = ()
    needs: Callable[[Any, tuple[str, ...]], Needs] = starts_from_nothing
    first: str = ""
    grouped: bool = False
    before_inputs: bool = False
    families: tuple[str, ...] | None = None
    package: tuple[str, str] | None = None
    moves_backbone: bool = False

    def __post_init__(self) -> None:
        name = getattr(self.options, "method", None)
        if not isinstance(name, str) or not re.fullmatch(r"[a-z]\w*", name):
            raise ConfigError(
                f"{self.options.__name__}.method is {name!r}; expected the name of the method, in lower-case letters, "
                "digits and '_' (keys and folders are named after it)"
            )
        if name in STAGES:
            raise ConfigError(f"the method is named {name!r}, as a kind of stage is; choose another name")
        if self.version < 1:
            raise ConfigError(
                f"the record of the method {name!r} has no version; add version=1, and raise it when the method would "
                "train other tensors from the same options"
            )
        if self.build is None:
            raise ConfigError(
                f"the record of the method {name!r} has no builder; add build=FUNCTION, which makes the method of what "
                "it starts from"
            )

    @property
    def name(self) -> str:
        """Of the method."""
        return self.options.method

    @property
    def shipped(self) -> bool:
        """Whether it is a part of this package."""
        return self.options.__module__.startswith(f"{__package__}.")

    @cached_property
    def builder(self) -> Callable[[Any], Any]:
        """The function that builds it."""
        return _function(self.build)

    @cached_property
    def counter(self) -> Callable[[Any, Any, Any], Any] | None:
        """The function that counts what it trains; None for a method without arithmetic."""
        return None if self.count is None else _function(self.count)


def _function(value: Any) -> Callable[..., Any]:
    if not isinstance(value, str):
        return value
    module, _, name = value.partition(":")
    return getattr(importlib.import_module(module), name)


_RECORDS: dict[str, MethodRecord] = {}


def register_method(record: MethodRecord) -> None:
    """Make a method known: to configurations, plans, commands and ``adapt``.

    A method from outside the package that has the name of an earlier one takes its place.

    Args:
        record: of the method.

    Raises:
        ConfigError: a shipped method has this name, or another one uses the name of a stage.
    """
    known = _RECORDS.get(record.name)
    if known is not None and known.shipped:
        raise ConfigError(f"the method {record.name!r} is a part of multiprompt; give yours another name")
    others = {name for each in _RECORDS.values() if each is not known for name in (each.name, each.first) if name}
    for name in filter(None, (record.name, record.first)):
        if name in others:
            raise ConfigError(f"the method {record.name!r} uses the name {name!r}, which another method has")
    _RECORDS[record.name] = record


def registered_by(run: Callable[[], None]) -> list[MethodRecord]:
    """Run some code, and say which methods it registers; if it fails, or registers several, it has registered none.

    Args:
        run: what is run.
    """
    before = dict(_RECORDS)
    try:
        run()
        found = [record for record in _RECORDS.values() if record is not before.get(record.name)]
    except BaseException:
        found = []
        raise
    finally:
        if len(found) != 1:
            _RECORDS.clear()
            _RECORDS.update(before)
    return found


def method_records() -> list[MethodRecord]:
    """The records of all known methods, in the order of lists."""
    return sorted(_RECORDS.values(), key=lambda record: record.place)


def method_record(name: str) -> MethodRecord:
    """The record of a method.

    Raises:
        UnknownNameError: there is no such method.
    """
    if name not in _RECORDS:
        raise unknown_name("method", name, _RECORDS, other_names())
    return _RECORDS[name]


def record_of_stage(trained: str) -> MethodRecord | None:
    """The record of the method that a stage trains; None for a stage that belongs to no method.

    Args:
        trained: see ``PlannedStage.method``.

    Raises:
        UnknownNameError: there is no such method.
    """
    if trained in STAGES:
        return None
    return next((each for each in _RECORDS.values() if each.first == trained), None) or method_record(trained)


def other_names() -> dict[str, str]:
    """Other names of methods, as papers and people write them, each with the name here."""
    return {other: record.name for record in method_records() for other in record.other_names}
