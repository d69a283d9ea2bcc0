"""What must hold after every case, whatever happened: I1 to I7 of the design, asked of the database, HTTP and the disk.

Each check returns what is wrong, in words and rows; an empty list is good.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import func, select, text

from shared.store.checkpoints import CheckpointStore
from shared.store.states import FINISHED_EXPERIMENT, FINISHED_JOB, JobState, RunState
from shared.store.tables import EpochMetrics, Event, Experiment, IdempotencyKey, Job, Run
from tests.faults import audit
from tests.faults.client import Post
from tests.faults.reference import undisturbed
from tests.faults.stack import LEASE_TTL_S, Kind, Stack
from tests.worker.processes import measured

TERMINAL = {*FINISHED_EXPERIMENT, *FINISHED_JOB}
# What a transaction leaves behind that gives a job out of hand.
LEFT = {"complete": JobState.SUCCEEDED, "fail": JobState.FAILED, "release": JobState.PENDING,
        "confirm_cancelled": JobState.CANCELLED}  # fmt: skip
SHOWN = 8
PATIENCE_S = LEASE_TTL_S + 10


@dataclass
class Watch:
    """What happened on a stack since this was made. Experiments in `resumed` may leave a terminal state."""

    stack: Stack
    resumed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.first_post = len(self.stack.client.posts)
        self.first_failure = len(self.stack.client.failures)
        self.first_change = self.stack.ask(lambda session: audit.last(session, audit.HISTORY))
        self.first_write = self.stack.ask(lambda session: audit.last(session, audit.WRITES))

    def violations(self) -> list[str]:
        """Everything that is wrong, each with the invariant's name before it."""
        checks = (_i1, _i2, _i3, _i4, _i5, _i6, _i7, _no_server_errors, _intact)
        return [f"{check.__name__.lstrip('_')}: {fault}" for check in checks for fault in _asked(check, self)]

    def check(self) -> None:
        """Raises AssertionError: something is wrong; it holds the rows and the ends of the logs."""
        found = self.violations()
        assert not found, "\n".join([*found, self.stack.logs()])

    @property
    def experiment_ids(self) -> list[str]:
        """The accepted ones."""
        return list(self.specs)

    @property
    def specs(self) -> dict[str, str]:
        """The spec of each accepted experiment, by its id."""
        posts = self.stack.client.posts[self.first_post :]
        return {post.experiment_id: post.spec for post in posts if post.experiment_id is not None}

    def rows(self, query: Any) -> list[Any]:
        return self.stack.rows(query)


def _asked(check: Callable[[Watch], list[str]], watch: Watch) -> list[str]:
    """What a check finds; one that cannot even be made is a finding and keeps the others from nothing."""
    try:
        return check(watch)
    except Exception as error:  # noqa: BLE001 (an answer or a row that makes no sense)
        return [f"{type(error).__name__}: {error}"]


def _few(found: list[str]) -> list[str]:
    return found if len(found) <= SHOWN else [*found[:SHOWN], f"... and {len(found) - SHOWN} more"]


def _i1(watch: Watch) -> list[str]:
    """Every acknowledged POST exists exactly once; one without an answer at most once; nothing else exists."""
    stored: dict[str, list[str]] = {}
    for name, experiment_id in watch.rows(select(Experiment.name, Experiment.id)):
        stored.setdefault(name, []).append(experiment_id)
    faults = [
        f"{post} is stored as {stored.get(post.name)}"
        for post in watch.stack.client.posts
        if not _is_as_promised(post, stored.get(post.name, []))
    ]
    strange = set(stored) - {post.name for post in watch.stack.client.posts}
    return _few([*faults, *(f"nobody posted {name}" for name in strange)])


def _is_as_promised(post: Post, ids: list[str]) -> bool:
    return len(ids) <= 1 if post.experiment_id is None else ids == [post.experiment_id]


