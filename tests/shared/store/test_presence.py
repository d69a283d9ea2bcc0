import os

import pytest
from sqlalchemy import select, update

from shared.store import presence
from shared.store.db import Database
from shared.store.tables import Worker
from shared.store.types import ago, new_id


def announce(database: Database, worker_id: str, *, device: str = "cpu") -> None:
    with database.write() as session:
        presence.announce(session, worker_id, device=device)


def workers(database: Database) -> list[Worker]:
    with database.read() as session:
        return list(session.scalars(select(Worker).order_by(Worker.id)))


def test_a_process_that_announces_itself_offers_one_slot(database: Database) -> None:
    worker_id = new_id()
    announce(database, worker_id, device="cuda")
    (worker,) = workers(database)
    assert (worker.id, worker.slots, worker.device, worker.pid) == (worker_id, 1, "cuda", os.getpid())
    assert abs((worker.started_at - worker.heartbeat_at).total_seconds()) < 1


def test_announcing_again_moves_the_heartbeat_and_doubles_nothing(database: Database) -> None:
    worker_id = new_id()
    announce(database, worker_id)
    with database.write() as session:
        session.execute(
            update(Worker).values(heartbeat_at=ago(50), started_at=ago(60)),
            execution_options={"synchronize_session": False},
        )
    announce(database, worker_id)
    (worker,) = workers(database)
    assert (worker.heartbeat_at - worker.started_at).total_seconds() == pytest.approx(60, abs=5)


def test_who_leaves_is_gone_and_may_leave_twice(database: Database) -> None:
    staying, leaving = new_id(), new_id()
    announce(database, staying)
    announce(database, leaving)
    for _ in range(2):
        with database.write() as session:
            presence.leave(session, leaving)
    assert [worker.id for worker in workers(database)] == [staying]


def test_only_the_long_dead_are_forgotten(database: Database) -> None:
    ids = [new_id() for _ in range(3)]
    for worker_id, silent_s in zip(ids, (0, 3500, 3700), strict=True):
        announce(database, worker_id)
        with database.write() as session:
            session.execute(
                update(Worker).where(Worker.id == worker_id).values(heartbeat_at=ago(silent_s)),
                execution_options={"synchronize_session": False},
            )
    with database.write() as session:
        assert presence.forget_the_dead(session) == 1
    assert [worker.id for worker in workers(database)] == sorted(ids[:2])


def test_a_reconciler_is_alive_but_offers_nothing(database: Database) -> None:
    trains, reconciles = new_id(), new_id()
    announce(database, trains)
    announce(database, reconciles, device=presence.RECONCILER)
    with database.read() as session:
        assert [worker.id for worker in session.scalars(presence.alive(30))] == [trains]
        assert presence.num_reconcilers(session, 30) == 1
    assert {worker.id: worker.slots for worker in workers(database)} == {trains: 1, reconciles: 0}
