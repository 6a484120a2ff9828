"""``multiprompt validate``: check a configuration without running it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from multiprompt.cli.configuration import ConfigArgument, OverridesArgument, load_checked
from multiprompt.cli.failures import reports_failures
from multiprompt.cli.output import echo

if TYPE_CHECKING:
    from multiprompt.options import Experiment


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(short_help="Check a configuration.")(validate)


@reports_failures()
def validate(config: ConfigArgument, overrides: OverridesArgument = None) -> None:
    """Check a configuration. Print it with every default written out, or list all its problems.

    Files of rows on this machine are read too. Notes say what in them could spoil a training.

    \b
    Example:
        multiprompt validate quickstart
        multiprompt validate my-experiment.yaml prompt.length=20
    """
    from multiprompt.cli.output import print_note
    from multiprompt.config import to_yaml
    from multiprompt.runs.setup_notes import notes_on_setup

    experiment = load_checked(config, overrides)
    echo(to_yaml(experiment), nl=False)
    for note in (*notes_on_setup(experiment), *_notes_on_rows(experiment)):
        print_note(note)
    echo("ok", err=True)


def _notes_on_rows(experiment: Experiment) -> Iterator[str]:
    """What there is to say about rows that are files on this machine; rows of the hub are left to `plan` and `run`."""
    from multiprompt.errors import BackboneError
    from multiprompt.tasks import TASKS

    own, data, backbone = experiment.tasks, experiment.data, experiment.backbone
    stages = (experiment.source, experiment.targets)
    names = dict.fromkeys(task for stage in stages if stage is not None for task in stage.tasks)
    here = [n for n in names if (own[n].files if n in own else data.location and TASKS[n].generator is None)]
    if not here:
        return
    from multiprompt.backbone.loading import load_coder  # loads torch, as all below does
    from multiprompt.data import look_at_texts
    from multiprompt.recipes.prepare import prepare_task, read_task

    try:
        coder = load_coder(backbone.name, revision=backbone.revision)
    except BackboneError as error:
        yield f"rows are looked at as texts only, not as tokens: {error}"
        for name in here:
            rows = read_task(name, data, own)
            yield from (*rows.notes, *look_at_texts(rows))
        return
    for name in here:
        yield from prepare_task(name, coder, data, own).notes()
