"""Following an experiment to its end by looking at it now and then, however often its service comes and goes."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from actrobust.errors import ProblemError, ServiceUnreachableError

if TYPE_CHECKING:
    from actrobust.progress import Progress, Snapshot

    Look = Callable[[], tuple[dict[str, Any], Snapshot]]

FINAL_STATES = frozenset({"succeeded", "failed", "cancelled"})
POLL_INTERVAL_S = 0.7
# A large experiment has many runs to list; watching it must stay a small part of what the service does.
POLL_SHARE = 0.1
PATIENCE_S = 120.0
RETRY_INTERVAL_S = 2.0


def follow(look: "Look", display: "Progress", *, timeout_s: float | None = None) -> dict[str, Any]:
    """Show an experiment until it ends, or until the time is over, and return its last document.

    Args:
        look: the experiment now. The first look must succeed; later ones are repeated while the service is away.
    """
    deadline_s = float("inf") if timeout_s is None else time.monotonic() + timeout_s
    experiment, now = look()
    with display:
        display.update(now)
        look_s = 0.0
        while experiment["state"] not in FINAL_STATES and time.monotonic() < deadline_s:
            pause_s = max(POLL_INTERVAL_S, look_s / POLL_SHARE)
            time.sleep(min(pause_s, max(deadline_s - time.monotonic(), 0.0)))
            started_s = time.monotonic()
            experiment, now = _patiently(look, note=display.note)
            look_s = time.monotonic() - started_s
            display.update(now)
    return experiment


def _patiently(look: "Look", *, note: Callable[[str], None]) -> "tuple[dict[str, Any], Snapshot]":
    """Look again while the service is away: it may just be started anew."""
    deadline_s = time.monotonic() + PATIENCE_S
    noted = False
    while True:
        try:
            return look()
        except (ServiceUnreachableError, ProblemError) as error:
            is_passing = isinstance(error, ServiceUnreachableError) or error.status >= 500
            if not is_passing or time.monotonic() > deadline_s:
                raise
            if not noted:
                note(f"{error}\ntrying again for {PATIENCE_S:.0f} s")
            noted = True
            time.sleep(RETRY_INTERVAL_S)
