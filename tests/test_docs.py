"""What the README and the docs say can be run is run."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import multiprompt
from multiprompt.cli.main import app
from multiprompt.config import build_experiment, load_experiment
from multiprompt.definition import TaskDefinition
from multiprompt.evaluation.results import read_results
from multiprompt.recipes import recipe_path
from recipes.small import small_experiment

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
VERBS = {command.name or command.callback.__name__ for command in app.registered_commands} | {
    group.name for group in app.registered_groups
}


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_make_targets_of_the_readme_and_of_contributing_exist():
    makefile = text_of("Makefile")
    targets = re.findall(r"^make ([a-z-]+)", "".join(blocks("sh")), flags=re.MULTILINE)
    assert targets == ["quickstart", "test"]
    others = set(re.findall(r"`make ([a-z-]+)`", README))
    assert {"check", "test-all"} <= others
    tiers = set(re.findall(r"`make ([a-z-]+)`", text_of("CONTRIBUTING.md")))
    assert set(re.findall(r"^(test[a-z-]*|check):", makefile, flags=re.MULTILINE)) <= tiers
    for target in {*targets, *others, *tiers}:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    assert {"make test", "make test-launched"} <= set(text_of(".ci/run").splitlines())


def test_the_readme_begins_with_what_a_stranger_looks_for():
    """What it is, for whom, a picture, an install line, ten lines of code and two commands, all near its top."""
    lines = README.splitlines()
    assert len(lines) <= 120
    order = ["**Who needs it:**", "![", "\npip install ", "```python", "\nmake quickstart", "\nmake test ", "\n## "]
    places = [README.index(order[0])]
    for each in order[1:]:
        places.append(README.index(each, places[-1]))
    assert README[: places[-1]].count("\n") <= 60
    (code,) = blocks("python")
    assert len(code.split("\n\n", 1)[1].splitlines()) <= 10


def test_the_configuration_of_the_readme_is_valid():
    (text,) = blocks("yaml")
    assert build_experiment(yaml.safe_load(text)).name == "glue-from-three"


def test_the_python_of_the_readme_runs(capsys):
    (text,) = blocks("python")
    assert text.count("steps=50") == 1
    exec(compile(text.replace("steps=50", "steps=5"), "README.md", "exec"), {})
    value = float(capsys.readouterr().out.split()[0])
    assert 0 <= value <= 100


def test_the_table_of_the_quickstart_stands_once_and_is_that_of_the_picture():
    """The table is in docs/quickstart.md alone; the picture and its description in the README say the same numbers."""
    text = text_of("docs/quickstart.md")
    targets = load_experiment(recipe_path("quickstart")).targets
    (table,) = re.findall(r"^\| unseen task \|.*\n(?:\|.*\n)+", text, flags=re.MULTILINE)
    assert re.findall(r"^\| (mini-\w+)", table, flags=re.MULTILINE) == list(targets.tasks)
    assert f"**{targets.shots[0]} training examples** each, drawn {targets.draws} times" in text
    average = table.splitlines()[-1]
    assert [path.name for path in PAGES if average in path.read_text(encoding="utf-8")] == ["quickstart.md"]
    means = re.findall(r"\| (mini-\w+) \|.*\| ([\d.]+) ± .*\| ([\d.]+) ± ", table)
    picture = text_of("docs/images/quickstart.svg")
    assert "; ".join(f"{task}, mpt: {mpt}; {task}, prompt_tuning: {own}" for task, mpt, own in means) in picture
    assert picture.count('class="mpt draw"') == targets.draws * len(means) + 1, "one of them is in the legend"
    (described,) = re.findall(r"!\[([^\]]*)\]", README)
    assert sorted(re.findall(r"\d\d\.\d", described)) == sorted(number for _, *both in means for number in both)


def test_measured_numbers_stand_in_one_table():
    """No row with three decimal numbers or more is in the tables of two pages."""
    pages = {}
    for path in PAGES:
        for line in path.read_text(encoding="utf-8").splitlines():
            numbers = re.findall(r"\d+\.\d+", line) if line.lstrip().startswith("|") else []
            if len(numbers) >= 3:
                pages.setdefault(tuple(numbers), set()).add(path.name)
    assert len(pages) > 150
    assert {numbers: names for numbers, names in pages.items() if len(names) > 1} == {}


def call(words: list[str]) -> str:
    """What a command prints, run in this process."""
    program, *arguments = words
    assert program == "multiprompt"
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, f"{shlex.join(words)}\n{done.output}\n{done.exception!r}"
    return done.stdout


def test_the_commands_of_the_readme_run(tmp_path, monkeypatch):
    """Every line, in order; training is cut short by overrides, which the commands take anyway.

    The run that the others use is made by a program of its own, as a reader makes it. What needs a network is run with
    --help alone; tests of its own run it on a copy of the hub.
    """
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
    few = [*short, "source.tasks=[mini-sst2, mini-mnli]", "targets.tasks=[mini-rte, mini-wsc]", "targets.shots=[32]"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews.csv").write_text("text,label\na,0\nb,1\nc,0\nd,1\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "multiprompt", "run", "quickstart", *few],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    (commands,) = (block for block in blocks("sh") if block.startswith("multiprompt "))
    written = commands.splitlines()
    helped = ["--help"]
    lines = [shlex.split(line, comments=True) + helped * ("needs a network" in line) for line in written]
    assert {line[1] for line in lines} == VERBS - {"quickstart"}
    more = {"run": few, "plan": few, "reproduce": ["--dry-run"]}  # studies/test_reproduce.py does run that one
    said = {shlex.join(line): call(line + more.get(line[1], [])) for line in lines}
    assert len(said) == len(lines)
    silent = {line for line, text in said.items() if not text}
    assert silent == set()
    assert (tmp_path / "both.html").exists()


def test_the_tutorial_on_a_task_of_ones_own_runs(tmp_path, monkeypatch, capsys):
    """Every block in order: Python, files (their first line says the name), commands."""
    page = (ROOT / "docs" / "your-own-task.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    found = re.findall(r"```(\w+)\n(.*?)```", page, flags=re.DOTALL)
    assert [language for language, _ in found] == ["python", "sh", "yaml", "sh", "yaml", "sh", "python"]
    said = ""
    for language, text in found:
        if language == "yaml":
            (tmp_path / text.splitlines()[0].removeprefix("# ")).write_text(text, encoding="utf-8")
        elif language == "sh":
            said += "".join(call(shlex.split(line)) for line in text.splitlines())
        else:
            exec(compile(text, page, "exec"), {})
            said += capsys.readouterr().out
    assert "reviews: own, reports accuracy" in said
    assert "\n1\n0\n" in said  # the answers to the two sentences
    assert '{"answer": "1", "valid": true, "source": "sentence: the meal was great.", "input": {"review"' in said
    assert (tmp_path / "guessed" / "reviews-experiment.yaml").exists()
    assert "{'train': 120, 'dev': 30, 'test': 50, 'empty text': 0} sentence: the " in said


def test_the_page_on_ones_own_loop_prompt_and_metric_runs(tmp_path, monkeypatch, capsys):
    """Every block in order; one whose first line is the name of a file is that file. Trainings are cut short."""
    page = (ROOT / "docs" / "your-own.md").read_text(encoding="utf-8")
    short = page.replace("steps=30", "steps=2").replace("range(30)", "range(2)").replace("max_test=100", "max_test=10")
    assert short.count("steps=2") == short.count("range(2)") == short.count("max_test=10") == 1
    monkeypatch.chdir(tmp_path)
    names = {}
    for language, text in re.findall(r"```(\w+)\n(.*?)```", short, flags=re.DOTALL):
        first = text.splitlines()[0]
        if re.fullmatch(r"# \S+\.\w+", first):
            (tmp_path / first.removeprefix("# ")).write_text(text, encoding="utf-8")
        else:
            assert language == "python"
            exec(compile(text, page, "exec"), names)
    said = capsys.readouterr().out
    assert said.startswith("Adapted('lora', mini-rte, ")
    assert "Evaluation(exact " in said
    assert set(names["opinions"].task.metrics) == {"exact", "accuracy"}
    assert "(docs/your-own.md)" in README


def test_the_page_on_a_method_of_ones_own_runs(tmp_path, monkeypatch, capsys, tiny_folder):
    """Every block in order, on a random backbone: two files, commands, Python. The method has at most 60 lines."""
    page = (ROOT / "docs" / "your-own-method.md").read_text(encoding="utf-8")
    short = page.replace("embedded-small", str(tiny_folder)).replace("steps: 50", "steps: 2")
    short = short.replace("max_train: 200, max_dev: 50, max_test: 100", "max_train: 8, max_dev: 2, max_test: 4")
    monkeypatch.chdir(tmp_path)
    said = ""
    for language, text in re.findall(r"```(\w+)\n(.*?)```", short, flags=re.DOTALL):
        first = text.splitlines()[0]
        if re.fullmatch(r"# \S+\.\w+", first):
            (tmp_path / first.removeprefix("# ")).write_text(text, encoding="utf-8")
        elif language == "sh":
            said += "".join(call(shlex.split(line)) for line in text.splitlines())
        else:
            exec(compile(text, page, "exec"), {})
            said += capsys.readouterr().out
    code = (tmp_path / "scaled_rows.py").read_text(encoding="utf-8").splitlines()
    assert sum(bool(line.strip()) for line in code) <= 60
    trained = 100 + 16
    assert re.search(rf"together +{trained}\n", said), "params"
    assert re.search(r"target +scaled_rows +all +1 +1 new", said), "plan"
    scores = read_results(tmp_path / "runs" / "scaled-rows" / "results.json")[1]
    assert [(score.method, score.parameters) for score in scores] == [("prompt_tuning", 20 * 16), ("scaled_rows", 36)]
    assert "scaled_rows" in (tmp_path / "runs" / "scaled-rows" / "report.md").read_text(encoding="utf-8")
    assert "Adapted('scaled_rows', mini-rte, " in said
    config = (tmp_path / "runs" / "scaled-rows" / "config.yaml").read_text(encoding="utf-8")
    assert "own_methods:\n  scaled_rows: ../../scaled_rows.py\n" in config


def test_a_finished_run_is_used_as_the_page_on_experiments_says(tiny_folder, tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    methods = {"mpt": {}, "prompt_tuning": {}}
    short = {"training": {"steps": 1, "batch_size": 4}}
    experiment = small_experiment(tiny_folder, teachers=short, source=short, targets={"methods": methods} | short)
    multiprompt.run_experiment(experiment, "runs/mine")
    (text,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(compile(text, page, "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("FinishedRun('runs/mine', seed 1: ")
    assert said[-1] == "torch.Size([4, 16])"
    assert len(said) == text.count("print(")


def test_every_public_function_and_class_says_what_it_takes_gives_and_raises():
    """By the sections of its docstring; fields of options have a line each below them."""
    for name in multiprompt.__all__:
        value = getattr(multiprompt, name)
        if not inspect.isfunction(value) and not (inspect.isclass(value) and not issubclass(value, Exception)):
            continue
        said = inspect.getdoc(value) or ""
        parameters = [each for each in inspect.signature(value).parameters if each not in ("args", "kwargs")]
        documented = set(re.findall(r"^    (\w+): ", said, flags=re.MULTILINE))
        if inspect.isfunction(value):
            gives = inspect.signature(value).return_annotation not in (None, "None")
            assert not gives or re.search(r"^(Returns|Yields):$", said, flags=re.MULTILINE), name
            assert "\nRaises:\n" in said, name
        else:
            body = ast.parse(inspect.getsource(value)).body[0].body
            pairs = itertools.pairwise(body)
            documented |= {a.target.id for a, b in pairs if isinstance(a, ast.AnnAssign) and isinstance(b, ast.Expr)}
            checks = name.endswith("Options") and name != "BackboneOptions"
            assert not checks or "\nRaises:\n    ConfigError: " in said, name
        if value is not multiprompt.Methods:  # its fields are the methods, whose options are documented
            assert set(parameters) <= documented, (name, set(parameters) - documented)


def test_the_page_on_a_task_of_ones_own_has_every_key():
    page = (ROOT / "docs" / "your-own-task.md").read_text(encoding="utf-8")
    keys = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", page, flags=re.MULTILINE)))
    assert sorted(keys) == sorted(field.name for field in dataclasses.fields(TaskDefinition))


def links_of(path: Path) -> list[str]:
    """Targets of the relative links of a page, those in examples of code left out."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", target)]


