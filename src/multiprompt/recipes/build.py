"""The method of a stage as it starts: made of its options, the backbone and what earlier stages have learned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multiprompt.backbone.base import Backbone, Sublayer
from multiprompt.errors import CheckpointError
from multiprompt.methods import (
    FineTuning,
    Method,
    PromptTuning,
    SourceTraining,
    StoredMethod,
    load_method,
)
from multiprompt.methods.adapters import Adapters
from multiprompt.methods.attempt import Attempt, Attention, MixedPrompts
from multiprompt.methods.base import copy_into
from multiprompt.methods.bitfit import Biases
from multiprompt.methods.dept import Dept, ShortPrompt, matrix_rank
from multiprompt.methods.hyperdecoder import HyperDecoder
from multiprompt.methods.hyperformer import HyperFormer
from multiprompt.methods.inserted import Inserted, InsertedMethod
from multiprompt.methods.peft_library import PrefixTuning, ia3, import_peft, lora
from multiprompt.methods.prompt_starts import start_rows, start_target_prompt
from multiprompt.methods.spot import retrieved_start, weighted_start
from multiprompt.options import MixingOptions, PromptOptions, TrainingOptions
from multiprompt.prompts import (
    DecomposedPrompt,
    FactorisedPrompt,
    Prompt,
    SharedPrompt,
    SoftPrompt,
    load_prompt,
    start_task_factors,
    start_thin_factors,
)
from multiprompt.recipes.prepare import PreparedTask
from multiprompt.recipes.stage_training import Place, stage_training
from multiprompt.seeding import derive_seed
from multiprompt.training import train

Learned = Prompt | StoredMethod
"""What a stage leaves: a prompt, or the tensors of another method."""


@dataclass(frozen=True)
class Start:
    """What a method is made from.

    Attributes:
        backbone: the frozen model.
        tasks: names of its tasks, in the order of the task ids.
        options: of the method, such as ``MptOptions``.
        training: its dropout counts.
        prompt: shape and first values of new prompts.
        earlier: what the stages it needs have learned, by their names.
        seed: of the run.
        stage: name of the stage; first values that are drawn depend on it and on the seed.
        max_source_length: the longest of its tasks' limits, in tokens.
        data: the tasks themselves; only SPoT looks at them before its training.
    """

    backbone: Backbone
    tasks: tuple[str, ...]
    options: Any
    training: TrainingOptions
    prompt: PromptOptions
    earlier: Mapping[str, Learned]
    seed: int
    stage: str
    max_source_length: int
    data: Sequence[PreparedTask] = ()

    def prompt_of(self, stage: str) -> Prompt:
        """The prompt that an earlier stage has learned."""
        learned = self.earlier[stage]
        assert isinstance(learned, Prompt), f"stage {stage} stores a prompt"
        return learned

    def teachers(self) -> list[str]:
        """The teachers among the earlier stages, in the order of the source tasks."""
        return [name for name in self.earlier if name.startswith("teacher-")]

    def teacher_rows(self) -> Tensor:
        """The prompts of the teachers on the processor, wherever they are, ``[K, P, D]``."""
        return torch.cat([self.prompt_of(name).all_tasks().detach().cpu() for name in self.teachers()])

    def generator(self, purpose: str) -> torch.Generator:
        """Draws the first values for a purpose."""
        return torch.Generator().manual_seed(derive_seed(self.seed, self.stage, purpose))

    def prompt_rows(self) -> Tensor:
        """First value of a new prompt, ``[P, D]``."""
        return start_rows(self.prompt, self.backbone, derive_seed(self.seed, self.stage, "start"))


def build_method(name: str, start: Start) -> Method:
    """The method as it stands before its training; it changes the backbone inside its ``with`` block only."""
    return _BUILDERS[name](start)


def check_packages(methods: Iterable[str]) -> None:
    """Look for the packages that some methods need, before anything is trained.

    Raises:
        ConfigError: one is not installed.
    """
    if not {"lora", "ia3", "prefix_tuning"}.isdisjoint(methods):
        import_peft()


def load_learned(folder: Path) -> Learned:
    """What a finished stage has left in its folder.

    Raises:
        CheckpointError: there is nothing, or it is damaged.
    """
    if (folder / "prompt.safetensors").exists():
        return load_prompt(folder / "prompt.safetensors").prompt
    if (folder / "method.safetensors").exists():
        return load_method(folder / "method.safetensors")
    raise CheckpointError(f"{folder} holds neither prompt.safetensors nor method.safetensors; make the stage again")


def _student(start: Start) -> Method:
    options, shape, shared = start.options, start.prompt, start.prompt_rows()
    student: Prompt
    if options.decomposed:
        generator = start.generator("factors")
        size = shape.length, start.backbone.width, shape.rank
        factors = [start_task_factors(*size, shape.factor_start, generator, shape.factor_spread) for _ in start.tasks]
        student = DecomposedPrompt(shared, factors)
    else:
        student = SharedPrompt(shared, len(start.tasks))
    teachers = start.teacher_rows() if start.teachers() else None
    rates = options.learning_rate, options.factor_learning_rate
    return SourceTraining(start.backbone, student, teachers, options.distillation, *rates, start.training.dropout)


def _mpt(start: Start) -> Method:
    prompt = start_target_prompt(start.prompt_of("source"), len(start.tasks), start.options.adapt)
    rates = start.options.learning_rate, start.options.factor_learning_rate
    return PromptTuning(start.backbone, prompt, *rates, start.training.dropout)


def _prompt_tuning(start: Start) -> PromptTuning:
    prompt = SoftPrompt([start.prompt_rows()])
    return PromptTuning(start.backbone, prompt, start.options.learning_rate, dropout=start.training.dropout)


def _fine_tuning(start: Start) -> Method:
    learned = _multitask(start)
    first = None if learned is None else learned.tensors
    return FineTuning(start.backbone, start.options.learning_rate, start.training.dropout, first)


def _attempt(start: Start) -> Method:
    options, width = start.options, start.backbone.width
    sources = start.teacher_rows()
    attention = Attention(width, options.bottleneck, start.generator("attention"))
    learned = start.earlier.get("source-attention")
    if isinstance(learned, StoredMethod):
        prefix = "attention."
        tensors = {n.removeprefix(prefix): t for n, t in learned.tensors.items() if n.startswith(prefix)}
        copy_into(dict(attention.named_parameters()), tensors, "the attention network")
    # The published code starts the target prompt from the first source prompt of its list.
    mixed = MixedPrompts([sources[0]] * len(start.tasks), attention)
    rates = options.learning_rate, options.attention_learning_rate
    return Attempt(start.backbone, mixed, sources, *rates, options.temperature, start.training.dropout)


def _adapters(start: Start) -> Method:
    options = start.options
    places: tuple[Sublayer, ...] = ("self_attention",)
    if options.places == "both":
        places = ("self_attention", "feed_forward")
    inner = max(1, start.backbone.width // options.reduction)
    layers = Adapters(start.backbone, inner, len(start.tasks), places, start.generator("adapters"))
    return _inserted(start, layers)


def _bitfit(start: Start) -> Method:
    return _inserted(start, Biases(start.backbone))


def _hyperformer(start: Start) -> Method:
    options = start.options
    inner = max(1, start.backbone.width // options.reduction)
    shape = inner, options.embedding, options.hidden, len(start.tasks)
    return _inserted(start, HyperFormer(start.backbone, *shape, start.generator("hyperformer")))


def _hyperdecoder(start: Start) -> Method:
    options = start.options
    shape = options.bottleneck, options.layer_embedding, options.hidden
    return _inserted(start, HyperDecoder(start.backbone, *shape, start.generator("hyperdecoder")))


def _multitask(start: Start) -> StoredMethod | None:
    """What the method has learned on source tasks first; None if it starts without."""
    learned = start.earlier.get(f"source-multitask_{start.options.method}")
    assert learned is None or isinstance(learned, StoredMethod), "such a stage stores no prompt"
    return learned


def _inserted(start: Start, layers: Inserted) -> Method:
    learned = _multitask(start)
    if learned is not None:
        sources, named = learned.tasks, start.options.nearest
        nearest = [named.get(task, task if task in sources else sources[0]) for task in start.tasks]
        layers.start_from(learned.tensors, [sources.index(task) for task in nearest])
    return InsertedMethod(start.backbone, layers, start.options.learning_rate, start.training.dropout)


def _dept(start: Start) -> Method:
    options, length, positions = start.options, start.prompt.length, start.max_source_length
    short = max(1, round(options.length_share * length))
    rank = matrix_rank(length, short, start.backbone.width, positions)
    prompt = ShortPrompt(start.prompt_rows()[:short], positions, rank, start.generator("matrix"))
    rates = options.learning_rate, options.matrix_learning_rate
    return Dept(start.backbone, prompt, *rates, start.training.dropout)


def _decomposed_prompt_tuning(start: Start) -> Method:
    shape = start.prompt.length, start.backbone.width, start.options.rank
    prompt = FactorisedPrompt(*start_thin_factors(*shape, start.generator("factors")))
    return PromptTuning(start.backbone, prompt, start.options.learning_rate, dropout=start.training.dropout)


def _lora(start: Start) -> Method:
    options, seed = start.options, derive_seed(start.seed, start.stage, "lora")
    return lora(start.backbone, options.rank, options.alpha, options.learning_rate, start.training.dropout, seed)


def _ia3(start: Start) -> Method:
    seed = derive_seed(start.seed, start.stage, "ia3")
    return ia3(start.backbone, start.options.learning_rate, start.training.dropout, seed)


def _prefix_tuning(start: Start) -> Method:
    seed = derive_seed(start.seed, start.stage, "prefix")
    return PrefixTuning(start.backbone, start.prompt.length, start.options.learning_rate, start.training.dropout, seed)


def _spot(start: Start) -> Method:
    prompt = SoftPrompt([_spot_rows(start)])
    return PromptTuning(start.backbone, prompt, start.options.learning_rate, dropout=start.training.dropout)


def _spot_rows(start: Start) -> Tensor:
    options = start.options
    if options.start == "mixture":
        return start.prompt_of("source-mixture").all_tasks().detach()[0]
    sources = start.teacher_rows()
    if options.start not in ("retrieved", "weighted"):
        return sources[0]  # the plan asks for the one teacher that is named
    training = start.training.without_dev(options.early_steps)
    early = replace(start, training=training, stage=f"{start.stage}-early")
    method = _prompt_tuning(early)
    train(stage_training(method, start.data[:1], training, MixingOptions(), 1, start.seed, Place(early.stage)))
    choose = retrieved_start if options.start == "retrieved" else weighted_start
    return choose(method.prompt.all_tasks().detach()[0].cpu(), sources)


_BUILDERS: Mapping[str, Callable[[Start], Method]] = {
    "teacher": _prompt_tuning,
    "student": _student,
    "mixture": _student,  # with a plain prompt, and no teachers
    "mpt": _mpt,
    "prompt_tuning": _prompt_tuning,
    "fine_tuning": _fine_tuning,
    "spot": _spot,
    "attempt": _attempt,
    "attention": _attempt,  # on the source tasks, before any attention has been learned
    "adapters": _adapters,
    "bitfit": _bitfit,
    "hyperformer": _hyperformer,
    "hyperdecoder": _hyperdecoder,
    "multitask_fine_tuning": _fine_tuning,  # on the source tasks, before anything has been learned
    "multitask_adapters": _adapters,
    "multitask_hyperformer": _hyperformer,
    "dept": _dept,
    "decomposed_prompt_tuning": _decomposed_prompt_tuning,
    "lora": _lora,
    "ia3": _ia3,
    "prefix_tuning": _prefix_tuning,
}
