"""Findings while a training runs: into the log, and to a person, once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from multiprompt.health import Finding, Rule, key_of, running_findings
from multiprompt.training.log import JsonLog, Record


class Watch:
    """Looks at every line of a log.

    A training that goes on from an earlier step writes the findings after that step again, when it comes to them,
    but does not tell them again.

    Args:
        log: where findings are written.
        steps: of the whole training.
        kept: what the log holds already.
        dropped: what was cut from its end.
        prompt: whether a prompt is trained, for which there is other advice.
    """

    def __init__(
        self,
        log: JsonLog,
        steps: int,
        kept: Sequence[Record] = (),
        dropped: Sequence[Record] = (),
        prompt: bool = True,
    ) -> None:
        self.log, self.steps, self.prompt = log, steps, prompt
        self.records = [record for record in kept if "loss" in record]
        self._written = {key_of(record) for record in kept} - {None}
        self._told = self._written | {key_of(record) for record in dropped}

    def look(self, record: Record) -> list[Finding]:
        """Note a line, and say what was not told before."""
        self.records.append(record)
        known = [rule for rule in Rule if ("", rule) in self._written]
        return self.note(record["step"], running_findings(self.records, self.steps, known, self.prompt))

    def note(self, step: int, findings: Iterable[Finding]) -> list[Finding]:
        """Write findings that the log does not hold; returns those that were not told before."""
        new = []
        for finding in findings:
            if finding.key not in self._written:
                self._written.add(finding.key)
                self.log.write(finding.record(step))
                if finding.key not in self._told:
                    self._told.add(finding.key)
                    new.append(finding)
        return new
