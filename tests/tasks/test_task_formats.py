"""Every task from rows written here: source, target, references, the inverse rule, and wrong rows."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multiprompt.errors import ConfigError, DataError, UnknownNameError
from multiprompt.metrics import METRICS, AnswerKind, score
from multiprompt.tasks import (
    LARGE,
    SPLIT_RULES,
    TASKS,
    LabelAnswer,
    Row,
    ScoreAnswer,
    SplitRule,
    Task,
    Template,
    TextAnswer,
    pad_punctuation,
)

ROWS: dict[str, tuple[dict[str, Any], str, str]] = {
    "sst2": ({"sentence": "a joy ", "label": 1, "idx": 0}, "sst2 sentence: a joy ", "1"),
    "cola": ({"sentence": "Him left.", "label": 0, "idx": 0}, "cola sentence: Him left.", "0"),
    "mrpc": (
        {"sentence1": "A b .", "sentence2": "B a .", "label": 1, "idx": 0},
        "mrpc sentence1: A b . sentence2: B a .",
        "1",
    ),
    "qqp": (
        {"question1": "Why?", "question2": "How {so}?", "label": 0, "idx": 0},
        "qqp question1: Why? question2: How {so}?",
        "0",
    ),
    "qnli": (
        {"question": "Who?", "sentence": "She did.", "label": 0, "idx": 0},
        "qnli question: Who? sentence: She did.",
        "0",
    ),
    "mnli": (
        {"premise": "It rains.", "hypothesis": "It is dry.", "label": 2, "idx": 0},
        "mnli premise: It rains. hypothesis: It is dry.",
        "2",
    ),
    "rte": (
        {"sentence1": "It rains.", "sentence2": "It is wet.", "label": 0, "idx": 0},
        "rte sentence1: It rains. sentence2: It is wet.",
        "0",
    ),
    "stsb": (
        {"sentence1": "A cat.", "sentence2": "The cat.", "label": 3.75, "idx": 0},
        "stsb sentence1: A cat. sentence2: The cat.",
        "3.8",
    ),
    "cb": (
        {"premise": "He said so.", "hypothesis": "so", "label": 2, "idx": 0},
        "superglue-cb premise: He said so. hypothesis: so",
        "2",
    ),
    "boolq": (
        {"question": "is it", "passage": "It is.", "label": 1, "idx": 0},
        "superglue-boolq question: is it passage: It is.",
        "1",
    ),
    "squad": (
        {
            "question": "Where's it?",
            "context": "In the U.S. (mostly).",
            "answers": {"text": ["U.S.", "the U.S.", "U.S."], "answer_start": [7, 3, 7]},
            "id": "x",
        },
        "squad question: Where ' s it ? context: In the U . S . ( mostly ) .",
        "U . S .",
    ),
    "wic": (
        {"sentence1": "A bank.", "sentence2": "Banks sank.", "word": "bank", "label": 1, "start1": 2},
        "superglue-wic sentence1: A bank. sentence2: Banks sank. word: bank",
        "1",
    ),
    "wsc": (
        {
            "text": "The old cook thanked Ann (a friend), and she smiled.",
            "span1_text": "the old cook",
            "span1_index": 0,
            "span2_text": "she",
            "span2_index": 8,
            "label": 1,
        },
        "superglue-wsc.fixed text: * The old cook * thanked Ann (a friend), and # she # smiled.",
        "1",
    ),
    "multirc": (
        {
            "paragraph": "<b>Sent 1: </b>A cat.<br>A dog.",
            "question": "What?",
            "answer": "A cat",
            "idx": {"paragraph": 3, "question": 7, "answer": 1},
            "label": 0,
        },
        "superglue-multirc question: What? answer: A cat paragraph: Sent 1: A cat. A dog.",
        "0",
    ),
    "record": (
        {
            "passage": "Bo ran.\n@highlight\nAl won\n@highlight\nHe slept",
            "query": "@placeholder was first",
            "entities": ["Bo", "Al"],
            "answers": ["Al", "Al", "Bo"],
            "entity_spans": {},
        },
        "superglue-record record query: @placeholder was first entities: Bo, Al passage: Bo ran. Al won. He slept",
        "Al",
    ),
    **{
        name: (
            {"question": "Who's it?", "context": "[PAR] It is J. Doe.", "answers": ["J. Doe", "Doe"], "key": "x"},
            f"{name} question: Who ' s it ? context: [ PAR ] It is J . Doe .",
            "J . Doe",
        )
        for name in ("naturalquestions", "hotpotqa", "searchqa", "newsqa")
    },
    "winogrande": (
        {"sentence": "Bo beat Al as _ was fast.", "option1": "Bo", "option2": "Al", "answer": "1"},
        "winogrande sentence: Bo beat Al as _ was fast. option0: Bo option1: Al",
        "0",
    ),
    "yelp_polarity": ({"text": "Cold soup.", "label": 0}, "yelp_polarity sentence: Cold soup.", "0"),
    "scitail": (
        {"sentence1": "Ice melts.", "sentence2": "Ice is solid.", "gold_label": "neutral"},
        "scitail sentence1: Ice melts. sentence2: Ice is solid.",
        "1",
    ),
    "paws": (
        {"id": 3, "sentence1": "A to B .", "sentence2": "B to A .", "label": 0},
        "paws sentence1: A to B . sentence2: B to A .",
        "0",
    ),
    "ag_news": ({"text": "Team wins.", "label": 1}, "ag_news sentence: Team wins.", "1"),
    "anli": (
        {"uid": "u", "premise": "It rains.", "hypothesis": "It is wet.", "label": 0, "reason": ""},
        "anli premise: It rains. hypothesis: It is wet.",
        "0",
    ),
    "commonsense_qa": (
        {
            "question": "Where do fish live?",
            "choices": {"label": ["A", "B", "C", "D", "E"], "text": ["sea", "sky", "sand", "sun", "salt"]},
            "answerKey": "A",
        },
        "commonsense_qa question: Where do fish live? "
        "choice1: sea choice2: sky choice3: sand choice4: sun choice5: salt",
        "0",
    ),
    "openbookqa": (
        {
            "question_stem": "Ice is",
            "choices": {"label": ["A", "B", "C", "D"], "text": ["hot", "cold", "loud", "gas"]},
            "answerKey": "B",
        },
        "openbookqa question: Ice is choice1: hot choice2: cold choice3: loud choice4: gas",
        "1",
    ),
    "arc": (
        {
            "id": "x",
            "question": "Ice is",
            "choices": {"label": ["1", "2", "3"], "text": ["hot", "cold", "loud"]},
            "answerKey": "3",
        },
        "arc question: Ice is choice1: hot choice2: cold choice3: loud",
        "2",
    ),
    "e2e": (
        {
            "meaning_representation": "name[The Mill], eatType[pub], priceRange[£20], familyFriendly[no], near[Bo's]",
            "human_reference": "The Mill is a pub near Bo's.",
        },
        "e2e name : The Mill | Type : pub | price : £20 | family friendly : no | near : Bo's",
        "The Mill is a pub near Bo's.",
    ),
    "webnlg": (
        {
            "category": "Airport",
            "modified_triple_sets": {
                "mtriple_set": [["Bo_Airport | runwayLength | 3.5", 'Bo_Airport | city | "Bo, X"']]
            },
            "lex": {
                "comment": ["good", "good"],
                "lid": ["Id1", "Id2"],
                "text": ["Bo Airport is long.", "It is in Bo."],
            },
        },
        'webnlg | Bo_Airport : runwayLength : 3.5 | Bo_Airport : city : "Bo, X"',
        "Bo Airport is long.",
    ),
}

METRICS_OF = {
    "sst2": ["accuracy"],
    "cola": ["matthews", "accuracy"],
    "mrpc": ["accuracy", "f1"],
    "qqp": ["accuracy", "f1"],
    "qnli": ["accuracy"],
    "mnli": ["accuracy"],
    "rte": ["accuracy"],
    "stsb": ["pearson", "spearman"],
    "cb": ["accuracy", "macro_f1"],
    "boolq": ["accuracy"],
    "multirc": ["f1", "question_exact_match", "accuracy"],
    "record": ["qa_f1", "exact_match"],
}
for _name in ("squad", "naturalquestions", "hotpotqa", "searchqa", "newsqa"):
    METRICS_OF[_name] = ["qa_f1_first", "exact_match_first", "qa_f1", "exact_match"]
for _name in ("wic", "wsc", "winogrande", "yelp_polarity", "scitail", "paws", "ag_news", "anli"):
    METRICS_OF[_name] = ["accuracy"]
for _name in ("commonsense_qa", "openbookqa", "arc"):
    METRICS_OF[_name] = ["accuracy"]

METRICS_OF["e2e"] = ["bleu_e2e", "nist", "meteor_e2e", "rouge_l", "cider"]
METRICS_OF["webnlg"] = ["bleu_webnlg", "meteor", "ter"]

PUBLIC = [name for name in TASKS if TASKS[name].family != "mini"]


def example_of(task: Task, row: Row) -> Any:
    return task.example(row, "train:0", where="rows.jsonl, line 1")


def test_every_public_task_has_a_row_here() -> None:
    assert set(PUBLIC) == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_format(name: str) -> None:
    row, source, target = ROWS[name]
    task = TASKS[name]
    example = example_of(task, row)
    assert (example.source, example.target, example.row_id) == (source, target, "train:0")
    assert example.references[0] == example.target == task.target(row)
    assert example.references == task.references(row)
    assert task.is_valid(example.target)
    assert [*task.metrics] == METRICS_OF[name]
    assert task.reported == task.metrics[0]
    without_prefix = dataclasses.replace(task, prefix="")
    assert example_of(without_prefix, row).source == task.source(row) == source.removeprefix(f"{task.prefix} ")


@pytest.mark.parametrize("name", ROWS)
def test_right_outputs_score_100_and_rubbish_is_invalid(name: str) -> None:
    task = TASKS[name]
    # scores of written text are not all out of 100: see test_generation.py
    targets = task.labels or ("0.4", "3.8")
    for metric in task.metrics if task.family != "generation" else ():
        assert score(metric, targets, [(target,) for target in targets], task.labels, targets) == pytest.approx(100)
        assert metric in METRICS
    assert not task.is_valid("")
    if task.kind is not AnswerKind.TEXT:
        assert not task.is_valid("<unk>")
        assert task.to_label("<unk>") is None


@pytest.mark.parametrize("name", ROWS)
def test_missing_columns(name: str) -> None:
    row, _, _ = ROWS[name]
    assert TASKS[name].columns
    for column in TASKS[name].columns:
        less = {key: value for key, value in row.items() if key != column}
        with pytest.raises(DataError, match=rf"^rows.jsonl, line 1: column '{column}' is missing; task '{name}'"):
            example_of(TASKS[name], less)


WRONG: list[Any] = [None, 7.5, ["a", 1], True, -1, {"a": 1}, float("nan"), float("inf")]


@pytest.mark.parametrize("name", ROWS)
def test_wrong_values(name: str) -> None:
    row, _, _ = ROWS[name]
    assert TASKS[name].columns
    for column, value in itertools.product(TASKS[name].columns, WRONG):
        with pytest.raises(DataError, match=rf"^rows.jsonl, line 1: column '{column}' is .*; expected "):
            example_of(TASKS[name], {**row, column: value})


def test_message_of_a_wrong_label() -> None:
    row, _, _ = ROWS["mnli"]
    with pytest.raises(DataError) as caught:
        example_of(TASKS["mnli"], {**row, "label": -1})
    assert str(caught.value) == (
        "rows.jsonl, line 1: column 'label' is -1; expected 0, 1 or 2 (-1 marks rows without an answer, "
        "such as those of an official test set) (task 'mnli')"
    )
    with pytest.raises(DataError, match=r"'a{76}\.\.\.;"):  # a long value is cut
        example_of(TASKS["mnli"], {**row, "label": "a" * 5000})


@pytest.mark.parametrize("name", [name for name in TASKS if TASKS[name].labels])
def test_target_rule_inverts(name: str) -> None:
    task = TASKS[name]
    assert task.labels is not None
    for label, word in enumerate(task.labels):
        assert task.to_label(task.answer.to_text(label)) == label
        assert task.to_label(f" {word}\n") == label
    if not isinstance(task.answer, LabelAnswer):
        return  # what a row holds for each choice is the row's own affair: see test_multiple_choice
    values = task.answer.values or range(len(task.labels))
    read = [task.answer.read({task.answer.column: value}) for value in values]
    assert read == list(range(len(task.labels)))


def test_label_columns_may_hold_names_or_digits_as_text() -> None:
    answer = LabelAnswer(("0", "1"), "gold_label", ("entailment", "neutral"))
    assert [answer.read({"gold_label": name}) for name in ("entailment", "neutral")] == [0, 1]
    assert LabelAnswer().read({"label": "1"}) == 1  # as in a csv file


@pytest.mark.parametrize("words", [(), ("1",), ("0", "0"), ("0", " 1"), ("0", "")])
def test_label_words_are_checked(words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="label words"):
        LabelAnswer(words)


def test_stsb_rounding() -> None:
    answer = TASKS["stsb"].answer
    assert isinstance(answer, ScoreAnswer)
    texts = {
        2.5: "2.4",
        3.75: "3.8",
        1.25: "1.2",
        0.1: "0.0",
        0.3: "0.4",
        4.9: "4.8",
        4.95: "5.0",
        0.0: "0.0",
        5.0: "5.0",
    }
    assert {score: answer.to_text(score) for score in texts} == texts
    assert answer.grid == tuple(f"{step / 5:.1f}" for step in range(26))
    assert all(answer.to_text(answer.to_label(text)) == text for text in answer.grid)
    tenths = ScoreAnswer(per_unit=10)
    assert [tenths.to_text(score) for score in (2.5, 3.75, 1.25)] == ["2.5", "3.8", "1.2"]
    assert [answer.to_label(text) for text in ("5.1", "-0.2", "nan", "x", " 2 ")] == [
        None,
        None,
        None,
        None,
        2.0,
    ]


def test_squad_answers_in_every_form() -> None:
    row, source, _ = ROWS["squad"]
    task = TASKS["squad"]
    expected = ("U . S .", "the U . S .")
    for answers in (row["answers"], ["U.S.", "the U.S."], {"text": ("U.S.", "the U.S.")}):
        example = example_of(task, {**row, "answers": answers})
        assert (example.source, example.references) == (source, expected)
    assert example_of(task, {**row, "answers": "U.S."}).references == ("U . S .",)
    for nothing in ([], {"text": []}, {"answer_start": [1]}):
        with pytest.raises(DataError, match="not empty"):
            example_of(task, {**row, "answers": nothing})
    assert task.to_label(" U . S . ") == "U . S ."
    assert task.canonical(row)["answer"] == ("U.S.", "the U.S.")  # repeated answers count once


@pytest.mark.parametrize(
    ("text", "padded"),
    [
        ("It's 5 °C.", "It ' s 5 ° C ."),
        ("a_b  c\td\n", "a_b c d"),
        ("naïve e\u0301 ½ १२ 漢字、", "naïve e\u0301 ½ १२ 漢字 、"),
        ("", ""),
        ("...", ". . ."),
        ("a\u00a0b", "a b"),
    ],
)
def test_pad_punctuation(text: str, padded: str) -> None:
    assert pad_punctuation(text) == padded


@given(text=st.text(st.characters()))
def test_pad_punctuation_keeps_every_character_and_is_stable(text: str) -> None:
    padded = pad_punctuation(text)
    assert "".join(padded.split()) == "".join(text.split())
    assert pad_punctuation(padded) == padded


@pytest.mark.parametrize("name", ROWS)
@given(data=st.data())
@settings(max_examples=25)
def test_formatting_never_raises_on_any_text(name: str, data: st.DataObject) -> None:
    task = TASKS[name]
    row = dict(ROWS[name][0])
    # WSC needs spans that stand in the text, E2E attributes with values: they have properties of their own.
    for column in task.source.columns if name not in ("wsc", "e2e") else ():
        if isinstance(row[column], str):
            row[column] = data.draw(st.text(), column)
    if task.kind is AnswerKind.TEXT:
        row[task.answer.columns[0]] = data.draw(st.lists(st.text(), min_size=1, max_size=3), "answers")
    example = example_of(task, row)
    assert example.source.startswith(f"{task.prefix} ")
    assert example.references[0] == example.target


def _wsc(text: str, noun: tuple[str, int], pronoun: tuple[str, int]) -> str:
    row = {"text": text, "span1_text": noun[0], "span1_index": noun[1]}
    return TASKS["wsc"].source(row | {"span2_text": pronoun[0], "span2_index": pronoun[1]})


def test_marks_of_wsc() -> None:
    # The pronoun first: its word does not move.
    assert _wsc("As he fell, Bob cried.", ("Bob", 3), ("he", 1)) == "text: As # he # fell, * Bob * cried."
    # Signs of regular expressions, and an end of line that the span has in another form.
    assert _wsc("I like (A+B)\n C* as it fits.", ("(A+B) C*", 2), ("it", 5)) == (
        "text: I like * (A+B)\n C* * as # it # fits."
    )
    # A pronoun within the noun.
    assert _wsc("Ann saw their dogs run.", ("their dogs", 2), ("their", 2)) == "text: Ann saw * # their # dogs * run."
    assert _wsc("Ann saw all their dogs.", ("all their dogs", 2), ("their", 3)) == (
        "text: Ann saw * all # their # dogs *."
    )
    row = {"text": "As he fell", "span1_text": "As", "span1_index": 0, "span2_text": "he", "span2_index": 2}
    with pytest.raises(DataError, match=r"column 'span2_index' is 2; expected the number of the word at which 'he'"):
        example_of(TASKS["wsc"], row | {"label": 0})


@given(
    words=st.lists(st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=5), min_size=2),
    data=st.data(),
)
def test_marked_spans_keep_every_character(words: list[str], data: st.DataObject) -> None:
    first, second = sorted(data.draw(st.lists(st.integers(0, len(words) - 1), min_size=2, max_size=2, unique=True)))
    text = _wsc(" ".join(words), (words[first], first), (words[second], second))
    expected = [*words[:first], "*", words[first], "*", *words[first + 1 : second], "#", words[second], "#"]
    assert text == " ".join(["text:", *expected, *words[second + 1 :]])


def test_multiple_choice() -> None:
    task = TASKS["commonsense_qa"]
    row, _, _ = ROWS["commonsense_qa"]
    digits = {**row, "choices": {"label": ["1", "2", "3"], "text": ["a", "b", "c"]}, "answerKey": "3"}
    assert task.target(digits) == "2"
    assert task.source(digits) == "question: Where do fish live? choice1: a choice2: b choice3: c"
    for wrong in (
        {"label": ["A", "A"], "text": ["a", "b"]},
        {"label": ["A", "B"], "text": ["a"]},
        {"label": ["A"], "text": ["a"]},
        {"label": list("ABCDEF"), "text": list("abcdef")},
        {"label": ["A", "B"]},
    ):
        with pytest.raises(DataError, match=r"column 'choices' is .*; expected .* 2 to 5 texts each"):
            example_of(task, {**row, "choices": wrong})
    with pytest.raises(DataError, match="column 'answerKey' is 'F'; expected one of the row's choices: A, B, C, D, E"):
        example_of(task, {**row, "answerKey": "F"})


@given(text=st.text(), other=st.text())
def test_text_in_braces_is_not_a_template(text: str, other: str) -> None:
    assert Template("{a} | {b}")({"a": text, "b": other}) == f"{text} | {other}"


def test_templates() -> None:
    template = Template("q: {question} c: {context} q: {question}", clean=str.upper)
    assert template.columns == ("question", "context")
    assert template({"question": "a", "context": "b"}) == "q: A c: B q: A"
    assert (template.opening, Template("{a}").opening) == ("q: ", "")
    row = {"review text": "{x}", "a.b": "1", "0": "2", " a[0] ": "3"}  # names as they are in the data
    named = Template("{{{review text}}} {a.b}{0} { a[0] }")
    assert (named.columns, named(row)) == (tuple(row), "{{x}} 12 3")
    for wrong in ("{", "{}", "{ }", "{a!r}", "{a:>3}", "{a: b}"):
        with pytest.raises(ConfigError, match="template"):
            Template(wrong)


def test_canonical_and_empty_text() -> None:
    row, _, _ = ROWS["stsb"]
    assert TASKS["stsb"].canonical(row) == {"sentence1": "A cat.", "sentence2": "The cat.", "answer": 3.75}
    assert not TASKS["stsb"].has_empty_text(row)
    blank = {**row, "sentence2": " "}
    assert TASKS["stsb"].has_empty_text(blank)
    assert example_of(TASKS["stsb"], blank).source == "stsb sentence1: A cat. sentence2:  "


def test_values_that_a_task_refuses() -> None:
    parts: dict[str, Any] = {
        "name": "mine",
        "family": "mine",
        "folder": "mine",
        "source": Template("{text}"),
        "answer": TextAnswer(),
        "metrics": ("accuracy",),
        "reported": "accuracy",
        "split_rule": LARGE,
    }
    assert Task(**parts).columns == ("text", "answers")
    with pytest.raises(ConfigError, match="reports 'f1'"):
        Task(**parts | {"reported": "f1"})
    with pytest.raises(UnknownNameError, match="unknown metric"):
        Task(**parts | {"metrics": ("acuracy",)})
    with pytest.raises(ConfigError, match="reports 'ter', of which less is better"):
        Task(**parts | {"metrics": ("ter", "bleu"), "reported": "ter"})
    assert Task(**parts | {"metrics": ("ter", "bleu"), "reported": "bleu"}).reported == "bleu"
    with pytest.raises(ConfigError, match="'question_exact_match', which judges groups of rows; expected a rule"):
        Task(**parts | {"metrics": ("accuracy", "question_exact_match")})
    with pytest.raises(ConfigError, match="generator"):
        Task(**parts | {"split_rule": SplitRule("g", "generated", dev="dev")})
    with pytest.raises(ConfigError, match="split rule"):
        SplitRule("mine", "official")
    with pytest.raises(ConfigError, match="split rule"):
        SplitRule("mine", "halves", dev="validation")


def test_the_group_of_a_row_is_its_question() -> None:
    task, row = TASKS["multirc"], ROWS["multirc"][0]
    assert task.example(row, "validation:0", where="here", scored=True).group == "paragraph 3, question 7"
    # the number of the answer does not matter, and a question of another paragraph is another one
    other = row | {"idx": {"paragraph": 4, "question": 7, "answer": 1}}
    assert task.example(other, "validation:1", where="here", scored=True).group == "paragraph 4, question 7"
    # rows that are only trained on need none
    without = {column: value for column, value in row.items() if column != "idx"}
    assert task.example(without, "train:0", where="here").group is None
    with pytest.raises(DataError, match="^rows.jsonl, line 1: column 'idx' is missing; task 'multirc' needs .*idx"):
        task.example(without, "validation:0", where="rows.jsonl, line 1", scored=True)


def test_rows_of_one_passage_are_one_cluster() -> None:
    def cluster(task: str, row: dict[str, Any], scored: bool = True) -> str | None:
        return TASKS[task].example(row, "validation:0", where="here", scored=scored).cluster

    row = ROWS["multirc"][0]
    other = row | {"question": "another", "idx": {"paragraph": 3, "question": 9, "answer": 0}}
    assert cluster("multirc", row) == cluster("multirc", other) is not None
    assert cluster("multirc", row) != cluster("multirc", row | {"paragraph": "another"})
    assert cluster("multirc", row, scored=False) is None, "rows that are only trained on need none"
    for task in ("boolq", "squad", "mnli"):
        assert cluster(task, ROWS[task][0]) is not None
    assert cluster("sst2", ROWS["sst2"][0]) is None
    empty = ROWS["boolq"][0] | {"passage": " "}
    assert cluster("boolq", empty) is None, "nothing is no passage"


@pytest.mark.parametrize("idx", [7, "7", None, {}, {"paragraph": 1}, {"paragraph": "1", "question": 2}, [1, 2]])
def test_a_group_that_cannot_be_read(idx: Any) -> None:
    row = ROWS["multirc"][0] | {"idx": idx}
    with pytest.raises(DataError, match="line 1: column 'idx' is .*; expected an object with the numbers"):
        TASKS["multirc"].example(row, "validation:0", where="rows.jsonl, line 1", scored=True)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_consistent(name: str) -> None:
    task = TASKS[name]
    assert task.name == name
    assert task.max_source_length > 0
    assert task.generation_length >= 8
    assert task.max_target_length >= 3  # "0" is two T5 tokens, and the end-of-sequence token is one
    assert (task.labels is None) == (task.kind is not AnswerKind.LABEL)
    assert task.version >= 1
    assert SPLIT_RULES[task.split_rule.name] == task.split_rule
    if task.hub is not None:
        # The others' commits could not be looked up; the fingerprint of the rows tells when they change.
        assert task.hub.revision or task.family in ("mrqa", "others", "multiple choice")


def test_unknown_task_names_the_closest() -> None:
    with pytest.raises(UnknownNameError, match="'boolq'"):
        TASKS["bool"]


def test_no_torch() -> None:
    code = "import sys, multiprompt.tasks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
