"""Which revision of the tables the database has, and which one this code wants."""

from functools import cache
from pathlib import Path

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.orm import Session

import migrations
from shared.errors import OutdatedSchemaError


def alembic_config() -> Config:
    """Alembic's configuration, which is no more than where the migrations lie."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    return config


@cache
def revisions() -> tuple[str, ...]:
    """All revisions that this code knows, the oldest first."""
    scripts = ScriptDirectory.from_config(alembic_config()).walk_revisions()
    return tuple(script.revision for script in scripts)[::-1]


def present_revision(session: Session) -> str | None:
    """The revision of the database's tables; None where there are none."""
    return MigrationContext.configure(session.connection()).get_current_revision()


def require_schema(session: Session) -> str | None:
    """Make sure that the tables are those that this code was written for, or later ones.

    Later ones are no reason to stop: while a service is upgraded the tables come first, the processes after them.

    Returns: the present revision if it is later than all that this code knows, else None.
    Raises: OutdatedSchemaError: a migration is missing.
    """
    present, wanted = present_revision(session), revisions()[-1]
    if present == wanted:
        return None
    if present is None or present in revisions():
        has = "no tables" if present is None else f"the tables of revision {present}"
        raise OutdatedSchemaError(f"the database has {has}, this code wants {wanted}; run 'actrobust db upgrade'")
    return present
