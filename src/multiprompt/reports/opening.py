"""What a reader is told first: the result, what the model is, and what the words mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from multiprompt.backbone.published import SHIPPED
from multiprompt.evaluation.differences import Comparison, compare
from multiprompt.reports.run_contents import Run
from multiprompt.reports.score_tables import EMPTY, Cell, Table, name_note, number, shots_order, shots_text, signed

METHOD = "mpt"
"""The method whose comparison with the others is told."""

REFERENCE = "prompt_tuning"
"""What it is compared with first: the same prompt without what the source tasks taught."""

WORDS = {
    "mpt": "the shared prompt of all source tasks, tuned on the target",
    "prompt_tuning": "a new prompt, trained on the target alone",
    "teacher": "a prompt trained on one source task alone",
    "student": "the shared prompt, distilled from the teachers",
    "constant answer": "score of one answer given every time, the best on training rows",
    "word rule": "score of a rule on shared words, without a model",
}
"""What the words of the tables mean, a line of 80 columns each."""

SHIPPED_MODEL = (
    "pretrained by this project on generated sentences about a small closed world: the scores say how methods compare "
    "on it, and nothing about real text"
)
"""What must be said of the models that come with the package."""


@dataclass(frozen=True)
class Opening:
    """What stands before all tables.

    Attributes:
        results: a sentence for every run that compares mpt with another method.
        models: a sentence for every model.
        covers: what the intervals of the results cover, and what they do not.
        words: those that the tables use, with their meanings.
    """

    results: tuple[str, ...]
    models: tuple[str, ...]
    covers: tuple[str, ...]
    words: tuple[tuple[str, str], ...]


def opening(runs: Sequence[Run]) -> Opening:
    """What to tell about runs before their tables."""
    first = [(run, comparisons[0]) for run in runs if (comparisons := run_comparisons(run))]
    results = [_result(found, run) for run, found in first]
    if len(runs) > 1:
        results = [f"{run.label}: {sentence}" for (run, _), sentence in zip(first, results, strict=True)]
    covers = [_covered(found, run) for run, found in first if found.difference.interval]
    methods = {score.method for run in runs for score in run.scores}
    used = methods | ({"constant answer"} if methods else set())
    used |= {"word rule"} if any(score.shortcut is not None for run in runs for score in run.scores) else set()
    return Opening(
        results=tuple(results),
        models=tuple(dict.fromkeys(map(_model, runs))),
        covers=tuple(dict.fromkeys(covers)),
        words=tuple((word, meaning) for word, meaning in WORDS.items() if word in used),
    )


def run_comparisons(run: Run) -> list[Comparison]:
    """What mpt is compared with: prompt tuning before other methods, few examples before many."""
    return sorted(
        compare(run.scores, METHOD), key=lambda c: (c.other != REFERENCE, c.shots == "all", shots_order(c.shots)[1])
    )


def _result(found: Comparison, run: Run) -> str:
    metric = f"{found.metrics[0]}" if len(found.metrics) == 1 else "score"
    mean = "mean " if len(found.tasks) * len(found.repeats) > 1 else ""
    return (
        f"With {shots_text(found.shots)} of {_tasks(found, run)}, the {mean}{metric} is {number(found.mean)} with "
        f"{found.method} and {number(found.other_mean)} with {found.other}: {_difference(found)}."
    )


def _tasks(found: Comparison, run: Run) -> str:
    count = len(found.tasks)
    source = run.experiment.source
    seen = [task for task in found.tasks if source and task in source.tasks]
    kind = "unseen" if source and not seen else "target"
    which = f"{count} {kind} tasks" if count > 1 else f"one {kind} task"
    which = f"each of {which}" if count > 1 else which
    return f"{which} (source tasks among them: {len(seen)})" if seen else which


def _difference(found: Comparison) -> str:
    difference = found.difference
    if len(difference.values) == 1:
        return f"one training of each, with a difference of {signed(difference.mean)}, does not tell which is better"
    if difference.interval is None:
        return (
            f"the same difference of {signed(difference.mean)} in all {difference.what} does not tell which is better"
        )
    rows = " and over the test rows" if difference.covers_rows else " alone"
    interval = (
        f"95 % interval {_range(difference.interval)}, paired over {len(difference.values)} {difference.what}{rows}"
    )
    points = number(abs(difference.mean))
    match difference.verdict:
        case "holds":
            return f"{found.method} is ahead by {points} points ({interval})"
        case "reversed":
            return f"{found.method} is behind by {points} points ({interval})"
    if difference.equal:
        return (
            f"the two are equal within {number(difference.margin)} points, by two one-sided tests: the difference is "
            f"{signed(difference.mean)} ({interval})"
        )
    return (
        f"no difference is shown, and one as large as {number(difference.leaves_open or 0.0)} points is left open: "
        + (f"{signed(difference.mean)} ({interval})")
    )


def _covered(found: Comparison, run: Run) -> str:
    """What the interval covers: only what its values differ in."""
    if found.difference.covers_rows:
        rows = "other test rows of the same kind"
        same = "tasks stay the same"
    else:
        rows = ""
        same = "tasks and test rows stay the same, because the answers to them are not stored"
    if found.difference.what == "draws":
        also = f" and {rows}" if rows else " only"
        return (
            f"The interval covers other draws of the examples{also}: all draws start from the source prompt of one "
            f"seed, and {same}. Another seed also changes the source prompt."
        )
    start = "which start from one stored source prompt" if run.experiment.source is None else "source training included"
    averaged = " Draws of one seed share its source prompt, so they are averaged first."
    also = f", and {rows}" if rows else ""
    return f"The interval covers other seeds, {start}{also}; {same}." + (
        averaged if any(draw for _, draw in found.repeats) else ""
    )


def _model(run: Run) -> str:
    facts = run.environment.get("backbone", {})
    name, weights = facts.get("name", run.experiment.backbone.name), facts.get("parameters")
    what = f"a frozen language model of {_millions(weights)} million weights" if weights else "a frozen language model"
    made = f", {SHIPPED_MODEL}" if name in SHIPPED else ""
    return f"The model is {name}, {what}{made}."


def _millions(count: Any) -> str:
    millions = float(count) / 1e6
    return f"{millions:,.0f}" if millions >= 10 else f"{millions:.2g}"


def comparison_table(runs: Sequence[Run]) -> Table | None:
    """Every paired difference between mpt and another method; None where the opening has told all of them."""
    comparisons = [(run, found) for run in runs for found in run_comparisons(run)]
    if len(comparisons) == len({run.label for run, _ in comparisons}):
        return None
    several = len(runs) > 1
    rows = []
    for run, found in comparisons:
        difference = found.difference
        rows.append(
            (
                Cell(found.other, note=name_note(run.label if several else "", found.shots)),
                Cell(signed(difference.mean)),
                Cell(EMPTY if difference.interval is None else _range(difference.interval)),
                Cell(difference.over),
                Cell(number(found.mean)),
                Cell(number(found.other_mean)),
                Cell(str(len(found.tasks))),
            )
        )
    heads = ("against", "difference", "95 % interval", "over", METHOD, "the other", "tasks")
    caption = f"Paired differences, {METHOD} minus the other method; each interval is for its line alone"
    return Table(caption, heads, tuple(rows))


def _range(interval: tuple[float, float]) -> str:
    low, high = map(signed, interval)
    return f"{low} to {high}"
