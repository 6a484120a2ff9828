"""What a rule has noticed, and which rules there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Rule(StrEnum):
    """The rules, in the order of reports: what concerns the answers comes first. See docs/is-it-learning.md."""

    CONSTANT = "constant predictions"
    BASELINE = "no better than a constant answer"
    NOTHING = "nothing to learn"
    DEAD = "dead training"
    STARVED = "starved task"
    INVALID = "invalid answers"
    UNENDED = "answers without an end"
    SHORT = "answers too short for BLEU"
    LOSS_SHARES = "shares of the loss"
    GRADIENT_SHARES = "shares of the gradient"


@dataclass(frozen=True)
class Finding:
    """Something that a training which learns would not show.

    Attributes:
        rule: that has noticed it.
        where: the task of the stage that it is about; empty if it is about the whole stage.
        what: was seen, with numbers; the beginning of a sentence or a whole one, without a full stop.
        advice: what to try next, in one or two sentences.
    """

    rule: Rule
    where: str
    what: str
    advice: str

    def text(self, stage: str) -> str:
        """What a person is told.

        Args:
            stage: that it was found in.
        """
        return f"{stage}{self.where and ', '}{self.where}: {self.rule}: {self.what}. {self.advice}"

    @property
    def key(self) -> tuple[str, str]:
        """Findings of a stage with the same key are told once."""
        return self.where, self.rule

    def record(self, step: int) -> dict[str, Any]:
        """A line of the log; ``key_of`` reads it."""
        values = {"rule": str(self.rule), "where": self.where, "what": self.what, "advice": self.advice}
        return {"step": step, "finding": values}


def key_of(record: Mapping[str, Any]) -> tuple[str, str] | None:
    """The key of the finding in a line of the log; None if the line is about something else."""
    finding = record.get("finding")
    return (str(finding.get("where")), str(finding.get("rule"))) if isinstance(finding, Mapping) else None


def percent(share: float) -> str:
    """A share in words, with as many digits as tell it from 0 and from 1."""
    value = 100 * share
    return f"{value:.0f} %" if 10 <= value <= 99 else f"{value:.{3 if value > 99 else 2}g} %"
