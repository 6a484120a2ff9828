from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import multiprompt
from multiprompt import recipes, runs
from multiprompt._version import __version__
from multiprompt.cli.failures import FAILURES
from multiprompt.cli.main import app
from multiprompt.cli.run import folder_name
from multiprompt.config import load_experiment
from multiprompt.errors import CheckpointError, DataError, TrainingError
from multiprompt.evaluation.results import read_results
from multiprompt.options import method_records
from reports.fake_runs import fake_scores, write_fake_run

VERBS = [
    "quickstart",
    "ls",
    "params",
    "show",
    "hub",
    "init",
    "validate",
    "plan",
    "run",
    "reproduce",
    "evaluate",
    "predict",
    "report",
    "analyse",
    "cache",
]

SMALL = "name: a small one\ntargets: {tasks: [mini-rte], methods: {prompt_tuning: {}}}\n"

WIDE = {"COLUMNS": "160"}
"""A terminal in which tables are not printed in parts."""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL, encoding="utf-8")
    yield
    FAILURES.show_traceback = False


def call(*arguments, **options):
    return CliRunner().invoke(app, list(arguments), **options)


def python(*arguments):
    """A new interpreter, which finds the package from whatever folder."""
    environment = os.environ | {"PYTHONPATH": str(Path(multiprompt.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, encoding="utf-8", env=environment, check=False
    )


def test_importing_the_command_line_loads_nothing_heavy():
    heavy = "('torch', 'transformers', 'numpy', 'pydantic', 'yaml', 'rich')"
    done = python("-c", f"import sys, multiprompt.cli.main; print([m for m in {heavy} if m in sys.modules])")
    assert done.stdout.strip() == "[]"


def test_the_module_runs():
    done = python("-m", "multiprompt", "--version")
    assert (done.returncode, done.stdout) == (0, f"multiprompt {__version__}\n")


def test_help_lists_every_verb():
    result = call("--help")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.split("Commands:\n")[1].splitlines()] == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help_with_an_example(verb):
    result = call(verb, "--help")
    assert result.exit_code == 0
    assert f"  Example:\n      multiprompt {verb}" in result.stdout


def options_of(command, path=""):
    """Every option that a person can see, with the verb that has it."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from options_of(inner, f"{path} {name}".strip())
    for parameter in command.params:
        if parameter.param_type_name == "option" and not getattr(parameter, "hidden", False):
            yield parameter.opts[0], path, parameter


def test_an_option_means_the_same_in_every_verb():
    """One name has one kind of value and, but where it is about something of the verb's own, one explanation."""
    found = {}
    for name, verb, option in options_of(typer.main.get_command(app)):
        if name != "--help":
            found.setdefault(name, {})[verb] = option
    shared = {name: verbs for name, verbs in found.items() if len(verbs) > 1}
    assert {"--out", "--task", "--seed", "--resume", "--reuse", "--ray"} <= set(shared)
    one_of_several = {("--task", "predict"), ("--task", "analyse prompt")}  # elsewhere it leaves others out
    for name, verbs in shared.items():
        kinds = {(o.is_flag, o.multiple) for verb, o in verbs.items() if (name, verb) not in one_of_several}
        assert len(kinds) == 1, f"{name} means different things: {kinds}"
        helps = {o.help for o in verbs.values()}
        assert len(helps) == 1 or name in ("--out", "--task", "--resume", "--backbone"), f"{name}: {helps}"
    assert found["--out"]["run"].help == found["--out"]["plan"].help
    assert found["--out"]["evaluate"].help == found["--out"]["analyse transfer"].help


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rnu"], "Did you mean 'run'?"),
        (["ls", "taks"], "'taks'"),
        (["show"], "TASK"),
        (["run"], "CONFIG"),
        (["plan"], "CONFIG"),
        (["plan", "small.yaml", "--measur"], "--measure"),
        (["predict", "folder", "text"], "--task"),
        (["show", "mini-rte", "--rows", "-1"], "--rows"),
        (["report"], "RUN"),
        (["params", "mpt", "--group", "0"], "--group"),
        (["run", "small.yaml", "--resum"], "--resume"),
    ],
)
def test_usage_errors_have_code_2(arguments, message):
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "mini-tre"], "unknown task 'mini-tre'; did you mean 'mini-rte'"),
        (["params", "adaptors"], "unknown method 'adaptors'; did you mean 'adapters'"),
        (["params", "adapters", "--rank", "3"], "adapters has no rank"),
        (["params", "--rank", "3"], "--rank is of one method"),
        (["params", "mpt", "--backbone", "./nowhere"], "the backbone folder ./nowhere does not exist"),
        (["run", "quikstart"], "unknown file or recipe 'quikstart'; did you mean 'quickstart'?"),
        (["run", "missing.yaml"], "cannot read the configuration missing.yaml: No such file or directory"),
        (["validate", "small.yaml", "prompt.length"], "expected key=value, such as prompt.length=20"),
        (["validate", "small.yaml", "prompt.length=0"], "prompt.length is 0"),
        (["validate", "small.yaml", "targets.tasks=[mini-tre]"], "did you mean 'mini-rte'"),
        (["validate", "small.yaml", "data.location=nowhere"], "data.location: nowhere does not exist"),
        (["plan", "quikstart"], "unknown file or recipe 'quikstart'; did you mean 'quickstart'?"),
        (["plan", "small.yaml", "--reuse", "nowhere"], "nowhere is not a run folder"),
        (["plan", "small.yaml", "--out", "."], "holds files but no run"),
        (["report", "nowhere"], "nowhere is not a run folder"),
        (["evaluate", "nowhere"], "nowhere is not a run folder"),
        (["predict", "nowhere", "--task", "rte", "text"], "nowhere is not a run folder"),
        (["predict", "nowhere", "--task", "rte", "--file", "x.csv"], "nowhere is not a run folder"),
        (["predict", "nowhere", "--task", "rte", "--file", "x"], "cannot read x"),
        (["predict", "nowhere", "--task", "rte", "text", "--file", "x"], "contradict"),
        (["predict", "nowhere", "--task", "rte"], "there is no text"),
    ],
)
def test_mistakes_are_one_message_without_traceback(arguments, message):
    result = call(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_validate_prints_every_default(tmp_path):
    result = call("validate", "small.yaml", "prompt.length=20", "seeds=[3, 4]")
    assert result.exit_code == 0
    assert result.stderr.endswith("ok\n")
    (tmp_path / "resolved.yaml").write_text(result.stdout, encoding="utf-8")
    experiment = load_experiment(tmp_path / "resolved.yaml")
    assert (experiment.prompt.length, experiment.seeds) == (20, (3, 4))
    assert experiment == load_experiment(tmp_path / "small.yaml", ["prompt.length=20", "seeds=[3, 4]"])


def write_own_task(folder, **rows):
    """A task whose test rows stand in train too, and the experiment that names it."""
    parts = {"train": range(20), "validation": range(20, 30), "test": range(5), **rows}
    for name, numbers in parts.items():
        lines = (json.dumps({"text": f"number {i}", "label": i % 2}) + "\n" for i in numbers)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    files = ", ".join(f"{name}: {name}.jsonl" for name in parts)
    (folder / "own.yaml").write_text(
        f"name: own\nsource: '{{text}}'\nlabel: {{column: label, words: [bad, good]}}\nsplit: official\n"
        f"files: {{{files}}}\n",
        encoding="utf-8",
    )
    (folder / "experiment.yaml").write_text(SMALL.replace("mini-rte", "./own.yaml"), encoding="utf-8")


IN_BOTH = "own: 5 of 5 (100 %) test rows have a source that stands in train too"


def test_what_the_rows_have_is_said_before_a_training(tmp_path):
    """By validate, show and plan, in the same words."""
    write_own_task(tmp_path)
    validated = call("validate", "experiment.yaml", "targets.methods.prompt_tuning.learning_rate=0.1")
    planned = call("plan", "experiment.yaml", "prompt.length=4", "--no-measure")
    assert (validated.exit_code, planned.exit_code) == (0, 0), validated.stderr + planned.stderr
    shown = call("show", "./own.yaml", "--rows", "0").stdout
    for said in (validated.stderr, planned.stderr, shown):
        assert IN_BOTH in " ".join(said.split())
        assert "test.jsonl, line 1 and" in " ".join(said.split())
    assert "learning_rate is 0.3, found was 0.1" in " ".join(planned.stderr.split())
    assert "found was" not in validated.stderr
    assert validated.stderr.endswith("ok\n")
    write_own_task(tmp_path, test=range(30, 35))
    assert call("validate", "experiment.yaml", "targets.methods.prompt_tuning.learning_rate=0.1").stderr == "ok\n"


def test_validate_looks_at_rows_as_texts_where_there_is_no_tokenizer(tmp_path):
    write_own_task(tmp_path)
    said = " ".join(call("validate", "experiment.yaml", "backbone.name=./nowhere").stderr.split())
    assert "rows are looked at as texts only, not as tokens" in said
    assert IN_BOTH in said
    (tmp_path / "train.jsonl").write_text('{"text": 3, "label": 1}\n', encoding="utf-8")
    wrong = call("validate", "experiment.yaml")
    assert wrong.exit_code == 1
    assert "train.jsonl, line 1: column 'text' is 3" in wrong.stderr


def test_validate_lists_all_problems_together(tmp_path):
    (tmp_path / "wrong.yaml").write_text(
        "name: wrong\nprompt: {lenght: 3}\nsource: {tasks: [mnil, sst2], rate: 1}\ntargets: {tasks: [mini-tre]}\n",
        encoding="utf-8",
    )
    result = call("validate", "wrong.yaml")
    assert result.exit_code == 1
    first, *lines = result.stderr.splitlines()
    for problem in ("'length'", "source.rate", "source.tasks: unknown task 'mnil'", "targets.tasks: unknown task"):
        assert problem in result.stderr
    assert (first, len(lines)) == ("error: wrong.yaml has 4 problems:", 4)


def test_a_file_of_a_task_that_is_missing_hides_no_other_problem(tmp_path):
    (tmp_path / "wrong.yaml").write_text(
        "name: wrong\nprompt: {lenght: 3}\nseeds: [1, 1.5]\n"
        "targets: {tasks: [no.yaml, nor.yaml, mini-tre], methods: {}}\n",
        encoding="utf-8",
    )
    result = call("validate", "wrong.yaml", "prompt.rank", "data.location=nowhere")
    first, *lines = result.stderr.splitlines()
    assert first == "error: wrong.yaml has 8 problems:"
    for line, problem in zip(
        lines,
        (
            "cannot read 'prompt.rank'; expected key=value",
            "targets.tasks: cannot read the configuration no.yaml",
            "targets.tasks: cannot read the configuration nor.yaml",
            "prompt.lenght is not a key (value 3); did you mean 'length'?",
            "seeds.1 is 1.5",
            "targets.methods is empty",
            "targets.tasks: unknown task 'mini-tre'",
            "data.location: nowhere does not exist",
        ),
        strict=True,
    ):
        assert line.startswith(f"  - {problem}"), line


def test_every_shipped_recipe_is_valid():
    assert recipes.recipe_names()
    for name in recipes.recipe_names():
        result = call("validate", name)
        # Recipes on real rows name a folder that this machine may not have.
        problems = [line for line in result.stderr.splitlines() if line.startswith("  - ")]
        assert all("does not exist" in problem for problem in problems), result.stderr
        assert result.exit_code == (1 if problems else 0), result.stderr


def test_only_the_methods_that_take_part_are_printed():
    printed = call("validate", "small.yaml").stdout
    assert "prompt_tuning:\n      learning_rate: 0.3" in printed
    assert "null" not in printed.partition("methods:")[2].partition("shots:")[0]
    assert "adapters" not in printed
    (Path("with.yaml")).write_text(
        SMALL.replace("{prompt_tuning: {}}", "{prompt_tuning: {}, adapters: }"), encoding="utf-8"
    )
    assert "adapters:\n      learning_rate: 0.0003\n      reduction: 32\n" in call("validate", "with.yaml").stdout


def test_lists():
    listed = call("ls", "tasks").stdout
    assert [line.split(" (")[0] for line in listed.splitlines() if re.match(r"\w.* \(\d+\)", line)] == [
        "glue", "superglue", "mrqa", "multiple choice", "others", "generation", "mini"
    ]  # fmt: skip
    rows = {line.split()[0]: line.split()[1:] for line in listed.splitlines() if line.startswith("  ")}
    assert rows["rte"] == ["2,490", "138", "139", "accuracy", "0/1"]  # sizes of the study, after the split rule
    assert rows["e2e"] == ["42,061", "547", "630", "bleu_e2e", "text"]
    assert rows["arc"][:3] == ["3,370", "869", "3,548"]
    assert set(rows) == set(multiprompt.TASKS)
    assert not any("?" in row for row in rows.values())
    methods = call("ls", "methods").stdout
    assert "l·d + r·(l + d)" in methods
    for record in method_records():
        assert f"\n{record.name} " in methods
    assert "google/t5-v1_1-large" in call("ls", "backbones").stdout
    listed = call("ls", "recipes").stdout
    for name in recipes.recipe_names():
        assert name in listed
        assert recipes.recipe_path(name).read_text(encoding="utf-8").startswith("# "), (
            "the first line says what a recipe does"
        )


def test_params_prints_the_arithmetic():
    lines = call("params", "mpt", "--group", "8").stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[:4]] == ["item", "shared prompt", "u and v", "together"]
    assert lines[1].endswith(("9,600", "9,600   "))
    assert "100 · 768 / 8" in lines[1]
    assert "10,468" in lines[3]
    assert " ".join(lines[4:]) == (
        "mpt on t5-base: 0.0047 % of its 222,903,552 parameters for each task; 83,744 in all for 8 tasks"
    )


