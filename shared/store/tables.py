"""What is kept. The same tables on SQLite and PostgreSQL; Alembic alone creates and changes them."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, Integer, MetaData, String, Text, false, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.store.types import Id, Timestamp, new_id

_IS_DELETED = text("deleted_at IS NOT NULL")
_HAS_SUCCEEDED = text("state = 'succeeded'")


class Base(DeclarativeBase):
    """Base of all tables; constraints have the same names on every database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: Timestamp, float: Float(53), dict[str, Any]: JSON}


class Experiment(Base):
    """One posted spec and everything that came of it."""

    __tablename__ = "experiments"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    owner: Mapped[str] = mapped_column(String(100))
    name: Mapped[str] = mapped_column(String(200))
    dataset: Mapped[str] = mapped_column(String(40))
    state: Mapped[str] = mapped_column(String(20))
    spec: Mapped[dict[str, Any]]
    provenance: Mapped[dict[str, Any]]
    error: Mapped[str | None] = mapped_column(Text)
    num_epochs: Mapped[int]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    # Where the time left is reckoned from: the first claim, or the first one after a resume, and the epochs done then.
    running_since: Mapped[datetime | None]
    epochs_before: Mapped[int] = mapped_column(default=0)
    # It has a precision target, and whether its seeds suffice has not been decided for good.
    may_grow: Mapped[bool] = mapped_column(default=False, server_default=false())
    deleted_at: Mapped[datetime | None]

    __table_args__ = (
        Index(None, "owner", "created_at", "id"),
        Index(None, "owner", "state", "created_at", "id"),
        Index(None, "owner", "dataset", "created_at", "id"),
        Index(None, "state", "id"),
        # Of what is to be purged only: SQLite has no other index for "is not null".
        Index(
            None,
            "deleted_at",
            sqlite_where=_IS_DELETED,
            postgresql_where=_IS_DELETED,
        ),
    )


class Job(Base):
    """The unit of work of one Celery task. `token` counts claims: whoever holds an older one may write nothing."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    experiment_id: Mapped[str] = mapped_column(Id, ForeignKey(Experiment.id, ondelete="CASCADE"))
    activation: Mapped[str] = mapped_column(String(80))
    activation_kind: Mapped[str] = mapped_column(String(40))
    device: Mapped[str] = mapped_column(String(10))
    state: Mapped[str] = mapped_column(String(20))
    token: Mapped[int] = mapped_column(default=0)
    losses: Mapped[int] = mapped_column(default=0)
    worker_id: Mapped[str | None] = mapped_column(Id)
    dispatched_at: Mapped[datetime | None]
    claimed_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(Text)
    checkpoints: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    numerics: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))

    __table_args__ = (
        Index(None, "experiment_id", "activation", "activation_kind"),
        Index(None, "state", "device", "id"),
        Index(None, "state", "claimed_at"),
    )


class Run(Base):
    """One trained network: an activation, a rate and a seed."""

    __tablename__ = "runs"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    experiment_id: Mapped[str] = mapped_column(Id, ForeignKey(Experiment.id, ondelete="CASCADE"))
    job_id: Mapped[str] = mapped_column(Id, ForeignKey(Job.id, ondelete="CASCADE"))
    position: Mapped[int]
    activation: Mapped[str] = mapped_column(String(80))
    rate: Mapped[float]
    seed: Mapped[int]
    state: Mapped[str] = mapped_column(String(20))
    outcome: Mapped[str | None] = mapped_column(String(20))
    epoch: Mapped[int] = mapped_column(default=0)
    null_loss: Mapped[float | None]
    null_accuracy: Mapped[float | None]
    realised_rate: Mapped[float | None]
    mask_hash: Mapped[str | None] = mapped_column(String(64))
    cell: Mapped[str | None] = mapped_column(String(64))
    # The run whose results these are; no foreign key, since it may be deleted and this one stays.
    reused_from: Mapped[str | None] = mapped_column(Id)

    __table_args__ = (
        Index(None, "experiment_id", "position", unique=True),
        Index(None, "job_id"),
        # Of what may be taken over, in the order in which it is chosen.
        Index(None, "cell", "id", sqlite_where=_HAS_SUCCEEDED, postgresql_where=_HAS_SUCCEEDED),
    )


class EpochMetrics(Base):
    """What one run measured after one epoch; a number that is not finite is NULL beside its name in `nonfinite`."""

    __tablename__ = "epoch_metrics"

    run_id: Mapped[str] = mapped_column(Id, ForeignKey(Run.id, ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    train_loss: Mapped[float | None]
    val_loss: Mapped[float | None]
    train_accuracy: Mapped[float | None]
    val_accuracy: Mapped[float | None]
    val_loss_a: Mapped[float | None]
    val_accuracy_a: Mapped[float | None]
    memorization: Mapped[float | None]
    recovery: Mapped[float | None]
    nonfinite: Mapped[str | None] = mapped_column(String(4))

    # The primary key is the table on SQLite: half the size, and a run's epochs lie side by side.
    __table_args__ = ({"sqlite_with_rowid": False},)


class Event(Base):
    """Something that happened to an experiment, for those who listen: its state, a job's state, or a job's epoch.

    A row without a job tells of the experiment, one with an epoch of the metrics that all runs of the job got with it.
    """

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    # No foreign key. To look it up PostgreSQL locks the experiment's row, for which others wait who hold jobs: a worker
    # that commits an epoch and one that completes a job would wait for each other.
    experiment_id: Mapped[str] = mapped_column(Id)
    job_id: Mapped[str | None] = mapped_column(Id)
    epoch: Mapped[int | None]
    state: Mapped[str | None] = mapped_column(String(20))
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]

    __table_args__ = (
        Index(None, "experiment_id", "id"),
        # Of the few that tell of experiments: how those are found whose events may be forgotten.
        Index(None, "created_at", sqlite_where=text("job_id IS NULL"), postgresql_where=text("job_id IS NULL")),
        # An id that was told must not come again for something else, not even when the newest rows are gone.
        {"sqlite_autoincrement": True},
    )


class IdempotencyKey(Base):
    """An owner's Idempotency-Key and the answer that its first request got."""

    __tablename__ = "idempotency_keys"

    owner: Mapped[str] = mapped_column(String(100), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_hash: Mapped[str] = mapped_column(String(64))
    status: Mapped[int]
    response: Mapped[str] = mapped_column(Text)
    experiment_id: Mapped[str] = mapped_column(Id)
    created_at: Mapped[datetime]

    __table_args__ = (Index(None, "created_at"),)


class Worker(Base):
    """A process that is alive as long as its heartbeat is young: one that trains, or a reconciler with no slots."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int] = mapped_column(BigInteger)
    device: Mapped[str] = mapped_column(String(10))
    slots: Mapped[int]
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]


class ApiKey(Base):
    """A bearer's key, of which only the hash is kept; `name` is the owner that it speaks for."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(100))
    prefix: Mapped[str] = mapped_column(String(20))
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "prefix", unique=True),)


class Counter(Base):
    """Something counted since the database was made, for monitoring."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)
