"""What is printed fits into the terminal, and no number is cut or lost."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from typer.testing import CliRunner

from multiprompt.cli import output
from multiprompt.cli.main import app
from multiprompt.cli.output import fitting, print_tables_of, wrapped
from multiprompt.reports import Cell, Table
from reports.fake_runs import write_fake_run

SMALL = (
    "name: small\ntargets: {tasks: [mini-rte, mini-wsc], methods: {prompt_tuning: {}, decomposed_prompt_tuning: {}}}\n"
)

VERBS = {
    "ls tasks": ["ls", "tasks"],
    "ls methods": ["ls", "methods"],
    "ls recipes": ["ls", "recipes"],
    "ls backbones": ["ls", "backbones"],
    "params of a method": ["params", "adapters", "--backbone", "t5-small", "--group", "8"],
    "plan": ["plan", "small.yaml", "targets.shots=[8, all]", "seeds=[0, 1, 2, 3]", "--no-measure"],
    "reproduce": ["reproduce", "table1", "--scale", "paper", "--dry-run"],
    "report": ["report", "run"],
}


@pytest.fixture
def printed(monkeypatch, capsys):
    """What a verb prints at some widths; it works once, and what it has to say is said again."""

    def at(arguments: list[str], *widths: int) -> list[str]:
        said = []
        for name in ("print_rows", "print_text", "print_tables_of"):
            prints = getattr(output, name)

            def record(first, *rest, prints=prints, **options):
                kept = first if isinstance(first, str) else list(first)
                said.append((prints, kept, [list(r) if isinstance(r, Iterator) else r for r in rest], options))

            monkeypatch.setattr(output, name, record)
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.stderr
        assert said
        monkeypatch.undo()
        shown = []
        for width in widths:
            monkeypatch.setenv("COLUMNS", str(width))
            for prints, first, rest, options in said:
                prints(first, *rest, **options)
            shown.append(capsys.readouterr().out)
        return shown

    return at


def numbers_of(text: str) -> Counter:
    return Counter(re.findall(r"[+-]?\d[\d,.:]*", text))


@pytest.mark.parametrize("arguments", VERBS.values(), ids=VERBS)
def test_every_verb_fits_and_keeps_its_numbers(arguments, tmp_path, monkeypatch, printed):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL, encoding="utf-8")
    write_fake_run(tmp_path / "run")
    whole, *narrow = printed(arguments, 300, 80, 60)
    for width, shown in zip((80, 60), narrow, strict=True):
        long = [line for line in shown.splitlines() if cell_len(line.rstrip()) > width and " " in line.strip()]
        assert long == []
        assert not numbers_of(whole) - numbers_of(shown)


def test_a_wide_table_is_printed_in_parts_with_the_names_of_its_rows(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    heads = ("task", "method", *(f"column {i}" for i in range(12)))
    rows = [
        tuple(map(Cell, (task, method, *(f"{i}{n}.25 ± 1.75" for i in range(12)))))
        for n, (task, method) in enumerate([("mini-rte", "mpt"), ("mini-rte", "lora"), ("mini-cola", "mpt")])
    ]
    rows[0] = (*rows[0][:-1], Cell("110.25 ± 1.75", "†"))
    print_tables_of([Table("Scores", heads, tuple(rows), text_columns=2)])
    said = capsys.readouterr().out
    assert max(len(line.rstrip()) for line in said.splitlines()) <= 60
    assert said.count("Scores") == 1
    assert said.count("† not safely above") == 1
    parts = said.count("mini-cola")
    assert parts > 1
    assert said.count("lora") == parts, "a task alone does not name a row"
    assert all(f"{i}{n}.25 ± 1.75" in said for i in range(12) for n in range(3))


words = st.text("abc", min_size=1, max_size=9)


@given(
    st.lists(st.tuples(words, words, st.lists(words, max_size=5).map(" ".join), words, words), min_size=2, max_size=5),
    st.integers(1, 3),
    st.integers(30, 90),
)
def test_parts_have_every_column_once_beside_the_keys_and_none_is_too_wide(cells, keys, width):
    parts = fitting(cells, (1, 3), keys, width)
    kept = next(n for n in range(keys, 0, -1) if all(list(part)[:n] == list(range(n)) for part in parts))
    assert sorted(column for part in parts for column in list(part)[kept:]) == list(range(kept, 5))
    for part in parts:
        assert sum(part.values()) + 3 * (len(part) - 1) <= width
        for column in (1, 3):
            assert column not in part or part[column] >= max(len(row[column]) for row in cells[1:])


def test_lines_are_wrapped_between_words_and_paths_stay_whole():
    path = "/a/long/path/" * 5
    assert wrapped(f"  report: {path} is there now", 40, 2) == f"  report:\n    {path}\n    is there now"