def test_params_says_when_a_group_changes_nothing():
    said = call("params", "bitfit", "--group", "3").stdout
    assert "280,960" in said
    assert said.endswith("bitfit shares nothing among the tasks of a group: each of the 3 has as many\n")


def test_params_of_all_methods():
    lines = call("params", "--backbone", "t5-small", "--length", "10").stdout.splitlines()
    counted = {line.split()[0]: line.split()[2] for line in lines[1:]}
    assert counted["prompt_tuning"] == "5,120"
    assert counted["fine_tuning"] == "60,506,624"


def test_run_writes_the_report_and_prints_the_tables(monkeypatch):
    seen = {}

    def run_experiment(experiment, folder, *, resume, reuse, cluster, progress):
        seen.update(experiment=experiment, folder=folder, resume=resume, reuse=reuse)
        progress.begin("source", 10)
        progress.step(10, 0.5, 99.0)
        progress.end("source", "accuracy 71.2")
        write_fake_run(folder)

    monkeypatch.setattr(runs, "run_experiment", run_experiment)
    result = call("run", "small.yaml", "prompt.length=7", "--resume", "--reuse", "one", "--reuse", "two")
    assert result.exit_code == 0, result.stderr
    assert (seen["experiment"].prompt.length, seen["resume"]) == (7, True)
    assert str(seen["folder"]) == "runs/a-small-one"
    assert list(map(str, seen["reuse"])) == ["one", "two"]
    assert "76.5 ± 0.7" in result.stdout
    assert "report: runs/a-small-one/report.html" in result.stdout
    assert "source: accuracy 71.2" in result.stderr


