"""An experiment with a precision target gets seeds until the width of its intervals, and nothing else, ends it."""

from collections.abc import Callable
from typing import Any

import pytest

from shared.evidence import growth as decisions
from shared.evidence.growth import decide_after, decide_all
from shared.evidence.precision import precision_of
from shared.settings import Settings
from shared.store import growth, lifecycle, queue, repository
from shared.store.db import Database
from shared.store.event_log import BEGINNING, EventKind, read_piece
from shared.store.keys import LOCAL_OWNER
from shared.store.queue import MetricsRow
from shared.store.reconciler import sweep
from shared.store.states import ExperimentState, JobState
from shared.store.tables import Job
from tests.shared.store.experiments import cancel, claim, commit, complete, experiment, fail, job, job_ids, post, runs

NUMERICS = {"engine": "serial", "device": "cpu"}
Harm = Callable[[int], float]


def posted(database: Database, *, half_width: float | None = 0.01, max_seeds: int = 20, **changes: Any) -> str:
    return post(database, reuse=True, until={"ci_half_width": half_width, "max_seeds": max_seeds}, **changes)


def waiting(database: Database, experiment_id: str) -> list[str]:
    return [each for each in job_ids(database, experiment_id) if job(database, each).state != JobState.SUCCEEDED]


def train(database: Database, job_id: str, harm: Harm) -> None:
    """Train a job whose dirty runs lose `harm(seed)`."""
    lease = claim(database, job_id)
    with database.write() as session:
        queue.fix_numerics(session, lease, NUMERICS)
        queue.describe_runs(session, lease, [{"id": run.id, "null_loss": 1.0} for run in runs(database, job_id)])
    for epoch in (1, 2, 3):
        rows = [
            MetricsRow(run.id, epoch, 0.2, 0.2 + (harm(run.seed) if run.rate else 0.0))
            for run in runs(database, job_id)
        ]
        with database.write() as session:
            queue.commit_epoch(session, lease, rows)
    complete(database, lease)


def train_all(database: Database, experiment_id: str, harm: Harm) -> None:
    """Train what waits, as often as something comes behind it; decide as workers do."""
    while open_jobs := waiting(database, experiment_id):
        for job_id in open_jobs:
            train(database, job_id, harm)
            decide_after(database, job_id)


def calm(seed: int) -> float:
    return 0.1 + 0.001 * (seed % 2)


def wild(seed: int) -> float:
    return 0.1 * (seed % 2)


def wild_at_first(seed: int) -> float:
    """SD 0.055 among the first five, where the half-width is 0.096; it falls below 0.03 with the third batch."""
    return 0.1 * (seed % 2) if seed < 5 else 0.05


def test_narrow_intervals_end_it_with_the_first_batch(database: Database) -> None:
    experiment_id = posted(database)
    train_all(database, experiment_id, calm)
    ended = experiment(database, experiment_id)
    assert (ended.state, ended.spec["num_seeds"], ended.may_grow) == (ExperimentState.SUCCEEDED, 5, False)


def test_seeds_are_added_in_batches_until_the_intervals_are_narrow(database: Database) -> None:
    experiment_id = posted(database, half_width=0.03, activations=["relu", "tanh"], max_seeds=50)
    train_all(database, experiment_id, wild_at_first)
    ended = experiment(database, experiment_id)
    assert (ended.state, ended.spec["num_seeds"]) == (ExperimentState.SUCCEEDED, 15)
    with database.read() as session:
        found = precision_of(session, ended)
        listed = [run for run, _ in repository.list_runs(session, experiment_id, limit=1000)]
        progress = repository.progress_of(session, [ended])[experiment_id]
    assert found.reached
    assert found.half_width is not None
    assert 0.01 < found.half_width <= 0.03
    assert {(run.activation, run.rate, run.seed) for run in listed} == {
        (label, rate, seed) for label in ("relu", "tanh") for rate in (0.0, 0.2) for seed in range(15)
    }
    assert [run.position for run in listed] == list(range(60))
    assert (progress.runs_total, progress.runs_finished) == (60, 60)


def test_the_last_seed_ends_it_wide_as_the_intervals_may_be(database: Database) -> None:
    experiment_id = posted(database, max_seeds=12)
    train_all(database, experiment_id, wild)
    ended = experiment(database, experiment_id)
    assert (ended.state, ended.spec["num_seeds"]) == (ExperimentState.SUCCEEDED, 12)
    with database.read() as session:
        assert not precision_of(session, ended).reached


def test_it_runs_on_while_seeds_are_added(database: Database) -> None:
    experiment_id = posted(database)
    (first,) = waiting(database, experiment_id)
    train(database, first, wild)
    assert experiment(database, experiment_id).state == ExperimentState.RUNNING
    decide_after(database, first)
    grown = experiment(database, experiment_id)
    assert (grown.state, grown.spec["num_seeds"], grown.finished_at) == (ExperimentState.RUNNING, 10, None)
    with database.read() as session:
        told = [each.data["state"] for each in read_piece(session, experiment_id, BEGINNING).told
                if each.kind is EventKind.EXPERIMENT]  # fmt: skip
    assert told == ["queued", "running", "running"]


