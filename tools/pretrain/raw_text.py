"""Unlabelled text about everything in the little world, for masking spans."""

from __future__ import annotations

import random

from multiprompt.mini.makers import make_pronoun, make_question, make_review
from multiprompt.mini.world import (
    ALL_OPINIONS,
    NAMES,
    RELATIONS,
    VERBS,
    deny,
    opinion_sentence,
    passage,
    sample_facts,
    state,
)


def any_sentence(rng: random.Random) -> str:
    """Write one sentence of any kind: a fact, a denial, a deed or an opinion."""
    draw = rng.random()
    if draw < 0.7:
        fact = sample_facts(rng, RELATIONS, 1)[0]
        return f"{state(rng, fact)[0] if rng.random() < 0.7 else deny(rng, fact)}."
    if draw < 0.85:
        actor, patient = rng.sample(NAMES, 2)
        return f"{rng.choice(rng.choice(VERBS).statements(actor, patient))}."
    return f"{opinion_sentence(rng, ALL_OPINIONS, rng.random() < 0.5)}."


def raw_text(rng: random.Random) -> str:
    """Write one to three sentences that belong together, or not."""
    draw = rng.random()
    if draw < 0.4:
        facts = sample_facts(rng, RELATIONS, rng.randint(2, 3))
        text = passage(rng, facts)[0]
        return f"{text} {state(rng, rng.choice(facts))[0]}." if rng.random() < 0.5 else text
    if draw < 0.55:
        item = make_question(rng, RELATIONS)
        return f"{item.context} {item.question} {item.answer}."
    if draw < 0.65:
        return make_pronoun(rng, VERBS).text
    if draw < 0.7:
        actor, patient = rng.sample(NAMES, 2)
        first, second = rng.sample(rng.choice(VERBS).statements(actor, patient), 2)
        return f"{first}. {second}."
    if draw < 0.9:
        return make_review(rng, ALL_OPINIONS, rng.random() < 0.5)
    return " ".join(any_sentence(rng) for _ in range(rng.randint(1, 3)))
