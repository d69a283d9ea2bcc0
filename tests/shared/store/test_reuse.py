"""What an owner has trained before is taken over: whole jobs, parts of jobs, and nothing that is not the same."""

from typing import Any

import pytest
from sqlalchemy import select

from shared.plan import plan
from shared.spec import ExperimentSpec
from shared.store import lifecycle, queue, repository, reuse
from shared.store.db import Database
from shared.store.event_log import BEGINNING, EventKind, read_piece
from shared.store.keys import LOCAL_OWNER
from shared.store.reconciler import finish_experiments
from shared.store.states import ExperimentState, JobState, Outcome, RunState
from shared.store.tables import EpochMetrics, Experiment, Run
from tests.shared.specs import tiny_serial
from tests.shared.store import experiments
from tests.shared.store.experiments import (
    claim,
    commit,
    complete,
    epochs,
    experiment,
    job,
    job_ids,
    rows,
    runs,
    train_to_the_end,
)

NUMERICS = {"engine": "serial", "device": "cpu"}
OTHER_NUMERICS = {"engine": "compiled", "device": "cpu"}


def post(database: Database, *, reuse: bool = True, **changes: Any) -> str:
    """Write a tiny experiment as a client's that says nothing of reuse; its id."""
    return experiments.post(database, reuse=reuse, **changes)


def trained(database: Database, numerics: dict[str, Any] = NUMERICS, **changes: Any) -> str:
    """An experiment whose jobs are all done; its id."""
    experiment_id = post(database, **changes)
    for job_id in job_ids(database, experiment_id):
        lease = claim(database, job_id)
        with database.write() as session:
            queue.fix_numerics(session, lease, numerics)
            facts = {"null_loss": 0.5, "realised_rate": 0.2, "mask_hash": "f" * 64}
            queue.describe_runs(session, lease, [{"id": run.id, **facts} for run in runs(database, job_id)])
        commit(database, lease, 1, 2, 3)
        complete(database, lease)
    return experiment_id


def all_runs(database: Database, experiment_id: str) -> list[Run]:
    with database.read() as session:
        query = select(Run).where(Run.experiment_id == experiment_id).order_by(Run.position)
        return list(session.scalars(query))


def measured(database: Database, experiment_id: str) -> dict[tuple[str, float, int, int], tuple[Any, ...]]:
    """The numbers of each (activation, rate, seed, epoch)."""
    query = select(Run, EpochMetrics).join(EpochMetrics, EpochMetrics.run_id == Run.id)
    with database.read() as session:
        return {
            (run.activation, run.rate, run.seed, row.epoch): (row.train_loss, row.val_loss)
            for run, row in session.execute(query.where(Run.experiment_id == experiment_id))
        }


def post_as(database: Database, owner: str, spec: ExperimentSpec) -> str:
    with database.write() as session:
        return repository.create_experiment(session, spec, plan(spec), {}, owner=owner).id


def reused(database: Database, experiment_id: str) -> list[bool]:
    return [run.reused_from is not None for run in all_runs(database, experiment_id)]


def test_the_same_spec_again_has_the_same_results_without_training(database: Database) -> None:
    first = trained(database)
    second = post(database)
    assert measured(database, second) == measured(database, first)
    for old, new in zip(all_runs(database, first), all_runs(database, second), strict=True):
        assert (new.state, new.outcome, new.epoch, new.null_loss, new.realised_rate, new.mask_hash) == (
            RunState.SUCCEEDED, Outcome.OK, 3, 0.5, 0.2, "f" * 64,
        )  # fmt: skip
        assert new.reused_from == old.id
    for job_id in job_ids(database, second):
        assert (job(database, job_id).state, job(database, job_id).numerics) == (JobState.SUCCEEDED, NUMERICS)
    assert experiment(database, second).provenance["reused_from"] == [first]