def test_a_sweep_decides_where_the_worker_died_before_it_could(database: Database, settings: Settings) -> None:
    grown, ended = posted(database), posted(database, base_seed=1)
    for experiment_id, harm in ((grown, wild), (ended, calm)):
        (job_id,) = waiting(database, experiment_id)
        train(database, job_id, harm)
    sweep(database, settings, decide_all)
    assert len(waiting(database, grown)) == 1
    assert experiment(database, ended).state == ExperimentState.SUCCEEDED


def test_one_that_cannot_be_decided_keeps_no_other_waiting(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    troubled, fine = posted(database), posted(database, base_seed=1)
    for experiment_id in (troubled, fine):
        (job_id,) = waiting(database, experiment_id)
        train(database, job_id, calm)
    decide = decisions._decide

    def decide_or_fail(database: Database, experiment_id: str) -> None:
        if experiment_id == troubled:
            raise ValueError("no")
        decide(database, experiment_id)

    monkeypatch.setattr(decisions, "_decide", decide_or_fail)
    decide_all(database, settings)
    assert experiment(database, fine).state == ExperimentState.SUCCEEDED
    assert experiment(database, troubled).state == ExperimentState.RUNNING


def test_nothing_is_decided_before_every_job_is_done(database: Database) -> None:
    experiment_id = posted(database, activations=["relu", "tanh"])
    first, second = waiting(database, experiment_id)
    train(database, first, wild)
    decide_after(database, first)
    assert experiment(database, experiment_id).spec["num_seeds"] == 5
    commit(database, claim(database, second), 1)
    decide_after(database, first)
    assert experiment(database, experiment_id).spec["num_seeds"] == 5


def test_two_that_decide_at_once_add_the_seeds_once(database: Database) -> None:
    experiment_id = posted(database)
    (first,) = waiting(database, experiment_id)
    train(database, first, wild)
    with database.write() as session:
        assert growth.add_seeds(session, experiment_id, num_seeds=5, more=10)
    with database.write() as session:
        assert not growth.add_seeds(session, experiment_id, num_seeds=5, more=10)
        assert not growth.settle(session, experiment_id, num_seeds=5)
    assert len(runs(database, waiting(database, experiment_id)[0])) == 10


def test_one_that_looked_too_early_changes_nothing(database: Database) -> None:
    experiment_id = posted(database)
    for _ in range(2):  # with ten seeds trained it waits for the next decision
        (job_id,) = waiting(database, experiment_id)
        train(database, job_id, wild)
        if experiment(database, experiment_id).spec["num_seeds"] == 5:
            decide_after(database, job_id)
    with database.write() as session:
        assert not growth.add_seeds(session, experiment_id, num_seeds=5, more=10)
        assert not growth.settle(session, experiment_id, num_seeds=5)
    assert experiment(database, experiment_id).spec["num_seeds"] == 10
    assert waiting(database, experiment_id) == []


def test_a_failed_job_fails_it(database: Database) -> None:
    experiment_id = posted(database)
    (first,) = waiting(database, experiment_id)
    fail(database, first)
    decide_after(database, first)
    assert experiment(database, experiment_id).state == ExperimentState.FAILED
    with database.write() as session:
        lifecycle.resume_experiment(session, experiment_id, owner=LOCAL_OWNER)
    train_all(database, experiment_id, calm)
    assert experiment(database, experiment_id).state == ExperimentState.SUCCEEDED


def test_it_can_be_cancelled_while_it_waits_for_a_decision_and_resumed(database: Database, settings: Settings) -> None:
    experiment_id = posted(database)
    (first,) = waiting(database, experiment_id)
    train(database, first, wild)
    cancel(database, experiment_id)
    assert experiment(database, experiment_id).state == ExperimentState.CANCELLED
    decide_all(database, settings)
    assert waiting(database, experiment_id) == []
    with database.write() as session:
        lifecycle.resume_experiment(session, experiment_id, owner=LOCAL_OWNER)
    decide_all(database, settings)
    grown = experiment(database, experiment_id)
    assert (grown.state, grown.spec["num_seeds"]) == (ExperimentState.RUNNING, 10)


def test_the_same_target_again_is_reached_without_training(database: Database, settings: Settings) -> None:
    first = posted(database, half_width=0.03, max_seeds=50)
    train_all(database, first, wild_at_first)
    second = posted(database, half_width=0.03, max_seeds=50)
    assert experiment(database, second).state == ExperimentState.QUEUED
    decide_all(database, settings)
    ended = experiment(database, second)
    assert (ended.state, ended.spec["num_seeds"]) == (ExperimentState.SUCCEEDED, 15)
    with database.read() as session:
        progress = repository.progress_of(session, [ended])[second]
    assert (progress.runs_reused, progress.runs_total) == (30, 30)
    assert ended.provenance["reused_from"] == [first]


def test_a_narrower_target_goes_on_from_the_seeds_that_are_trained(database: Database, settings: Settings) -> None:
    train_all(database, posted(database, half_width=0.03, max_seeds=50), wild_at_first)
    second = posted(database, half_width=0.015, max_seeds=50)
    decide_all(database, settings)
    grown = experiment(database, second)
    assert (grown.state, grown.spec["num_seeds"]) == (ExperimentState.RUNNING, 20)
    with database.read() as session:
        new = [session.get_one(Job, each) for each in waiting(database, second)]
    assert [run.seed for each in new for run in runs(database, each.id) if run.rate] == [15, 16, 17, 18, 19]
    train_all(database, second, wild_at_first)
    assert experiment(database, second).state == ExperimentState.SUCCEEDED
