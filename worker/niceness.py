"""Training gives way: on a shared machine those who wait for an answer come first."""

import contextlib
import os
from pathlib import Path

# Of two processes that want one core, the one with this niceness gets 3 %.
TRAINING_NICENESS = 15
AUTOGROUP = Path("/proc/self/autogroup")


def give_way(*, parent: int) -> None:
    """Let this training process use what others leave of the cores; `parent` is the process id of its worker.

    Most Linux kernels share the cores out by session first, and look at niceness only within one (sched(7), autogroup).
    A worker that leads a session, as it does under `serve` and most supervisors, lowers the whole of it; in anybody
    else's session, a terminal say, niceness alone does. Containers are shared out by their `cpu_shares`.
    """
    os.nice(TRAINING_NICENESS)
    if os.getsid(0) == parent:
        # It is a courtesy: absent on other systems, and refused when asked for twice within a tenth of a second.
        with contextlib.suppress(OSError):
            AUTOGROUP.write_text(str(TRAINING_NICENESS))
