"""What is trained when: the mixture of skills, answer styles and text lengths as a function of the step.

The curriculum counts steps, never seconds, and does not depend on how many there will be: a longer run starts
with the steps of a shorter one. The data stream is a function of the seed, the pool index and the step at
which a pool was drawn, so it can be continued at any batch without replaying what came before.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from multiprompt.mini.makers import Texts
from skills import PREFIX_KEYS, SLOT_SKILLS, Level, SkillExample, make_example

# Share of each skill. At first, dense supervision (many answers on one text) teaches the matching of words; from
# PAIRS_FROM on, mostly pairs of sentences, which stay at chance for long; in the end, everything in proportion.
EARLY_MIX: dict[str, float] = {
    "judgements": 4.0,
    "comparisons": 2.5,
    "restatement": 1.0,
    "spans": 0.5,
    "nli": 1.6,
    "yes_no": 0.6,
    "paraphrase": 1.4,
    "answerable": 1.2,
    "sentiment": 0.5,
    "pronoun_check": 0.3,
    "qa": 0.5,
    "cloze": 0.4,
    "cloze_with_choices": 0.3,
    "pronoun": 0.2,
    "topic": 0.1,
    "evidence": 0.8,
    "shared": 0.4,
    "same_person": 0.0,
}
LATE_MIX: dict[str, float] = {
    "judgements": 0.6,
    "comparisons": 0.6,
    "restatement": 1.2,
    "spans": 0.5,
    "nli": 3.5,
    "yes_no": 1.4,
    "paraphrase": 2.4,
    "answerable": 2.6,
    "sentiment": 0.9,
    "pronoun_check": 0.6,
    "qa": 1.0,
    "cloze": 0.8,
    "cloze_with_choices": 0.5,
    "pronoun": 0.2,
    "topic": 0.1,
    "evidence": 0.4,
    "shared": 0.2,
    "same_person": 0.0,
}
PAIR_MIX: dict[str, float] = {
    **LATE_MIX,
    "paraphrase": 3.0,
    "answerable": 3.0,
    "evidence": 1.5,
    "shared": 0.8,
    "yes_no": 1.2,
    "sentiment": 0.5,
    "comparisons": 0.6,
    "restatement": 1.0,
    "spans": 0.3,
}
# The last thing to be learned is that another name makes another fact: for a while, more of that.
NAME_MIX: dict[str, float] = {**PAIR_MIX, "same_person": 2.0, "judgements": 1.5, "comparisons": 1.0}
# Then everything, with more of what was found late: whether a pronoun means a person.
FULL_MIX: dict[str, float] = {**LATE_MIX, "pronoun_check": 2.0, "evidence": 0.8, "nli": 4.0}
BLEND_STEPS = 6_600
PAIRS_FROM, PAIRS_TO, FULL_FROM = 7_000, 16_000, 17_100
NAMES_FROM, NAMES_TO = 9_000, 14_000
PERSON_RATE, PERSON_RATE_OF_NAMES, PAIR_PERSON_RATE_OF_NAMES = 0.5, 0.8, 0.5
# Natural answer words come first; a taste of digits before the pairs, all styles after them.
FIRST_STYLES_FROM, FIRST_STYLES_FULL = 4_620, 8_000
STYLES_FROM, STYLES_TO = 9_500, 12_000
NATURAL_RATE = 0.3
PREFIXES_FROM = 1_320
PREFIX_SHARE, PREFIX_SHARE_WITH_PAIRS = 0.4, 0.2
LONG_TEXTS_FROM = 11_000
# From here on prefixes are started afresh in turn, one every so many steps.
RENEWALS_FROM, RENEWALS_TO, RENEWAL_EVERY = 12_000, 22_500, 40
# The last phase: mostly soft prefixes, and what they steered worst.
STEERING_FROM = 22_500
PREFIX_SHARE_WHEN_STEERING = 0.5
STEERING_MIX: dict[str, float] = {**FULL_MIX, "answerable": 4.0, "paraphrase": 3.2, "pronoun_check": 1.0}
# Share of texts in which two people differ in the value of one relation, so that names have to be compared:
# in claims and yes/no questions, in questions and gaps, and in facts told twice.
EARLY_TWINS = (0.15, 0.15, 0.0)
LATE_TWINS = (0.3, 0.4, 0.5)
PREFIX_LENGTHS = (5, 10, 20, 20)
POOL_SIZE = 2048


@dataclass(frozen=True)
class Stage:
    """Settings of the mixture at one moment."""

    weights: dict[str, float]
    twins: tuple[float, float, float]
    names: bool
    natural_rate: float
    prefix_share: float
    single_share: float
    long_share: float


def stage_at(step: int) -> Stage:
    """Return the mixture at a step."""
    names = NAMES_FROM <= step < NAMES_TO
    pairs = PAIRS_FROM <= step < PAIRS_TO
    blend = min(1.0, step / BLEND_STEPS)
    blended = {name: (1 - blend) * EARLY_MIX[name] + blend * LATE_MIX[name] for name in EARLY_MIX}
    first, full = (STYLES_FROM, STYLES_TO) if step >= PAIRS_FROM else (FIRST_STYLES_FROM, FIRST_STYLES_FULL)
    styled = min(1.0, max(0.0, (step - first) / (full - first)))
    prefix_share = PREFIX_SHARE_WITH_PAIRS if pairs else PREFIX_SHARE
    if step >= FULL_FROM:
        blended = FULL_MIX
    if step >= STEERING_FROM:
        blended = STEERING_MIX
        prefix_share = PREFIX_SHARE_WHEN_STEERING
    pair_mix = NAME_MIX if names else PAIR_MIX
    return Stage(
        weights=pair_mix if pairs else blended,
        twins=EARLY_TWINS if step < PAIRS_FROM else LATE_TWINS,
        names=names,
        natural_rate=1.0 - (1.0 - NATURAL_RATE) * styled,
        prefix_share=0.0 if step < PREFIXES_FROM else prefix_share,
        single_share=0.6 - 0.5 * blend,
        long_share=0.0 if step < LONG_TEXTS_FROM else 0.25,
    )


@dataclass(frozen=True)
class TrainBatch:
    """Examples of similar length; with a prefix length, all of them are steered by their soft prefix."""

    examples: list[SkillExample]
    prefix_length: int


def draw_pool(seed: int, index: int, step: int, tokens_per_batch: int) -> list[TrainBatch]:
    """Draw one pool of examples and cut it into batches of similar length."""
    rng = random.Random(f"{seed}-pool-{index}")
    stage = stage_at(step)
    judged, searched, retold = stage.twins
    names, weights = list(stage.weights), list(stage.weights.values())
    # Three kinds of batches, so that short answers are not padded to the length of long ones.
    slots: list[SkillExample] = []
    plain: list[SkillExample] = []
    steered: list[SkillExample] = []
    for name in rng.choices(names, weights, k=POOL_SIZE):
        draw = rng.random()
        sizes = (1, 1) if draw < stage.single_share else (1, 3) if draw > 1 - stage.long_share else (1, 2)
        level = Level(
            judged=Texts(sizes, judged, PERSON_RATE_OF_NAMES if stage.names else PERSON_RATE),
            searched=Texts((2, 3), searched),
            retold_twin_rate=retold,
            pair_person_rate=PAIR_PERSON_RATE_OF_NAMES if stage.names else None,
        )
        example = make_example(rng, name, natural_rate=stage.natural_rate, level=level)
        if name in SLOT_SKILLS:
            slots.append(example)
        elif (name, example.style) in PREFIX_KEYS and rng.random() < stage.prefix_share:
            steered.append(example)
        else:
            plain.append(example)
    batches = _cut(rng, slots, 0, tokens_per_batch) + _cut(rng, plain, 0, tokens_per_batch)
    batches += _cut(rng, steered, rng.choice(PREFIX_LENGTHS), tokens_per_batch)
    rng.shuffle(batches)
    return batches


def _cut(
    rng: random.Random, examples: list[SkillExample], prefix_length: int, tokens_per_batch: int
) -> list[TrainBatch]:
    def length(example: SkillExample) -> int:
        """Estimate the encoder length: words and marks."""
        text = example.body if prefix_length else example.source
        return len(text.split()) + sum(text.count(mark) for mark in ".,?:") + 1 + prefix_length

    keyed = sorted(((length(example) + 4 * rng.random(), example) for example in examples), key=lambda x: x[0])
    batches: list[TrainBatch] = []
    current: list[SkillExample] = []
    for size, example in keyed:
        if current and (len(current) + 1) * size > tokens_per_batch:
            batches.append(TrainBatch(current, prefix_length))
            current = []
        current.append(example)
    if current:
        batches.append(TrainBatch(current, prefix_length))
    return batches
