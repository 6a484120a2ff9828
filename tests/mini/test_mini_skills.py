"""Pretraining must not see what the targets are made of, but as unlabelled text and in extraction."""

from __future__ import annotations

import random
import re

import pytest

from multiprompt.mini import TARGET_TASKS, generate
from multiprompt.mini.makers import Texts
from multiprompt.mini.world import (
    HELD_OUT_OPINIONS,
    HELD_OUT_RELATIONS,
    HELD_OUT_VERBS,
    RELATIONS,
    SEEN_OPINIONS,
    SEEN_RELATIONS,
    SEEN_VERBS,
    VERBS,
)
from skills import (
    JUDGING_SKILLS,
    NATURAL,
    PREFIX_KEYS,
    SKILLS,
    SUPERVISED_PAIR_SKILLS,
    Level,
    make_example,
)

SAMPLE = 2_000


def words(text: str) -> set[str]:
    return set(re.findall(r"@?[a-z0-9]+", text))


HELD_OUT_WORDS = (
    {value for relation in HELD_OUT_RELATIONS for value in relation.values}
    | {form for verb in HELD_OUT_VERBS for form in (verb.base, verb.past, verb.nominal.split()[-1])}
    | {
        word
        for group in (HELD_OUT_OPINIONS.praise, HELD_OUT_OPINIONS.blame, HELD_OUT_OPINIONS.things)
        for word in group
    }
)


def test_held_out_and_seen_parts_are_disjoint() -> None:
    assert not {r.name for r in HELD_OUT_RELATIONS} & {r.name for r in SEEN_RELATIONS}
    assert not {v for r in HELD_OUT_RELATIONS for v in r.values} & {v for r in SEEN_RELATIONS for v in r.values}
    assert not {t for r in HELD_OUT_RELATIONS for t in r.statements} & {t for r in SEEN_RELATIONS for t in r.statements}
    assert not {v.past for v in HELD_OUT_VERBS} & {v.past for v in SEEN_VERBS}
    assert not set(HELD_OUT_OPINIONS.praise + HELD_OUT_OPINIONS.blame) & set(SEEN_OPINIONS.praise + SEEN_OPINIONS.blame)
    assert set(RELATIONS) == {*SEEN_RELATIONS, *HELD_OUT_RELATIONS}
    assert set(VERBS) == {*SEEN_VERBS, *HELD_OUT_VERBS}


def test_every_value_belongs_to_one_relation() -> None:
    values = [value for relation in RELATIONS for value in relation.values]
    assert len(values) == len(set(values))


@pytest.mark.parametrize("skill", SUPERVISED_PAIR_SKILLS)
def test_supervised_pair_skills_never_use_a_held_out_word(skill: str) -> None:
    rng = random.Random(f"held out {skill}")
    for _ in range(SAMPLE):
        example = make_example(rng, skill, natural_rate=0.5, level=Level(Texts((1, 3), 0.3)))
        assert not words(example.body) & HELD_OUT_WORDS, example
        assert not words(example.target) & HELD_OUT_WORDS, example


def test_skills_that_are_not_checked_have_no_labels_on_pairs() -> None:
    others = set(SKILLS) - set(SUPERVISED_PAIR_SKILLS)
    assert others == {"qa", "cloze", "cloze_with_choices", "topic", "restatement", "spans"}
    verdicts = {word for judging in JUDGING_SKILLS.values() for word in judging.natural} - {"good", "bad"}
    rng = random.Random("others")
    for skill in sorted(others):
        for _ in range(300):
            assert not words(make_example(rng, skill).target) & verdicts


@pytest.mark.parametrize("task", TARGET_TASKS)
def test_every_target_row_uses_a_held_out_word(task: str) -> None:
    rows = generate(task, "train", 300)
    texts = [" ".join(str(value) for value in row.values()) for row in rows]
    share = sum(bool(words(text) & HELD_OUT_WORDS) for text in texts) / len(texts)
    # A review is written with seen and unseen opinion words together.
    assert share > 0.6 if task == "yelp" else share == 1.0


@pytest.mark.parametrize("skill", SKILLS)
def test_examples_are_reproducible_and_have_a_target(skill: str) -> None:
    first, second = ([make_example(random.Random(i), skill) for i in range(50)] for _ in range(2))
    assert first == second
    assert all(example.target and example.body for example in first)


@pytest.mark.parametrize("skill", JUDGING_SKILLS)
def test_answers_of_a_judging_skill_follow_its_style(skill: str) -> None:
    judging = JUDGING_SKILLS[skill]
    rng = random.Random(skill)
    for style in judging.styles():
        targets = {make_example(rng, skill, style=style).target for _ in range(60)}
        assert targets == set(judging.answers(style))
        assert (skill, style) in PREFIX_KEYS
    assert judging.answers(NATURAL) == judging.natural


@pytest.mark.parametrize("skill", ["spans", "restatement", "judgements", "comparisons"])
def test_slots_of_source_and_target_agree(skill: str) -> None:
    rng = random.Random(skill)
    for _ in range(500):
        example = make_example(rng, skill)
        slots = re.findall(r"<extra_id_\d+>", example.body)
        assert sorted(slots) == re.findall(r"<extra_id_\d+>", example.target)
        assert len(set(slots)) == len(slots)
