"""Facts of the real T5 vocabulary that formats and limits rely on; needs its files."""

from __future__ import annotations

import pytest

from conftest import SHARED
from multiprompt.tasks import TASKS, LabelAnswer, ScoreAnswer

FOLDER = SHARED / "t5-tokenizer"


@pytest.fixture(scope="module")
def tokenizer():
    if not FOLDER.is_dir():
        pytest.skip(f"no tokenizer in {FOLDER} (set MULTIPROMPT_SHARED to a folder that holds t5-tokenizer/)")
    from multiprompt.backbone import load_coder

    return load_coder(str(FOLDER)).tokenizer


def test_pieces_of_the_digits(tokenizer):
    """ "0" is two pieces, so labels cannot be told apart by the scores of one token."""
    assert [tokenizer(digit)["input_ids"] for digit in "012"] == [[3, 632, 1], [209, 1], [204, 1]]


CLOSED = [
    name
    for name in TASKS
    if TASKS[name].family != "mini" and (TASKS[name].labels or isinstance(TASKS[name].answer, ScoreAnswer))
]


@pytest.mark.parametrize("name", CLOSED)
def test_every_answer_of_a_closed_set_fits_and_is_written_back(tokenizer, name):
    task = TASKS[name]
    answers = task.answer.grid if isinstance(task.answer, ScoreAnswer) else task.labels
    for text in answers:
        ids = tokenizer(text)["input_ids"]
        assert len(ids) <= min(task.max_target_length, task.generation_length)
        assert tokenizer.decode(ids, skip_special_tokens=True).strip() == text
    if isinstance(task.answer, LabelAnswer):
        assert len({tuple(tokenizer(text)["input_ids"]) for text in answers}) == len(answers)


def test_the_marks_of_linearised_data_are_in_the_vocabulary(tokenizer):
    for text in (
        "e2e name : Café Rouge | Type : pub | price : £20-25",
        'webnlg | Aarhus_Airport : cityServed : "Aarhus, Denmark"',
        "text: * The cook * thanked # her #",
    ):
        assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]
