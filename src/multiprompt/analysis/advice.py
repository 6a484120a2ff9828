"""What a transfer matrix advises, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from multiprompt.analysis.transfer import NEW, Transfer
from multiprompt.analysis.transfer_store import Cell
from multiprompt.metrics.correlation import average_ranks


@dataclass(frozen=True)
class Verdict:
    """What the sources are worth for a target.

    Attributes:
        target: the task.
        steps: of prompt tuning before the scores.
        best: score of the best source.
        new: score of a new prompt after the same steps.
        helps: "yes" if the lower bound of the best score's interval is above the upper bound of the new prompt's and
            above the constant answer; "perhaps" if only its value is above their values; else "no".
        others: further sources that help in the sense of "yes", if the best does, best first.
    """

    target: str
    steps: int
    best: Cell
    new: Cell
    helps: Literal["yes", "perhaps", "no"]
    others: tuple[str, ...]


def verdicts(transfer: Transfer) -> list[Verdict]:
    """One for each target, and for scores as they are and after steps."""
    return [_verdict(transfer, target, steps) for target in transfer.targets for steps in transfer.kinds]


def _verdict(transfer: Transfer, target: str, steps: int) -> Verdict:
    named = {name: transfer.cells[name, target, steps] for name in transfer.sources if name != NEW}
    ranked = sorted(named, key=lambda name: -named[name].value)  # the first of equal ones
    new = transfer.cells[NEW, target, steps]
    # Both are scores of one training each on the same few rows: a value without its interval would be no bar.
    bar = max(new.interval[1], new.majority)
    best = named[ranked[0]]
    helps: Literal["yes", "perhaps", "no"] = "no"
    if best.value > max(new.value, new.majority):
        helps = "yes" if best.interval[0] > bar else "perhaps"
    others = tuple(name for name in ranked[1:] if helps == "yes" and named[name].interval[0] > bar)
    # cells of equal prompts bear the name of the first; the matrix knows this one's
    return Verdict(target, steps, replace(best, source=ranked[0]), new, helps, others)


def spearman(values: Sequence[float], others: Sequence[float]) -> float | None:
    """Rank correlation from -1 to 1; None where one side is constant, or there are fewer than three pairs."""
    if len(values) < 3 or len(set(values)) == 1 or len(set(others)) == 1:
        return None
    return float(np.corrcoef(average_ranks(np.array(values)), average_ranks(np.array(others)))[0, 1])


def rank_agreement(transfer: Transfer, steps: int) -> dict[str, float | None]:
    """For each target with a prompt in the run, how well cosine similarity ranks the sources by their scores."""
    agreement: dict[str, float | None] = {}
    for target, cosines in transfer.cosines.items():
        if cosines:
            scores = [transfer.cells[source, target, steps].value for source in cosines]
            agreement[target] = spearman(list(cosines.values()), scores)
    return agreement


def advice(transfer: Transfer) -> list[str]:
    """All that is to be said."""
    return [_about_rows(transfer), *map(_sentence, verdicts(transfer)), *_about_ranks(transfer)]


def _about_rows(transfer: Transfer) -> str:
    counts = {target: transfer.cells[NEW, target, 0].n for target in transfer.targets}
    if len(set(counts.values())) == 1:
        rows = f"{next(iter(counts.values()))} dev rows of each target"
    else:
        rows = f"dev rows ({', '.join(f'{target} {count}' for target, count in counts.items())})"
    trained = f"; steps at rate {transfer.learning_rate:g}" if transfer.steps else ""
    return f"Scores are on {rows}, seed {transfer.seed}{trained}. No test row was scored."


def _sentence(verdict: Verdict) -> str:
    best, when = verdict.best, Transfer.when(verdict.steps)
    low, high = best.interval
    score = f"{best.metric} {best.value:.1f} ({low:.1f} to {high:.1f})"
    new, (new_low, new_high) = verdict.new, verdict.new.interval
    bar = f"a new prompt has {new.value:.1f} ({new_low:.1f} to {new_high:.1f}), the constant answer {new.majority:.1f}"
    if verdict.helps == "no":
        return f"{verdict.target}, {when}: no source helps. The best is {best.source} with {score}; {bar}."
    word = "helps" if verdict.helps == "yes" else "may help, the intervals overlap"
    also = f" So {'does' if len(verdict.others) == 1 else 'do'} {', '.join(verdict.others)}." if verdict.others else ""
    return f"{verdict.target}, {when}: {best.source} {word}: {score}; {bar}.{also}"


def _about_ranks(transfer: Transfer) -> Iterator[str]:
    sources = len(transfer.sources) - 1
    for steps in transfer.kinds:
        agreement = rank_agreement(transfer, steps)
        known = {target: value for target, value in agreement.items() if value is not None}
        if not known:
            continue
        each = ", ".join(f"{target} {value:+.2f}" for target, value in known.items())
        mean = sum(known.values()) / len(known)
        with_mean = f"; mean {mean:+.2f}" if len(known) > 1 else ""
        yield (
            f"Cosine with the target's prompt ranks the {sources} sources, {transfer.when(steps)}, with a Spearman "
            f"correlation of {each}{with_mean}."
        )
    for target in transfer.targets:
        if target not in transfer.compared_with:
            yield f"{target}: the run has no finished prompt of it to compare with (prompt_tuning or mpt, all)."
    stages = dict.fromkeys(name.replace(target, "TASK", 1) for target, name in transfer.compared_with.items())
    if stages:
        yield f"A target's prompt is that of {', '.join(stages)} in this run."
