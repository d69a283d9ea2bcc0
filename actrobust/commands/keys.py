"""`actrobust keys`: who may use the service."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from actrobust.commands.configuration import load_settings, upgrade_database
from actrobust.commands.output import CommandError, say, table_console, write
from actrobust.commands.service import DataDirOption

if TYPE_CHECKING:
    from pathlib import Path

    from shared.store.db import Database
    from shared.store.tables import ApiKey

LONGEST_NAME = 100
UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}

keys = typer.Typer(name="keys", help="API keys: who may use the service.", no_args_is_help=True)


@keys.callback()
def group() -> None:
    """API keys: who may use the service.

    From the first key on, the service answers nobody without one, and whoever
    has a key sees the experiments of its name only. The commands work on the
    database itself: ACTROBUST_DATABASE_URL, or the one in the data directory.
    """


@keys.command()
def create(
    *,
    name: Annotated[str, typer.Option(help="Who it is for; keys of one name share their experiments.")],
    expires: Annotated[
        str, typer.Option(help="How long it is good, as 12h, 90d, 4w; or a date, as 2027-01-31; or never.")
    ] = "365d",
    data_dir: DataDirOption = None,
) -> None:
    """Make a key and print it. It is shown this once: only its hash is kept.

    What was posted before there were keys belongs to the name 'local'.

    Examples:

        actrobust keys create --name alice --expires 90d

        export ACTROBUST_API_KEY=$(actrobust keys create --name alice)
    """
    from shared.store.keys import create_key

    expires_at, checked = moment_of(expires), checked_name(name)
    database = _open(data_dir)
    with database.write() as session:
        made = create_key(session, checked, expires_at=expires_at)
    until = f"until {_shown(expires_at)}" if expires_at else "for ever"
    say(f"a key for {checked}, good {until}; it is shown this once, and called {made.row.prefix} from now on")
    write(made.text)


@keys.command("list")
def list_all(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    data_dir: DataDirOption = None,
) -> None:
    """Show all keys ever made, without their secrets.

    Example:

        actrobust keys list
    """
    from shared.store.keys import list_keys

    with _open(data_dir).read() as session:
        rows = [_row(key) for key in list_keys(session)]
    if as_json:
        write(json.dumps({"items": rows}, indent=2))
        return
    table = Table(box=None)
    for column in ("key", "name", "state", "created", "expires"):
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*(row[column] or "never" for column in ("key", "name", "state", "created_at", "expires_at")))
    table_console().print(table)


@keys.command()
def revoke(
    key: Annotated[str, typer.Argument(help="How the key begins, as 'keys list' shows it.")],
    *,
    data_dir: DataDirOption = None,
) -> None:
    """Make a key worthless at once. The experiments of its name stay.

    Example:

        actrobust keys revoke actrobust_0f3a9c21be
    """
    from shared.store.keys import revoke_key, shown_part

    with _open(data_dir).write() as session:
        row = revoke_key(session, shown_part(key))
        say(f"{row.prefix} of {row.name} lets nobody in any more")


def _open(data_dir: "Path | None") -> "Database":
    from shared.store.db import Database

    settings = load_settings(data_dir=data_dir)
    # A service that listens beyond this machine wants a key before its first start.
    upgrade_database(settings)
    return Database(settings.effective_database_url)


def checked_name(name: str) -> str:
    """A name as it is kept."""
    cleaned = name.strip()
    if not cleaned or len(cleaned) > LONGEST_NAME or not cleaned.isprintable():
        raise CommandError(f"--name is 1 to {LONGEST_NAME} printable characters")
    return cleaned


def moment_of(text: str) -> datetime | None:
    """When a key ends: a duration from now, a date, or never (None)."""
    if text == "never":
        return None
    duration = re.fullmatch(r"(\d{1,5})([hdw])", text)
    if duration:
        return datetime.now(UTC) + int(duration[1]) * UNITS[duration[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(
            f"--expires is a duration as 12h, 90d, 4w, a date as 2027-01-31, or never; not '{text}'"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _row(key: "ApiKey") -> dict[str, str | None]:
    from shared.store.keys import state_of

    return {
        "key": key.prefix, "name": key.name, "state": state_of(key), "created_at": _shown(key.created_at),
        "expires_at": _shown(key.expires_at) if key.expires_at else None,
    }  # fmt: skip


def _shown(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
