"""What the calls on experiments do: which transactions there are, and which documents come of them."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from typing import Any

from sqlalchemy.orm import Session

from api import schemas
from shared.errors import (
    DatasetMissingError,
    FieldProblem,
    IdempotencyKeyReusedError,
    InvalidSpecError,
    TooManyRequestsError,
)
from shared.plan import Plan, budget_problems, num_runs_of, plan
from shared.settings import Settings
from shared.spec import ExperimentSpec, resolve
from shared.store import jobs, lifecycle, repository
from shared.store.db import Database
from shared.store.settled import is_untouched
from shared.store.states import ExperimentState
from shared.store.tables import Experiment, IdempotencyKey

ACCEPTED = 202
QUEUE_RETRY_S = 30


@dataclass(frozen=True)
class Checked:
    """A spec that may run, and what it takes."""

    spec: ExperimentSpec
    plan: Plan
    preset: str | None


@dataclass(frozen=True)
class Posted:
    """A request to run an experiment, as it came."""

    owner: str
    body: bytes
    key: str | None


@dataclass(frozen=True)
class Answer:
    """The answer to a POST, the same byte for byte whenever its Idempotency-Key comes again."""

    status: int
    body: str
    experiment_id: str


@cache
def version() -> str:
    """The installed version of the service."""
    try:
        return metadata.version("actrobust")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def check(document: object, settings: Settings) -> Checked:
    """Resolve and plan a posted document.

    Raises: InvalidSpecError: it is wrong, or beyond the operator's bounds; DatasetMissingError.
    """
    spec = resolve(document)
    planned = plan(spec)
    problems = budget_problems(planned, settings)
    if problems:
        raise InvalidSpecError(problems)
    command = spec.dataset.missing(settings.effective_datasets_dir)
    if command is not None:
        detail = f"the files of '{spec.dataset.kind}' are not on this machine; fetch them there with: {command}"
        raise DatasetMissingError([FieldProblem(detail, "dataset_missing", pointer="/dataset")])
    preset = document.get("preset") if isinstance(document, dict) else None
    return Checked(spec, planned, preset)


def plan_document(database: Database, checked: Checked, *, owner: str) -> schemas.Plan:
    """What an experiment would cost its owner."""
    with database.read() as session:
        num_reusable = jobs.num_reusable(session, checked.spec, checked.plan.jobs, owner=owner)
    return schemas.Plan(
        jobs=checked.plan.num_jobs, runs=checked.plan.num_runs, runs_reusable=num_reusable,
        **({"runs_at_most": checked.plan.num_runs_at_most} if checked.spec.until else {}),
        epochs_total=checked.plan.num_runs * checked.plan.num_epochs, metric_rows=checked.plan.num_metric_rows,
        estimated_training_flops=checked.plan.training_flops, estimated_memory_bytes=checked.plan.memory_bytes,
        warnings=list(checked.spec.warnings), spec=checked.spec.model_dump(mode="json"),
    )  # fmt: skip


def earlier_answer(database: Database, posted: Posted) -> Answer | None:
    """The answer that the owner's request with this key and body got before.

    Raises: IdempotencyKeyReusedError: its body was another one.
    """
    if posted.key is None:
        return None
    with database.read() as session:
        row = repository.find_idempotent(session, posted.key, owner=posted.owner)
    return None if row is None else _replay(row, posted)


def create(database: Database, checked: Checked, posted: Posted, *, max_waiting: int) -> Answer:
    """Store an experiment with its jobs, its runs and the answer, all or nothing.

    Raises:
        TooManyRequestsError: `max_waiting` experiments of the owner wait already.
        IdempotencyKeyReusedError: the key came with another body in the meantime.
        ConflictError: a request with the same key is still on its way.
    """
    owner, key = posted.owner, posted.key
    provenance = _provenance(checked)
    with database.write() as session:
        row = None
        if key is not None:
            row = repository.reserve_idempotency_key(session, key, owner=owner, body_hash=_hash(posted.body))
            if row is None:
                first = repository.find_idempotent(session, key, owner=owner)
                assert first is not None
                return _replay(first, posted)
        _check_queue(session, owner, max_waiting)
        experiment = repository.create_experiment(session, checked.spec, checked.plan, provenance, owner=owner)
        lifecycle.finish_if_untrained(session, experiment)
        document = experiment_documents(session, [experiment])[0].model_dump_json()
        if row is not None:
            row.status, row.response, row.experiment_id = ACCEPTED, document, experiment.id
        return Answer(ACCEPTED, document, experiment.id)


def _check_queue(session: Session, owner: str, max_waiting: int) -> None:
    # Requests at the same moment may pass together; a bound of thousands need not be exact.
    if repository.num_waiting_experiments(session, owner=owner) >= max_waiting:
        detail = f"{max_waiting} of your experiments wait already; post again when some have begun, or cancel some"
        raise TooManyRequestsError(detail, retry_after_s=QUEUE_RETRY_S)


def _replay(row: IdempotencyKey, posted: Posted) -> Answer:
    if row.body_hash != _hash(posted.body):
        raise IdempotencyKeyReusedError("this Idempotency-Key came with another body before; take a new key")
    return Answer(row.status, row.response, row.experiment_id)


def _hash(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _provenance(checked: Checked) -> dict[str, Any]:
    spec = checked.spec.model_dump(mode="json", exclude={"name"})
    return {
        "actrobust": version(),
        "python": platform.python_version(),
        "preset": checked.preset,
        "spec_sha256": _hash(json.dumps(spec, sort_keys=True).encode()),
    }


def experiment_documents(session: Session, experiments: Sequence[Experiment]) -> list[schemas.Experiment]:
    """Experiments as they are answered. Of new ones everything is known without asking."""
    begun = [each for each in experiments if not is_untouched(each)]
    progress = repository.progress_of(session, begun) if begun else {}
    numerics = repository.distinct_numerics(session, begun) if begun else {}
    return [
        _document(each, progress.get(each.id) or _nothing_yet(each), numerics.get(each.id, [])) for each in experiments
    ]


def _nothing_yet(experiment: Experiment) -> repository.Progress:
    total = num_runs_of(experiment.spec)
    return repository.Progress(total, epochs_total=total * experiment.num_epochs)


def _document(
    experiment: Experiment, progress: repository.Progress, numerics: Sequence[Mapping[str, Any]]
) -> schemas.Experiment:
    return schemas.Experiment(
        id=experiment.id, name=experiment.name, state=ExperimentState(experiment.state), spec=experiment.spec,
        progress=_progress(experiment, progress),
        created_at=experiment.created_at, started_at=experiment.started_at, finished_at=experiment.finished_at,
        provenance=schemas.Provenance.model_validate({**experiment.provenance, "numerics": numerics}),
        error=experiment.error,
    )  # fmt: skip


def _progress(experiment: Experiment, progress: repository.Progress) -> schemas.Progress:
    return schemas.Progress(**vars(progress), eta_s=_seconds_left(experiment, progress))


def _seconds_left(experiment: Experiment, progress: repository.Progress) -> float | None:
    num_measured = progress.epochs_done - experiment.epochs_before
    if experiment.state != ExperimentState.RUNNING or experiment.running_since is None or num_measured <= 0:
        return None
    elapsed_s = (datetime.now(UTC) - experiment.running_since).total_seconds()
    return max(0.0, elapsed_s / num_measured * (progress.epochs_total - progress.epochs_done))


def cancel(database: Database, experiment_id: str, *, owner: str) -> schemas.Experiment:
    """Ask an experiment to stop; one of which nothing runs has stopped when this returns.

    Returns: the experiment as it was between the two: cancelling, or cancelled before.

    Raises: NotFoundError; ConflictError: it has finished.
    """
    with database.write() as session:
        experiment = lifecycle.start_cancelling(session, experiment_id, owner=owner)
        [document] = experiment_documents(session, [experiment])
    # In a transaction of its own, so that `cancelling` is seen by everybody before its end is.
    with database.write() as session:
        lifecycle.finish_if_done(session, experiment_id)
    return document


def resume(database: Database, experiment_id: str, *, owner: str, max_waiting: int) -> schemas.Experiment:
    """Queue the unfinished jobs again.

    Raises: NotFoundError; ConflictError: nothing to resume; TooManyRequestsError: `max_waiting` wait already.
    """
    with database.write() as session:
        _check_queue(session, owner, max_waiting)
        experiment = lifecycle.resume_experiment(session, experiment_id, owner=owner)
        session.flush()
        return experiment_documents(session, [experiment])[0]
