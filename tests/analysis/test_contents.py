"""What is in one prompt, against independent computations and the run's own files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from conftest import build_tiny_model, build_tiny_tokenizer
from multiprompt.analysis.analysis_tables import factor_sentences, prompt_tables
from multiprompt.analysis.contents import inspect_prompt, nearest_entries
from multiprompt.analysis.transfer import transfer_matrix
from multiprompt.config import load_experiment, to_yaml
from multiprompt.errors import CheckpointError, ConfigError, UnknownNameError


@pytest.mark.parametrize("metric", ["cosine", "euclid"])
def test_nearest_entries_are_those_of_all_pairs(metric):
    generator = np.random.default_rng(0)
    rows, vocabulary = generator.normal(size=(4, 6)), generator.normal(size=(20, 6))
    ids, values = nearest_entries(rows, vocabulary, metric, 3)
    for row, own, at in zip(rows, ids, values, strict=True):
        if metric == "cosine":
            all_values = [row @ entry / np.linalg.norm(row) / np.linalg.norm(entry) for entry in vocabulary]
            expected = sorted(range(20), key=lambda i: -all_values[i])[:3]
        else:
            all_values = [np.linalg.norm(row - entry) for entry in vocabulary]
            expected = sorted(range(20), key=lambda i: all_values[i])[:3]
        assert own.tolist() == expected
        np.testing.assert_allclose(at, [all_values[i] for i in expected])


def test_more_entries_than_there_are_and_rows_of_zeros():
    ids, values = nearest_entries(np.zeros((1, 2)), np.array([[1.0, 0.0], [0.0, 2.0]]), nearest=9)
    assert ids.tolist() == [[0, 1]]
    assert values.tolist() == [[0.0, 0.0]]
    with pytest.raises(ConfigError, match="expected 1 or more"):
        nearest_entries(np.zeros((1, 2)), np.ones((2, 2)), nearest=0)


def test_a_stored_prompt_against_the_embedding(finished):
    found = inspect_prompt(finished, "seed-2/teacher-mini-qqp", metric="euclid", nearest=2)
    rows = load_file(finished / "seed-2/teacher-mini-qqp/merged.safetensors")["mini-qqp"]
    embedding = build_tiny_model().get_input_embeddings().weight.detach().numpy()[:98]
    distances = np.linalg.norm(rows[:, None] - embedding[None], axis=-1)
    assert len(found.neighbours) == 4
    for near, own in zip(found.neighbours, distances, strict=True):
        assert [n.value for n in near] == pytest.approx(np.sort(own)[:2].tolist(), rel=1e-5)
        assert all(len(n.token) == 1 or n.token.startswith("<") for n in near)
    assert found.row_norms == pytest.approx(np.linalg.norm(rows, axis=1), rel=1e-6)
    norms = found.norms["vocabulary"]
    assert (norms.rows, norms.mean) == (98, pytest.approx(np.linalg.norm(embedding, axis=1).mean()))
    assert norms.quantiles[2] == pytest.approx(np.median(np.linalg.norm(embedding, axis=1)))
    assert found.factors is None
    assert set(found.norms) == {"mini-qqp", "vocabulary"}


def test_a_decomposed_prompt_is_taken_apart_for_every_task(finished):
    found = inspect_prompt(finished, "source", task="mini-squad")
    assert (found.stage, found.task) == ("seed-1/source", "mini-squad")
    assert found.factors is not None
    assert found.factors.tasks == ("mini-sst2", "mini-qqp", "mini-squad")
    tensors = load_file(finished / "seed-1/source/prompt.safetensors")
    assert found.factors.raw[1].mean_u == pytest.approx(tensors["u.1"].mean(), rel=1e-5)
    merged = load_file(finished / "seed-1/source/merged.safetensors")["mini-squad"]
    assert found.row_norms == pytest.approx(np.linalg.norm(merged, axis=1), rel=1e-5)
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    fixed = plain["factors"]["tasks"]["mini-qqp"]["fixed"]
    matrix = np.array(fixed["u"]) @ np.array(fixed["v"])
    np.testing.assert_allclose(matrix, tensors["u.1"] @ tensors["v.1"], atol=1e-5)
    assert [table.caption.split()[0] for table in prompt_tables(found)] == ["seed-1/source,", "Norms", "Task", "Task"]
    assert "over the 3 tasks" in factor_sentences(found.factors)[0]


def test_what_cannot_be_looked_into_is_said(own_run, tmp_path):
    with pytest.raises(CheckpointError, match="is not a run folder"):
        inspect_prompt(tmp_path / "nowhere", "source")
    with pytest.raises(CheckpointError, match=r"fine_tuning trains something else"):
        inspect_prompt(own_run, "target-mini-rte-fine_tuning-all")
    with pytest.raises(UnknownNameError, match="did you mean"):
        inspect_prompt(own_run, "seed-1/sourc")
    with pytest.raises(ConfigError, match=r"names no seed .*seed-1, seed-2"):
        inspect_prompt(own_run, "seed-9/source")
    with pytest.raises(UnknownNameError, match="unknown task of source"):
        inspect_prompt(own_run, "source", task="mini-rte")
    (own_run / "seed-1" / "source" / "result.json").unlink()
    with pytest.raises(CheckpointError, match="is not finished; run the experiment with --resume"):
        inspect_prompt(own_run, "source")


def test_a_backbone_of_another_width_is_refused_before_anything_is_written(own_run, tmp_path):
    build_tiny_model(d_model=8).save_pretrained(tmp_path / "narrow")
    build_tiny_tokenizer().save_pretrained(tmp_path / "narrow")
    experiment = load_experiment(own_run / "config.yaml", [f"backbone.name={tmp_path / 'narrow'}"])
    (own_run / "config.yaml").write_text(to_yaml(experiment), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"has width 16; the backbone .*narrow has 8"):
        inspect_prompt(own_run, "source")
    with pytest.raises(
        CheckpointError, match=r"the prompt of teacher mini-sst2 has width 16; the backbone .*narrow has 8"
    ):
        transfer_matrix(own_run)
    assert not (own_run / "analysis").exists()
