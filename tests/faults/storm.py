"""A storm: several experiments in flight, and one fault after another from a seeded schedule."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from sqlalchemy import select

from shared.store.tables import Job
from tests.faults.faults import FAULTS, Fault, unfinished
from tests.faults.invariants import Watch
from tests.faults.reference import ended
from tests.faults.stack import Kind, Stack

NUM_FAULTS = 24
IN_FLIGHT = 3
SPECS = ("long pair", "pair", "labels", "compiled", "eight")


@dataclass(frozen=True)
class Event:
    """A fault, how long to wait after it, and what is posted when there is too little to do."""

    fault: Fault
    seed: int
    pause_s: float
    spec: str


def schedule(kind: Kind, rng: Random, *, num_faults: int = NUM_FAULTS) -> list[Event]:
    """What will happen; the same generator gives the same schedule, whatever comes of it."""
    possible = [fault for fault in FAULTS if kind in fault.kinds]
    return [
        Event(rng.choice(possible), rng.randrange(2**32), rng.uniform(0.2, 1.2), rng.choice(SPECS))
        for _ in range(num_faults)
    ]


def storm(stack: Stack, rng: Random, *, num_faults: int = NUM_FAULTS) -> None:
    """Let it all happen, put everything right, and check the invariants."""
    watch = Watch(stack)
    events = schedule(stack.kind, rng, num_faults=num_faults)
    try:
        for event in events:
            _keep_busy(stack, event.spec)
            event.fault(stack, Random(event.seed))
            _wait(stack, event.pause_s)
    finally:
        stack.heal()
    ended(stack, *watch.experiment_ids)
    _resume_the_unlucky(watch)
    watch.check()


def _keep_busy(stack: Stack, spec: str) -> None:
    for _ in range(IN_FLIGHT - unfinished(stack)):
        stack.client.post(spec)


def _wait(stack: Stack, duration_s: float) -> None:
    until = time.monotonic() + duration_s
    while time.monotonic() < until:
        stack.run_due()
        stack.supervise()
        time.sleep(0.05)


def _resume_the_unlucky(watch: Watch) -> None:
    """A storm may hit a job three times. That must be the only reason for a failure, and a resume must mend it."""
    for experiment_id in watch.experiment_ids:
        experiment = watch.stack.client.get(f"/experiments/{experiment_id}")
        if experiment["state"] != "failed":
            continue
        assert _lost_too_often(watch, experiment_id), f"{experiment}\n{watch.stack.logs()}"
        watch.resumed.add(experiment_id)
        assert watch.stack.client.request("POST", f"/experiments/{experiment_id}/resume").status_code == 202
        assert ended(watch.stack, experiment_id) == "succeeded"


def _lost_too_often(watch: Watch, experiment_id: str) -> bool:
    failed = select(Job.losses, Job.error).where(Job.experiment_id == experiment_id, Job.state == "failed")
    rows: Sequence[tuple[int, str]] = watch.rows(failed)
    return all(losses >= watch.stack.settings.max_losses and "was lost" in error for losses, error in rows)
