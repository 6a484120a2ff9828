"""Soft prompts: modules that return one prompt for every example of a batch. They know nothing of models."""

from multiprompt.prompts.base import Prompt
from multiprompt.prompts.decomposed import DecomposedPrompt, compose, start_task_factors
from multiprompt.prompts.factorised import FactorisedPrompt, start_thin_factors
from multiprompt.prompts.soft import SharedPrompt, SoftPrompt
from multiprompt.prompts.starts import normal_rows, text_rows, uniform_rows, vocabulary_rows
from multiprompt.prompts.stored import StoredPrompt, load_prompt, save_plain_prompt, save_prompt

__all__ = [
    "DecomposedPrompt",
    "FactorisedPrompt",
    "Prompt",
    "SharedPrompt",
    "SoftPrompt",
    "StoredPrompt",
    "compose",
    "load_prompt",
    "normal_rows",
    "save_plain_prompt",
    "save_prompt",
    "start_task_factors",
    "start_thin_factors",
    "text_rows",
    "uniform_rows",
    "vocabulary_rows",
]
