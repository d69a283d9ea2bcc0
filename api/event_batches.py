"""Events as the bytes of a stream, each written once for all who listen."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi.sse import format_sse_event
from pydantic_core import to_json

from shared.store.event_log import BEGINNING, Piece, Position, Told


@dataclass(frozen=True)
class Batch:
    """What happened from `start` to `end`, ready to be sent; after the last one nothing follows."""

    start: Position
    end: Position
    messages: Sequence[tuple[Position, bytes]]
    body: bytes
    more: bool = False
    is_last: bool = False

    def after(self, position: Position) -> bytes:
        """What of it somebody lacks who has everything up to a position; the end is told to everybody."""
        if position <= self.start:
            return self.body
        lacking = [text for at, text in self.messages if at > position]
        if self.is_last and not lacking:
            lacking = [text for _, text in self.messages[-1:]]
        return b"".join(lacking)


def batch_of(piece: Piece) -> Batch:
    """The events of a piece as text."""
    messages = [(told.at, _message(told)) for told in piece.told]
    body = b"".join(text for _, text in messages)
    return Batch(piece.start, piece.end, messages, body, piece.more, piece.is_done)


def _message(told: Told) -> bytes:
    data = to_json(told.data).decode()
    return format_sse_event(event=told.kind, data_str=data, id=f"{told.at.row}-{told.at.part}")


def position_of(last_event_id: str | None) -> Position:
    """The position that an event's id stands for; without one the beginning."""
    if last_event_id is None:
        return BEGINNING
    row, _, part = last_event_id.partition("-")
    return Position(int(row), int(part))
