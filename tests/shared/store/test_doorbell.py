import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from shared.settings import Settings
from shared.store import presence, queue
from shared.store.db import Database
from shared.store.doorbell import UNANSWERED_S, broker_answers, dispatch
from shared.store.states import JobState
from shared.store.tables import Job, Worker
from shared.store.types import ago, new_id
from tests.shared.store.broker import Broker
from tests.shared.store.experiments import claim, complete, job, post_jobs

MANY = ("relu", "elu", "tanh", "gelu", "silu", "mish", "selu", "celu", "relu6", "sigmoid")


@pytest.fixture
def broker_url(broker: Broker) -> str:
    return broker.url


@pytest.fixture
def absent_broker(module_broker: Broker) -> Iterator[Broker]:
    """The broker, stopped for the time of a test."""
    module_broker.stop()
    yield module_broker
    module_broker.start()


def workers(database: Database, count: int, *, device: str = "cpu") -> list[str]:
    """Announce some training processes; their ids."""
    ids = [new_id() for _ in range(count)]
    for worker_id in ids:
        with database.write() as session:
            presence.announce(session, worker_id, device=device)
    return ids


def states(database: Database, job_ids: list[str]) -> list[str]:
    return [job(database, job_id).state for job_id in job_ids]


def dispatched_earlier(database: Database, job_id: str, *, seconds: float) -> None:
    with database.write() as session:
        session.execute(
            update(Job).where(Job.id == job_id).values(state=JobState.DISPATCHED, dispatched_at=ago(seconds)),
            execution_options={"synchronize_session": False},
        )


def test_a_message_holds_the_id_of_its_job_and_nothing_else(
    database: Database, settings: Settings, broker: Broker
) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    assert dispatch(database, settings) == 1
    assert broker.messages() == [job_id]
    assert job(database, job_id).state == JobState.DISPATCHED
    assert job(database, job_id).dispatched_at is not None


def test_jobs_are_dispatched_in_the_order_in_which_they_were_posted(
    database: Database, settings: Settings, broker: Broker
) -> None:
    workers(database, 5)
    _, ids = post_jobs(database, *MANY)
    dispatch(database, settings)
    assert broker.messages() == ids


@pytest.mark.parametrize(("slots", "outstanding"), [(0, 2), (1, 2), (3, 6)])
def test_about_twice_the_slots_are_outstanding(
    slots: int, outstanding: int, database: Database, settings: Settings, broker: Broker
) -> None:
    workers(database, slots)
    _, ids = post_jobs(database, *MANY)
    assert dispatch(database, settings) == outstanding
    assert dispatch(database, settings) == 0
    assert states(database, ids).count(JobState.DISPATCHED) == outstanding == len(broker.messages())
    complete(database, claim(database, ids[0]))
    assert dispatch(database, settings) == 1, "the next takes the place of the one that was claimed"


def test_workers_that_fell_silent_offer_no_slots(database: Database, settings: Settings, broker: Broker) -> None:
    workers(database, 4)
    with database.write() as session:
        session.execute(update(Worker).values(heartbeat_at=ago(100)), execution_options={"synchronize_session": False})
    _, _ids = post_jobs(database, *MANY)
    assert dispatch(database, settings) == 2


def test_what_an_idle_worker_does_not_answer_is_sent_again(
    database: Database, settings: Settings, broker: Broker
) -> None:
    workers(database, 1)
    _, (job_id,) = post_jobs(database, "relu")
    dispatch(database, settings)
    broker.forget_everything()
    assert dispatch(database, settings) == 0, "it may still be answered"
    dispatched_earlier(database, job_id, seconds=UNANSWERED_S + 1)
    assert dispatch(database, settings) == 1
    assert broker.messages() == [job_id]


def test_while_all_workers_are_busy_nothing_counts_as_unanswered(
    database: Database, settings: Settings, broker: Broker
) -> None:
    (worker_id,) = workers(database, 1)
    _, (busy, waiting) = post_jobs(database, "relu", "elu")
    with database.write() as session:
        assert queue.claim(session, busy, worker_id) is not None
    dispatched_earlier(database, waiting, seconds=100)
    assert dispatch(database, settings) == 0
    assert broker.messages() == []


