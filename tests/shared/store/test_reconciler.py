import os
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
import torch
from sqlalchemy import update
from structlog.testing import capture_logs

from shared.settings import Settings
from shared.store import lifecycle, presence, reconciler
from shared.store.checkpoints import CheckpointStore
from shared.store.db import Database
from shared.store.doorbell import UNANSWERED_S
from shared.store.keys import LOCAL_OWNER
from shared.store.states import ExperimentState, JobState
from shared.store.tables import Experiment, IdempotencyKey, Job, Worker
from shared.store.types import ago, new_id
from tests.shared.store.broker import Broker
from tests.shared.store.experiments import (
    claim,
    complete,
    everything,
    experiment,
    job,
    num_rows,
    post_jobs,
    silence,
    train_to_the_end,
)  # fmt: skip


@pytest.fixture
def broker_url(broker: Broker) -> str:
    return broker.url


def test_a_sweep_alone_sends_waiting_jobs(database: Database, settings: Settings, broker: Broker) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    reconciler.sweep(database, settings)
    assert broker.messages() == [job_id]


def test_a_sweep_sends_again_what_the_broker_forgot(database: Database, settings: Settings, broker: Broker) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    with database.write() as session:
        presence.announce(session, new_id(), device="cpu")
    reconciler.sweep(database, settings)
    broker.forget_everything()
    with database.write() as session:
        session.execute(
            update(Job).values(dispatched_at=ago(UNANSWERED_S + 1)), execution_options={"synchronize_session": False}
        )
    reconciler.sweep(database, settings)
    assert broker.messages() == [job_id]


def test_a_sweep_takes_a_lost_job_back_and_sends_it(database: Database, settings: Settings, broker: Broker) -> None:
    _, (lost, held) = post_jobs(database, "relu", "elu")
    claim(database, lost)
    claim(database, held)
    silence(database, lost, claimed_s=settings.lease_ttl_s + 1, heartbeat_s=None)
    silence(database, held, claimed_s=1000, heartbeat_s=settings.lease_ttl_s - 2)
    reconciler.sweep(database, settings)
    assert (job(database, lost).state, job(database, lost).losses) == (JobState.DISPATCHED, 1)
    assert (job(database, held).state, job(database, held).losses) == (JobState.RUNNING, 0)
    assert broker.messages() == [lost]


def test_after_too_many_losses_a_job_fails_with_a_reason(database: Database, settings: Settings) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    for _ in range(settings.max_losses):
        claim(database, job_id)
        silence(database, job_id, claimed_s=1000, heartbeat_s=1000)
        reconciler.sweep(database, settings)
    assert job(database, job_id).state == JobState.FAILED
    failed = experiment(database, experiment_id)
    assert failed.state == ExperimentState.FAILED
    assert failed.error is not None
    assert failed.error.startswith("1 of 1 jobs failed; relu: its worker was lost 3 times")


def test_an_experiment_that_nobody_ended_is_ended(database: Database, settings: Settings) -> None:
    """As after a crash between the last job's end and the experiment's."""
    experiment_id, (job_id,) = post_jobs(database, "relu")
    train_to_the_end(database, job_id)
    with database.write() as session:
        session.get_one(Experiment, experiment_id).state = ExperimentState.RUNNING
    reconciler.sweep(database, settings)
    assert experiment(database, experiment_id).state == ExperimentState.SUCCEEDED


def test_a_cancelled_experiment_without_a_worker_is_ended(database: Database, settings: Settings) -> None:
    experiment_id, _ = post_jobs(database, "relu", "elu")
    with database.write() as session:
        lifecycle.start_cancelling(session, experiment_id, owner=LOCAL_OWNER)
    assert experiment(database, experiment_id).state == ExperimentState.CANCELLING
    reconciler.sweep(database, settings)
    assert experiment(database, experiment_id).state == ExperimentState.CANCELLED


def test_terminal_states_stay_however_often_is_swept(database: Database, settings: Settings) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    train_to_the_end(database, job_id)
    silence(database, job_id, claimed_s=1000, heartbeat_s=1000)
    before = everything(database)
    for _ in range(3):
        reconciler.sweep(database, settings)
    assert everything(database) == before


def test_a_deleted_experiment_is_purged_with_all_its_rows_and_files(database: Database, settings: Settings) -> None:
    doomed, (doomed_job,) = post_jobs(database, "relu")
    kept, (kept_job,) = post_jobs(database, "relu")
    for job_id in (doomed_job, kept_job):
        train_to_the_end(database, job_id)
        (settings.checkpoints_dir / job_id).mkdir(parents=True)
        (settings.checkpoints_dir / job_id / "000001-00000001.safetensors").touch()
    with database.write() as session:
        lifecycle.mark_deleted(session, doomed, owner=LOCAL_OWNER)
    for _ in range(3):
        reconciler.sweep(database, settings)
    assert num_rows(database) == {
        "experiments": 1, "jobs": 1, "runs": 4, "epoch_metrics": 12, "idempotency_keys": 0, "workers": 0,
        "api_keys": 0, "counters": 0, "events": 8,
    }  # fmt: skip
    assert experiment(database, kept).state == ExperimentState.SUCCEEDED
    assert not (settings.checkpoints_dir / doomed_job).exists()


