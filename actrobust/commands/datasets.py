"""`actrobust datasets`: data sets that lie on disk."""

from typing import Annotated

import typer

from actrobust.commands.configuration import load_settings
from actrobust.commands.output import CommandError, say
from actrobust.commands.service import DataDirOption

datasets = typer.Typer(name="datasets", help="Data sets that lie on disk.", no_args_is_help=True)


@datasets.callback()
def group() -> None:
    """Data sets that lie on disk."""


@datasets.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="mnist|fashion-mnist", help="Data set to download.")],
    *,
    data_dir: DataDirOption = None,
) -> None:
    """Download a data set to ACTROBUST_DATASETS_DIR, or to 'datasets' in the data directory.

    Example:

        actrobust datasets fetch mnist
    """
    from shared.catalog.datasets import fetch as fetch_dataset

    settings = load_settings(data_dir=data_dir)
    folder = settings.effective_datasets_dir
    say(f"fetching {name} to {folder}")
    try:
        fetch_dataset(name, folder)
    except (OSError, RuntimeError) as error:
        raise CommandError(
            f"{name} could not be fetched ({error}); check the network, or put torchvision's files into {folder}"
        ) from None
    say(f"{name} is there")
