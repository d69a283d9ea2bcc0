"""Small help for statements: how many rows they touched, and by which index they shall not look."""

from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Delete, Update
from sqlalchemy.orm import InstrumentedAttribute, Session


def changed_rows(session: Session, statement: Update | Delete) -> int:
    """Execute, and return the number of rows that matched: the guard of every transition."""
    options = {"synchronize_session": False}
    return cast(CursorResult[Any], session.execute(statement, execution_options=options)).rowcount


def unindexed(column: InstrumentedAttribute[str]) -> ColumnElement[str]:
    """The same text, compared after the rows were found by other means.

    Without statistics, which SQLite only has once somebody analyses the file, a state passes for as rare as an id: all
    jobs of that state would be looked through, however many, to find a few by their ids.
    """
    return column.concat("")
