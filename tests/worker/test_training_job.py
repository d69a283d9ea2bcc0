import pytest

from shared.settings import Settings
from shared.store.db import Database
from shared.store.states import ExperimentState, JobState, Outcome, RunState
from shared.store.tables import Job
from tests.shared.specs import TINY_CLASSIFICATION, tiny_serial
from tests.shared.store.experiments import (
    experiment,
    job,
    job_ids,
    post,
    post_jobs,
    runs,
)
from tests.shared.training.populations import by_member
from tests.worker.processes import (
    NUM_EPOCHS,
    After,
    checkpoint_files,
    described,
    measured,
    train,
)

one_batch_a_slice = pytest.mark.usefixtures("slices_of_one_batch")


# --- from rows to the end


@pytest.mark.parametrize("base", [{}, TINY_CLASSIFICATION], ids=["regression", "classification"])
def test_a_job_is_trained_from_its_rows_to_the_end(
    base: dict[str, object], database: Database, settings: Settings
) -> None:
    spec = tiny_serial(base) if base else tiny_serial()
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
    experiment_id = post(database, tiny_serial(TINY_CLASSIFICATION, activations=["relu", "tanh"]))
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
    spec = tiny_serial(activations=["prelu"], architecture={"dropout": 0.2})
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


# --- what goes wrong with the job itself


def test_a_job_whose_data_set_no_worker_has_fails_with_the_command_that_fetches_it(
    database: Database, settings: Settings
) -> None:
    experiment_id, ids = post_jobs(database, "relu", "elu", dataset={"kind": "mnist"}, corruption={"kind": "symmetric"},
                                   training={"loss": "cross_entropy"}, num_seeds=1)  # fmt: skip
    for job_id in ids:
        for _ in range(settings.max_losses - 1):
            train(settings, job_id)
            assert job(database, job_id).state == JobState.PENDING, "another worker may have it"
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
        session.get_one(Job, job_id).numerics = {"engine": "serial", "device": "abacus"}
    train(settings, job_id)
    failed = job(database, job_id)
    assert failed.state == JobState.FAILED
    assert failed.error == f"training raised RuntimeError; the worker's log tells more under job {job_id}"


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