def _i2(watch: Watch) -> list[str]:
    """Every succeeded run has the epochs 1 to E exactly once, and a succeeded experiment nothing but such runs."""
    query = (
        select(Run.id, Run.epoch, Experiment.num_epochs, func.count(EpochMetrics.epoch), func.min(EpochMetrics.epoch),
               func.max(EpochMetrics.epoch))
        .join(Experiment, Experiment.id == Run.experiment_id)
        .outerjoin(EpochMetrics, EpochMetrics.run_id == Run.id)
        .where(Run.state == RunState.SUCCEEDED)
        .group_by(Run.id, Run.epoch, Experiment.num_epochs)
    )  # fmt: skip
    wrong = [row for row in watch.rows(query) if row[1:] != (row[2], row[2], row[2], 1, row[2])]
    unequal = select(Experiment.id, Run.id, Run.state).join(Run).where(
        Experiment.state == "succeeded", Run.state != RunState.SUCCEEDED)  # fmt: skip
    return _few([f"(run, epoch, of, count, min, max) = {row}" for row in wrong]
                + [f"succeeded experiment with {row}" for row in watch.rows(unequal)])  # fmt: skip


def _i3(watch: Watch) -> list[str]:
    """Tokens only grow, by one a claim, and nobody writes under an old one or without holding the job."""
    faults = []
    for change in _changes(watch):
        if change.kind == "jobs" and change.old_token is not None and change.new_token is not None:
            grown = change.new_token - change.old_token
            if grown != (1 if change.new_state == JobState.RUNNING else 0):
                faults.append(f"{change}")
    for write in watch.stack.ask(lambda session: audit.writes(session, after=watch.first_write)):
        expected = LEFT.get(write.step, JobState.RUNNING)
        if write.lease_token != write.row_token or write.row_state != expected:
            faults.append(f"{write}")
    return _few(faults)


def _changes(watch: Watch) -> list[audit.Change]:
    return watch.stack.ask(lambda session: audit.changes(session, after=watch.first_change))


def _i4(watch: Watch) -> list[str]:
    """Terminal states stay, and each experiment comes to exactly one."""
    parents = dict(watch.rows(select(Job.id, Job.experiment_id))) | dict(watch.rows(select(Run.id, Run.experiment_id)))
    faults = [
        f"{change}"
        for change in _changes(watch)
        if change.old_state in TERMINAL
        and change.new_state != change.old_state
        and parents.get(change.row_id, change.row_id) not in watch.resumed
    ]
    open_jobs = select(Job.id, Job.state, Experiment.state).join(Experiment).where(
        Experiment.state.in_(FINISHED_EXPERIMENT), Job.state.not_in(FINISHED_JOB))  # fmt: skip
    return _few(faults + [f"finished experiment with an open job: {row}" for row in watch.rows(open_jobs)])


def _i5(watch: Watch) -> list[str]:
    """The comparison equals one computed from the rows."""
    faults = []
    for experiment_id in _succeeded(watch):
        answer = watch.stack.client.get(f"/experiments/{experiment_id}/robustness", score="final", metric="loss")
        scores = _final_losses(watch, experiment_id)
        for told, computed in _compared(answer, scores):
            if not np.isclose(told, computed, rtol=1e-9, atol=1e-12):
                faults.append(f"{experiment_id}: {told} instead of {computed}")
        if not answer["complete"] or answer["missing_pairs"]:
            faults.append(f"{experiment_id}: not complete, {answer['missing_pairs']}")
    return _few(faults)


def _succeeded(watch: Watch) -> list[str]:
    wanted = select(Experiment.id).where(Experiment.id.in_(watch.experiment_ids), Experiment.state == "succeeded")
    return [experiment_id for (experiment_id,) in watch.rows(wanted)]


def _final_losses(watch: Watch, experiment_id: str) -> dict[tuple[str, float, int], float]:
    query = (
        select(Run.activation, Run.rate, Run.seed, EpochMetrics.val_loss)
        .join(EpochMetrics, EpochMetrics.run_id == Run.id)
        .join(Experiment, Experiment.id == Run.experiment_id)
        .where(Run.experiment_id == experiment_id, EpochMetrics.epoch == Experiment.num_epochs)
    )
    return {(activation, rate, seed): loss for activation, rate, seed, loss in watch.rows(query)}


