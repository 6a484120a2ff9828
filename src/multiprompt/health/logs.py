"""Rules about the log of a training. Pure functions of its records; no torch, so that reports can use them.

A record is a line of log.jsonl that holds a loss. Logs of earlier releases lack "examples", "mixing", "gradients" and
"moved": the rules that need them say nothing then. ``total`` is the number of steps of the whole training, None where
it is not known.
"""

from __future__ import annotations

import bisect
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

from multiprompt.health.finding import Finding, Rule, percent
from multiprompt.terms import kind_of

Records = Sequence[Mapping[str, Any]]

FEWEST_LINES = 5
"""Logged lines that a rule wants to see before it speaks: one odd batch is no sign."""

SMALL_GRADIENT = 1e-5
"""Norm of the gradient below which nothing moves: spread over a million numbers, it is 1e-8 for each, which is the
epsilon that AdamW adds to its divisor."""

LEAST_MOVED = 1e-3
"""Change of the tensor that has moved most, relative to its start, below which a training has changed nothing: it is
less than half precision could tell apart."""

FAR = 1.0
"""Change of a tensor, relative to its start, beyond which a loss that has not fallen speaks of steps that are too long:
nothing is left of the start."""

LEAST_FALL = 2.0
"""Standard errors that the loss must have fallen by: chance alone gives a fall as large in 1 of 40 trainings."""

FEWEST_FOR_FALL = 10
"""Logged lines from which the beginning and the end of a loss are compared."""

UNSEEN_LINES = 20
"""Logged lines within which every task should have been drawn: with a line every 10 steps, a task whose rate is 1 %
stays undrawn for so long in about 1 of 3,000 trainings."""

STARVED = 0.25
"""Part of its share by the mixing rates below which a task is starved: half of it is within chance for a rare task
in a short training, a quarter is not."""

LARGE_TERM, SMALL_TERM = 0.9, 0.001
"""Shares of the loss of one distillation term: beyond the first, all else together has less weight than a tenth; below
the second, the term could be left out."""

LARGE_TASK = 0.9
"""Share of the gradient of one task's factors beyond which clipping leaves the other tasks next to nothing."""

SMALL_TASK = 1 / 20
"""Part of an even share of the gradient below which the factors of a task hardly learn."""

WINDOW = 50
"""Last lines that shares of the gradient are averaged over: it differs by far from batch to batch."""


def zero_loss(records: Records, total: int | None) -> Finding | None:
    """The loss has been exactly zero since the beginning, and so has the gradient: nothing is asked of the training."""
    if not records or not all(record["loss"] == 0 and not record.get("gradient_norm", 0.0) for record in records):
        return None
    if len(records) < FEWEST_LINES and records[-1]["step"] != total:
        return None
    return Finding(
        Rule.NOTHING,
        "",
        f"the loss is exactly 0 in all of {len(records)} logged line{'s' * (len(records) > 1)}",
        "No target token counts, or all are known before: look at targets and their tokens with multiprompt show, and "
        "check max_target_length and the column of the answer.",
    )


def small_gradient(records: Records, prompt: bool = True) -> Finding | None:
    """The gradient has been next to zero since the beginning.

    Args:
        records: of the training so far.
        prompt: whether a prompt is trained, for which there are other starts.
    """
    norms = (record.get("gradient_norm", 1.0) for record in records)
    if len(records) < FEWEST_LINES or not all(norm < SMALL_GRADIENT for norm in norms):
        return None
    return Finding(
        Rule.DEAD,
        "",
        f"the norm of the gradient has stayed below {SMALL_GRADIENT:g} in all of {len(records)} logged lines",
        "Nothing reaches what is trained: take another start (prompt.start, or prompt.factor_start: near_one, "
        "since factors near zero have no gradient), and check the precision of the backbone."
        if prompt
        else "Nothing reaches what is trained: check the sizes of the method (rank, alpha, bottleneck) and the "
        "precision of the backbone.",
    )


def unmoved(records: Records) -> Finding | None:
    """At the end, the trained tensors are where they started."""
    moved = records[-1].get("moved") if records else None
    if moved is None or moved >= LEAST_MOVED:
        return None
    return Finding(
        Rule.DEAD,
        "",
        f"no trained tensor has moved by more than {percent(moved)} of its size",
        "Raise the learning rate by a factor of ten until the loss moves, or train for more steps.",
    )


