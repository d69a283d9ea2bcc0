"""Counts in memory what goes to the database now and then: a row that every epoch touches would hold up all."""

import threading


class Tally:
    """A number that one thread raises and another takes away."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def add(self, amount: int) -> None:
        """Count some more."""
        with self._lock:
            self._count += amount

    def take(self) -> int:
        """What was counted since the last time."""
        with self._lock:
            taken, self._count = self._count, 0
        return taken
