"""Requests that are repeated, cut off or race what they are about."""

import threading
import time
from random import Random

from sqlalchemy import select

from shared.store.doorbell import UNANSWERED_S
from shared.store.tables import Experiment
from tests.faults import faults
from tests.faults.cases import POSTGRES, SLACK_S, SQLITE, case, job_of, wait_for_claim
from tests.faults.faults import BOTH
from tests.faults.reference import ended
from tests.faults.stack import SWEEP_S, Stack
from tests.faults.traps import Action, Trap


def _stored_under(stack: Stack, name: str) -> str | None:
    ids: list[str] = [row.id for row in stack.rows(select(Experiment.id).where(Experiment.name == name))]
    return ids[0] if ids else None


def _kill_api(stack: Stack, step: str, *, within_s: float) -> None:
    stack.arm(Trap(step, Action.KILL, part="api"))
    began_s = time.time()
    post = stack.client.try_post("short")
    stack.parts["api"].process.wait(20)  # type: ignore[union-attr]
    experiment_id = post.experiment_id or _stored_under(stack, post.name)
    assert experiment_id is not None
    claimed_s = wait_for_claim(stack, job_of(stack, experiment_id).id)
    assert claimed_s - began_s <= within_s, f"it took {claimed_s - began_s:.1f} s"
    stack.parts["api"].start(wait=False)
    stack.client.wait_until_it_answers()
    assert ended(stack, experiment_id) == "succeeded"


@case(always_on=SQLITE)
def api_killed_after_the_commit_has_started_the_job_within_a_sweep(stack: Stack, rng: Random) -> None:
    _kill_api(stack, "after post", within_s=SWEEP_S + SLACK_S)


@case(always_on=POSTGRES)
def api_killed_before_its_message_has_started_the_job_once_it_is_missed(stack: Stack, rng: Random) -> None:
    _kill_api(stack, "before message", within_s=UNANSWERED_S + SWEEP_S + SLACK_S)


@case(always_on=BOTH)
def fifty_posts_at_once_with_one_key_are_one_experiment(stack: Stack, rng: Random) -> None:
    stack.note("fifty POSTs with one key")
    faults.post_fifty_times(stack, rng)


@case(always_on=BOTH)
def cancel_that_races_completion_leads_to_one_end(stack: Stack, rng: Random) -> None:
    """The job is held up right after, or right before, the commit of its end; then at random moments."""
    # In this order: the first job's worker may still be behind its commit when the second job's trap is laid.
    for step in ("after complete", "before complete"):
        experiment_id = stack.client.post("one")
        trap = stack.arm(Trap(step, Action.PAUSE))
        trap.wait()
        stack.note("experiment cancelled")
        answers: list[int] = []
        asking = threading.Thread(target=_cancel, args=(stack, experiment_id, answers))
        asking.start()
        time.sleep(0.3)
        trap.release()
        asking.join()
        state = ended(stack, experiment_id)
        assert (answers, state) == ([409], "succeeded")
    for _ in range(3):
        experiment_id = stack.client.post("short")
        time.sleep(rng.uniform(0.0, 1.0))
        stack.note("experiment cancelled")
        status, state = stack.client.cancel(experiment_id), ended(stack, experiment_id)
        assert state == ("succeeded" if status == 409 else "cancelled")


def _cancel(stack: Stack, experiment_id: str, answers: list[int]) -> None:
    answers.append(stack.client.cancel(experiment_id))
