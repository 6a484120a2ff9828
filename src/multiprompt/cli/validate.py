"""``multiprompt validate``: check a configuration without running it."""

from __future__ import annotations

import typer

from multiprompt.cli.configuration import ConfigArgument, OverridesArgument, load_checked
from multiprompt.cli.failures import reports_failures
from multiprompt.cli.output import echo


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(short_help="Check a configuration.")(validate)


@reports_failures()
def validate(config: ConfigArgument, overrides: OverridesArgument = None) -> None:
    """Check a configuration and print it with every default written out, or list all its problems.

    \b
    Example:
        multiprompt validate quickstart
        multiprompt validate my-experiment.yaml prompt.length=20
    """
    from multiprompt.config import to_yaml

    experiment = load_checked(config, overrides)
    echo(to_yaml(experiment), nl=False)
    echo("ok", err=True)
