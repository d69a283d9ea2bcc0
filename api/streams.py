"""Streams of events. Whoever waits for news holds neither a thread nor a connection to the database meanwhile."""

import asyncio
import signal
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from types import FrameType

import anyio
import anyio.to_thread
import structlog
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.channels import Channel, Read
from api.event_batches import Batch, batch_of
from shared.errors import NotFoundError, TooManyRequestsError
from shared.store.db import Database
from shared.store.event_log import Position, read_piece

log = structlog.get_logger(__name__)

HEARTBEAT_S = 15.0
HEARTBEAT = b": nothing new\n\n"
# Of one owner, in one process.
MOST_STREAMS = 500
RETRY_S = 30
# However many listeners have to catch up, requests find threads.
NUM_READERS = 3


class Streams:
    """All streams of this process; made and used in its event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._channels: dict[str, Channel] = {}
        self._num_open: Counter[str] = Counter()
        self._readers = anyio.CapacityLimiter(NUM_READERS)
        self._is_closed = False

    def close(self) -> None:
        """End all streams; their clients come again to whoever answers then, and go on where they were."""
        self._is_closed = True
        for channel in self._channels.values():
            channel.close()

    def require_place(self, owner: str) -> None:
        """Raises: TooManyRequestsError: the owner has as many streams as it may."""
        if self._num_open[owner] >= MOST_STREAMS:
            detail = f"{MOST_STREAMS} of your streams are open; close some before you open another"
            raise TooManyRequestsError(detail, retry_after_s=RETRY_S)

    @contextmanager
    def place(self, owner: str) -> Iterator[None]:
        """One of an owner's places, as long as a stream lasts."""
        self._num_open[owner] += 1
        try:
            yield
        finally:
            self._num_open[owner] -= 1
            self._num_open += Counter()  # forgets who listens no more

    async def listen(self, experiment_id: str, position: Position) -> AsyncGenerator[bytes]:
        """What follows a position, until the experiment has ended or the service does."""
        channel = self._channels.get(experiment_id)
        if channel is None or channel.is_over:
            channel = self._channels[experiment_id] = Channel(self._reader(experiment_id))
        channel.num_listeners += 1
        try:
            async for text in self._texts(channel, position):
                yield text
        except NotFoundError:
            return
        except Exception as error:  # noqa: BLE001 (the answer has begun: its client comes again and hears why)
            log.warning("stream broken off", error=f"{type(error).__name__}: {error}")
        finally:
            channel.num_listeners -= 1
            if channel.num_listeners == 0:
                channel.close()
                if self._channels.get(experiment_id) is channel:
                    del self._channels[experiment_id]

    async def _texts(self, channel: Channel, position: Position) -> AsyncGenerator[bytes]:
        must_read = True
        while not self._is_closed:
            batch = channel.kept(position)
            if batch is not None:
                text, must_read = batch.after(position), False
            elif must_read or not channel.reaches(position):
                batch = await channel.read(position)
                text, must_read = batch.body, batch.more
            else:
                text = await _wait(channel, position)
            if text:
                yield text
            if batch is not None:
                position = batch.end
                if batch.is_last:
                    return

    def _reader(self, experiment_id: str) -> Read:
        def read(position: Position) -> Batch:
            with self._database.read() as session:
                piece = read_piece(session, experiment_id, position)
            return batch_of(piece)

        async def read_in_thread(position: Position) -> Batch:
            return await anyio.to_thread.run_sync(partial(read, position), limiter=self._readers)

        return read_in_thread


async def _wait(channel: Channel, position: Position) -> bytes:
    try:
        async with asyncio.timeout(HEARTBEAT_S):
            await channel.news(position)
    except TimeoutError:
        return HEARTBEAT
    return b""


class EventStream(StreamingResponse):
    """The answer that holds a stream."""

    media_type = "text/event-stream"

    def __init__(self, streams: Streams, owner: str, experiment_id: str, position: Position) -> None:
        self._place = partial(streams.place, owner)
        self._texts = streams.listen(experiment_id, position)
        # Some proxies would keep what they are sent until there is more of it.
        super().__init__(self._texts, headers={"X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; the place is free again once the client has gone."""
        with self._place():
            async with aclosing(self._texts):
                await super().__call__(scope, receive, send)


@contextmanager
def ended_by_signals(streams: Streams) -> Iterator[None]:
    """Let streams end when the process is asked to.

    The server waits for all answers that it has begun before it tells the application; these would never end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # a test's server: no signal comes here
        return
    loop = asyncio.get_running_loop()

    def chained(number: signal.Signals) -> None:
        before = signal.getsignal(number)

        def handle(received: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(streams.close)
            if callable(before):
                before(received, frame)

        if callable(before):
            signal.signal(number, handle)

    for number in (signal.SIGTERM, signal.SIGINT):
        chained(number)
    yield
