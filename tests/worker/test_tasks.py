import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import select, update

from shared.errors import ServiceUnavailableError
from shared.settings import Settings
from shared.store import counters, lifecycle, queue
from shared.store.counters import CounterName
from shared.store.db import Database
from shared.store.keys import LOCAL_OWNER
from shared.store.states import ExperimentState, JobState, RunState
from shared.store.tables import Job, Worker
from shared.store.types import new_id
from tests.shared.store.experiments import (
    claim,
    everything,
    experiment,
    job,
    post_jobs,
    runs,
)
from tests.worker.processes import (
    NUM_EPOCHS,
    SLICES_PER_EPOCH,
    After,
    measured,
    never,
    take_back,
    train,
)
from worker.tasks import Process, retry_while_away

one_batch_a_slice = pytest.mark.usefixtures("slices_of_one_batch")


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


def test_a_process_that_idles_while_a_job_is_sent_out_again_is_deaf(database: Database, settings: Settings) -> None:
    _, (job_id, _) = post_jobs(database, "relu", "tanh")
    process = Process(settings, never)

    def is_deaf_after(*, sent_at: datetime | None) -> bool:
        with database.write() as session:
            session.execute(
                update(Job).where(Job.id == job_id).values(state=JobState.DISPATCHED, dispatched_at=sent_at)
            )
        return process.is_deaf()

    first, again, once_more = (datetime(2026, 3, 1, 12, 0, second, tzinfo=UTC) for second in (0, 6, 12))
    assert not is_deaf_after(sent_at=first)
    assert not is_deaf_after(sent_at=first)  # another worker may have taken it in reserve
    assert is_deaf_after(sent_at=again)
    process.train(new_id())
    assert not is_deaf_after(sent_at=once_more)  # messages do come


def test_a_process_without_a_gpu_leaves_jobs_that_ask_for_one(database: Database, settings: Settings) -> None:
    _, (job_id,) = post_jobs(database, "relu", training={"device": "cuda"})
    train(settings, job_id)
    assert (job(database, job_id).state, job(database, job_id).token) == (JobState.PENDING, 0)


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
            lifecycle.start_cancelling(session, experiment_id, owner=LOCAL_OWNER)

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
            lifecycle.start_cancelling(session, experiment_id, owner=LOCAL_OWNER)

    train(settings, job_id, draining=After(5, cancel, drains=True))
    assert job(database, job_id).state == JobState.CANCELLED
    assert experiment(database, experiment_id).state == ExperimentState.CANCELLED


# --- a database that fails now and then


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


def test_what_a_process_has_trained_is_counted_when_it_tells_that_it_is_there(
    database: Database, settings: Settings
) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    process = Process(settings, never)
    process.train(job_id)
    for _ in range(2):
        process.leave()
    process.database.close()
    with database.read() as session:
        assert counters.read(session)[CounterName.EPOCHS_TRAINED] == 4 * NUM_EPOCHS


def test_what_could_not_be_told_is_told_the_next_time(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(settings, never)
    process.epochs.add(5)
    with monkeypatch.context() as broken:
        broken.setattr(process, "database", Database("postgresql+psycopg://nobody@127.0.0.1:1/none"))
        process.leave()
    process.leave()
    process.database.close()
    with database.read() as session:
        assert counters.read(session)[CounterName.EPOCHS_TRAINED] == 5


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


def test_a_job_that_was_interrupted_does_not_wait_behind_what_has_not_begun(
    database: Database, settings: Settings
) -> None:
    _, (first, interrupted, third) = post_jobs(database, "relu", "elu", "tanh")
    lease = claim(database, interrupted)
    with database.write() as session:
        queue.release(session, lease)
    train(settings, first)
    assert (job(database, interrupted).token, job(database, first).token, job(database, third).token) == (2, 1, 0)
    assert str(job(database, interrupted).claimed_at) < str(job(database, first).claimed_at)
    assert {job(database, each).state for each in (first, interrupted)} == {JobState.SUCCEEDED}


def test_a_process_that_is_not_fit_for_a_job_leaves_the_others_alone_for_a_while(
    database: Database, settings: Settings
) -> None:
    _, (unfit,) = post_jobs(
        database, "relu", dataset={"kind": "mnist"}, corruption={"kind": "symmetric"},
        training={"loss": "cross_entropy"}, num_seeds=1,
    )  # fmt: skip
    _, (other,) = post_jobs(database, "relu")
    process = Process(settings, never)
    for job_id in (unfit, other, unfit):
        process.train(job_id)
    process.database.close()
    assert (job(database, unfit).state, job(database, unfit).losses) == (JobState.PENDING, 1)
    assert (job(database, other).state, job(database, other).token) == (JobState.PENDING, 0)
