from __future__ import annotations

import dataclasses
import typing
from copy import deepcopy

import pytest
import yaml

from multiprompt import options
from multiprompt.config import build_experiment, load_experiment, override, to_plain, to_yaml
from multiprompt.definition import TaskDefinition
from multiprompt.errors import ConfigError
from multiprompt.options import Experiment, TrainingOptions
from multiprompt.tasks import SplitRule

TARGETS = {"tasks": ["rte"], "methods": {"prompt_tuning": {}}}
MINIMAL = {"name": "x", "targets": TARGETS}


def test_left_out_sections_have_the_defaults_of_the_study():
    experiment = build_experiment(MINIMAL)
    assert experiment.source is None
    assert experiment.prompt.length == 100
    assert experiment.seeds == (42,)
    assert experiment.teachers.learning_rate == 0.3


@pytest.mark.parametrize(
    "values",
    [
        MINIMAL,
        {"name": "é", "source": {}, "seeds": [1, 2]},
        {"name": "x", "source": {"distillation": {"kind": "none"}}, "targets": {"tasks": ["rte", "cb"], "group": True}},
        {"name": "x", "targets": TARGETS | {"shots": [4, "all"], "training": {"epochs": 0.5}}},
    ],
)
def test_yaml_round_trip(tmp_path, values):
    experiment = build_experiment(values)
    path = tmp_path / "x.yaml"
    path.write_text(to_yaml(experiment), encoding="utf-8")
    assert load_experiment(path) == experiment
    assert build_experiment(to_plain(experiment)) == experiment


