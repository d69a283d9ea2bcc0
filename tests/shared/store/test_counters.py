import threading

from shared.store import counters
from shared.store.counters import CounterName
from shared.store.db import Database
from tests.shared.store.experiments import (
    cancel,
    claim,
    lose,
    post_jobs,
    silence,
    take_back,
)  # fmt: skip


def counted(database: Database, name: CounterName) -> int:
    with database.read() as session:
        return counters.read(session)[name]


def test_what_was_never_counted_is_zero(database: Database) -> None:
    assert {name: counted(database, name) for name in CounterName} == {"epochs_trained": 0, "lease_losses": 0}


def test_several_processes_count_together_and_lose_nothing(database: Database) -> None:
    def count() -> None:
        for _ in range(10):
            with database.write() as session:
                counters.add(session, CounterName.EPOCHS_TRAINED, 3)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted(database, CounterName.EPOCHS_TRAINED) == 120
    assert counted(database, CounterName.LEASE_LOSSES) == 0


def test_every_lease_that_runs_out_is_counted_once(database: Database) -> None:
    experiment_id, (job_id, cancelled) = post_jobs(database, "relu", "elu")
    for _ in range(3):
        lose(database, job_id)
    assert counted(database, CounterName.LEASE_LOSSES) == 3
    claim(database, cancelled)
    cancel(database, experiment_id)
    silence(database, cancelled, claimed_s=100, heartbeat_s=None)
    assert take_back(database, cancelled)
    assert not take_back(database, cancelled)
    assert counted(database, CounterName.LEASE_LOSSES) == 4
