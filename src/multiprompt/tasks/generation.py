"""Text from data: the E2E challenge (restaurants) and the WebNLG challenge of 2017 (facts of DBpedia)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multiprompt.tasks.answers import TextAnswer
from multiprompt.tasks.base import OFFICIAL, PARQUET_BRANCH, HubDataset, Task, register
from multiprompt.tasks.text import FieldError, Row

BEAMS = 5

_ATTRIBUTE = re.compile(r"([^\[\],]+)\[([^\[\]]*)\]")
_NAMES = {"eatType": "Type", "priceRange": "price", "familyFriendly": "family friendly"}


def read_meaning(text: str) -> list[tuple[str, str]]:
    """Attributes and values of a meaning representation.

    >>> read_meaning("name[The Mill], eatType[pub]")
    [('name', 'The Mill'), ('eatType', 'pub')]

    Raises:
        ValueError: the text has another form; the message says from which character on.
    """
    attributes = []
    position = 0
    while True:
        match = _ATTRIBUTE.match(text, position)
        if match is None or not match[1].strip():
            raise ValueError(f"from character {position + 1} on there is no attribute[value]")
        attributes.append((match[1].strip(), match[2].strip()))
        position = match.end()
        if position == len(text):
            return attributes
        if not text.startswith(",", position):
            raise ValueError(f"character {position + 1} is no comma")
        position += 1


@dataclass(frozen=True)
class MeaningSource:
    """``name : The Mill | Type : pub``: the attributes of a meaning representation in their order.

    Three attributes get names of ordinary words, as in Prefix-Tuning (Li and Liang, 2021).

    Attributes:
        column: the column that holds ``name[The Mill], eatType[pub]``.
    """

    column: str = "meaning_representation"

    structured = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def __call__(self, row: Row) -> str:
        """The attributes and their values.

        Raises:
            FieldError: the column holds no meaning representation.
        """
        value = row[self.column]
        expected = "attributes with values, such as name[The Mill], eatType[pub]"
        if not isinstance(value, str):
            raise FieldError(self.column, value, expected)
        try:
            attributes = read_meaning(value)
        except ValueError as error:
            raise FieldError(self.column, value, f"{expected}; {error}") from None
        return " | ".join(f"{_NAMES.get(name, name)} : {each}" for name, each in attributes)


E2E = register(
    Task(
        name="e2e",
        family="generation",
        folder="nlg/e2e_nlg",
        source=MeaningSource(),
        answer=TextAnswer("human_reference"),
        metrics=("bleu_e2e", "nist", "meteor_e2e", "rouge_l", "cider"),
        reported="bleu_e2e",
        split_rule=OFFICIAL,
        prefix="e2e",
        hub=HubDataset("tuetschek/e2e_nlg", revision=PARQUET_BRANCH),
        official_rows={"train": 42_061, "validation": 4_672, "test": 4_693},
        official_examples={"dev": 547, "test": 630},
        gather=True,
        max_target_length=128,
        generation_length=128,
        beams=BEAMS,
    )
)


@dataclass(frozen=True)
class TripleSource:
    """``| subject : property : object | ..``: the triples of a row in their order, spelled as they are.

    The column has the form of the dataset on the hub, ``{"mtriple_set": [["subject | property | object", ..]]}``, or
    the same as a list of objects.

    Attributes:
        column: the column that holds the triples.
    """

    column: str = "modified_triple_sets"

    @property
    def columns(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    @property
    def structured(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def __call__(self, row: Row) -> str:
        """The triples.

        Raises:
            FieldError: the column holds no triples.
        """
        value = row[self.column]
        triples = _first_set(value)
        parts = [triple.split(" | ", 2) if isinstance(triple, str) else [] for triple in triples]
        if not parts or any(len(part) != 3 or not all(map(str.strip, part)) for part in parts):
            raise FieldError(self.column, value, '{"mtriple_set": [["subject | property | object", ...]]}')
        return " ".join("| " + " : ".join(map(str.strip, part)) for part in parts)


def _first_set(value: Any) -> Sequence[Any]:
    """The triples of a row: it has one set of the modified ones."""
    sets: Any = ()
    if isinstance(value, Mapping):
        sets = value.get("mtriple_set")
    elif isinstance(value, list | tuple):  # a list of objects instead of an object of lists
        sets = [each.get("mtriple_set") for each in value if isinstance(each, Mapping)]
    triples = sets[0] if isinstance(sets, list | tuple) and sets else ()
    return triples if isinstance(triples, list | tuple) else ()


def one_row_per_text(row: Row) -> Sequence[Row]:
    """Every text of a row as the only one, and so as the target."""
    return [{**row, "lex": text} for text in TextAnswer("lex").read(row)]


def is_a_copy(row: Row) -> bool:
    """Whether a test row has no texts, or is a second copy.

    The challenge gave out its test rows without texts, then all of them with texts, then those of unseen categories
    once more; the dataset on the hub holds all three.
    """
    if row.get("test_category") == "testdata_unseen_with_lex":
        return True
    lex = row.get("lex")
    texts = lex.get("text") if isinstance(lex, Mapping) else lex
    return isinstance(texts, list | tuple) and not texts


SEEN_CATEGORIES = frozenset(
    {
        "Airport",
        "Astronaut",
        "Building",
        "City",
        "ComicsCharacter",
        "Food",
        "Monument",
        "SportsTeam",
        "University",
        "WrittenWork",
    }
)
"""Categories of WebNLG's training rows; the other five of the test rows are unseen."""


def seen_or_unseen(row: Row) -> str:
    """Whether the category of a row occurs in training; "" where a row does not name its category."""
    if "category" not in row:
        return ""
    return "seen" if row["category"] in SEEN_CATEGORIES else "unseen"


WEBNLG = register(
    Task(
        name="webnlg",
        family="generation",
        folder="nlg/webnlg",
        source=TripleSource(),
        answer=TextAnswer("lex"),
        metrics=("bleu_webnlg", "meteor", "ter"),
        reported="bleu_webnlg",
        split_rule=OFFICIAL,
        prefix="webnlg",
        hub=HubDataset("webnlg-challenge/web_nlg", "webnlg_challenge_2017", PARQUET_BRANCH),
        # its test split has 4,615 rows on the hub: see is_a_copy
        official_rows={"train": 6_940, "validation": 872},
        official_examples={"train": 18_102, "dev": 872, "test": 1_862},
        expand=one_row_per_text,
        skip=is_a_copy,
        gather=True,
        subset=seen_or_unseen,
        max_target_length=128,
        generation_length=128,
        beams=BEAMS,
    )
)
