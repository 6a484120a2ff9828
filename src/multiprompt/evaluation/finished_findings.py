"""Is it learning? What the rules say about a stage that has its scores. No torch: reports use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from multiprompt.evaluation.results import Score
from multiprompt.health import (
    Answers,
    Finding,
    constant_predictions,
    flat_loss,
    invalid_answers,
    no_better_than_constant,
    short_answers,
    unended_answers,
)
from multiprompt.health.logs import Records, zero_loss
from multiprompt.plan import PROMPTED


def finished_findings(scores: Sequence[Score], answers: Mapping[str, Answers], records: Records) -> list[Finding]:
    """What the rules say that need scores: those about answers, and that of a loss which has not fallen.

    Args:
        scores: of all tasks of a stage.
        answers: to the test examples, by task; tasks may be missing.
        records: lines of the log that hold a loss.
    """
    findings: list[Finding | None] = []
    for score in scores:
        where, own = score.task if len(scores) > 1 else "", answers.get(score.task)
        prompt = score.method in PROMPTED
        if own is not None:
            findings.append(constant_predictions(where, own, prompt))
            findings.append(short_answers(where, score.metric, score.value, own))
        findings.append(
            no_better_than_constant(where, own, score.metric, score.value, score.interval, score.majority, prompt)
        )
        findings.append(invalid_answers(where, score.invalid, own, prompt))
        findings.append(unended_answers(where, score.unended))
    if scores and not zero_loss(records, None):
        learned = all(score.interval[0] > score.majority for score in scores)
        findings.append(flat_loss(records, learned, scores[0].method in PROMPTED))
    return [finding for finding in findings if finding]