def test_run_on_a_cluster(monkeypatch):
    given = []

    def run(experiment, folder, *, cluster, **others):
        given.append(cluster)
        write_fake_run(folder, [])

    monkeypatch.setattr(runs, "run_experiment", run)
    assert call("run", "small.yaml").exit_code == 0
    assert call("run", "small.yaml", "--ray", "auto").exit_code == 0
    assert call("run", "small.yaml", "--ray", "head:6379", "--threads-per-stage", "4").exit_code == 0
    assert given == [None, runs.Cluster("auto", threads=1), runs.Cluster("head:6379", threads=4)]
    lost = call("run", "small.yaml", "--threads-per-stage", "4")
    assert (lost.exit_code, len(given)) == (1, 3)
    assert "give --ray ADDRESS too" in lost.output


def test_plan_prints_the_stages_and_the_estimates(tmp_path):
    targets = ["targets.tasks=[mini-rte, mini-wsc, mini-mrpc, mini-yelp]", "data.max_test=20", "data.max_train=40"]
    result = call("plan", "small.yaml", *targets, "targets.shots=[8, all]", "seeds=[0, 1]", "--no-measure", env=WIDE)
    assert result.exit_code == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines()]
    heads = "stage method shots stages state each in all left tasks seeds steps x examples trained"
    assert " ".join(rows[0]) == heads
    trained = f"{100 * 96:,}"
    assert " ".join(rows[1]) == f"target prompt_tuning 8 8 8 new 4 tasks 0, 1 1,000 x 8 {trained}"
    assert " ".join(rows[2]) == f"target prompt_tuning all 8 8 new 4 tasks 0, 1 25 x 32 {trained}"
    together = [
        "4 x prompt_tuning 8, 3 x prompt_tuning all",
        "3 x prompt_tuning all, 4 x prompt_tuning 8",
        "2 x prompt_tuning all",
    ]
    assert [" ".join(row) for row in rows[4:8]] == ["times trained together", *(f"1 {each}" for each in together)]
    assert "disk: about" in result.stdout
    assert "time left" not in result.stdout
    assert not (tmp_path / "runs").exists()


