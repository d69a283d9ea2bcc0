import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime

from shared.store import repository
from shared.store.db import Database
from shared.store.keys import LOCAL_OWNER
from shared.store.tables import IdempotencyKey
from shared.store.types import new_id


def reserve(database: Database, key: str, *, experiment_id: str, pause_s: float = 0.0) -> IdempotencyKey | None:
    with database.write() as session:
        row = repository.reserve_idempotency_key(session, key, owner=LOCAL_OWNER, body_hash="hash")
        if row is not None:
            time.sleep(pause_s)
            row.status, row.response, row.experiment_id = 202, "{}", experiment_id
        return row


def test_a_key_is_reserved_once_and_then_answers(database: Database) -> None:
    experiment_id = new_id()
    assert reserve(database, "k", experiment_id=experiment_id) is not None
    assert reserve(database, "k", experiment_id=new_id()) is None
    with database.read() as session:
        found = repository.find_idempotent(session, "k", owner=LOCAL_OWNER)
        assert repository.find_idempotent(session, "other", owner=LOCAL_OWNER) is None
    assert found is not None
    assert (found.status, found.body_hash, found.experiment_id) == (202, "hash", experiment_id)


def test_a_reservation_whose_request_failed_is_free_again(database: Database) -> None:
    with suppress(RuntimeError), database.write() as session:
        assert repository.reserve_idempotency_key(session, "k", owner=LOCAL_OWNER, body_hash="hash") is not None
        raise RuntimeError
    assert reserve(database, "k", experiment_id=new_id()) is not None


def test_of_many_requests_with_one_key_one_gets_it_and_the_others_wait_for_its_answer(database: Database) -> None:
    together = threading.Barrier(8)

    def request(_: int) -> tuple[bool, int]:
        together.wait()
        mine = reserve(database, "k", experiment_id=new_id(), pause_s=0.1) is not None
        with database.read() as session:
            found = repository.find_idempotent(session, "k", owner=LOCAL_OWNER)
            assert found is not None
            return mine, found.status

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(request, range(8)))
    assert sum(mine for mine, _ in answers) == 1
    assert {status for _, status in answers} == {202}


def test_keys_are_forgotten_after_their_time(database: Database) -> None:
    for key in ("old", "young"):
        reserve(database, key, experiment_id=new_id())
    with database.write() as session:
        session.get_one(IdempotencyKey, (LOCAL_OWNER, "old")).created_at = datetime(2026, 3, 1, tzinfo=UTC)
    with database.write() as session:
        assert repository.forget_idempotency_keys(session, datetime(2026, 3, 1, 0, 0, 1, tzinfo=UTC)) == 1
    assert reserve(database, "old", experiment_id=new_id()) is not None
    assert reserve(database, "young", experiment_id=new_id()) is None
