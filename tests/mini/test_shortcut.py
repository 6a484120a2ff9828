"""The rule on shared words: its outcomes on texts written by hand, and what it scores on the generated tasks."""

from __future__ import annotations

import pytest

from multiprompt.data import load_task_data
from multiprompt.evaluation.baselines import Baselines
from multiprompt.evaluation.scoring import evaluate_answers
from multiprompt.mini.shortcut import shared_words
from multiprompt.tasks import TASKS


@pytest.mark.parametrize(
    ("source", "outcome"),
    [
        ("premise: tom owns a lamp. hypothesis: the lamp belongs to tom.", (("all", "all", False),)),
        ("premise: tom owns a lamp. hypothesis: tom does not own a lamp.", (("all", "all", True),)),
        ("premise: tom owns a lamp. anna is a judge. hypothesis: anna owns a ring.", (("all", "none", False),)),
        ("sentence1: anna called tom. sentence2: tom was called by zoe.", (("some", "-", False),)),
        ("rte sentence1: no dog lives with tom. sentence2: tom does not keep a cat.", (("all", "none", False),)),
        (
            "question: who owns a lamp? answer: tom paragraph: the lamp belongs to anna.",
            (("-", "all", False), ("none", "-", False)),
        ),
        ("sentence: it is a poor room.", ()),
        ("no fields at all", ()),
    ],
)
def test_what_two_texts_share(source, outcome):
    assert shared_words(source) == outcome


def test_tasks_of_one_text_and_of_open_answers_have_no_rule():
    without = {name.removeprefix("mini-") for name in TASKS if name.startswith("mini-") and not TASKS[name].shortcut}
    open_answers = {
        "squad",
        "record",
        "winogrande",
        "naturalquestions",
        "newsqa",
        "e2e",
        "commonsense_qa",
        "openbookqa",
    }
    assert without == {"sst2", "yelp", "ag_news"} | open_answers


def test_the_rule_answers_most_of_a_task_and_half_of_one_that_turns_roles_round():
    """paws has the same words in both sentences, whatever the label; boolq is a matter of words nearly alone."""
    scores = {}
    for name in ("mini-paws", "mini-boolq"):
        data = load_task_data(TASKS[name], max_train=400, max_test=200)
        baselines = Baselines.of(data.task, data.train)
        scores[name] = evaluate_answers(data.task, data.test, ["0"] * len(data.test), baselines).shortcut
    assert scores["mini-paws"] == 50
    assert scores["mini-boolq"] > 90
