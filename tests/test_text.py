"""Where lines of files end, what JSON holds, and what terminals are shown."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import multiprompt
from multiprompt import runs
from multiprompt.cli.main import app
from multiprompt.config import build_experiment, load_experiment, to_yaml
from multiprompt.tasks import TASKS
from multiprompt.text import is_unicode, json_text, lines_of, printable

NASTY = "a\x1b[31m\x9bB\u202ec\x85d\u2028e\x0bf\x0cg\x7f"
SHOWN = r"a\x1b[31m\x9bB\u202ec\x85d\u2028e\x0bf\x0cg\x7f"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("\n", [""]),
        ("a", ["a"]),
        ("a\n", ["a"]),
        ("a\n\nb\r\nc", ["a", "", "b", "c"]),
        ("a\u2028b\x0bc\x0cd\x85e\x1cf\rg\n", ["a\u2028b\x0bc\x0cd\x85e\x1cf\rg"]),
    ],
)
def test_lines_end_at_line_ends_alone(text, lines):
    assert lines_of(text) == lines


def test_what_could_steer_a_terminal_is_written_out():
    assert printable(NASTY) == SHOWN
    kept = "é漢字 \t\n\u200e שלום 😀"
    assert printable(kept) == kept
    assert printable("a\r\nb\ud800") == "a\\x0d\nb\\ud800"
    assert printable("a\nb", one_line=True) == "a\\nb"
    assert (is_unicode(NASTY), is_unicode("a\ud800")) == (True, False)


@given(st.text(st.characters()))
def test_json_is_exact_and_of_one_line(text):
    written = json_text({text: [text]})
    assert json.loads(written) == {text: [text]}
    assert printable(written, one_line=True) == written
    assert lines_of(written.encode().decode()) == [written]


def test_a_configuration_is_shown_without_control_characters_and_reads_back(tmp_path):
    experiment = build_experiment({"name": NASTY, "source": {}})
    assert printable(to_yaml(experiment)) == to_yaml(experiment)
    (tmp_path / "x.yaml").write_text(to_yaml(experiment), encoding="utf-8")
    assert load_experiment(tmp_path / "x.yaml") == experiment


def test_only_one_module_of_the_command_line_prints():
    """All lines go through ``output.echo``, which writes control characters out."""
    folder = Path(multiprompt.__file__).parent / "cli"
    calls = [
        path.name
        for path in sorted(folder.glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute | ast.Name)
        and ast.unparse(node) in ("typer.echo", "typer.secho", "print", "sys.stdout.write", "sys.stderr.write")
    ]
    assert calls == ["output.py"]


def test_answers_and_texts_are_shown_on_one_line_each(monkeypatch):
    class Opened:
        def __init__(self, folder): ...

        def task(self, name):
            return TASKS[name]

        def answer(self, task, texts, **_):
            return [f"{text}\n{NASTY}" for text in texts]

    monkeypatch.setattr(runs, "open_run", Opened)
    result = CliRunner().invoke(app, ["predict", "run", "--task", "rte"], input="x\u2028y\r\nz\n")
    assert result.stdout == f"x\\u2028y\\n{SHOWN}\nz\\n{SHOWN}\n"


def test_errors_tables_and_progress_are_shown_too(capsys):
    from rich.console import Console

    from multiprompt.cli.output import print_rows
    from multiprompt.cli.progress import LineProgress

    print_rows(["head"], [[NASTY]])
    assert SHOWN in capsys.readouterr().out
    progress = LineProgress(Console(width=200))
    progress.begin(NASTY, 1)
    progress.end(NASTY, NASTY)
    progress.message(NASTY)
    assert capsys.readouterr().out.count(SHOWN) == 3
    result = CliRunner().invoke(app, ["predict", "run\x1b[31m", "--task", "rte", "x"])
    assert r"run\x1b[31m is not a run folder" in result.stderr
