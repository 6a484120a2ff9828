"""Cosines between stored prompts: the formula, the seeds, what is chosen and what is refused."""

from __future__ import annotations

import json
import shutil
import statistics

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from conftest import build_tiny_model, build_tiny_tokenizer
from multiprompt.analysis.clustering import average_linkage
from multiprompt.analysis.similarity import Similarity, _clusters, prompt_cosine, prompt_similarity
from multiprompt.config import load_experiment, to_yaml
from multiprompt.errors import CheckpointError, ConfigError, UnknownNameError
from multiprompt.runs import run_experiment
from recipes.small import small_experiment


def stored(run, seed: int, stage: str, task: str) -> np.ndarray:
    return load_file(run / f"seed-{seed}" / stage / "merged.safetensors")[task].astype(float)


def angle(one: np.ndarray, other: np.ndarray) -> float:
    return one @ other / np.sqrt((one @ one) * (other @ other))


def test_the_default_is_mpt_with_all_examples_a_cosine_for_every_seed(finished):
    similarity = prompt_similarity([finished])
    assert set(similarity.labels) == {"mini-rte", "mini-boolq"}
    assert similarity.repeats == ((1, 0), (2, 0))
    expected = [
        angle(*(stored(finished, seed, f"target-{t}-mpt-all", t).mean(0) for t in ("mini-rte", "mini-boolq")))
        for seed in (1, 2)
    ]
    np.testing.assert_allclose(similarity.cosines[:, 0, 1], expected, atol=1e-6)
    np.testing.assert_allclose(similarity.mean[0, 1], statistics.mean(expected), atol=1e-6)
    np.testing.assert_allclose(similarity.deviation[0, 1], statistics.stdev(expected), atol=1e-6)
    assert similarity.sentences() == []  # of two there is nothing to cluster


def test_rows_are_compared_one_by_one(finished):
    similarity = prompt_similarity([finished], ["teacher-*"], by_rows=True)
    i, j = similarity.labels.index("mini-qqp"), similarity.labels.index("mini-sst2")
    one, other = (stored(finished, 2, f"teacher-{task}", task) for task in ("mini-qqp", "mini-sst2"))
    expected = np.mean([angle(a, b) for a, b in zip(one, other, strict=True)])
    assert similarity.cosines[1, i, j] == pytest.approx(expected, abs=1e-6)
    assert any("start from different rows" in note for note in similarity.notes)
    assert not any("start from" in note for note in prompt_similarity([finished], by_rows=True).notes)  # one P*


def test_what_differs_is_in_the_labels_and_all_tasks_of_a_stage_are_there(finished):
    labels = prompt_similarity([finished], ["source", "teacher-mini-sst2", "target-mini-rte-mpt-all"]).labels
    tasks = ("mini-sst2", "mini-qqp", "mini-squad")
    assert set(labels) == {*(f"{task} student" for task in tasks), "mini-sst2 teacher", "mini-rte mpt"}


@given(st.integers(0, 10_000), st.floats(0.01, 100), st.booleans())
def test_cosines_are_symmetric_one_with_itself_and_free_of_scale(seed, scale, by_rows):
    one, other = np.random.default_rng(seed).normal(size=(2, 4, 6))
    assume(np.linalg.norm(one.mean(0)) > 1e-6)
    value = prompt_cosine(one, other, by_rows)
    assert -1 <= value <= 1
    assert prompt_cosine(other, one, by_rows) == value
    assert prompt_cosine(one, one, by_rows) == pytest.approx(1.0)
    assert prompt_cosine(scale * one, other, by_rows) == pytest.approx(value, abs=1e-9)


def test_a_prompt_of_zeros_is_like_nothing():
    assert prompt_cosine(np.zeros((3, 4)), np.ones((3, 4))) == 0.0


def test_matrices_are_symmetric_in_the_order_of_the_clustering(finished):
    similarity = prompt_similarity([finished], ["*"])
    assert len(similarity.labels) == 3 + 3 + 4
    np.testing.assert_array_equal(similarity.cosines, similarity.cosines.transpose(0, 2, 1))
    np.testing.assert_allclose(np.diagonal(similarity.mean), 1.0)
    plain = json.loads(json.dumps(similarity.to_json(), allow_nan=False))
    np.testing.assert_allclose(plain["mean"], similarity.mean)
    assert any("without a prompt" in note for note in similarity.notes)
    assert similarity.clusters
    for cluster in similarity.clusters:
        places = [similarity.labels.index(label) for label in cluster.labels]
        assert max(places) - min(places) == len(places) - 1  # side by side
        pairs = [similarity.mean[i, j] for i in places for j in places if i < j]
        assert cluster.within == pytest.approx(np.mean(pairs))
    assert any(f"in {similarity.clusters[0].agreeing} of 2 seeds" in line for line in similarity.sentences())


