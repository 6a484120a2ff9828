"""Pretrain the embedded T5 on the little world.

    python tools/pretrain/pretrain.py --work-folder runs/embedded --out runs/embedded/final

Kill it at any moment and start it again with the same command: it goes on from the last checkpoint, with the
same data and the same numbers as without the break. See README.md in this folder.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path
from typing import Any

import torch
from build_tokenizer import build as build_tokenizer
from muon import Muon
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from curriculum import RENEWAL_EVERY, RENEWALS_FROM, RENEWALS_TO, TrainBatch, draw_pool
from skills import FREE_SKILLS, JUDGING_SKILLS, PREFIX_KEYS, SkillExample, make_example

PREFIX_ROWS = 20
WARMUP_STEPS = 660
LOWER_RATE_FROM, LOWER_RATE = 7_000, 0.4
FALL_FROM = 18_000
PREFIX_INDEX = {key: index for index, key in enumerate(PREFIX_KEYS)}


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work-folder", type=Path, required=True, help="checkpoint and log go here")
    parser.add_argument("--out", type=Path, required=True, help="the finished model goes here")
    parser.add_argument("--steps", type=int, default=25_500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokens-per-batch", type=int, default=2560)
    parser.add_argument("--d-model", type=int, default=96)
    parser.add_argument("--d-ff", type=int, default=384)
    parser.add_argument("--encoder-layers", type=int, default=4)
    parser.add_argument("--decoder-layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--d-kv", type=int, default=24)
    parser.add_argument("--muon-lr", type=float, default=2.2e-3, help="for the matrices of the layers")
    parser.add_argument("--adam-lr", type=float, default=1.3e-3, help="for embeddings and norms")
    parser.add_argument("--bias-lr", type=float, default=1e-2, help="for the relative position tables")
    parser.add_argument("--prefix-lr", type=float, default=2e-2, help="for the soft prefixes")
    parser.add_argument("--average", type=float, default=0.999, help="decay of the running mean of the weights")
    parser.add_argument("--log-every", type=int, default=1000)
    parser.add_argument("--save-every", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--export-only", action="store_true", help="write the last checkpoint to --out and stop")
    return parser.parse_args()


def new_model(args: argparse.Namespace, vocabulary: int) -> T5ForConditionalGeneration:
    """Build the network with starting values that suit a small model.

    Embeddings start at 0.15 of T5's scale. T5 multiplies the decoder output by d^-0.5 before the tied output
    matrix; the last norm starts at d^0.5, which cancels it, so that logits start at a useful size and the saved
    configuration stays plain T5.

    The encoder's position table starts with heads that look one word back, one word ahead, and nearby, because
    it learns slowly.
    """
    config = T5Config(
        vocab_size=math.ceil(vocabulary / 64) * 64,
        d_model=args.d_model,
        d_ff=args.d_ff,
        d_kv=args.d_kv,
        num_layers=args.encoder_layers,
        num_decoder_layers=args.decoder_layers,
        num_heads=args.heads,
        dropout_rate=0.0,
        feed_forward_proj="relu",
        relative_attention_num_buckets=32,
        relative_attention_max_distance=64,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    torch.manual_seed(args.seed)
    model = T5ForConditionalGeneration._from_config(config, attn_implementation="sdpa")
    with torch.no_grad():
        model.shared.weight.mul_(0.15)
        model.decoder.final_layer_norm.weight.fill_(config.d_model**0.5)
        table = model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
        table.zero_()
        table[1, 0] = table[17, 1] = 4.0
        for distance in range(16):
            table[distance, 2] = table[16 + distance, 2] = -0.5 * distance
    return model


def new_optimisers(
    model: T5ForConditionalGeneration, prefixes: nn.Parameter, args: argparse.Namespace
) -> list[torch.optim.Optimizer]:
    """Give matrices to Muon and the rest to AdamW; each group remembers its peak rate."""
    matrices, tables, others = [], [], []
    last_norm = model.decoder.final_layer_norm.weight
    for name, parameter in model.named_parameters():
        if "relative_attention_bias" in name:
            tables.append(parameter)
        elif parameter.dim() == 2 and "block" in name:
            matrices.append(parameter)
        elif parameter is not last_norm:
            others.append(parameter)
    adam = torch.optim.AdamW(
        [
            {"params": others, "lr": args.adam_lr},
            # Ten times larger than the other norms (see new_model), so it needs a rate in proportion.
            {"params": [last_norm], "lr": args.adam_lr * args.d_model**0.5},
            {"params": tables, "lr": args.bias_lr},
            {"params": [prefixes], "lr": args.prefix_lr},
        ],
        betas=(0.9, 0.98),
        weight_decay=0.0,
    )
    optimisers: list[torch.optim.Optimizer] = [Muon(matrices, lr=args.muon_lr), adam]
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
    return optimisers


def rate_factor(step: int, steps: int) -> float:
    """Share of the peak rate: warm up, hold high, hold lower, fall on a straight line.

    The comparison of sentences is found at the high rate and learned well only at the lower one.
    """
    if step < WARMUP_STEPS:
        return max(0.02, step / WARMUP_STEPS)
    if step < LOWER_RATE_FROM:
        return 1.0
    return LOWER_RATE * max(0.02, min(1.0, (steps - step) / (steps - FALL_FROM)))


class Encoder:
    """Turns examples into tensors."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer

    def _pad(self, texts: list[str], fill: int) -> Tensor:
        rows = self.tokenizer(texts, padding=False)["input_ids"]
        width = max(map(len, rows))
        return torch.tensor([row + [fill] * (width - len(row)) for row in rows])

    def __call__(self, examples: list[SkillExample], steered: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return encoder ids [B, S], labels [B, T] with -100 as padding, and prefix indices [B]."""
        ids = self._pad([e.body if steered else e.source for e in examples], 0)
        labels = self._pad([e.target for e in examples], -100)
        return ids, labels, torch.tensor([PREFIX_INDEX.get((e.skill, e.style), 0) for e in examples])


def forward(
    model: T5ForConditionalGeneration,
    prefixes: Tensor,
    tensors: tuple[Tensor, Tensor, Tensor],
    prefix_length: int,
) -> Any:
    """Run the model, with the soft prefixes of the examples in front if a prefix length is given."""
    ids, labels, keys = tensors
    mask = (ids != 0).long()
    embeds = model.shared(ids)
    if prefix_length:
        embeds = torch.cat([prefixes[keys, :prefix_length], embeds], dim=1)
        mask = torch.cat([mask.new_ones(len(ids), prefix_length), mask], dim=1)
    return model(inputs_embeds=embeds, attention_mask=mask, labels=labels, use_cache=False)


class Examination:
    """Fixed examples for each skill, with the instruction and with the soft prefix."""

    def __init__(self, encoder: Encoder, size: int = 200) -> None:
        self.papers: dict[str, tuple[tuple[Tensor, Tensor, Tensor], int]] = {}
        rng = random.Random("examination")
        for name in (*JUDGING_SKILLS, *FREE_SKILLS):
            for style in JUDGING_SKILLS[name].styles() if name in JUDGING_SKILLS else ("",):
                examples = [make_example(rng, name, style=style or None) for _ in range(size)]
                label = f"{name}/{style}".rstrip("/")
                self.papers[label] = (encoder(examples, steered=False), 0)
                if (name, style) in PREFIX_INDEX:
                    self.papers[f"{label}+prefix"] = (encoder(examples, steered=True), PREFIX_ROWS)

    @torch.no_grad()
    def sit(self, model: T5ForConditionalGeneration, prefixes: Tensor) -> dict[str, float]:
        """Return the share of answers that are right token for token."""
        scores = {}
        for name, (tensors, length) in self.papers.items():
            labels = tensors[1]
            guess = forward(model, prefixes, tensors, length).logits.argmax(-1)
            scores[name] = round(((guess == labels) | (labels == -100)).all(1).float().mean().item(), 4)
        return scores


class Trainer:
    """The training state: weights, optimisers, running mean, and the position in the data stream."""

    def __init__(self, args: argparse.Namespace, tokenizer: PreTrainedTokenizerFast) -> None:
        self.args = args
        self.encoder = Encoder(tokenizer)
        self.model = new_model(args, len(tokenizer))
        generator = torch.Generator().manual_seed(args.seed)
        rows = torch.randint(3, len(tokenizer), (len(PREFIX_KEYS), PREFIX_ROWS), generator=generator)
        self.prefixes = nn.Parameter(self.model.shared.weight.detach()[rows].clone())
        self.optimisers = new_optimisers(self.model, self.prefixes, args)
        self.mean = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        self.counts = {"step": 0, "examples": 0, "tokens": 0, "pool": 0, "pool_step": 0, "batch": 0}
        self.seconds = 0.0
        self.batches: list[TrainBatch] | None = None

    @property
    def checkpoint(self) -> Path:
        """File of the training state."""
        return self.args.work_folder / "checkpoint.pt"

    def next_batch(self) -> TrainBatch:
        """Return the next batch of the stream."""
        counts, args = self.counts, self.args
        if self.batches is not None and counts["batch"] >= len(self.batches):
            counts.update(pool=counts["pool"] + 1, pool_step=counts["step"], batch=0)
            self.batches = None
        if self.batches is None:
            self.batches = draw_pool(args.seed, counts["pool"], counts["pool_step"], args.tokens_per_batch)
        batch = self.batches[counts["batch"]]
        counts["batch"] += 1
        return batch

    def step(self) -> float:
        """Train on one batch; returns its loss."""
        factor = rate_factor(self.counts["step"], self.args.steps)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * factor
        batch = self.next_batch()
        tensors = self.encoder(batch.examples, steered=batch.prefix_length > 0)
        loss = forward(self.model, self.prefixes, tensors, batch.prefix_length).loss
        if not torch.isfinite(loss):
            raise RuntimeError(f"loss is {loss.item()} at step {self.counts['step']}")
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad()
        counts = self.counts
        counts["step"] += 1
        counts["examples"] += len(batch.examples)
        counts["tokens"] += tensors[0].numel() + len(batch.examples) * batch.prefix_length
        # The mean follows quickly at first.
        weight = 1 - min(self.args.average, counts["step"] / (counts["step"] + 100))
        with torch.no_grad():
            for name, value in self.model.named_parameters():
                self.mean[name].lerp_(value, weight)
        self._renew_prefix()
        return loss.item()

    def _renew_prefix(self) -> None:
        """Replace one prefix by random word embeddings, so that the model stays easy to steer anew."""
        step = self.counts["step"]
        if not RENEWALS_FROM <= step < RENEWALS_TO or step % RENEWAL_EVERY:
            return
        key = (step // RENEWAL_EVERY) % len(PREFIX_KEYS)
        generator = torch.Generator().manual_seed(self.args.seed * 1_000_003 + step)
        rows = torch.randint(3, self.model.config.vocab_size - 64, (PREFIX_ROWS,), generator=generator)
        with torch.no_grad():
            self.prefixes[key] = self.model.shared.weight[rows]
        state = self.optimisers[1].state[self.prefixes]
        state["exp_avg"][key] = 0.0
        state["exp_avg_sq"][key] = 0.0

    def averaged_model(self) -> T5ForConditionalGeneration:
        """Return a copy of the model that holds the running mean of the weights."""
        model = T5ForConditionalGeneration._from_config(self.model.config, attn_implementation="sdpa").eval()
        with torch.no_grad():
            for name, value in model.named_parameters():
                value.copy_(self.mean[name])
        return model

    def save(self) -> None:
        """Write the state under a temporary name, then rename it."""
        state = {
            "model": self.model.state_dict(),
            "prefixes": self.prefixes.detach(),
            "mean": self.mean,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "counts": self.counts,
            "seconds": self.seconds,
        }
        draft = self.checkpoint.with_suffix(".draft")
        torch.save(state, draft)
        draft.replace(self.checkpoint)

    def load(self) -> None:
        """Continue from the checkpoint."""
        state = torch.load(self.checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        with torch.no_grad():
            self.prefixes.copy_(state["prefixes"])
        self.mean = state["mean"]
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.counts, self.seconds, self.batches = state["counts"], state["seconds"], None


def export(model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model in transformers format, read it back and compare the logits bit for bit."""
    folder.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, max_new_tokens=20
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    again = T5ForConditionalGeneration.from_pretrained(folder, attn_implementation="sdpa").eval()
    again_tokenizer = AutoTokenizer.from_pretrained(folder)
    text = [
        "premise: tom is in the kitchen. hypothesis: tom is in the garden.",
        "sentence: what a lovely film.",
    ]
    batch = tokenizer(text, padding=True, return_tensors="pt")
    if not torch.equal(batch["input_ids"], again_tokenizer(text, padding=True, return_tensors="pt")["input_ids"]):
        raise RuntimeError(f"the tokenizer read back from {folder} differs")
    start = torch.zeros(2, 3, dtype=torch.long)
    with torch.no_grad():
        before = model(**batch, decoder_input_ids=start).logits
        after = again(**batch, decoder_input_ids=start).logits
    if not torch.equal(before, after):
        raise RuntimeError(f"the model read back from {folder} gives other logits")


def drop_records_after(log_file: Path, step: int) -> None:
    """Forget what was logged after the checkpoint from which training goes on."""
    if log_file.exists():
        lines = log_file.read_text(encoding="utf-8").splitlines(keepends=True)
        log_file.write_text("".join(line for line in lines if json.loads(line)["step"] <= step), encoding="utf-8")


def main() -> None:
    """Train to the end and write the model."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    args.work_folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
    trainer = Trainer(args, tokenizer)
    if trainer.checkpoint.exists():
        trainer.load()
    if args.export_only:
        export(trainer.averaged_model(), tokenizer, args.out)
        return
    examination = Examination(trainer.encoder)
    log_file = args.work_folder / "log.jsonl"
    drop_records_after(log_file, trainer.counts["step"])
    started, before, running = time.process_time(), trainer.seconds, 0.0
    while trainer.counts["step"] < args.steps:
        loss = trainer.step()
        step = trainer.counts["step"]
        running = loss if not running else 0.99 * running + 0.01 * loss
        trainer.seconds = before + time.process_time() - started
        if step % args.log_every == 0 or step == args.steps:
            record = {
                "step": step,
                "examples": trainer.counts["examples"],
                "tokens": trainer.counts["tokens"],
                "seconds": round(trainer.seconds, 1),
                "loss": round(running, 4),
                "accuracy": examination.sit(trainer.averaged_model(), trainer.prefixes),
            }
            with log_file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")
            print(json.dumps(record), flush=True)
        if step % args.save_every == 0 or step == args.steps:
            trainer.save()
    export(trainer.averaged_model(), tokenizer, args.out)


if __name__ == "__main__":
    main()
