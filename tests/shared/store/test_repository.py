from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from shared.errors import NotFoundError
from shared.plan import plan
from shared.spec import resolve
from shared.store import queue, repository
from shared.store.db import Database
from shared.store.keys import LOCAL_OWNER
from shared.store.repository import ExperimentFilter, Progress, RunFilter
from shared.store.states import ExperimentState
from shared.store.tables import Experiment
from shared.store.types import new_id
from tests.shared.specs import TINY_CLASSIFICATION, tiny
from tests.shared.store.experiments import (
    claim,
    commit,
    experiment,
    fail,
    job,
    job_ids,
    num_rows,
    post,
    post_jobs,
    rows,
    runs,
    train_to_the_end,
)


def progress(database: Database, experiment_id: str) -> Progress:
    with database.read() as session:
        return repository.progress_of(session, [session.get_one(Experiment, experiment_id)])[experiment_id]


# --- writing


def test_an_experiment_is_stored_with_every_run_of_its_plan(database: Database) -> None:
    spec = resolve({"preset": "harrison-multivariate", "num_seeds": 3, "corruption": {"rates": [0.1, 0.4]}})
    experiment_id = post(database, spec)
    stored = experiment(database, experiment_id)
    assert resolve(stored.spec) == spec.model_copy(update={"reuse": False})
    assert (stored.name, stored.dataset, stored.state) == ("harrison-multivariate", "fbm", ExperimentState.QUEUED)
    assert stored.provenance == {"version": "test"}
    planned = {(run.activation, run.rate, run.seed, run.position) for part in plan(spec).jobs for run in part.runs}
    with database.read() as session:
        written = repository.run_facts(session, experiment_id)
    assert {(run.activation, run.rate, run.seed, run.position) for run in written} == planned
    assert len(written) == len(planned)
    assert len(job_ids(database, experiment_id)) == len(plan(spec).jobs)
    for job_id in job_ids(database, experiment_id):
        assert {run.activation for run in runs(database, job_id)} == {job(database, job_id).activation}


def test_nothing_is_stored_of_an_experiment_whose_transaction_fails(database: Database) -> None:
    spec = tiny()
    with suppress(RuntimeError), database.write() as session:
        repository.create_experiment(session, spec, plan(spec), {}, owner=LOCAL_OWNER)
        raise RuntimeError
    assert set(num_rows(database).values()) == {0}


def test_what_does_not_exist_is_named(database: Database) -> None:
    missing = new_id()
    with database.read() as session, pytest.raises(NotFoundError, match=missing):
        repository.get_experiment(session, missing, owner=LOCAL_OWNER)


# --- listing


def posted_at(database: Database, moment: datetime, **changes: Any) -> str:
    experiment_id = post(database, **changes)
    with database.write() as session:
        session.get_one(Experiment, experiment_id).created_at = moment
    return experiment_id


START = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def listed(database: Database, wanted: ExperimentFilter | None = None, **options: Any) -> list[str]:
    with database.read() as session:
        mine = wanted or ExperimentFilter(LOCAL_OWNER)
        found = repository.list_experiments(session, mine, **{"limit": 100, **options})
    return [entry.id for entry in found]


def test_experiments_are_listed_newest_first_or_oldest_first(database: Database) -> None:
    ids = [posted_at(database, START + timedelta(seconds=second)) for second in range(4)]
    assert listed(database) == ids[::-1]
    assert listed(database, newest_first=False) == ids
    assert listed(database, limit=2) == [ids[3], ids[2]]


