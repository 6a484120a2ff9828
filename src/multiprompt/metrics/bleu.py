"""BLEU in three forms and TER, from the segment statistics of the sacrebleu package.

The package is imported when a score is asked for: most runs score label words only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from jaxtyping import Float

from multiprompt.metrics.base import METRICS, Labels, Metric, Predictions, References, Values, ratio
from multiprompt.metrics.words import one_line, stripped_references, webnlg_words

ORDER = 4
"""Longest word sequence that BLEU counts."""


def bleu_statistics(
    predictions: Predictions,
    references: References,
    labels: Labels = None,
    *,
    tokenise: str = "13a",
    lowercase: bool = False,
    prepare: Callable[[str], str] = str,
) -> Float[np.ndarray, "n 10"]:
    """One row per example: output length, length of the closest reference, 4 x matches, 4 x sequences."""
    from sacrebleu.metrics.bleu import BLEU

    # effective_order only keeps the package from warning about single segments; their scores are not used
    scorer = BLEU(tokenize=tokenise, lowercase=lowercase, effective_order=True)
    rows = np.zeros((len(predictions), 2 + 2 * ORDER))
    pairs = zip(one_line(predictions), stripped_references(references), strict=True)
    for row, (prediction, texts) in enumerate(pairs):
        segment = scorer.sentence_score(prepare(prediction), [prepare(text) for text in texts])
        rows[row] = [segment.sys_len, segment.ref_len, *segment.counts, *segment.totals]
    return rows


def bleu_value(sums: np.ndarray, smooth: bool) -> Values:
    """BLEU in points from summed statistics.

    Args:
        sums: (..., 10) as of ``bleu_statistics``.
        smooth: a length without a match counts 1/2, the next such length 1/4, ... of a match (else BLEU is 0).
    """
    length, closest = sums[..., 0], sums[..., 1]
    matches, totals = sums[..., 2 : 2 + ORDER], sums[..., 2 + ORDER :]
    missing = (matches == 0) & (totals > 0)
    smoothed = np.where(missing, 0.5 ** np.cumsum(missing, axis=-1), matches) if smooth else matches
    precisions = ratio(smoothed, totals)
    defined = matches.any(axis=-1) & (precisions > 0).all(axis=-1)
    mean = np.exp(np.log(np.where(precisions > 0, precisions, 1.0)).mean(axis=-1))
    penalty = np.exp(np.minimum(0.0, 1 - closest / np.where(length > 0, length, 1.0)))
    return 100 * np.where(defined, penalty * mean, 0.0)


def ter_statistics(predictions: Predictions, references: References, labels: Labels = None) -> Float[np.ndarray, "n 2"]:
    """One row per example: fewest edits to any reference, mean length of the references."""
    from sacrebleu.metrics.ter import TER as Scorer

    scorer = Scorer()
    rows = np.zeros((len(predictions), 2))
    for row, (prediction, texts) in enumerate(zip(one_line(predictions), stripped_references(references), strict=True)):
        segment = scorer.sentence_score(prediction, list(dict.fromkeys(texts)))
        # equal references need the same edits; only the mean length counts each of them
        rows[row] = [segment.num_edits, sum(len(text.split()) for text in texts) / len(texts)]
    return rows


def ter_value(sums: np.ndarray) -> Values:
    """TER in points; 100 when all references are empty and some output is not, 0 when nothing is to be edited."""
    edits, length = sums[..., 0], sums[..., 1]
    return 100 * np.where(length > 0, ratio(edits, length), edits > 0)


def _webnlg_text(text: str) -> str:
    return " ".join(webnlg_words(text))


_DEFINED = (
    "Corpus BLEU of sequences of 1 to 4 words in points: geometric mean of the clipped precisions times the brevity "
    "penalty from the closest reference length (the shorter of two equally close)"
)

BLEU = METRICS.add(
    "bleu",
    Metric(
        name="bleu",
        definition=f"{_DEFINED}; mteval 13a words, letter case kept; lengths without a match are smoothed "
        "exponentially (sacrebleu's defaults).",
        range=(0.0, 100.0),
        statistics=bleu_statistics,
        value=partial(bleu_value, smooth=True),
    ),
)

BLEU_E2E = METRICS.add(
    "bleu_e2e",
    Metric(
        name="bleu_e2e",
        definition=f"{_DEFINED}; mteval 13a words, lower-cased; exponential smoothing as in mteval-v13a (the E2E "
        "challenge's scorer).",
        range=(0.0, 100.0),
        statistics=partial(bleu_statistics, lowercase=True),
        value=partial(bleu_value, smooth=True),
    ),
)

BLEU_WEBNLG = METRICS.add(
    "bleu_webnlg",
    Metric(
        name="bleu_webnlg",
        definition=f"{_DEFINED}; words are lower-cased and every character that is not a letter, digit or "
        "underscore is a word; 0 when a length has no match (multi-bleu -lc on tokenised text, as in WebNLG 2017).",
        range=(0.0, 100.0),
        statistics=partial(bleu_statistics, tokenise="none", lowercase=True, prepare=_webnlg_text),
        value=partial(bleu_value, smooth=False),
    ),
)

TER = METRICS.add(
    "ter",
    Metric(
        name="ter",
        definition="Translation edit rate in points, lower is better: fewest insertions, deletions, substitutions "
        "and shifts to reach any reference, over the mean reference length, both summed over the set; lower-cased, "
        "split at white space (Tercom by sacrebleu's defaults, as in WebNLG 2017).",
        range=(0.0, float("inf")),
        statistics=ter_statistics,
        value=ter_value,
        higher_is_better=False,
    ),
)
