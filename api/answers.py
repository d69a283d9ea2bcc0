"""Answers that took long to make, kept until they are pushed out; a changed state has another tag."""

from collections import OrderedDict
from threading import Lock

MOST_BYTES = 64 * 2**20


class AnswerCache:
    """Bodies by entity tag, the least recently used out first. `making` lets one answer be made at a time.

    Making one needs a few hundred megabytes and a core or two for seconds: several at once would not be ready earlier.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.making = Lock()
        self._most_bytes = most_bytes
        self._num_bytes = 0
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._lock = Lock()

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