def _compared(answer: Any, scores: dict[tuple[str, float, int], float]) -> Iterator[tuple[float, float]]:
    for entry in answer["activations"]:
        of_this = {key[1:]: loss for key, loss in scores.items() if key[0] == entry["activation"]}
        clean = {seed: loss for (rate, seed), loss in of_this.items() if rate == 0}
        yield entry["clean"]["mean"], float(np.mean(list(clean.values())))
        for condition in entry["conditions"]:
            dirty = {seed: loss for (rate, seed), loss in of_this.items() if rate == condition["rate"]}
            yield condition["dirty"]["mean"], float(np.mean(list(dirty.values())))
            harm = [dirty[seed] - clean[seed] for seed in clean]
            yield condition["degradation"]["mean"], float(np.mean(harm))


def _i6(watch: Watch) -> list[str]:
    """Metrics are bit for bit those of an undisturbed run; an unfinished run has a part of them."""
    faults = []
    succeeded = set(_succeeded(watch))
    for experiment_id, spec in watch.specs.items():
        expected = undisturbed(watch.stack, spec)
        found = measured(watch.stack.database, experiment_id)
        differing = [key for key, values in found.items() if expected[key] != values]
        faults += [f"{experiment_id} ({spec}) {key}: {found[key]} instead of {expected[key]}" for key in differing[:2]]
        if experiment_id in succeeded and set(found) != set(expected):
            faults.append(f"{experiment_id} ({spec}) has {len(found)} of {len(expected)} rows")
    return _few(faults)


def _i7(watch: Watch) -> list[str]:
    """No process, file or row is left behind. A worker's children and the sweep get a moment."""
    return [
        *_none_after_a_while(lambda: [f"process {process.pid}" for process in watch.stack.strays()]),
        *_none_after_a_while(lambda: _left_files(watch.stack)),
        *_orphan_rows(watch),
    ]


def _none_after_a_while(look: Callable[[], list[str]]) -> list[str]:
    deadline = time.monotonic() + PATIENCE_S
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _left_files(stack: Stack) -> list[str]:
    """Checkpoints of jobs that succeeded or do not exist; those of others are there for a resume."""
    files = CheckpointStore(stack.settings.checkpoints_dir)
    states: dict[str, str] = dict(stack.rows(select(Job.id, Job.state)))
    return [f"checkpoints of {job_id}, which is {states.get(job_id)}" for job_id in files.job_ids()
            if states.get(job_id) in {None, JobState.SUCCEEDED}]  # fmt: skip


def _orphan_rows(watch: Watch) -> list[str]:
    no_run = select(EpochMetrics.run_id).outerjoin(Run, Run.id == EpochMetrics.run_id).where(Run.id.is_(None))
    no_job = select(Run.id).outerjoin(Job, Job.id == Run.job_id).where(Job.id.is_(None))
    no_experiment = select(Job.id).outerjoin(Experiment, Experiment.id == Job.experiment_id).where(
        Experiment.id.is_(None))  # fmt: skip
    no_answer = select(IdempotencyKey.key).outerjoin(Experiment, Experiment.id == IdempotencyKey.experiment_id).where(
        Experiment.id.is_(None))  # fmt: skip
    no_cause = select(Event.id).outerjoin(Experiment, Experiment.id == Event.experiment_id).where(
        Experiment.id.is_(None))  # fmt: skip
    queries = {"metrics": no_run, "run": no_job, "job": no_experiment, "idempotency key": no_answer, "event": no_cause}
    return [f"orphan {what}: {row}" for what, query in queries.items() for row in watch.rows(query.limit(3))]


def _no_server_errors(watch: Watch) -> list[str]:
    """No answer of 500 or more but those that a case expected."""
    return _few(watch.stack.client.failures[watch.first_failure :])


def _intact(watch: Watch) -> list[str]:
    """SQLite's own opinion of its file."""
    if watch.stack.kind is not Kind.SQLITE:
        return []
    answers = [str(row[0]) for row in watch.rows(text("PRAGMA integrity_check"))]
    broken = [str(row) for row in watch.rows(text("PRAGMA foreign_key_check"))]
    return [answer for answer in answers if answer != "ok"] + broken
