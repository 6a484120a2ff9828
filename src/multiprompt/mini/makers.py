"""Labelled items of the little world: claims, questions, pairs of sentences, reviews, gaps and pronouns.

Every maker takes the generator, the relations or verbs it may use and, where there is a choice, the answer it
shall have. The benchmark and the pretraining skills are built from these makers and differ in what they pass.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from multiprompt.mini.world import (
    CONNECTIVES,
    FEMALE_NAMES,
    GAP,
    MALE_NAMES,
    NAMES,
    STATES,
    Fact,
    Opinions,
    Relation,
    Verb,
    ask,
    check,
    deny,
    opinion_sentence,
    other_value,
    passage,
    sample_facts,
    state,
    unstated_fact,
)

VERDICTS: tuple[str, str, str] = ("entailment", "neutral", "contradiction")

# Chance that a claim is worded as a denial.
DENIAL_RATE = 0.1


@dataclass(frozen=True)
class Texts:
    """What the facts of a text are like.

    Attributes:
        sizes: smallest and largest number of facts.
        twin_rate: chance that the second fact differs from the first by person and value alone, so that only
            the person's name tells which value belongs to a question or a claim.
        person_rate: share of open claims and questions that differ from the text in the person, not in the
            relation.
    """

    sizes: tuple[int, int] = (1, 2)
    twin_rate: float = 0.15
    person_rate: float = 0.5

    def draw(self, rng: random.Random, relations: Sequence[Relation]) -> list[Fact]:
        """Draw the facts of one text."""
        return sample_facts(rng, relations, rng.randint(*self.sizes), self.twin_rate)


SHORT_TEXTS = Texts()
LONGER_TEXTS = Texts(sizes=(2, 3))
CROWDED_TEXTS = Texts(sizes=(3, 3), twin_rate=0.5)


class Claim(NamedTuple):
    """A text, a claim about it, whether it follows, and the word of the text that settles it."""

    premise: str
    hypothesis: str
    verdict: str
    evidence: str


class Question(NamedTuple):
    """A text and a question about it; ``answer`` is a word of the text, or ``yes``/``no``.

    ``wrong`` are other values of the same kind, those of the text first.
    """

    context: str
    question: str
    answer: str
    wrong: tuple[str, ...] = ()


class Pair(NamedTuple):
    """Two sentences, and whether they mean the same."""

    first: str
    second: str
    same: bool


class Retold(NamedTuple):
    """A sentence, another one that says the same, and some that do not."""

    sentence: str
    same: str
    others: tuple[str, ...]


class Told(NamedTuple):
    """Facts as plain data, and all texts that tell them."""

    facts: str
    texts: tuple[str, ...]


class Gap(NamedTuple):
    """A text, a sentence with a gap, the word that fills it, and the names and values to choose from."""

    passage: str
    query: str
    answer: str
    entities: tuple[str, ...]


class Pronoun(NamedTuple):
    """A sentence with a pronoun, the person it stands for, and the other person."""

    text: str
    pronoun: str
    referent: str
    other: str
    state: str


def judge_fact(
    rng: random.Random,
    facts: Sequence[Fact],
    templates: Sequence[str],
    relations: Sequence[Relation],
    verdict: str,
    denial_rate: float = DENIAL_RATE,
    person_rate: float = 0.5,
) -> tuple[str, str]:
    """Write a claim with the wanted verdict on already told facts; returns it and its evidence.

    Args:
        rng: source of randomness.
        facts: what the text says.
        templates: the template each fact was told with; a claim that follows has other words.
        relations: relations a neutral claim may be about.
        verdict: one of ``VERDICTS``.
        denial_rate: chance of a negative wording.
        person_rate: see ``Texts``.
    """
    index = rng.randrange(len(facts))
    fact, denied = facts[index], rng.random() < denial_rate
    if verdict == "neutral":
        open_fact = unstated_fact(rng, facts, relations, person_rate)
        return (deny(rng, open_fact) if denied else state(rng, open_fact)[0]), "nothing"
    wrong = fact._replace(value=_tempting_value(rng, fact, facts))
    if verdict == "entailment":
        hypothesis = deny(rng, wrong) if denied else state(rng, fact, avoid=templates[index])[0]
    else:
        hypothesis = deny(rng, fact) if denied else state(rng, wrong)[0]
    return hypothesis, fact.value


def _tempting_value(rng: random.Random, fact: Fact, facts: Sequence[Fact]) -> str:
    """Draw a wrong value for a fact, by preference one that the text gives to somebody else."""
    others = [other.value for other in facts if other.relation is fact.relation and other.value != fact.value]
    if others and rng.random() < 0.5:
        return rng.choice(others)
    return other_value(rng, fact)


def make_claim(
    rng: random.Random,
    relations: Sequence[Relation],
    verdict: str,
    texts: Texts = SHORT_TEXTS,
    denial_rate: float = DENIAL_RATE,
) -> Claim:
    """Write a text and a claim with the wanted verdict."""
    facts = texts.draw(rng, relations)
    text, templates = passage(rng, facts)
    hypothesis, evidence = judge_fact(rng, facts, templates, relations, verdict, denial_rate, texts.person_rate)
    return Claim(text, f"{hypothesis}.", verdict, evidence)


def make_yes_no(rng: random.Random, relations: Sequence[Relation], holds: bool, texts: Texts = SHORT_TEXTS) -> Question:
    """Write a text and a yes/no question that the text answers."""
    facts = texts.draw(rng, relations)
    text, _ = passage(rng, facts)
    fact = rng.choice(facts)
    asked = fact if holds else fact._replace(value=_tempting_value(rng, fact, facts))
    return Question(text, f"{check(rng, asked)[0]}?", "yes" if holds else "no")


def make_question(rng: random.Random, relations: Sequence[Relation], texts: Texts = LONGER_TEXTS) -> Question:
    """Write a text and a question whose answer is one word of the text."""
    facts = texts.draw(rng, relations)
    text, _ = passage(rng, facts)
    fact = rng.choice(facts)
    question = f"{ask(rng, fact)[0]}?"
    told = [other.value for other in facts if other.value != fact.value]
    untold = [value for value in fact.relation.values if value != fact.value and value not in told]
    return Question(text, question, fact.value, (*told, *untold))


def make_answer(rng: random.Random, relations: Sequence[Relation], right: bool) -> Question:
    """Write a text, a question that it answers, and a right or wrong answer."""
    facts = SHORT_TEXTS.draw(rng, relations)
    text, _ = passage(rng, facts)
    fact = rng.choice(facts)
    question = f"{ask(rng, fact)[0]}?"
    return Question(text, question, fact.value if right else _tempting_value(rng, fact, facts))


def make_topic(rng: random.Random, relations: Sequence[Relation], topic: str) -> str:
    """Write statements about two people, both of the relation with this topic."""
    relation = next(each for each in relations if each.topic == topic)
    first, second = rng.sample(NAMES, 2)
    facts = (Fact(person, relation, rng.choice(relation.values)) for person in (first, second))
    return " ".join(f"{state(rng, fact)[0]}." for fact in facts)


def make_retold(rng: random.Random, relations: Sequence[Relation]) -> Retold:
    """Write a statement, the same in other words, and two neighbours of it."""
    fact = sample_facts(rng, relations, 1)[0]
    sentence, template = state(rng, fact)
    same = state(rng, fact, avoid=template)[0]
    others: list[str] = []
    while len(others) < 2:
        other = state(rng, _neighbour(rng, fact, relations, None))[0]
        if other not in others:
            others.append(other)
    return Retold(f"{sentence}.", f"{same}.", tuple(f"{other}." for other in others))


def make_told(rng: random.Random, relations: Sequence[Relation]) -> Told:
    """Draw one or two facts of one person, and tell them in every way."""
    subject, chosen = rng.choice(NAMES), rng.sample(list(relations), rng.randint(1, 2))
    facts = [Fact(subject, relation, rng.choice(relation.values)) for relation in chosen]
    data = ", ".join([f"name: {subject}", *(f"{fact.relation.topic}: {fact.value}" for fact in facts)])
    ways = [[f"{template.format(s=subject, v=fact.value)}." for template in fact.relation.statements] for fact in facts]
    texts = [" ".join(told) for told in itertools.product(*ways)]
    rng.shuffle(texts)
    return Told(data, tuple(texts))


def make_answerable(
    rng: random.Random, relations: Sequence[Relation], answerable: bool, texts: Texts = SHORT_TEXTS
) -> Question:
    """Write a text and a question that it answers, or leaves open."""
    facts = texts.draw(rng, relations)
    text, _ = passage(rng, facts)
    fact = rng.choice(facts) if answerable else unstated_fact(rng, facts, relations, texts.person_rate)
    return Question(text, f"{ask(rng, fact)[0]}?", "yes" if answerable else "no")


def make_statement_pair(
    rng: random.Random,
    relations: Sequence[Relation],
    verbs: Sequence[Verb],
    same: bool,
    verb_rate: float = 0.3,
    person_rate: float | None = None,
) -> Pair:
    """Write two statements that mean the same, or differ in person, value, relation or roles."""
    if rng.random() < verb_rate:
        return _verb_pair(rng, verbs, same, question=False)
    fact = sample_facts(rng, relations, 1)[0]
    first, template = state(rng, fact)
    second = (
        state(rng, fact, avoid=template)[0] if same else state(rng, _neighbour(rng, fact, relations, person_rate))[0]
    )
    return Pair(f"{first}.", f"{second}.", same)


def make_question_pair(
    rng: random.Random,
    relations: Sequence[Relation],
    verbs: Sequence[Verb],
    same: bool,
    verb_rate: float = 0.3,
    open_rate: float = 0.3,
    person_rate: float | None = None,
) -> Pair:
    """Write two questions that ask the same, or not; ``open_rate`` is the share of questions for a value."""
    if rng.random() < verb_rate:
        return _verb_pair(rng, verbs, same, question=True)
    fact = sample_facts(rng, relations, 1)[0]
    write = ask if rng.random() < open_rate else check
    first, template = write(rng, fact)
    if same:
        second = write(rng, fact, avoid=template)[0]
    else:
        other = _neighbour(rng, fact, relations, person_rate)
        while write is ask and (other.subject, other.relation) == (fact.subject, fact.relation):
            other = _neighbour(rng, fact, relations, person_rate)
        second = write(rng, other)[0]
    return Pair(f"{first}?", f"{second}?", same)


def _neighbour(rng: random.Random, fact: Fact, relations: Sequence[Relation], person_rate: float | None) -> Fact:
    """Change one thing about a fact: the value, the person, or relation and value.

    Each is as likely as the others, unless a rate of changing the person is given, which then comes on top.
    """
    change = 1 if person_rate is not None and rng.random() < person_rate else rng.randrange(3)
    if change == 0:
        return fact._replace(value=other_value(rng, fact))
    if change == 1:
        return fact._replace(subject=rng.choice([name for name in NAMES if name != fact.subject]))
    relation = rng.choice([other for other in relations if other is not fact.relation])
    return Fact(fact.subject, relation, rng.choice(relation.values))


def _verb_pair(rng: random.Random, verbs: Sequence[Verb], same: bool, question: bool) -> Pair:
    actor, patient = rng.sample(NAMES, 2)
    verb = rng.choice(verbs)

    def phrases(which: Verb, doer: str, receiver: str) -> tuple[str, str, str]:
        return which.checks(doer, receiver) if question else which.statements(doer, receiver)

    first = rng.choice(phrases(verb, actor, patient))
    if same:
        second = rng.choice([text for text in phrases(verb, actor, patient) if text != first])
    elif rng.random() < 0.5:
        second = rng.choice(phrases(verb, patient, actor))
    else:
        other = rng.choice([candidate for candidate in verbs if candidate is not verb])
        second = rng.choice(phrases(other, actor, patient))
    mark = "?" if question else "."
    return Pair(first + mark, second + mark, same)


def make_role_pair(rng: random.Random, verbs: Sequence[Verb], same: bool) -> Pair:
    """Write two statements with the same people and the same verb, where the roles are kept or swapped."""
    actor, patient = rng.sample(NAMES, 2)
    verb = rng.choice(verbs)
    first = rng.choice(verb.statements(actor, patient))
    if same:
        second = rng.choice([text for text in verb.statements(actor, patient) if text != first])
    else:
        second = rng.choice(verb.statements(patient, actor))
    return Pair(f"{first}.", f"{second}.", same)


def make_opinion(rng: random.Random, opinions: Opinions, positive: bool) -> str:
    """Write a one-sentence review; sometimes the first half says the opposite of what counts in the end."""
    if rng.random() < 0.15:
        before = opinion_sentence(rng, opinions, not positive)
        return f"{before} but in the end {opinion_sentence(rng, opinions, positive)}."
    return f"{opinion_sentence(rng, opinions, positive)}."


def make_review(rng: random.Random, opinions: Opinions, positive: bool) -> str:
    """Write a review of two or three sentences; of three, one may disagree with the majority."""
    views = [positive, positive]
    if rng.random() < 0.5:
        views = [positive, positive, not positive]
        rng.shuffle(views)
    return " ".join(f"{opinion_sentence(rng, opinions, view)}." for view in views)


def make_gap(rng: random.Random, relations: Sequence[Relation], texts: Texts = LONGER_TEXTS) -> Gap:
    """Write a text and a paraphrase of one of its facts, with the person or the value left out."""
    facts = texts.draw(rng, relations)
    text, templates = passage(rng, facts)
    index = rng.randrange(len(facts))
    fact = facts[index]
    bearers = [other for other in facts if (other.relation, other.value) == (fact.relation, fact.value)]
    if rng.random() < 0.5 and len(bearers) == 1:
        answer, hidden = fact.subject, fact._replace(subject=GAP)
    else:
        answer, hidden = fact.value, fact._replace(value=GAP)
    query = state(rng, hidden, avoid=templates[index])[0]
    mentioned = {word for other in facts for word in (other.subject, other.value)}
    return Gap(text, f"{query}.", answer, tuple(sorted(mentioned)))


def make_pronoun(rng: random.Random, verbs: Sequence[Verb]) -> Pronoun:
    """Write what a man and a woman did, and how ``he`` or ``she`` was; the gender tells who is meant."""
    man, woman = rng.choice(MALE_NAMES), rng.choice(FEMALE_NAMES)
    actor, patient = (man, woman) if rng.random() < 0.5 else (woman, man)
    referent, other = (man, woman) if rng.random() < 0.5 else (woman, man)
    pronoun = "he" if referent == man else "she"
    condition = rng.choice(STATES)
    deed = rng.choice(rng.choice(verbs).statements(actor, patient))
    text = f"{deed} {rng.choice(CONNECTIVES)} {pronoun} was {condition}."
    return Pronoun(text, pronoun, referent, other, condition)
