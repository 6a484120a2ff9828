"""The embedded benchmark: source tasks and target tasks, generated from the little world.

Rows have the columns of the public data set after which a task is named, plus ``idx``. The target tasks are
built from relations, verbs and opinion words that no source task and no supervised sentence-pair skill of
pretraining uses. A row belongs to the split that a hash of its texts says, so splits cannot overlap, whatever
the seeds.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from multiprompt.errors import ConfigError, DataError, unknown_name
from multiprompt.mini.makers import (
    CROWDED_TEXTS,
    LONGER_TEXTS,
    SHORT_TEXTS,
    VERDICTS,
    Question,
    make_answer,
    make_answerable,
    make_claim,
    make_gap,
    make_opinion,
    make_pronoun,
    make_question,
    make_question_pair,
    make_retold,
    make_review,
    make_role_pair,
    make_statement_pair,
    make_told,
    make_topic,
    make_yes_no,
)
from multiprompt.mini.world import (
    ALL_OPINIONS,
    HELD_OUT_RELATIONS,
    HELD_OUT_VERBS,
    SEEN_OPINIONS,
    SEEN_RELATIONS,
    SEEN_VERBS,
)

Row = dict[str, Any]
LabelCoding = Literal["glue", "consistent"]

SPLITS: tuple[str, ...] = ("train", "validation", "test")
LABEL_CODINGS: tuple[str, ...] = ("glue", "consistent")

# Give up on a label after so many candidates in a row that are taken or belong to another split.
_PATIENCE = 20_000


@dataclass(frozen=True)
class BenchmarkTask:
    """One generated task.

    Attributes:
        name: name of the public data set whose columns and question it imitates.
        labels: names of the labels; empty if the answer is a text.
        glue_codes: integer of each label in the public data set.
        consistent_codes: integer of each label if a larger number always means "holds".
        make: writes the columns of a row for a label (``""`` if there are no labels), without ``label``,
            ``idx``.
        identity: columns whose texts decide which split a row belongs to and which rows count as equal.
    """

    name: str
    labels: tuple[str, ...]
    glue_codes: tuple[int, ...]
    consistent_codes: tuple[int, ...]
    make: Callable[[random.Random, str], Row]
    identity: tuple[str, ...]

    def codes(self, label_coding: str) -> dict[str, int]:
        """Return the integer of each label."""
        codes = self.glue_codes if label_coding == "glue" else self.consistent_codes
        return dict(zip(self.labels, codes, strict=True))

    def key(self, row: Row) -> str:
        """Return what identifies a row; the order of a pair does not matter, so mirrored pairs are equal."""
        return "\n".join([self.name, *sorted(str(row[column]) for column in self.identity)])


def _mnli(rng: random.Random, label: str) -> Row:
    claim = make_claim(rng, SEEN_RELATIONS, label)
    return {"premise": claim.premise, "hypothesis": claim.hypothesis}


def _qnli(rng: random.Random, label: str) -> Row:
    item = make_answerable(rng, SEEN_RELATIONS, label == "entailment")
    return {"question": item.question, "sentence": item.context}


def _qqp(rng: random.Random, label: str) -> Row:
    # Few questions for a value: only some hundred pairs of these mean the same, and running out of them would
    # leave a trace of the label in the first question.
    pair = make_question_pair(rng, SEEN_RELATIONS, SEEN_VERBS, label == "duplicate", open_rate=0.05)
    return {"question1": pair.first, "question2": pair.second}


def _sst2(rng: random.Random, label: str) -> Row:
    return {"sentence": make_opinion(rng, SEEN_OPINIONS, label == "positive")}


def _squad(rng: random.Random, label: str) -> Row:
    return _extracted(make_question(rng, SEEN_RELATIONS))


def _record(rng: random.Random, label: str) -> Row:
    gap = make_gap(rng, SEEN_RELATIONS)
    return {
        "passage": gap.passage,
        "query": gap.query,
        "entities": list(gap.entities),
        "answers": [gap.answer],
    }


def _rte(rng: random.Random, label: str) -> Row:
    verdict = "entailment" if label == "entailment" else rng.choice(VERDICTS[1:])
    claim = make_claim(rng, HELD_OUT_RELATIONS, verdict)
    return {"sentence1": claim.premise, "sentence2": claim.hypothesis}


def _cb(rng: random.Random, label: str) -> Row:
    claim = make_claim(rng, HELD_OUT_RELATIONS, label)
    return {"premise": claim.premise, "hypothesis": claim.hypothesis}


def _scitail(rng: random.Random, label: str) -> Row:
    verdict = "entailment" if label == "entails" else "neutral"
    claim = make_claim(rng, HELD_OUT_RELATIONS, verdict, texts=LONGER_TEXTS, denial_rate=0.0)
    return {"premise": claim.premise, "hypothesis": claim.hypothesis}


def _boolq(rng: random.Random, label: str) -> Row:
    item = make_yes_no(rng, HELD_OUT_RELATIONS, label == "true")
    return {"question": item.question, "passage": item.context}


def _mrpc(rng: random.Random, label: str) -> Row:
    pair = make_statement_pair(rng, HELD_OUT_RELATIONS, HELD_OUT_VERBS, label == "equivalent")
    return {"sentence1": pair.first, "sentence2": pair.second}


def _paws(rng: random.Random, label: str) -> Row:
    pair = make_role_pair(rng, HELD_OUT_VERBS, label == "paraphrase")
    return {"sentence1": pair.first, "sentence2": pair.second}


def _yelp(rng: random.Random, label: str) -> Row:
    return {"text": make_review(rng, ALL_OPINIONS, label == "positive")}


def _wsc(rng: random.Random, label: str) -> Row:
    item = make_pronoun(rng, HELD_OUT_VERBS)
    name = item.referent if label == "true" else item.other
    words = item.text.split()
    return {
        "text": item.text,
        "span1_index": words.index(name),
        "span2_index": words.index(item.pronoun),
        "span1_text": name,
        "span2_text": item.pronoun,
    }


def _extracted(item: Question) -> Row:
    """A question with its text, and the answer at its place."""
    start = f" {item.context}".replace(".", " ").index(f" {item.answer} ")
    answers = {"text": [item.answer], "answer_start": [start]}
    return {"question": item.question, "context": item.context, "answers": answers}


def _natural_questions(rng: random.Random, label: str) -> Row:
    return _extracted(make_question(rng, HELD_OUT_RELATIONS, SHORT_TEXTS))


def _newsqa(rng: random.Random, label: str) -> Row:
    return _extracted(make_question(rng, HELD_OUT_RELATIONS, CROWDED_TEXTS))


def _multirc(rng: random.Random, label: str) -> Row:
    item = make_answer(rng, HELD_OUT_RELATIONS, label == "true")
    return {"paragraph": item.context, "question": item.question, "answer": item.answer}


def _winogrande(rng: random.Random, label: str) -> Row:
    item = make_pronoun(rng, HELD_OUT_VERBS)
    first, second = rng.sample((item.referent, item.other), 2)
    return {"sentence": item.text, "option1": first, "option2": second, "answer": item.referent}


def _e2e(rng: random.Random, label: str) -> Row:
    told = make_told(rng, HELD_OUT_RELATIONS)
    return {"meaning_representation": told.facts, "human_reference": list(told.texts)}


def _anli(rng: random.Random, label: str) -> Row:
    claim = make_claim(rng, SEEN_RELATIONS, label, CROWDED_TEXTS, denial_rate=0.3)
    return {"premise": claim.premise, "hypothesis": claim.hypothesis}


def _ag_news(rng: random.Random, label: str) -> Row:
    return {"text": make_topic(rng, SEEN_RELATIONS, label)}


def _commonsense_qa(rng: random.Random, label: str) -> Row:
    item = make_question(rng, SEEN_RELATIONS, SHORT_TEXTS)
    row = {"question": item.question, "context": item.context, "answer": item.answer}
    return row | _choices(rng, item.answer, item.wrong, rng.randrange(3))


def _openbookqa(rng: random.Random, label: str) -> Row:
    gap = make_gap(rng, SEEN_RELATIONS)
    wrong = [entity for entity in gap.entities if entity != gap.answer]
    row = {"passage": gap.passage, "query": gap.query, "answer": gap.answer}
    return row | _choices(rng, gap.answer, wrong, rng.randrange(3))


def _arc(rng: random.Random, label: str) -> Row:
    item = make_retold(rng, SEEN_RELATIONS)
    return {"sentence": item.sentence} | _choices(rng, item.same, item.others, _PLACES.index(label))


def _choices(rng: random.Random, right: str, wrong: Sequence[str], place: int) -> Row:
    """Three choices, the right one at a place."""
    choices = rng.sample(list(wrong), 2)
    choices.insert(place, right)
    return {f"choice{number}": choice for number, choice in enumerate(choices)}


_PLACES = ("first", "second", "third")
_TOPICS = ("food", "job", "music", "town")
_ENTAILED_OR_NOT = ("entailment", "not_entailment")
_ALL_TASKS: tuple[BenchmarkTask, ...] = (
    BenchmarkTask("mnli", VERDICTS, (0, 1, 2), (2, 1, 0), _mnli, ("premise", "hypothesis")),
    BenchmarkTask("qnli", _ENTAILED_OR_NOT, (0, 1), (1, 0), _qnli, ("question", "sentence")),
    BenchmarkTask("qqp", ("not_duplicate", "duplicate"), (0, 1), (0, 1), _qqp, ("question1", "question2")),
    BenchmarkTask("sst2", ("negative", "positive"), (0, 1), (0, 1), _sst2, ("sentence",)),
    BenchmarkTask("squad", (), (), (), _squad, ("question", "context")),
    BenchmarkTask("record", (), (), (), _record, ("query", "passage")),
    BenchmarkTask("rte", _ENTAILED_OR_NOT, (0, 1), (1, 0), _rte, ("sentence1", "sentence2")),
    BenchmarkTask("boolq", ("false", "true"), (0, 1), (0, 1), _boolq, ("question", "passage")),
    BenchmarkTask("mrpc", ("not_equivalent", "equivalent"), (0, 1), (0, 1), _mrpc, ("sentence1", "sentence2")),
    BenchmarkTask("yelp", ("negative", "positive"), (0, 1), (0, 1), _yelp, ("text",)),
    BenchmarkTask("wsc", ("false", "true"), (0, 1), (0, 1), _wsc, ("text", "span1_text")),
    BenchmarkTask("scitail", ("entails", "neutral"), (0, 1), (1, 0), _scitail, ("premise", "hypothesis")),
    BenchmarkTask(
        "cb", ("entailment", "contradiction", "neutral"), (0, 1, 2), (2, 0, 1), _cb, ("premise", "hypothesis")
    ),
    BenchmarkTask("paws", ("different", "paraphrase"), (0, 1), (0, 1), _paws, ("sentence1", "sentence2")),
    BenchmarkTask("multirc", ("false", "true"), (0, 1), (0, 1), _multirc, ("paragraph", "question", "answer")),
    BenchmarkTask("winogrande", (), (), (), _winogrande, ("sentence",)),
    BenchmarkTask("naturalquestions", (), (), (), _natural_questions, ("question", "context")),
    BenchmarkTask("newsqa", (), (), (), _newsqa, ("question", "context")),
    BenchmarkTask("e2e", (), (), (), _e2e, ("meaning_representation",)),
    BenchmarkTask("anli", VERDICTS, (0, 1, 2), (2, 1, 0), _anli, ("premise", "hypothesis")),
    BenchmarkTask("ag_news", _TOPICS, (0, 1, 2, 3), (0, 1, 2, 3), _ag_news, ("text",)),
    BenchmarkTask("commonsense_qa", (), (), (), _commonsense_qa, ("question", "context")),
    BenchmarkTask("openbookqa", (), (), (), _openbookqa, ("query", "passage")),
    BenchmarkTask("arc", _PLACES, (0, 1, 2), (0, 1, 2), _arc, ("sentence",)),
)

TASKS: dict[str, BenchmarkTask] = {task.name: task for task in _ALL_TASKS}
SOURCE_TASKS: tuple[str, ...] = ("mnli", "qnli", "qqp", "sst2", "squad", "record")
MORE_SOURCE_TASKS: tuple[str, ...] = ("anli", "ag_news", "commonsense_qa", "openbookqa", "arc")
"""Beside these winogrande is the sixth, which is a target task too, as in the study (Table 7)."""
TARGET_TASKS: tuple[str, ...] = tuple(name for name in TASKS if name not in SOURCE_TASKS + MORE_SOURCE_TASKS)


def split_of(task: str, row: Row) -> str:
    """Return the split a row belongs to: a tenth each for test and validation, the rest for training."""
    digest = hashlib.sha256(TASKS[task].key(row).encode("utf-8")).digest()
    bucket = int.from_bytes(digest[:8], "big") % 10
    return "test" if bucket == 0 else "validation" if bucket == 1 else "train"


def generate(task: str, split: str, n: int, seed: int = 0, label_coding: LabelCoding | str = "glue") -> list[Row]:
    """Generate the first ``n`` rows of a task's split.

    The rows depend on the arguments alone, on every platform and Python version; fewer rows are a prefix of
    more. Labels are balanced as evenly as ``n`` allows, and no two rows have the same texts.

    Args:
        task: one of ``TASKS``.
        split: ``train``, ``validation`` or ``test``; these never share a row, whatever the seeds.
        n: number of rows.
        seed: another seed draws other rows of the same split.
        label_coding: ``glue`` for the integers of the public data sets; ``consistent`` if a larger integer
            shall mean "holds" in every task (the texts and their order are the same).

    Returns:
        Rows with the columns of the public data set and ``idx``, the position.

    Raises:
        UnknownNameError: if there is no such task.
        ConfigError: if split, number or label coding make no sense.
        DataError: if the split has fewer distinct rows.
    """
    if task not in TASKS:
        raise unknown_name("benchmark task", task, TASKS)
    if split not in SPLITS:
        raise ConfigError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
    if label_coding not in LABEL_CODINGS:
        raise ConfigError(f"label_coding is {label_coding!r}; expected one of {', '.join(LABEL_CODINGS)}")
    if n < 0:
        raise ConfigError(f"n is {n}; expected 0 or more rows")
    definition = TASKS[task]
    codes = definition.codes(label_coding)
    rng = random.Random(f"multiprompt-mini-1/{task}/{split}/{seed}")
    rows: list[Row] = []
    seen: set[str] = set()
    block: list[str] = []
    while len(rows) < n:
        if not block:
            block = _shuffled(rng, definition.labels or ("",))
        label = block.pop()
        row = _fresh_row(rng, definition, split, label, seen)
        if row is None:
            raise DataError(
                f"benchmark task {task!r} has {len(rows)} distinct rows with balanced labels in split "
                f"{split!r} (seed {seed}); {n} were asked for: ask for fewer"
            )
        if definition.labels:
            row["label"] = codes[label]
        row["idx"] = len(rows)
        rows.append(row)
    return rows


def _shuffled(rng: random.Random, labels: Sequence[str]) -> list[str]:
    return rng.sample(labels, len(labels))


def _fresh_row(rng: random.Random, definition: BenchmarkTask, split: str, label: str, seen: set[str]) -> Row | None:
    """Draw rows until one belongs to the split and is new; None if that takes too long."""
    for _ in range(_PATIENCE):
        row = definition.make(rng, label)
        key = definition.key(row)
        if key not in seen and split_of(definition.name, row) == split:
            seen.add(key)
            return row
    return None
