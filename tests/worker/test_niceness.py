import json
import subprocess
import sys
from pathlib import Path

import pytest

from worker.niceness import AUTOGROUP, TRAINING_NICENESS

# The parent of a training process, and what it and its child say of themselves.
PARENT = """
import json, os
from worker.niceness import AUTOGROUP, give_way
parent = os.getpid()
if not os.fork():
    give_way(parent=parent)
    print(json.dumps([os.nice(0), AUTOGROUP.read_text()]), flush=True)
    os._exit(0)
os.wait()
print(os.nice(0))
"""


def told(*, own_session: bool) -> tuple[int, int, int]:
    """Niceness of the child, of its session and of the parent."""
    command = [sys.executable, "-c", PARENT]
    leader = ["setsid", "--wait", *command]
    # A session of its own, whose leader the parent is not: what a terminal's shell is to a worker.
    follower = ["setsid", "--wait", "sh", "-c", f"{sys.executable} -c '{PARENT}'; true"]
    done = subprocess.run(
        leader if own_session else follower, cwd=Path(__file__).parents[2],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    child, parent = done.stdout.splitlines()
    niceness, group = json.loads(child)
    return niceness, int(group.split()[-1]), int(parent)


@pytest.mark.skipif(not AUTOGROUP.exists(), reason="this kernel does not share out the cores by session")
@pytest.mark.parametrize(("own_session", "group"), [(True, TRAINING_NICENESS), (False, 0)])
def test_training_gives_way_also_to_other_sessions_but_lowers_nobody_elses(own_session: bool, group: int) -> None:
    assert told(own_session=own_session) == (TRAINING_NICENESS, group, 0)
