"""Fills an empty, migrated database as years of use would: experiments of several owners in every state, and metrics.

The same rows on SQLite and PostgreSQL, by way of our own tables; only the ids differ from one filling to the next.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import Float, cast, insert, literal, select, text
from sqlalchemy.orm import Session

from shared.cells import Cells
from shared.plan import Plan, plan
from shared.spec import resolve
from shared.store.db import Database
from shared.store.states import FINISHED_EXPERIMENT, ExperimentState, JobState, Outcome, RunState
from shared.store.tables import EpochMetrics, Experiment, Job, Run
from shared.store.types import new_id

# Out of ten experiments, how many are whose.
OWNERS = ("alice",) * 5 + ("bob",) * 3 + ("carol",) + ("local",)
EXPERIMENTS_PER_BATCH = 200
BETWEEN_POSTS = timedelta(minutes=30)
# Leases that do not run out while somebody measures.
LEASE = timedelta(days=1)
NUMERICS = {"engine": "compiled", "device": "cpu", "threads": 1}

_TRAINING = {"epochs": 20, "batch_size": 32}
DOCUMENTS: tuple[Mapping[str, Any], ...] = (
    {
        "dataset": {"kind": "fbm", "num_columns": 6, "train_size": 400, "val_size": 200},
        "activations": ["relu", "leaky_relu", "prelu", "elu", "sigmoid", "tanh", "softsign"],
        "architecture": {"kind": "mlp", "hidden": [16, 8], "batch_norm": True},
        "corruption": {"kind": "gaussian", "rates": [0.1]}, "training": _TRAINING, "num_seeds": 2,
    },
    {
        "dataset": {"kind": "digits"},
        "activations": ["relu", "gelu", "silu", "mish", "elu", "selu", "tanh"],
        "architecture": {"kind": "mlp", "hidden": [16, 8], "batch_norm": True},
        "corruption": {"kind": "symmetric", "rates": [0.1]}, "training": _TRAINING, "num_seeds": 2,
    },
)  # fmt: skip


@dataclass(frozen=True)
class Mixture:
    """How many experiments there are; all others have finished. The unfinished ones are the newest, as in use."""

    num_experiments: int = 10_000
    num_queued: int = 300
    num_running: int = 20
    num_deleted: int = 100

    def state(self, number: int) -> ExperimentState:
        """The state of one experiment; number 0 is the oldest."""
        from_end = self.num_experiments - number
        if from_end <= self.num_queued:
            return ExperimentState.QUEUED
        if from_end <= self.num_queued + self.num_running:
            return ExperimentState.RUNNING
        odd_ones = {7: ExperimentState.FAILED, 23: ExperimentState.CANCELLED}
        return odd_ones.get(number % 50, ExperimentState.SUCCEEDED)

    def is_deleted(self, number: int) -> bool:
        """Whether it waits to be purged: some old ones."""
        return number % 10 == 0 and number < 10 * self.num_deleted


@dataclass(frozen=True)
class _Wanted:
    """One experiment to write."""

    number: int
    state: ExperimentState
    created_at: datetime
    deleted_at: datetime | None
    owner: str
    document: Mapping[str, Any]
    plan: Plan
    cells: Cells


def fill(database: Database, mixture: Mixture = Mixture()) -> None:
    """Write everything, and let the database's planner know what is there."""
    experiments = _experiments(mixture)
    while batch := list(islice(experiments, EXPERIMENTS_PER_BATCH)):
        rows = _Rows()
        for wanted in batch:
            rows.add(wanted)
        with database.write() as session:
            rows.write(session)
    with database.write() as session:
        _write_metrics(session)
    _analyze(database)


def _experiments(mixture: Mixture) -> Iterator[_Wanted]:
    specs = [resolve(document) for document in DOCUMENTS]
    planned = [(spec.model_dump(mode="json"), plan(spec)) for spec in specs]
    # Each owner has posted each spec thousands of times, and trained it again every time.
    cells = {(number, owner): Cells(spec, owner=owner) for number, spec in enumerate(specs) for owner in OWNERS}
    begin = datetime.now(UTC) - BETWEEN_POSTS * mixture.num_experiments
    for number in range(mixture.num_experiments):
        which, owner = number % len(planned), OWNERS[number % len(OWNERS)]
        document, its_plan = planned[which]
        moment = begin + number * BETWEEN_POSTS
        deleted_at = moment if mixture.is_deleted(number) else None
        yield _Wanted(
            number, mixture.state(number), moment, deleted_at, owner, document, its_plan, cells[which, owner]
        )  # fmt: skip


