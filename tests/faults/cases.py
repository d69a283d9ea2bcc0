"""Stories: what a fault must not break beyond the invariants, which are checked after each of them.

A case is a function of a stack and a seeded generator; its name is the sentence that it proves.
"""

import json
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import psutil
from sqlalchemy import select

from shared.store.states import JobState
from shared.store.tables import Experiment, Job
from tests.faults import audit, faults
from tests.faults.faults import BOTH, GRACE_S, STEPS, trap_at
from tests.faults.invariants import Watch
from tests.faults.reference import ended
from tests.faults.specs import EIGHT
from tests.faults.stack import LEASE_TTL_S, SWEEP_S, WORKERS, Kind, Stack
from tests.faults.traps import Action, Trap

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


# --- workers


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
    assert job_of(stack, experiment_id).losses == 1


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
    assert job_of(stack, experiment_id).losses == 1


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


# --- the broker


def _post_without_broker(stack: Stack, spec: str, num_posts: int) -> None:
    for _ in range(num_posts):
        post = stack.client.try_post(spec)
        assert post.experiment_id is not None
        assert post.duration_s < QUICK_S, f"a POST took {post.duration_s:.1f} s"
    # Asked at most every other second.
    stack.wait_until(lambda: bool(stack.client.get("/readyz")["status"] == "degraded"), "/readyz says so", timeout_s=10)
    assert "broker" in json.dumps(stack.client.get("/readyz"))


@case(always_on=BOTH)
def experiments_are_taken_while_the_broker_is_dead_and_start_once_it_is_back(stack: Stack, rng: Random) -> None:
    stack.note("broker killed, restarted empty")
    stack.broker.end()
    _post_without_broker(stack, "short", 3)
    time.sleep(rng.uniform(0, 2))
    stack.broker.start()


@case(always_on=POSTGRES)
def experiments_are_taken_while_the_broker_answers_nobody_and_start_once_it_does(stack: Stack, rng: Random) -> None:
    stack.note("broker unreachable")
    stack.broker.send(signal.SIGSTOP)
    _post_without_broker(stack, "short", 3)
    stack.broker.send(signal.SIGCONT)


def _flush_with_queued(stack: Stack, rng: Random, num_experiments: int) -> None:
    for _ in range(num_experiments):
        stack.client.post("short")
    for _ in range(3):
        stack.note("broker flushed")
        faults.flush_broker(stack, rng)
        time.sleep(rng.uniform(0, 0.5))
    timeout_s = 60 + 3 * num_experiments
    ended(stack, *(post.experiment_id for post in stack.client.posts[-num_experiments:] if post.experiment_id),
          timeout_s=timeout_s)  # fmt: skip


@case(always_on=POSTGRES)
def flushed_broker_forgets_no_experiment(stack: Stack, rng: Random) -> None:
    _flush_with_queued(stack, rng, 5)


@case()
def flushed_broker_forgets_none_of_fifty_experiments(stack: Stack, rng: Random) -> None:
    _flush_with_queued(stack, rng, 50)


@case(always_on=BOTH)
def message_that_comes_ten_times_and_after_the_end_is_one_execution(stack: Stack, rng: Random) -> None:
    stack.note("message sent ten times")
    experiment_id = stack.client.post("one")
    job_id = job_of(stack, experiment_id).id
    faults.send(stack, job_id, times=5)
    wait_for_claim(stack, job_id)
    faults.send(stack, job_id, times=5)
    assert ended(stack, experiment_id) == "succeeded"
    faults.send(stack, job_id, times=3)
    time.sleep(0.5)
    assert job_of(stack, experiment_id).token == 1


# --- the database


@case(POSTGRES, always_on=POSTGRES)
def postgres_restarted_in_the_middle_of_commits_loses_nothing(stack: Stack, rng: Random) -> None:
    assert stack.postgres is not None
    for number, step in ((signal.SIGQUIT, "before commit_epoch"), (signal.SIGINT, "before save_checkpoint")):
        experiment_id = stack.client.post("pair")
        trap = stack.arm(Trap(step, Action.PAUSE, number=3))
        trap.wait()
        stack.note("PostgreSQL restarted")
        stack.postgres.end(number)
        trap.release()
        stack.postgres.start()
        assert ended(stack, experiment_id) == "succeeded"


@case(SQLITE, always_on=SQLITE)
def sqlite_serves_four_writers_and_a_long_reader_and_survives_a_kill(stack: Stack, rng: Random) -> None:
    stack.note("long reader")
    faults.read_for_long(stack, rng)
    for _ in range(2):
        stack.note("four writers")
        writing = threading.Thread(target=faults.write_from_four_sides, args=(stack, rng))
        writing.start()
        stack.note("child killed")
        faults.kill_child(stack, rng)
        writing.join()


# --- requests


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
    from shared.store.doorbell import UNANSWERED_S

    _kill_api(stack, "before message", within_s=UNANSWERED_S + SWEEP_S + SLACK_S)


@case(always_on=BOTH)
def fifty_posts_at_once_with_one_key_are_one_experiment(stack: Stack, rng: Random) -> None:
    stack.note("fifty POSTs with one key")
    faults.post_fifty_times(stack, rng)


@case(always_on=BOTH)
def cancel_that_races_completion_leads_to_one_end(stack: Stack, rng: Random) -> None:
    """The job is held up right before, or right after, the commit of its end; then at random moments."""
    for step in ("before complete", "after complete"):
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


# --- files


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


def cases(kind: Kind) -> list[Case]:
    """Those that make sense on a kind of stack."""
    return [known for known in CASES if kind in known.kinds]
