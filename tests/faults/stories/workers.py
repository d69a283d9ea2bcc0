"""Workers that are killed, stopped or asked to end."""

import platform
import signal
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil

from tests.faults import audit, faults
from tests.faults.cases import POSTGRES, SLACK_S, SQLITE, case, job_of, wait_for_claim, wait_for_epoch
from tests.faults.faults import BOTH, GRACE_S, STEPS, trap_at
from tests.faults.reference import ended
from tests.faults.specs import EIGHT
from tests.faults.stack import LEASE_TTL_S, WORKERS, Stack
from tests.faults.traps import Action, Trap

# The number of the system call `read`.
READ = {"x86_64": "0", "aarch64": "63"}


@case(always_on=BOTH)
def steps_around_commits_may_each_be_the_last(stack: Stack, rng: Random) -> None:
    """Also: a run that always dies fails its job after three losses, and the others finish."""
    poisoned, *others = rng.sample(EIGHT, len(EIGHT))
    for activation, step in zip(others, rng.sample(STEPS, len(others)), strict=True):
        stack.arm(trap_at(step, rng, activation=activation))
    stack.arm(Trap("after commit_epoch", number=2, activation=poisoned, lasting=True))
    experiment_id = stack.client.post("eight")
    assert ended(stack, experiment_id) == "failed"
    for activation in EIGHT:
        job = job_of(stack, experiment_id, activation)
        assert (job.state, job.losses) == ("failed", 3) if activation == poisoned else job.state == "succeeded"
    error = stack.client.get(f"/experiments/{experiment_id}")["error"]
    assert "1 of 8 jobs failed" in error
    assert "lost 3 times" in error


def _runs_again_in_time(stack: Stack, action: Action) -> None:
    experiment_id = stack.client.post("one")
    trap = stack.arm(Trap("after commit_epoch", action, number=4))
    trap.wait()
    killed_s = time.time()
    job_id = job_of(stack, experiment_id).id
    took_s = wait_for_claim(stack, job_id, number=2) - killed_s
    assert took_s <= LEASE_TTL_S + SLACK_S, f"it took {took_s:.1f} s"
    assert ended(stack, experiment_id) == "succeeded"
    assert job_of(stack, experiment_id).losses >= 1


@case(always_on=SQLITE)
def killed_child_s_job_runs_again_within_a_lease_and_a_sweep(stack: Stack, rng: Random) -> None:
    _runs_again_in_time(stack, Action.KILL)


@case(always_on=POSTGRES)
def killed_worker_s_job_runs_again_within_a_lease_and_a_sweep(stack: Stack, rng: Random) -> None:
    _runs_again_in_time(stack, Action.KILL_WITH_PARENT)


@case(always_on=POSTGRES)
def zombie_that_wakes_after_three_leases_writes_nothing(stack: Stack, rng: Random) -> None:
    step = rng.choice(["before checkpoint", "after commit_epoch", "before replace"])
    experiment_id = stack.client.post("one")
    trap = stack.arm(Trap(step, Action.STOP, number=4))
    trap.wait()
    stopped_s = time.monotonic()
    job_id = job_of(stack, experiment_id).id
    wait_for_claim(stack, job_id, number=2)
    assert ended(stack, experiment_id) == "succeeded"
    time.sleep(max(0.0, stopped_s + 3 * LEASE_TTL_S - time.monotonic()))
    num_writes = len(_writes_of(stack, job_id))
    psutil.Process(trap.caught).resume()
    time.sleep(1.0)
    assert len(_writes_of(stack, job_id)) == num_writes


def _writes_of(stack: Stack, job_id: str) -> list[audit.Write]:
    return [write for write in stack.ask(audit.writes) if write.job_id == job_id]


@case(always_on=SQLITE)
def zombie_that_wakes_while_another_trains_writes_nothing(stack: Stack, rng: Random) -> None:
    """It wakes in front of its next write; the other is held up, so that both have the job in hand."""
    experiment_id = stack.client.post("one")
    stopped = stack.arm(Trap("before checkpoint", Action.STOP, number=3))
    stopped.wait()
    held = stack.arm(Trap("after commit_epoch", Action.PAUSE, number=1))
    job_id = job_of(stack, experiment_id).id
    wait_for_claim(stack, job_id, number=2)
    held.wait()
    psutil.Process(stopped.caught).resume()
    time.sleep(1.0)
    held.release()
    assert ended(stack, experiment_id) == "succeeded"
    assert job_of(stack, experiment_id).losses >= 1


@case(always_on=POSTGRES)
def worker_asked_to_end_hands_its_job_back_in_time(stack: Stack, rng: Random) -> None:
    experiment_id = stack.client.post("pair")
    wait_for_epoch(stack, experiment_id, 4)
    stack.note("worker asked to end")
    took_s = [stack.parts[name].end(signal.SIGTERM) for name in WORKERS]
    assert max(took_s) < GRACE_S
    for name in WORKERS:
        stack.parts[name].start(wait=False)
    assert ended(stack, experiment_id) == "succeeded"
    jobs = [job_of(stack, experiment_id, activation) for activation in ("relu", "tanh")]
    assert [job.losses for job in jobs] == [0, 0]


@case(always_on=SQLITE)
def worker_whose_child_is_slow_to_take_a_message_ends_in_time(stack: Stack, rng: Random) -> None:
    """The message is on its way to the child when the worker is asked to end: nobody will listen to its answer."""
    children = stack.training_processes()
    stack.note("child stopped")
    for child in children:
        child.suspend()
    experiment_id = stack.client.post("pair")
    time.sleep(1.0)
    for child in children:
        threading.Timer(1.0, faults.wake, (child,)).start()
    stack.note("worker asked to end")
    with ThreadPoolExecutor(len(WORKERS)) as pool:
        took_s = list(pool.map(lambda name: stack.parts[name].end(signal.SIGTERM), WORKERS))
    assert max(took_s) < GRACE_S, f"the workers took {took_s} s to end"
    for name in WORKERS:
        stack.parts[name].start(wait=False)
    assert ended(stack, experiment_id) == "succeeded"


@case(always_on=SQLITE)
def child_whose_pipe_is_broken_makes_room_for_another(stack: Stack, rng: Random) -> None:
    """Celery's parent loses its place in the middle of a message, as it has done when the broker died."""
    ended(stack, stack.client.post("pair"))
    for child in stack.training_processes():
        pipe = _pipe_that_is_read_by(child.pid)
        if pipe is not None:
            stack.note("pipe broken")
            pipe.write_bytes(struct.pack(">I", 2**20))  # the length of a message of which nothing comes
    experiment_id = stack.client.post("pair")
    assert ended(stack, experiment_id) == "succeeded"
    # As long as one of them serves everybody, the other notices nothing.
    for name in WORKERS:
        stack.parts[name].end()
        stack.parts[name].start(wait=False)


def _pipe_that_is_read_by(pid: int, *, patience_s: float = 5.0) -> Path | None:
    """The pipe that a process soon waits for, if it does; Linux alone tells."""
    until_s = time.monotonic() + patience_s
    while time.monotonic() < until_s:
        with suppress(OSError):  # it may end meanwhile
            number, *arguments = Path(f"/proc/{pid}/syscall").read_text().split()
            if number == READ.get(platform.machine()):
                file = Path(f"/proc/{pid}/fd/{int(arguments[0], 16)}")
                if str(file.readlink()).startswith("pipe:"):
                    return file
        time.sleep(0.01)
    return None
