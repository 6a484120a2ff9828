"""From rows of datasets to padded batches."""

from __future__ import annotations

from multiprompt.data.batching import BatchStream, collate, cut_by_length
from multiprompt.data.few_shot import draw_few_shot
from multiprompt.data.look import look_at_texts, look_at_tokens
from multiprompt.data.mixing import EpochSampler, Sampler, TaskSampler, mixing_rates
from multiprompt.data.readers import typed_row
from multiprompt.data.sources import Generation, LoadedRow, Rows, fingerprint, load_rows, read_rows
from multiprompt.data.splits import TaskData, load_task_data
from multiprompt.data.token_cache import tokenise_cached
from multiprompt.data.tokenise import Ragged, TokenisedExamples, tokenise

__all__ = [
    "BatchStream",
    "EpochSampler",
    "Generation",
    "LoadedRow",
    "Ragged",
    "Rows",
    "Sampler",
    "TaskData",
    "TaskSampler",
    "TokenisedExamples",
    "collate",
    "cut_by_length",
    "draw_few_shot",
    "fingerprint",
    "load_rows",
    "load_task_data",
    "look_at_texts",
    "look_at_tokens",
    "mixing_rates",
    "read_rows",
    "tokenise",
    "tokenise_cached",
    "typed_row",
]
