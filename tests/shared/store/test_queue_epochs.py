from dataclasses import replace

import pytest
from sqlalchemy import insert

from shared.store import queue
from shared.store.db import Database
from shared.store.queue import ConflictingMetricsError, MetricsRow
from shared.store.states import ExperimentState, Outcome, RunState
from shared.store.tables import EpochMetrics, Run
from shared.store.types import new_id
from tests.shared.store.experiments import (
    claim,
    commit,
    complete,
    epochs,
    everything,
    experiment,
    job,
    post_jobs,
    rows,
    runs,
    silence,
    take_back,
)

# --- epochs


def test_an_epoch_is_written_with_every_number_as_it_was(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    run_ids = [run.id for run in runs(database, job_id)]
    measured = [
        MetricsRow(run_ids[0], 1, 0.1 + 0.2, 5e-324, 1 / 3, 0.25, 1e308, -0.0, 0.5, 0.125, None),
        MetricsRow(run_ids[1], 1, None, None, nonfinite="nan"),
        MetricsRow(run_ids[2], 1, 1.0, None, nonfinite="-inf"),
    ]
    with database.write() as session:
        queue.commit_epoch(session, lease, measured)
    with database.read() as session:
        for row in measured:
            stored = session.get_one(EpochMetrics, (row.run_id, row.epoch))
            assert MetricsRow(**{name: getattr(stored, name) for name in vars(row)}) == row


def test_an_epoch_committed_again_changes_nothing(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    commit(database, lease, 1, 2)
    before = everything(database)
    commit(database, lease, 2)
    after = everything(database)
    for name in ("epoch_metrics", "runs", "experiments"):
        assert after[name] == before[name]


def test_an_epoch_measured_again_with_other_numbers_is_an_alarm(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    commit(database, lease, 1)
    before = everything(database)
    other = rows(database, lease, 1, val_loss=0.123)
    with pytest.raises(ConflictingMetricsError), database.write() as session:
        queue.commit_epoch(session, lease, other)
    assert everything(database) == before


def test_an_epoch_of_which_one_number_is_now_missing_is_an_alarm(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    commit(database, lease, 1)
    with pytest.raises(ConflictingMetricsError), database.write() as session:
        queue.commit_epoch(session, lease, rows(database, lease, 1, train_loss=None, nonfinite="nan"))


def test_a_commit_moves_the_runs_on_and_keeps_the_lease(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    silence(database, job_id, claimed_s=100, heartbeat_s=100)
    commit(database, lease, 1)
    assert {run.epoch for run in runs(database, job_id)} == {1}
    assert not take_back(database, job_id)


def test_a_run_that_diverged_is_over_and_its_job_goes_on(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    commit(database, lease, 1)
    broken, *others = (run.id for run in runs(database, job_id))
    measured = rows(database, lease, 2)
    with database.write() as session:
        queue.commit_epoch(session, lease, measured, diverged=[broken])
    with database.write() as session:
        queue.commit_epoch(session, lease, [row for row in rows(database, lease, 3) if row.run_id != broken])
    complete(database, lease)
    states = {run.id: (run.state, run.outcome, run.epoch) for run in runs(database, job_id)}
    assert states.pop(broken) == (RunState.SUCCEEDED, Outcome.DIVERGED, 2)
    assert set(states) == set(others)
    assert set(states.values()) == {(RunState.SUCCEEDED, Outcome.OK, 3)}
    assert experiment(database, experiment_id).state == ExperimentState.SUCCEEDED


def test_an_epoch_of_many_runs_is_one_commit_however_many_statements_it_takes(database: Database) -> None:
    num_runs = 1100
    experiment_id, (job_id,) = post_jobs(database, "relu")
    more = {"experiment_id": experiment_id, "job_id": job_id, "activation": "relu", "rate": 0.5, "state": "pending"}
    with database.write() as session:
        session.execute(insert(Run), [{**more, "id": new_id(), "seed": n, "position": n} for n in range(4, num_runs)])
    lease = claim(database, job_id)
    measured = rows(database, lease, 1)
    assert len(measured) == num_runs
    with database.write() as session:
        queue.commit_epoch(session, lease, measured)
    assert {run.epoch for run in runs(database, job_id)} == {1}
    assert len(epochs(database, job_id)) == num_runs
    assert set(map(tuple, epochs(database, job_id).values())) == {(1,)}
    with pytest.raises(ConflictingMetricsError), database.write() as session:
        queue.commit_epoch(session, lease, [*measured[:-1], replace(measured[-1], val_loss=-1.0)])


# --- checkpoints and going back


def test_a_job_points_at_its_checkpoints(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    pointers = [{"file": "b", "sha256": "2", "epoch": 2}, {"file": "a", "sha256": "1", "epoch": 1}]
    with database.write() as session:
        queue.save_checkpoint(session, lease, pointers)
    assert job(database, job_id).checkpoints == pointers


def test_going_back_to_a_checkpoint_forgets_what_was_measured_later(database: Database) -> None:
    _, (job_id, other_id) = post_jobs(database, "relu", "elu")
    lease, other = claim(database, job_id), claim(database, other_id)
    commit(database, lease, 1, 2, 3)
    commit(database, other, 1, 2, 3)
    with database.write() as session:
        queue.rewind(session, lease, 1)
    assert set(map(tuple, epochs(database, job_id).values())) == {(1,)}
    assert {run.epoch for run in runs(database, job_id)} == {1}
    assert set(map(tuple, epochs(database, other_id).values())) == {(1, 2, 3)}
    commit(database, lease, 2, 3)
    complete(database, lease)
    assert set(map(tuple, epochs(database, job_id).values())) == {(1, 2, 3)}


def test_going_back_before_a_divergence_lets_the_run_go_on(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    commit(database, lease, 1)
    early, late, *_ = (run.id for run in runs(database, job_id))
    with database.write() as session:
        queue.commit_epoch(session, lease, [MetricsRow(early, 1, 0.25, 0.0)], diverged=[early])
    with database.write() as session:
        queue.commit_epoch(session, lease, [MetricsRow(late, 2)], diverged=[late])
    with database.write() as session:
        queue.rewind(session, lease, 1)
    states = {run.id: (run.state, run.outcome) for run in runs(database, job_id)}
    assert states[early] == (RunState.SUCCEEDED, Outcome.DIVERGED), "its checkpoint knows that it diverged"
    assert states[late] == (RunState.RUNNING, None)
