"""What the API does beside answering: ringing for new jobs, and looking after the broker's health."""

import threading
import time

import structlog

from shared.settings import Settings
from shared.store.db import Database
from shared.store.doorbell import broker_answers, dispatch

log = structlog.get_logger(__name__)

GOODBYE_S = 2.0
BROKER_ANSWER_HOLDS_S = 2.0
PATIENCE_S = 1.0
# Between two rounds of ringing; what is posted meanwhile is rung for together.
BETWEEN_ROUNDS_S = 0.2


class Bell:
    """Sends messages for waiting jobs from a thread of its own, so that a slow broker holds up no request.

    Many rings during one round, and shortly after it, are one more round. A failure is logged and forgotten: the
    reconciler rings as well.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._wanted = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._rounds, name="doorbell", daemon=True)
        self._thread.start()

    def ring(self) -> None:
        """Have a round made soon; returns at once."""
        self._wanted.set()

    def close(self) -> None:
        """End the thread; one that waits for the broker is left behind after a moment."""
        self._closed.set()
        self._wanted.set()
        self._thread.join(GOODBYE_S)

    def _rounds(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._closed.is_set():
                return
            try:
                dispatch(self._database, self._settings)
            except Exception as error:  # noqa: BLE001 (whatever it is, the jobs stay pending and the thread alive)
                log.warning("could not ring for waiting jobs", error=str(error))
            self._closed.wait(BETWEEN_ROUNDS_S)


class BrokerWatch:
    """Whether the broker answers, asked at most every other second and never waited for longer than a moment."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._asking: threading.Thread | None = None
        self._holds_until_s = 0.0
        self._answers: bool | None = None

    def answers(self) -> bool:
        """Whether the broker took a connection a moment ago; one that hesitates does not."""
        with self._lock:
            if self._asking is None and time.monotonic() >= self._holds_until_s:
                self._asking = threading.Thread(target=self._ask, name="broker-watch", daemon=True)
                self._asking.start()
            asking, was_away = self._asking, self._answers is False
        # Nobody waits to hear of a broker that was away that it still is; its return is noticed by the next caller.
        if asking is not None and not was_away:
            asking.join(PATIENCE_S)
        with self._lock:
            return self._answers is True and self._asking is None

    def _ask(self) -> None:
        answers = broker_answers(self._settings)
        with self._lock:
            self._answers, self._asking = answers, None
            self._holds_until_s = time.monotonic() + BROKER_ANSWER_HOLDS_S
