"""Experiments with a precision target: which of them wait for a decision, and what becomes of them after it.

What decides stands in `shared/evidence`, above the store. Callers hold the transaction.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from shared.plan import plan
from shared.spec import ExperimentSpec
from shared.store import events
from shared.store.jobs import add_jobs
from shared.store.lifecycle import finish_if_done
from shared.store.repository import progress_of
from shared.store.states import ExperimentState, JobState
from shared.store.tables import Experiment, Job

UNDER_WAY = (ExperimentState.QUEUED, ExperimentState.RUNNING)


def undecided(session: Session) -> Sequence[str]:
    """The ids of experiments all of whose seeds so far are trained."""
    return session.scalars(select(Experiment.id).where(*_undecided())).all()


def undecided_of_job(session: Session, job_id: str) -> str | None:
    """The id of a job's experiment if it is one of them: asked for by the worker that has just trained the job."""
    of_job = select(Job.experiment_id).where(Job.id == job_id).scalar_subquery()
    return session.scalar(select(Experiment.id).where(Experiment.id == of_job, *_undecided()))


def find_undecided(session: Session, experiment_id: str) -> Experiment | None:
    """The experiment if it is still one of them."""
    query = select(Experiment).where(Experiment.id == experiment_id, *_undecided())
    return session.scalar(query, execution_options={"populate_existing": True})


def _undecided() -> Sequence[ColumnElement[bool]]:
    unfinished = select(Job.id).where(Job.experiment_id == Experiment.id, Job.state != JobState.SUCCEEDED).exists()
    return [Experiment.state.in_(UNDER_WAY), Experiment.may_grow.is_(True), ~unfinished]


def settle(session: Session, experiment_id: str, *, num_seeds: int) -> bool:
    """End an experiment whose `num_seeds` seeds suffice; False where it is no longer the one that was looked at."""
    experiment = _locked(session, experiment_id, num_seeds)
    if experiment is None:
        return False
    experiment.may_grow = False
    session.flush()
    finish_if_done(session, experiment_id)
    return True


def add_seeds(session: Session, experiment_id: str, *, num_seeds: int, more: int) -> bool:
    """Go on with `more` seeds in all instead of `num_seeds`; False where that has changed since it was looked at."""
    experiment = _locked(session, experiment_id, num_seeds)
    if experiment is None:
        return False
    spec = ExperimentSpec.model_validate({**experiment.spec, "num_seeds": more})
    experiment.spec = spec.model_dump(mode="json")
    if experiment.state == ExperimentState.QUEUED:
        # All of it so far was taken over, or it was resumed with nothing left to train.
        experiment.state = ExperimentState.RUNNING
        experiment.running_since = datetime.now(UTC)
        experiment.started_at = experiment.started_at or experiment.running_since
        experiment.epochs_before = progress_of(session, [experiment])[experiment_id].epochs_done
    events.experiment_changed(session, experiment)
    add_jobs(session, experiment, spec, plan(spec).jobs_from(num_seeds))
    return True


def _locked(session: Session, experiment_id: str, num_seeds: int) -> Experiment | None:
    """The experiment, which nobody changes until the transaction ends, if it still waits with so many seeds."""
    session.execute(select(Experiment.id).where(Experiment.id == experiment_id).with_for_update())
    experiment = find_undecided(session, experiment_id)
    return experiment if experiment is not None and experiment.spec["num_seeds"] == num_seeds else None
