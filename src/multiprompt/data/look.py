"""What a task's data has that a training should not begin with: short notes, each with a count, a row and some advice.

The limits are above what the public tasks of the study have (docs/is-it-learning.md), so that a note has a reason. A
look takes a few percent of the time that reading the rows takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Integer

from multiprompt.data.splits import TaskData
from multiprompt.data.tokenise import Ragged, TokenisedExamples
from multiprompt.examples import TextExample
from multiprompt.health import BLEU_WORDS, percent, shown
from multiprompt.tasks import Task

ALIKE = 0.05
"""Share of the rows of one part that stand in another part too: WSC has 3.8 % of dev and test."""

REPEATED = 0.02
"""Share of the rows of a part that repeat an earlier one: STS-B has 0.7 %."""

CONTRADICTING = 0.01
"""Share of the training rows whose source has another target elsewhere: CoLA has 0.3 %."""

EMPTY = 0.01
"""Share of the rows with an empty text: MultiRC has 0.01 %."""

TOO_LONG = 0.01
"""Share of the references that are longer than an answer can be."""

UNKNOWN = 0.01
"""Share of unknown pieces among the tokens."""

TOO_SHORT = 0.5
"""Share of the references in which BLEU finds no sequence to count."""

FEWEST_TARGETS = 10
"""Training rows from which on equal targets are no chance."""

Parts = Mapping[str, tuple[Sequence[TextExample], TokenisedExamples]]
"""Of train, dev and test: some examples, and their tokens."""


def look_at_texts(data: TaskData) -> list[str]:
    """What there is to say about the rows as texts."""
    return [f"{data.task.name}: {note}" for note in _text_notes(data)]


def _text_notes(data: TaskData) -> Iterator[str]:
    task, train = data.task, data.train
    for column, (text, where) in data.unused.items():
        yield (
            f"the source never uses the column {column!r}, which holds text ({shown(text)} in {where}). If the model "
            f"should read it, put {{{column}}} into the source"
        )
    rows = data.counts["train"] + data.counts["dev"] + data.counts["test"]
    if data.empty and len(data.empty) > EMPTY * rows:
        yield (
            f"{len(data.empty):,} rows have an empty text, such as {data.empty[0]}. Fill it in, leave the rows out, or "
            "check the names of the columns"
        )
    first_of = {name: _first_rows(part) for name, part in _parts(data).items()}
    if len(first_of["train"]) == 1 < len(train):
        yield (
            f"all {len(train):,} training sources are the same text, {shown(train[0].source)} "
            f"({data.where(train[0])} is the first). There is nothing to tell rows apart by: check the columns that "
            "the source names"
        )
        return  # all that follows would say the same once more
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        yield from _alike(data, one, other, first_of)
    if not task.gather and task.expand is None:  # several targets of a source, and repeated rows, are ordinary there
        doubled = {name: _doubled(part, first_of[name]) for name, part in _parts(data).items()}
        for name, part in _parts(data).items():
            yield from _repeated(data, name, len(part), doubled[name])
        yield from _contradicting(data, doubled["train"])
    if len(train) >= FEWEST_TARGETS and len({example.target for example in train}) == 1:
        yield (
            f"all {len(train):,} training targets are {shown(train[0].target)} ({data.where(train[0])} is the first). "
            "There is nothing to learn: check the column of the answer"
        )
    if any(metric.startswith("bleu") for metric in task.metrics):
        short = [e for e in data.test if all(len(text.split()) < BLEU_WORDS for text in e.references)]
        if len(short) > TOO_SHORT * len(data.test):
            yield (
                f"{_count(len(short), len(data.test))} test rows have references of fewer than {BLEU_WORDS} words "
                f"only, such as {shown(short[0].target)} in {data.where(short[0])}. BLEU counts sequences of "
                f"{BLEU_WORDS} words: it is 0 where no output has so many. Take rouge_l or exact_match"
            )


def _parts(data: TaskData) -> dict[str, tuple[TextExample, ...]]:
    return {"train": data.train, "dev": data.dev, "test": data.test}


def _first_rows(part: Sequence[TextExample]) -> dict[str, TextExample]:
    """Source -> the first example that has it."""
    first: dict[str, TextExample] = {}
    for example in part:
        first.setdefault(example.source, example)
    return first


def _doubled(part: Sequence[TextExample], first: Mapping[str, TextExample]) -> list[TextExample]:
    """The examples whose source another one of the part has too: few or none in most data."""
    sources = {example.source for example in part if first[example.source] is not example}
    return [example for example in part if example.source in sources] if sources else []


def _count(number: int, of: int) -> str:
    return f"{number:,} of {of:,} ({percent(number / of)})"


def _alike(data: TaskData, one: str, other: str, first_of: Mapping[str, Mapping[str, TextExample]]) -> Iterator[str]:
    """Rows that stand in two parts."""
    part, known = _parts(data)[other], first_of[one]
    both = [example for example in part if example.source in known]
    if len(both) > ALIKE * len(part):
        why = "the choice of the best step" if other == "dev" else "scores"
        learned = "what was learned by heart" if one == "train" else "the rows that the best step was chosen on"
        yield (
            f"{_count(len(both), len(part))} {other} rows have a source that stands in {one} too, such as "
            f"{data.where(both[0])} and {data.where(known[both[0].source])}. {why.capitalize()} would be about "
            f"{learned}: take these rows out of one of the two"
        )


def _repeated(data: TaskData, name: str, rows: int, doubled: Sequence[TextExample]) -> Iterator[str]:
    """Rows that repeat an earlier row of the same part."""
    first: dict[tuple[str, str], TextExample] = {}
    again = [e for e in doubled if first.setdefault((e.source, e.target), e) is not e]
    if len(again) > REPEATED * rows:
        of = first[again[0].source, again[0].target]
        so = "weigh more than others" if name == "train" else "add nothing, but make intervals look narrower"
        yield (
            f"{_count(len(again), rows)} {name} rows repeat an earlier row, such as {data.where(again[0])} that of "
            f"{data.where(of)}. They {so}: keep one of each"
        )


def _contradicting(data: TaskData, doubled: Sequence[TextExample]) -> Iterator[str]:
    """Training rows whose source has another target in another row."""
    targets: dict[str, dict[str, TextExample]] = {}
    for example in doubled:
        targets.setdefault(example.source, {}).setdefault(example.target, example)
    several = {source: list(found.values()) for source, found in targets.items() if len(found) > 1}
    rows = sum(example.source in several for example in doubled)
    if rows > CONTRADICTING * len(data.train):
        one, other, *_ = next(iter(several.values()))
        yield (
            f"{_count(rows, len(data.train))} training rows have a source that stands with another target too, such as "
            f"{data.where(one)} ({shown(one.target)}) and {data.where(other)} ({shown(other.target)}). No answer can "
            "be right for both: correct the targets, or put into the source what tells the rows apart"
        )


def look_at_tokens(data: TaskData, parts: Parts, unknown: int | None) -> list[str]:
    """What there is to say about the rows as tokens.

    Args:
        data: says where a row is.
        parts: what is looked at; need not be all of the data.
        unknown: the id of the unknown piece; None for a tokenizer without one.
    """
    notes = [*_cut_answers(data, parts)]
    if unknown is not None:
        for side in ("sources", "targets"):
            notes += _unknown_pieces(data, parts, side, unknown)
    return [f"{data.task.name}: {note}" for note in notes]


def _cut_answers(data: TaskData, parts: Parts) -> Iterator[str]:
    task = data.task
    for name, (examples, tokens) in parts.items():
        lengths = tokens.targets.lengths
        empty = np.flatnonzero(lengths <= 1)  # nothing but the end of the sequence
        if name == "train" and len(empty):
            yield (
                f"{_count(len(empty), len(examples))} training targets hold no token, such as that of "
                f"{data.where(examples[empty[0]])}. Nothing is learned from them but to end at once: fill in the "
                "answer, or raise max_target_length if it was cut"
            )
        elif name != "train":
            long, count = _too_long(task, examples, tokens)
            if count > TOO_LONG * len(examples):
                yield (
                    f"{_count(count, len(examples))} {name} references are longer than the {task.generation_length} "
                    f"tokens that an answer may have, such as {shown(long.target)} in {data.where(long)}. No answer "
                    "can match them: raise generation_length (and max_target_length, to learn such answers)"
                )


def _too_long(task: Task, examples: Sequence[TextExample], tokens: TokenisedExamples) -> tuple[TextExample, int]:
    """An example whose target is longer than an answer can be, and how many there are.

    Targets are cut already. Where answers can be longer than that, nothing is known about the rest.
    """
    lengths = tokens.targets.lengths
    long = np.flatnonzero(lengths > task.generation_length)
    count = len(long)
    if task.generation_length == task.max_target_length and tokens.truncated_targets:
        long, count = np.flatnonzero(lengths == task.max_target_length), tokens.truncated_targets
    # Some of those that fill the limit were not cut; the one with the longest text was.
    return max((examples[i] for i in long.tolist()), key=lambda e: len(e.target), default=examples[0]), count


def _unknown_pieces(data: TaskData, parts: Parts, side: str, unknown: int) -> Iterator[str]:
    ragged: list[tuple[Sequence[TextExample], Ragged]] = [(e, getattr(t, side)) for e, t in parts.values()]
    places = [np.flatnonzero(each.values == unknown) for _, each in ragged]
    count, total = sum(map(len, places)), sum(len(each.values) for _, each in ragged)
    if count <= UNKNOWN * total:
        return
    examples, found = next((e, _rows_of(each, at)) for (e, each), at in zip(ragged, places, strict=True) if len(at))
    example = examples[int(found[0])]
    text = example.source if side == "sources" else example.target
    can = "read" if side == "sources" else "write"
    yield (
        f"{_count(count, total)} tokens of the {side} are unknown pieces, as in {shown(text)} ({data.where(example)}). "
        f"The model cannot {can} what stands there: take a model whose vocabulary has it, or write it in another way"
    )


def _rows_of(ragged: Ragged, places: Integer[np.ndarray, " k"]) -> Integer[np.ndarray, " k"]:
    """The sequences that some places of the values belong to."""
    return np.searchsorted(ragged.offsets, places, side="right") - 1
