"""The cache of tokens: never wrong, only missing; safe for several processes; shared through memory maps."""

from __future__ import annotations

import mmap
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import build_tiny_tokenizer
from multiprompt.backbone import TextCoder
from multiprompt.data import TokenisedExamples, token_cache, tokenise, tokenise_cached
from multiprompt.examples import TextExample
from multiprompt.options import DataOptions
from multiprompt.recipes import load_task
from multiprompt.tasks import TASKS
from multiprompt.token_files import list_token_files, token_folder, write_token_file

RTE = TASKS["rte"]
CODER = TextCoder(build_tiny_tokenizer())


def examples(*pairs: tuple[str, str]) -> list[TextExample]:
    return [TextExample(source, target, (target,), f"train:{i}") for i, (source, target) in enumerate(pairs)]


ROWS = examples(*((f"a source of {i} letters".ljust(20 + i % 30, "x"), str(i % 2)) for i in range(200)))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A new cache, into which data of any size goes, and of whose troubles nobody was told."""
    monkeypatch.setenv("MULTIPROMPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(token_cache, "WORTH_CACHING", 0)
    monkeypatch.setattr(token_cache, "_told", set())
    return token_folder()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def assert_same(ours: TokenisedExamples, theirs: TokenisedExamples) -> None:
    for side in ("sources", "targets"):
        assert np.array_equal(getattr(ours, side).values, getattr(theirs, side).values)
        assert np.array_equal(getattr(ours, side).offsets, getattr(theirs, side).offsets)
    assert (ours.truncated_sources, ours.truncated_targets) == (theirs.truncated_sources, theirs.truncated_targets)


def fresh(rows: list[TextExample] = ROWS, task=RTE, coder=CODER) -> TokenisedExamples:
    return tokenise(rows, coder, task.max_source_length, task.max_target_length)


def test_tokens_from_the_cache_are_those_of_the_tokenizer(cache, monkeypatch):
    short = replace(RTE, max_source_length=30)
    expected = fresh(task=short)
    assert expected.truncated_sources > 0
    assert_same(tokenise_cached(ROWS, short, "train", CODER), expected)
    (written,) = cache.iterdir()

    def never(*_):
        raise AssertionError("tokenised again")

    monkeypatch.setattr(token_cache, "tokenise", never)
    assert_same(tokenise_cached(ROWS, short, "dev", CODER), expected)
    assert names(cache) == {written.name}


def test_tokens_from_the_cache_are_a_memory_map(cache):
    tokens = tokenise_cached(ROWS, RTE, "train", CODER)
    for array in (tokens.sources.values, tokens.sources.offsets, tokens.targets.values, tokens.targets.offsets):
        assert not array.flags.writeable
        base = array
        while not isinstance(base, mmap.mmap):
            base = base.base.obj if isinstance(base.base, memoryview) else base.base
            assert base is not None, "the array has memory of its own"
    # removing the file does not disturb those who use it
    (path,) = cache.iterdir()
    path.unlink()
    assert_same(tokens, fresh())


OTHERS = {
    "a letter": (examples(("ab", "1"), ("c!", "0")), RTE),
    "the order": (examples(("c", "0"), ("ab", "1")), RTE),
    "where a text ends": (examples(("a", "1"), ("bc", "0")), RTE),
    "source and target": (examples(("ab", "1c"), ("", "0")), RTE),
    "a target": (examples(("ab", "1"), ("c", "1")), RTE),
    "one more row": (examples(("ab", "1"), ("c", "0"), ("", "")), RTE),
    "the version of the task": (examples(("ab", "1"), ("c", "0")), replace(RTE, version=99)),
    "the limit of sources": (examples(("ab", "1"), ("c", "0")), replace(RTE, max_source_length=7)),
    "the limit of targets": (examples(("ab", "1"), ("c", "0")), replace(RTE, max_target_length=7)),
    "the task": (examples(("ab", "1"), ("c", "0")), TASKS["cb"]),
}


@pytest.mark.parametrize("what", OTHERS)
def test_whatever_changes_makes_another_entry(cache, what):
    tokenise_cached(examples(("ab", "1"), ("c", "0")), RTE, "train", CODER)
    rows, task = OTHERS[what]
    assert_same(tokenise_cached(rows, task, "train", CODER), fresh(rows, task))
    assert len(names(cache)) == 2


def test_another_tokenizer_makes_another_entry_and_the_same_one_does_not(cache):
    tokenizer = build_tiny_tokenizer()
    tokenise_cached(ROWS, RTE, "train", CODER)
    tokenizer(["ab"], truncation=True, max_length=3, padding="max_length")  # its settings stay in the Rust tokenizer
    assert_same(tokenise_cached(ROWS, RTE, "train", TextCoder(tokenizer)), fresh())
    assert len(names(cache)) == 1
    tokenizer.add_tokens(["source"])
    expected = fresh(coder=TextCoder(tokenizer))
    assert not np.array_equal(expected.sources.values, fresh().sources.values)
    assert_same(tokenise_cached(ROWS, RTE, "train", TextCoder(tokenizer)), expected)
    assert len(names(cache)) == 2


def test_ids_that_need_more_than_16_bits_survive(cache):
    tokenizer = build_tiny_tokenizer()
    tokenizer.add_tokens([f"<{i}>" for i in range(70_000)])
    rows = examples(("<69999> <3>", "<65600>"))
    tokens = tokenise_cached(rows, RTE, "train", TextCoder(tokenizer))
    assert tokens.sources.values.max() > 2**16
    assert_same(tokens, fresh(rows, coder=TextCoder(tokenizer)))


@given(cut_off=st.booleans(), place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_entry_is_made_again_with_a_warning(cache, caplog, cut_off, place, change):
    tokenise_cached(ROWS, RTE, "train", CODER)
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    if cut_off:
        damaged = whole[: int(place * len(whole))]
    else:
        at = int(place * len(whole))
        damaged = whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :]
    path.write_bytes(damaged)
    caplog.clear()
    assert_same(tokenise_cached(ROWS, RTE, "train", CODER), fresh())
    if not cut_off and not caplog.messages:  # a byte between header and arrays, which nobody reads
        assert whole[at] == 0
        return
    (message,) = caplog.messages
    assert message.startswith("cached tokens are made again: ")
    assert path.name in message
    caplog.clear()
    assert_same(tokenise_cached(ROWS, RTE, "train", CODER), fresh())
    assert caplog.messages == []
    assert names(cache) == {path.name}


def test_a_header_of_zeros_is_damage_too(cache, caplog):
    tokenise_cached(ROWS, RTE, "train", CODER)
    (path,) = cache.iterdir()
    path.write_bytes(b"mptokens" + bytes(1000))
    assert_same(tokenise_cached(ROWS, RTE, "train", CODER), fresh())
    assert "is damaged" in caplog.text


FACTS = {"task": "rte", "split": "train", "examples": 2, "truncated_sources": 0, "truncated_targets": 0}
FOREIGN = {
    "offsets that lead nowhere": ({"source_offsets": np.array([0, 900, 4])}, FACTS, "the offsets in"),
    "ids below zero": ({"target_values": np.array([5, -3, 5, 1], np.int32)}, FACTS, "ids that the tokenizer"),
    "ids that no word has": ({"source_values": np.array([5, 6, 98, 1], np.int32)}, FACTS, "ids that the tokenizer"),
    "an array that is missing": ({"source_offsets": None}, FACTS, "source_offsets"),
    "numbers of another kind": ({"source_values": np.zeros(4)}, FACTS, "is not that of cached tokens"),
    "facts that are missing": ({}, {"task": "rte"}, "is not that of cached tokens"),
    "facts of another kind": ({}, FACTS | {"examples": "two"}, "is not that of cached tokens"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_whole_file_that_somebody_else_wrote_is_not_trusted(cache, caplog, what):
    rows = examples(("ab", "1"), ("c", "0"))
    tokenise_cached(rows, RTE, "train", CODER)
    (path,) = cache.iterdir()
    changed, facts, message = FOREIGN[what]
    arrays = {
        "source_values": np.array([5, 1, 6, 1], np.int32),
        "source_offsets": np.array([0, 2, 4]),
        "target_values": np.array([5, 1, 6, 1], np.int32),
        "target_offsets": np.array([0, 2, 4]),
    } | changed
    write_token_file(path, {name: array for name, array in arrays.items() if array is not None}, facts)
    list_token_files(cache)  # whatever a file says, listing goes on
    assert_same(tokenise_cached(rows, RTE, "train", CODER), fresh(rows))
    assert message in caplog.text


def test_without_a_place_for_the_cache_tokens_are_made_and_one_line_says_so(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    monkeypatch.setenv("MULTIPROMPT_CACHE", str(tmp_path / "file"))
    for _ in range(3):
        assert_same(tokenise_cached(ROWS, RTE, "train", CODER), fresh())
    (message,) = caplog.messages
    assert message.startswith("tokens are not cached: cannot write to ")
    assert message.endswith("set MULTIPROMPT_CACHE to another folder")


def test_a_disk_that_is_full_leaves_nothing_behind(cache, caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        tokens = tokenise_cached(ROWS, RTE, "train", CODER)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_same(tokens, fresh())
    assert len(caplog.messages) == 1
    assert names(cache) == set()


def test_without_a_home_folder_there_is_no_cache(monkeypatch, caplog):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("MULTIPROMPT_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert_same(tokenise_cached(ROWS, RTE, "train", CODER), fresh())
    assert "set MULTIPROMPT_CACHE" in caplog.text


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("MULTIPROMPT_CACHE", "~/own")
    assert token_folder() == tmp_path / "own" / "tokens"
    monkeypatch.setenv("MULTIPROMPT_CACHE", "")
    assert token_folder() == Path("/xdg/multiprompt/tokens")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert token_folder() == tmp_path / ".cache/multiprompt/tokens"


def test_small_data_and_few_shot_draws_are_not_cached(cache, monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setenv("MULTIPROMPT_CACHE", str(tmp_path / "cache"))
    tokenise_cached(ROWS, RTE, "train", CODER)
    backbone = SimpleNamespace(coder=CODER)
    prepared = load_task("mini-rte", backbone, DataOptions(max_train=100, max_dev=10, max_test=10))
    assert names(cache) == set()
    monkeypatch.setattr(token_cache, "WORTH_CACHING", 1000)
    load_task("mini-rte", backbone, DataOptions(max_train=100, max_dev=10, max_test=10))
    cached = names(cache)
    assert cached
    monkeypatch.setattr(token_cache, "WORTH_CACHING", 0)
    few = prepared.few_shot(16, 0, True, backbone)
    assert len(few.train) == 16
    assert names(cache) == cached


def test_a_tokenizer_without_a_rust_backend_is_not_cached(cache):
    class Callable:
        def __call__(self, texts, **options):
            return CODER.tokenizer(texts, **options)

    assert_same(tokenise_cached(ROWS, RTE, "train", TextCoder(Callable())), fresh())
    assert names(cache) == set()


OTHER_PROCESS = """
import sys
from multiprompt.data import token_cache
sys.path.insert(0, {tests!r})
from data.test_token_cache import ROWS, RTE, CODER, assert_same, fresh
token_cache.WORTH_CACHING = 0
expected = fresh()
print("ready", flush=True)
sys.stdin.readline()
for turn in range(80):
    assert_same(token_cache.tokenise_cached(ROWS, RTE, "train", CODER), expected)
    if turn % 2:
        for path in token_cache.token_folder().glob("*.tokens"):
            path.unlink(missing_ok=True)
"""


def test_two_processes_at_once(cache, caplog):
    """The other one keeps removing the entry, so that both write and read all the time."""
    command = [sys.executable, "-W", "error", "-c", OTHER_PROCESS.format(tests=str(Path(__file__).parents[1]))]
    pipe = subprocess.PIPE
    expected = fresh()
    turns = 0
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, encoding="utf-8") as other:
        assert other.stdout.readline() == "ready\n", other.stderr.read()
        other.stdin.write("go\n")
        other.stdin.flush()
        while other.poll() is None:
            assert_same(tokenise_cached(ROWS, RTE, "train", CODER), expected)
            turns += 1
        errors = other.stderr.read()
    assert (other.returncode, errors) == (0, ""), errors
    assert turns > 1
    assert caplog.messages == []
    tokenise_cached(ROWS, RTE, "train", CODER)
    (name,) = names(cache)
    assert name.endswith(".tokens")