def test_an_experiment_that_was_taken_over_as_a_whole_has_succeeded(database: Database, settings: Any) -> None:
    trained(database)
    second = post(database)
    finish_experiments(database, settings)  # should the process that posted it have died
    finished = experiment(database, second)
    assert finished.state == ExperimentState.SUCCEEDED
    assert finished.started_at is not None
    assert finished.started_at == finished.finished_at
    with database.read() as session:
        told = [(each.kind, each.data["state"]) for each in read_piece(session, second, BEGINNING).told]
        progress = repository.progress_of(session, [finished])[second]
    assert told == [
        (EventKind.EXPERIMENT, "queued"), (EventKind.JOB, "succeeded"), (EventKind.EXPERIMENT, "succeeded"),
        (EventKind.DONE, "succeeded"),
    ]  # fmt: skip
    assert (progress.runs_total, progress.runs_finished, progress.runs_reused, progress.epochs_done) == (4, 4, 4, 12)


def test_only_what_is_new_waits_to_be_trained(database: Database) -> None:
    trained(database)
    second = post(database, activations=["tanh", "relu"], num_seeds=3)
    # relu's runs by rate and seed; the third seed is new, and so is all of tanh.
    assert reused(database, second) == [False] * 6 + [True, True, False] * 2
    with database.read() as session:
        found = repository.progress_of(session, [session.get_one(Experiment, second)])[second]
    assert (found.runs_total, found.runs_finished, found.runs_reused, found.epochs_done) == (12, 4, 4, 12)


def test_a_part_of_a_job_is_trained_as_the_rest_was(database: Database) -> None:
    trained(database, OTHER_NUMERICS)
    second = post(database, corruption={"rates": [0.2, 0.4]})
    (job_id,) = job_ids(database, second)
    assert reused(database, second) == [True, True, True, True, False, False]
    assert (job(database, job_id).state, job(database, job_id).numerics) == (JobState.PENDING, OTHER_NUMERICS)
    kept = measured(database, second)

    lease = claim(database, job_id)
    with database.write() as session:
        assert queue.fix_numerics(session, lease, NUMERICS) == OTHER_NUMERICS
        queue.rewind(session, lease, 0)  # as at the start of each training
    assert measured(database, second) == kept
    new = [run.id for run in runs(database, job_id) if run.reused_from is None]
    for epoch in (1, 2, 3):
        with database.write() as session:
            queue.commit_epoch(session, lease, [row for row in rows(database, lease, epoch) if row.run_id in new])
    complete(database, lease)
    assert {len(found) for found in epochs(database, job_id).values()} == {3}
    assert experiment(database, second).state == ExperimentState.SUCCEEDED
    with database.read() as session:
        told = [each for each in read_piece(session, second, BEGINNING).told if each.kind is EventKind.EPOCH]
    assert {each.data["run_id"] for each in told} == set(new)


def test_runs_of_one_job_that_were_computed_differently_are_not_mixed(database: Database) -> None:
    trained(database, OTHER_NUMERICS, corruption={"rates": [0.1, 0.2]})
    trained(database, NUMERICS, corruption={"rates": [0.3]}, reuse=False)
    second = post(database, corruption={"rates": [0.1, 0.2, 0.3]})
    assert [run.rate for run in all_runs(database, second) if run.reused_from is None] == [0.3, 0.3]


def test_what_began_on_a_gpu_goes_on_there(database: Database) -> None:
    trained(database, {"engine": "stacked", "device": "cuda"})
    (job_id,) = job_ids(database, post(database, corruption={"rates": [0.2, 0.4]}))
    assert job(database, job_id).device == "cuda"