def flat_loss(records: Records, learned: bool, prompt: bool = True) -> Finding | None:
    """The loss is not lower at the end than at the beginning, by what its noise can tell.

    Args:
        records: of the whole training.
        learned: whether its scores are safely above the constant answer: then the start was good already, as that of
            a target adaptation should be, and the loss had no need to fall.
        prompt: whether a prompt was trained, for which there are other starts.
    """
    losses = [float(record["loss"]) for record in records]
    if learned or len(losses) < FEWEST_FOR_FALL:
        return None
    ends = max(3, len(losses) // 10)
    first, last = statistics.fmean(losses[:ends]), statistics.fmean(losses[-ends:])
    # The median of the steps between neighbours: a steep beginning is no noise. 0.954 is the median for unit noise.
    noise = statistics.median(abs(b - a) for a, b in pairwise(losses)) / 0.954
    error = LEAST_FALL * noise * (2 / ends) ** 0.5
    if first - last > error:
        return None
    what = (
        f"the loss has not fallen: {first:.4g} over the first {ends} logged lines, {last:.4g} over the last, with a "
        f"noise of {noise:.2g}"
    )
    moved = records[-1].get("moved", 0.0)
    if moved > FAR:
        what += f"; a trained tensor has moved by {moved:.2g} times its size"
    if last - first > error or moved > FAR:
        advice = "Lower the learning rate by a factor of three or more, or lengthen the warm-up."
    else:
        start = ", or try another start (prompt.start)" if prompt else ""
        advice = f"Raise the learning rate by a factor of three or take more steps{start}."
    return Finding(Rule.DEAD, "", what, advice)


def starved_tasks(records: Records, total: int | None) -> Finding | None:
    """A task was not drawn for long, or has had far fewer examples than the mixing rates promise."""
    mixing: Mapping[str, float] = records[0].get("mixing", {}) if records else {}
    if len(mixing) < 2 or "examples" not in records[-1]:
        return None
    if len(records) >= UNSEEN_LINES:
        seen = records[UNSEEN_LINES - 1].get("examples", mixing)
        never = [task for task in mixing if not seen.get(task)]
        if never:
            return Finding(
                Rule.STARVED,
                "",
                f"{', '.join(never)}: not drawn in the first {UNSEEN_LINES} logged lines (mixing rate "
                f"{', '.join(percent(mixing[task]) for task in never)})",
                _FEED,
            )
    if total is None or records[-1]["step"] < total / 2:
        return None
    shares = example_shares(records)
    starved = [task for task, rate in mixing.items() if shares.get(task, 0.0) < STARVED * rate]
    if not starved:
        return None
    told = (f"{task} {percent(shares.get(task, 0.0))} instead of {percent(mixing[task])}" for task in starved)
    return Finding(Rule.STARVED, "", f"of the examples seen so far, {', '.join(told)}", _FEED)


_FEED = (
    "Lower mixing.size_cap so that large tasks get less, or take mixing.mode: uniform_tasks; in a short training "
    "more steps even it out."
)


def example_shares(records: Records) -> dict[str, float]:
    """The share of every task in the examples since the beginning; empty for logs without them."""
    seen: Mapping[str, int] = records[-1].get("examples", {}) if records else {}
    total = sum(seen.values())
    return {task: count / total for task, count in seen.items()} if total else {}


def loss_shares(record: Mapping[str, Any]) -> dict[str, float]:
    """The share of every term in a line's loss, weights counted; empty if it has one term.

    The log has terms without weights; that of distillation is the same for all its terms, so the loss tells it.
    """
    terms, loss = record.get("terms", {}), record["loss"]
    own = {term for term in terms if kind_of(term) == "task"}
    task = sum(terms[term] for term in own)
    rest = sum(terms.values()) - task
    if len(terms) < 2 or loss <= 0 or rest <= 0:
        return {}
    weight = max(0.0, (loss - task) / rest)
    return {term: (value if term in own else weight * value) / loss for term, value in terms.items()}


def one_sided_loss(records: Records, total: int | None) -> Finding | None:
    """One term of the distillation is nearly all of the loss, or nothing of it, from the middle of the training on."""
    if total is None:
        return None
    # Forwards, so that the first lines that are as they should be end it.
    half = records[bisect.bisect_right(records, total / 2, key=lambda record: record["step"]) :]
    if len(half) < FEWEST_LINES:
        return None
    last = loss_shares(half[-1])
    large = small = {term for term in last if kind_of(term) != "task"}
    for record in half:
        shares = loss_shares(record)
        large = {term for term in large if shares.get(term, 0.0) > LARGE_TERM}
        small = {term for term in small if 0 < shares.get(term, 0.0) < SMALL_TERM}  # a weight of zero is a wish
        if not large and not small:
            return None
    term = min(large or small, key=lambda name: (-last[name] if large else last[name], name))
    what = f"{term} is {percent(last[term])} of the loss, and was {'more' if large else 'less'} than "
    what += f"{percent(LARGE_TERM if large else SMALL_TERM)} since the middle of the training"
    return Finding(Rule.LOSS_SHARES, "", what, (_LARGE if large else _SMALL)[kind_of(term)])


_LARGE = {
    "logits": "The labels have little say: lower source.distillation.weight (lambda), or its temperature.",
    "states": "The task loss has little say: lower source.distillation.weight (lambda), or take "
    "source.distillation.hidden: all, whose states are normalised.",
    "distance": "The task loss has little say: lower source.distillation.weight (lambda).",
}
_SMALL = {
    "logits": "It teaches nothing: raise source.distillation.weight (lambda), or check that the teachers are better "
    "than their baselines.",
    "states": "It teaches nothing: raise source.distillation.weight (lambda), or save its cost with "
    "source.distillation.kind: no_hidden.",
    "distance": "It teaches nothing: raise source.distillation.weight (lambda), or leave it out.",
}


def gradient_shares(records: Records) -> dict[str, float]:
    """The share of every task's own tensors in the gradient, over the last lines; empty where tasks have none.

    A task counts where it was in the batch, so that one that is rarely drawn is not taken for one that is hardly
    trained.
    """
    norms: dict[str, list[float]] = {}
    for record in records[-WINDOW:]:
        for task, norm in record.get("gradients", {}).items():
            norms.setdefault(task, []).append(norm)
    means = {task: statistics.fmean(each) for task, each in norms.items() if len(each) >= FEWEST_LINES}
    total = sum(means.values())
    return {task: mean / total for task, mean in means.items()} if total > 0 else {}


def one_sided_gradient(records: Records) -> Finding | None:
    """The factors of one task get nearly all of the gradient, or those of a task next to nothing."""
    shares = gradient_shares(records)
    if len(shares) < 2:
        return None
    task = max(shares, key=lambda name: shares[name])
    if shares[task] > LARGE_TASK:
        return Finding(
            Rule.GRADIENT_SHARES,
            "",
            f"the factors of {task} get {percent(shares[task])} of the gradient of all {len(shares)} tasks",
            "Clipping is by its norm, so the other tasks get little: look at the loss of this task and its label "
            "words, and lower source.factor_learning_rate or its share (mixing.size_cap).",
        )
    small = [name for name, share in shares.items() if share < SMALL_TASK / len(shares)]
    if not small:
        return None
    return Finding(
        Rule.GRADIENT_SHARES,
        "",
        f"the factors of {', '.join(f'{name} get {percent(shares[name])}' for name in small)} of the gradient; an even "
        f"share is {percent(1 / len(shares))}",
        "If the loss of such a task is low it has learned; if not, try prompt.factor_start: near_one, or a lower "
        "mixing.size_cap so that it is drawn more often.",
    )


def running_findings(
    records: Records, total: int | None, known: Collection[Rule] = (), prompt: bool = True
) -> list[Finding]:
    """What the rules say about a training as far as it has come.

    Rules that have nothing to say look at a few lines only, so that a check costs the same however long the log is.

    Args:
        records: the lines so far, in their order.
        total: steps of the whole training.
        known: rules that need not be checked.
        prompt: whether a prompt is trained, for which there are other starts.
    """
    rules: dict[Rule, Callable[[], Finding | None]] = {
        Rule.NOTHING: lambda: zero_loss(records, total),
        Rule.DEAD: lambda: None if zero_loss(records, total) else small_gradient(records, prompt) or unmoved(records),
        Rule.STARVED: lambda: starved_tasks(records, total),
        Rule.LOSS_SHARES: lambda: one_sided_loss(records, total),
        Rule.GRADIENT_SHARES: lambda: one_sided_gradient(records),
    }
    findings = [check() for rule, check in rules.items() if rule not in known]
    return [finding for finding in findings if finding]
