import math
from typing import Any

import pytest
from sqlalchemy import select

from shared.store import metrics, queue, repository
from shared.store.db import Database
from shared.store.metrics import NAMES, MetricsFilter, metrics_chunks, metrics_page, number_chunks
from shared.store.queue import MetricsRow
from shared.store.tables import Run
from tests.shared.store.experiments import claim, commit, post_jobs, runs

FILTERS: list[MetricsFilter] = [
    MetricsFilter(),
    MetricsFilter(activations=["elu"]),
    MetricsFilter(activations=["elu", "relu"], rates=[0.0], seeds=[1]),
    MetricsFilter(rates=[0.2]),
    MetricsFilter(seeds=[0, 1]),
    MetricsFilter(epoch_from=2),
    MetricsFilter(epoch_to=1),
    MetricsFilter(epoch_from=2, epoch_to=2, rates=[0.2]),
    MetricsFilter(activations=["gelu"]),
]


@pytest.fixture
def experiment_id(database: Database) -> str:
    """Two activations, two rates, two seeds, three epochs; and another experiment beside it."""
    found, ids = post_jobs(database, "relu", "elu")
    _, others = post_jobs(database, "relu", "elu")
    for job_id in [*reversed(ids), *others]:
        commit(database, claim(database, job_id), 1, 2, 3)
    return found


def all_by_page(database: Database, experiment_id: str, wanted: MetricsFilter, *, limit: int) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    after = None
    while True:
        with database.read() as session:
            page = metrics_page(session, experiment_id, wanted, limit=limit, after=after)
        if not page:
            return items
        items += [item for item, _ in page]
        after = page[-1][1]


def all_by_chunk(database: Database, experiment_id: str, wanted: MetricsFilter) -> list[dict[str, Any]]:
    with database.read() as session:
        chunks = list(metrics_chunks(session, experiment_id, wanted))
    return [dict(zip(NAMES, row, strict=True)) for chunk in chunks for row in chunk]


def test_pages_hold_what_the_whole_holds(database: Database, experiment_id: str) -> None:
    for wanted in FILTERS:
        whole = all_by_chunk(database, experiment_id, wanted)
        for limit in (1, 5, 1000):
            assert all_by_page(database, experiment_id, wanted, limit=limit) == whole


def test_a_filter_lets_exactly_the_wanted_rows_through(database: Database, experiment_id: str) -> None:
    everything = all_by_chunk(database, experiment_id, MetricsFilter())
    assert len(everything) == 2 * 2 * 2 * 3
    for wanted in FILTERS:
        expected = [
            row
            for row in everything
            if (not wanted.activations or row["activation"] in wanted.activations)
            and (not wanted.rates or row["rate"] in wanted.rates)
            and (not wanted.seeds or row["seed"] in wanted.seeds)
            and row["epoch"] >= (wanted.epoch_from or 0)
            and row["epoch"] <= (wanted.epoch_to or 100)
        ]
        assert all_by_chunk(database, experiment_id, wanted) == expected


def test_rows_come_run_by_run_in_the_order_of_the_plan(database: Database, experiment_id: str) -> None:
    found = all_by_chunk(database, experiment_id, MetricsFilter())
    assert [(row["activation"], row["rate"], row["seed"], row["epoch"]) for row in found] == [
        (activation, rate, seed, epoch)
        for activation in ("relu", "elu")
        for rate in (0.0, 0.2)
        for seed in (0, 1)
        for epoch in (1, 2, 3)
    ]


def test_small_chunks_hold_the_same_rows(
    database: Database, experiment_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = all_by_chunk(database, experiment_id, MetricsFilter())
    monkeypatch.setattr(metrics, "ROWS_PER_CHUNK", 5)
    with database.read() as session:
        sizes = [len(chunk) for chunk in metrics_chunks(session, experiment_id, MetricsFilter())]
    assert max(sizes) <= 5
    assert all_by_chunk(database, experiment_id, MetricsFilter()) == whole


def test_numbers_come_back_to_the_last_bit_and_absent_ones_as_none(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu", num_seeds=1)
    lease = claim(database, job_id)
    clean, dirty = (run.id for run in runs(database, job_id))
    measured = [
        MetricsRow(clean, 1, 0.1 + 0.2, 1 / 3, 2 / 3, 5e-324, 1e300, 0.1, None, None, None),
        MetricsRow(dirty, 1, None, None, 0.5, 0.5, None, 0.5, 0.25, 0.125, "inf"),
    ]
    with database.write() as session:
        queue.commit_epoch(session, lease, measured)
    found = all_by_chunk(database, experiment_id, MetricsFilter())
    for row, given in zip(found, measured, strict=True):
        assert {name: row[name] for name in vars(given)} == vars(given)


def test_nothing_measured_is_nothing_found(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    claim(database, job_id)
    assert all_by_chunk(database, experiment_id, MetricsFilter()) == []
    assert all_by_page(database, experiment_id, MetricsFilter(), limit=10) == []


def test_numbers_are_those_of_the_rows_with_nan_for_null(
    database: Database, experiment_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "ROWS_PER_CHUNK", 5)
    names = ["val_loss", "memorization", "train_loss"]
    for wanted in FILTERS:
        with database.read() as session:
            facts = repository.run_facts(session, experiment_id)
            chunks = list(number_chunks(session, experiment_id, names, wanted))
        position = {(fact.activation, fact.rate, fact.seed): fact.position for fact in facts}
        expected = {
            (position[row["activation"], row["rate"], row["seed"]], row["epoch"]): [row[name] for name in names]
            for row in all_by_chunk(database, experiment_id, wanted)
        }
        found = {
            (int(place), int(epoch)): [None if math.isnan(value) else value for value in values]
            for chunk in chunks
            for place, epoch, *values in chunk
        }
        assert found == expected


def test_facts_of_runs_are_those_of_the_runs(database: Database, experiment_id: str) -> None:
    with database.read() as session:
        facts = repository.run_facts(session, experiment_id)
        stored = session.scalars(select(Run).where(Run.experiment_id == experiment_id).order_by(Run.position)).all()
    assert len(facts) == 8
    for fact, run in zip(facts, stored, strict=True):
        assert dict(fact._mapping) == {name: getattr(run, name) for name in fact._mapping}
