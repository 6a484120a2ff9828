"""Is it learning? Rules about logs and answers, each with its threshold and some advice. No torch.

See docs/is-it-learning.md.
"""

from multiprompt.health.answers import (
    BLEU_WORDS,
    INVALID_LIMIT,
    Answers,
    constant_predictions,
    invalid_answers,
    no_better_than_constant,
    short_answers,
    shown,
    unended_answers,
)
from multiprompt.health.finding import Finding, Rule, key_of, percent
from multiprompt.health.logs import (
    example_shares,
    flat_loss,
    gradient_shares,
    loss_shares,
    running_findings,
)

__all__ = [
    "BLEU_WORDS",
    "INVALID_LIMIT",
    "Answers",
    "Finding",
    "Rule",
    "constant_predictions",
    "example_shares",
    "flat_loss",
    "gradient_shares",
    "invalid_answers",
    "key_of",
    "loss_shares",
    "no_better_than_constant",
    "percent",
    "running_findings",
    "short_answers",
    "shown",
    "unended_answers",
]