def test_every_field_is_written():
    plain = yaml.safe_load(to_yaml(build_experiment(MINIMAL)))
    assert list(plain) == [field.name for field in dataclasses.fields(Experiment)]
    assert list(plain["targets"]["training"]) == [field.name for field in dataclasses.fields(TrainingOptions)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"promt": {}}, "promt is not a key (value {}); did you mean 'prompt'?"),
        ({"prompt": {"lenght": 5}}, "prompt.lenght is not a key (value 5); did you mean 'length'?"),
        ({"prompt": {"length": "many"}}, "prompt.length is 'many'"),
        ({"prompt": {"length": 0}}, "prompt.length is 0"),
        ({"prompt": {"start": "vocabluary"}}, "did you mean 'vocabulary'?"),
        ({"prompt": {"start": "text"}}, "prompt.text and prompt.start: text go together"),
        ({"prompt": {"path": "p"}}, "prompt.path and prompt.start: saved go together"),
        ({"seeds": []}, "seeds is empty"),
        ({"seeds": [1, 1]}, "seeds has 1 twice"),
        ({"targets": TARGETS | {"shots": [0]}}, "targets.shots has 0"),
        ({"targets": TARGETS | {"shots": ["few"]}}, "targets.shots"),
        ({"targets": TARGETS | {"draws": 0}}, "targets.draws is 0"),
        ({"targets": TARGETS | {"tasks": []}}, "targets.tasks is empty"),
        ({"targets": TARGETS | {"methods": {}}}, "targets.methods is empty"),
        ({"targets": TARGETS | {"methods": {"prompt_tunning": {}}}}, "did you mean 'prompt_tuning'?"),
        ({"targets": TARGETS | {"methods": {"prompt_tuning": {"rate": 1}}}}, "targets.methods.prompt_tuning.rate"),
        ({"targets": TARGETS | {"methods": {"spot": {}}}}, "targets.methods.spot starts from source prompts"),
        ({"targets": TARGETS | {"methods": {"attempt": {}}}}, "targets.methods.attempt starts from source prompts"),
        (
            {"source": {"tasks": ["mnli", "sst2"]}, "targets": TARGETS | {"methods": {"spot": {"start": "mnl"}}}},
            "targets.methods.spot.start is 'mnl', which is no source task; did you mean 'mnli'?",
        ),
        (
            {"source": {"tasks": ["mnli", "sst2"]}, "targets": TARGETS | {"methods": {"spot": {"start": "squad"}}}},
            "targets.methods.spot.start is 'squad', which is no source task; expected retrieved, weighted,",
        ),
        ({"targets": TARGETS | {"methods": {"attempt": {"bottleneck": 0}}}}, "targets.methods.attempt.bottleneck is 0"),
        (
            {"targets": TARGETS | {"methods": {"adapters": {"source_tasks": ["mnli"]}}}},
            "targets.methods.adapters.source_tasks are trained on as the section source says: add that section",
        ),
        (
            {"source": {}, "targets": TARGETS | {"methods": {"fine_tuning": {"source_tasks": ["mnli", "mnli"]}}}},
            "targets.methods.fine_tuning.source_tasks has 'mnli' twice",
        ),
        (
            {"source": {}, "targets": TARGETS | {"methods": {"hyperformer": {"nearest": {"rte": "mnli"}}}}},
            "nearest: rte is near 'mnli', which is not in source_tasks (none; name them there)",
        ),
        (
            {
                "source": {},
                "targets": TARGETS
                | {"methods": {"hyperformer": {"source_tasks": ["mnli"], "nearest": {"rta": "mnli"}}}},
            },
            "targets.methods.hyperformer.nearest names 'rta', which is not in targets.tasks",
        ),
        (
            {"targets": TARGETS | {"methods": {"adapters": {"places": "all"}}}},
            "targets.methods.adapters.places is 'all'",
        ),
        ({"targets": TARGETS | {"methods": {"dept": {"length_share": 1}}}}, "targets.methods.dept.length_share is 1"),
        ({"targets": TARGETS | {"training": {"steps": 5, "epochs": 1}}}, "contradict; give one"),
        ({"targets": TARGETS | {"training": {"warmup_ratio": 1}}}, "expected a share from 0 to below 1"),
        ({"targets": TARGETS | {"group": True}}, "name at least two in targets.tasks"),
        ({"targets": TARGETS | {"methods": {"mpt": {}}}}, "starts from a source prompt"),
        ({"targets": None}, "nothing to do"),
        ({"source": {"tasks": ["sst2"]}}, "needs two tasks or more"),
        ({"source": {"tasks": ["sst2", "sst2"]}}, "source.tasks has 'sst2' twice"),
        ({"source": {}, "targets": TARGETS | {"source_prompt": "p"}}, "contradict; give one of them"),
        ({"data": {"max_train": 0}}, "data.max_train is 0"),
        (
            {"data": {"split_seed": 2**64}},
            "data.split_seed is 18446744073709551616; expected a whole number of 64 bits",
        ),
        ({"targets": TARGETS | {"shots": []}}, "targets.shots is empty"),
        ({"targets": TARGETS | {"shots": [4, 4]}}, "targets.shots has 4 twice"),
        ({"source": {"tasks": [], "mixing": {"mode": "iid"}}}, "source.tasks is empty"),
        ({"teachers": {"training": {"steps": -5}}}, "teachers.training.steps is -5; expected more than 0"),
        ({"source": {"training": {"clip": 0}}}, "source.training.clip is 0"),
        ({"source": {"mixing": {"size_cap": 0}}}, "source.mixing.size_cap is 0"),
        ({"source": {"distillation": {"weight": -1}}}, "source.distillation.weight is -1"),
        ({"targets": TARGETS | {"few_shot_training": {"patience": 1}}}, "targets.few_shot_training.patience is 1, but"),
        ({"targets": TARGETS | {"training": {"steps": 5, "epochs": 1}}}, "targets.training.steps is 5 and epochs is 1"),
        (
            {"targets": TARGETS | {"methods": {"multitask_prompt_tunning": {}}}},
            "targets.methods.multitask_prompt_tunning is not a key (value {}); did you mean 'mpt'?",
        ),
        ({"targets": TARGETS | {"methods": ["Low-Rank Adaptation"]}}, "did you mean 'lora'?"),
        ({"targets": TARGETS | {"methods": ["bitfit", {"bitfit": {}}]}}, "expected names of methods, each once"),
        ({"targets": TARGETS | {"methods": [3]}}, "targets.methods is [3]: expected names of methods"),
        (
            {"backbone": {"precision": "float16"}},
            "backbone.precision is 'float16': the models of the study overflow in float16: take bfloat16",
        ),
        ({"backbone": {"precision": "float64"}}, "backbone.precision is 'float64': input should be 'auto', "),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(ConfigError) as caught:
        build_experiment(MINIMAL | change)
    assert message in str(caught.value)


