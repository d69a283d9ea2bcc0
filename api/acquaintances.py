"""Whom the process let in a moment ago."""

import hashlib
import time
from threading import Lock

REMEMBERED_S = 1.0


class Acquaintances:
    """Who was let in during the last second, so that not every request has to ask the database.

    A key that is revoked, or the first one that is made, takes effect within that second.
    """

    def __init__(self) -> None:
        self._owners: dict[str, tuple[str, float]] = {}
        self._lock = Lock()

    def owner_of(self, key: str | None) -> str | None:
        """Whom a request with this key, or without one, was let in for; None if it has to be found out."""
        owner, until_s = self._owners.get(_hash(key), (None, 0.0))
        return owner if time.monotonic() < until_s else None

    def remember(self, key: str | None, owner: str) -> None:
        """Let the key in without asking for a moment. Those that are refused are not kept: they may be anything."""
        now_s = time.monotonic()
        with self._lock:
            self._owners = {name: known for name, known in self._owners.items() if now_s < known[1]}
            self._owners[_hash(key)] = (owner, now_s + REMEMBERED_S)


def _hash(key: str | None) -> str:
    # Keys themselves do not stay in memory.
    return "" if key is None else hashlib.sha256(key.encode(errors="replace")).hexdigest()
