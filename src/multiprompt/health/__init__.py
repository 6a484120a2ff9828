"""Is it learning? Rules about logs and answers, each with its threshold and an advice. No torch.

See docs/is-it-learning.md.
"""

from multiprompt.health.answers import (
    INVALID_LIMIT,
    Answers,
    constant_predictions,
    invalid_answers,
    majority_collapse,
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
    "majority_collapse",
    "percent",
    "running_findings",
]
