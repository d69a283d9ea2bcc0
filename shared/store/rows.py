"""The guard of every transition: how many rows an UPDATE or DELETE touched."""

from typing import Any, cast

from sqlalchemy import CursorResult, Delete, Update
from sqlalchemy.orm import Session


def changed_rows(session: Session, statement: Update | Delete) -> int:
    """Execute, and return the number of rows that matched."""
    options = {"synchronize_session": False}
    return cast(CursorResult[Any], session.execute(statement, execution_options=options)).rowcount