def test_old_idempotency_keys_and_workers_long_dead_are_forgotten(database: Database, settings: Settings) -> None:
    old = datetime.now(UTC) - timedelta(seconds=settings.idempotency_ttl_s + 60)
    with database.write() as session:
        for key, moment in (("old", old), ("young", datetime.now(UTC))):
            session.add(
                IdempotencyKey(
                    owner=LOCAL_OWNER,
                    key=key,
                    body_hash="",
                    status=202,
                    response="",
                    experiment_id=new_id(),
                    created_at=moment,
                )
            )
        presence.announce(session, alive := new_id(), device="cpu")
        presence.announce(session, dead := new_id(), device="cpu")
    with database.write() as session:
        session.execute(
            update(Worker).where(Worker.id == dead).values(heartbeat_at=ago(4000)),
            execution_options={"synchronize_session": False},
        )
    reconciler.sweep(database, settings)
    with database.read() as session:
        assert session.get(IdempotencyKey, (LOCAL_OWNER, "old")) is None
        assert session.get(IdempotencyKey, (LOCAL_OWNER, "young")) is not None
        assert session.get(Worker, dead) is None
        assert session.get(Worker, alive) is not None


def test_a_duty_that_fails_keeps_the_others_from_nothing(
    database: Database, settings: Settings, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(reconciler, "reap_silent", broken)
    _, (job_id,) = post_jobs(database, "relu")
    with capture_logs() as logs:
        reconciler.sweep(database, settings)
    assert broker.messages() == [job_id]
    assert [entry["error"] for entry in logs if entry["event"] == "reconciler"] == ["RuntimeError: no"]


def test_two_reconcilers_at_once_count_a_loss_once(database: Database, settings: Settings) -> None:
    _, ids = post_jobs(database, "relu", "elu", "tanh")
    for job_id in ids:
        claim(database, job_id)
        silence(database, job_id, claimed_s=1000, heartbeat_s=1000)
    threads = [threading.Thread(target=reconciler.sweep, args=(database, settings)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [job(database, job_id).losses for job_id in ids] == [1, 1, 1]


def test_it_runs_until_it_is_stopped(database: Database, settings: Settings, broker: Broker) -> None:
    stop = threading.Event()
    thread = threading.Thread(
        target=reconciler.run_forever, args=(settings.model_copy(update={"reconcile_interval_s": 0.05}), stop)
    )
    thread.start()
    _, (job_id,) = post_jobs(database, "relu")
    for _ in range(100):
        if broker.messages() == [job_id] and num_reconcilers(database) == 1:
            break
        stop.wait(0.05)
    assert num_reconcilers(database) == 1
    stop.set()
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert broker.messages() == [job_id]
    assert num_reconcilers(database) == 0, "it has signed off"


def num_reconcilers(database: Database) -> int:
    with database.read() as session:
        return presence.num_reconcilers(session, 30)


def test_checkpoints_that_a_dead_worker_left_behind_are_removed(database: Database, settings: Settings) -> None:
    _, [succeeded, running] = post_jobs(database, "relu", "elu")
    files = CheckpointStore(settings.checkpoints_dir)
    for job_id in (succeeded, running):
        lease = claim(database, job_id)
        files.save(lease, {"weight": torch.zeros(2)}, epoch=1, number=1)
        if job_id == succeeded:
            complete(database, lease)
    (settings.checkpoints_dir / "not a job").mkdir()
    reconciler.sweep(database, settings)
    assert sorted(path.name for path in settings.checkpoints_dir.iterdir()) == sorted([running, "not a job"])


def test_checkpoints_of_a_job_long_purged_are_removed_and_young_ones_kept(
    database: Database, settings: Settings
) -> None:
    _, (known,) = post_jobs(database, "relu")
    old, young = new_id(), new_id()
    for job_id in (known, old, young):
        (settings.checkpoints_dir / job_id).mkdir(parents=True)
    two_days_ago = time.time() - 2 * 86_400
    for job_id in (known, old):
        os.utime(settings.checkpoints_dir / job_id, (two_days_ago, two_days_ago))
    reconciler.sweep(database, settings)
    assert {path.name for path in settings.checkpoints_dir.iterdir()} == {known, young}
