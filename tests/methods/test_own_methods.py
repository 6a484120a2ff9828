"""Methods from outside the package: how they are registered, found, checked, and made again when they change."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import multiprompt as mp
from conftest import save_tiny
from multiprompt.cli.main import app
from multiprompt.config import build_experiment, check_experiment, to_yaml
from multiprompt.errors import ConfigError, UnknownNameError
from multiprompt.files import read_json
from multiprompt.forecast.parameters import count_parameters
from multiprompt.methods import Start, build_method, check_packages
from multiprompt.options import load_method_file, method_record
from multiprompt.plan import plan_stages
from multiprompt.runs import open_run, run_experiment
from multiprompt.runs.graph import build_graph
from multiprompt.runs.materials import load_materials
from multiprompt.runs.run_folder import read_run_config
from multiprompt.runs.setup_notes import notes_on_setup
from multiprompt.training import SILENT
from recipes.small import Listener

PAGE = (Path(__file__).parents[2] / "docs" / "your-own-method.md").read_text(encoding="utf-8")
(CODE,) = re.findall(r"```python\n(# scaled_rows\.py\n.*?)```", PAGE, flags=re.DOTALL)
TRAINING = {"steps": 2, "batch_size": 4, "select": "last"}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("backbone"))


def write_project(folder: Path, backbone: Path, code: str = CODE, key: str = "scaled_rows.py", **targets) -> Path:
    """The file of a method and an experiment that names it; returns the file of the experiment."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scaled_rows.py").write_text(code, encoding="utf-8")
    methods = {"prompt_tuning": {}, key: {"learning_rate": 0.2}}
    values = {
        "name": "own",
        "backbone": str(backbone),
        "data": {"max_train": 8, "max_dev": 2, "max_test": 4, "max_source_length": 24},
        "prompt": {"length": 4},
        "targets": {"tasks": ["mini-rte"], "methods": methods, "training": TRAINING} | targets,
    }
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def identities(experiment: mp.Experiment) -> dict[str, str]:
    stages = plan_stages(experiment)
    nodes = build_graph(load_materials(experiment, stages, SILENT), experiment.seeds, stages)
    return {node.stage.method: node.identity for node in nodes.values()}


def test_a_path_among_the_methods_becomes_a_name(backbone, tmp_path, monkeypatch):
    path = write_project(tmp_path / "project", backbone)
    experiment = mp.load_experiment(path)
    assert experiment.own_methods == {"scaled_rows": str(tmp_path / "project" / "scaled_rows.py")}
    assert list(experiment.targets.methods) == ["prompt_tuning", "scaled_rows"]
    assert experiment.targets.methods["scaled_rows"].learning_rate == 0.2
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    written = to_yaml(experiment, tmp_path / "runs")
    assert yaml.safe_load(written)["own_methods"] == {"scaled_rows": "../project/scaled_rows.py"}
    (tmp_path / "runs" / "config.yaml").write_text(written, encoding="utf-8")
    assert mp.load_experiment(tmp_path / "runs" / "config.yaml") == experiment
    changed = mp.load_experiment(path, ["targets.methods.scaled_rows.learning_rate=0.7"])
    assert changed.targets.methods["scaled_rows"].learning_rate == 0.7
    monkeypatch.chdir(tmp_path / "project")
    assert build_experiment(yaml.safe_load(path.read_text(encoding="utf-8"))) == experiment


def test_a_finished_run_is_used_and_a_changed_file_makes_its_own_stages_again(backbone, tmp_path):
    path, run = write_project(tmp_path, backbone), tmp_path / "run"
    run_experiment(mp.load_experiment(path), run)
    scores = {score.method: score for score in open_run(run).evaluate()}
    stored = {s["method"]: s["metrics"] for s in read_json(run / "results.json")["scores"]}
    assert {method: score.metrics for method, score in scores.items()} == stored
    assert scores["scaled_rows"].parameters == 4 + 16
    lines = (run / "seed-42/target-mini-rte-scaled_rows-all/predictions-mini-rte.jsonl").read_text(encoding="utf-8")
    answers = [json.loads(line)["prediction"] for line in lines.splitlines()]
    task = mp.load_task("mini-rte", mp.load_backbone(str(backbone)), read_run_config(run).data)
    texts = [example.source for example in task.data.test]
    assert open_run(run).answer("mini-rte", texts, method="scaled_rows") == answers
    nothing, changed = Listener(), Listener()
    run_experiment(read_run_config(run), run, resume=True, progress=nothing)
    assert nothing.trained == []
    (tmp_path / "scaled_rows.py").write_text(CODE.replace("torch.ones", "2 * torch.ones"), encoding="utf-8")
    run_experiment(read_run_config(run), run, resume=True, progress=changed)
    assert changed.trained == ["target-mini-rte-scaled_rows-all"]


