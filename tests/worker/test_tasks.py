import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.errors import ServiceUnavailableError
from shared.settings import Settings
from shared.spec import ExperimentSpec
from shared.store import queue, repository
from shared.store.db import Database
from shared.store.states import ExperimentState, JobState, Outcome, RunState
from shared.store.tables import Job, Worker
from shared.store.types import new_id
from tests.shared.specs import TINY_CLASSIFICATION, tiny
from tests.shared.store.experiments import (
    claim,
    everything,
    experiment,
    job,
    job_ids,
    post,
    post_jobs,
    runs,
)  # fmt: skip
from tests.shared.training.populations import by_member
from tests.worker.processes import (
    NUM_EPOCHS,
    SLICES_PER_EPOCH,
    After,
    checkpoint_files,
    described,
    measured,
    never,
    take_back,
    train,
)  # fmt: skip
from worker.tasks import Process, retry_while_away

one_batch_a_slice = pytest.mark.usefixtures("slices_of_one_batch")


# --- from rows to the end


@pytest.mark.parametrize("base", [{}, TINY_CLASSIFICATION], ids=["regression", "classification"])
def test_a_job_is_trained_from_its_rows_to_the_end(
    base: dict[str, object], database: Database, settings: Settings
) -> None:
    spec = tiny(base) if base else tiny()
    experiment_id = post(database, spec)
    (job_id,) = job_ids(database, experiment_id)
    train(settings, job_id)
    assert (job(database, job_id).state, job(database, job_id).token) == (JobState.SUCCEEDED, 1)
    finished = experiment(database, experiment_id)
    assert (finished.state, finished.error) == (ExperimentState.SUCCEEDED, None)
    expected = {
        ("relu", member.rate, member.seed, record.pop("epoch")): tuple(
            record[name]
            for name in (
                "train_loss", "val_loss", "train_accuracy", "val_accuracy", "val_loss_a", "val_accuracy_a",
                "memorization", "recovery",
            )
        )
        for member, records in by_member(spec).items()
        for record in records
    }  # fmt: skip
    stored = measured(database, experiment_id)
    assert {key: values[:-1] for key, values in stored.items()} == expected
    assert {values[-1] for values in stored.values()} == {None}


def test_what_is_known_of_every_run_is_stored_with_it(database: Database, settings: Settings) -> None:
    experiment_id = post(database, tiny(TINY_CLASSIFICATION, activations=["relu", "tanh"]))
    for job_id in job_ids(database, experiment_id):
        train(settings, job_id)
    found = described(database, experiment_id)
    assert len(found) == 8
    for (activation, rate, seed), (state, outcome, epoch, null_loss, null_accuracy, realised, mask) in found.items():
        assert (state, outcome, epoch, realised) == (RunState.SUCCEEDED, Outcome.OK, NUM_EPOCHS, rate)
        assert 2 < null_loss < 2.4
        assert 0.1 <= null_accuracy < 0.3
        other = "tanh" if activation == "relu" else "relu"
        assert mask == found[other, rate, seed][-1]
        assert mask != found[activation, 0.2 - rate, seed][-1]


def test_a_job_remembers_what_its_last_digits_depend_on(sqlite_database: Database, on_sqlite: Settings) -> None:
    _, (job_id,) = post_jobs(sqlite_database, "relu")
    train(on_sqlite, job_id)
    numerics = job(sqlite_database, job_id).numerics
    assert numerics is not None
    assert (numerics["engine"], numerics["device"], numerics["threads"]) == ("serial", "cpu", 1)


def test_the_same_spec_trained_twice_has_identical_metrics(database: Database, settings: Settings) -> None:
    spec = tiny(activations=["prelu"], architecture={"dropout": 0.2})
    first, second = post(database, spec), post(database, spec)
    for experiment_id in (first, second):
        train(settings, *job_ids(database, experiment_id))
    assert measured(database, first) == measured(database, second)
    assert described(database, first) == described(database, second)


def test_a_finished_job_leaves_no_checkpoint(sqlite_database: Database, on_sqlite: Settings) -> None:
    _, (job_id,) = post_jobs(sqlite_database, "relu")
    train(on_sqlite, job_id, checkpoint_interval_s=0.0)
    assert job(sqlite_database, job_id).state == JobState.SUCCEEDED
    assert not (on_sqlite.checkpoints_dir / job_id).exists()


@one_batch_a_slice
def test_at_most_two_checkpoints_are_kept_and_the_database_points_at_them(
    sqlite_database: Database, on_sqlite: Settings
) -> None:
    _, (job_id,) = post_jobs(sqlite_database, "relu")
    train(on_sqlite, job_id, draining=After(20, drains=True), checkpoint_interval_s=0.0)
    pointers = job(sqlite_database, job_id).checkpoints
    assert len(pointers) == 2
    assert sorted(pointer["file"] for pointer in pointers) == [
        path.name for path in checkpoint_files(on_sqlite, job_id)
    ]
    assert pointers[0]["file"] > pointers[1]["file"], "the newest first"