def test_a_diverged_run_stays_diverged(database: Database) -> None:
    first = post(database)
    (job_id,) = job_ids(database, first)
    lease = claim(database, job_id)
    measured_once = rows(database, lease, 1)
    with database.write() as session:
        queue.commit_epoch(session, lease, measured_once, diverged=[measured_once[0].run_id])
        queue.commit_epoch(session, lease, rows(database, lease, 2)[1:])
        queue.commit_epoch(session, lease, rows(database, lease, 3)[1:])
    complete(database, lease)
    second = all_runs(database, post(database))
    assert [(run.outcome, run.epoch) for run in second] == [
        (Outcome.DIVERGED, 1), (Outcome.OK, 3), (Outcome.OK, 3), (Outcome.OK, 3),
    ]  # fmt: skip


def test_a_diverged_run_is_not_taken_over_while_its_job_may_train_it_again(database: Database) -> None:
    (job_id,) = job_ids(database, post(database))
    lease = claim(database, job_id)
    measured_once = rows(database, lease, 1)
    with database.write() as session:
        queue.commit_epoch(session, lease, measured_once, diverged=[row.run_id for row in measured_once])
    assert not any(reused(database, post(database)))
    complete(database, lease)
    assert all(reused(database, post(database)))


@pytest.mark.parametrize("changes", [{"reuse": False}, {"base_seed": 1}, {"training": {"epochs": 4}}], ids=str)
def test_nothing_is_taken_over_that_was_not_wanted_or_is_not_the_same(
    database: Database, changes: dict[str, Any]
) -> None:
    trained(database)
    second = post(database, **changes)
    assert not any(reused(database, second))
    assert experiment(database, second).provenance == {"version": "test"}


def test_what_another_owner_trained_is_not_taken_over(database: Database) -> None:
    trained(database)
    assert not any(reused(database, post_as(database, "somebody else", tiny_serial())))
    assert all(reused(database, post_as(database, LOCAL_OWNER, tiny_serial())))


def test_unfinished_runs_are_not_taken_over(database: Database) -> None:
    (job_id,) = job_ids(database, post(database))
    commit(database, claim(database, job_id), 1, 2)
    assert not any(reused(database, post(database)))


def test_what_was_taken_over_stays_when_its_source_is_deleted(database: Database) -> None:
    first = trained(database)
    numbers = measured(database, first)
    second = post(database)
    with database.write() as session:
        lifecycle.finish_if_done(session, second)
        lifecycle.mark_deleted(session, first, owner=LOCAL_OWNER)
    third = post(database)
    assert all(reused(database, third))
    assert {run.reused_from for run in all_runs(database, third)} == {run.id for run in all_runs(database, second)}
    with database.write() as session:
        while not lifecycle.purge_some(session, first):
            pass
    assert measured(database, second) == measured(database, third) == numbers


def test_a_deleted_experiment_is_no_source(database: Database) -> None:
    first = trained(database)
    with database.write() as session:
        lifecycle.mark_deleted(session, first, owner=LOCAL_OWNER)
    assert not any(reused(database, post(database)))


def test_whoever_posts_is_not_kept_waiting_for_more_than_a_bound(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(database, activations=["relu", "tanh"])
    monkeypatch.setattr(reuse, "MOST_ROWS", 12)
    second = post(database, activations=["relu", "tanh"])
    assert reused(database, second) == [True] * 4 + [False] * 4


def test_a_repeated_experiment_may_be_cancelled_failed_and_resumed_as_any_other(database: Database) -> None:
    trained(database)
    second = post(database, num_seeds=3)
    kept = measured(database, second)
    with database.write() as session:
        lifecycle.start_cancelling(session, second, owner=LOCAL_OWNER)
        lifecycle.finish_if_done(session, second)
    assert experiment(database, second).state == ExperimentState.CANCELLED
    with database.write() as session:
        lifecycle.resume_experiment(session, second, owner=LOCAL_OWNER)
    assert measured(database, second) == kept
    assert reused(database, second) == [True, True, False] * 2


def test_trained_runs_are_a_source_from_their_end_on(database: Database) -> None:
    (job_id,) = job_ids(database, post(database))
    train_to_the_end(database, job_id)
    assert all(reused(database, post(database)))