def anchors_of(path: Path) -> set[str]:
    """What a link can name in a page: its headings in lower case, without marks, with a dash for every space."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#+ +(.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_anchors_are_those_of_headings(tmp_path):
    file = tmp_path / "a.md"
    file.write_text("# What `it` is, and what not?\n```sh\n# no heading\n```\n## Two-way\n", encoding="utf-8")
    assert anchors_of(file) == {"what-it-is-and-what-not", "two-way"}


def test_every_link_and_anchor_leads_somewhere():
    links = [(path, *target.partition("#")[::2]) for path in PAGES for target in links_of(path)]
    assert len({path for path, _, _ in links}) > 15
    assert len(links) > 100
    assert sum(bool(anchor) for _, _, anchor in links) > 20
    for path, name, anchor in links:
        file = path.parent / name if name else path
        assert file.exists(), f"{path.name}: {name}"
        assert not anchor or anchor in anchors_of(file), f"{path.name}: {name}#{anchor}"


def test_every_page_is_reached_from_the_index():
    """In one step, with a line of its own."""
    index = ROOT / "docs" / "index.md"
    lines = [line for line in index.read_text(encoding="utf-8").splitlines() if line.startswith("- ")]
    named = [(index.parent / re.match(r"- \[[^\]]+\]\(([^)]+)\): ", line)[1]).resolve() for line in lines]
    assert len(named) == len(set(named))
    assert {*PAGES, ROOT / "docs" / "whole_method.py"} - {index} == set(named)
    assert "docs/index.md" in links_of(ROOT / "README.md")


def test_licence_and_citation_agree_with_the_package():
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert (citation["cff-version"], citation["type"], citation["title"]) == ("1.2.0", "software", project["name"])
    assert {"message", "authors"} <= set(citation)
    assert citation["version"] == multiprompt.__version__
    assert citation["license"] == project["license"] == "Apache-2.0"
    assert project["license-files"] == ["LICENSE"]
    words = " ".join(text_of("LICENSE").split())
    assert words.startswith("Apache License Version 2.0, January 2004")
    assert "9. Accepting Warranty or Additional Liability." in words
    (paper,) = citation["references"]
    assert [each["family-names"] for each in paper["authors"]] == ["Wang", "Panda", "Karlinsky", "Feris", "Sun", "Kim"]
    assert paper["url"].endswith("2303.02861")


def test_the_changelog_begins_with_this_version():
    first = re.search(r"^## (.*)$", text_of("CHANGELOG.md"), flags=re.MULTILINE)
    assert first[1].split()[0] == multiprompt.__version__


def test_the_whole_method_fits_on_a_page():
    assert len((ROOT / "docs" / "whole_method.py").read_text(encoding="utf-8").splitlines()) <= 40


def test_the_whole_method_runs(capsys):
    """The script as it is, but for the numbers of steps and of rows."""
    script = (ROOT / "docs" / "whole_method.py").read_text(encoding="utf-8")
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
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# "), "the first line says what the recipe does"
    build_experiment(yaml.safe_load(text))
