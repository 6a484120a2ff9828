"""Every label of the generated benchmark, derived again from the texts by an independent reader."""

from __future__ import annotations

import re

import pytest

from mini.world_reader import read, read_text, verdict
from multiprompt.mini import generate
from multiprompt.mini.world import ALL_OPINIONS, FEMALE_NAMES, MALE_NAMES

ROWS = 400


@pytest.mark.parametrize("task", ["mnli", "cb", "rte", "scitail"])
def test_verdict_follows_from_the_facts(task: str) -> None:
    names = {
        "mnli": {0: {"entailment"}, 1: {"neutral"}, 2: {"contradiction"}},
        "cb": {0: {"entailment"}, 1: {"contradiction"}, 2: {"neutral"}},
        "rte": {0: {"entailment"}, 1: {"neutral", "contradiction"}},
        "scitail": {0: {"entailment"}, 1: {"neutral"}},
    }[task]
    first, second = ("sentence1", "sentence2") if task == "rte" else ("premise", "hypothesis")
    for row in generate(task, "train", ROWS):
        assert verdict(row[first], row[second]) in names[row["label"]], row


def test_answerable_questions_are_about_stated_facts() -> None:
    for row in generate("qnli", "train", ROWS):
        question = read(row["question"])
        assert question.kind == "question"
        stated = (question.subject, question.relation) in read_text(row["sentence"])
        assert row["label"] == (0 if stated else 1), row


def test_yes_no_answers_follow_from_the_facts() -> None:
    for row in generate("boolq", "train", ROWS):
        asked = read(row["question"])
        assert asked.kind == "check"
        stated = read_text(row["passage"])[asked.subject, asked.relation]
        assert row["label"] == int(stated == asked.value), row


@pytest.mark.parametrize(
    ("task", "first", "second"),
    [
        ("qqp", "question1", "question2"),
        ("mrpc", "sentence1", "sentence2"),
        ("paws", "sentence1", "sentence2"),
    ],
)
def test_paraphrases_have_equal_readings(task: str, first: str, second: str) -> None:
    for row in generate(task, "train", ROWS):
        assert row[first] != row[second]
        assert row["label"] == int(read(row[first]) == read(row[second])), row


def test_questions_of_qqp_are_questions() -> None:
    assert all(
        row["question1"].endswith("?") and row["question2"].endswith("?") for row in generate("qqp", "test", 200)
    )


def test_extracted_answer_is_the_stated_value_and_at_its_place() -> None:
    for row in generate("squad", "train", ROWS):
        question = read(row["question"])
        (answer,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
        assert read_text(row["context"])[question.subject, question.relation] == answer
        assert row["context"][start : start + len(answer)] == answer


def test_gap_has_exactly_one_filler() -> None:
    for row in generate("record", "train", ROWS):
        facts = {(subject, relation, value) for (subject, relation), value in read_text(row["passage"]).items()}
        query = read(row["query"])
        fits = [
            entity
            for entity in row["entities"]
            if (
                entity if query.subject == "@placeholder" else query.subject,
                query.relation,
                entity if query.value == "@placeholder" else query.value,
            )
            in facts
        ]
        assert fits == row["answers"], row


def _mood(clause: str) -> int:
    words = set(re.findall(r"\w+", clause))
    praise = bool(words & set(ALL_OPINIONS.praise))
    assert praise != bool(words & set(ALL_OPINIONS.blame)), clause
    return int(praise != bool(words & {"not", "never"}))


def test_mood_of_a_sentence_is_what_it_says_in_the_end() -> None:
    for row in generate("sst2", "train", ROWS):
        assert row["label"] == _mood(row["sentence"].split(" but in the end ")[-1]), row


def test_mood_of_a_review_is_the_majority() -> None:
    for row in generate("yelp", "train", ROWS):
        moods = [_mood(sentence) for sentence in re.findall(r"[^.]+\.", row["text"])]
        assert 2 * sum(moods) != len(moods)
        assert row["label"] == int(2 * sum(moods) > len(moods)), row


def test_gender_decides_who_a_pronoun_means() -> None:
    for row in generate("wsc", "train", ROWS):
        words = row["text"].split()
        assert words[row["span1_index"]] == row["span1_text"]
        assert words[row["span2_index"]] == row["span2_text"]
        fitting = MALE_NAMES if row["span2_text"] == "he" else FEMALE_NAMES
        assert row["label"] == int(row["span1_text"] in fitting), row
