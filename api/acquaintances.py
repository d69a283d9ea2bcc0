"""Whom the process let in a moment ago."""

import hashlib
from dataclasses import dataclass
from threading import Lock
from time import monotonic

REMEMBERED_S = 1.0
# Of a busy key's requests one asks early: at the end of the time all that are under way would, and at once.
ASK_EARLY_S = 0.5


@dataclass
class _Known:
    """Whom a key lets in, until when, and from when on a request is to ask again; clock: `time.monotonic`."""

    owner: str
    ask_at_s: float
    until_s: float


class Acquaintances:
    """Who was let in during the last second, so that not every request has to ask the database.

    A key that is revoked, or the first one that is made, takes effect within that second.
    """

    def __init__(self) -> None:
        self._owners: dict[str, _Known] = {}
        self._lock = Lock()

    def owner_of(self, key: str | None) -> str | None:
        """Whom a request with this key, or without one, was let in for; None if it has to be found out."""
        now_s = monotonic()
        with self._lock:
            known = self._owners.get(_hash(key))
            if known is None or now_s >= known.until_s:
                return None
            if now_s < known.ask_at_s:
                return known.owner
            known.ask_at_s = known.until_s  # this one asks; the others go on meanwhile
            return None

    def remember(self, key: str | None, owner: str) -> None:
        """Let the key in without asking for a moment. Those that are refused are not kept: they may be anything."""
        now_s = monotonic()
        with self._lock:
            self._owners = {name: known for name, known in self._owners.items() if now_s < known.until_s}
            self._owners[_hash(key)] = _Known(owner, now_s + REMEMBERED_S - ASK_EARLY_S, now_s + REMEMBERED_S)


def _hash(key: str | None) -> str:
    # Keys themselves do not stay in memory.
    return "" if key is None else hashlib.sha256(key.encode(errors="replace")).hexdigest()
