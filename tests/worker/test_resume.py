from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy.orm import Session

from shared.errors import ServiceUnavailableError
from shared.settings import Settings
from shared.spec import ExperimentSpec
from shared.store import lifecycle
from shared.store.db import Database
from shared.store.keys import LOCAL_OWNER
from shared.store.states import ExperimentState, JobState
from shared.store.tables import Job
from tests.shared.specs import TINY_CLASSIFICATION, tiny_serial
from tests.shared.store.experiments import (
    experiment,
    job,
    job_ids,
    post,
    post_jobs,
    runs,
)
from tests.shared.training.populations import needs_compiler
from tests.worker.processes import (
    SLICES_PER_EPOCH,
    After,
    OneClaim,
    checkpoint_files,
    described,
    measured,
    never,
    take_back,
    train,
)
from worker.tasks import Process, retry_while_away

one_batch_a_slice = pytest.mark.usefixtures("slices_of_one_batch")


# --- going on where another stopped

SPECS = {
    "plain": tiny_serial(),
    "noise of every kind": tiny_serial(activations=["rrelu"], architecture={"dropout": 0.3}, num_seeds=2),
    "labels": tiny_serial(TINY_CLASSIFICATION, dataset={"train_size": 48}),
    "compiled code": tiny_serial(activations=["prelu"], architecture={"dropout": 0.3}, training={"engine": "compiled"}),
}


def undisturbed(database: Database, settings: Settings, spec: ExperimentSpec) -> str:
    experiment_id = post(database, spec)
    train(settings, *job_ids(database, experiment_id))
    return experiment_id


