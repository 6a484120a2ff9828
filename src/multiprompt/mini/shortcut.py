"""A rule that answers tasks on several texts without reading them: which names and values do the texts share?

Texts of the little world differ in few words, so much of what a task asks can be told from the words that they have
in common. What a method has learned beyond that is what it has above this rule.
"""

from __future__ import annotations

import re

from multiprompt.mini.world import HELD_OUT_RELATIONS, NAMES, SEEN_RELATIONS

_FIELD = re.compile(r"\b\w+: ")
_WORD = re.compile(r"\w+")
_NAMES = frozenset(NAMES)
_VALUES = frozenset(value for relation in (*SEEN_RELATIONS, *HELD_OUT_RELATIONS) for value in relation.values)
_NEGATIONS = frozenset(("not", "no"))

Outcome = tuple[tuple[str, str, bool], ...]
"""For every text but the last: what of the names and of the values it shares with the last one, and whether just one
of the two denies something."""


def shared_words(source: str) -> Outcome:
    """What the texts of a source share with the last of them.

    Of two texts the one with fewer different words is looked for in the other: "all", "some" or "none" of its names
    are there, "-" where one of the two has no name; so for the values. The order of the words, verbs and all other
    words do not count.

    Args:
        source: texts, each after its field: ``"premise: tom owns a lamp. hypothesis: the lamp belongs to tom."``
    """
    *others, last = (frozenset(_WORD.findall(text)) for text in _FIELD.split(source)[1:] or [source])
    outcome = []
    for words in others:
        few, many = sorted((words, last), key=len)
        denied = bool(few & _NEGATIONS) != bool(many & _NEGATIONS)
        outcome.append((_share(few & _NAMES, many & _NAMES), _share(few & _VALUES, many & _VALUES), denied))
    return tuple(outcome)


def _share(few: frozenset[str], many: frozenset[str]) -> str:
    if not few or not many:
        return "-"
    return "all" if few <= many else "some" if few & many else "none"
