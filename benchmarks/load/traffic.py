"""Requests at a fixed rate, whether the service keeps up or not: a client so light that it may share the cores.

The schedule is open: each request has its moment, and its latency counts from there. A service that falls behind shows
it as latency instead of slowing its clients down.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

TIMEOUT_S = 60.0
# Beyond this the service is taken for stuck; requests that find no connection count as errors.
MOST_CONNECTIONS = 500
FIRST_FAILURE = 400


@dataclass(frozen=True)
class Request:
    """What to send."""

    method: str
    path: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def bytes_for(self, host: str) -> bytes:
        """The request as HTTP/1.1 wants it."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass
class Outcome:
    """What came of a phase: latencies of what was answered, errors by how often, bodies of POSTs."""

    latencies_ms: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    bodies: list[bytes] = field(default_factory=list)

    def quantile_ms(self, percent: float) -> float:
        """A percentile of the latencies; NaN without any."""
        return float(np.percentile(self.latencies_ms, percent)) if self.latencies_ms else float("nan")


class Traffic:
    """Connections to one service that are kept and used again."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        self._host, self._port = address.hostname, address.port or 80
        # The one that has been idle longest goes first: many callers, not one who keeps a few connections busy.
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self._num_open = 0
        self.outcome = Outcome()

    async def send_at(self, rate: float, duration_s: float, make: Callable[[int], Request]) -> Outcome:
        """Send `rate` requests a second; returns when the last one was answered."""
        begin = time.perf_counter()
        tasks = []
        for number in range(round(rate * duration_s)):
            due = begin + number / rate
            delay_s = due - time.perf_counter()
            if delay_s > 0:
                await asyncio.sleep(delay_s)
            tasks.append(asyncio.create_task(self._one(make(number), due)))
        await asyncio.gather(*tasks)
        for _, writer in self._idle:
            writer.close()
        return self.outcome

    async def _one(self, request: Request, due: float) -> None:
        try:
            status, body = await asyncio.wait_for(self._exchange(request), TIMEOUT_S)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            self.outcome.errors[f"{request.method}: {type(error).__name__} {error}"] += 1
            return
        self.outcome.latencies_ms.append(1000 * (time.perf_counter() - due))
        if status >= FIRST_FAILURE:
            self.outcome.errors[f"{request.method}: {status} {body[:200].decode(errors='replace')}"] += 1
        elif request.method == "POST":
            self.outcome.bodies.append(body)

    async def _exchange(self, request: Request) -> tuple[int, bytes]:
        reader, writer = await self._connection()
        try:
            writer.write(request.bytes_for(f"{self._host}:{self._port}"))
            status, body = await _answer(reader)
        except BaseException:
            self._num_open -= 1
            writer.close()
            raise
        self._idle.append((reader, writer))
        return status, body

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.popleft()
            if not reader.at_eof():
                return reader, writer
            self._num_open -= 1
            writer.close()
        if self._num_open >= MOST_CONNECTIONS:
            raise OSError(f"{MOST_CONNECTIONS} requests are unanswered")
        self._num_open += 1
        return await asyncio.open_connection(self._host, self._port)


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    length = int(rest.partition(b"\r\n")[0]) if found else 0
    return status, await reader.readexactly(length)
