"""The report as Markdown: the tables and notes of the page, for a pull request or a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from multiprompt.reports.html import flatten, how_to_read, lead
from multiprompt.reports.learning_section import TITLE, by_advice, checked, noticed, several_tasks, share_table
from multiprompt.reports.opening import comparison_table, opening
from multiprompt.reports.run_contents import Run, notes_of
from multiprompt.reports.score_tables import escape_markdown, headline_tables, score_table, seed_table, to_markdown
from multiprompt.text import lines_of, printable


def render_markdown(runs: Sequence[Run]) -> str:
    """The whole file."""
    scores = {run.label: run.scores for run in runs}
    title = ", ".join(run.label for run in runs)
    told = opening(runs)
    sentences = (*told.results, *told.models, *told.covers)
    parts = [f"# {escape_markdown(title)}", *map(escape_markdown, sentences)]
    if told.words:
        parts.append(_list(f"{word}: {meaning}" for word, meaning in told.words))
    parts.append(escape_markdown(" · ".join(lead(runs))))
    missing = [f"{run.label}: {line}" if len(runs) > 1 else line for run in runs for line in run.missing]
    if missing:
        parts.append("**Not finished.** Missing:")
        parts.append(_list(missing))
    if any(scores.values()):
        parts.append("## Scores")
        parts += [to_markdown(table).rstrip() for table in headline_tables(scores)]
        if compared := comparison_table(runs):
            parts.append(to_markdown(compared).rstrip())
        parts += [how_to_read(runs), "## Every score", to_markdown(score_table(scores)).rstrip()]
        parts.append(to_markdown(seed_table(scores)).rstrip())
    parts += _learning(runs)
    notes = notes_of(runs)
    if notes:
        parts += ["## Notes", _list(notes)]
    parts.append("## How it was made")
    for run in runs:
        parts.append(f"Resolved configuration of {escape_markdown(run.label)}:")
        # Indented rather than fenced: no text inside can end the block.
        parts.append("\n".join(f"    {line}".rstrip() for line in lines_of(run.configuration)))
        if run.environment:
            parts += ["Environment:", _list(f"{name}: {value}" for name, value in flatten(run.environment))]
    return printable("\n\n".join(parts)) + "\n"


def _learning(runs: Sequence[Run]) -> list[str]:
    """What the rules say, and the shares of the tasks."""
    rules = checked(runs)
    if not rules:
        return []
    found = noticed(runs)
    quiet = ", ".join(rule for rule in rules if rule not in found)
    parts = [f"## {TITLE}"]
    if not found:
        parts.append(f"Nothing noticed. Checked: {quiet}.")
    for rule, entries in found.items():
        parts.append(f"### {rule}")
        for advice, lines in by_advice(entries).items():
            parts += [escape_markdown(advice), _list(lines)]
    if found and quiet:
        parts.append(f"Checked, and nothing noticed: {quiet}.")
    tables = [share_table(name, stages) for name, stages in several_tasks(runs)]
    return parts + [to_markdown(table).rstrip() for table in tables if table]


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {escape_markdown(line)}" for line in lines)
