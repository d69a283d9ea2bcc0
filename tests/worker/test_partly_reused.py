"""Of a job some of whose runs were trained before, a worker trains the others: to the same numbers as always."""

from typing import Any

import pytest
from sqlalchemy import func, select

from shared.settings import Settings
from shared.spec import ExperimentSpec
from shared.store.db import Database
from shared.store.states import ExperimentState, JobState
from shared.store.tables import Run
from tests.shared.specs import TINY_CLASSIFICATION, tiny, tiny_serial
from tests.shared.store.experiments import experiment, job, job_ids, post
from tests.worker.processes import After, described, measured, train


def trained(database: Database, settings: Settings, spec: ExperimentSpec) -> str:
    experiment_id = post(database, spec, reuse=spec.reuse)
    for job_id in job_ids(database, experiment_id):
        train(settings, job_id)
    assert experiment(database, experiment_id).state == ExperimentState.SUCCEEDED
    return experiment_id


def num_reused(database: Database, experiment_id: str) -> int:
    with database.read() as session:
        query = select(func.count(Run.reused_from)).where(Run.experiment_id == experiment_id)
        return session.scalar(query) or 0


@pytest.mark.parametrize("engine", ["serial", "stacked", "auto"])
def test_the_missing_runs_are_trained_to_what_they_would_be_without_the_others(
    engine: str, sqlite_database: Database, on_sqlite: Settings
) -> None:
    training = {"engine": engine}
    trained(sqlite_database, on_sqlite, tiny(training=training))
    wanted: dict[str, Any] = {"training": training, "corruption": {"rates": [0.1, 0.2]}, "num_seeds": 3}
    completed = trained(sqlite_database, on_sqlite, tiny(**wanted))
    whole = trained(sqlite_database, on_sqlite, tiny(**wanted, reuse=False))
    assert (num_reused(sqlite_database, completed), num_reused(sqlite_database, whole)) == (4, 0)
    assert described(sqlite_database, completed) == described(sqlite_database, whole)
    found, expected = measured(sqlite_database, completed), measured(sqlite_database, whole)
    assert found.keys() == expected.keys()
    for key, numbers in expected.items():
        # Stacked networks round as their number has it.
        close = [number if number is None else pytest.approx(number, rel=1e-4) for number in numbers]
        assert list(found[key]) == (close if engine == "stacked" else list(numbers)), key


def test_clean_runs_serve_under_any_dirt(sqlite_database: Database, on_sqlite: Settings) -> None:
    pairflip = {"kind": "pairflip", "rates": [0.3]}
    trained(sqlite_database, on_sqlite, tiny_serial(TINY_CLASSIFICATION))
    second = trained(sqlite_database, on_sqlite, tiny_serial(TINY_CLASSIFICATION, corruption=pairflip))
    fresh = trained(sqlite_database, on_sqlite, tiny_serial(TINY_CLASSIFICATION, corruption=pairflip, reuse=False))
    assert num_reused(sqlite_database, second) == 2
    assert measured(sqlite_database, second) == measured(sqlite_database, fresh)
    assert described(sqlite_database, second) == described(sqlite_database, fresh)


@pytest.mark.usefixtures("slices_of_one_batch")
def test_what_was_taken_over_survives_the_loss_of_a_worker(database: Database, settings: Settings) -> None:
    trained(database, settings, tiny_serial())
    second = post(database, tiny_serial(num_seeds=3), reuse=True)
    (job_id,) = job_ids(database, second)
    train(settings, job_id, draining=After(5, drains=True), checkpoint_interval_s=0.0)
    assert job(database, job_id).state == JobState.PENDING
    train(settings, job_id)
    whole = trained(database, settings, tiny_serial(num_seeds=3, reuse=False))
    assert num_reused(database, second) == 4
    assert measured(database, second) == measured(database, whole)
