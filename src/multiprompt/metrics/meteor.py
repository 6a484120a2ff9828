"""METEOR 1.5 for English: precision and recall of aligned words, less a penalty for broken order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from jaxtyping import Float

from multiprompt.metrics.base import METRICS, Labels, Metric, Predictions, References, Values, ratio
from multiprompt.metrics.caption_words import caption_words
from multiprompt.metrics.meteor_align import align, count_chunks
from multiprompt.metrics.meteor_words import MeteorTables, meteor_words
from multiprompt.metrics.words import one_line, stripped_references

ALPHA = 0.85
"""Weight of recall against precision."""
BETA = 0.2
"""Shape of the penalty: power of chunks per matched word."""
GAMMA = 0.6
"""Largest penalty."""
DELTA = 0.75
"""What a content word counts; a function word counts the rest to 1."""
STAGE_WEIGHTS = (1.0, 0.6, 0.8, 0.6)
"""What an exact, stem, synonym, paraphrase match counts."""

_DEFAULT = MeteorTables()


def _segment(output: Sequence[str], reference: Sequence[str], tables: MeteorTables) -> list[float]:
    """Weighted lengths and weighted matches of output and reference, chunks, mean number of matched words."""
    output_weights = [1 - DELTA if word in tables.function_words else DELTA for word in output]
    reference_weights = [1 - DELTA if word in tables.function_words else DELTA for word in reference]
    matches = align(output, reference, tables)
    output_matched = reference_matched = 0.0
    output_words = reference_words = 0
    for stage, start, length, place, output_length in matches:
        output_matched += STAGE_WEIGHTS[stage] * sum(output_weights[place : place + output_length])
        reference_matched += STAGE_WEIGHTS[stage] * sum(reference_weights[start : start + length])
        output_words += output_length
        reference_words += length
    chunks = count_chunks(matches)
    if chunks == 1 and output_words == len(output) and reference_words == len(reference):
        chunks = 0  # all matched in one run: no penalty, here and in the sum over the set
    lengths = [sum(output_weights), sum(reference_weights)]
    return [*lengths, output_matched, reference_matched, chunks, (output_words + reference_words) / 2]


def meteor_value(sums: np.ndarray) -> Values:
    """METEOR from summed statistics; 0 when no word matches."""
    output, reference, output_matched, reference_matched, chunks, matched = (sums[..., column] for column in range(6))
    precision, recall = ratio(output_matched, output), ratio(reference_matched, reference)
    mean = ratio(precision * recall, (1 - ALPHA) * recall + ALPHA * precision)
    # a stage that counts less cannot make this negative: chunks are never more than matched words
    return mean * (1 - GAMMA * ratio(chunks, matched) ** BETA)


def meteor_statistics(
    predictions: Predictions,
    references: References,
    labels: Labels = None,
    *,
    tables: MeteorTables = _DEFAULT,
    prepare: Callable[[str], str] = str,
) -> Float[np.ndarray, "n 6"]:
    """One row per example, of the reference with the highest score: see ``_segment``."""
    rows = np.zeros((len(predictions), 6))
    for row, (prediction, texts) in enumerate(zip(one_line(predictions), stripped_references(references), strict=True)):
        output = meteor_words(prepare(prediction))
        distinct = dict.fromkeys(meteor_words(prepare(text)) for text in texts)
        segments = np.array([_segment(output, reference, tables) for reference in distinct])
        rows[row] = segments[np.argmax(meteor_value(segments)) if len(segments) > 1 else 0]
    return rows


def _caption_text(text: str) -> str:
    return " ".join(caption_words(text))


def meteor_metric(name: str, tables: MeteorTables = _DEFAULT, captions: bool = False) -> Metric:
    """METEOR with given tables.

    Args:
        name: of the metric.
        tables: function words, and synonyms and paraphrases if there are any.
        captions: cut the texts by the caption tokeniser first, which drops their marks (E2E challenge).
    """
    stages = ["exact", "stem"] + ["synonym"] * bool(tables.synonyms) + ["paraphrase"] * bool(tables.paraphrases)
    words = "of the caption tokeniser, then normalised" if captions else "normalised and lower-cased"
    return Metric(
        name=name,
        definition="METEOR 1.5 for English from 0 to 1: harmonic mean of weighted precision and recall (alpha 0.85) "
        "of aligned words times 1 - 0.6 (chunks / matched words)^0.2; content words count 0.75, function words "
        f"0.25; stages {', '.join(stages)} with weights 1, 0.6, 0.8, 0.6 for exact, stem, synonym, paraphrase; the "
        f"best reference of each example; words {words}; sums over the set as in the original, "
        + ("captions as in the E2E challenge's scorer." if captions else "with -norm as in WebNLG 2017."),
        range=(0.0, 1.0),
        statistics=partial(meteor_statistics, tables=tables, prepare=_caption_text if captions else str),
        value=meteor_value,
    )


METEOR = METRICS.add("meteor", meteor_metric("meteor"))
METEOR_E2E = METRICS.add("meteor_e2e", meteor_metric("meteor_e2e", captions=True))
