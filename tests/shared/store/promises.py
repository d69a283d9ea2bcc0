"""What must hold of the rows after every step, whatever happened: the invariants of the store."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select

from shared.store.db import Database
from shared.store.states import FINISHED_EXPERIMENT, FINISHED_JOB, LEASED_JOB, ExperimentState, Outcome, RunState
from shared.store.tables import EpochMetrics, Experiment, Job, Run

# In which states of its job a run may be. One that diverged has succeeded, whatever becomes of its job.
RUNS_OF_JOB = {
    "pending": {"pending"}, "dispatched": {"pending"}, "running": {"pending", "running"},
    "cancelling": {"pending", "running"}, "succeeded": {"succeeded"}, "failed": {"failed"}, "cancelled": {"cancelled"},
}  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """One state of the tables that jobs change."""

    experiments: dict[str, Row[Any]]
    jobs: dict[str, Row[Any]]
    runs: dict[str, Row[Any]]
    metrics: Sequence[Row[Any]]

    def epochs(self) -> dict[str, list[int]]:
        """The stored epochs of every run."""
        found: dict[str, list[int]] = {run_id: [] for run_id in self.runs}
        for row in self.metrics:
            found[row.run_id].append(row.epoch)
        return found

    def of_experiment(self, experiment_id: str) -> list[Row[Any]]:
        """Its jobs."""
        return [job for job in self.jobs.values() if job.experiment_id == experiment_id]


_EXPERIMENTS = select(
    Experiment.id, Experiment.state, Experiment.num_epochs, Experiment.error, Experiment.finished_at,
    Experiment.deleted_at,
)  # fmt: skip
_JOBS = select(
    Job.id, Job.experiment_id, Job.state, Job.token, Job.losses, Job.worker_id, Job.claimed_at, Job.heartbeat_at,
    Job.dispatched_at, Job.error, Job.checkpoints,
)  # fmt: skip
_RUNS = select(Run.id, Run.experiment_id, Run.job_id, Run.state, Run.outcome, Run.epoch)
_METRICS = select(EpochMetrics.run_id, EpochMetrics.epoch, EpochMetrics.val_loss).order_by(
    EpochMetrics.run_id, EpochMetrics.epoch
)


def look(database: Database) -> Rows:
    """Everything as it is now."""
    with database.read() as session:
        connection = session.connection()
        experiments, jobs, runs = (
            {row.id: row for row in connection.execute(query)} for query in (_EXPERIMENTS, _JOBS, _RUNS)
        )
        return Rows(experiments, jobs, runs, list[Row[Any]](connection.execute(_METRICS)))


def check(before: Rows, after: Rows, *, resumed: str | None, max_losses: int) -> None:
    """Everything that is promised of any two states that follow one another.

    Args:
        resumed: the experiment that a client resumed between the two.
    """
    _tokens_only_grow(before, after)
    _terminal_states_stay(before, after, resumed=resumed)
    _cancelled_experiments_never_go_on(before, after)
    _every_curve_is_whole(after)
    _runs_fit_their_jobs(after)
    _experiments_fit_their_jobs(after)
    for job in after.jobs.values():
        assert 0 <= job.losses <= max_losses
        assert job.losses < max_losses or job.state in FINISHED_JOB
        assert (job.worker_id is not None) or job.state not in LEASED_JOB


def _tokens_only_grow(before: Rows, after: Rows) -> None:
    for job_id in before.jobs.keys() & after.jobs.keys():
        old, new = before.jobs[job_id], after.jobs[job_id]
        assert new.token >= old.token
        # A job in somebody's hands passes to nobody else; one that leaves them waits or is over first.
        assert new.token == old.token or old.state not in LEASED_JOB


def _terminal_states_stay(before: Rows, after: Rows, *, resumed: str | None) -> None:
    for experiment_id in before.experiments.keys() & after.experiments.keys():
        if experiment_id == resumed:
            continue
        old, new = before.experiments[experiment_id], after.experiments[experiment_id]
        assert new.state == old.state or old.state not in FINISHED_EXPERIMENT
    for job_id in before.jobs.keys() & after.jobs.keys():
        old, new = before.jobs[job_id], after.jobs[job_id]
        is_resumed = old.experiment_id == resumed and old.state != "succeeded"
        assert new.state == old.state or old.state not in FINISHED_JOB or is_resumed


def _cancelled_experiments_never_go_on(before: Rows, after: Rows) -> None:
    for experiment_id, old in before.experiments.items():
        if old.state != ExperimentState.CANCELLING or experiment_id not in after.experiments:
            continue
        assert after.experiments[experiment_id].state in {ExperimentState.CANCELLING, ExperimentState.CANCELLED}
        assert not {job.state for job in after.of_experiment(experiment_id)} & {"pending", "dispatched", "running"}
        assert all(after.jobs[job.id].token == job.token for job in before.of_experiment(experiment_id))


def _every_curve_is_whole(rows: Rows) -> None:
    """Epochs 1 to the run's own, each once; to the last one where it succeeded. A purge may have begun to take them."""
    assert max(Counter((row.run_id, row.epoch) for row in rows.metrics).values(), default=1) == 1
    epochs = rows.epochs()
    for run in rows.runs.values():
        experiment = rows.experiments[run.experiment_id]
        if experiment.deleted_at is not None:
            continue
        assert epochs[run.id] == list(range(1, run.epoch + 1))
        if run.outcome == Outcome.OK:
            assert run.epoch == experiment.num_epochs


def _runs_fit_their_jobs(rows: Rows) -> None:
    for run in rows.runs.values():
        assert (run.outcome is not None) == (run.state == RunState.SUCCEEDED)
        assert run.state in RUNS_OF_JOB[rows.jobs[run.job_id].state] or run.outcome == Outcome.DIVERGED


def _experiments_fit_their_jobs(rows: Rows) -> None:
    for experiment_id, experiment in rows.experiments.items():
        states = {job.state for job in rows.of_experiment(experiment_id)}
        if experiment.state in FINISHED_EXPERIMENT:
            assert states <= set(FINISHED_JOB)
            assert experiment.finished_at is not None
        else:
            # Only a cancellation has a moment between its last job's end and its own.
            assert not states <= set(FINISHED_JOB) or experiment.state == ExperimentState.CANCELLING
            assert experiment.deleted_at is None
        if experiment.state == ExperimentState.SUCCEEDED:
            assert states == {"succeeded"}
        assert (experiment.error is not None) == (experiment.state == ExperimentState.FAILED)
