"""Tasks of a user's own: from plain values, checked so that all mistakes are reported together, to a ``Task``."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from multiprompt.definition import (
    ENDINGS,
    LabelDefinition,
    ScoreDefinition,
    SplitDefinition,
    TaskDefinition,
    is_task_file,
    metric_function,
)
from multiprompt.errors import ConfigError, MultipromptError, problem_list, unknown_name
from multiprompt.metrics import METRICS, AnswerKind, Metric, own_metric, score
from multiprompt.tasks.answers import AnswerRule, LabelAnswer, ScoreAnswer, TextAnswer
from multiprompt.tasks.base import SPLIT_RULES, TASKS, HubDataset, SplitRule, Task
from multiprompt.tasks.text import Template

OWN = "own"
"""The family of such tasks."""

_METRICS = {
    AnswerKind.LABEL: ("accuracy",),
    AnswerKind.NUMBER: ("pearson", "spearman"),
    AnswerKind.TEXT: ("qa_f1", "exact_match"),
}
_ANSWERS = ("label", "answer", "score")


def make_task(definition: TaskDefinition) -> Task:
    """The task that a definition describes.

    Raises:
        ConfigError: with every problem of the definition.
    """
    problems = problems_of(definition)
    if problems:
        raise problem_list(f"the task {definition.name!r}", problems)
    answer, rule = _answer(definition), _split_rule(definition.split)
    functions = filter(None, map(metric_function, definition.metrics))
    own = {function: own_metric(Path(path), function) for path, function in functions}
    metrics = _metric_names(definition.metrics) or _METRICS[answer.kind]
    target_length = definition.max_target_length or (128 if answer.kind is AnswerKind.TEXT else 8)
    hub = definition.hub
    return Task(
        name=definition.name,
        family=OWN,
        folder=definition.name,
        files=definition.files,
        source=Template(definition.source),
        answer=answer,
        metrics=metrics,
        reported=definition.reported or metrics[0],
        own_metrics=own,
        split_rule=rule,
        prefix=definition.name if definition.prefix is None else definition.prefix,
        hub=None if hub is None else HubDataset(hub.path, hub.config, hub.revision, hub.splits),
        gather=definition.gather,
        max_source_length=definition.max_source_length,
        max_target_length=target_length,
        generation_length=definition.generation_length or target_length,
        beams=definition.beams,
        version=definition.version,
    )


def problems_of(definition: TaskDefinition, wrong: Collection[str] = ()) -> list[str]:
    """Everything that is wrong with a definition, one line each; nothing for a good one.

    Args:
        definition: the values.
        wrong: keys that are known to be wrong and hold a default: they are not looked at.
    """
    checks = {
        "name": _name_problems,
        "source": _source_problems,
        "label": _answer_problems,
        "metrics": _metric_problems,
        "split": _split_problems,
        "files": _file_problems,
    }
    problems = [problem for key, check in checks.items() if key not in wrong for problem in check(definition, wrong)]
    lowest = {"max_source_length": 2, "max_target_length": 2, "generation_length": 2, "beams": 1, "version": 1}
    for key, least in lowest.items():
        value = getattr(definition, key)
        if value is not None and value < least:
            problems.append(f"{key} is {value}; expected {least} or more")
    return problems


def _name_problems(definition: TaskDefinition, wrong: Collection[str]) -> Iterator[str]:
    name = definition.name
    if not name:
        yield "name is missing"
    elif not re.fullmatch(r"\w[\w.-]*", name) or is_task_file(name):
        yield f"name is {name!r}; expected letters, digits, '_', '-' and '.' (folders are named after it)"
    elif name in TASKS:
        yield f"name is {name!r}, a task that is there already; choose another one"


def _source_problems(definition: TaskDefinition, wrong: Collection[str]) -> Iterator[str]:
    if not definition.source:
        yield "source is missing; expected a text with names of columns in braces, such as 'review: {text}'"
        return
    try:
        if not Template(definition.source).columns:
            yield f"source is {definition.source!r}, which names no column; put one in braces, such as {{text}}"
    except ConfigError as error:
        yield f"source: {error}"


def _answer_problems(definition: TaskDefinition, wrong: Collection[str]) -> Iterator[str]:
    given = [key for key in _ANSWERS if getattr(definition, key) is not None or key in wrong]
    if len(given) != 1:
        yield f"one of label, answer and score says what the answer is; there is {' and '.join(given) or 'none'}"
        return
    (key,) = given
    if key in wrong:
        return
    value = getattr(definition, key)
    if not (value if isinstance(value, str) else value.column):
        yield f"{key}.column is missing" if key != "answer" else "answer is empty; expected the name of a column"
    truths = [word for word in _words_and_values(definition.label) if isinstance(word, bool)]
    if truths:
        yield (
            f"label.words holds {truths[0]}: YAML reads yes, no, on, off, true and false as truth values; put the word "
            "in quotes"
        )
        return
    try:
        _answer(definition)
    except ConfigError as error:
        yield f"{key}: {error}"


def _words_and_values(label: LabelDefinition | None) -> list[Any]:
    words = label.words if label else ()
    return [*words, *words.values()] if isinstance(words, Mapping) else [*words]


def _answer(definition: TaskDefinition) -> AnswerRule:
    """The rule of the answer.

    Raises:
        ConfigError: the words or the scores make no rule.
    """
    if definition.label is not None:
        column, words = definition.label.column, definition.label.words
        if isinstance(words, Mapping):
            return LabelAnswer(tuple(map(str, words.values())), column, tuple(words))
        return LabelAnswer(tuple(map(str, words)), column)
    if definition.score is not None:
        return _score_answer(definition.score)
    assert definition.answer is not None, "checked before"
    return TextAnswer(definition.answer)


def _score_answer(score: ScoreDefinition) -> ScoreAnswer:
    for key, value in (("low", score.low), ("high", score.high), ("step", score.step)):
        if not math.isfinite(value):
            raise ConfigError(f"{key} is {value}; expected a finite number")
    per_unit = round(1 / score.step) if score.step > 0 else 0
    if per_unit not in (1, 2, 5, 10) or abs(per_unit * score.step - 1) > 1e-9:
        raise ConfigError(f"step is {score.step}; expected 0.1, 0.2, 0.5 or 1")
    return ScoreAnswer(score.column, per_unit, score.low, score.high)


def _metric_problems(definition: TaskDefinition, wrong: Collection[str]) -> Iterator[str]:
    doubtful = any(key in wrong for key in _ANSWERS) or any(_answer_problems(definition, wrong))
    answer = None if doubtful else _answer(definition)
    names = _metric_names(definition.metrics)
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield f"metrics: {name!r} is named twice"
    for name in definition.metrics:
        try:
            if own := metric_function(name):
                if own[1] in METRICS:
                    yield f"metrics: {name} has the name of a metric that is there already; rename the function"
                continue
            if name.endswith(".py"):
                yield f"metrics: {name} is a file; name the function in it too, as in {name}:my_function"
                continue
            metric = METRICS[name]
            if answer is not None:
                _try(metric, answer)
        except MultipromptError as error:
            yield f"metrics: {error}"
    metrics = names or (_METRICS[answer.kind] if answer is not None else ())
    reported = definition.reported or (metrics[0] if metrics else None)
    if reported is not None and metrics and reported not in metrics:
        yield f"reported: {unknown_name('metric among the metrics of the task', reported, metrics)}"
    elif reported is not None and reported in METRICS and not METRICS[reported].higher_is_better:
        yield f"reported is {reported!r}, a rate of errors; expected a metric that is better when it is higher"


def own_metric_problems(task: Task) -> list[str]:
    """What is wrong with metrics that are functions of the user's own, one line each. Their files are run for this."""
    problems = []
    for metric in task.own_metrics.values():
        try:
            _try(metric, task.answer)
        except ConfigError as error:
            problems.append(f"metrics: {error}")
    return problems


