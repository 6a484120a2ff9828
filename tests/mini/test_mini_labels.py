"""Every label of the generated benchmark, derived again from the texts by an independent reader."""

from __future__ import annotations

import re

import pytest

from mini.world_reader import read, read_text, verdict
from multiprompt.mini import generate
from multiprompt.mini.benchmark import Row
from multiprompt.mini.world import ALL_OPINIONS, FEMALE_NAMES, MALE_NAMES, RELATIONS

ROWS = 400


@pytest.mark.parametrize("task", ["mnli", "cb", "rte", "scitail", "anli"])
def test_verdict_follows_from_the_facts(task: str) -> None:
    names = {
        "mnli": {0: {"entailment"}, 1: {"neutral"}, 2: {"contradiction"}},
        "cb": {0: {"entailment"}, 1: {"contradiction"}, 2: {"neutral"}},
        "rte": {0: {"entailment"}, 1: {"neutral", "contradiction"}},
        "scitail": {0: {"entailment"}, 1: {"neutral"}},
        "anli": {0: {"entailment"}, 1: {"neutral"}, 2: {"contradiction"}},
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


@pytest.mark.parametrize("task", ["squad", "naturalquestions", "newsqa"])
def test_extracted_answer_is_the_stated_value_and_at_its_place(task: str) -> None:
    for row in generate(task, "train", ROWS):
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


def test_an_answer_is_right_or_wrong() -> None:
    for row in generate("multirc", "train", ROWS):
        question = read(row["question"])
        stated = read_text(row["paragraph"])[question.subject, question.relation]
        assert row["label"] == int(stated == row["answer"]), row


def test_gender_decides_which_option_a_pronoun_means() -> None:
    for row in generate("winogrande", "train", ROWS):
        fitting = MALE_NAMES if " he " in row["sentence"] else FEMALE_NAMES
        options = [row["option1"], row["option2"]]
        assert [option for option in options if option in fitting] == [row["answer"]]


def test_topics_are_those_of_the_statements() -> None:
    topics = {relation.name: relation.topic for relation in RELATIONS}
    for row in generate("ag_news", "train", ROWS):
        found = {topics[relation] for _, relation in read_text(row["text"])}
        assert found == {("food", "job", "music", "town")[row["label"]]}


def _choices(row: Row) -> list[str]:
    return [row[f"choice{place}"] for place in range(3)]


def test_the_right_choice_answers_the_question() -> None:
    for row in generate("commonsense_qa", "train", ROWS):
        question = read(row["question"])
        stated = read_text(row["context"])[question.subject, question.relation]
        assert row["answer"] == stated
        assert stated in _choices(row)
        assert len(set(_choices(row))) == 3


def test_the_right_choice_fills_the_gap() -> None:
    for row in generate("openbookqa", "train", ROWS):
        facts = read_text(row["passage"])
        query = read(row["query"])
        fits = []
        for choice in _choices(row):
            subject = choice if query.subject == "@placeholder" else query.subject
            value = choice if query.value == "@placeholder" else query.value
            fits += [choice] * (facts.get((subject, query.relation)) == value)
        assert fits == [row["answer"]], row


def test_the_right_choice_says_the_same() -> None:
    for row in generate("arc", "train", ROWS):
        same = [read(choice) == read(row["sentence"]) for choice in _choices(row)]
        assert same == [place == row["label"] for place in range(3)], row


def test_texts_from_data_tell_all_of_it() -> None:
    for row in generate("e2e", "train", ROWS):
        (_, subject), *pairs = (pair.split(": ") for pair in row["meaning_representation"].split(", "))
        topics = {relation.topic: relation.name for relation in RELATIONS}
        facts = {(subject, topics[topic]): value for topic, value in pairs}
        assert len(set(row["human_reference"])) == 4 ** len(pairs)
        for text in row["human_reference"]:
            assert read_text(text) == facts