def numbers(kind=Experiment, path=""):
    """Path of every option that is a number with a fraction."""
    for name, hint in typing.get_type_hints(kind).items():
        for each in (hint, *typing.get_args(hint)):
            if each is float:
                yield f"{path}{name}"
            elif dataclasses.is_dataclass(each) and each is not TaskDefinition:
                yield from numbers(each, f"{path}{name}.")


FULL = {"name": "x", "source": {}, "targets": {"tasks": ["rte"], "methods": {}}}


@pytest.mark.parametrize("key", [*numbers()])
def test_numbers_are_finite(key):
    for value in (".inf", "-.inf", ".nan", "1e400"):
        values = deepcopy(FULL)
        override(values, f"{key}={value}")
        values["targets"]["methods"] = values["targets"]["methods"] or {"bitfit": {}}
        with pytest.raises(ConfigError) as caught:
            build_experiment(values)
        assert f"  - {key} is " in str(caught.value)
        assert "expected a finite number" in str(caught.value)


def test_there_are_such_numbers():
    found = list(numbers())
    assert len(found) > 40
    assert {"targets.few_shot_training.clip", "targets.methods.dept.length_share"} <= set(found)


def enumerated():
    """Every class of options with its options that have one of a few values."""
    kinds = [each for each in vars(options).values() if dataclasses.is_dataclass(each)]
    hints = [(kind, name, hint) for kind in kinds for name, hint in typing.get_type_hints(kind).items()]
    return [(kind, name) for kind, name, hint in hints if typing.get_origin(hint) is typing.Literal]


@pytest.mark.parametrize(("kind", "name"), enumerated())
def test_enumerated_options_are_checked_in_python_too(kind, name):
    needed = {"tasks": ("rte",)} if kind is options.TargetOptions else {}
    with pytest.raises(ConfigError, match=rf"{name} is 'bst': expected "):
        kind(**needed, **{name: "bst"})


def test_messages_of_python_say_what_is_meant():
    with pytest.raises(
        ConfigError, match=r"^training\.select is 'bst': expected 'best' or 'last'; did you mean 'best'\?$"
    ):
        TrainingOptions(select="bst")
    with pytest.raises(
        ConfigError, match=r"^backbone\.precision is 'fp16': the models of the study overflow in float16: take bfloat16"
    ):
        options.BackboneOptions(precision="fp16")
    with pytest.raises(ConfigError, match=r"^training\.steps is -5"):
        TrainingOptions(steps=-5)
    with pytest.raises(ConfigError, match=r"^targets.tasks: expected a list, not the text 'rte'; put it into"):
        options.TargetOptions(tasks="rte")
    with pytest.raises(ConfigError, match="targets.shots has 'few'"):
        options.TargetOptions(tasks=("rte",), shots=("few",))
    with pytest.raises(ConfigError, match="kind='bst'; expected one of"):
        SplitRule("mine", "bst")
    assert len(enumerated()) > 10


