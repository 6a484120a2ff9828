"""The report as Markdown: the tables and notes of the page, for a pull request or a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from multiprompt.reports.html import flatten, how_to_read, lead
from multiprompt.reports.run import Run, notes_of
from multiprompt.reports.tables import escape_markdown, headline_tables, score_table, seed_table, to_markdown


def render_markdown(runs: Sequence[Run]) -> str:
    """The whole file."""
    scores = {run.label: run.scores for run in runs}
    title = ", ".join(run.label for run in runs)
    parts = [f"# {escape_markdown(title)}", escape_markdown(" · ".join(lead(runs)))]
    missing = [f"{run.label}: {line}" if len(runs) > 1 else line for run in runs for line in run.missing]
    if missing:
        parts.append("**Not finished.** Missing:")
        parts.append(_list(missing))
    if any(scores.values()):
        parts.append("## Scores")
        parts += [to_markdown(table).rstrip() for table in headline_tables(scores)]
        parts += [how_to_read(scores), "## Every score", to_markdown(score_table(scores)).rstrip()]
        parts.append(to_markdown(seed_table(scores)).rstrip())
    notes = notes_of(runs)
    if notes:
        parts += ["## Notes", _list(notes)]
    parts.append("## How it was made")
    for run in runs:
        parts.append(f"Resolved configuration of {escape_markdown(run.label)}:")
        # Indented rather than fenced: no text inside can end the block.
        parts.append("\n".join(f"    {line}".rstrip() for line in run.configuration.splitlines()))
        if run.environment:
            parts += ["Environment:", _list(f"{name}: {value}" for name, value in flatten(run.environment))]
    return "\n\n".join(parts) + "\n"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {escape_markdown(line)}" for line in lines)
