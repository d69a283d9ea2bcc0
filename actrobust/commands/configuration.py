"""The settings of a command: its options, else the environment, else `.env`, else the defaults."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from actrobust.commands.output import CommandError

if TYPE_CHECKING:
    from shared.settings import Settings


def load_settings(**options: Any) -> "Settings":
    """Settings in which every option that is not None wins over the environment.

    Raises: CommandError: a variable has a value that is not allowed.
    """
    from pydantic import ValidationError

    from shared.settings import Settings

    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        faults = [f"ACTROBUST_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
        raise CommandError("settings that cannot be used: " + "; ".join(faults)) from None


def require_database(settings: "Settings") -> None:
    """Make sure that the database answers.

    Raises: CommandError, ServiceUnavailableError: it does not.
    """
    from shared.store.db import Database

    with _readable_url_errors(settings):
        Database(settings.effective_database_url).ping()


def upgrade_database(settings: "Settings") -> None:
    """Bring the database's tables up to date.

    Raises: CommandError, ServiceUnavailableError: it does not answer.
    """
    from shared.store.db import upgrade

    with _readable_url_errors(settings):
        upgrade(settings.effective_database_url)


@contextlib.contextmanager
def _readable_url_errors(settings: "Settings") -> Iterator[None]:
    from sqlalchemy.exc import ArgumentError

    try:
        _refuse_stray_at(settings.effective_database_url)
        yield
    except ArgumentError:
        # The URL itself stays out of the message: it may hold a password.
        raise CommandError(
            "ACTROBUST_DATABASE_URL names no database that can be used; "
            "it looks like postgresql://user:password@host/name or sqlite:////path/to/file.db, "
            "with what is special in a password percent-encoded"
        ) from None


def _refuse_stray_at(url: str) -> None:
    """What follows the first @ of a password would be taken for the host, and be told as such."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    if "@" in (make_url(url).host or ""):
        raise ArgumentError