def test_plan_says_what_is_left_and_why(tmp_path):
    short = ["prompt.length=4", "data.max_train=20", "data.max_test=8", "data.max_dev=4", "targets.training.steps=2"]
    assert call("run", "small.yaml", *short, "--out", "run").exit_code == 0
    result = call("plan", "small.yaml", *short, "--out", "run")
    assert result.exit_code == 0, result.stderr
    assert "1 done" in result.stdout
    assert "run holds a run; `multiprompt run` goes on with it if you add --resume" in result.stdout
    changed = call("plan", "small.yaml", *short, "prompt.length=5", "--out", "run", "--reuse", "run").stdout
    assert "1 changed" in changed
    assert (
        "stages are made again because of this:\n  - 1 stage: prompt.length: the folder has 4, asked for is 5"
        in changed
    )
    assert "1 stage in run will be set aside" in changed
    assert "if you add --resume" not in call("plan", "small.yaml", *short, "--out", "run", "--resume").stdout
    assert re.search(r"time left: about .* on this machine \(cpu with 1 thread\)", changed)
    assert re.search(r"memory: about \d+ MB at its peak", changed)


def test_quickstart_runs_its_recipe(monkeypatch, tmp_path):
    seen = []

    def run_experiment(experiment, folder, **_):
        seen.append((experiment.name, folder))
        write_fake_run(folder)

    monkeypatch.setattr(runs, "run_experiment", run_experiment)
    result = call("quickstart", "--out", "here")
    assert result.exit_code == 0
    assert seen[0][0] == "quickstart"
    said = result.stdout.splitlines()
    assert said[0].startswith("With 16 training examples of each of 2 unseen tasks, the mean score is")
    assert re.search("^student +the shared prompt, distilled from the teachers$", result.stdout, re.MULTILINE)
    assert "Target tasks, 16 training examples, full-dev" in result.stdout
    assert max(map(len, said)) <= 80, "a terminal's width"
    assert (tmp_path / "here" / "report.html").exists()


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (CheckpointError("x holds a run already; add --resume"), 1, "error: x holds a run already; add --resume\n"),
        (TrainingError("the loss is not finite"), 1, "error: the loss is not finite\n"),
        (OSError(errno.ENOSPC, "No space left", "log.jsonl"), 1, "error: no space left on the disk (log.jsonl)"),
        (OSError(errno.EROFS, "Read-only file system", "x"), 1, "error: the disk is mounted read-only (x); choose"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 1, "error: [Errno 13] Permission denied: 'x'"),
        (KeyboardInterrupt(), 130, "stopped; continue with --resume\n"),
    ],
)
def test_a_run_that_fails(monkeypatch, failure, code, message):
    def run_experiment(*_, **__):
        raise failure

    monkeypatch.setattr(runs, "run_experiment", run_experiment)
    result = call("run", "small.yaml")
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_debug_shows_the_traceback():
    result = call("--debug", "show", "mini-tre")
    assert type(result.exception).__name__ == "UnknownNameError"
    done = python("-m", "multiprompt", "--debug", "run", "missing.yaml")
    assert "Traceback" in done.stderr
    assert done.returncode == 1