# --- messages that come too often, too late or to the wrong place


def test_ten_deliveries_of_one_message_are_one_execution(database: Database, settings: Settings) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    threads = [threading.Thread(target=train, args=(settings, job_id)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (job(database, job_id).state, job(database, job_id).token) == (JobState.SUCCEEDED, 1)
    assert len(measured(database, experiment_id)) == 4 * NUM_EPOCHS


def test_a_message_for_a_job_that_is_over_or_unknown_does_nothing(database: Database, settings: Settings) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    train(settings, job_id)
    before = everything(database)
    train(settings, job_id)
    train(settings, new_id())
    assert everything(database) == before


def test_a_process_that_drains_takes_no_job(database: Database, settings: Settings) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    train(settings, job_id, draining=lambda: True)
    assert (job(database, job_id).state, job(database, job_id).token) == (JobState.PENDING, 0)


def test_a_process_without_a_gpu_leaves_jobs_that_ask_for_one(database: Database, settings: Settings) -> None:
    _, (job_id,) = post_jobs(database, "relu", training={"device": "cuda"})
    train(settings, job_id)
    assert (job(database, job_id).state, job(database, job_id).token) == (JobState.PENDING, 0)


# --- what goes wrong with the job itself


def test_a_job_whose_data_set_is_missing_fails_with_the_command_that_fetches_it(
    database: Database, settings: Settings
) -> None:
    experiment_id, ids = post_jobs(database, "relu", "elu", dataset={"kind": "mnist"}, corruption={"kind": "symmetric"},
                                   training={"loss": "cross_entropy"}, num_seeds=1)  # fmt: skip
    for job_id in ids:
        train(settings, job_id)
        failed = job(database, job_id)
        assert failed.state == JobState.FAILED
        assert failed.error == "the data set is not on this worker's disk; run: actrobust datasets fetch mnist"
        assert {run.state for run in runs(database, job_id)} == {RunState.FAILED}
    finished = experiment(database, experiment_id)
    assert finished.state == ExperimentState.FAILED
    assert finished.error is not None
    assert finished.error.startswith("2 of 2 jobs failed; relu: ")


def test_a_job_that_this_version_cannot_train_fails_and_says_where_to_read_on(
    database: Database, settings: Settings
) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    with database.write() as session:
        session.get_one(Job, job_id).numerics = {"engine": "quantum", "device": "cpu"}
    train(settings, job_id)
    failed = job(database, job_id)
    assert failed.state == JobState.FAILED
    assert failed.error == f"training raised ValueError; the worker's log tells more under job {job_id}"


def test_a_diverged_run_is_told_by_its_last_row_and_the_job_succeeds(database: Database, settings: Settings) -> None:
    experiment_id, (job_id,) = post_jobs(
        database, "identity", corruption={"sd": 1000.0, "rates": [0.5]}, architecture={"batch_norm": False},
        training={"epochs": 5, "optimizer": {"kind": "sgd", "lr": 0.05}}, num_seeds=1,
    )  # fmt: skip
    train(settings, job_id)
    assert experiment(database, experiment_id).state == ExperimentState.SUCCEEDED
    found, rows = described(database, experiment_id), measured(database, experiment_id)
    assert found["identity", 0.0, 0][:3] == (RunState.SUCCEEDED, Outcome.OK, 5)
    state, outcome, last, *_ = found["identity", 0.5, 0]
    assert (state, outcome) == (RunState.SUCCEEDED, Outcome.DIVERGED)
    assert last < 5
    dirty = {epoch: values for (_, rate, _, epoch), values in rows.items() if rate == 0.5}
    assert sorted(dirty) == list(range(1, last + 1))
    for epoch, values in dirty.items():
        train_loss, val_loss, nonfinite = values[0], values[1], values[-1]
        if epoch == last:
            assert nonfinite in {"nan", "inf", "-inf"}
            assert train_loss is None or val_loss is None
        else:
            assert nonfinite is None


def test_a_disk_that_takes_no_checkpoint_costs_the_checkpoint_and_not_the_job(
    sqlite_database: Database, on_sqlite: Settings
) -> None:
    _, (job_id,) = post_jobs(sqlite_database, "relu")
    on_sqlite.checkpoints_dir.parent.mkdir(parents=True, exist_ok=True)
    on_sqlite.checkpoints_dir.write_text("a file where the folder should be")
    train(on_sqlite, job_id, checkpoint_interval_s=0.0)
    assert job(sqlite_database, job_id).state == JobState.SUCCEEDED
    assert job(sqlite_database, job_id).checkpoints == []


# --- losing the job to somebody else


@one_batch_a_slice
@pytest.mark.parametrize("num_slices", [1, SLICES_PER_EPOCH - 1, SLICES_PER_EPOCH, 2 * SLICES_PER_EPOCH + 3])
def test_a_process_that_lost_its_job_writes_nothing_more(
    num_slices: int, database: Database, settings: Settings
) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    stolen: list[dict[str, list[tuple[object, ...]]]] = []

    def steal() -> None:
        take_back(database, settings, job_id)
        claim(database, job_id)
        stolen.append(everything(database))

    train(settings, job_id, draining=After(num_slices, steal))
    assert everything(database) == stolen[0]
    assert (job(database, job_id).state, job(database, job_id).token) == (JobState.RUNNING, 2)


@one_batch_a_slice
@pytest.mark.parametrize("num_slices", [2, SLICES_PER_EPOCH])
def test_a_cancelled_job_stops_within_an_epoch_and_says_so(
    num_slices: int, database: Database, settings: Settings
) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")

    def cancel() -> None:
        with database.write() as session:
            repository.start_cancelling(session, experiment_id)

    slices = After(num_slices, cancel)
    train(settings, job_id, draining=slices)
    assert job(database, job_id).state == JobState.CANCELLED
    assert experiment(database, experiment_id).state == ExperimentState.CANCELLED
    assert {run.state for run in runs(database, job_id)} == {RunState.CANCELLED}
    assert slices.asked <= num_slices + SLICES_PER_EPOCH + 1
    assert len(measured(database, experiment_id)) == 4 * (num_slices // SLICES_PER_EPOCH)


@one_batch_a_slice
def test_a_cancellation_that_meets_a_drain_is_not_lost(database: Database, settings: Settings) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")

    def cancel() -> None:
        with database.write() as session:
            repository.start_cancelling(session, experiment_id)

    train(settings, job_id, draining=After(5, cancel, drains=True))
    assert job(database, job_id).state == JobState.CANCELLED
    assert experiment(database, experiment_id).state == ExperimentState.CANCELLED


# --- going on where another stopped

SPECS = {
    "plain": tiny(),
    "noise of every kind": tiny(activations=["rrelu"], architecture={"dropout": 0.3}, num_seeds=2),
    "labels": tiny(TINY_CLASSIFICATION, dataset={"train_size": 48}),
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
def test_a_job_drained_again_and_again_is_finished_with_identical_metrics(
    sqlite_database: Database, on_sqlite: Settings
) -> None:
    spec = SPECS["noise of every kind"]
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
    train(settings, job_id, draining=lost, checkpoint_interval_s=checkpoint_interval_s)
    assert job(database, job_id).losses == 1
    assert bool(job(database, job_id).checkpoints) is (checkpoint_interval_s == 0)
    train(settings, job_id)
    assert job(database, job_id).state == JobState.SUCCEEDED
    assert measured(database, experiment_id) == measured(database, reference)
    assert described(database, experiment_id) == described(database, reference)


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
    spec = tiny()
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
            repository.start_cancelling(session, experiment_id)

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


def failing(times: int, error: type[Exception] = ServiceUnavailableError) -> tuple[Callable[[], None], list[int]]:
    attempts: list[int] = []

    def action() -> None:
        attempts.append(len(attempts))
        if len(attempts) <= times:
            raise error("no answer")

    return action, attempts


def test_a_write_is_repeated_until_the_database_answers() -> None:
    action, attempts = failing(3)
    retry_while_away(action, give_up=never, pause_s=0.001)
    assert len(attempts) == 4


def test_a_write_is_given_up_once_it_is_too_late() -> None:
    action, attempts = failing(100)
    with pytest.raises(ServiceUnavailableError):
        retry_while_away(action, give_up=lambda: len(attempts) >= 3, pause_s=0.001)
    assert len(attempts) == 3


def test_errors_that_repeating_does_not_mend_are_not_repeated() -> None:
    action, attempts = failing(5, ValueError)
    with pytest.raises(ValueError, match="no answer"):
        retry_while_away(action, give_up=never, pause_s=0.001)
    assert len(attempts) == 1


# --- being there


def workers(database: Database) -> list[Worker]:
    with database.read() as session:
        return list(session.scalars(select(Worker)))


def eventually(condition: Callable[[], bool], *, timeout_s: float = 5.0) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_a_process_announces_itself_and_signs_off(database: Database, settings: Settings) -> None:
    process = Process(settings, never)
    process.announce_forever()
    assert eventually(lambda: [worker.id for worker in workers(database)] == [process.worker_id])
    process.leave()
    assert workers(database) == []
    process.database.close()


def test_a_process_is_one_for_all_its_messages(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Process, "_current", None)
    first = Process.current(settings, never)
    assert Process.current(settings, never) is first
    first.database.close()


def test_a_job_that_ended_lets_the_next_be_sent(database: Database, settings: Settings) -> None:
    """The broker is away here; the attempt must neither fail nor leave the next job in a wrong state."""
    _, (first, second) = post_jobs(database, "relu", "elu")
    train(settings, first)
    assert job(database, first).state == JobState.SUCCEEDED
    assert job(database, second).state == JobState.PENDING
    with database.write() as session:
        assert queue.claim(session, second, new_id()) is not None
