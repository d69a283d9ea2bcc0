"""Alembic's entry point: one transaction for all steps, one process at a time."""

from typing import Any, Literal

from alembic import context
from sqlalchemy import text

from shared.settings import Settings
from shared.store.db import Database
from shared.store.tables import Base

LOCK = 0x6163_7472  # any number that no other program takes as its advisory lock on this database


def _render_item(kind: str, item: Any, autogen_context: Any) -> str | Literal[False]:
    """Write our own column types into a new migration as they are imported there."""
    if kind == "type" and type(item).__module__ == "shared.store.types":
        autogen_context.imports.add("from shared.store.types import Id, Timestamp")
        return f"{type(item).__name__}()"
    return False


def _run() -> None:
    url = context.config.attributes.get("database_url") or Settings().effective_database_url
    database = Database(url)
    with database.write() as session:
        connection = session.connection()
        if connection.dialect.name == "postgresql":
            # A large table takes longer to change than any request may take, and the lock longer to come.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_item=_render_item,
            render_as_batch=connection.dialect.name == "sqlite",
            transactional_ddl=False,  # the session's transaction holds everything already
        )
        context.run_migrations()
    database.close()


_run()