def test_report_of_several_runs(tmp_path):
    write_fake_run(tmp_path / "one")
    write_fake_run(tmp_path / "two", name="two")
    result = call("report", "one", "two", "--out", "both.html")
    assert result.exit_code == 0
    assert "mpt · two" in result.stdout
    assert "report: both.html" in result.stdout
    assert (tmp_path / "both.html").exists()


def test_report_of_a_run_without_scores(tmp_path):
    write_fake_run(tmp_path / "one", finished=False)
    result = call("report", "one")
    assert result.exit_code == 0
    assert "no scores yet" in result.stderr


def test_evaluate_prints_and_writes_scores(monkeypatch, tmp_path):
    seen = {}

    class Opened:
        def __init__(self, folder):
            seen["folder"] = str(folder)

        def evaluate(self, tasks, **options):
            seen.update(options, tasks=tasks)
            return fake_scores()

    monkeypatch.setattr(runs, "open_run", Opened)
    result = call("evaluate", "some-run", "--task", "rte", "--task", "cb", "--max-test", "5", "--out", "again.json")
    assert result.exit_code == 0, result.stderr
    assert seen["tasks"] == ["rte", "cb"]
    assert (seen["folder"], seen["max_test"]) == ("some-run", 5)
    assert "mini-rte" in result.stdout
    assert read_results(tmp_path / "again.json")[1] == fake_scores()


