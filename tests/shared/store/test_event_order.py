"""Events are seen in the order of their ids, and nobody waits for long to tell theirs: transactions that meet."""

import threading
from collections.abc import Callable

import pytest
from sqlalchemy.orm import Session

from shared.store import events, queue
from shared.store.db import Database
from shared.store.event_log import EventKind
from tests.shared.store.experiments import claim, commit, complete, post_jobs, rows, runs
from tests.shared.store.test_event_log import lines, told


class Slow:
    """A transaction that has written its events and is held up before its commit."""

    def __init__(
        self, database: Database, action: Callable[[Session], object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.has_written, self.may_commit = threading.Event(), threading.Event()
        write, me = events.write_noted, self

        def write_and_wait(session: Session) -> None:
            write(session)
            if threading.current_thread() is me.thread:
                me.has_written.set()
                assert me.may_commit.wait(20)

        def transact() -> None:
            with database.write() as session:
                action(session)

        monkeypatch.setattr(events, "write_noted", write_and_wait)
        self.thread = threading.Thread(target=transact)
        self.thread.start()
        assert self.has_written.wait(20)

    def commit(self) -> None:
        self.may_commit.set()
        self.thread.join()


@pytest.mark.postgres
def test_no_event_is_lost_to_one_that_was_committed_before_it(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first transaction has its event's id and does not commit; the second one must not overtake it."""
    database = Database(postgres_url)
    experiment_id, job_ids = post_jobs(database, "relu", "elu", num_seeds=1)
    first, second = (claim(database, job_id) for job_id in job_ids)
    mine, others = rows(database, first, 1), rows(database, second, 1)
    slow = Slow(database, lambda session: queue.commit_epoch(session, first, mine), monkeypatch)

    def commit_second() -> None:
        with database.write() as session:
            queue.commit_epoch(session, second, others)

    quick = threading.Thread(target=commit_second)
    quick.start()
    quick.join(1)
    heard = told(database, experiment_id)
    slow.commit()
    quick.join()
    heard += told(database, experiment_id, heard[-1].at)
    assert {each.data["activation"] for each in heard if each.kind is EventKind.EPOCH} == {"relu", "elu"}
    database.close()


@pytest.mark.postgres
def test_other_experiments_do_not_wait_for_a_slow_commit(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(postgres_url)
    (_, (first,)), (other, (second,)) = (post_jobs(database, "relu", num_seeds=1) for _ in range(2))
    lease, others = claim(database, first), claim(database, second)
    mine = rows(database, lease, 1)
    slow = Slow(database, lambda session: queue.commit_epoch(session, lease, mine), monkeypatch)
    commit(database, others, 1)
    complete(database, others)
    assert lines(database, other)[-1] == "done succeeded"
    slow.commit()
    database.close()


@pytest.mark.postgres
def test_a_commit_and_an_end_do_not_wait_for_each_other(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One has a job and its turn to tell, the other the experiment: both get through, and in order."""
    database = Database(postgres_url)
    experiment_id, job_ids = post_jobs(database, "relu", "elu", num_seeds=1)
    first, second = (claim(database, job_id) for job_id in job_ids)
    mine = rows(database, first, 1)
    slow = Slow(database, lambda session: queue.commit_epoch(session, first, mine), monkeypatch)
    ending = threading.Thread(target=complete, args=(database, second))
    ending.start()
    ending.join(0.5)
    slow.commit()
    ending.join(20)
    assert lines(database, experiment_id)[-1] == "job succeeded"
    assert len(runs(database, second.job_id)) == 2
    database.close()
