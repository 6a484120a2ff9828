"""What a method's answers are worth: every metric of a task, grouped or not, from the same answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy import stats

from multiprompt.data import tokenise
from multiprompt.evaluation.baselines import Baselines, groups_of
from multiprompt.evaluation.generate import Generated, generate
from multiprompt.evaluation.results import bootstrap_interval
from multiprompt.evaluation.scoring import dev_value, evaluate_answers, evaluate_task
from multiprompt.examples import TextExample
from multiprompt.methods import PromptTuning
from multiprompt.metrics import METRICS, score, statistics_of
from multiprompt.prompts import SoftPrompt
from multiprompt.tasks import TASKS

QUESTION = replace(TASKS["multirc"], metrics=("question_exact_match", "f1"), reported="question_exact_match")
EXAMPLES = [TextExample(f"s {n}", str(n % 2), (str(n % 2),), f"validation:{n}", f"q{n // 3}") for n in range(9)]


def test_a_grouped_metric_is_computed_with_its_groups(tiny_backbone, monkeypatch):
    answers = ["0", "1", "0", "1", "0", "1", "0", "0", "0"]  # two questions right, one wrong
    decoded = Generated(list(answers), unended=3)
    monkeypatch.setattr("multiprompt.evaluation.scoring.generate", lambda *_, **__: decoded)
    monkeypatch.setattr("multiprompt.evaluation.scoring.generate_answers", lambda *_, **__: decoded.texts)
    method = PromptTuning(tiny_backbone, SoftPrompt([torch.zeros(2, 16)]))
    tokens = tokenise(EXAMPLES, tiny_backbone.coder, 8, 4)
    evaluation = evaluate_task(method, QUESTION, EXAMPLES, tokens, 0, Baselines("0"))
    references, groups = [example.references for example in EXAMPLES], [example.group for example in EXAMPLES]
    assert evaluation.value == evaluation.metrics["question_exact_match"] == pytest.approx(100 * 2 / 3)
    assert evaluation.metrics["f1"] == score("f1", answers, references, QUESTION.labels)
    assert evaluation.majority == 0  # the constant answer 0 is right for no whole question
    rows = statistics_of("question_exact_match", answers, references, QUESTION.labels, groups)
    assert evaluation.interval == bootstrap_interval(METRICS["question_exact_match"], rows)
    assert evaluation.unended == pytest.approx(1 / 3)
    assert dev_value(method, QUESTION, EXAMPLES, tokens, 0) == evaluation.value


def rows_of(answers: str) -> list[TextExample]:
    return [TextExample(f"s {n}", answer, (answer,), f"train:{n}") for n, answer in enumerate(answers)]


def test_the_constant_answer_is_chosen_on_training_rows_by_the_reported_metric():
    """Balanced classes tie under accuracy, and F1 of the constant 1 is 2/3; the most frequent answer has 0."""
    task = TASKS["mini-multirc"]
    assert (task.reported, task.metrics) == ("f1", ("f1", "accuracy"))
    baselines = Baselines.of(task, rows_of("0101"))
    assert baselines.constant == "1"
    evaluation = evaluate_answers(task, rows_of("0011"), ["0"] * 4, baselines)
    assert (evaluation.value, evaluation.majority) == (0, pytest.approx(200 / 3))
    # an uneven task: the label that is frequent in training, though it is rare in this test set
    uneven = Baselines.of(TASKS["mrpc"], rows_of("0111"))
    assert evaluate_answers(TASKS["mrpc"], rows_of("0001"), ["0"] * 4, uneven).majority == 25


def test_a_rule_on_words_means_what_its_outcomes_meant_in_training():
    task = replace(TASKS["mini-rte"], shortcut=lambda source: source[0])
    train = [replace(row, source=text) for row, text in zip(rows_of("1100011"), "aaabbbb", strict=True)]
    baselines = Baselines.of(task, train)
    assert baselines == Baselines("1", {"a": "1", "b": "0"})
    test = [replace(row, source=text) for row, text in zip(rows_of("1001"), "abac", strict=True)]
    # right on the first, the second, and the last, of which no training row is known: the constant answer
    assert evaluate_answers(task, test, ["0"] * 4, baselines).shortcut == 75
    assert evaluate_answers(TASKS["rte"], test, ["0"] * 4, Baselines("1")).shortcut is None


def test_rows_of_a_passage_are_drawn_together():
    task = TASKS["boolq"]
    rows = [TextExample("s", "1", ("1",), f"validation:{n}", cluster=f"p{n // 5}") for n in range(60)]
    answers = [str(n // 5 % 3 % 2) for n in range(60)]  # five rows right or wrong together
    together = evaluate_answers(task, rows, answers, Baselines("1")).interval
    once = evaluate_answers(
        task, [replace(row, cluster=None) for row in rows[::5]], answers[::5], Baselines("1")
    ).interval
    assert together == pytest.approx(once)
    apart = evaluate_answers(task, [replace(row, cluster=None) for row in rows], answers, Baselines("1")).interval
    assert apart[1] - apart[0] < 0.6 * (together[1] - together[0])


@pytest.mark.parametrize(("answer", "right"), [("1", 28), ("0", 0)])
def test_an_accuracy_of_all_or_nothing_has_an_interval(answer, right):
    rows = [TextExample("s", "1", ("1",), f"validation:{n}") for n in range(28)]
    expected = stats.binomtest(right, 28).proportion_ci(method="wilson")
    evaluation = evaluate_answers(TASKS["boolq"], rows, [answer] * 28, Baselines("1"))
    assert evaluation.interval == pytest.approx((100 * expected.low, 100 * expected.high))


def test_answers_without_an_end_are_counted(tiny_backbone, monkeypatch):
    ids = torch.tensor([[0, 5, 1, 0], [0, 5, 6, 7], [0, 1, 0, 0]])  # 1 ends a sequence
    method = PromptTuning(tiny_backbone, SoftPrompt([torch.zeros(2, 16)]))
    monkeypatch.setattr(method, "generate", lambda *_: ids)
    decoded = generate(method, tokenise(EXAMPLES[:3], tiny_backbone.coder, 8, 4), 0, 3)
    assert [len(text) for text in decoded.texts] == [1, 3, 0]
    assert decoded.unended == 1


def test_groups_are_of_all_examples_or_of_none():
    assert groups_of(EXAMPLES) == [example.group for example in EXAMPLES]
    assert groups_of([replace(example, group=None) for example in EXAMPLES]) is None
    assert groups_of([*EXAMPLES, replace(EXAMPLES[0], group=None)]) is None
