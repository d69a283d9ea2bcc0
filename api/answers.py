"""Answers that took long to make, kept until they are pushed out; a changed state has another tag."""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from shared.errors import TooManyRequestsError

MOST_BYTES = 64 * 2**20
MOST_WAITING = 4
RETRY_S = 5


class AnswerCache:
    """Bodies by entity tag, the least recently used out first."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._making = Lock()
        self._waiting: Counter[str] = Counter()
        self._most_bytes = most_bytes
        self._num_bytes = 0
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._lock = Lock()

    @contextmanager
    def turn(self, owner: str) -> Iterator[None]:
        """Make an answer while nobody else makes one.

        Making one needs a few hundred megabytes and a core or two for seconds: several at once would not be ready
        earlier. Whoever waits keeps a thread that others need, so that an owner may wait a few times only.

        Raises: TooManyRequestsError: the owner waits for as many answers as it may.
        """
        with self._lock:
            if self._waiting[owner] >= MOST_WAITING:
                detail = f"{MOST_WAITING} of your comparisons are being made; ask again when they are there"
                raise TooManyRequestsError(detail, retry_after_s=RETRY_S)
            self._waiting[owner] += 1
        try:
            with self._making:
                yield
        finally:
            with self._lock:
                self._waiting[owner] -= 1
                self._waiting += Counter()  # forgets who waits no more

    def get(self, tag: str) -> bytes | None:
        """The body that has this tag, if it is still here."""
        with self._lock:
            body = self._bodies.get(tag)
            if body is not None:
                self._bodies.move_to_end(tag)
            return body

    def put(self, tag: str, body: bytes) -> None:
        """Keep a body; one larger than the whole cache is not kept."""
        with self._lock:
            if tag in self._bodies or len(body) > self._most_bytes:
                return
            self._bodies[tag] = body
            self._num_bytes += len(body)
            while self._num_bytes > self._most_bytes:
                _, oldest = self._bodies.popitem(last=False)
                self._num_bytes -= len(oldest)
