"""First values of prompts: those that the options name, and those that source training hands on."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from multiprompt.backbone.base import Backbone
from multiprompt.errors import ConfigError, unknown_name
from multiprompt.options import PromptOptions
from multiprompt.prompts import (
    DecomposedPrompt,
    Prompt,
    SharedPrompt,
    SoftPrompt,
    load_prompt,
    normal_rows,
    text_rows,
    uniform_rows,
    vocabulary_rows,
)


def start_rows(options: PromptOptions, backbone: Backbone, seed: int) -> Float[Tensor, "P D"]:
    """First value of a prompt, on the processor, in fp32.

    Raises:
        ConfigError: the prompt is longer than the start allows, or a stored prompt has another shape.
    """
    generator = torch.Generator().manual_seed(seed)
    if options.start == "saved":
        assert options.path is not None, "the options check that a saved start has a path"
        stored = load_prompt(Path(options.path))
        rows = stored.prompt.all_tasks().detach().mean(0)
        if rows.shape != (options.length, backbone.width):
            raise ConfigError(
                f"the prompt in {options.path} is {tuple(rows.shape)}; expected "
                f"{(options.length, backbone.width)} (prompt.length and the width of {backbone.name})"
            )
        return rows
    try:
        match options.start:
            case "vocabulary":
                return vocabulary_rows(backbone.frequent, options.length, generator)
            case "normal":
                return normal_rows(options.length, backbone.width, generator=generator)
            case "uniform":
                return uniform_rows(options.length, backbone.width, generator=generator)
            case _:
                assert options.text is not None, "the options check that a start from a text has one"
                return text_rows(backbone.embedding, backbone.coder.words(options.text), options.length)
    except ValueError as error:
        raise ConfigError(str(error)) from error


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
        UnknownNameError: ``adapt`` is none of the three.
    """
    if adapt not in ("both", "shared_only", "task_only"):
        raise unknown_name("adapt", adapt, ("both", "shared_only", "task_only"))
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