def clustered(within: float, outside: float, *spread: float):
    """The clusters of two alike and one apart, and what is said; a repeat for every number that is added within."""
    matrices = []
    for more in spread or (0.0,):
        matrix = np.full((3, 3), outside)
        matrix[0, 1] = matrix[1, 0] = within + more
        np.fill_diagonal(matrix, 1.0)
        matrices.append(matrix)
    return list(_clusters(average_linkage(np.mean(matrices, axis=0)), ["a", "b", "c"], np.stack(matrices)))


@pytest.mark.parametrize(
    ("cosines", "told"),
    [
        ((0.985, 0.978), False),
        ((0.9, 0.84), True),
        ((0.9, 0.86), False),
        ((0.9, 0.8, -0.02, 0.02), True),
        ((0.9, 0.8, -0.2, 0.2), False),  # a standard error of 0.2
    ],
)
def test_a_cluster_is_told_where_it_stands_out_and_seeds_agree(cosines, told):
    (cluster,) = clustered(*cosines)
    assert cluster.stands_out == told
    assert (cluster.error is None) == (len(cosines) < 4)
    matrix = np.eye(3)[None]
    similarity = Similarity(("a", "b", "c"), ((1, 0),), matrix, False, (), (), cluster)
    (said,) = similarity.sentences()
    assert said.startswith("No tasks cluster: the closest, a and b, have a mean cosine of")
    assert "A cluster is told from a difference of 0.05 on" in said


def test_repeats_are_named_for_what_they_are():
    named = {}
    for repeats in (((1, 0), (2, 0)), ((1, 0), (1, 1)), ((1, 0), (1, 1), (2, 0))):
        named[repeats] = Similarity(("a",), repeats, np.ones((1, 1, 1)), False, (), ()).repeated
    assert list(named.values()) == ["seeds", "draws", "draws of 2 seeds"]


def test_runs_that_differ_in_seeds_alone_are_one_run_with_more_seeds(finished, tmp_path):
    for seed in (1, 2):
        part = tmp_path / f"only-{seed}"
        shutil.copytree(finished / f"seed-{seed}", part / f"seed-{seed}")
        experiment = load_experiment(finished / "config.yaml", [f"seeds=[{seed}]", f"name=part-{seed}"])
        (part / "config.yaml").write_text(to_yaml(experiment), encoding="utf-8")
    parts = [tmp_path / "only-1", tmp_path / "only-2"]
    together, whole = prompt_similarity(parts), prompt_similarity([finished])
    assert together.labels == whole.labels
    np.testing.assert_array_equal(together.cosines, whole.cosines)
    with pytest.raises(ConfigError, match="same experiment with the same seed 1"):
        prompt_similarity([finished, parts[0]])
    with pytest.raises(ConfigError, match="named twice"):
        prompt_similarity([finished, finished])


def test_other_runs_are_told_apart_and_compared_by_seed(finished, tmp_path):
    backbone = load_experiment(finished / "config.yaml").backbone.name
    other = tmp_path / "other"
    methods = {"prompt_tuning": {}}
    small = {"source": None, "targets": {"tasks": ["mini-rte"], "methods": methods, "training": {"steps": 1}}}
    run_experiment(small_experiment(backbone, seeds=[2], **small), other)
    similarity = prompt_similarity([finished, other], ["target-mini-rte-prompt_tuning-all"])
    assert set(similarity.labels) == {f"mini-rte ({finished})", f"mini-rte ({other})"}
    mine, theirs = (stored(run, 2, "target-mini-rte-prompt_tuning-all", "mini-rte") for run in (finished, other))
    assert similarity.mean[0, 1] == pytest.approx(angle(mine.mean(0), theirs.mean(0)), abs=1e-6)
    assert np.isnan(similarity.deviation[0, 1])  # of one seed
    third = tmp_path / "third"
    run_experiment(small_experiment(backbone, seeds=[3], **small), third)
    with pytest.raises(CheckpointError, match="needs two finished prompts"):
        prompt_similarity([other, third])  # one prompt with two seeds


