"""The section "Is it learning?": what the rules say about the stages of a run, from its files alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from multiprompt.evaluation.finished_findings import finished_findings
from multiprompt.health import (
    Finding,
    Rule,
    example_shares,
    gradient_shares,
    loss_shares,
    percent,
    running_findings,
)
from multiprompt.plan import PROMPTED
from multiprompt.reports.run_contents import Run, Stage
from multiprompt.reports.score_tables import EMPTY, Cell, Table

TITLE = "Is it learning?"

MOST_NAMED = 2
"""Places that the headline of a rule names."""


@dataclass(frozen=True)
class Noticed:
    """What a rule says about a stage, the seeds and draws with the same advice put together.

    Attributes:
        rule: the rule.
        where: run (if there are several), stage, and task if the stage has several.
        repeats: seeds and draws it was noticed in, of how many.
        what: was seen; in the first of them.
        advice: what to try.
    """

    rule: Rule
    where: str
    repeats: str
    what: str
    advice: str

    @property
    def line(self) -> str:
        """Without the advice."""
        return f"{self.where} ({self.repeats}): {self.what}"


def stage_findings(stage: Stage) -> list[Finding]:
    """All that the rules say about a stage."""
    total = int(stage.records[-1]["step"]) if stage.finished and stage.records else None
    findings = running_findings(stage.records, total, prompt=stage.method in PROMPTED)
    if stage.finished:
        findings += finished_findings(stage.scores, stage.answers, stage.records)
    return list({finding.key: finding for finding in reversed(findings)}.values())[::-1]


def noticed(runs: Sequence[Run]) -> dict[Rule, list[Noticed]]:
    """What the rules say about runs, by rule; rules that have nothing to say are left out."""
    found: dict[tuple[str, str, Rule, str], list[tuple[Stage, Finding]]] = {}
    repeats: dict[str, list[Stage]] = {}
    for run in runs:
        for stage in run.stages:
            name = _name(stage, run, runs)
            repeats.setdefault(name, []).append(stage)
            for finding in stage_findings(stage):
                key = name, finding.where, finding.rule, finding.advice
                found.setdefault(key, []).append((stage, finding))
    entries: dict[Rule, list[Noticed]] = {}
    for (name, task, rule, advice), own in found.items():
        what = own[0][1].what
        if len({finding.what for _, finding in own}) > 1:
            what += f" (in {_repeats([own[0][0]], repeats[name])})"
        where = f"{name}, {task}" if task else name
        of = _repeats([stage for stage, _ in own], repeats[name])
        entries.setdefault(rule, []).append(Noticed(rule, where, of, what, advice))
    return {rule: entries[rule] for rule in Rule if rule in entries}


def _name(stage: Stage, run: Run, runs: Sequence[Run]) -> str:
    return f"{stage.name} of {run.label}" if len(runs) > 1 else stage.name


def _repeats(stages: Sequence[Stage], every: Sequence[Stage]) -> str:
    """Seeds, and draws where there are several, in words."""
    if any(stage.draw for stage in every):
        if len(stages) == 1:
            return f"seed {stages[0].seed}, draw {stages[0].draw}"
        return f"{len(stages)} of {len(every)} repeats"
    seeds = ", ".join(str(stage.seed) for stage in stages)
    return f"seed{'s' * (len(stages) > 1)} {seeds}"


def headline(rule: Rule, entries: Sequence[Noticed]) -> str:
    """A rule's findings in one line."""
    places = dict.fromkeys(entry.where for entry in entries)
    named = ", ".join(list(places)[:MOST_NAMED])
    return f"{rule}: {named}{f' and {len(places) - MOST_NAMED} more' if len(places) > MOST_NAMED else ''}"


def by_advice(entries: Iterable[Noticed]) -> dict[str, list[str]]:
    """Advice -> the lines that it is for."""
    lines: dict[str, list[str]] = {}
    for entry in entries:
        lines.setdefault(entry.advice, []).append(entry.line)
    return lines


def checked(runs: Sequence[Run]) -> list[Rule]:
    """The rules that the files of some stage were enough for; logs of earlier releases lack what some need."""
    stages = [stage for run in runs for stage in run.stages]
    records = [record for stage in stages for record in stage.records[:20]]
    scores = [score for stage in stages for score in stage.scores]
    can = {
        Rule.CONSTANT: any(stage.answers for stage in stages),
        Rule.BASELINE: any(stage.scores for stage in stages),
        Rule.NOTHING: bool(records),
        Rule.DEAD: bool(records),
        Rule.STARVED: any("mixing" in record for record in records),
        Rule.INVALID: any(stage.scores for stage in stages),
        Rule.UNENDED: any(score.unended is not None for score in scores),
        Rule.SHORT: any(stage.answers and any(s.metric.startswith("bleu") for s in stage.scores) for stage in stages),
        Rule.LOSS_SHARES: any(loss_shares(record) for record in records),
        Rule.GRADIENT_SHARES: any("gradients" in record for record in records),
    }
    return [rule for rule in Rule if can[rule]]


def several_tasks(runs: Sequence[Run]) -> Iterable[tuple[str, list[Stage]]]:
    """The stages that train on several tasks or on several terms of a loss: name -> seeds and draws."""
    for run in runs:
        by_name: dict[str, list[Stage]] = {}
        for stage in run.stages:
            if stage.records and (loss_shares(stage.records[-1]) or example_shares(stage.records)):
                by_name.setdefault(_name(stage, run, runs), []).append(stage)
        yield from by_name.items()


def share_table(name: str, stages: Sequence[Stage]) -> Table | None:
    """Shares of the tasks in examples and gradient, means over seeds and draws; None for logs without them."""
    kinds: dict[str, list[Mapping[str, float]]] = {
        "by the mixing rates": [stage.records[0].get("mixing", {}) for stage in stages],
        "of the examples": [example_shares(stage.records) for stage in stages],
        "of the gradient": [gradient_shares(stage.records) for stage in stages],
    }
    heads = {head: shares for head, shares in kinds.items() if any(shares)}
    tasks = list(dict.fromkeys(task for shares in heads.values() for each in shares for task in each))
    if not tasks:
        return None
    rows = [(Cell(task), *(Cell(_mean(shares, task)) for shares in heads.values())) for task in tasks]
    return Table(f"Shares of the tasks, {name}", ("task", *heads), tuple(rows))


def _mean(shares: Sequence[Mapping[str, float]], task: str) -> str:
    values = [each[task] for each in shares if task in each]
    return percent(sum(values) / len(values)) if values else EMPTY