@pytest.fixture
def echo(monkeypatch):
    """Answers each text in capitals; the run knows all registered tasks."""
    seen = {}

    class Opened:
        def __init__(self, folder): ...

        def task(self, name):
            return multiprompt.TASKS[name]

        def answer(self, task, texts, **options):
            seen.update(options, task=task)
            return [text.upper() for text in texts]

    monkeypatch.setattr(runs, "open_run", Opened)
    return seen


@pytest.mark.parametrize("way", ["arguments", "file", "standard input"])
def test_predict_answers_line_by_line(echo, tmp_path, way):
    (tmp_path / "texts.txt").write_text("a text\nää\n", encoding="utf-8")
    arguments = {"arguments": ["a text", "ää"], "file": ["--file", "texts.txt"], "standard input": []}[way]
    result = call("predict", "run", "--task", "rte", "--seed", "3", *arguments, input="a text\nää\n")
    assert (result.exit_code, result.stdout) == (0, "A TEXT\nÄÄ\n")
    assert echo == {"task": "rte", "method": None, "seed": 3}


def test_predict_cuts_texts_at_line_ends_alone(echo, tmp_path):
    (tmp_path / "texts.txt").write_bytes("\ufeffa\u2028b\x0bc\x0cd\x85e\r\nf".encode())
    result = call("predict", "run", "--task", "rte", "--file", "texts.txt")
    assert (result.exit_code, result.stdout) == (0, "A\\u2028B\\x0bC\\x0cD\\x85E\nF\n")


@pytest.mark.parametrize(
    ("arguments", "content", "message"),
    [
        ([], b"a\n\nb\n", "standard input, line 2 is empty"),
        (["a", " "], b"", "text 2 is empty"),
        ([""], b"", "text 1 is empty"),
        (["a\udcff"], b"", r"text 1 is not UTF-8: 'a\udcff'"),
        ([], b"a\nb\xff\n", "standard input, line 2: not UTF-8 (byte 2 is 0xff)"),
        (["--file", "texts"], b"a\n\n", "texts, line 2 is empty"),
        (["--file", "texts"], b"a\nb\xff\n", "texts, line 2: not UTF-8 (byte 2 is 0xff); convert the file to UTF-8"),
        (["--file", "texts"], b"\x1f\x8b\x08\x00", "texts is compressed by gzip; expected UTF-8 text"),
        (["--file", "texts"], b"\xff\xfea\x00", "texts is UTF-16 text; expected UTF-8 text"),
    ],
)
def test_predict_refuses_what_is_no_text_wherever_it_comes_from(echo, tmp_path, arguments, content, message):
    (tmp_path / "texts").write_bytes(content)
    result = call("predict", "run", "--task", "rte", *arguments, input=content)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr


ROW = {"sentence1": "a = b", "sentence2": "é"}
FROM_ROW = "rte sentence1: a = b sentence2: é"


@pytest.mark.parametrize("way", ["arguments", "rows.jsonl", "rows.csv", "rows.tsv", "texts.txt", "standard input"])
def test_predict_makes_the_text_of_a_row(echo, tmp_path, way):
    objects = json.dumps(ROW, ensure_ascii=False) + "\n"
    (tmp_path / "rows.csv").write_text("sentence1,n,sentence2\na = b,1,é\n", encoding="utf-8")
    (tmp_path / "rows.tsv").write_text("sentence1\tsentence2\na = b\té\n", encoding="utf-8")
    for name in ("rows.jsonl", "texts.txt"):
        (tmp_path / name).write_text(objects, encoding="utf-8")
    given = ["--file", way]
    if way in ("arguments", "standard input"):
        given = [f"{column}={value}" for column, value in ROW.items()] if way == "arguments" else []
    result = call("predict", "run", "--task", "rte", "--json", *given, input=objects)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    extra = {"n": "1"} if way == "rows.csv" else {}
    said = json.loads(result.stdout)
    assert said == {"answer": FROM_ROW.upper(), "valid": False, "source": FROM_ROW, "input": ROW | extra}


