"""Text is read and written with a named encoding everywhere: no machine's own decides what a file holds."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("src", "tests", "benchmarks", "tools", "docs")
METHODS, OPENERS, PROGRAMS = ("read_text", "write_text"), ("open", "fdopen"), ("run", "Popen", "check_output")


def is_binary(node: ast.Call) -> bool:
    arguments = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
    values = [each.value for each in arguments if isinstance(each, ast.Constant)]
    return any(isinstance(value, str) and re.fullmatch(r"[rwxa+]*b[rwxa+]*", value) for value in values)


def calls_on_text(source: str) -> list[tuple[str, int, bool]]:
    """Of every call that reads or writes text, or a program's: its name, its line, whether it names the encoding."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            method = isinstance(node.func, ast.Attribute)
            name = node.func.attr if method else getattr(node.func, "id", "")
            options = {keyword.arg for keyword in node.keywords}
            if ast.unparse(node.func) == "os.open":  # a number of the system's, which has no text
                continue
            of_file = (method and name in METHODS) or (name in OPENERS and not is_binary(node))
            if of_file or (name in PROGRAMS and options & {"text", "universal_newlines", "encoding"}):
                found.append((name, node.lineno, "encoding" in options))
    return found


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("path.read_text()", [False]),
        ("path.read_text(encoding='utf-8')", [True]),
        ("path.write_text('b')", [False]),
        ("write_text(path, 'a')", []),  # the package's own, which knows its encoding
        ("open(path)", [False]),
        ("path.open('w', newline='')", [False]),
        ("open(path, 'rb')", []),
        ("open(path, mode='wb')", []),
        ("gzip.open(path, 'rt', encoding='utf-8')", [True]),
        ("subprocess.run(command, text=True)", [False]),
        ("os.open(path, os.O_RDONLY)", []),
        ("subprocess.run(command)", []),
        ("runner.run(text)", []),
    ],
)
def test_what_counts_as_text(call, expected):
    assert [named for _, _, named in calls_on_text(call)] == expected


def test_every_text_has_a_named_encoding():
    seen, nameless = Counter(), []
    for path in (path for part in PARTS for path in sorted((ROOT / part).rglob("*.py"))):
        for name, line, named in calls_on_text(path.read_text(encoding="utf-8")):
            seen[path.relative_to(ROOT).parts[0]] += 1
            if not named:
                nameless.append(f"{path.relative_to(ROOT)}:{line}: {name}")
    assert nameless == []
    assert seen["src"] >= 10, "the calls of the package are found"
    assert seen["tests"] >= 150


def test_so_has_the_python_of_the_docs():
    pages = {path.name: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
    blocks = {name: re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) for name, text in pages.items()}
    found = {name: [call for block in each for call in calls_on_text(block)] for name, each in blocks.items()}
    assert [named for _, _, named in found["your-own-task.md"]] == [True], "the page that writes a file"
    assert all(named for calls in found.values() for _, _, named in calls)


def test_lines_of_files_are_cut_at_line_ends_alone():
    """``splitlines`` cuts at U+2028 and others as well, which stand within records: ``text.lines_of`` is for files."""
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "src").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "splitlines"
    ]
    assert calls == []