def test_without_any_worker_messages_do_not_pile_up(database: Database, settings: Settings, broker: Broker) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    for _ in range(3):
        dispatch(database, settings)
        dispatched_earlier(database, job_id, seconds=100)
    assert broker.messages() == [job_id]


def test_jobs_that_ask_for_a_gpu_go_to_their_own_queue(database: Database, settings: Settings, broker: Broker) -> None:
    workers(database, 1, device="cuda")
    _, (job_id,) = post_jobs(database, "relu", training={"device": "cuda"})
    dispatch(database, settings)
    assert (broker.messages("any"), broker.messages("cuda")) == ([], [job_id])


def test_jobs_that_wait_for_a_gpu_nobody_has_keep_no_others_waiting(
    database: Database, settings: Settings, broker: Broker
) -> None:
    workers(database, 1)
    post_jobs(database, *MANY, training={"device": "cuda"})
    dispatch(database, settings)
    _, ids = post_jobs(database, "relu", "elu")
    dispatch(database, settings)
    assert broker.messages("any") == ids


def test_jobs_that_wait_for_a_gpu_nobody_has_are_not_sent_again_and_again(
    database: Database, settings: Settings, broker: Broker
) -> None:
    workers(database, 1)
    _, (job_id,) = post_jobs(database, "relu", training={"device": "cuda"})
    for _ in range(3):
        dispatch(database, settings)
        if job(database, job_id).state == JobState.DISPATCHED:
            dispatched_earlier(database, job_id, seconds=100)
    assert len(broker.messages("cuda")) <= 1


def test_with_the_broker_away_jobs_stay_pending_and_it_is_said_quickly(
    database: Database, settings: Settings, absent_broker: Broker
) -> None:
    _, ids = post_jobs(database, *MANY)
    workers(database, 5)
    started = time.monotonic()
    assert dispatch(database, settings) == 0
    assert time.monotonic() - started < 5
    assert set(states(database, ids)) == {JobState.PENDING}
    assert {job(database, job_id).dispatched_at for job_id in ids} == {None}


def test_a_broker_that_comes_back_empty_is_rung_again(database: Database, settings: Settings, broker: Broker) -> None:
    workers(database, 1)
    _, (first,) = post_jobs(database, "relu")
    assert dispatch(database, settings) == 1
    broker.stop()
    _, (second,) = post_jobs(database, "elu")
    assert dispatch(database, settings) == 0
    broker.start()
    dispatched_earlier(database, first, seconds=100)
    sent = 0
    for _ in range(5):
        sent += dispatch(database, settings)
        if sent == 2:
            break
    assert set(broker.messages()) == {first, second}


def test_several_reconcilers_send_each_job_once(database: Database, settings: Settings, broker: Broker) -> None:
    from concurrent.futures import ThreadPoolExecutor

    workers(database, 10)
    _, ids = post_jobs(database, *MANY)
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(lambda _: dispatch(database, settings), range(4)))
    assert sum(counts) == len(ids)
    assert sorted(broker.messages()) == ids


def test_whether_the_broker_answers(module_broker: Broker, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path, broker_url=module_broker.url)
    assert broker_answers(settings)
    module_broker.stop()
    try:
        started = time.monotonic()
        assert not broker_answers(settings)
        assert time.monotonic() - started < 5
    finally:
        module_broker.start()
    assert broker_answers(settings)


def test_a_job_that_is_over_is_not_sent(database: Database, settings: Settings, broker: Broker) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    with database.write() as session:
        queue.fail(session, lease, "no")
    assert dispatch(database, settings) == 0
    assert broker.messages() == []


@pytest.mark.redis
def test_a_redis_server_is_rung_as_well(database: Database, settings: Settings, redis_url: str) -> None:
    import redis

    _, (job_id,) = post_jobs(database, "relu")
    assert dispatch(database, settings.model_copy(update={"broker_url": redis_url})) == 1
    with redis.Redis.from_url(redis_url) as client:
        assert client.llen("actrobust.any") == 1
    assert job(database, job_id).state == JobState.DISPATCHED
