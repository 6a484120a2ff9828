"""What a task's training rows alone give, without a model: the floor that a score is seen against."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from multiprompt.examples import TextExample
from multiprompt.metrics import constant_answer
from multiprompt.tasks import Task


@dataclass(frozen=True)
class Baselines:
    """Answers that need no model, chosen on all training rows of a task, whatever is drawn from them.

    Attributes:
        constant: the answer that is given every time.
        rule: what the outcomes of the task's ``shortcut`` mean; None for a task without one.
    """

    constant: str
    rule: Mapping[Hashable, str] | None = None

    @staticmethod
    def of(task: Task, train: Sequence[TextExample]) -> Baselines:
        """Choose them: the constant answer that is best under the reported metric, and the most frequent label of
        every outcome of the rule.

        Args:
            task: gives labels, the reported metric, and the rule.
            train: all training examples.
        """
        targets = [example.target for example in train]
        constant = constant_answer(task.metric(task.reported), targets, task.labels, groups_of(train))
        if task.shortcut is None:
            return Baselines(constant)
        counts: dict[Hashable, Counter[str]] = defaultdict(Counter)
        for example in train:
            counts[task.shortcut(example.source)][example.target] += 1
        # of equally frequent labels the first in the order of characters
        rule = {outcome: min(own, key=lambda label: (-own[label], label)) for outcome, own in counts.items()}
        return Baselines(constant, rule)

    def constant_answers(self, examples: Sequence[TextExample]) -> list[str]:
        """The constant answer to each of the examples."""
        return [self.constant] * len(examples)

    def rule_answers(self, task: Task, examples: Sequence[TextExample]) -> list[str] | None:
        """What the rule answers, the constant answer to outcomes that no training row has; None without a rule."""
        if self.rule is None or task.shortcut is None:
            return None
        return [self.rule.get(task.shortcut(example.source), self.constant) for example in examples]


def groups_of(examples: Sequence[TextExample]) -> list[str] | None:
    """The group of every example; ``None`` when any has none."""
    groups = [example.group for example in examples if example.group is not None]
    return groups if len(groups) == len(examples) else None
