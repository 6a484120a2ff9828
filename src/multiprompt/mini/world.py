"""A closed little world in English: people, facts about them, what they did to each other, and opinions.

Everything the embedded model ever reads is written with the words of this module. A person has exactly one
value for each relation (one place, one job, one pet ...), so a second value for the same person and relation
contradicts the first. Relations and verbs come in two groups: ``SEEN`` ones are used in supervised
sentence-pair pretraining and in the source tasks, ``HELD_OUT`` ones only in the target tasks (and,
unlabelled, in self-supervised pretraining, so that the model knows the words).

Nothing here needs torch or numpy, and nothing depends on the platform: all randomness comes from the
``random.Random`` that the caller hands in.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


MALE_NAMES: tuple[str, ...] = _words(
    "tom john sam max paul mark leo adam jack luke ben carl david eric fred george harry ivan kevin liam"
)
FEMALE_NAMES: tuple[str, ...] = _words(
    "anna mary lucy emma kate sara julia lily nina olga rosa tina vera wendy zoe alice clara diana eva grace"
)
NAMES: tuple[str, ...] = MALE_NAMES + FEMALE_NAMES


@dataclass(frozen=True)
class Relation:
    """One kind of fact about a person, and the ways to say, deny and ask it.

    Templates hold ``{s}`` for the person and ``{v}`` for the value; none ends in a punctuation mark.
    """

    name: str
    topic: str
    values: tuple[str, ...]
    statements: tuple[str, ...]
    denials: tuple[str, ...]
    questions: tuple[str, ...]
    checks: tuple[str, ...]


@dataclass(frozen=True)
class Verb:
    """Something one person does to another, in active, passive and nominal form."""

    base: str
    past: str
    participle: str
    nominal: str

    def statements(self, actor: str, patient: str) -> tuple[str, str, str]:
        """Return the three ways to say that ``actor`` did it to ``patient``."""
        return (
            f"{actor} {self.past} {patient}",
            f"{patient} was {self.participle} by {actor}",
            f"{patient} got {self.nominal} from {actor}",
        )

    def checks(self, actor: str, patient: str) -> tuple[str, str, str]:
        """Return the three ways to ask whether ``actor`` did it to ``patient``."""
        return (
            f"did {actor} {self.base} {patient}",
            f"was {patient} {self.participle} by {actor}",
            f"did {patient} get {self.nominal} from {actor}",
        )


@dataclass(frozen=True)
class Opinions:
    """Words for reviews: adjectives of praise and of blame, and the things they are said of."""

    praise: tuple[str, ...]
    blame: tuple[str, ...]
    things: tuple[str, ...]


class Fact(NamedTuple):
    """``subject`` has ``value`` for ``relation``."""

    subject: str
    relation: Relation
    value: str


SEEN_RELATIONS: tuple[Relation, ...] = (
    Relation(
        name="place",
        topic="place",
        values=_words(
            "kitchen garden school library park office station museum hotel market bank church garage cellar "
            "tower harbour"
        ),
        statements=(
            "{s} is in the {v}",
            "{s} stays at the {v}",
            "the {v} is where {s} is now",
            "you can find {s} at the {v}",
        ),
        denials=("{s} is not in the {v}", "you can not find {s} at the {v}"),
        questions=("where is {s}", "in which place is {s}"),
        checks=("is {s} in the {v}", "can you find {s} at the {v}"),
    ),
    Relation(
        name="possession",
        topic="thing",
        values=_words(
            "lamp book clock guitar bottle camera knife mirror basket umbrella wallet ring phone chair candle hammer"
        ),
        statements=(
            "{s} owns a {v}",
            "{s} has a {v}",
            "the {v} belongs to {s}",
            "there is a {v} that {s} owns",
        ),
        denials=("{s} does not own a {v}", "the {v} does not belong to {s}"),
        questions=("what does {s} own", "what belongs to {s}"),
        checks=("does {s} own a {v}", "does the {v} belong to {s}"),
    ),
    Relation(
        name="food",
        topic="food",
        values=_words(
            "bread cheese soup rice apples pasta cake fish salad honey chocolate beans eggs pears noodles olives"
        ),
        statements=(
            "{s} likes {v}",
            "{s} enjoys {v}",
            "{v} is the favourite food of {s}",
            "{s} is fond of {v}",
        ),
        denials=("{s} does not like {v}", "{s} is not fond of {v}"),
        questions=("what does {s} like to eat", "which food does {s} enjoy"),
        checks=("does {s} like {v}", "is {s} fond of {v}"),
    ),
    Relation(
        name="job",
        topic="job",
        values=_words(
            "doctor teacher farmer driver baker painter lawyer nurse pilot singer cook judge writer plumber "
            "soldier barber"
        ),
        statements=(
            "{s} works as a {v}",
            "{s} is a {v}",
            "the job of {s} is {v}",
            "{s} earns money as a {v}",
        ),
        denials=("{s} is not a {v}", "{s} does not work as a {v}"),
        questions=("what is the job of {s}", "what does {s} work as"),
        checks=("is {s} a {v}", "does {s} work as a {v}"),
    ),
    Relation(
        name="instrument",
        topic="music",
        values=_words("piano violin flute drum trumpet harp cello organ banjo clarinet"),
        statements=(
            "{s} plays the {v}",
            "{s} can play the {v}",
            "the instrument of {s} is the {v}",
            "{s} practices the {v} every evening",
        ),
        denials=("{s} does not play the {v}", "{s} can not play the {v}"),
        questions=("what does {s} play", "which instrument does {s} practice"),
        checks=("does {s} play the {v}", "can {s} play the {v}"),
    ),
    Relation(
        name="pet",
        topic="animal",
        values=_words("dog cat horse rabbit parrot goat hamster turtle snake duck mouse donkey"),
        statements=(
            "{s} keeps a {v}",
            "{s} has a pet {v}",
            "the pet of {s} is a {v}",
            "a {v} lives with {s}",
        ),
        denials=("{s} does not keep a {v}", "no {v} lives with {s}"),
        questions=("which animal lives with {s}", "what is the pet of {s}"),
        checks=("does {s} keep a {v}", "is the pet of {s} a {v}"),
    ),
    Relation(
        name="town",
        topic="town",
        values=_words("paris london rome berlin madrid vienna oslo dublin prague lisbon athens cairo"),
        statements=(
            "{s} comes from {v}",
            "{s} was born in {v}",
            "the home town of {s} is {v}",
            "{v} is where {s} grew up",
        ),
        denials=("{s} does not come from {v}", "{s} was not born in {v}"),
        questions=("where does {s} come from", "in which town was {s} born"),
        checks=("does {s} come from {v}", "was {s} born in {v}"),
    ),
    Relation(
        name="colour",
        topic="colour",
        values=_words("red blue green yellow black white brown pink purple orange"),
        statements=(
            "the favourite colour of {s} is {v}",
            "{s} prefers {v}",
            "{s} paints everything {v}",
            "{s} loves the colour {v}",
        ),
        denials=("{s} does not prefer {v}", "{v} is not the favourite colour of {s}"),
        questions=("what is the favourite colour of {s}", "which colour does {s} prefer"),
        checks=("does {s} prefer {v}", "is {v} the favourite colour of {s}"),
    ),
)

HELD_OUT_RELATIONS: tuple[Relation, ...] = (
    Relation(
        name="day",
        topic="day",
        values=_words("monday tuesday wednesday thursday friday saturday sunday"),
        statements=(
            "{s} arrives on {v}",
            "{v} is the day when {s} comes",
            "{s} will be here on {v}",
            "the visit of {s} is on {v}",
        ),
        denials=("{s} does not arrive on {v}", "{s} will not be here on {v}"),
        questions=("when does {s} arrive", "on which day does {s} come"),
        checks=("does {s} arrive on {v}", "will {s} be here on {v}"),
    ),
    Relation(
        name="clothes",
        topic="clothes",
        values=_words("coat hat scarf jacket shirt dress sweater apron cap suit"),
        statements=(
            "{s} wears a {v}",
            "{s} is dressed in a {v}",
            "the {v} is worn by {s}",
            "{s} went out in a {v}",
        ),
        denials=("{s} does not wear a {v}", "{s} is not dressed in a {v}"),
        questions=("what does {s} wear", "what is {s} dressed in"),
        checks=("does {s} wear a {v}", "is {s} dressed in a {v}"),
    ),
    Relation(
        name="vehicle",
        topic="travel",
        values=_words("bus train bicycle taxi boat tram motorbike truck"),
        statements=(
            "{s} travels by {v}",
            "{s} takes the {v} to work",
            "the {v} brings {s} to work",
            "{s} goes by {v} every day",
        ),
        denials=("{s} does not travel by {v}", "{s} does not take the {v} to work"),
        questions=("how does {s} travel", "what brings {s} to work"),
        checks=("does {s} travel by {v}", "does {s} take the {v} to work"),
    ),
    Relation(
        name="sport",
        topic="sport",
        values=_words("tennis football hockey chess golf rugby cricket judo"),
        statements=(
            "{s} is good at {v}",
            "{s} trains {v}",
            "the sport of {s} is {v}",
            "{s} joined the {v} club",
        ),
        denials=("{s} is not good at {v}", "{s} does not train {v}"),
        questions=("what is {s} good at", "which sport does {s} train"),
        checks=("is {s} good at {v}", "does {s} train {v}"),
    ),
    Relation(
        name="fear",
        topic="fear",
        values=_words("spiders ghosts thunder wolves needles bears heights fire"),
        statements=(
            "{s} is afraid of {v}",
            "{s} is scared of {v}",
            "{v} can scare {s}",
            "{s} can not stand {v}",
        ),
        denials=("{s} is not afraid of {v}", "{v} can not scare {s}"),
        questions=("what is {s} afraid of", "what can scare {s}"),
        checks=("is {s} afraid of {v}", "can {v} scare {s}"),
    ),
)

RELATIONS: tuple[Relation, ...] = SEEN_RELATIONS + HELD_OUT_RELATIONS

SEEN_VERBS: tuple[Verb, ...] = (
    Verb("call", "called", "called", "a call"),
    Verb("help", "helped", "helped", "help"),
    Verb("visit", "visited", "visited", "a visit"),
    Verb("thank", "thanked", "thanked", "thanks"),
    Verb("pay", "paid", "paid", "money"),
    Verb("kiss", "kissed", "kissed", "a kiss"),
    Verb("answer", "answered", "answered", "an answer"),
)
HELD_OUT_VERBS: tuple[Verb, ...] = (
    Verb("invite", "invited", "invited", "an invitation"),
    Verb("warn", "warned", "warned", "a warning"),
    Verb("push", "pushed", "pushed", "a push"),
    Verb("advise", "advised", "advised", "advice"),
)
VERBS: tuple[Verb, ...] = SEEN_VERBS + HELD_OUT_VERBS

SEEN_OPINIONS = Opinions(
    praise=_words(
        "good great lovely wonderful excellent charming pleasant brilliant superb delightful beautiful funny "
        "warm clever fresh tasty"
    ),
    blame=_words("bad awful terrible boring horrible dull ugly poor nasty dreadful weak silly cold stupid stale bland"),
    things=_words("film book song play hotel room meal show story concert trip game"),
)
# Adjectives and things of the review target task; the model meets them in unlabelled text only.
HELD_OUT_OPINIONS = Opinions(
    praise=_words("fantastic amazing perfect enjoyable impressive"),
    blame=_words("disgusting annoying disappointing miserable painful"),
    things=_words("restaurant waiter pizza coffee service menu"),
)
ALL_OPINIONS = Opinions(
    praise=SEEN_OPINIONS.praise + HELD_OUT_OPINIONS.praise,
    blame=SEEN_OPINIONS.blame + HELD_OUT_OPINIONS.blame,
    things=SEEN_OPINIONS.things + HELD_OUT_OPINIONS.things,
)
DEGREES: tuple[str, ...] = _words("very really quite so rather")
STATES: tuple[str, ...] = _words("tired hungry sick angry happy late lost busy thirsty worried")
CONNECTIVES: tuple[str, ...] = _words("because while when although")

# Gap of a cloze query, spelled as in the public ReCoRD data set.
GAP = "@placeholder"

_ARTICLE_BEFORE_VOWEL = re.compile(r"\ba (?=[aeiou])")


def spell(template: str, **slots: str) -> str:
    """Fill a template and correct the article: ``a umbrella`` becomes ``an umbrella``.

    No word of this world starts with a vowel letter but a consonant sound, so the letter decides.
    """
    return _ARTICLE_BEFORE_VOWEL.sub("an ", template.format(**slots))


def sample_facts(
    rng: random.Random,
    relations: Sequence[Relation],
    count: int,
    twin_rate: float = 0.0,
) -> list[Fact]:
    """Draw ``count`` facts about two or three people, at most one for each person and relation.

    Args:
        rng: source of randomness.
        relations: relations to draw from.
        count: number of facts.
        twin_rate: chance that the second fact has the first one's relation (about another person and
            with another value): such facts can only be told apart by the person's name.
    """
    people = rng.sample(NAMES, min(3, max(2, count)))
    facts: list[Fact] = []
    taken: set[tuple[str, str]] = set()
    want_twin = rng.random() < twin_rate
    while len(facts) < count:
        subject, relation = rng.choice(people), rng.choice(relations)
        value = rng.choice(relation.values)
        if want_twin and len(facts) == 1:
            first = facts[0]
            relation = first.relation
            subject = rng.choice([name for name in people if name != first.subject])
            value = other_value(rng, first)
        if (subject, relation.name) not in taken:
            taken.add((subject, relation.name))
            facts.append(Fact(subject, relation, value))
    return facts


def other_value(rng: random.Random, fact: Fact) -> str:
    """Draw a value of the fact's relation that is not the fact's own."""
    return rng.choice([value for value in fact.relation.values if value != fact.value])


def unstated_fact(
    rng: random.Random, facts: Sequence[Fact], relations: Sequence[Relation], person_rate: float = 0.5
) -> Fact:
    """Draw a fact that the given ones leave open: near one of them, but another person or relation."""
    stated = {(fact.subject, fact.relation.name) for fact in facts}
    base = rng.choice(facts)
    people = sorted({fact.subject for fact in facts})
    while True:
        if rng.random() < 1 - person_rate:
            subject, relation = base.subject, rng.choice(relations)
            value = rng.choice(relation.values)
        else:
            subject, relation, value = rng.choice([*people, rng.choice(NAMES)]), base.relation, base.value
        if (subject, relation.name) not in stated:
            return Fact(subject, relation, value)


def state(rng: random.Random, fact: Fact, avoid: str | None = None) -> tuple[str, str]:
    """Say a fact; returns the sentence without its full stop, and the template (to ``avoid`` it later)."""
    template = rng.choice([text for text in fact.relation.statements if text != avoid])
    return spell(template, s=fact.subject, v=fact.value), template


def deny(rng: random.Random, fact: Fact) -> str:
    """Say that a fact does not hold."""
    return spell(rng.choice(fact.relation.denials), s=fact.subject, v=fact.value)


def ask(rng: random.Random, fact: Fact, avoid: str | None = None) -> tuple[str, str]:
    """Ask for the value of a fact; returns the question without its mark, and the template."""
    template = rng.choice([text for text in fact.relation.questions if text != avoid])
    return spell(template, s=fact.subject), template


def check(rng: random.Random, fact: Fact, avoid: str | None = None) -> tuple[str, str]:
    """Ask whether a fact holds; returns the question without its mark, and the template."""
    template = rng.choice([text for text in fact.relation.checks if text != avoid])
    return spell(template, s=fact.subject, v=fact.value), template


def passage(rng: random.Random, facts: Sequence[Fact]) -> tuple[str, list[str]]:
    """Tell the facts one after the other; returns the text and the template used for each."""
    told = [state(rng, fact) for fact in facts]
    return " ".join(f"{sentence}." for sentence, _ in told), [template for _, template in told]


def opinion_sentence(rng: random.Random, opinions: Opinions, positive: bool, negation_rate: float = 0.15) -> str:
    """Write one sentence of praise or blame, sometimes by denying the opposite."""
    thing, degree = rng.choice(opinions.things), rng.choice(DEGREES)
    negated = rng.random() < negation_rate
    adjective = rng.choice(opinions.praise if positive != negated else opinions.blame)
    templates: tuple[str, ...]
    if negated:
        templates = (
            "the {t} was not {a}",
            "i do not think the {t} was {a}",
            "the {t} was never {a}",
        )
    else:
        templates = (
            "the {t} was {d} {a}",
            "what a {a} {t}",
            "i found the {t} {d} {a}",
            "it is a {d} {a} {t}",
        )
    return spell(rng.choice(templates), t=thing, a=adjective, d=degree)


def vocabulary_texts() -> list[str]:
    """Return texts that together hold every word this module can write (the tokenizer is built from them)."""
    texts: list[str] = [*NAMES, GAP, *DEGREES, *STATES, *CONNECTIVES, "he she a an"]
    texts += [*ALL_OPINIONS.praise, *ALL_OPINIONS.blame, *ALL_OPINIONS.things]
    for relation in RELATIONS:
        texts += [relation.topic, *relation.values]
        for template in (
            *relation.statements,
            *relation.denials,
            *relation.questions,
            *relation.checks,
        ):
            texts.append(template.format(s="", v=""))
    for verb in VERBS:
        texts += [*verb.statements("", ""), *verb.checks("", "")]
    texts.append("the was not i do think never what found it is but in end")
    return texts