@pytest.mark.parametrize("newest_first", [True, False])
def test_pages_hold_every_experiment_once_even_those_of_one_microsecond(database: Database, newest_first: bool) -> None:
    ids = [posted_at(database, START + timedelta(microseconds=n // 3)) for n in range(10)]
    pages, after = [], None
    while True:
        with database.read() as session:
            page = repository.list_experiments(
                session, ExperimentFilter(LOCAL_OWNER), limit=3, newest_first=newest_first, after=after
            )
        if not page:
            break
        pages += [entry.id for entry in page]
        after = (page[-1].created_at, page[-1].id)
    assert pages == (ids[::-1] if newest_first else ids)


def test_experiments_are_found_by_what_they_are(database: Database) -> None:
    regression = posted_at(database, START, activations=["relu", {"kind": "elu", "label": "mine"}])
    classification = posted_at(database, START + timedelta(hours=1), spec=tiny(TINY_CLASSIFICATION))
    train_to_the_end(database, job_ids(database, classification)[0])
    both = [classification, regression]
    assert listed(database, ExperimentFilter(LOCAL_OWNER, states=["succeeded"])) == [classification]
    assert listed(database, ExperimentFilter(LOCAL_OWNER, states=["succeeded", "queued"])) == both
    assert listed(database, ExperimentFilter(LOCAL_OWNER, datasets=["fbm"])) == [regression]
    assert listed(database, ExperimentFilter(LOCAL_OWNER, activations=["elu"])) == [regression], "by kind"
    assert listed(database, ExperimentFilter(LOCAL_OWNER, activations=["mine"])) == [regression], "by label"
    assert listed(database, ExperimentFilter(LOCAL_OWNER, activations=["relu"])) == both
    assert listed(database, ExperimentFilter(LOCAL_OWNER, activations=["gelu"])) == []
    assert listed(database, ExperimentFilter(LOCAL_OWNER, created_after=START)) == [classification]
    soon = START + timedelta(microseconds=1)
    assert listed(database, ExperimentFilter(LOCAL_OWNER, created_before=soon)) == [regression]
    assert listed(database, ExperimentFilter(LOCAL_OWNER, datasets=["fbm"], states=["succeeded"])) == []


def test_times_of_other_zones_mean_the_same_moment(database: Database) -> None:
    in_india = timezone(timedelta(hours=5, minutes=30))
    experiment_id = posted_at(database, START.astimezone(in_india))
    stored = experiment(database, experiment_id).created_at
    assert stored == START
    assert stored.tzinfo == UTC
    just_before = (START - timedelta(microseconds=1)).astimezone(timezone(timedelta(hours=-8)))
    assert listed(database, ExperimentFilter(LOCAL_OWNER, created_after=just_before)) == [experiment_id]
    assert listed(database, ExperimentFilter(LOCAL_OWNER, created_after=START.astimezone(in_india))) == []


def test_runs_are_listed_in_the_order_of_the_plan_with_their_latest_metrics(database: Database) -> None:
    experiment_id, (first, second) = post_jobs(database, "relu", "elu", num_seeds=2)
    lease = claim(database, first)
    commit(database, lease, 1, 2)
    with database.read() as session:
        found = repository.list_runs(session, experiment_id, limit=100)
    assert [run.position for run, _ in found] == list(range(8))
    for run, metrics in found:
        if run.job_id == first:
            assert metrics is not None
            assert metrics.epoch == run.epoch == 2
        else:
            assert run.job_id == second
            assert metrics is None


def test_pages_of_runs_hold_every_run_once(database: Database) -> None:
    experiment_id, _ = post_jobs(database, "relu", "elu", num_seeds=2)
    positions: list[int] = []
    while True:
        last = positions[-1] if positions else -1
        with database.read() as session:
            page = repository.list_runs(session, experiment_id, limit=3, after_position=last)
        if not page:
            break
        positions += [run.position for run, _ in page]
    assert positions == list(range(8))


def test_runs_are_found_by_what_they_are(database: Database) -> None:
    experiment_id, (first, _) = post_jobs(database, "relu", "elu", num_seeds=2)
    claim(database, first)

    def found(**wanted: Any) -> set[tuple[str, float, int]]:
        with database.read() as session:
            page = repository.list_runs(session, experiment_id, RunFilter(**wanted), limit=100)
        return {(run.activation, run.rate, run.seed) for run, _ in page}

    assert found(activations=["elu"], rates=[0.2]) == {("elu", 0.2, 0), ("elu", 0.2, 1)}
    assert found(seeds=[1], rates=[0.0]) == {("relu", 0.0, 1), ("elu", 0.0, 1)}
    assert {activation for activation, _, _ in found(states=["running"])} == {"relu"}
    assert found(activations=["gelu"]) == set()


# --- progress


def test_progress_counts_runs_and_epochs(database: Database) -> None:
    experiment_id, (first, second, third) = post_jobs(database, "relu", "elu", "tanh")
    assert progress(database, experiment_id) == Progress(12, 0, 0, 0, 36, 0)
    train_to_the_end(database, first)
    assert progress(database, experiment_id) == Progress(12, 4, 0, 0, 36, 12)
    lease = claim(database, second)
    commit(database, lease, 1)
    assert progress(database, experiment_id) == Progress(12, 4, 0, 0, 36, 16)
    with database.write() as session:
        queue.rewind(session, lease, 0)
    assert progress(database, experiment_id) == Progress(12, 4, 0, 0, 36, 12)
    fail(database, third)
    assert progress(database, experiment_id) == Progress(12, 4, 4, 0, 36, 12)


def test_a_run_that_diverged_has_no_epochs_left_to_wait_for(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    measured = rows(database, lease, 1)
    with database.write() as session:
        queue.commit_epoch(session, lease, measured, diverged=[measured[0].run_id])
    assert progress(database, experiment_id) == Progress(4, 1, 0, 0, 12, 3 + 3 * 1)


def test_the_progress_of_several_experiments_is_told_apart(database: Database) -> None:
    first, second = post(database), post(database, num_seeds=3)
    train_to_the_end(database, job_ids(database, second)[0])
    assert progress(database, first) == Progress(4, 0, 0, 0, 12, 0)
    assert progress(database, second) == Progress(6, 6, 0, 0, 18, 18)


def test_numerics_are_told_once_however_many_jobs_decided_alike(database: Database) -> None:
    experiment_id, ids = post_jobs(database, "relu", "elu", "tanh")
    for job_id, threads in zip(ids[:2], (1, 1), strict=True):
        lease = claim(database, job_id)
        with database.write() as session:
            queue.fix_numerics(session, lease, {"device": "cpu", "threads": threads})
    with database.read() as session:
        stored = session.get_one(Experiment, experiment_id)
        assert repository.distinct_numerics(session, [stored]) == {experiment_id: [{"device": "cpu", "threads": 1}]}
        assert repository.num_claims(session, experiment_id) == 2
