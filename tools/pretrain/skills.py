"""What the embedded model is pretrained on: self-supervised text and labelled skills with instructions.

A labelled example is an optional instruction, a body in the ``field: text`` style of the task templates, and
a target. The target of a judging skill depends on the answer *style*, which the instruction names ("answer
with a digit"): natural words, truth words, digits, or digits in reverse. During pretraining a part of the
examples has no instruction; a trained soft prefix, one for each (skill, style), takes its place, so that the
model learns to be steered by soft prompts. ``PREFIX_KEYS`` lists these pairs.

Skills that compare or judge sentences use ``SEEN_RELATIONS``, ``SEEN_VERBS`` and ``SEEN_OPINIONS`` only
(``SUPERVISED_PAIR_SKILLS``); restatement, gap filling, extraction and topic may use every relation.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from multiprompt.mini.makers import (
    LONGER_TEXTS,
    SHORT_TEXTS,
    VERDICTS,
    Texts,
    judge_fact,
    make_answerable,
    make_claim,
    make_gap,
    make_opinion,
    make_pronoun,
    make_question,
    make_question_pair,
    make_review,
    make_statement_pair,
    make_yes_no,
)
from multiprompt.mini.world import (
    GAP,
    NAMES,
    RELATIONS,
    SEEN_OPINIONS,
    SEEN_RELATIONS,
    SEEN_VERBS,
    Fact,
    ask,
    check,
    other_value,
    passage,
    sample_facts,
    state,
    unstated_fact,
)
from raw_text import raw_text


@dataclass(frozen=True)
class Level:
    """How long the texts of the skills are, and how alike their facts: easy at first, harder later.

    Attributes:
        judged: texts of claims, yes/no questions and answerable questions.
        searched: texts of questions and gaps.
        retold_twin_rate: like ``Texts.twin_rate``, for facts that are told twice.
        pair_person_rate: extra share of unlike pairs that differ in the person.
    """

    judged: Texts = SHORT_TEXTS
    searched: Texts = LONGER_TEXTS
    retold_twin_rate: float = 0.0
    pair_person_rate: float | None = None


EASY = Level()

NATURAL = "natural"
STYLES: dict[str, str] = {
    NATURAL: "",
    "truth": "answer with a truth word.",
    "digit": "answer with a digit.",
    "reverse": "answer with a digit in reverse.",
    "two_digits": "answer with one of two digits.",
    "two_reverse": "answer with one of two digits in reverse.",
}
_TWO_WAY_STYLES: dict[str, tuple[str, ...]] = {
    "truth": ("true", "false"),
    "digit": ("1", "0"),
    "reverse": ("0", "1"),
}
_THREE_WAY_STYLES: dict[str, tuple[str, ...]] = {
    "truth": ("true", "unclear", "false"),
    "digit": ("0", "1", "2"),
    "reverse": ("2", "1", "0"),
    "two_digits": ("1", "0", "0"),
    "two_reverse": ("0", "1", "1"),
}


@dataclass(frozen=True)
class SkillExample:
    """One pretraining example; ``style`` is empty for skills without a choice of answer words."""

    skill: str
    style: str
    instruction: str
    body: str
    target: str

    @property
    def source(self) -> str:
        """Return instruction and body as the model reads them."""
        return f"{self.instruction} {self.body}".strip()


@dataclass(frozen=True)
class JudgingSkill:
    """A skill whose answer is one of a few words.

    ``make`` writes the fields' texts for the answer with a given index; ``fields`` are the names they may
    carry.
    """

    instructions: tuple[str, ...]
    natural: tuple[str, ...]
    fields: tuple[tuple[str, ...], ...]
    make: Callable[[random.Random, int, Level], tuple[str, ...]]

    def answers(self, style: str) -> tuple[str, ...]:
        """Return the answer words in a style, in the order of ``natural``."""
        if style == NATURAL:
            return self.natural
        return (_THREE_WAY_STYLES if len(self.natural) == 3 else _TWO_WAY_STYLES)[style]

    def styles(self) -> tuple[str, ...]:
        """Return the names of the styles this skill can be answered in."""
        return (NATURAL, *(_THREE_WAY_STYLES if len(self.natural) == 3 else _TWO_WAY_STYLES))


@dataclass(frozen=True)
class FreeSkill:
    """A skill whose answer is a word of the text (or names its topic)."""

    instructions: tuple[str, ...]
    fields: tuple[tuple[str, ...], ...]
    make: Callable[[random.Random, Level], tuple[tuple[str, ...], str]]


def _join(fields: tuple[str, ...], texts: tuple[str, ...]) -> str:
    return " ".join(f"{field}: {text}" for field, text in zip(fields, texts, strict=True))


def _nli(rng: random.Random, answer: int, level: Level) -> tuple[str, ...]:
    claim = make_claim(rng, SEEN_RELATIONS, VERDICTS[answer], level.judged)
    return claim.premise, claim.hypothesis


def _yes_no(rng: random.Random, answer: int, level: Level) -> tuple[str, ...]:
    item = make_yes_no(rng, SEEN_RELATIONS, answer == 0, level.judged)
    return item.question, item.context


def _paraphrase(rng: random.Random, answer: int, level: Level) -> tuple[str, ...]:
    maker = make_statement_pair if rng.random() < 0.5 else make_question_pair
    pair = maker(rng, SEEN_RELATIONS, SEEN_VERBS, answer == 0, person_rate=level.pair_person_rate)
    return pair.first, pair.second


def _answerable(rng: random.Random, answer: int, level: Level) -> tuple[str, ...]:
    item = make_answerable(rng, SEEN_RELATIONS, answer == 0, level.judged)
    return item.question, item.context


def _sentiment(rng: random.Random, answer: int, level: Level) -> tuple[str, ...]:
    maker = make_opinion if rng.random() < 0.8 else make_review
    return (maker(rng, SEEN_OPINIONS, answer == 0),)


def _pronoun_check(rng: random.Random, answer: int, level: Level) -> tuple[str, ...]:
    item = make_pronoun(rng, SEEN_VERBS)
    return item.text, item.referent if answer == 0 else item.other, item.pronoun


def _qa(rng: random.Random, level: Level) -> tuple[tuple[str, ...], str]:
    item = make_question(rng, RELATIONS, level.searched)
    return (item.question, item.context), item.answer


def _cloze(rng: random.Random, level: Level) -> tuple[tuple[str, ...], str]:
    item = make_gap(rng, RELATIONS, level.searched)
    return (item.query, item.passage), item.answer


def _cloze_with_choices(rng: random.Random, level: Level) -> tuple[tuple[str, ...], str]:
    item = make_gap(rng, RELATIONS, level.searched)
    return (item.query, ", ".join(item.entities), item.passage), item.answer


def _pronoun(rng: random.Random, level: Level) -> tuple[tuple[str, ...], str]:
    item = make_pronoun(rng, SEEN_VERBS)
    return (item.text, item.pronoun), item.referent


def _topic(rng: random.Random, level: Level) -> tuple[tuple[str, ...], str]:
    fact = sample_facts(rng, RELATIONS, 1)[0]
    return (f"{state(rng, fact)[0]}.",), fact.relation.topic


def _evidence(rng: random.Random, level: Level) -> tuple[tuple[str, ...], str]:
    verdict = rng.choice(VERDICTS)
    claim = make_claim(rng, SEEN_RELATIONS, verdict, level.judged, denial_rate=0.0)
    word = JUDGING_SKILLS["nli"].natural[VERDICTS.index(verdict)]
    return (claim.premise, claim.hypothesis), f"{claim.evidence} {word}"


def _shared(rng: random.Random, level: Level) -> tuple[tuple[str, ...], str]:
    fact = sample_facts(rng, SEEN_RELATIONS, 1)[0]
    stranger = rng.choice([name for name in NAMES if name != fact.subject])
    draw = rng.random()
    if draw < 0.4:
        other, shared = fact._replace(subject=stranger), fact.value
    elif draw < 0.8:
        relation = rng.choice(SEEN_RELATIONS)
        value = rng.choice([value for value in relation.values if value != fact.value])
        other, shared = Fact(fact.subject, relation, value), fact.subject
    else:
        other, shared = Fact(stranger, fact.relation, other_value(rng, fact)), "nothing"
    return (f"{state(rng, fact)[0]}.", f"{state(rng, other)[0]}."), shared


def _same_person(rng: random.Random, level: Level) -> tuple[tuple[str, ...], str]:
    fact = sample_facts(rng, SEEN_RELATIONS, 1)[0]
    same = rng.random() < 0.5
    subject = fact.subject if same else rng.choice([name for name in NAMES if name != fact.subject])
    if rng.random() < 0.5:
        other = fact._replace(subject=subject)
    else:
        other = sample_facts(rng, SEEN_RELATIONS, 1)[0]._replace(subject=subject)
    texts = (f"{state(rng, fact)[0]}.", f"{state(rng, other)[0]}.")
    return texts, "same" if same else "different"


JUDGING_SKILLS: dict[str, JudgingSkill] = {
    "nli": JudgingSkill(
        (
            "does the second text follow from the first?",
            "given the first text is the second one correct?",
            "judge the claim by the facts.",
        ),
        ("yes", "maybe", "no"),
        (("premise", "hypothesis"), ("sentence1", "sentence2"), ("text", "claim")),
        _nli,
    ),
    "yes_no": JudgingSkill(
        ("answer the question from the text.", "read the text and reply to the question."),
        ("yes", "no"),
        (("question", "passage"), ("question", "context"), ("question", "text")),
        _yes_no,
    ),
    "paraphrase": JudgingSkill(
        (
            "do the two sentences mean the same?",
            "compare the meaning of both sentences.",
            "are these saying the same thing?",
        ),
        ("same", "different"),
        (("sentence1", "sentence2"), ("question1", "question2")),
        _paraphrase,
    ),
    "answerable": JudgingSkill(
        ("does the text answer the question?", "is the answer to the question in the text?"),
        ("yes", "no"),
        (("question", "sentence"), ("question", "text"), ("question", "passage")),
        _answerable,
    ),
    "sentiment": JudgingSkill(
        ("is the opinion positive?", "does the writer like it?", "what is the mood of the review?"),
        ("good", "bad"),
        (("sentence",), ("text",)),
        _sentiment,
    ),
    "pronoun_check": JudgingSkill(
        ("does the pronoun mean this person?", "is this the person of the pronoun?"),
        ("yes", "no"),
        (("text", "person", "pronoun"), ("sentence", "name", "pronoun")),
        _pronoun_check,
    ),
}

FREE_SKILLS: dict[str, FreeSkill] = {
    "qa": FreeSkill(
        (
            "find the answer in the text.",
            "answer the question with words from the text.",
            "read and answer.",
        ),
        (("question", "context"), ("question", "passage"), ("question", "text")),
        _qa,
    ),
    "cloze": FreeSkill(
        (
            f"fill the gap marked {GAP}.",
            f"which word is missing at {GAP}?",
            f"replace {GAP} by the right word.",
        ),
        (("query", "passage"), ("query", "context"), ("sentence", "text")),
        _cloze,
    ),
    "cloze_with_choices": FreeSkill(
        ("which of these fills the gap?", "choose the right word for the gap."),
        (("query", "entities", "passage"), ("query", "entities", "context")),
        _cloze_with_choices,
    ),
    "pronoun": FreeSkill(
        (
            "who is meant by the pronoun?",
            "find the person of the pronoun.",
            "resolve the pronoun.",
        ),
        (("text", "pronoun"), ("sentence", "pronoun")),
        _pronoun,
    ),
    "topic": FreeSkill(
        ("what is the topic?", "name the subject of the sentence."),
        (("sentence",), ("text",)),
        _topic,
    ),
    "evidence": FreeSkill(
        ("first the evidence then the verdict.",),
        (("premise", "hypothesis"), ("sentence1", "sentence2"), ("text", "claim")),
        _evidence,
    ),
    "shared": FreeSkill(
        ("which name or thing do both share?", "what do both sentences have in common?"),
        (("sentence1", "sentence2"), ("premise", "hypothesis")),
        _shared,
    ),
    "same_person": FreeSkill(
        ("do both sentences name the same person?",),
        (("sentence1", "sentence2"), ("premise", "hypothesis"), ("text", "claim")),
        _same_person,
    ),
}


def _sentinel(index: int) -> str:
    return f"<extra_id_{index}>"


def _judgements(rng: random.Random, level: Level) -> SkillExample:
    """Write several claims and questions on one text, each followed by a slot to fill."""
    facts = level.judged.draw(rng, SEEN_RELATIONS)
    text, templates = passage(rng, facts)
    body, target = [f"premise: {text}"], []
    for index in range(rng.randint(2, 4)):
        slot, draw = _sentinel(index), rng.random()
        if draw < 0.6:
            answer = rng.randrange(3)
            claim, _ = judge_fact(
                rng, facts, templates, SEEN_RELATIONS, VERDICTS[answer], 0.05, level.judged.person_rate
            )
            body.append(f"claim: {claim}. {slot}")
            word = ("yes", "maybe", "no")[answer]
        elif draw < 0.8:
            fact = (
                rng.choice(facts)
                if rng.random() < 0.5
                else unstated_fact(rng, facts, SEEN_RELATIONS, level.judged.person_rate)
            )
            body.append(f"question: {ask(rng, fact)[0]}? {slot}")
            word = fact.value if fact in facts else "nothing"
        else:
            fact, holds = rng.choice(facts), rng.random() < 0.5
            asked = fact if holds else fact._replace(value=other_value(rng, fact))
            body.append(f"question: {check(rng, asked)[0]}? {slot}")
            word = "yes" if holds else "no"
        target.append(f"{slot} {word}")
    return SkillExample("judgements", "", "judge every claim.", " ".join(body), " ".join(target))


def _comparisons(rng: random.Random, level: Level) -> SkillExample:
    """Compare several sentences with the first one, each followed by a slot to fill."""
    fact = sample_facts(rng, SEEN_RELATIONS, 1)[0]
    use_check = rng.random() < 0.3
    mark = "?" if use_check else "."

    def write(said: Fact) -> str:
        return (check(rng, said) if use_check else state(rng, said))[0] + mark

    def near(said: Fact) -> Fact:
        change = rng.randrange(3)
        if change == 0:
            return said._replace(value=other_value(rng, said))
        if change == 1:
            return said._replace(subject=rng.choice(NAMES))
        relation = rng.choice(SEEN_RELATIONS)
        return Fact(said.subject, relation, rng.choice(relation.values))

    if rng.random() < 0.3:
        actor, patient = rng.sample(NAMES, 2)
        verb = rng.choice(SEEN_VERBS)
        texts, same = [rng.choice(verb.statements(actor, patient)) + "."], []
        for _ in range(rng.randint(2, 4)):
            draw = rng.random()
            other = rng.choice(SEEN_VERBS) if draw < 0.25 else verb
            people = (patient, actor) if 0.25 <= draw < 0.5 else (actor, patient)
            texts.append(rng.choice(other.statements(*people)) + ".")
            same.append(other is verb and people == (actor, patient))
    else:
        texts, same = [write(fact)], []
        for _ in range(rng.randint(2, 4)):
            said = fact if rng.random() < 0.5 else near(fact)
            texts.append(write(said))
            same.append(said == fact)
    body, target = [f"sentence1: {texts[0]}"], []
    for index, (text, equal) in enumerate(zip(texts[1:], same, strict=True)):
        body.append(f"sentence2: {text} {_sentinel(index)}")
        target.append(f"{_sentinel(index)} {'same' if equal else 'different'}")
    return SkillExample("comparisons", "", "compare every sentence with the first.", " ".join(body), " ".join(target))


def _restatement(rng: random.Random, level: Level) -> SkillExample:
    """Tell facts twice in different words; a name or value of each retelling is masked."""
    facts = sample_facts(rng, RELATIONS, rng.randint(1, 3), level.retold_twin_rate)
    text, templates = passage(rng, facts)
    order = list(range(len(facts)))
    rng.shuffle(order)
    retold, target = [], []
    for slot_index, index in enumerate(order):
        fact, slot = facts[index], _sentinel(slot_index)
        hide_value = rng.random() < 0.7
        masked = fact._replace(value=slot) if hide_value else fact._replace(subject=slot)
        retold.append(f"{state(rng, masked, avoid=templates[index])[0]}.")
        target.append(f"{slot} {fact.value if hide_value else fact.subject}")
    parts = [text, " ".join(retold)]
    if rng.random() < 0.3:
        parts.reverse()
    return SkillExample("restatement", "", "", " ".join(parts), " ".join(target))


def _spans(rng: random.Random, level: Level) -> SkillExample:
    """Mask one to three spans of raw text (Raffel et al., 2020)."""
    words = raw_text(rng).split()[:40]
    starts = sorted(rng.sample(range(len(words) - 1), rng.randint(1, 3) if len(words) > 8 else 1))
    source: list[str] = []
    target: list[str] = []
    position = 0
    for start in starts:
        if start < position + bool(target):
            continue
        slot = _sentinel(len(target))
        span = words[start : start + rng.choice((1, 1, 2, 3))]
        # The mark stays outside the mask, so that a span is whole words.
        tail = span[-1][len(span[-1].rstrip(".?,")) :]
        source += [*words[position:start], slot + tail]
        target.append(f"{slot} {' '.join(span)[: -len(tail) or None]}")
        position = start + len(span)
    source += words[position:]
    return SkillExample("spans", "", "", " ".join(source), " ".join(target))


SLOT_SKILLS: dict[str, Callable[[random.Random, Level], SkillExample]] = {
    "judgements": _judgements,
    "comparisons": _comparisons,
    "restatement": _restatement,
    "spans": _spans,
}

SKILLS: tuple[str, ...] = (*JUDGING_SKILLS, *FREE_SKILLS, *SLOT_SKILLS)
# These compare or judge sentences with labels: nothing held out may appear in them.
SUPERVISED_PAIR_SKILLS: tuple[str, ...] = (
    *JUDGING_SKILLS,
    "pronoun",
    "evidence",
    "shared",
    "same_person",
    "judgements",
    "comparisons",
)
# The (skill, style) pairs that a soft prefix may stand for.
PREFIX_KEYS: tuple[tuple[str, str], ...] = (
    *((name, style) for name, skill in JUDGING_SKILLS.items() for style in skill.styles()),
    *((name, "") for name in ("qa", "cloze", "cloze_with_choices", "pronoun")),
)


def make_example(
    rng: random.Random,
    skill: str,
    *,
    natural_rate: float = 1.0,
    level: Level = EASY,
    style: str | None = None,
) -> SkillExample:
    """Write one example of a skill.

    Args:
        rng: source of randomness.
        skill: one of ``SKILLS``.
        natural_rate: chance that a judging skill is answered in natural words; else the style is drawn evenly
            from the others and named in the instruction.
        level: how long the texts are, and how alike their facts.
        style: fixes the style of a judging skill.
    """
    if skill in SLOT_SKILLS:
        return SLOT_SKILLS[skill](rng, level)
    if skill in FREE_SKILLS:
        free = FREE_SKILLS[skill]
        texts, target = free.make(rng, level)
        return SkillExample(skill, "", rng.choice(free.instructions), _join(rng.choice(free.fields), texts), target)
    judging = JUDGING_SKILLS[skill]
    if style is None:
        style = NATURAL if rng.random() < natural_rate else rng.choice(judging.styles()[1:])
    answer = rng.randrange(len(judging.natural))
    fields = rng.choice(judging.fields)
    texts = judging.make(rng, answer, level)
    instruction = rng.choice(judging.instructions)
    if style != NATURAL:
        parts = [instruction, STYLES[style]]
        if rng.random() < 0.25:
            parts.reverse()
        instruction = " ".join(parts)
    return SkillExample(skill, style, instruction, _join(fields, texts), judging.answers(style)[answer])


def vocabulary_texts() -> list[str]:
    """Return texts that together hold every word of the instructions, field names and answers."""
    texts = [text for text in STYLES.values() if text]
    for judging in JUDGING_SKILLS.values():
        texts += [
            *judging.instructions,
            *judging.natural,
            *(name for names in judging.fields for name in names),
        ]
    for free in FREE_SKILLS.values():
        texts += [*free.instructions, *(name for names in free.fields for name in names)]
    for table in (_TWO_WAY_STYLES, _THREE_WAY_STYLES):
        texts += [word for words in table.values() for word in words]
    texts.append("judge every claim. question: compare every sentence with the first. nothing")
    return texts
