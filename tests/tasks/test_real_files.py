"""Every real file at hand: number of rows, labels, and how many sources the limits of the task cut."""

from __future__ import annotations

import pytest

from conftest import SHARED
from multiprompt.data import load_rows, tokenise
from multiprompt.tasks import TASKS

LARGE = 2_000
"""Rows beyond which a file takes more than a moment."""

# (task, official split): rows, sources cut, tokens of the longest target. Several files are partial copies.
FILES = {
    ("e2e", "test"): (4_693, 0, 94),
    ("e2e", "train"): (42_061, 0, 81),
    ("e2e", "validation"): (4_672, 0, 91),
    ("sst2", "train"): (67_349, 0, 3),
    ("sst2", "validation"): (872, 0, 3),
    ("cola", "train"): (8_551, 0, 3),
    ("cola", "validation"): (1_043, 0, 3),
    ("mrpc", "train"): (3_668, 0, 3),
    ("mrpc", "validation"): (408, 0, 3),
    ("qqp", "train"): (9_999, 0, 3),
    ("qqp", "validation"): (22_869, 1, 3),
    ("qnli", "train"): (9_999, 1, 3),
    ("qnli", "validation"): (5_463, 1, 3),
    ("mnli", "train"): (9_999, 1, 3),
    ("mnli", "validation_matched"): (9_815, 5, 3),
    ("rte", "train"): (2_490, 7, 3),
    ("rte", "validation"): (277, 1, 3),
    ("stsb", "train"): (5_749, 0, 3),
    ("stsb", "validation"): (1_500, 0, 3),
    ("openbookqa", "test"): (500, 0, 3),
    ("openbookqa", "train"): (4_957, 0, 3),
    ("openbookqa", "validation"): (500, 0, 3),
    ("arc", "test"): (3_548, 0, 3),
    ("arc", "train"): (3_370, 0, 3),
    ("winogrande", "train"): (10_234, 0, 3),
    ("winogrande", "validation"): (1_267, 0, 3),
    ("yelp_polarity", "train"): (160, 43, 3),
    ("yelp_polarity", "validation"): (320, 0, 3),
    ("paws", "train"): (160, 0, 3),
    ("paws", "validation"): (8_000, 0, 3),
    ("ag_news", "test"): (7_600, 3, 3),
    ("ag_news", "train"): (6_001, 6, 3),
    ("anli", "dev_r1"): (1_000, 0, 3),
    ("anli", "dev_r2"): (1_000, 0, 3),
    ("anli", "dev_r3"): (1_198, 0, 3),
    ("anli", "test_r1"): (1_000, 0, 3),
    ("anli", "test_r2"): (1_000, 0, 3),
    ("anli", "test_r3"): (1_200, 1, 3),
    ("anli", "train"): (3_595, 0, 3),
    ("squad", "train"): (5_010, 1_207, 64),
    ("squad", "validation"): (10_507, 2_613, 53),
    ("hotpotqa", "test"): (474, 15, 54),
    ("hotpotqa", "train"): (284, 11, 29),
    ("hotpotqa", "validation"): (281, 8, 34),
    ("newsqa", "validation"): (4_212, 3_426, 69),
    ("cb", "train"): (250, 1, 3),
    ("cb", "validation"): (56, 3, 3),
    ("boolq", "train"): (189, 19, 3),
    ("boolq", "validation"): (3_270, 315, 3),
    ("wsc", "train"): (554, 0, 3),
    ("wsc", "validation"): (104, 0, 3),
    ("multirc", "train"): (27_243, 17_017, 3),
    ("multirc", "validation"): (4_848, 3_253, 3),
    ("record", "train"): (50, 49, 11),
    ("record", "validation"): (11, 10, 3),
}


@pytest.fixture(scope="module")
def coder():
    folder = SHARED / "t5-tokenizer"
    if not folder.is_dir():
        pytest.skip(f"no tokenizer in {folder} (set MULTIPROMPT_SHARED to a folder that holds t5-tokenizer/)")
    from multiprompt.backbone import load_coder

    return load_coder(str(folder))


def needs(name: str) -> None:
    for folder in TASKS[name].folders:
        if not (SHARED / "data" / folder).is_dir():
            pytest.skip(f"no real rows in {SHARED} (set MULTIPROMPT_SHARED to a folder that holds data/{folder})")


@pytest.mark.parametrize(
    ("name", "split"),
    [pytest.param(*key, marks=[pytest.mark.slow] if rows > LARGE else []) for key, (rows, _, _) in FILES.items()],
)
def test_every_real_row_is_formatted_and_fits_as_stated(coder, name, split):
    needs(name)
    task = TASKS[name]
    rows = load_rows(task, split, SHARED / "data")
    examples = [task.example(row.values, row.row_id, where=row.where) for row in rows]
    tokens = tokenise(examples, coder, task.max_source_length, task.max_target_length)
    assert (len(rows), tokens.truncated_sources, max(tokens.targets.lengths)) == FILES[name, split]
    assert tokens.truncated_targets == 0
    assert max(tokens.targets.lengths) <= task.generation_length  # every answer can be written
    assert len({example.row_id for example in examples}) == len(examples)
    for example in examples:
        assert example.source.startswith(f"{task.prefix} ")
        assert all(task.is_valid(text) for text in example.references)
    if task.labels is not None:
        targets = {example.target for example in examples}
        # of ARC's five positions the last one is rare
        assert targets == set(task.labels) or (name == "arc" and targets >= set("0123"))


def test_no_real_file_is_left_out(shared_folder):
    found = {
        (name, path.name.removesuffix(".jsonl.gz"))
        for name in TASKS
        if TASKS[name].family != "mini"
        for folder in TASKS[name].folders
        for path in (shared_folder / "data" / folder).glob("*.jsonl.gz")
    }
    assert found
    assert found <= FILES.keys()
