"""What the README and the docs say can be run is run."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from multiprompt.config import build_experiment, load_experiment
from multiprompt.definition import TaskDefinition
from multiprompt.recipes import recipe_path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^make ([a-z-]+)", blocks("sh")[0], flags=re.MULTILINE)
    assert targets == ["quickstart", "test"]
    for target in [*targets, *re.findall(r"`make ([a-z-]+)`", README)]:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_configuration_of_the_readme_is_valid():
    for text in blocks("yaml"):
        build_experiment(yaml.safe_load(text))


def test_the_python_of_the_readme_runs(capsys):
    for text in blocks("python"):
        exec(compile(text, "README.md", "exec"), {})
    value = float(capsys.readouterr().out.split()[0])
    assert 0 <= value <= 100


def test_the_table_of_the_readme_is_that_of_the_quickstart():
    """It stands once, in the README alone."""
    targets = load_experiment(recipe_path("quickstart")).targets
    (table,) = re.findall(r"^\| unseen task \|.*\n(?:\|.*\n)+", README, flags=re.MULTILINE)
    assert re.findall(r"^\| (mini-\w+)", table, flags=re.MULTILINE) == list(targets.tasks)
    assert f"**{targets.shots[0]} training examples** each, drawn {targets.draws} times" in README
    average = table.splitlines()[-1]
    assert not [page.name for page in (ROOT / "docs").glob("*.md") if average in page.read_text()]


def test_the_commands_of_the_readme_run(tmp_path):
    """Every line, in order; training is cut short by overrides, which the commands take anyway."""
    short = [
        "data.max_train=40",
        "data.max_dev=8",
        "data.max_test=20",
        "teachers.training.steps=2",
        "source.training.steps=2",
        "targets.training.steps=2",
        "targets.few_shot_training.steps=2",
        "targets.draws=2",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    multiprompt = [sys.executable, "-m", "multiprompt"]
    subprocess.run(
        [*multiprompt, "run", "quickstart", *short], cwd=tmp_path, env=environment, check=True, capture_output=True
    )
    lines = [line.split("#")[0].strip() for line in blocks("sh")[1].splitlines()]
    for line in filter(None, lines):
        verb, *arguments = re.findall(r"'[^']*'|\"[^\"]*\"|\S+", line.removeprefix("multiprompt "))
        command = [*multiprompt, verb, *(argument.strip("'\"") for argument in arguments)]
        if verb in ("run", "reproduce"):
            command += short
        if verb == "reproduce":
            command.append("seeds=[0]")
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "both.html").exists()


def test_the_tutorial_on_a_task_of_ones_own_runs(tmp_path, monkeypatch):
    """Every block in order: Python, files (their first line says the name), commands."""
    page = (ROOT / "docs" / "your-own-task.md").read_text()
    monkeypatch.chdir(tmp_path)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    said = ""
    for language, text in re.findall(r"```(python|yaml|sh)\n(.*?)```", page, flags=re.DOTALL):
        if language == "yaml":
            (tmp_path / text.splitlines()[0].removeprefix("# ")).write_text(text)
            continue
        commands = [[sys.executable, "-c", text]]
        if language == "sh":
            commands = [[sys.executable, "-m", *shlex.split(line)] for line in text.splitlines()]
        for command in commands:
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            said += done.stdout
    assert "reviews: own, reports accuracy" in said
    assert "\n1\n0\n" in said  # the answers to the two sentences
    assert "{'train': 120, 'dev': 30, 'test': 50, 'empty text': 0} sentence: the " in said


def test_the_page_on_a_task_of_ones_own_has_every_key():
    page = (ROOT / "docs" / "your-own-task.md").read_text()
    keys = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", page, flags=re.MULTILINE)))
    assert sorted(keys) == sorted(field.name for field in dataclasses.fields(TaskDefinition))


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_whole_method_fits_on_a_page():
    assert len((ROOT / "docs" / "whole_method.py").read_text().splitlines()) <= 40


def test_the_whole_method_runs(capsys):
    """The script as it is, but for the numbers of steps and of rows."""
    script = (ROOT / "docs" / "whole_method.py").read_text()
    short = re.sub(r"training\(\d+", "training(3", script)
    short = short.replace("max_train=2000, max_dev=200, max_test=1000", "max_train=60, max_dev=10, max_test=30")
    assert short.count("training(3") == 3
    assert "max_train=60" in short
    exec(compile(short, "whole_method.py", "exec"), {})
    assert "mini-rte: accuracy" in capsys.readouterr().out


@pytest.mark.parametrize(
    "path", sorted((ROOT / "src/multiprompt/recipes/configs").rglob("*.yaml")), ids=lambda p: p.stem
)
def test_every_shipped_recipe_is_valid(path):
    text = path.read_text()
    assert text.startswith("# "), "the first line says what the recipe does"
    build_experiment(yaml.safe_load(text))
