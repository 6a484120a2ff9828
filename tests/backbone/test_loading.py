"""Loading: what is loaded is what was saved, and what cannot be used is refused in words."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import build_tiny_model, build_tiny_tokenizer, random_batch
from multiprompt.backbone import fingerprint, load_backbone, load_coder
from multiprompt.backbone.checkpoint_files import checkpoint_files, stored_tensors
from multiprompt.backbone.fingerprint import weights_digest
from multiprompt.backbone.published import EMBEDDED
from multiprompt.backbone.t5.loading import EMBEDDINGS, HEAD
from multiprompt.errors import BackboneError
from rounding import assert_same


def test_a_saved_folder_gives_the_same_logits(tiny_folder, tiny_backbone, caplog):
    with caplog.at_level(logging.INFO, logger="multiprompt.backbone"):
        loaded = load_backbone(str(tiny_folder), attention="eager")
    batch = random_batch()
    prompts = torch.randn(len(batch), 4, 16)
    # The loaded one takes the faster way, which rounds in another order.
    assert_same(loaded.forward(batch, prompts).logits, tiny_backbone.forward(batch, prompts).logits)
    assert loaded.fingerprint() == tiny_backbone.fingerprint()
    assert "embedding_std" in caplog.text
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert not loaded.model.training


def test_both_attention_implementations_agree(tiny_folder):
    batch = random_batch()
    prompts = torch.randn(len(batch), 4, 16)
    eager, sdpa = (
        load_backbone(str(tiny_folder), attention=name).forward(batch, prompts).logits for name in ("eager", "sdpa")
    )
    assert_same(eager, sdpa)


def rewrite(folder, change):
    """Change the tensors of a saved model."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path, {"format": "pt"})


@pytest.fixture
def untied_folder(tmp_path):
    """A saved model with an output layer of its own, as T5 v1.1 has."""
    folder = tmp_path / "untied"
    build_tiny_model(feed_forward_proj="gated-gelu").save_pretrained(folder)
    build_tiny_tokenizer().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["tie_word_embeddings"] = False
    config.pop("scale_decoder_outputs", None)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    head = torch.randn(build_tiny_model().shared.weight.shape, generator=torch.Generator().manual_seed(0))
    rewrite(folder, lambda tensors: tensors.update({"lm_head.weight": head}))
    return folder


def test_an_output_layer_of_its_own_is_kept_and_not_scaled(untied_folder):
    head = load_file(untied_folder / "model.safetensors")["lm_head.weight"]
    backbone = load_backbone(str(untied_folder), attention="eager")
    assert torch.equal(backbone.model.lm_head.weight, head)
    batch = random_batch()
    output = backbone.forward(batch, None, hidden="last")
    assert_same(output.logits, output.states["decoder"].values[0][batch.target_mask] @ head.T)


@pytest.mark.parametrize("kind", ["tied", "untied"])
@pytest.mark.parametrize("under", [EMBEDDINGS[1:2], EMBEDDINGS[2:], EMBEDDINGS, (HEAD,)])
def test_an_embedding_is_found_under_any_of_its_names(tiny_folder, untied_folder, kind, under):
    folder = tiny_folder if kind == "tied" else untied_folder
    embedding = load_file(folder / "model.safetensors")["shared.weight"]
    expected = load_backbone(str(folder)).forward(batch := random_batch(), None).logits
    if kind == "untied" and under == (HEAD,):
        rewrite(folder, lambda tensors: tensors.pop("shared.weight"))
        with pytest.raises(BackboneError, match=r"has no embedding; expected one of shared\.weight, encoder\.embed"):
            load_backbone(str(folder))
        return

    def rename(tensors):
        del tensors["shared.weight"]
        tensors.update(dict.fromkeys(under, embedding))

    rewrite(folder, rename)
    loaded = load_backbone(str(folder))
    model = loaded.model
    assert torch.equal(loaded.embedding, embedding)
    assert model.shared.weight is model.encoder.embed_tokens.weight is model.decoder.embed_tokens.weight
    assert (model.lm_head.weight is model.shared.weight) == (kind == "tied")
    assert torch.equal(loaded.forward(batch, None).logits, expected)


@pytest.mark.parametrize("other", [*EMBEDDINGS[1:], HEAD])
def test_copies_of_an_embedding_that_differ_are_refused(tiny_folder, other):
    def change(tensors):
        copy = tensors["shared.weight"].clone()
        copy[-1, -1] += 1
        tensors[other] = copy

    rewrite(tiny_folder, change)
    with pytest.raises(BackboneError, match=rf"two embeddings: shared\.weight and {other} differ"):
        load_backbone(str(tiny_folder))


def test_a_model_without_its_own_output_layer_is_refused(untied_folder):
    rewrite(untied_folder, lambda tensors: tensors.pop("lm_head.weight"))
    with pytest.raises(BackboneError, match=r"lacks lm_head\.weight.*an output layer of its own"):
        load_backbone(str(untied_folder))