def test_predict_says_whether_an_answer_is_one_of_the_task(echo, monkeypatch):
    monkeypatch.setattr(runs.open_run, "answer", lambda *_, **__: ["1", "2"])
    result = call("predict", "run", "--task", "rte", "--json", "rte sentence1: a sentence2: b", "x")
    said = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(each["answer"], each["valid"], each["input"]) for each in said] == [("1", True, {}), ("2", False, {})]


def test_predict_says_when_a_text_does_not_look_like_the_task(echo):
    result = call("predict", "run", "--task", "rte", "rte sentence1: a sentence2: b", "a, b")
    assert result.exit_code == 0
    assert result.stderr == (
        "note: 1 of 2 texts do not begin with 'rte sentence1:', as every text of rte does that was learned from; give "
        "sentence1=... and sentence2=... and the text is made for you\n"
    )
    assert call("predict", "run", "--task", "rte", "rte sentence1: a sentence2: b").stderr == ""
    assert call("predict", "run", "--task", "mini-e2e", "any = text").stderr == "", "nothing is in front of its text"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sentence1=a"], "the arguments: column 'sentence2' is missing; task 'rte' needs sentence1, sentence2"),
        (["sentence1=a", "sentnce2=b"], "unknown column of rte 'sentnce2'; did you mean 'sentence2' or 'sentence1'?"),
        (["x=1"], "unknown column of rte 'x'"),
        (["sentence1=a", "b"], "'b' is no COLUMN=VALUE, as other arguments are"),
        (["sentence1=a", "sentence1=b", "sentence2=c"], "the column 'sentence1' is given twice"),
        (["--file", "rows.csv"], "rows.csv, line 2: column 'sentence2' is missing"),
        (["--file", "rows.jsonl"], "rows.jsonl, line 1: column 'sentence1' is 3; expected a text (task 'rte')"),
        (["--file", "empty.csv"], "empty.csv holds no rows"),
    ],
)
def test_predict_names_columns_that_are_missing_unknown_or_wrong(echo, tmp_path, arguments, message):
    (tmp_path / "rows.csv").write_text("sentence1\na\n", encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text('{"sentence1": 3, "sentence2": "b"}\n', encoding="utf-8")
    (tmp_path / "empty.csv").write_text("sentence1,sentence2\n", encoding="utf-8")
    result = call("predict", "run", "--task", "rte", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr


def test_the_list_of_tasks_does_not_load_torch():
    code = "import sys; from multiprompt.cli.main import app; app(['ls', 'tasks'], standalone_mode=False)"
    done = python("-c", f"{code}; sys.exit('torch' in sys.modules)")
    assert done.returncode == 0, done.stderr


def test_show_takes_the_file_of_a_task(tiny_folder, tmp_path):
    (tmp_path / "rows.tsv").write_text(
        "text\tlabel\n" + "".join(f"text {n}\t{n % 2}\n" for n in range(20)), encoding="utf-8"
    )
    (tmp_path / "mine.yaml").write_text(
        'name: mine\nsource: "{text}"\nlabel: {column: label, words: ["no", "yes"]}\nsplit: train-only\n'
        "files: {train: rows.tsv}\n",
        encoding="utf-8",
    )
    result = call("show", "./mine.yaml", "--rows", "1", "--backbone", str(tiny_folder))
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("mine: own, reports accuracy\n")
    assert "  source     mine text " in result.stdout
    assert "note: mine: 'train' holds 20 rows, too few for 1,000 dev and 1,000 test rows" in result.stdout
    (tmp_path / "mine.yaml").write_text("name: mine\nsuorce: x\n", encoding="utf-8")
    result = call("show", "mine.yaml")
    assert result.exit_code == 1
    assert "suorce is not a key (value 'x'); did you mean 'source'?" in result.stderr
    assert "split is missing" in result.stderr


def test_an_experiment_names_the_problems_of_its_tasks(tmp_path):
    (tmp_path / "mine.yaml").write_text("name: mine\nsuorce: x\n", encoding="utf-8")
    result = call("validate", "small.yaml", "targets.tasks=[mine.yaml]")
    assert result.exit_code == 1
    assert "targets.tasks: mine.yaml: suorce is not a key (value 'x'); did you mean 'source'?" in result.stderr
    (tmp_path / "inline.yaml").write_text(
        SMALL + "tasks: {mine: {source: '{text}', splitt: large}}\n", encoding="utf-8"
    )
    result = call("validate", "inline.yaml")
    assert "tasks.mine.splitt is not a key (value 'large'); did you mean 'split'?" in result.stderr
    (tmp_path / "inline.yaml").write_text(SMALL + "tasks: {mine: {source: '{text}', split: lagre}}\n", encoding="utf-8")
    result = call("validate", "inline.yaml")
    assert "  - tasks.mine: split: unknown split rule 'lagre'; did you mean 'large'" in result.stderr


def test_show_prints_rows_as_text_and_tokens(tiny_folder):
    result = call("show", "mini-rte", "--rows", "2", "--backbone", str(tiny_folder), "--split", "test")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("row test:") == 2
    assert "</s>" in result.stdout
    attention = next(line for line in result.stdout.splitlines() if line.strip().startswith("masks"))
    source = next(line for line in result.stdout.splitlines() if line.strip().startswith("tokens"))
    assert f"attention {source.split()[1]}, labels 2" in attention
    for split in ("train", "dev", "test"):
        assert f"\n{split} " in result.stdout


@pytest.mark.parametrize(
    ("name", "folder"), [("a/b c", "a-b-c"), ("ok_1.2", "ok_1.2"), ("../..", "experiment"), ("é!", "é")]
)
def test_an_experiment_makes_a_safe_folder_name(name, folder):
    assert folder_name(name) == folder


def test_a_real_run_from_start_to_answers(tiny_folder, tmp_path):
    small = ["data.max_train=40", "data.max_dev=8", "data.max_test=8", "prompt.length=3", "targets.training.steps=4"]
    assert call("run", "small.yaml", f"backbone.name={tiny_folder}", *small).exit_code == 0
    folder = "runs/a-small-one"
    name, stored = read_results(tmp_path / folder / "results.json")
    assert (name, len(stored), stored[0].steps) == ("a small one", 1, 4)

    again = call("run", "small.yaml", f"backbone.name={tiny_folder}", *small)
    assert (again.exit_code, "--resume" in again.stderr) == (1, True)
    assert call("run", "small.yaml", f"backbone.name={tiny_folder}", *small, "--resume").exit_code == 0
    other = call("run", "small.yaml", f"backbone.name={tiny_folder}", *small, "prompt.length=4", "--resume")
    assert "prompt.length: the folder has 3, asked for is 4" in other.stderr
    assert (other.exit_code, read_results(tmp_path / folder / "results.json")[1][0].parameters) == (0, 4 * 16)
    back = call("run", "small.yaml", f"backbone.name={tiny_folder}", *small, "--resume")
    assert "1 of 1 stages are done already" in back.stderr
    assert read_results(tmp_path / folder / "results.json")[1] == stored

    assert call("evaluate", folder, "--out", "again.json").exit_code == 0
    assert read_results(tmp_path / "again.json")[1][0].metrics == stored[0].metrics
    answers = call("predict", folder, "--task", "mini-rte", "one", "two")
    assert (answers.exit_code, len(answers.stdout.splitlines())) == (0, 2)
    row = {"sentence1": "one.", "sentence2": "two."}
    told = call("predict", folder, "--task", "mini-rte", "--json", *(f"{name}={text}" for name, text in row.items()))
    assert json.loads(told.stdout)["source"] == "sentence1: one. sentence2: two."
    assert runs.open_run(tmp_path / folder).answer("mini-rte", [row]) == [json.loads(told.stdout)["answer"]]
    with pytest.raises(DataError, match="input 1: column 'sentence2' is missing"):
        runs.open_run(tmp_path / folder).answer("mini-rte", [{"sentence1": "one."}])
    assert call("report", folder).exit_code == 0