def test_only_its_own_stages_depend_on_the_content_of_the_file(backbone, tmp_path):
    path = write_project(tmp_path / "one", backbone)
    before = identities(mp.load_experiment(path))
    moved = mp.load_experiment(write_project(tmp_path / "other", backbone))
    assert identities(moved) == before, "where the file lies does not matter"
    changed = mp.load_experiment(write_project(tmp_path / "other", backbone, CODE + "\n# a word\n"))
    after = identities(changed)
    assert {name for name in before if before[name] != after[name]} == {"scaled_rows"}
    assert identities(mp.load_experiment(path)) == before, "the first file counts again where it is named"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import multiprompt\n", "registers 0 methods (none); expected one"),
        ("1 / 0\n", "scaled_rows.py cannot be run: ZeroDivisionError: division by zero"),
        ("def\n", "cannot be run: SyntaxError"),
        (CODE.replace("        version=1,\n", ""), "the record of the method 'scaled_rows' has no version"),
        (CODE.replace("        build=build,\n", ""), "the record of the method 'scaled_rows' has no builder"),
        (
            CODE.replace('"scaled_rows"', '"lora"'),
            "the method 'lora' is a part of multiprompt; give yours another name",
        ),
        (CODE.replace('"scaled_rows"', '"teacher"'), "the method is named 'teacher', as a kind of stage is"),
        (CODE.replace('"scaled_rows"', '"attention"'), "uses the name 'attention', which another method has"),
        (CODE.replace('"scaled_rows"', '"Scaled rows"'), "method is 'Scaled rows'; expected the name of the method"),
        (CODE.replace('    method = "scaled_rows"\n', ""), "method is None; expected the name of the method"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(backbone, tmp_path, code, message):
    path = write_project(tmp_path, backbone, code)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        mp.load_experiment(path)
    assert str(caught.value).count("targets.methods: ") == 1
    assert str(tmp_path / "scaled_rows.py") in str(caught.value)
    assert method_record("lora").shipped


def test_mistakes_in_a_configuration_are_said(backbone, tmp_path):
    path = write_project(tmp_path, backbone, key="nothing.py")
    with pytest.raises(ConfigError, match=r"nothing\.py, cannot be read: No such file") as caught:
        mp.load_experiment(path)
    assert "is not a key" not in str(caught.value)
    path = write_project(tmp_path, backbone)
    (tmp_path / "again.py").write_text(CODE, encoding="utf-8")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("prompt_tuning:", "again.py:"), encoding="utf-8")
    with pytest.raises(ConfigError, match="is a second method named 'scaled_rows'; rename one"):
        mp.load_experiment(path)
    path.write_text(text.replace("learning_rate: 0.2", "learning_rat: 0.2"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"scaled_rows\.learning_rat is not a key .*; did you mean 'learning_rate'"):
        mp.load_experiment(path)
    path.write_text(text.replace("learning_rate: 0.2", "learning_rate: -1"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"targets\.methods\.scaled_rows\.learning_rate is -1"):
        mp.load_experiment(path)
    path.write_text(text + "own_methods: {other: scaled_rows.py}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"own_methods\.other: .* registers the method 'scaled_rows'"):
        mp.load_experiment(path)


def test_its_numbers_are_counted(backbone, tmp_path):
    file = write_project(tmp_path, backbone).with_name("scaled_rows.py")
    assert count_parameters(str(file), "t5-base").per_task == 100 + 768
    assert "scaled_rows on t5-base: " in CliRunner().invoke(app, ["params", str(file)]).stdout
    assert "scaled_rows" in CliRunner().invoke(app, ["ls", "methods"]).stdout
    file.write_text(CODE.replace("        count=count,\n", ""), encoding="utf-8")
    (item,) = count_parameters(str(file), "t5-base").items
    assert (item.name, item.per_task(1)) == ("trained numbers", 868)
    file.write_text(CODE.replace('Item("shift", 1,', 'Item("shift", 2,'), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"scaled_rows trains 868\.0 numbers for each task; its count says 1,636"):
        count_parameters(str(file), "t5-base")


def test_a_method_may_be_registered_in_python(tiny_backbone, tmp_path):
    file = tmp_path / "method.py"
    changed = CODE.replace("before_inputs=True", 'families=("other",), package=("no_such_package", "none")')
    file.write_text(changed, encoding="utf-8")
    record = load_method_file(file).record
    start = Start(
        tiny_backbone, ("a",), record.options(), mp.TrainingOptions(), mp.PromptOptions(length=4), {}, 1, "x", 9
    )
    for check in (lambda: build_method("scaled_rows", start), lambda: check_packages(["scaled_rows"])):
        with pytest.raises(ConfigError, match=r'the method scaled_rows needs the no_such_package library .*\[none\]"'):
            check()
    file.write_text(CODE.replace("before_inputs=True", 'families=("other",)'), encoding="utf-8")
    record = load_method_file(file).record
    with pytest.raises(ConfigError, match="scaled_rows is defined on backbones of the family other alone, and tiny is"):
        build_method("scaled_rows", start)
    mp.register_method(record)
    values = {"name": "x", "targets": {"tasks": ["mini-rte"], "methods": {"scaled_rows": {}}}}
    experiment = build_experiment(values)
    assert experiment.own_methods == {}
    assert not any("scaled_rows" in note for note in notes_on_setup(experiment)), "no rate was found for it"
    with pytest.raises(UnknownNameError, match="unknown method 'scaled_row'; did you mean 'scaled_rows'"):
        mp.Methods(scaled_row=record.options())
    assert check_experiment(values | {"targets": values["targets"] | {"methods": 3}})[1] == [
        "targets.methods is 3: input should be a dictionary or an instance of Methods"
    ]
