import json
import subprocess
import sys
from pathlib import Path

import pytest

from worker.niceness import AUTOGROUP, TRAINING_NICENESS

# A worker with one training process, and what both say of themselves.
WORKER = """
import json, os
from worker.niceness import AUTOGROUP, give_way
worker = os.getpid()
if not os.fork():
    give_way(parent=worker)
    print(json.dumps([os.nice(0), AUTOGROUP.read_text()]), flush=True)
    os._exit(0)
os.wait()
print(os.nice(0))
"""


def told(command: list[str]) -> tuple[int, int]:
    """What a training process adds to its niceness, and that of its session, of which `command` is the leader."""
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], start_new_session=True,
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    training, worker = done.stdout.splitlines()
    niceness, session = json.loads(training)
    if not session.strip():
        pytest.skip("this kernel does not share out the cores by session")
    return niceness - int(worker), int(session.split()[-1])


@pytest.mark.skipif(not AUTOGROUP.exists(), reason="this kernel does not share out the cores by session")
def test_training_gives_way_to_other_sessions_and_lowers_nobody_elses() -> None:
    itself = [sys.executable, "-c", WORKER]
    assert told(itself) == (TRAINING_NICENESS, TRAINING_NICENESS)
    # As a terminal's shell leads the session of what is typed into it.
    assert told(["sh", "-c", '"$@"; true', "sh", *itself]) == (TRAINING_NICENESS, 0)