def test_short_forms_stand_for_long_ones(path):
    long = {
        "name": "x",
        "seeds": [3],
        "backbone": {"name": "embedded-small"},
        "source": {"tasks": ["mnli"], "mixing": {"mode": "iid"}},
        "targets": {"tasks": ["rte"], "methods": {"mpt": {}, "lora": {"rank": 4}}, "shots": [16]},
    }
    short = deepcopy(long) | {"seeds": 3, "backbone": "embedded-small"}
    short["source"]["tasks"] = "mnli"
    short["targets"] = {"tasks": "rte", "methods": ["mpt", {"lora": {"rank": 4}}], "shots": 16}
    before = deepcopy(short)
    assert build_experiment(short) == build_experiment(long)
    assert short == before
    path.write_text(yaml.safe_dump(short), encoding="utf-8")
    assert load_experiment(path) == build_experiment(long)
    changed = ["backbone=embedded", "backbone.device=cpu", "targets.methods=bitfit", "targets.shots=all"]
    experiment = load_experiment(path, [*changed, "targets.methods.bitfit.learning_rate=0.1"])
    assert (experiment.backbone.name, experiment.backbone.device) == ("embedded", "cpu")
    assert (experiment.targets.shots, list(experiment.targets.methods.chosen())) == (("all",), ["bitfit"])


def test_a_name_is_needed():
    with pytest.raises(ConfigError, match="name is missing"):
        build_experiment({"targets": TARGETS})


def test_all_problems_are_reported_together():
    values = MINIMAL | {"seeds": ["one"], "prompt": {"length": 0, "depth": 1}, "data": {"label_coding": "glued"}}
    with pytest.raises(ConfigError) as caught:
        build_experiment(values, "some.yaml")
    text = str(caught.value)
    assert text.startswith("some.yaml has 4 problems:\n")
    for problem in ("seeds.0 is 'one'", "prompt.length is 0", "prompt.depth is not a key", "did you mean 'glue'?"):
        assert problem in text


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(MINIMAL), encoding="utf-8")
    return path


def test_overrides(path):
    experiment = load_experiment(path, ["prompt.length=20", "seeds=[1, 2]", "source.tasks=[a, b]", "name=other = x"])
    assert experiment.prompt.length == 20
    assert experiment.seeds == (1, 2)
    assert experiment.source is not None
    assert experiment.source.tasks == ("a", "b")
    assert experiment.name == "other = x"


@pytest.mark.parametrize("text", ["0.0003", "3e-4", "3.0e-4"])
def test_numbers_in_scientific_notation_are_numbers(path, text):
    experiment = load_experiment(path, [f"teachers.learning_rate={text}"])
    assert experiment.teachers.learning_rate == pytest.approx(3e-4)


def test_a_section_can_be_taken_out(path):
    assert load_experiment(path, ["source={}", "targets=null"]).targets is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("prompt.length", "expected key=value"),
        ("=3", "expected key=value"),
        ("name.first=3", "name is the value 'x', not a section"),
        ("seeds=[1", "is not YAML"),
        ("prompt.lenght=3", "did you mean 'length'?"),
    ],
)
def test_wrong_overrides(path, override, message):
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, [override])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds NoneType"),
        (b"- a", "holds list"),
        (b"a: [", "is not YAML"),
        (b"\xff\xfe\x00", "x.yaml is UTF-16 text"),
        (b"name: x\na: \xffb\n", r"x\.yaml, line 2: not UTF-8 \(byte 4 is 0xff\)"),
        (b"name: x\na: 'b\x1b'\n", r"x\.yaml is not YAML: line 2 holds the character U\+001B"),
        (b'name: x\na: "\\ud800"\n', r"x\.yaml, line 2: '\\ud800' holds half of a character"),
        (b"name: x\nseeds: [1]\n\nname: y\n", r"x\.yaml, line 4: the key 'name' stands twice \(first in line 1\)"),
        (b"targets:\n  shots: [1]\n  shots: [2]\n", r"x\.yaml, line 3: the key 'shots' stands twice"),
        (b"a: {1: x, 0x1: y}", "line 1: the key '0x1' stands twice"),
        (b"a: &a [*a]", "line 1: the alias stands within what it repeats"),
        (b"a: " + b"1" * 5000, "x.yaml is not YAML: "),
        (b"a: 2024-13-45", "x.yaml is not YAML: "),
        (b"a: " + b"[" * 1500 + b"]" * 1500, "nested too deeply"),
    ],
)
def test_wrong_files(path, content, message):
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_experiment(path)


