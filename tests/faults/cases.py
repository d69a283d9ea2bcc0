"""Stories: what a fault must not break beyond the invariants, which are checked after each of them.

A case is a function of a stack and a seeded generator; its name is the sentence that it proves.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from sqlalchemy import select

from shared.store.states import JobState
from shared.store.tables import Job
from tests.faults import audit
from tests.faults.faults import BOTH
from tests.faults.invariants import Watch
from tests.faults.reference import ended
from tests.faults.stack import Kind, Stack

# What is allowed on a busy machine, on top of a lease and a sweep.
SLACK_S = 5.0
QUICK_S = 2.0
SQLITE, POSTGRES = (Kind.SQLITE,), (Kind.POSTGRES,)

Story = Callable[[Stack, Random], None]


@dataclass(frozen=True)
class Case:
    """A story, the stacks on which it makes sense, and those on which every change is tested with it."""

    tell: Story
    kinds: Sequence[Kind]
    always_on: Sequence[Kind]

    @property
    def name(self) -> str:
        return self.tell.__name__

    def __call__(self, stack: Stack, rng: Random) -> None:
        """Tell the story, put everything right, and check the invariants."""
        watch = Watch(stack)
        try:
            self.tell(stack, rng)
        finally:
            stack.heal()
        if watch.experiment_ids:
            ended(stack, *watch.experiment_ids)
        watch.check()


CASES: list[Case] = []


def case(kinds: Sequence[Kind] = BOTH, *, always_on: Sequence[Kind] = ()) -> Callable[[Story], Story]:
    """Register a story."""

    def register(story: Story) -> Story:
        CASES.append(Case(story, kinds, always_on))
        return story

    return register


def job_of(stack: Stack, experiment_id: str, activation: str = "relu") -> Job:
    query = select(Job).where(Job.experiment_id == experiment_id, Job.activation == activation)
    [(job,)] = stack.rows(query)
    assert isinstance(job, Job)
    return job


def claims(stack: Stack, job_id: str) -> list[float]:
    """When a job was claimed."""
    changes = stack.ask(audit.changes)
    return [change.at_s for change in changes if change.row_id == job_id and change.new_state == JobState.RUNNING]


def wait_for_claim(stack: Stack, job_id: str, *, number: int = 1) -> float:
    """Wait until a job is claimed for the n-th time; when that was."""
    stack.wait_until(lambda: len(claims(stack, job_id)) >= number, f"claim {number} of job {job_id}")
    return claims(stack, job_id)[number - 1]


def wait_for_epoch(stack: Stack, experiment_id: str, epoch: int = 2) -> None:
    """Wait until a job is well under way."""

    def under_way() -> bool:
        progress = stack.client.get(f"/experiments/{experiment_id}")["progress"]
        return bool(progress["epochs_done"] >= 2 * epoch)

    stack.wait_until(under_way, f"epoch {epoch} of {experiment_id}")
