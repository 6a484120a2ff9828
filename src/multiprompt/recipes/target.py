"""Stage 2: a source prompt adapted to one target task, or to a group of them (section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

from multiprompt.backbone import FrozenT5
from multiprompt.errors import ConfigError
from multiprompt.methods import PromptTuning
from multiprompt.options import MixingOptions, MptOptions, TrainingOptions
from multiprompt.prompts import DecomposedPrompt, Prompt, SharedPrompt, SoftPrompt
from multiprompt.recipes.prepare import PreparedTask
from multiprompt.recipes.stage import Place, train_stage
from multiprompt.training import TrainingReport

LARGE_TASK = 10_000
"""Training examples beyond which the paper trains 10 epochs instead of 20 (appendix A)."""


def target_epochs(tasks: Sequence[PreparedTask]) -> int:
    """Epochs of the paper: 20 for small tasks, 10 for large ones and for text from data, 5 for MRQA."""
    if all(task.task.family == "mrqa" for task in tasks):
        return 5
    large = any(task.task.family == "generation" or len(task.train) > LARGE_TASK for task in tasks)
    return 10 if large else 20


def start_target_prompt(source: Prompt, num_tasks: int, adapt: str = "both") -> Prompt:
    """The prompt that target training starts from.

    A decomposed source gives its shared prompt, and to every target task the mean of the source tasks' ``u`` and the
    mean of their ``v``. A source without factors gives its plain prompt.

    Args:
        source: what source training learned.
        num_tasks: target tasks that share the prompt.
        adapt: ``"both"``; ``"shared_only"``: the shared prompt without factors; ``"task_only"``: the shared prompt
            stays frozen (section 4.3).

    Raises:
        ConfigError: a source without a shared prompt.
    """
    if isinstance(source, DecomposedPrompt) and adapt != "shared_only":
        prompt = DecomposedPrompt(source.shared, [source.mean_factors()] * num_tasks)
        prompt.shared.requires_grad_(adapt != "task_only")
        return prompt
    if isinstance(source, DecomposedPrompt | SharedPrompt):
        return SharedPrompt(source.shared, num_tasks)
    if isinstance(source, SoftPrompt) and source.num_tasks == 1:
        return SharedPrompt(source.prompts[0], num_tasks)
    raise ConfigError(
        f"a {type(source).__name__} of {source.num_tasks} separate tasks has no shared prompt to start from"
    )


def adapt_target(
    backbone: FrozenT5,
    tasks: Sequence[PreparedTask],
    source: Prompt,
    options: MptOptions | None = None,
    training: TrainingOptions | None = None,
    mixing: MixingOptions | None = None,
    seed: int = 42,
    place: Place | None = None,
) -> tuple[Prompt, TrainingReport]:
    """Adapt a source prompt on the task loss alone, with two learning rates.

    Args:
        backbone: the frozen model.
        tasks: one task, or a group that shares one prompt.
        source: what source training learned; not changed.
        options: rates, and what is adapted.
        training: length and selection.
        mixing: how the batches of a group are drawn.
        seed: of the batches and of dropout.
        place: folder and progress of the stage.

    Returns:
        The adapted prompt and how the training went.

    Raises:
        ConfigError: the source has no shared prompt.
        TrainingError: the loss is not finite.
    """
    options, training = options or MptOptions(), training or TrainingOptions()
    place = place or Place("target-" + "+".join(task.name for task in tasks))
    prompt = start_target_prompt(source, len(tasks), options.adapt)
    rates = options.learning_rate, options.factor_learning_rate
    method = PromptTuning(backbone, prompt, *rates, training.dropout)
    report = train_stage(
        method,
        tasks,
        training,
        mixing or MixingOptions(),
        target_epochs(tasks),
        seed,
        place,
    )
    return prompt, report