def test_no_seed_in_common_is_refused(finished, tmp_path):
    backbone = load_experiment(finished / "config.yaml").backbone.name
    targets = {"tasks": ["mini-rte"], "methods": {"prompt_tuning": {}}, "training": {"steps": 1}}
    run_experiment(small_experiment(backbone, seeds=[7], source=None, targets=targets), tmp_path / "other")
    with pytest.raises(ConfigError, match="no seed in common"):
        prompt_similarity([finished, tmp_path / "other"], ["target-mini-rte-prompt_tuning-all"])


def test_draws_are_repeats_and_pairs_without_draws_count_once(finished, tmp_path):
    backbone = load_experiment(finished / "config.yaml").backbone.name
    targets = {"shots": [4, "all"], "draws": 2, "methods": {"mpt": {}}, "few_shot_training": {"steps": 1}}
    targets |= {"tasks": ["mini-rte", "mini-boolq"], "training": {"steps": 1}}
    run_experiment(small_experiment(backbone, targets=targets), tmp_path / "run")
    similarity = prompt_similarity([tmp_path / "run"], ["target-*"])
    assert similarity.repeats == ((1, 0), (1, 1))
    place = similarity.labels.index
    counts = (~np.isnan(similarity.cosines)).sum(0)
    assert counts[place("mini-rte 4"), place("mini-boolq 4")] == 2
    assert counts[place("mini-rte 4"), place("mini-rte all")] == 2
    assert counts[place("mini-rte all"), place("mini-boolq all")] == 1


def test_prompts_of_different_widths_are_refused(finished, tmp_path):
    build_tiny_model(d_model=8).save_pretrained(tmp_path / "narrow")
    build_tiny_tokenizer().save_pretrained(tmp_path / "narrow")
    targets = {"tasks": ["mini-rte"], "methods": {"prompt_tuning": {}}, "training": {"steps": 1}}
    run_experiment(small_experiment(tmp_path / "narrow", source=None, targets=targets), tmp_path / "other")
    with pytest.raises(ConfigError, match=r"different width .*has 16.*has 8"):
        prompt_similarity([finished, tmp_path / "other"], ["target-*-prompt_tuning-all"])


def test_by_rows_lengths_must_agree(finished, tmp_path):
    backbone = load_experiment(finished / "config.yaml").backbone.name
    targets = {"tasks": ["mini-rte"], "methods": {"prompt_tuning": {}}, "training": {"steps": 1}}
    longer = small_experiment(backbone, source=None, targets=targets, prompt={"length": 6})
    run_experiment(longer, tmp_path / "other")
    runs = [finished, tmp_path / "other"]
    with pytest.raises(ConfigError, match=r"different length .*without --rows"):
        prompt_similarity(runs, ["target-*-prompt_tuning-all"], by_rows=True)
    assert len(prompt_similarity(runs, ["target-*-prompt_tuning-all"]).labels) == 3


def test_what_is_not_finished_is_left_out_and_said(own_run):
    (own_run / "seed-1" / "target-mini-rte-mpt-all" / "result.json").unlink()
    similarity = prompt_similarity([own_run])
    assert np.isnan(similarity.cosines[0]).any()
    assert any("seed-1/target-mini-rte-mpt-all, not finished" in note for note in similarity.notes)
    (own_run / "seed-2" / "target-mini-rte-mpt-all" / "result.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"there is one, mini-boolq; left out: .* and 1 more stages, not finished"
    ):
        prompt_similarity([own_run])


def test_what_cannot_be_compared_is_said(own_run, tmp_path):
    with pytest.raises(CheckpointError, match="is not a run folder"):
        prompt_similarity([tmp_path / "nowhere"])
    with pytest.raises(UnknownNameError, match="did you mean"):
        prompt_similarity([own_run], ["teacher-mini-sst"])
    with pytest.raises(CheckpointError, match=r"there is none; left out: target-mini-rte-fine_tuning-all and 1 more"):
        prompt_similarity([own_run], ["*fine_tuning*"])
    (own_run / "seed-1" / "teacher-mini-sst2" / "prompt.safetensors").unlink()
    with pytest.raises(CheckpointError, match="prompt.safetensors is missing"):
        prompt_similarity([own_run], ["teacher-*"])
