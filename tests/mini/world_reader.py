"""An independent reader of the little world: it turns sentences back into facts and judges claims from them.

It shares the templates with the generator, nothing else: the label of a row is derived here from its texts
alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from multiprompt.mini.world import NAMES, RELATIONS, VERBS


class Reading(NamedTuple):
    """What a sentence or question says: kind (fact, denial, check, question or deed) and its parts."""

    kind: str
    subject: str
    relation: str
    value: str


def _pattern(template: str, values: tuple[str, ...]) -> re.Pattern[str]:
    text = re.escape(template).replace(r"\{s\}", f"(?P<s>{'|'.join([*NAMES, '@placeholder'])})")
    text = text.replace(r"\{v\}", f"(?P<v>{'|'.join([*values, '@placeholder'])})")
    return re.compile(re.sub(r"\\? a\\ (?=\(\?P<v>)", r"\\ an?\\ ", text).replace(r"^a\ ", r"an?\ "))


def _all_patterns() -> list[tuple[re.Pattern[str], str, str]]:
    found = []
    for relation in RELATIONS:
        for kind, templates in (
            ("fact", relation.statements),
            ("denial", relation.denials),
            ("check", relation.checks),
            ("question", relation.questions),
        ):
            found += [(_pattern(template, relation.values), kind, relation.name) for template in templates]
    return found


_PATTERNS = _all_patterns()


def _deeds() -> dict[str, str]:
    found = {}
    for verb in VERBS:
        for form in (*verb.statements("{a}", "{p}"), *verb.checks("{a}", "{p}")):
            found[form] = verb.base
    return found


_DEED_PATTERNS = [
    (
        re.compile(re.escape(form).replace(r"\{a\}", r"(?P<a>\w+)").replace(r"\{p\}", r"(?P<p>\w+)")),
        base,
    )
    for form, base in _deeds().items()
]


def read(sentence: str) -> Reading:
    """Return the one thing a sentence can mean; fails if it has no reading, or two."""
    bare = sentence.strip().rstrip(".?").strip()
    readings = set()
    for pattern, kind, relation in _PATTERNS:
        match = pattern.fullmatch(bare.replace(" an ", " a ").removeprefix("an "))
        if match:
            groups = match.groupdict()
            readings.add(Reading(kind, groups["s"], relation, groups.get("v") or ""))
    for pattern, base in _DEED_PATTERNS:
        match = pattern.fullmatch(bare)
        if match and match["a"] in NAMES and match["p"] in NAMES:
            kind = "deed?" if sentence.endswith("?") else "deed"
            readings.add(Reading(kind, match["a"], base, match["p"]))
    assert len(readings) == 1, f"{sentence!r} has the readings {readings}"
    return readings.pop()


def read_text(text: str) -> dict[tuple[str, str], str]:
    """Return the facts of a passage as {(subject, relation): value}."""
    facts: dict[tuple[str, str], str] = {}
    for sentence in re.findall(r"[^.]+\.", text):
        reading = read(sentence)
        assert reading.kind == "fact", sentence
        assert (reading.subject, reading.relation) not in facts, f"stated twice: {text!r}"
        facts[reading.subject, reading.relation] = reading.value
    return facts


def verdict(premise: str, hypothesis: str) -> str:
    """Judge a claim: a person has one value for each relation, so another value contradicts."""
    facts, claim = read_text(premise), read(hypothesis)
    stated = facts.get((claim.subject, claim.relation))
    if stated is None:
        return "neutral"
    holds = (stated == claim.value) == (claim.kind == "fact")
    return "entailment" if holds else "contradiction"