@one_batch_a_slice
@pytest.mark.parametrize("name", ["noise of every kind", "labels"])
def test_a_drained_job_is_finished_by_another_process_with_identical_metrics(
    name: str, database: Database, settings: Settings
) -> None:
    reference = undisturbed(database, settings, SPECS[name])
    for num_slices in (5, SLICES_PER_EPOCH, 2 * SLICES_PER_EPOCH + 7):
        experiment_id = post(database, SPECS[name])
        (job_id,) = job_ids(database, experiment_id)
        train(settings, job_id, draining=After(num_slices, drains=True))
        released = job(database, job_id)
        assert (released.state, released.losses, released.worker_id) == (JobState.PENDING, 0, None)
        assert [pointer["epoch"] for pointer in released.checkpoints] == [num_slices // SLICES_PER_EPOCH]
        assert len(checkpoint_files(settings, job_id)) == 1
        train(settings, job_id)
        assert (job(database, job_id).state, job(database, job_id).token) == (JobState.SUCCEEDED, 2)
        assert measured(database, experiment_id) == measured(database, reference)
        assert described(database, experiment_id) == described(database, reference)


@one_batch_a_slice
@pytest.mark.parametrize("name", ["noise of every kind", pytest.param("compiled code", marks=needs_compiler)])
def test_a_job_drained_again_and_again_is_finished_with_identical_metrics(
    name: str, sqlite_database: Database, on_sqlite: Settings
) -> None:
    spec = SPECS[name]
    reference, experiment_id = undisturbed(sqlite_database, on_sqlite, spec), post(sqlite_database, spec)
    (job_id,) = job_ids(sqlite_database, experiment_id)
    for _ in range(20):
        if job(sqlite_database, job_id).state == JobState.SUCCEEDED:
            break
        train(on_sqlite, job_id, draining=After(7, drains=True))
    assert job(sqlite_database, job_id).state == JobState.SUCCEEDED
    assert job(sqlite_database, job_id).losses == 0
    assert measured(sqlite_database, experiment_id) == measured(sqlite_database, reference)


@one_batch_a_slice
@pytest.mark.parametrize("checkpoint_interval_s", [0.0, 1e9], ids=["from its checkpoint", "from the start"])
def test_a_lost_job_is_finished_by_another_process_with_identical_metrics(
    checkpoint_interval_s: float, database: Database, settings: Settings
) -> None:
    spec = SPECS["noise of every kind"]
    reference, experiment_id = undisturbed(database, settings, spec), post(database, spec)
    (job_id,) = job_ids(database, experiment_id)
    lost = After(SLICES_PER_EPOCH + 5, lambda: take_back(database, settings, job_id))
    train(settings, job_id, draining=lost, kind=OneClaim, checkpoint_interval_s=checkpoint_interval_s)
    assert job(database, job_id).losses == 1
    assert job(database, job_id).state != JobState.SUCCEEDED
    assert bool(job(database, job_id).checkpoints) is (checkpoint_interval_s == 0)
    train(settings, job_id)
    assert job(database, job_id).state == JobState.SUCCEEDED
    assert measured(database, experiment_id) == measured(database, reference)
    assert described(database, experiment_id) == described(database, reference)


@one_batch_a_slice
def test_what_was_measured_after_the_last_checkpoint_is_forgotten_before_training_goes_on(
    sqlite_database: Database, on_sqlite: Settings
) -> None:
    experiment_id, (job_id,) = post_jobs(sqlite_database, "relu")
    lost = After(2 * SLICES_PER_EPOCH + 5, lambda: take_back(sqlite_database, on_sqlite, job_id))
    train(on_sqlite, job_id, draining=lost, kind=OneClaim, checkpoint_interval_s=1e9)
    assert {epoch for _, _, _, epoch in measured(sqlite_database, experiment_id)} == {1, 2}
    train(on_sqlite, job_id, draining=After(1, drains=True))
    assert measured(sqlite_database, experiment_id) == {}
    assert {run.epoch for run in runs(sqlite_database, job_id)} == {0}


@one_batch_a_slice
@pytest.mark.parametrize("num_broken", [1, 2])
def test_a_job_whose_checkpoints_are_broken_goes_back_further_and_ends_with_identical_metrics(
    num_broken: int, sqlite_database: Database, on_sqlite: Settings
) -> None:
    spec = SPECS["noise of every kind"]
    reference, experiment_id = undisturbed(sqlite_database, on_sqlite, spec), post(sqlite_database, spec)
    (job_id,) = job_ids(sqlite_database, experiment_id)
    train(on_sqlite, job_id, draining=After(2 * SLICES_PER_EPOCH, drains=True), checkpoint_interval_s=0.0)
    files = checkpoint_files(on_sqlite, job_id)
    assert len(files) == 2
    for path in files[::-1][:num_broken]:
        path.write_bytes(path.read_bytes()[:-1])
    train(on_sqlite, job_id)
    assert job(sqlite_database, job_id).state == JobState.SUCCEEDED
    assert measured(sqlite_database, experiment_id) == measured(sqlite_database, reference)


@one_batch_a_slice
def test_a_checkpoint_that_does_not_fit_is_as_good_as_none(sqlite_database: Database, on_sqlite: Settings) -> None:
    """As one that another version wrote: it must not leave half of itself in the weights."""
    from shared.store.checkpoints import CheckpointStore
    from shared.store.queue import Lease

    spec = SPECS["plain"]
    reference, experiment_id = undisturbed(sqlite_database, on_sqlite, spec), post(sqlite_database, spec)
    (job_id,) = job_ids(sqlite_database, experiment_id)
    train(on_sqlite, job_id, draining=After(SLICES_PER_EPOCH + 5, drains=True))
    store = CheckpointStore(on_sqlite.checkpoints_dir)
    (state,) = store.load(job_id, job(sqlite_database, job_id).checkpoints)
    del state["3.sums"]
    with sqlite_database.write() as session:
        session.get_one(Job, job_id).checkpoints = [store.save(Lease(job_id, 1), state, epoch=1, number=9)]
    train(on_sqlite, job_id)
    assert job(sqlite_database, job_id).state == JobState.SUCCEEDED
    assert measured(sqlite_database, experiment_id) == measured(sqlite_database, reference)


# --- a database that fails now and then

# Writes of a tiny job: claim, numerics, running, facts, rewind, three epochs, the end.
WRITES = {2: "numerics", 3: "running", 4: "facts", 5: "rewind", 7: "second epoch", 9: "end"}


class EventfulDatabase(Database):
    """Something happens right before or right after one of its writes, counted from 1."""

    def __init__(self, url: str, *, number: int, event: Callable[[], None], after_commit: bool) -> None:
        super().__init__(url)
        self.number, self.event, self.after_commit = number, event, after_commit
        self.writes = 0

    @contextmanager
    def write(self) -> Iterator[Session]:
        self.writes += 1
        now = self.writes == self.number
        if now and not self.after_commit:
            self.event()
        with super().write() as session:
            yield session
        if now and self.after_commit:
            self.event()


def close_the_connection() -> None:
    raise ServiceUnavailableError("the database closed the connection")


def train_with(database: Database, settings: Settings, job_id: str, *, draining: Callable[[], bool] = never) -> None:
    process = Process(settings, draining)
    process.database.close()
    process.database = database
    process.train(job_id)
    database.close()


@pytest.mark.parametrize("after_commit", [False, True], ids=["nothing done", "answer lost"])
@pytest.mark.parametrize("number", WRITES, ids=list(WRITES.values()))
def test_a_database_that_fails_once_costs_no_run(
    number: int,
    after_commit: bool,
    sqlite_database: Database,
    on_sqlite: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry_while_away, "__kwdefaults__", {"pause_s": 0.01})
    url = on_sqlite.effective_database_url
    spec = tiny_serial()
    reference, experiment_id = undisturbed(sqlite_database, on_sqlite, spec), post(sqlite_database, spec)
    (job_id,) = job_ids(sqlite_database, experiment_id)
    failing_once = EventfulDatabase(url, number=number, event=close_the_connection, after_commit=after_commit)
    train_with(failing_once, on_sqlite, job_id)
    stopped = job(sqlite_database, job_id)
    assert stopped.state in {JobState.SUCCEEDED, JobState.RUNNING, JobState.PENDING}, stopped.error
    if stopped.state == JobState.RUNNING:
        take_back(sqlite_database, on_sqlite, job_id)
    train(on_sqlite, job_id)
    assert job(sqlite_database, job_id).state == JobState.SUCCEEDED
    assert measured(sqlite_database, experiment_id) == measured(sqlite_database, reference)


@one_batch_a_slice
def test_a_cancellation_between_the_last_checkpoint_and_handing_back_is_confirmed(
    sqlite_database: Database, on_sqlite: Settings
) -> None:
    """Nobody else will: a draining process takes no more jobs, and the lease would have to run out first."""
    url = on_sqlite.effective_database_url
    experiment_id, (job_id,) = post_jobs(sqlite_database, "relu")

    def cancel() -> None:
        with sqlite_database.write() as session:
            lifecycle.start_cancelling(session, experiment_id, owner=LOCAL_OWNER)

    # Claim, numerics, running, facts, rewind, checkpoint; then handing back.
    train_with(
        EventfulDatabase(url, number=6, event=cancel, after_commit=True),
        on_sqlite,
        job_id,
        draining=After(5, drains=True),
    )
    assert len(job(sqlite_database, job_id).checkpoints) == 1
    assert job(sqlite_database, job_id).state == JobState.CANCELLED
    assert experiment(sqlite_database, experiment_id).state == ExperimentState.CANCELLED
