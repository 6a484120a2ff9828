"""The parameter counts of the study's comparison, by construction on the real configurations."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch

from conftest import build_tiny_model
from multiprompt.backbone import load_backbone, outline_backbone
from multiprompt.backbone.published import PUBLISHED, published_model
from multiprompt.errors import BackboneError, ConfigError, UnknownNameError
from multiprompt.forecast.parameters import Item, count_parameters, countable_methods
from multiprompt.options import AdapterOptions, method_records


@pytest.mark.parametrize("name", PUBLISHED)
def test_shapes_and_sizes_of_published_models_agree(name):
    model, published = outline_backbone(name), PUBLISHED[name]
    assert model.parameter_count() == published.parameters
    assert model.width == published.width
    assert model.device.type == "meta", "no weight is held in memory"


@pytest.mark.parametrize("short", ["t5-small", "t5-base", "t5-large"])
def test_full_names_of_the_hub_are_the_same_models(short, monkeypatch):
    monkeypatch.setattr("multiprompt.backbone.loading._load_config", None)  # nothing is asked of the hub
    full = f"google-t5/{short}"
    assert published_model(full) is published_model(short) is PUBLISHED[short]
    assert outline_backbone(full).parameter_count() == PUBLISHED[short].parameters
    assert count_parameters("mpt", full, group=8).per_task == count_parameters("mpt", short, group=8).per_task
    assert published_model("google-t5/google/flan-t5-base") is published_model("me/t5-base") is None


@pytest.mark.parametrize(
    ("method", "group", "expected"),
    [
        # Wang et al. 2023, Table 1: 76.8K, 77.6K, 232K, 280K, 1.9M, 220M; groups of eight 10.5K, 96K, 1.8M, 28M, 638K
        ("prompt_tuning", 1, 100 * 768),
        ("spot", 1, 100 * 768),
        ("mpt", 1, 77_668),
        ("mpt", 8, 10_468),
        ("mpt", 5, 16_228),
        ("attempt", 1, 231_936),
        ("attempt", 8, 96_192),
        ("bitfit", 1, 280_960),
        ("adapters", 1, 48 * 37_656 + 62 * 768),
        ("adapters", 8, 1_813_440),
        ("fine_tuning", 1, 222_903_552),
        ("fine_tuning", 8, 222_903_552 / 8),
        ("hyperformer", 8, 651_382),
        ("hyperdecoder", 8, (12_888_376 + 1_189_632) / 8),
        # LoRA: the figure that peft's own documentation gives for t5-base and rank 8
        ("lora", 1, 884_736),
        ("ia3", 1, 36 * 2 * 768 + 24 * 3072),
        ("prefix_tuning", 1, 100 * 2 * 12 * 768),
        ("dept", 1, 40 * 768 + 45 * (256 + 768)),
        ("decomposed_prompt_tuning", 1, 10 * (100 + 768)),
    ],
)
def test_counts_on_t5_base(method, group, expected):
    assert count_parameters(method, "t5-base", group).per_task == expected


@pytest.mark.parametrize(("tasks", "expected"), [(6, 82_008), (12, 87_216)])
def test_the_source_stage_trains_one_prompt_and_factors_for_every_task(tasks, expected):
    assert count_parameters("source", "t5-base", tasks).trained == expected


@pytest.mark.parametrize(
    ("backbone", "length", "expected"),
    [("t5-small", 100, 51_812), ("t5-large", 100, 103_524), ("t5-base", 300, 231_468)],
)
def test_mpt_on_other_widths_and_lengths(backbone, length, expected):
    assert count_parameters("mpt", backbone, length=length).per_task == expected


def test_the_table_of_the_documentation_is_what_is_counted():
    table = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+)(\*?) \| ([\d,]+) \|", table, re.MULTILINE)
    told = {
        (name, 8 if star else 1): int(number.replace(",", ""))
        for names, star, number in rows
        for name in re.findall(r"\w+", names)
    }
    assert len(told) == 19
    assert told == {(name, group): count_parameters(name, "t5-base", group).per_task for name, group in told}


def test_adapters_in_one_place_are_half_as_many(monkeypatch):
    one = AdapterOptions(places="self_attention")
    monkeypatch.setattr("multiprompt.forecast.parameters._default_options", lambda _: one)
    assert count_parameters("adapters").per_task == 24 * 37_656 + 62 * 768 == 951_360


def value(formula: str) -> float:
    """A formula as a reader works it out."""
    assert re.fullmatch(r"[\d\s·+/()]+", formula)
    return eval(formula.replace("·", "*"))


@pytest.mark.parametrize("method", countable_methods())
@pytest.mark.parametrize(
    ("backbone", "group", "length"),
    [("t5-base", 1, 100), ("t5-small", 8, 7), ("google/t5-v1_1-small", 3, 100), ("embedded", 5, 20)],
)
def test_what_is_printed_is_what_is_built(method, backbone, group, length):
    count = count_parameters(method, backbone, group, length)
    values = [value(item.formula(count.tasks)) for item in count.items]
    assert all(math.isclose(v, item.per_task(count.tasks)) for v, item in zip(values, count.items, strict=True))
    assert math.isclose(sum(values), count.trained / count.tasks)


def test_every_method_can_be_counted():
    assert {record.name for record in method_records()} | {"source"} == set(countable_methods())


@pytest.mark.parametrize(
    ("item", "alone", "in_a_group"),
    [
        (Item("a", 1, ((2, 3),)), "2 · 3", "2 · 3"),
        (Item("a", 1, ((2, 3),), shared=True), "2 · 3", "2 · 3 / 4"),
        (Item("a", 1, ((2, 3), (4,)), shared=True), "2 · 3 + 4", "(2 · 3 + 4) / 4"),
        (Item("a", 5, ((2, 3),), shared=True), "5 · 2 · 3", "5 · 2 · 3 / 4"),
        (Item("a", 5, ((2, 3), (4,)), shared=True), "5 · (2 · 3 + 4)", "5 · (2 · 3 + 4) / 4"),
    ],
)
def test_formulas(item, alone, in_a_group):
    assert (item.formula(1), item.formula(4)) == (alone, in_a_group)
    assert (item.per_task(1), item.per_task(4)) == (value(alone), value(in_a_group))


@pytest.mark.parametrize(
    ("method", "rank", "expected"),
    [
        ("mpt", 3, 100 * 768 + 3 * 868),
        ("lora", 2, 72 * 2 * 2 * 768),
        ("decomposed_prompt_tuning", 4, 4 * 868),
        ("source", 2, 100 * 768 + 2 * 868),
    ],
)
def test_ranks(method, rank, expected):
    assert count_parameters(method, rank=rank).per_task == expected


def test_any_other_backbone_by_its_configuration(tmp_path):
    build_tiny_model(num_decoder_layers=3).save_pretrained(tmp_path)
    assert count_parameters("prompt_tuning", str(tmp_path), length=4).per_task == 4 * 16
    for method in countable_methods():
        assert count_parameters(method, str(tmp_path), 2).frozen == sum(
            p.numel() for p in build_tiny_model(num_decoder_layers=3).parameters()
        )


def test_the_embedded_model_has_the_counted_numbers():
    assert count_parameters("mpt", "embedded").frozen == load_backbone("embedded").parameter_count()


def test_an_output_layer_of_its_own_is_counted(tmp_path):
    config = build_tiny_model(feed_forward_proj="gated-gelu").config
    config.scale_decoder_outputs = False
    config.save_pretrained(tmp_path)
    tied = sum(p.numel() for p in build_tiny_model(feed_forward_proj="gated-gelu").parameters())
    count = count_parameters("fine_tuning", str(tmp_path))
    assert count.trained == count.frozen == tied + 104 * 16
    assert torch.device("meta") == outline_backbone(str(tmp_path)).device


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"method": "adaptors"}, UnknownNameError, "unknown method 'adaptors'; did you mean 'adapters'"),
        ({"method": "mpt", "group": 0}, ConfigError, "the group is of 0 tasks; expected 1 or more"),
        ({"method": "mpt", "length": 0}, ConfigError, "prompt.length is 0; expected more than 0"),
        ({"method": "adapters", "rank": 2}, ConfigError, "adapters has no rank; mpt, source, decomposed_prompt_tuning"),
        ({"method": "lora", "rank": 0}, ConfigError, "methods.lora.rank is 0; expected more than 0"),
        ({"method": "mpt", "backbone": "./nowhere"}, BackboneError, "the backbone folder ./nowhere does not exist"),
    ],
)
def test_mistakes(arguments, kind, message):
    with pytest.raises(kind, match=message):
        count_parameters(**arguments)
