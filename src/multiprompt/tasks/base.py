"""What a task is: where its rows come from, how they become text, and how text becomes an answer again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args, get_type_hints

from multiprompt.errors import ConfigError, DataError
from multiprompt.examples import TextExample
from multiprompt.metrics import METRICS, AnswerKind, Metric
from multiprompt.registry import Registry
from multiprompt.tasks.answers import AnswerRule
from multiprompt.tasks.text import FieldError, Row, SourceRule, Template
from multiprompt.text import is_unicode

PARQUET_BRANCH = "refs/convert/parquet"
"""The revision into which the hub converts every dataset by itself: CONFIG/SPLIT/0000.parquet and no card."""

_SAME_FOLDER = ("validation", "dev")


@dataclass(frozen=True)
class HubDataset:
    """A dataset on the Hugging Face hub.

    Attributes:
        path: ``owner/name``, or a local folder in the same form.
        config: the configuration, for a dataset that has several; or those whose rows are joined, in their order.
        revision: a commit, so that the rows cannot change under a result; or ``PARQUET_BRANCH``, for a dataset whose
            other revisions hold a loading script, which ``datasets`` 4 and newer do not run.
        splits: our name of a split -> its name on the hub, where the two differ.
    """

    path: str
    config: str | tuple[str, ...] | None = None
    revision: str | None = None
    splits: Mapping[str, str] = field(default_factory=dict)

    @property
    def configs(self) -> tuple[str | None, ...]:
        """The configurations whose rows are joined; ``(None,)`` for a dataset that has only one."""
        return self.config if isinstance(self.config, tuple) else (self.config,)

    def address(self, config: str | None) -> str:
        """One configuration in words: ``owner/name/config@revision``."""
        return f"{'/'.join(filter(None, (self.path, config)))}@{self.revision or 'main'}"

    def branch_files(self, config: str | None, split: str) -> tuple[str, ...]:
        """Patterns of the files of a split on the parquet branch, where a folder stands for a configuration.

        The branch has no card, so ``datasets`` would join the files of all configurations, and of all splits whose
        folders begin with the same word. The names of folders are those of a script's splits: "validation" or "dev".

        Args:
            config: ``None`` for a dataset that has only one, whatever its folder is called.
            split: the split's name on the hub.
        """
        folders = _SAME_FOLDER if split in _SAME_FOLDER else (split,)
        return tuple(f"{config or '*'}/{folder}/*.parquet" for folder in folders)


@dataclass(frozen=True)
class SplitRule:
    """How official splits become train, dev and test: test sets of GLUE and SuperGLUE have no labels.

    Attributes:
        name: the name of the rule, for the configuration and for messages.
        kind: ``halves``: the official ``test`` split here, shuffled, gives dev (first half) and test (rest);
            ``carve``: the official train split, shuffled, gives dev (first ``dev_rows``) and train (rest);
            ``train-only``: the train split, shuffled, gives dev (first ``dev_rows``), test (the next ``test_rows``)
            and train (rest);
            ``official``: three official splits; ``generated``: three splits made by the task itself.
        train: the official split that training rows come from.
        dev: the official split that dev rows come from, ``None`` where the rule makes them.
        test: the official split that test rows come from.
        dev_rows: number of dev rows that are taken out of train.
        test_rows: number of test rows that ``train-only`` takes.
        max_train: number of training rows kept after the carve, ``None`` for all.
        carve_without_dev: carve dev from train, and say so, when the ``dev`` split is not there.
    """

    name: str
    kind: Literal["halves", "carve", "train-only", "official", "generated"]
    train: str = "train"
    dev: str | None = None
    test: str = "validation"
    dev_rows: int = 1000
    test_rows: int = 1000
    max_train: int | None = None
    carve_without_dev: bool = False

    def __post_init__(self) -> None:
        kinds = get_args(get_type_hints(SplitRule)["kind"])
        if self.kind not in kinds:
            raise ConfigError(f"the split rule {self.name!r} has kind={self.kind!r}; expected one of {kinds}")
        if (self.dev is None) == (self.kind in ("official", "generated")):
            raise ConfigError(
                f"the split rule {self.name!r} has dev={self.dev!r}; expected an official split for kinds "
                "'official' and 'generated', and none for the others, which make dev themselves"
            )

    @property
    def splits(self) -> tuple[str, ...]:
        """The official splits that the rule reads."""
        return tuple(dict.fromkeys(filter(None, (self.train, self.dev, self.test))))

    def carved(self, n: int) -> tuple[int, int]:
        """Numbers of dev and test rows that are taken out of ``n``; a tenth for each where half of ``n`` is too few."""
        wanted = (self.dev_rows, self.test_rows if self.kind == "train-only" else 0)
        if n >= 2 * sum(wanted):
            return wanted
        tenth = max(1, n // 10)
        return tenth, tenth if self.kind == "train-only" else 0

    def sizes(self, rows: Mapping[str, int]) -> dict[str, int] | None:
        """Rows of train, dev and test, given the rows of the official splits; None where one of these is not known."""
        if not rows.keys() >= set(self.splits):
            return None
        train, test = rows[self.train], rows[self.test]
        match self.kind:
            case "halves":
                dev = test // 2
                test -= dev
            case "carve":
                dev, _ = self.carved(train)
                train -= dev
            case "train-only":
                dev, test = self.carved(train)
                train -= dev + test
            case _:
                dev = rows[self.dev or ""]
        return {"train": min(train, self.max_train or train), "dev": dev, "test": test}


SMALL = SplitRule("small", "halves")
LARGE = SplitRule("large", "carve")
OFFICIAL = SplitRule("official", "official", dev="validation", test="test")
MNLI_SPLITS = SplitRule(
    "mnli", "official", dev="validation_mismatched", test="validation_matched", carve_without_dev=True
)
LARGE_WITH_TEST = SplitRule("large-with-test", "carve", test="test")
YELP_SPLITS = SplitRule("yelp", "carve", test="test", max_train=100_000)
ANLI_SPLITS = SplitRule("anli", "carve", train="train_r3", test="dev_r3")
ARC_SPLITS = SplitRule("arc", "official", dev="validation", test="test", dev_rows=869, carve_without_dev=True)
TRAIN_ONLY = SplitRule("train-only", "train-only", test="train")
GENERATED = SplitRule("generated", "generated", dev="validation", test="test")

GENERATED_SIZES: Mapping[str, int] = {"train": 2000, "validation": 500, "test": 1000}
"""Rows of the splits of a generated task, unless others are asked for."""

SHARED_TEXTS = ("passage", "paragraph", "context", "premise")
"""Columns whose text several rows of a task may have: questions about one passage, hypotheses to one premise."""

SPLIT_RULES: Registry[SplitRule] = Registry("split rule")
"""Every split rule by name."""
for _rule in (
    SMALL,
    LARGE,
    LARGE_WITH_TEST,
    OFFICIAL,
    MNLI_SPLITS,
    YELP_SPLITS,
    ANLI_SPLITS,
    ARC_SPLITS,
    TRAIN_ONLY,
    GENERATED,
):
    SPLIT_RULES.add(_rule.name, _rule)


@dataclass(frozen=True)
class Task:
    """A task as one value.

    To leave the prefix out, or change a limit, make another value: ``dataclasses.replace(task, prefix="")``.

    Attributes:
        name: the registered name.
        family: "glue", "superglue", "mrqa", "mini", ...
        folder: where its files are inside a data folder, such as "glue/rte".
        subfolders: folders inside that one whose rows are joined in this order; empty for most tasks.
        files: official split -> file, for a task whose rows are in files of its own, not in a data folder.
        source: row -> source text, without the prefix.
        answer: the rule between a row's answer and its text.
        metrics: names of all metrics to compute.
        reported: the metric that the study reports, also used to choose a checkpoint.
        own_metrics: those of the metrics that are functions of the user's own, by name.
        split_rule: how the official splits become train, dev and test.
        prefix: put first in the source text, "" for none.
        hub: where it is on the hub, ``None`` when it is not there.
        official_rows: official split -> number of rows, to notice partial copies; empty when not known.
        official_examples: "train", "dev" or "test" -> number of examples made of all official rows, where that is not
            the number of rows.
        skip: whether a row is left out, such as a test row without an answer among others that have one.
        expand: makes several training rows of one, after the split; dev and test rows stay as they are.
        group: the rule that names the group of a row, for metrics that judge groups of rows; ``None`` when there are
            none. Only dev and test rows need its columns.
        gather: whether the dev and the test rows with equal source texts are one example with all their references,
            answered once; a repeated reference counts as often as it is there.
        subset: the part of the test set that a row belongs to, such as "seen", to be scored by itself too; "" for
            none.
        generator: makes the first ``n`` rows of a split of a generated task, the same whatever ``n`` is:
            ``generator(split, n, seed=..., label_coding=...)``.
        shortcut: a rule that makes something of a source text without a model, such as which words its parts share;
            what its outcomes mean is chosen on the training rows, and it stands beside the scores as a baseline.
        max_source_length: tokens of the source text that are kept (the prompt is not counted).
        max_target_length: tokens of the target that are kept, with the end-of-sequence token.
        generation_length: most new tokens to decode.
        beams: width of the beam search that answers are decoded with; 1 is greedy decoding.
        version: raised whenever the texts change; stored with every score.
    """

    name: str
    family: str
    folder: str
    source: SourceRule
    answer: AnswerRule
    metrics: tuple[str, ...]
    reported: str
    split_rule: SplitRule
    subfolders: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    hub: HubDataset | None = None
    official_rows: Mapping[str, int] = field(default_factory=dict)
    official_examples: Mapping[str, int] = field(default_factory=dict)
    skip: Callable[[Row], bool] | None = None
    expand: Callable[[Row], Sequence[Row]] | None = None
    group: SourceRule | None = None
    gather: bool = False
    subset: Callable[[Row], str] | None = None
    own_metrics: Mapping[str, Metric] = field(default_factory=dict)
    generator: Callable[..., list[dict[str, Any]]] | None = None
    shortcut: Callable[[str], Hashable] | None = None
    max_source_length: int = 256
    max_target_length: int = 8
    generation_length: int = 8
    beams: int = 1
    version: int = 1

    def __post_init__(self) -> None:
        for metric in self.metrics:
            if self.metric(metric).grouped and self.group is None:
                raise ConfigError(
                    f"task {self.name!r} computes {metric!r}, which judges groups of rows; expected a rule that names "
                    "the group of a row"
                )
        if self.reported not in self.metrics:
            raise ConfigError(
                f"task {self.name!r} reports {self.reported!r}; expected one of its metrics: {self.metrics}"
            )
        if not self.metric(self.reported).higher_is_better:
            # checkpoints are chosen by the reported metric, and tasks averaged over
            raise ConfigError(
                f"task {self.name!r} reports {self.reported!r}, of which less is better; expected a metric of which "
                "more is better (others can be among its metrics)"
            )
        if (self.generator is None) == (self.split_rule.kind == "generated"):
            raise ConfigError(f"task {self.name!r} needs a generator if, and only if, its split rule is 'generated'")

    def __repr__(self) -> str:
        answers = "/".join(self.labels) if self.labels else str(self.kind)
        return f"Task({self.name!r}, {self.family}, answers {answers}, reports {self.reported})"

    def metric(self, name: str) -> Metric:
        """A metric by the name that it has here.

        Raises:
            UnknownNameError: there is none of this name.
        """
        return self.own_metrics[name] if name in self.own_metrics else METRICS[name]

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders with its files inside a data folder."""
        return tuple(f"{self.folder}/{name}" for name in self.subfolders) or (self.folder,)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that every row must have."""
        return tuple(dict.fromkeys((*self.source.columns, *self.answer.columns)))

    def sizes(self) -> dict[str, int]:
        """Examples of train, dev and test where all official rows are there; empty where their number is not known."""
        rows = self.official_rows if self.generator is None else GENERATED_SIZES
        return {**(self.split_rule.sizes(rows) or {}), **self.official_examples}

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The label words, ``None`` for numbers and open answers."""
        return self.answer.words

    @property
    def kind(self) -> AnswerKind:
        """What its answers look like."""
        return self.answer.kind

    def target(self, row: Row) -> str:
        """The target text of a row."""
        return self.answer.to_text(self.answer.read(row))

    def references(self, row: Row) -> tuple[str, ...]:
        """The texts that a prediction for the row is compared with; the first is the target."""
        return self.answer.references(self.answer.read(row))

    def to_label(self, text: str) -> int | float | str | None:
        """The inverse of the target rule: what a decoded text says, ``None`` when it is no answer."""
        return self.answer.to_label(text)

    def is_valid(self, prediction: str) -> bool:
        """Whether a decoded text is an answer of this task, right or wrong."""
        return self.to_label(prediction) is not None

    def canonical(self, row: Row) -> dict[str, Any]:
        """The part of a checked row that matters, equal for equal data in whatever kind of file it came."""
        return {column: row[column] for column in self.source.columns} | {"answer": self.answer.read(row)}

    def has_empty_text(self, row: Row) -> bool:
        """Whether a column of the source text is empty or blank, which is allowed but worth counting."""
        texts = (row[column] for column in self.source.columns)
        return any(isinstance(text, str) and not text.strip() for text in texts)

    def example(self, row: Row, row_id: str, *, where: str, scored: bool = False) -> TextExample:
        """The text-to-text example of a row.

        Args:
            row: column -> value; other columns than the task's do not matter.
            row_id: ``"<official split>:<row number from 0>"``; the folder comes first where a task has several.
            where: the file and line of the row, for errors.
            scored: answers to the row are scored, so it must have a group where the task has such a rule.

        Raises:
            DataError: a column is missing, a text column holds no text, or the answer is not one of this
                task.
        """
        group_rule = self.group if scored else None
        self._check_columns(row, (*self.columns, *(group_rule.columns if group_rule else ())), where)
        try:
            source = self._prefixed(self.source(row))
            references = self.references(row)
            group = group_rule(row) if group_rule else None
        except FieldError as error:
            raise DataError(f"{where}: {error} (task {self.name!r})") from None
        self._check_characters((source, *references, group or ""), row, self.columns, where)
        subset = self.subset(row) if self.subset else ""
        return TextExample(
            source, references[0], references, row_id, group, subset, self.cluster(row) if scored else None
        )

    def cluster(self, row: Row) -> str | None:
        """Digest of the text that other rows may share (``SHARED_TEXTS``); ``None`` where the row has none."""
        column = next((column for column in SHARED_TEXTS if column in self.source.columns), None)
        text = row[column].strip() if column and isinstance(row[column], str) else ""
        return hashlib.sha256(text.encode()).hexdigest()[:12] if text else None

    def source_text(self, row: Row, *, where: str) -> str:
        """The source text of a row, prefix included. The row needs no answer.

        Args:
            row: column -> value; other columns than those of the source do not matter.
            where: the place of the row, for errors.

        Raises:
            DataError: a column is missing, or holds something that the rule cannot use.
        """
        self._check_columns(row, self.source.columns, where)
        try:
            source = self._prefixed(self.source(row))
        except FieldError as error:
            raise DataError(f"{where}: {error} (task {self.name!r})") from None
        self._check_characters((source,), row, self.source.columns, where)
        return source

    @property
    def opening(self) -> str:
        """What every source text begins with: the prefix, and the template up to its first column; "" for nothing."""
        return self._prefixed(self.source.opening if isinstance(self.source, Template) else "").strip()

    def _prefixed(self, source: str) -> str:
        return f"{self.prefix} {source}" if self.prefix else source

    def _check_characters(self, texts: Sequence[str], row: Row, columns: Sequence[str], where: str) -> None:
        if all(map(is_unicode, texts)):
            return
        written = {name: json.dumps(row[name], ensure_ascii=False, default=str) for name in columns}
        column = next((name for name, text in written.items() if not is_unicode(text)), columns[0])
        error = FieldError(column, row[column], "whole characters: this holds half of one")
        raise DataError(f"{where}: {error} (task {self.name!r})")

    def _check_columns(self, row: Row, columns: Sequence[str], where: str) -> None:
        missing = [column for column in columns if column not in row]
        if missing:
            some = "column {} is" if len(missing) == 1 else "columns {} are"
            raise DataError(
                f"{where}: {some.format(', '.join(map(repr, missing)))} missing; task {self.name!r} needs "
                f"{', '.join(columns)}; the row has {', '.join(map(str, row)) or 'no columns'}"
            )


TASKS: Registry[Task] = Registry("task")
"""Every task by name."""


def register(task: Task) -> Task:
    """Add a task to ``TASKS`` under its name and return it."""
    return TASKS.add(task.name, task)
