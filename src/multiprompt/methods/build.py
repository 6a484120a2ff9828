"""The method of a stage as it stands before its training, by the record of the method."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from multiprompt.errors import ConfigError
from multiprompt.methods import distillation, prompt_tuning
from multiprompt.methods.base import Method, TaskMethod
from multiprompt.methods.start import Start
from multiprompt.options import MethodRecord, record_of_stage

_STAGES = {
    "teacher": prompt_tuning.build,
    "early": prompt_tuning.build,
    "student": distillation.build,
    "mixture": distillation.build,  # with a plain prompt, and no teachers
}
"""What trains in the stages that belong to no method."""


def build_method(trained: str, start: Start) -> Method:
    """The method as it stands before its training; it changes the backbone inside its ``with`` block only.

    Args:
        trained: what a stage trains: a method, or another name; see ``plan.PlannedStage.method``.
        start: what it is made from.

    Raises:
        UnknownNameError: there is no such method.
        ConfigError: the method is not defined on the backbone, needs a package, or its options do not fit.
    """
    record = record_of_stage(trained)
    if record is None:
        return _STAGES[trained](start)
    _check_package(record)
    family = start.backbone.family
    if record.families is not None and family not in record.families:
        raise ConfigError(
            f"the method {record.name} is defined on backbones of the family {' or '.join(record.families)} alone, and "
            f"{start.backbone.name} is one of {family}; leave the method out, or choose another backbone"
        )
    built: Method = record.builder(start)
    if isinstance(built, TaskMethod):
        built.joins = record.before_inputs
    return built


def check_packages(trained: Iterable[str]) -> None:
    """Look for the packages that some methods need, before anything is trained.

    Args:
        trained: what stages train; see ``plan.PlannedStage.method``.

    Raises:
        ConfigError: one is not installed.
    """
    for record in filter(None, map(record_of_stage, trained)):
        _check_package(record)


def _check_package(record: MethodRecord) -> None:
    if record.package is None:
        return
    package, extra = record.package
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"the method {record.name} needs the {package} library ({error}); install it with "
            f'pip install "multiprompt[{extra}]"'
        ) from error
