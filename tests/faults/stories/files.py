"""Disks that are full, and checkpoints that are broken."""

from random import Random

import psutil

from tests.faults import faults
from tests.faults.cases import POSTGRES, SQLITE, case, job_of
from tests.faults.reference import ended
from tests.faults.stack import WORKERS, Stack
from tests.faults.traps import Action, Trap


@case(always_on=SQLITE)
def full_disk_costs_checkpoints_and_no_job(stack: Stack, rng: Random) -> None:
    for number in (2, 3, 4):
        stack.arm(Trap("before checkpoint", Action.FULL_DISK, number=number))
    stack.arm(Trap("after commit_epoch", Action.KILL, number=6))
    experiment_id = stack.client.post("one")
    assert ended(stack, experiment_id) == "succeeded"
    assert "No space left on device" in _worker_logs(stack)


def _worker_logs(stack: Stack) -> str:
    return "".join(stack.parts[name].log.read_text(errors="replace") for name in WORKERS)


@case(always_on=POSTGRES)
def broken_checkpoints_are_named_and_passed_over(stack: Stack, rng: Random) -> None:
    for also_older in (False, True):
        experiment_id = stack.client.post("one")
        trap = stack.arm(Trap("after commit_epoch", Action.STOP, number=7))
        trap.wait()
        stack.note("checkpoint broken")
        folder = stack.settings.checkpoints_dir / job_of(stack, experiment_id).id
        assert any(folder.iterdir())
        faults.damage(folder, rng, also_older=also_older)
        psutil.Process(trap.caught).kill()
        assert ended(stack, experiment_id) == "succeeded"
    assert "checkpoint broken" in _worker_logs(stack)