def test_aliases_that_grow_are_refused_at_once(path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 7)]
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ConfigError, match="line 6: with its aliases it has more than 100,000 values"):
        load_experiment(path)


def test_aliases_and_merges_are_written_out(path):
    path.write_text(
        "name: x\nteachers: {training: &t {steps: 3, clip: 2}}\n"
        "targets: {tasks: [rte], methods: [bitfit], training: *t, few_shot_training: {<<: *t, steps: 4}}\n",
        encoding="utf-8",
    )
    experiment = load_experiment(path, ["targets.training.steps=9"])
    targets = experiment.targets
    assert (experiment.teachers.training.steps, targets.training.steps, targets.training.clip) == (3, 9, 2)
    assert (targets.few_shot_training.steps, targets.few_shot_training.clip) == (4, 2)


def test_a_folder_or_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_experiment(tmp_path)
    with pytest.raises(ConfigError, match="No such file"):
        load_experiment(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "content", ["1: 2", "name: x\ntargets: 3", "name: x\nprompt: null", "name: x\ntargets: {methods: [mpt]}"]
)
def test_odd_shapes_are_errors_not_crashes(path, content):
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError):
        load_experiment(path)


@pytest.mark.parametrize(
    ("options", "examples", "steps"),
    [
        (TrainingOptions(steps=7), 1000, 7),
        (TrainingOptions(epochs=2.0, batch_size=32), 320, 20),
        (TrainingOptions(batch_size=32), 320, 50),
        (TrainingOptions(batch_size=32, epochs=1.0), 8, 1),
        (TrainingOptions(batch_size=32, epochs=0.01), 8, 1),
    ],
)
def test_steps(options, examples, steps):
    assert options.steps_for(examples, default_epochs=5) == steps


@pytest.mark.parametrize(
    ("options", "examples", "every"),
    [
        (TrainingOptions(evaluate_every=500, evaluate_each_epoch=True), 392_702, 500),  # an epoch has 12,272 steps
        (TrainingOptions(evaluate_every=500, evaluate_each_epoch=True), 2490, 78),
        (TrainingOptions(evaluate_each_epoch=True), 2490, 78),
        (TrainingOptions(evaluate_every=500, evaluate_each_epoch=True), 250, 20),  # an epoch has 8 steps
        (TrainingOptions(evaluate_every=5, evaluate_each_epoch=True), 250, 5),  # asked for
        (TrainingOptions(evaluate_each_epoch=True), 4, 20),  # batches of 4
        (TrainingOptions(evaluate_every=500), 2490, 500),
        (TrainingOptions(), 2490, None),
    ],
)
def test_dev_is_looked_at_once_an_epoch_where_that_is_sooner(options, examples, every):
    counted = options.in_steps(examples)
    assert (counted.evaluate_every, counted.evaluate_each_epoch) == (every, False)
    assert counted.in_steps(examples) == counted


@pytest.mark.parametrize(("every", "steps", "evaluations"), [(20, 156, 8), (20, 160, 8), (500, 156, 1), (None, 156, 1)])
def test_evaluations_are_counted_with_that_of_the_end(every, steps, evaluations):
    assert TrainingOptions(evaluate_every=every).evaluations(steps) == evaluations


def test_a_training_without_dev_keeps_its_last_tensors():
    options = TrainingOptions(epochs=3.0, evaluate_every=5, evaluate_each_epoch=True, patience=2, batch_size=7)
    assert options.without_dev(40) == TrainingOptions(steps=40, batch_size=7, select="last")
    assert options.without_dev(None) == TrainingOptions(batch_size=7, select="last")


@pytest.mark.parametrize(
    ("options", "selection"),
    [
        (TrainingOptions(evaluate_every=20), "full-dev"),
        (TrainingOptions(evaluate_every=20, select="last"), "last-step"),
        (TrainingOptions(evaluate_every=80), "last-step"),  # one evaluation, at the end
        (TrainingOptions(), "last-step"),
    ],
)
def test_tensors_are_chosen_on_dev_only_where_there_is_a_choice(options, selection):
    assert options.selection(steps=80) == selection
