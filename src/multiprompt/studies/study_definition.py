"""What a table or a figure of the study is made of: the runs, and what is shown of their scores.

A study is a YAML file in ``studies/SCALE/``; the experiments are differences from ``studies/SCALE/base.yaml``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from multiprompt.config import build_experiment, build_options, override, read_values, take_in_files
from multiprompt.errors import ConfigError, problem_list, refuse_one_text, unknown_name
from multiprompt.options import Experiment
from multiprompt.plan import Shots

Scale = Literal["mini", "paper"]
"""The embedded model and benchmark, or the setting of the paper."""

SCALES: tuple[Scale, ...] = ("mini", "paper")
ALL = "all"
"""The name that stands for every study."""

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Choice:
    """Which scores are meant; what is None is said elsewhere: by the row, the column, or the table."""

    run: str | None = None
    """Name of a run of this study, or STUDY/RUN for one of another study."""
    method: str | None = None
    shots: Shots | None = None
    tasks: tuple[str, ...] = ()
    """Several tasks stand for the mean over them."""
    metric: str | None = None
    """One of the tasks' metrics; None for the one that each reports."""

    def within(self, other: Choice) -> Choice:
        """This choice, with what it leaves open taken from the other one."""
        return Choice(
            self.run or other.run,
            self.method or other.method,
            self.shots if self.shots is not None else other.shots,
            self.tasks or other.tasks,
            self.metric or other.metric,
        )


@dataclass(frozen=True)
class Line(Choice):
    """A row or a column of a table."""

    label: str = ""
    """Its name; also that of the published row or column, unless ``published`` names another one."""
    published: str | None = None
    note: str | None = None
    """What a reader must know of its values, such as that they are those of a constant answer."""
    incomparable: str | None = None
    """Why the published values of this row or column cannot be compared with ours."""
    digits: int = 1
    """Decimals that are shown; metrics on a scale of 1 or 10 need more."""

    @property
    def published_name(self) -> str:
        """Of the published row or column."""
        return self.published or self.label


@dataclass(frozen=True)
class TableDefinition:
    """A table: every cell is chosen by its row, its column and ``scores`` together."""

    title: str
    rows: tuple[Line, ...]
    columns: tuple[Line, ...]
    scores: Choice = Choice()
    published: str | None = None
    """Table of the paper whose values stand beside ours at paper scale."""
    rows_head: str = "method"
    """What the rows are."""
    parameters: bool = False
    """Whether a column says how many numbers are trained for each task."""


@dataclass(frozen=True)
class Claim:
    """Something that the paper finds: one side is better than the other."""

    text: str
    better: Choice
    worse: Choice
    scores: Choice = Choice()
    published: float | None = None
    """The difference in the paper, in points."""
    digits: int = 1
    """Decimals that are shown."""
    primary: bool = False
    """Whether it is the finding that the study was made for, named before it is run: it is tested alone, the others
    together."""


@dataclass(frozen=True)
class Series:
    """A line of a chart."""

    label: str
    points: dict[float, Choice]
    """By their place on the horizontal axis."""
    scores: Choice = Choice()


@dataclass(frozen=True)
class CurveDefinition:
    """A score against something that is varied."""

    title: str
    across: str
    """What is varied: name of the horizontal axis."""
    series: tuple[Series, ...]
    logarithmic: bool = False


@dataclass(frozen=True)
class ScatterDefinition:
    """Trained numbers per task against the score."""

    title: str
    points: tuple[Line, ...]
    scores: Choice = Choice()


@dataclass(frozen=True)
class HeatmapDefinition:
    """Cosines between the adapted prompts of target tasks."""

    title: str
    scores: Choice


@dataclass(frozen=True)
class LearningDefinition:
    """Loss and dev metric over the steps of stages."""

    title: str
    run: str
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """A table or a figure with the runs that it needs."""

    title: str
    about: str = ""
    """What it asks, and what a reader must know, in a few sentences."""
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Differences from the base of the scale; ``like: RUN`` starts from another run of this study."""
    uses: tuple[str, ...] = ()
    """Studies whose runs are shown too."""
    tables: tuple[TableDefinition, ...] = ()
    claims: tuple[Claim, ...] = ()
    curves: tuple[CurveDefinition, ...] = ()
    scatters: tuple[ScatterDefinition, ...] = ()
    heatmaps: tuple[HeatmapDefinition, ...] = ()
    learning: tuple[LearningDefinition, ...] = ()


def study_names(scale: Scale) -> list[str]:
    """The studies of a scale, in the order of the paper: tables, figures, ablations."""
    if scale not in SCALES:
        raise unknown_name("scale", scale, SCALES)
    names = [path.stem for path in (_FOLDER / scale).glob("*.yaml") if path.stem != "base"]
    return sorted(names, key=lambda name: ("table figure ablations".index(name.rstrip("0123456789")), name))


def load_study(name: str, scale: Scale) -> Study:
    """A study of a scale.

    Raises:
        UnknownNameError: there is none of this name.
        ConfigError: the file has errors; with all of them.
    """
    if name not in study_names(scale):
        raise unknown_name("study", name, [*study_names(scale), ALL])
    path = _FOLDER / scale / f"{name}.yaml"
    study: Study = build_options(Study, read_values(path, "title, runs and tables"), str(path))
    primary = sum(claim.primary for claim in study.claims)
    if study.claims and primary != 1:
        raise ConfigError(f"{path}: {primary} of the {len(study.claims)} claims are primary; expected exactly one")
    return study


def experiments_of(name: str, study: Study, scale: Scale, overrides: Iterable[str] = ()) -> dict[str, Experiment]:
    """The experiments of a study's own runs, by the names of the runs.

    Args:
        name: of the study.
        study: its definition.
        scale: whose base the runs differ from.
        overrides: ``"section.key=value"``, for all runs.

    Raises:
        ConfigError: an experiment has errors, or a run is like one that does not exist.
    """
    refuse_one_text(overrides, "the overrides")
    base = read_values(_FOLDER / scale / "base.yaml", "backbone, source and targets")
    made: dict[str, dict[str, Any]] = {}
    for run, difference in study.runs.items():
        changes = deepcopy(difference)
        like = changes.pop("like", None)
        if like is not None and like not in made:
            raise ConfigError(f"{name}, run {run}: like is {like!r}; expected an earlier run: {', '.join(made)}")
        made[run] = merged(base if like is None else made[like], changes, base)
    experiments = {}
    for run, values in made.items():
        values = deepcopy({"name": f"{name} {run}"} | values)
        for change in overrides:
            override(values, change)
        if problems := take_in_files(values, Path()):
            raise problem_list(f"{name}, run {run}", problems)
        experiments[run] = build_experiment(values, f"{name}, run {run}")
    return experiments


def merged(values: Mapping[str, Any], changes: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Values with changes: sections are merged, other values replaced, None takes a value out.

    A list as ``targets.methods`` takes the options of the methods that it names from the base; an entry such as
    ``{spot: {start: mnli}}`` changes some of them.
    """
    result = deepcopy(dict(values))
    for key, change in changes.items():
        held = result.get(key)
        if change is None:
            result.pop(key, None)
        elif key == "methods" and isinstance(change, list):
            known = base["targets"]["methods"]
            named: dict[str, Any] = {}
            for entry in change:
                named |= entry if isinstance(entry, Mapping) else {entry: {}}
            result[key] = {method: merged(known[method], options, base) for method, options in named.items()}
        elif isinstance(change, Mapping) and isinstance(held, Mapping):
            result[key] = merged(held, change, base)
        else:
            result[key] = deepcopy(change)
    return result
