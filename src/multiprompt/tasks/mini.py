"""The tasks of the embedded benchmark: ``mini-rte`` has the columns, labels and metrics of RTE, but own rows.

Their texts are plain lower-case English of a few hundred words that the embedded model knows. So there is no
name in front, punctuation is not padded, and fields have names that occur in its pretraining.
"""

from __future__ import annotations

from functools import partial

from multiprompt.mini.benchmark import generate
from multiprompt.mini.shortcut import shared_words
from multiprompt.tasks.answers import AnswerRule, LabelAnswer, TextAnswer
from multiprompt.tasks.base import GENERATED, Task, register
from multiprompt.tasks.text import ClozeSource, SourceRule, Template

TWO = LabelAnswer()
THREE = LabelAnswer(("0", "1", "2"))
FOUR = LabelAnswer(("0", "1", "2", "3"))
ANSWERS = TextAnswer()
CHOSEN = TextAnswer("answer")
"""The choice itself: the embedded model does not learn to answer with its number."""

_PAIR = Template("sentence1: {sentence1} sentence2: {sentence2}")
_CLAIM = Template("premise: {premise} hypothesis: {hypothesis}")

_ANSWER_LENGTH, _TEXT_LENGTH = 8, 24
"""Tokens: a word of the world is one of them."""

_QUESTION = Template("question: {question} context: {context}")
_CHOICES = "choice0: {choice0} choice1: {choice1} choice2: {choice2}"

_RULES: dict[str, tuple[SourceRule, AnswerRule, tuple[str, ...]]] = {
    "mnli": (_CLAIM, THREE, ("accuracy",)),
    "qnli": (Template("question: {question} sentence: {sentence}"), TWO, ("accuracy",)),
    "qqp": (Template("question1: {question1} question2: {question2}"), TWO, ("accuracy", "f1")),
    "sst2": (Template("sentence: {sentence}"), TWO, ("accuracy",)),
    "squad": (_QUESTION, ANSWERS, ("qa_f1", "exact_match")),
    "record": (ClozeSource(), ANSWERS, ("qa_f1", "exact_match")),
    "rte": (_PAIR, TWO, ("accuracy",)),
    "boolq": (Template("question: {question} passage: {passage}"), TWO, ("accuracy",)),
    "mrpc": (_PAIR, TWO, ("accuracy", "f1")),
    "yelp": (Template("sentence: {text}"), TWO, ("accuracy",)),
    # the public task marks both words inside the text; the embedded vocabulary has no marks
    "wsc": (Template("text: {text} person: {span1_text} pronoun: {span2_text}"), TWO, ("accuracy",)),
    "scitail": (_CLAIM, TWO, ("accuracy",)),
    "cb": (_CLAIM, THREE, ("accuracy", "macro_f1")),
    "paws": (_PAIR, TWO, ("accuracy",)),
    "multirc": (Template("question: {question} answer: {answer} paragraph: {paragraph}"), TWO, ("f1", "accuracy")),
    "winogrande": (Template("sentence: {sentence} option0: {option1} option1: {option2}"), CHOSEN, ("exact_match",)),
    "naturalquestions": (_QUESTION, ANSWERS, ("qa_f1", "exact_match")),
    "newsqa": (_QUESTION, ANSWERS, ("qa_f1", "exact_match")),
    "e2e": (Template("{meaning_representation}"), TextAnswer("human_reference"), ("bleu_e2e", "rouge_l")),
    "anli": (_CLAIM, THREE, ("accuracy",)),
    "ag_news": (Template("sentence: {text}"), FOUR, ("accuracy",)),
    "commonsense_qa": (Template(f"question: {{question}} context: {{context}} {_CHOICES}"), CHOSEN, ("exact_match",)),
    "openbookqa": (Template(f"query: {{query}} passage: {{passage}} {_CHOICES}"), CHOSEN, ("exact_match",)),
    "arc": (Template(f"sentence: {{sentence}} {_CHOICES}"), THREE, ("accuracy",)),
}

for _name, (_source, _answer, _metrics) in _RULES.items():
    register(
        Task(
            name=f"mini-{_name}",
            family="mini",
            folder=f"mini/{_name}",
            source=_source,
            answer=_answer,
            metrics=_metrics,
            reported=_metrics[0],
            split_rule=GENERATED,
            generator=partial(generate, _name),
            # a single text shares nothing, and open answers are no labels that an outcome could mean
            shortcut=shared_words if _answer.words and len(_source.columns) > 1 else None,
            max_source_length=64,
            max_target_length=_TEXT_LENGTH if _name == "e2e" else _ANSWER_LENGTH,
            generation_length=_TEXT_LENGTH if _name == "e2e" else _ANSWER_LENGTH,
        )
    )
