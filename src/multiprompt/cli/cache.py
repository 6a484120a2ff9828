"""``multiprompt cache``: the tokenised data on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from multiprompt.cli.arguments import TasksOption
from multiprompt.cli.failures import reports_failures
from multiprompt.cli.output import echo
from multiprompt.text import printable

if TYPE_CHECKING:
    from multiprompt.token_files import TokenFile

DAY = 86_400


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    verbs = typer.Typer(rich_markup_mode=None)
    verbs.callback(invoke_without_command=True)(cache)
    verbs.command(short_help="List the entries.")(show)
    verbs.command(short_help="Remove entries.")(clear)
    app.add_typer(verbs, name="cache", short_help="Show or clear the tokenised data on disk.")


def cache(context: typer.Context) -> None:
    """Show or clear the tokens of large tasks that are kept on disk.

    Without a verb, the entries are listed. Every entry can be made again from its data. The folder is the one that
    MULTIPROMPT_CACHE names, or ~/.cache/multiprompt.

    \b
    Example:
        multiprompt cache
        multiprompt cache clear --task mnli
        multiprompt cache clear --older-than 30 --yes
    """
    if context.invoked_subcommand is None:
        show()


@reports_failures()
def show() -> None:
    """List the entries and their sizes, the last used first.

    \b
    Example:
        multiprompt cache show
    """
    from multiprompt.cli.output import print_rows
    from multiprompt.token_files import list_token_files, token_folder

    folder = token_folder()
    files = list_token_files(folder)
    if files:
        heads = ("task", "split", "examples", "size", "made", "last used")
        print_rows(heads, map(_row, files), numbers=(2, 3), keys=2)
    echo(f"{_count(files)} in {folder}")


@reports_failures()
def clear(
    older_than: Annotated[
        int | None, typer.Option(metavar="DAYS", min=0, help="Only entries that were not used for this number of days.")
    ] = None,
    task: TasksOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
) -> None:
    """Remove entries: all, those of a task, or those not used for some days. Running programs are not disturbed.

    \b
    Example:
        multiprompt cache clear
        multiprompt cache clear --older-than 30 --yes
    """
    import time

    from multiprompt.errors import unknown_name
    from multiprompt.token_files import list_token_files, remove_leftovers, token_folder

    folder = token_folder()
    files = list_token_files(folder)
    if task:
        from multiprompt.config import task_name

        task = [task_name(name) for name in task]
        cached = {file.facts["task"] for file in files if file.facts}
        for name in task:
            if cached and name not in cached:
                raise unknown_name("cached task", name, cached)
        files = [file for file in files if file.facts.get("task") in task]
    if older_than is not None:
        files = [file for file in files if time.time() - file.used >= older_than * DAY]
    remove_leftovers(folder)
    if not files:
        echo(f"there is nothing to remove in {folder}")
        return
    if not yes:
        typer.confirm(printable(f"Remove {_count(files)} in {folder}?"), abort=True)
    for file in files:
        file.path.unlink(missing_ok=True)  # another process may have removed it meanwhile
    echo(f"removed {_count(files)} in {folder}")


def _row(file: TokenFile) -> tuple[str, ...]:
    if not file.facts:
        return "(unreadable)", "", "", _size(file.size), "", _ago(file.used)
    task, split, examples = (file.facts[fact] for fact in ("task", "split", "examples"))
    return task, split, f"{examples:,}", _size(file.size), _ago(file.made), _ago(file.used)


def _count(files: list[TokenFile]) -> str:
    return f"{len(files)} {'entry' if len(files) == 1 else 'entries'}, {_size(sum(file.size for file in files))}"


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _ago(moment: float) -> str:
    """How long ago: "now", "12 min ago", "3 h ago", "40 days ago"."""
    import time

    minutes = int((time.time() - moment) / 60)
    if minutes < 1:
        return "now"
    if minutes < 60:
        return f"{minutes} min ago"
    if minutes < 48 * 60:
        return f"{minutes // 60} h ago"
    return f"{minutes // (24 * 60)} days ago"
