"""Reports of run folders: from their files alone, without a model and without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from multiprompt.errors import ConfigError
from multiprompt.files import write_text
from multiprompt.reports.html import render_html
from multiprompt.reports.markdown import render_markdown
from multiprompt.reports.opening import Opening, opening
from multiprompt.reports.run_contents import Run, Stage, read_run, read_runs
from multiprompt.reports.score_tables import (
    Cell,
    Table,
    headline_tables,
    score_table,
    seed_table,
    to_markdown,
    to_rich,
)

__all__ = [
    "Cell",
    "Opening",
    "Run",
    "Stage",
    "Table",
    "headline_tables",
    "opening",
    "read_run",
    "read_runs",
    "render_html",
    "render_markdown",
    "score_table",
    "seed_table",
    "to_markdown",
    "to_rich",
    "write_report",
]


def write_report(folders: Path | str | Sequence[Path | str], out: Path | str | None = None) -> Path:
    """Write the report of a run folder, or of several together, as a page and as Markdown beside it.

    Args:
        folders: one run folder or several, finished or not.
        out: the page; None for report.html in the run folder (in the working folder for several runs).

    Returns:
        The page.

    Raises:
        ConfigError: the page would not be an .html file, a folder is named twice, or there is none.
        CheckpointError: a folder holds no run, a file in it is damaged, or the report cannot be written.
    """
    chosen = [Path(folder) for folder in ([folders] if isinstance(folders, Path | str) else folders)]
    if not chosen:
        raise ConfigError("there is no run folder to report on; name at least one")
    out = (chosen[0] if len(chosen) == 1 else Path()) / "report.html" if out is None else Path(out)
    if out.suffix != ".html":
        raise ConfigError(f"the report is a page: expected a name that ends in .html, not {out}")
    if len({folder.resolve() for folder in chosen}) < len(chosen):
        raise ConfigError("a run folder is named twice; name each once")
    runs = read_runs(chosen)
    write_text(out, render_html(runs))
    write_text(out.with_suffix(".md"), render_markdown(runs))
    return out
