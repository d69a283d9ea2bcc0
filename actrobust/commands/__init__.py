"""The `actrobust` command line. Nothing heavy is imported before a command needs it."""

import sys

import typer

from actrobust.client import ClientError
from actrobust.commands.catalog import catalog
from actrobust.commands.datasets import datasets
from actrobust.commands.experiments import cancel, list_experiments, resume, run, watch
from actrobust.commands.keys import keys
from actrobust.commands.output import CommandError, say
from actrobust.commands.robustness import robustness
from actrobust.commands.serve import serve
from actrobust.commands.server import api, database, reconciler, worker
from shared.errors import ActrobustError

app = typer.Typer(
    name="actrobust",
    help="Which activation function survives dirty training data?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

EXPERIMENTS, SERVICE, PARTS = "Experiments", "Service", "Parts of a deployed service"
app.command(rich_help_panel=EXPERIMENTS)(run)
app.command(rich_help_panel=EXPERIMENTS)(watch)
app.command(rich_help_panel=EXPERIMENTS)(robustness)
app.command("list", rich_help_panel=EXPERIMENTS)(list_experiments)
app.command(rich_help_panel=EXPERIMENTS)(cancel)
app.command(rich_help_panel=EXPERIMENTS)(resume)
app.command(rich_help_panel=SERVICE)(serve)
app.command(rich_help_panel=SERVICE)(catalog)
app.add_typer(keys, rich_help_panel=SERVICE)
app.add_typer(datasets, rich_help_panel=SERVICE)
app.command(rich_help_panel=PARTS)(api)
app.command(rich_help_panel=PARTS)(worker)
app.command(rich_help_panel=PARTS)(reconciler)
app.add_typer(database, rich_help_panel=PARTS)


def main() -> None:
    """Run a command; an error that a user can mend is one sentence on stderr and exit code 1."""
    try:
        app(prog_name="actrobust")
    except (ActrobustError, ClientError, CommandError, OSError) as error:
        say(f"error: {error}")
        sys.exit(1)
