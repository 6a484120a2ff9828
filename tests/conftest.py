"""A random T5 of two layers and a byte-like tokenizer: every test of plumbing runs on these in milliseconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before torch is loaded: threads that wait give their core to the tests beside them, and do not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch
from hypothesis import settings

from multiprompt.backbone import T5Backbone
from multiprompt.batch import IGNORED, Batch
from multiprompt.methods import Method
from multiprompt.options import TrainingOptions
from multiprompt.options.records import base
from multiprompt.training import LiveTraining, StepResult, Training, step
from rounding import SMOOTH

THREADS = int(os.environ.get("MULTIPROMPT_TEST_THREADS", "1"))
"""Of torch in every test; several of them round some sums in another order than one."""

torch.set_num_threads(THREADS)
settings.register_profile("default", deadline=None)  # a first call may have to import or compile
settings.load_profile("default")

SHARED = Path(os.environ.get("MULTIPROMPT_SHARED", Path(__file__).parents[2] / "shared"))
"""Real rows and the real T5 vocabulary, where a developer has them; tests that need them skip without."""


@pytest.fixture(autouse=True, scope="session")
def _surroundings(tmp_path_factory: pytest.TempPathFactory):
    """The cache of the person who runs the tests is left alone, and programs that they start speak UTF-8.

    Nothing waits for the disk, as no machine is switched off in between: a small run writes a hundred files.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULTIPROMPT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("PYTHONIOENCODING", "utf-8")
        patch.setattr(os, "fsync", lambda _: None)
        yield


def build_tiny_tokenizer():
    """One token for each printable ASCII character, after <pad>, </s> and <unk>."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<pad>": 0, "</s>": 1, "<unk>": 2}
    vocabulary |= {chr(code): code - 32 + 3 for code in range(32, 127)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", None, [("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def build_tiny_model(seed: int = 0, **changes):
    """A random T5 with 2 + 2 layers of width 16."""
    from transformers import T5Config, T5ForConditionalGeneration

    settings = {
        "vocab_size": 104,
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 32,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "num_heads": 2,
        "dropout_rate": 0.1,
        "decoder_start_token_id": 0,
    }
    torch.manual_seed(seed)
    model = T5ForConditionalGeneration._from_config(T5Config(**(settings | changes)), attn_implementation="eager")
    return model.eval()


@pytest.fixture
def tiny_backbone() -> T5Backbone:
    """A new random backbone that packs, as a model of ordinary width does."""
    backbone = T5Backbone(build_tiny_model(), build_tiny_tokenizer(), "tiny")
    backbone.packs = True
    return backbone


@pytest.fixture
def smooth_backbone() -> T5Backbone:
    """The same without a kink: what its gradients are compared on."""
    backbone = T5Backbone(build_tiny_model(**SMOOTH), build_tiny_tokenizer(), "smooth")
    backbone.packs = True
    return backbone


def save_tiny(folder: Path, **changes) -> Path:
    """Save the random model and its tokenizer; returns the folder."""
    build_tiny_model(**changes).save_pretrained(folder)
    build_tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _methods_as_they_were():
    """Methods that a test registers are gone after it."""
    before = dict(base._RECORDS)
    yield
    base._RECORDS.clear()
    base._RECORDS.update(before)


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    """The random backbone, saved the way transformers saves it."""
    return save_tiny(tmp_path / "tiny-t5")


@pytest.fixture
def smooth_folder(tmp_path: Path) -> Path:
    """The random backbone without a kink."""
    return save_tiny(tmp_path / "smooth-t5", **SMOOTH)


@pytest.fixture
def shared_folder() -> Path:
    """The folder with real rows; skips where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no real rows in {SHARED} (set MULTIPROMPT_SHARED to a folder that holds data/)")
    return SHARED


def random_batch(
    seed: int = 0,
    batch_size: int = 6,
    num_tasks: int = 3,
    max_source: int = 12,
    max_target: int = 4,
    vocabulary: int = 100,
) -> Batch:
    """Random tokens with different lengths; every task occurs if the batch is large enough."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.randint(low, high, shape, generator=generator)

    sources = draw(1, max_source + 1, (batch_size,))
    targets = draw(1, max_target + 1, (batch_size,))
    sources[0], targets[0] = max_source, max_target
    mask = (torch.arange(max_source) < sources[:, None]).long()
    input_ids = draw(3, vocabulary, (batch_size, max_source)) * mask
    labels = draw(3, vocabulary, (batch_size, max_target))
    labels[torch.arange(max_target) >= targets[:, None]] = IGNORED
    return Batch(input_ids, mask, labels, torch.arange(batch_size) % num_tasks)


class Again:
    """A stream that gives the same micro-batches in every step."""

    def __init__(self, micro_batches: list[Batch]) -> None:
        self.micro_batches = micro_batches

    def __iter__(self) -> Iterator[list[Batch]]:
        return self

    def __next__(self) -> list[Batch]:
        return self.micro_batches

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass


def run_on(method: Method, stream: Any, **options: Any) -> LiveTraining:
    """A training of a method that is about to take its first step, at constant rates."""
    settings = {"schedule": "constant", "warmup_ratio": 0.0} | options
    return LiveTraining(Training(method, stream, TrainingOptions(**settings), steps=1000, seed=0))


def step_of(run: LiveTraining) -> StepResult:
    """One step of a training alone."""
    (result,) = step([run]).values()
    return result
