"""What is trained when: the mixture of skills, answer styles and text lengths as a function of progress.

Progress is the share of all steps already done, so that the curriculum does not depend on the speed of the machine.
The data stream is a function of the seed, the pool index and the progress at which a pool was drawn: it can be
continued at any batch without replaying what came before.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from multiprompt.mini.skills import PREFIX_KEYS, SLOT_SKILLS, SkillExample, make_example

# Share of each skill at the start and from the end of the first phase on. At the start, dense supervision (many
# answers on one text) teaches the matching of words; the judging skills alone stay at chance for long.
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
}
LATE_MIX: dict[str, float] = {
    "judgements": 0.6,
    "comparisons": 0.4,
    "restatement": 0.5,
    "spans": 0.5,
    "nli": 3.5,
    "yes_no": 1.4,
    "paraphrase": 2.4,
    "answerable": 2.6,
    "sentiment": 0.9,
    "pronoun_check": 0.6,
    "qa": 0.7,
    "cloze": 0.5,
    "cloze_with_choices": 0.5,
    "pronoun": 0.2,
    "topic": 0.1,
    "evidence": 0.4,
    "shared": 0.2,
}
FIRST_PHASE = 0.2
PREFIX_SHARE = 0.4
PREFIX_LENGTHS = (5, 10, 20, 20)
POOL_SIZE = 2048


@dataclass(frozen=True)
class Stage:
    """Settings of the mixture at one moment."""

    weights: dict[str, float]
    natural_rate: float
    prefix_share: float
    single_share: float
    long_share: float


def stage_at(progress: float) -> Stage:
    """Return the mixture at a progress between 0 and 1.

    Natural answer words come first: with digits and reversed digits from the start, a small model stays at chance.
    """
    blend = min(1.0, progress / FIRST_PHASE)
    weights = {name: (1 - blend) * EARLY_MIX[name] + blend * LATE_MIX[name] for name in EARLY_MIX}
    styled = min(1.0, max(0.0, (progress - 0.14) / 0.16))
    return Stage(
        weights=weights,
        natural_rate=1.0 - 0.7 * styled,
        prefix_share=0.0 if progress < 0.04 else PREFIX_SHARE,
        single_share=0.6 - 0.5 * blend,
        long_share=0.0 if progress < 0.4 else 0.25,
    )


@dataclass(frozen=True)
class TrainBatch:
    """Examples of similar length; with a prefix length, all of them are steered by their soft prefix."""

    examples: list[SkillExample]
    prefix_length: int


def draw_pool(seed: int, index: int, progress: float, tokens_per_batch: int) -> list[TrainBatch]:
    """Draw one pool of examples and cut it into batches of similar length."""
    rng = random.Random(f"{seed}-pool-{index}")
    stage = stage_at(progress)
    names, weights = list(stage.weights), list(stage.weights.values())
    # Three kinds of batches, so that short answers are not padded to the length of long ones.
    slots: list[SkillExample] = []
    plain: list[SkillExample] = []
    steered: list[SkillExample] = []
    for name in rng.choices(names, weights, k=POOL_SIZE):
        draw = rng.random()
        sizes = (1, 1) if draw < stage.single_share else (1, 3) if draw > 1 - stage.long_share else (1, 2)
        example = make_example(rng, name, natural_rate=stage.natural_rate, sizes=sizes)
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
