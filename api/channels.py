"""What is new in one experiment, read by one task for all who listen."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from api.event_batches import Batch
from shared.errors import NotFoundError
from shared.store.event_log import Position

log = structlog.get_logger(__name__)

BETWEEN_READS_S = 0.5
AFTER_A_FAILURE_S = 2.0
# Whoever falls further behind reads from the database until it has caught up.
MOST_KEPT_BYTES = 2 * 2**20
# Behind everything: a listener who has read more than this task yet also gets the last batch.
END = Position(2**63, 0)

Read = Callable[[Position], Awaitable[Batch]]


class Channel:
    """The newest events of an experiment; a task looks for more as long as somebody waits for them.

    Args:
        read: what follows a position, from the database.
    """

    def __init__(self, read: Read) -> None:
        self.num_listeners = 0
        self._read = read
        self._reading: dict[Position, asyncio.Task[Batch]] = {}
        self._kept: deque[Batch] = deque()
        self._end: Position | None = None
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether the experiment has ended, as far as this channel knows."""
        return self._end == END

    def kept(self, position: Position) -> Batch | None:
        """What follows a position, if it is still here."""
        return next((batch for batch in reversed(self._kept) if batch.start <= position < batch.end), None)

    def reaches(self, position: Position) -> bool:
        """Whether everything that follows a position will come through here."""
        if self._end is None:
            return True  # it will begin there
        return position >= (self._kept[0].start if self._kept else self._end)

    async def read(self, position: Position) -> Batch:
        """What follows a position, from the database; those who ask for the same meanwhile share the answer."""
        task = self._reading.get(position)
        if task is None:
            task = self._reading[position] = asyncio.create_task(self._read_once(position))
        return await asyncio.shield(task)

    async def _read_once(self, position: Position) -> Batch:
        try:
            return await self._read(position)
        finally:
            del self._reading[position]

    async def news(self, position: Position) -> None:
        """Wait for something new; who waits first says from where on it is looked for."""
        if self._task is None:
            self._end = position
            self._task = asyncio.create_task(self._follow(position))
        await self._news.wait()

    def close(self) -> None:
        """Look for nothing more, and wake everybody who waits."""
        if self._task is not None:
            self._task.cancel()
        self._wake()

    async def _follow(self, position: Position) -> None:
        while not self.is_over:
            await asyncio.sleep(BETWEEN_READS_S)
            try:
                position = await self._publish_what_follows(position)
            except NotFoundError:
                self._publish(Batch(position, position, (), b"", is_last=True))
            except Exception as error:  # noqa: BLE001 (whatever it is, the next read may get through)
                log.warning("events not read", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(AFTER_A_FAILURE_S)

    async def _publish_what_follows(self, position: Position) -> Position:
        while True:
            batch = await self.read(position)
            self._publish(batch)
            position = batch.end
            if not batch.more:
                return position

    def _publish(self, batch: Batch) -> None:
        """Hand a batch to all listeners, also an empty one: each begins where the one before it ends."""
        assert self._end is not None
        if batch.end <= self._end and not batch.is_last:
            return
        self._end = END if batch.is_last else batch.end
        self._kept.append(Batch(batch.start, self._end, batch.messages, batch.body, is_last=batch.is_last))
        while len(self._kept) > 1 and sum(len(each.body) for each in self._kept) > MOST_KEPT_BYTES:
            self._kept.popleft()
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
