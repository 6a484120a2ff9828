"""Loading: what is loaded is what was saved, and what cannot be used is refused in words."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import build_tiny_model, build_tiny_tokenizer, random_batch
from multiprompt.backbone import load_backbone, load_tokenizer
from multiprompt.errors import BackboneError
from multiprompt.t5_family import EMBEDDED
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


def test_an_output_layer_of_its_own_is_kept_and_not_scaled(tmp_path):
    # T5 v1.1: the output layer is not the embedding, and the decoder's output goes into it as it is.
    build_tiny_model(feed_forward_proj="gated-gelu").save_pretrained(tmp_path)
    build_tiny_tokenizer().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config["tie_word_embeddings"] = False
    config.pop("scale_decoder_outputs", None)
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tensors = load_file(tmp_path / "model.safetensors")
    head = torch.randn(tensors["shared.weight"].shape, generator=torch.Generator().manual_seed(0))
    save_file(tensors | {"lm_head.weight": head}, tmp_path / "model.safetensors", {"format": "pt"})
    backbone = load_backbone(str(tmp_path), attention="eager")
    assert torch.equal(backbone.model.lm_head.weight, head)
    batch = random_batch()
    output = backbone.forward(batch, None, hidden="last")
    assert_same(output.logits, output.decoder_states[0][batch.target_mask] @ head.T)


def test_weights_that_would_be_random_are_refused(tiny_folder):
    tensors = load_file(tiny_folder / "model.safetensors")
    name = "encoder.block.1.layer.0.SelfAttention.q.weight"
    del tensors[name]
    save_file(tensors, tiny_folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BackboneError, match=r"lacks 1 weights .*SelfAttention\.q\.weight"):
        load_backbone(str(tiny_folder))


def test_precisions():
    for name in ("float16", "fp16"):
        with pytest.raises(BackboneError, match="T5 overflows in float16"):
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
    tokenizer = load_tokenizer()
    assert tokenizer.decode(tokenizer("tom owns a lamp.")["input_ids"], skip_special_tokens=True) == "tom owns a lamp."


def test_facts_of_the_real_vocabulary(shared_folder):
    # "0" is two pieces: never score labels by their first token, never cut targets to two tokens.
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared_folder / "t5-tokenizer")
    assert tokenizer("0")["input_ids"] == [3, 632, 1]
    assert tokenizer("1")["input_ids"] == [209, 1]
    assert tokenizer("2")["input_ids"] == [204, 1]