CHANGES = {
    "the last value of a tensor": lambda tensors: tensors["shared.weight"][-1].mul_(2),
    "a NaN deep in a tensor": lambda tensors: tensors["encoder.block.0.layer.0.SelfAttention.q.weight"][9, 7].fill_(
        float("nan")
    ),
    "the precision that is stored": lambda tensors: tensors.update(
        {name: tensor.bfloat16() for name, tensor in tensors.items()}
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_another_checkpoint_has_another_fingerprint(tiny_folder, what):
    before = load_backbone(str(tiny_folder)).fingerprint()
    assert load_backbone(str(tiny_folder)).fingerprint() == before
    rewrite(tiny_folder, CHANGES[what])
    assert load_backbone(str(tiny_folder)).fingerprint() != before


def test_two_pieces_that_are_swapped_in_the_tokenizer_change_the_fingerprint(tiny_folder):
    before = load_backbone(str(tiny_folder)).fingerprint()
    path = tiny_folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    words = content["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert load_backbone(str(tiny_folder)).fingerprint() != before


def test_the_fingerprint_depends_neither_on_the_files_nor_on_the_precision(tiny_folder):
    backbone = load_backbone(str(tiny_folder))
    backbone.model.bfloat16()  # as it is loaded on a GPU
    whole = backbone.fingerprint()
    tensors = load_file(tiny_folder / "model.safetensors")
    (tiny_folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for part, held in parts.items():
        save_file({name: tensors[name] for name in held}, tiny_folder / part, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: part for part, held in parts.items() for name in held}}
    (tiny_folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert load_backbone(str(tiny_folder)).fingerprint() == whole
    for part in parts:
        (tiny_folder / part).unlink()
    (tiny_folder / "model.safetensors.index.json").unlink()
    for archive in (True, False):
        torch.save(tensors, tiny_folder / "pytorch_model.bin", _use_new_zipfile_serialization=archive)
        assert load_backbone(str(tiny_folder)).fingerprint() == whole


def test_an_index_names_files_beside_it_only(tiny_folder):
    (tiny_folder / "model.safetensors").rename(tiny_folder.parent / "model.safetensors")
    index = {"metadata": {}, "weight_map": {"shared.weight": "../model.safetensors"}}
    (tiny_folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(BackboneError, match=r"lists the file '\.\./model\.safetensors'"):
        checkpoint_files(str(tiny_folder))


def test_the_digest_of_large_files_is_remembered_until_they_change(tiny_folder, tmp_path, monkeypatch):
    path = tiny_folder / "model.safetensors"
    plain = weights_digest([path])
    monkeypatch.setenv("MULTIPROMPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fingerprint, "WORTH_REMEMBERING", 0)
    read = []
    monkeypatch.setattr(fingerprint, "stored_tensors", lambda files: read.append(files) or stored_tensors(files))
    assert weights_digest([path]) == weights_digest([path]) == plain
    assert len(read) == 1
    (remembered,) = (tmp_path / "cache" / "weights").iterdir()
    remembered.write_text("not a digest", encoding="utf-8")
    assert weights_digest([path]) == plain
    rewrite(tiny_folder, CHANGES["the last value of a tensor"])
    assert weights_digest([path]) != plain


def test_weights_that_would_be_random_are_refused(tiny_folder):
    tensors = load_file(tiny_folder / "model.safetensors")
    name = "encoder.block.1.layer.0.SelfAttention.q.weight"
    del tensors[name]
    save_file(tensors, tiny_folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BackboneError, match=r"lacks 1 weights .*SelfAttention\.q\.weight"):
        load_backbone(str(tiny_folder))


def test_precisions():
    for name in ("float16", "fp16"):
        with pytest.raises(BackboneError, match="the models of the study overflow in float16"):
            load_backbone(precision=name)
    if not torch.cuda.is_available():
        with pytest.raises(BackboneError, match="bfloat16 needs a GPU"):
            load_backbone(precision="bfloat16")
    with pytest.raises(BackboneError, match="unknown precision 'int8'"):
        load_backbone(precision="int8")
    with pytest.raises(BackboneError, match="device 'cuda:99' cannot be used|device 'nowhere'"):
        load_backbone(device="nowhere")


def test_a_tokenizer_of_another_model_is_refused(tiny_folder, tmp_path):
    small = tmp_path / "small"
    build_tiny_model(vocab_size=50).save_pretrained(small)
    build_tiny_tokenizer().save_pretrained(small)
    with pytest.raises(BackboneError, match="token ids up to 97, but its embedding has 50 rows"):
        load_backbone(str(small))
    config = json.loads((tiny_folder / "config.json").read_text(encoding="utf-8"))
    config["eos_token_id"] = 7
    (tiny_folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(BackboneError, match="end-of-sequence token .* is 7 in the model and 1 in the tokenizer"):
        load_backbone(str(tiny_folder))


def test_what_is_no_t5_is_refused(tmp_path):
    with pytest.raises(BackboneError, match="nothing does not exist"):
        load_backbone(str(tmp_path / "nothing"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")
    with pytest.raises(BackboneError, match="'bert' model; only the T5 family"):
        load_backbone(str(tmp_path))


def test_the_embedded_model_is_whole():
    backbone = load_backbone(EMBEDDED)
    assert backbone.parameter_count() < 3_000_000
    tokenizer = load_coder().tokenizer
    assert tokenizer.decode(tokenizer("tom owns a lamp.")["input_ids"], skip_special_tokens=True) == "tom owns a lamp."


def test_facts_of_the_real_vocabulary(shared_folder):
    # "0" is two pieces: never score labels by their first token, never cut targets to two tokens.
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared_folder / "t5-tokenizer")
    assert tokenizer("0")["input_ids"] == [3, 632, 1]
    assert tokenizer("1")["input_ids"] == [209, 1]
    assert tokenizer("2")["input_ids"] == [204, 1]
