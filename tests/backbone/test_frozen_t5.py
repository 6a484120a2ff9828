"""The prompt in front of T5, against transformers' own forward pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conftest import build_tiny_model, random_batch
from multiprompt.backbone import Inputs, T5Backbone
from multiprompt.batch import Batch
from rounding import assert_clear, assert_same


def prompts_for(batch: Batch, length: int = 5, width: int = 16) -> torch.Tensor:
    return torch.randn(len(batch), length, width, generator=torch.Generator().manual_seed(9))


def reference_logits(backbone: T5Backbone, batch: Batch, prompts: torch.Tensor) -> torch.Tensor:
    """Logits of transformers given the concatenated embeddings and the extended mask."""
    embedded = torch.cat([prompts, backbone.model.shared(batch.input_ids)], 1)
    mask = torch.cat([torch.ones(prompts.shape[:2], dtype=torch.long), batch.attention_mask], 1)
    return backbone.model(inputs_embeds=embedded, attention_mask=mask, labels=batch.labels).logits


@pytest.mark.parametrize("changes", [{}, {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}])
def test_logits_are_those_of_transformers_given_the_embeddings(tiny_backbone, changes):
    backbone = T5Backbone(build_tiny_model(**changes), tiny_backbone.tokenizer, "tiny")
    batch = random_batch()
    prompts = prompts_for(batch)
    output = backbone.forward(batch, prompts)
    expected = reference_logits(backbone, batch, prompts)[batch.target_mask]
    assert_same(output.logits, expected)
    assert output.labels.tolist() == batch.labels[batch.target_mask].tolist()


def test_every_example_gives_what_it_gives_alone_without_padding(tiny_backbone):
    batch = random_batch()
    prompts = prompts_for(batch)
    together = tiny_backbone.forward(batch, prompts, hidden="last")
    for row in range(len(batch)):
        source, target = int(batch.source_lengths[row]), int(batch.target_lengths[row])
        single = Batch(
            batch.input_ids[row : row + 1, :source],
            batch.attention_mask[row : row + 1, :source],
            batch.labels[row : row + 1, :target],
            batch.task_ids[row : row + 1],
        )
        alone = tiny_backbone.forward(single, prompts[row : row + 1], hidden="last")
        assert_same(together.logits[together.example_ids == row], alone.logits)
        assert_same(together.states["encoder"].values[0][row, : 5 + source], alone.states["encoder"].values[0][0])


def test_the_prompt_reaches_the_decoder_and_padding_does_not(tiny_backbone):
    # With padding in the batch the cross-attention mask matters: change what is under the padding, then the prompt.
    batch = random_batch()
    prompts = prompts_for(batch)
    before = tiny_backbone.forward(batch, prompts).logits
    garbage = torch.where(batch.attention_mask.bool(), batch.input_ids, 50)
    padded = Batch(garbage, batch.attention_mask, batch.labels, batch.task_ids)
    assert_same(tiny_backbone.forward(padded, prompts).logits, before)
    changed = prompts.clone()
    changed[:, -1] += 1
    assert not torch.allclose(tiny_backbone.forward(batch, changed).logits, before)


def test_all_hidden_states_are_one_per_block_and_end_with_the_last_one(tiny_backbone):
    batch = random_batch()
    prompts = prompts_for(batch)
    every = tiny_backbone.forward(batch, prompts, hidden="all")
    embedded = torch.cat([prompts, tiny_backbone.model.shared(batch.input_ids)], 1)
    mask = torch.cat([torch.ones(prompts.shape[:2], dtype=torch.long), batch.attention_mask], 1)
    reference = tiny_backbone.model(
        inputs_embeds=embedded, attention_mask=mask, labels=batch.labels, output_hidden_states=True
    )
    assert len(every.states["encoder"].values) == len(every.states["decoder"].values) == 2
    real = mask.bool()
    for ours, theirs in zip(every.states["encoder"].values, reference.encoder_hidden_states[1:], strict=True):
        assert_same(ours[real], theirs[real])


def test_generation_scores_are_the_teacher_forced_logits(tiny_backbone):
    batch = random_batch(max_target=1)
    prompts = prompts_for(batch)
    generated = tiny_backbone.generate(
        [Inputs(batch, prompts)],
        max_new_tokens=6,
        min_new_tokens=6,
        output_logits=True,
        return_dict_in_generate=True,
    )
    ids = generated.sequences[:, 1:]
    assert ids.shape == (len(batch), 6)
    forced = tiny_backbone.forward(Batch(batch.input_ids, batch.attention_mask, ids, batch.task_ids), prompts)
    scores = torch.stack(generated.logits, 1)
    assert_same(forced.logits, scores.flatten(0, 1))


def test_the_cache_changes_nothing(tiny_backbone):
    batch = random_batch()
    prompts = prompts_for(batch)
    outputs = [
        assert_clear(
            tiny_backbone,
            lambda cached=cached: tiny_backbone.generate([Inputs(batch, prompts)], 8, use_cache=cached),
        )
        for cached in (True, False)
    ]
    assert outputs[0].tolist() == outputs[1].tolist()


def test_generation_ignores_padding(tiny_backbone):
    batch = random_batch()
    prompts = prompts_for(batch)
    together = assert_clear(tiny_backbone, lambda: tiny_backbone.generate([Inputs(batch, prompts)], 8))
    for row in range(len(batch)):
        length = int(batch.source_lengths[row])
        one = batch.part(np.array([row]))
        assert one.input_ids.shape[1] == length
        alone = tiny_backbone.generate([Inputs(one, prompts[row : row + 1])], 8)[0].tolist()
        assert together[row].tolist()[: len(alone)] == alone


def test_dropout_acts_on_the_prompt_in_training_and_never_in_generation(tiny_backbone):
    batch = random_batch()
    prompts = prompts_for(batch)
    quiet = tiny_backbone.forward(batch, prompts).logits
    with tiny_backbone.dropout(True):
        torch.manual_seed(1)
        noisy = tiny_backbone.forward(batch, prompts).logits
        answers = [tiny_backbone.generate([Inputs(batch, prompts)], 4) for _ in range(2)]
    assert not torch.allclose(noisy, quiet)
    assert answers[0].tolist() == answers[1].tolist()
    assert not tiny_backbone.model.training


@pytest.mark.parametrize("packs", [True, False])
def test_beam_search_is_that_of_transformers_given_the_embeddings(tiny_backbone, packs):
    tiny_backbone.packs = packs
    batch = random_batch(batch_size=5)
    prompts = prompts_for(batch)
    ours = assert_clear(tiny_backbone, lambda: tiny_backbone.generate([Inputs(batch, prompts)], 8, beams=4))
    embedded = torch.cat([prompts, tiny_backbone.model.shared(batch.input_ids)], 1)
    mask = torch.cat([torch.ones(prompts.shape[:2], dtype=torch.long), batch.attention_mask], 1)
    theirs = tiny_backbone.model.generate(
        inputs_embeds=embedded,
        attention_mask=mask,
        num_beams=4,
        length_penalty=1.0,
        max_new_tokens=8,
        do_sample=False,
    )
    assert ours.tolist() == theirs.tolist()


def test_a_beam_finds_outputs_at_least_as_likely_as_greedy_ones(tiny_backbone):
    batch = random_batch()
    prompts = prompts_for(batch)

    def log_likelihood(ids: torch.Tensor) -> torch.Tensor:
        answers = Batch(batch.input_ids, batch.attention_mask, ids[:, 1:], batch.task_ids)
        output = tiny_backbone.forward(answers, prompts)
        each = output.logits.log_softmax(-1).gather(1, output.labels[:, None])[:, 0]
        return torch.zeros(len(batch)).index_add(0, output.example_ids, each)

    # of one length, so that the length penalty has no say
    options = {"max_new_tokens": 3, "min_new_tokens": 3}
    greedy = tiny_backbone.generate([Inputs(batch, prompts)], **options)
    wide = tiny_backbone.generate([Inputs(batch, prompts)], **options, beams=104)
    gains = log_likelihood(wide) - log_likelihood(greedy)
    assert gains.max() > 0.01
    assert gains.min() > -1e-4  # the same output, but for rounding


def test_one_beam_is_greedy_decoding(tiny_backbone):
    batch = random_batch()
    prompts = prompts_for(batch)
    states, mask = tiny_backbone._embedded([Inputs(batch, prompts)])
    expected = tiny_backbone.model.generate(
        inputs_embeds=states, attention_mask=mask, do_sample=False, max_new_tokens=8
    )
    one = assert_clear(tiny_backbone, lambda: tiny_backbone.generate([Inputs(batch, prompts)], 8, beams=1))
    assert one.tolist() == expected.tolist()


def test_prompts_start_from_the_first_five_thousand_rows_that_the_tokenizer_knows(tiny_backbone):
    assert torch.equal(tiny_backbone.frequent, tiny_backbone.embedding[:98])
    wide = T5Backbone(build_tiny_model(vocab_size=6000), SixThousand(), "wide")
    assert torch.equal(wide.frequent, wide.embedding[:5000])


class SixThousand:
    """As many pieces as that."""

    def __len__(self) -> int:
        return 6000