def _try(metric: Metric, answer: AnswerRule) -> None:
    """Score two right answers, as the task would write them."""
    texts = answer.words or ("1.0", "2.0") if answer.kind is not AnswerKind.TEXT else ("a text", "one more")
    score(metric, texts, [(text,) for text in texts], answer.words)


def _metric_names(metrics: Sequence[str]) -> tuple[str, ...]:
    """The names that metrics have in results: a function of the user's own has its own."""
    return tuple(own[1] if (own := metric_function(name)) else name for name in metrics)


def _split_rule(split: str | SplitDefinition) -> SplitRule:
    """The split rule of a name or a definition.

    Raises:
        ConfigError: it is none.
        UnknownNameError: no rule has the name.
    """
    if isinstance(split, str):
        rule = SPLIT_RULES[split]
        if rule.kind == "generated":
            raise ConfigError("'generated' is for tasks that make their rows themselves")
        return rule
    for key in ("dev_rows", "test_rows", "max_train"):
        value = getattr(split, key)
        if value is not None and value < 1:
            raise ConfigError(f"{key} is {value}; expected 1 or more")
    made_here = split.train if split.kind == "train-only" else None
    if made_here and split.test:
        raise ConfigError(f"test is {split.test!r}, but the kind train-only takes test rows out of train")
    official = split.kind == "official"
    return SplitRule(
        name=split.kind,
        kind=split.kind,
        train=split.train,
        dev=(split.dev or "validation") if official else split.dev,
        test=made_here or split.test or ("test" if official else "validation"),
        dev_rows=split.dev_rows,
        test_rows=split.test_rows,
        max_train=split.max_train,
    )


def _split_problems(definition: TaskDefinition, wrong: Collection[str]) -> Iterator[str]:
    if not definition.split:
        rules = ", ".join(name for name in SPLIT_RULES if name != "generated")
        yield f"split is missing; expected the name of a split rule ({rules}) or a mapping with a kind"
        return
    try:
        _split_rule(definition.split)
    except MultipromptError as error:
        yield f"split: {error}"


def _file_problems(definition: TaskDefinition, wrong: Collection[str]) -> Iterator[str]:
    files, hub = definition.files, definition.hub
    if "hub" in wrong:
        return
    if bool(files) == (hub is not None):
        yield f"rows come from files or from hub; there is {'both' if files else 'neither'}"
        return
    if hub is not None and not hub.path:
        yield "hub.path is missing; expected owner/name"
    for split, path in files.items():
        if not path.endswith(ENDINGS):
            yield f"files.{split} is {path!r}; expected a file that ends in {', '.join(ENDINGS)}"
    if "split" in wrong or any(_split_problems(definition, wrong)):
        return
    rule = _split_rule(definition.split)
    missing = [split for split in rule.splits if files and split not in files]
    if missing == [rule.dev] and rule.carve_without_dev:
        missing = []
    for split in missing:
        yield f"files.{split} is missing: the split rule {rule.name!r} reads {', '.join(rule.splits)}"
    for split in files:
        if split not in rule.splits:
            yield f"files: {unknown_name(f'split for the rule {rule.name!r}', split, rule.splits)}"