class _Rows:
    """Rows of a batch of experiments, as the tables want them."""

    def __init__(self) -> None:
        self.experiments: list[dict[str, Any]] = []
        self.jobs: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []

    def add(self, wanted: _Wanted) -> None:
        """An experiment with its jobs and runs."""
        state, moment = wanted.state, wanted.created_at
        is_over, has_begun = state in FINISHED_EXPERIMENT, state != ExperimentState.QUEUED
        experiment_id = new_id()
        self.experiments.append(
            {
                "id": experiment_id, "owner": wanted.owner,
                "name": f"experiment {wanted.number}", "dataset": wanted.plan.spec.dataset.kind, "state": state,
                "spec": wanted.document, "num_epochs": wanted.plan.num_epochs,
                "provenance": {"actrobust": "0", "python": "3", "preset": None, "spec_sha256": "0" * 64},
                "created_at": moment, "started_at": moment if has_begun else None,
                "finished_at": moment if is_over else None, "running_since": moment if has_begun else None,
                "epochs_before": 0, "deleted_at": wanted.deleted_at,
            }
        )  # fmt: skip
        self._add_jobs(experiment_id, wanted)

    def _add_jobs(self, experiment_id: str, wanted: _Wanted) -> None:
        kinds = {activation.name: activation.kind for activation in wanted.plan.spec.activations}
        for index, job in enumerate(wanted.plan.jobs):
            state = _job_state(wanted.state, index)
            begun = wanted.created_at if state != JobState.PENDING else None
            self.jobs.append(
                {
                    "id": (job_id := new_id()), "experiment_id": experiment_id, "activation": job.activation,
                    "activation_kind": kinds[job.activation], "device": "any", "state": state,
                    "token": int(begun is not None), "losses": 0, "claimed_at": begun,
                    "heartbeat_at": datetime.now(UTC) + LEASE if begun else None,
                    "checkpoints": [], "numerics": NUMERICS if begun else None,
                }
            )  # fmt: skip
            how_far = _how_far(state, wanted.plan)
            self.runs += [
                {
                    "id": new_id(), "experiment_id": experiment_id, "job_id": job_id, "position": run.position,
                    "activation": run.activation, "rate": run.rate, "seed": run.seed,
                    "cell": wanted.cells.of(run), **how_far,
                }
                for run in job.runs
            ]  # fmt: skip

    def write(self, session: Session) -> None:
        """All of them, in as few statements as the driver can do with."""
        tables: tuple[tuple[Any, list[dict[str, Any]]], ...] = (
            (Experiment, self.experiments), (Job, self.jobs), (Run, self.runs),
        )  # fmt: skip
        for table, rows in tables:
            session.connection().execute(insert(table), rows)


def _job_state(state: ExperimentState, index: int) -> JobState:
    """One job of a failed or cancelled experiment did not succeed; of a running one two run and the rest waits."""
    if state == ExperimentState.RUNNING:
        return JobState.RUNNING if index < 2 else JobState.PENDING
    if state == ExperimentState.QUEUED:
        return JobState.PENDING
    return JobState(state) if index == 0 else JobState.SUCCEEDED


def _how_far(state: JobState, planned: Plan) -> dict[str, Any]:
    is_over = state == JobState.SUCCEEDED
    has_begun = state != JobState.PENDING
    run_state = RunState(state)
    return {
        "state": run_state, "outcome": Outcome.OK if is_over else None,
        "epoch": planned.num_epochs if is_over else planned.num_epochs // 2 if has_begun else 0,
        "null_loss": 0.1 if has_begun else None, "null_accuracy": 0.1 if has_begun else None,
        "realised_rate": 0.1 if has_begun else None, "mask_hash": "0" * 64 if has_begun else None,
    }  # fmt: skip


def _write_metrics(session: Session) -> None:
    """A row for every epoch of every run, made by the database itself: millions would take long to send."""
    if session.get_bind().dialect.name == "postgresql":
        # As a superuser: otherwise each of the rows is looked up in the table of runs.
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text("SET LOCAL statement_timeout = 0"))
    number = select(literal(1).label("number")).cte("numbers", recursive=True)
    most = max(document["training"]["epochs"] for document in DOCUMENTS)
    number = number.union_all(select(number.c.number + 1).where(number.c.number < most))
    epoch = number.c.number
    # Any curve that falls and differs from run to run.
    loss = cast(0.1 + 0.01 * Run.seed + 0.001 * Run.position, Float) + 1.0 / (epoch + 1)
    columns = {
        "run_id": Run.id, "epoch": epoch, "train_loss": loss, "val_loss": loss, "train_accuracy": 1 - loss / 2,
        "val_accuracy": 1 - loss / 2, "val_loss_a": loss, "val_accuracy_a": 1 - loss / 2,
    }  # fmt: skip
    rows = select(*columns.values()).join(number, epoch <= Run.epoch).order_by(Run.id, epoch)
    session.execute(insert(EpochMetrics).from_select(list(columns), rows))


def _analyze(database: Database) -> None:
    """What autovacuum does within minutes on PostgreSQL; SQLite has no statistics unless somebody asks for them."""
    if database.engine.dialect.name != "sqlite":
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")


def pending_jobs(session: Session, limit: int) -> Sequence[str]:
    """Jobs that wait, the oldest first."""
    waiting = select(Job.id).where(Job.state == JobState.PENDING, Job.device == "any").order_by(Job.id).limit(limit)
    return list(session.scalars(waiting))


def finished_experiments(session: Session, owner: str, limit: int) -> Sequence[str]:
    """Experiments of an owner that have succeeded, spread over all times."""
    mine = select(Experiment.id).where(
        Experiment.owner == owner, Experiment.state == ExperimentState.SUCCEEDED, Experiment.deleted_at.is_(None)
    )
    found = list(session.scalars(mine.order_by(Experiment.id)))
    return found[:: max(1, len(found) // limit)][:limit]


def every(items: Sequence[Any]) -> Iterator[Any]:
    """The items again and again."""
    while True:
        yield from items
