"""What the store promises, in plain Python: no SQL and no transactions, and the time is a number of seconds."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.errors import ConflictError, LeaseLostError, NotFoundError
from shared.store.doorbell import UNANSWERED_S, WORKER_SILENCE_S
from shared.store.queue import Lease
from shared.store.states import (
    FINISHED_EXPERIMENT,
    FINISHED_JOB,
    LEASED_JOB,
    RESUMABLE_EXPERIMENT,
    WAITING_JOB,
    ExperimentState,
    JobState,
    Outcome,
    RunState,
)

Pointers = list[dict[str, Any]]
UNFINISHED_RUN = (RunState.PENDING, RunState.RUNNING)


@dataclass
class RunModel:
    state: str = RunState.PENDING
    outcome: str | None = None
    epoch: int = 0
    metrics: dict[int, float] = field(default_factory=dict)


@dataclass
class JobModel:
    experiment: "ExperimentModel"
    runs: dict[str, RunModel]
    state: str = JobState.PENDING
    token: int = 0
    losses: int = 0
    worker_id: str | None = None
    claimed_s: float | None = None
    heartbeat_s: float | None = None
    dispatched_s: float | None = None
    has_error: bool = False
    checkpoints: Pointers = field(default_factory=list)

    def silent_for(self, ttl_s: float, now_s: float) -> bool:
        heard_s = self.claimed_s if self.heartbeat_s is None else self.heartbeat_s
        return self.state in LEASED_JOB and heard_s is not None and now_s - heard_s > ttl_s

    def let_runs(self, state: str, *, of: Sequence[str], outcome: str | None = None) -> None:
        for run in self.runs.values():
            if run.state in of:
                run.state, run.outcome = state, outcome or run.outcome


@dataclass
class ExperimentModel:
    jobs: dict[str, JobModel] = field(default_factory=dict)
    state: str = ExperimentState.QUEUED
    is_deleted: bool = False


@dataclass
class Model:
    """The same operations as those of the store; each either changes the model or raises and changes nothing."""

    now_s: float = 0
    experiments: dict[str, ExperimentModel] = field(default_factory=dict)
    jobs: dict[str, JobModel] = field(default_factory=dict)
    announced_s: dict[str, float] = field(default_factory=dict)

    def post(self, experiment_id: str, run_ids: Mapping[str, Iterable[str]]) -> None:
        experiment = self.experiments[experiment_id] = ExperimentModel()
        for job_id, ids in run_ids.items():
            job = JobModel(experiment, {run_id: RunModel() for run_id in ids})
            experiment.jobs[job_id] = self.jobs[job_id] = job

    # --- what a worker does

    def claim(self, job_id: str, worker_id: str) -> Lease | None:
        job = self.jobs.get(job_id)
        if job is None or job.state not in WAITING_JOB:
            return None
        job.state, job.token, job.worker_id = JobState.RUNNING, job.token + 1, worker_id
        job.claimed_s, job.heartbeat_s, job.dispatched_s = self.now_s, None, None
        return Lease(job_id, job.token)

    def claim_next(self, job_id: str, worker_id: str) -> Lease | None:
        begun = [(job.claimed_s, name) for name, job in self.jobs.items() if self.waits(name) and job.claimed_s]
        return self.claim(min(begun)[1] if begun else job_id, worker_id)

    def waits(self, job_id: str) -> bool:
        return job_id in self.jobs and self.jobs[job_id].state in WAITING_JOB

    def _held(self, lease: Lease, state: str = JobState.RUNNING) -> JobModel:
        job = self.jobs.get(lease.job_id)
        if job is None or job.token != lease.token or job.state != state:
            raise LeaseLostError
        return job

    def _renewed(self, lease: Lease) -> JobModel:
        job = self._held(lease)
        job.heartbeat_s = self.now_s
        return job

    def renew(self, lease: Lease) -> None:
        self._renewed(lease)

    def start(self, lease: Lease) -> None:
        job = self._renewed(lease)
        job.let_runs(RunState.RUNNING, of=[RunState.PENDING])
        if job.experiment.state == ExperimentState.QUEUED:
            job.experiment.state = ExperimentState.RUNNING

    def rewind(self, lease: Lease, epoch: int) -> None:
        for run in self._renewed(lease).runs.values():
            run.metrics = {number: value for number, value in run.metrics.items() if number <= epoch}
            if run.epoch > epoch:
                run.state, run.outcome, run.epoch = RunState.RUNNING, None, epoch

    def commit(self, lease: Lease, epoch: int, values: Mapping[str, float], diverged: Sequence[str]) -> None:
        job = self._renewed(lease)
        for run_id, value in values.items():
            run = job.runs[run_id]
            assert run.metrics.setdefault(epoch, value) == value, "the machine measured one epoch twice"
            run.epoch = epoch
        for run_id in diverged:
            job.runs[run_id].state, job.runs[run_id].outcome = RunState.SUCCEEDED, Outcome.DIVERGED

    def save_checkpoint(self, lease: Lease, pointers: Pointers) -> None:
        self._renewed(lease).checkpoints = pointers

    def complete(self, lease: Lease) -> None:
        job = self._held(lease)
        job.let_runs(RunState.SUCCEEDED, of=[RunState.RUNNING], outcome=Outcome.OK)
        self._end(job, JobState.SUCCEEDED)

    def fail(self, lease: Lease) -> None:
        job = self._held(lease)
        job.has_error = True
        job.let_runs(RunState.FAILED, of=UNFINISHED_RUN)
        self._end(job, JobState.FAILED)

    def release(self, lease: Lease) -> None:
        self._wait_again(self._held(lease))

    def confirm_cancelled(self, lease: Lease) -> bool:
        try:
            job = self._held(lease, JobState.CANCELLING)
        except LeaseLostError:
            return False
        job.let_runs(RunState.CANCELLED, of=UNFINISHED_RUN)
        self._end(job, JobState.CANCELLED)
        return True

    def _wait_again(self, job: JobModel) -> None:
        job.state, job.worker_id, job.dispatched_s = JobState.PENDING, None, None
        job.let_runs(RunState.PENDING, of=[RunState.RUNNING])

    def _end(self, job: JobModel, state: str) -> None:
        job.state = state
        self._finish(job.experiment)

    # --- what the reconciler does

    def silent_jobs(self, ttl_s: float) -> list[str]:
        return sorted(job_id for job_id, job in self.jobs.items() if job.silent_for(ttl_s, self.now_s))

    def reap(self, job_id: str, *, ttl_s: float, max_losses: int) -> bool:
        job = self.jobs.get(job_id)
        if job is None or not job.silent_for(ttl_s, self.now_s):
            return False
        job.losses += 1
        was_flagged, is_last = job.state == JobState.CANCELLING, job.losses == max_losses
        self._wait_again(job)
        if was_flagged or is_last:
            job.has_error = not was_flagged
            job.let_runs(RunState.CANCELLED if was_flagged else RunState.FAILED, of=UNFINISHED_RUN)
            self._end(job, JobState.CANCELLED if was_flagged else JobState.FAILED)
        return True

    def dispatch(self, *, broker_is_away: bool) -> int:
        slots = sum(self.now_s - heard_s < WORKER_SILENCE_S for heard_s in self.announced_s.values())
        idle = slots - self._count(*LEASED_JOB)
        pending = self._in(JobState.PENDING)[: max(0, 2 * max(1, slots) - self._count(JobState.DISPATCHED))]
        dispatched = self._in(JobState.DISPATCHED)
        unanswered = [job for job in dispatched if self.now_s - (job.dispatched_s or 0) > UNANSWERED_S]
        rung = pending + unanswered[: max(0, idle)]
        for job in rung:
            job.state = JobState.PENDING if broker_is_away else JobState.DISPATCHED
            job.dispatched_s = None if broker_is_away else self.now_s
        return 0 if broker_is_away else len(rung)

    def _in(self, *states: str) -> list[JobModel]:
        return [job for _, job in sorted(self.jobs.items()) if job.state in states]

    def _count(self, *states: str) -> int:
        return len(self._in(*states))

    def finish(self, experiment_id: str) -> None:
        if experiment_id in self.experiments:
            self._finish(self.experiments[experiment_id])

    def _finish(self, experiment: ExperimentModel) -> None:
        states = {job.state for job in experiment.jobs.values()}
        if experiment.state in FINISHED_EXPERIMENT or not states <= set(FINISHED_JOB):
            return
        worst_first = (JobState.CANCELLED, JobState.FAILED, JobState.SUCCEEDED)
        experiment.state = ExperimentState(next(state for state in worst_first if state in states))

    # --- what a client asks for

    def _visible(self, experiment_id: str) -> ExperimentModel:
        experiment = self.experiments.get(experiment_id)
        if experiment is None or experiment.is_deleted:
            raise NotFoundError
        return experiment

    def start_cancelling(self, experiment_id: str) -> None:
        experiment = self._visible(experiment_id)
        if experiment.state in {ExperimentState.CANCELLING, ExperimentState.CANCELLED}:
            return
        if experiment.state in FINISHED_EXPERIMENT:
            raise ConflictError
        experiment.state = ExperimentState.CANCELLING
        for job in experiment.jobs.values():
            if job.state in WAITING_JOB:
                job.state = JobState.CANCELLED
                job.let_runs(RunState.CANCELLED, of=UNFINISHED_RUN)
            elif job.state == JobState.RUNNING:
                job.state = JobState.CANCELLING

    def resume(self, experiment_id: str) -> None:
        experiment = self._visible(experiment_id)
        if experiment.state not in RESUMABLE_EXPERIMENT:
            raise ConflictError
        experiment.state = ExperimentState.QUEUED
        for job in experiment.jobs.values():
            if job.state != JobState.SUCCEEDED:
                job.state, job.losses, job.has_error = JobState.PENDING, 0, False
                job.claimed_s = job.dispatched_s = None
                job.let_runs(RunState.PENDING, of=[RunState.FAILED, RunState.CANCELLED])

    def delete(self, experiment_id: str) -> None:
        experiment = self._visible(experiment_id)
        if experiment.state not in FINISHED_EXPERIMENT:
            raise ConflictError
        experiment.is_deleted = True

    def is_deleted(self, experiment_id: str) -> bool:
        return experiment_id in self.experiments and self.experiments[experiment_id].is_deleted

    def is_untidy(self) -> bool:
        """Whether something waits for its end, or for being purged."""
        experiments = self.experiments.values()
        return any(each.is_deleted or each.state == ExperimentState.CANCELLING for each in experiments)

    def purge(self, experiment_id: str, left: Collection[tuple[str, int]]) -> bool:
        """A piece of a deleted experiment went, the store chose which metrics are `left`; True when it was the last."""
        experiment = self.experiments[experiment_id]
        runs = {run_id: run for job in experiment.jobs.values() for run_id, run in job.runs.items()}
        if not any(run.metrics for run in runs.values()):
            del self.experiments[experiment_id]
            for job_id in experiment.jobs:
                del self.jobs[job_id]
            return True
        measured = {(run_id, epoch) for run_id, run in runs.items() for epoch in run.metrics}
        assert measured - set(left), "nothing went"
        for run_id, epoch in measured - set(left):
            del runs[run_id].metrics[epoch]
        return False

    def rows(self) -> tuple[dict[Any, Any], ...]:
        """What the tables must hold: experiments, jobs, runs, metrics."""
        runs = {run_id: run for job in self.jobs.values() for run_id, run in job.runs.items()}
        return (
            {name: (experiment.state, experiment.is_deleted) for name, experiment in self.experiments.items()},
            {
                name: (
                    job.state, job.token, job.losses, job.worker_id, job.claimed_s, job.heartbeat_s, job.dispatched_s,
                    job.has_error, job.checkpoints,
                )
                for name, job in self.jobs.items()
            },
            {name: (run.state, run.outcome, run.epoch) for name, run in runs.items()},
            {(name, epoch): value for name, run in runs.items() for epoch, value in run.metrics.items()},
        )  # fmt: skip
