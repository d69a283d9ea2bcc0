"""What commands write: results to stdout, everything else to stderr."""

import sys
from typing import IO

from rich.console import Console

TABLE_WIDTH = 100


class CommandError(Exception):
    """One sentence for the person at the terminal, with a way out."""


def say(text: str) -> None:
    """Write a line that is not part of the result."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def write(text: str) -> None:
    """Write a line of the result."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table_console(file: IO[str] | None = None) -> Console:
    """A console whose tables are at most 100 columns wide, and exactly so where the output is no terminal."""
    console = Console(file=file, highlight=False)
    console.width = min(console.width, TABLE_WIDTH) if console.is_terminal else TABLE_WIDTH
    return console
