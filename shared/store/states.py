"""The states of experiments, jobs and runs. Every transition is one guarded UPDATE; terminal states stay."""

from enum import StrEnum


class ExperimentState(StrEnum):
    """queued -> running -> succeeded | failed | cancelled, by way of cancelling."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobState(StrEnum):
    """pending -> dispatched -> running -> succeeded | failed; running -> pending when a worker is lost or drained."""

    PENDING = "pending"
    DISPATCHED = "dispatched"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RunState(StrEnum):
    """pending -> running -> succeeded | failed | cancelled, as its job; a diverged run has succeeded."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    """How a run that succeeded ended."""

    OK = "ok"
    DIVERGED = "diverged"


OPEN_EXPERIMENT = (ExperimentState.QUEUED, ExperimentState.RUNNING, ExperimentState.CANCELLING)
FINISHED_EXPERIMENT = (ExperimentState.SUCCEEDED, ExperimentState.FAILED, ExperimentState.CANCELLED)
RESUMABLE_EXPERIMENT = (ExperimentState.FAILED, ExperimentState.CANCELLED)
WAITING_JOB = (JobState.PENDING, JobState.DISPATCHED)
LEASED_JOB = (JobState.RUNNING, JobState.CANCELLING)
OPEN_JOB = (*WAITING_JOB, *LEASED_JOB)
FINISHED_JOB = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
