"""No statement of the service may look through a whole table of those that grow; the planners of both databases say."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, text
from starlette.testclient import TestClient

from benchmarks.scale.filling import Mixture, fill, finished_experiments, pending_jobs
from shared.settings import Settings
from shared.store import lifecycle, queue, reconciler
from shared.store.checkpoints import CheckpointStore
from shared.store.db import Database
from shared.store.doorbell import dispatch
from shared.store.keys import LOCAL_OWNER
from shared.store.metrics import MetricsFilter, metrics_page
from shared.store.presence import announce
from shared.store.types import new_id
from tests.shared.store.experiments import claim, commit, complete, fail, post

GROWING = {"experiments", "jobs", "runs", "epoch_metrics", "events", "idempotency_keys"}
# Indexes that hold only the rows that are looked for, which may be read from end to end.
OF_FEW_ROWS = {"ix_experiments_deleted_at", "ix_events_created_at"}
Statement = tuple[str, Any]


@pytest.fixture
def full(database: Database) -> Database:
    """A database in which experiments of every state lie, and thousands of rows of metrics."""
    fill(database, Mixture(num_experiments=300, num_queued=6, num_running=2, num_deleted=6))
    return database


@contextmanager
def listening(database: Database) -> Iterator[list[Statement]]:
    """What is executed meanwhile."""
    heard: list[Statement] = []

    def hear(_connection: Any, _cursor: Any, sql: str, values: Any, _context: Any, many: bool) -> None:
        heard.append((sql, values[0] if many else values))

    event.listen(database.engine, "before_cursor_execute", hear)
    yield heard
    event.remove(database.engine, "before_cursor_execute", hear)


def scanned(database: Database, statements: list[Statement]) -> dict[str, str]:
    """The statements that read a whole table of those that grow, with the plan."""
    explain = _scans_of_sqlite if database.engine.dialect.name == "sqlite" else _scans_of_postgres
    found = {}
    with database.engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            # A small table is read whole whatever its indexes; this asks whether there is another way.
            connection.execute(text("SET enable_seqscan = off"))
        for sql, values in statements:
            if sql.lstrip().split()[0] in {"SELECT", "UPDATE", "DELETE", "INSERT"} and "epoch_metrics (" not in sql:
                scans = explain(connection, sql, values)
                if scans:
                    found[sql] = scans
    return found


def _scans_of_sqlite(connection: Any, sql: str, values: Any) -> str:
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)
    steps = [row[3] for row in rows]
    return "\n".join(step for step in steps if step.startswith("SCAN") and step.split()[1] in GROWING)


def _scans_of_postgres(connection: Any, sql: str, values: Any) -> str:
    (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {sql}", values).scalar()
    scans = [node for node in _nodes(plan["Plan"]) if _reads_everything(node)]
    return json.dumps(scans, indent=1) if scans else ""


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield {name: value for name, value in node.items() if name != "Plans"}
    for inner in node.get("Plans", ()):
        yield from _nodes(inner)


def _reads_everything(node: Mapping[str, Any]) -> bool:
    is_scan = node["Node Type"] in {"Seq Scan", "Index Scan", "Index Only Scan"} and "Index Cond" not in node
    return is_scan and node.get("Relation Name") in GROWING and node.get("Index Name") not in OF_FEW_ROWS


def test_a_late_page_of_metrics_reads_none_of_those_before_it(full: Database) -> None:
    with full.read() as session:
        (experiment_id,) = finished_experiments(session, "alice", 1)
    with full.read() as session, listening(full) as heard:
        assert metrics_page(session, experiment_id, MetricsFilter(), limit=10, after=(20, 3))[0][1] == (20, 4)
    [(sql, values)] = [statement for statement in heard if statement[0].startswith("SELECT")]
    with full.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            steps = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
        else:
            steps = [row[0] for row in connection.exec_driver_sql(f"EXPLAIN {sql}", values)]
            steps = [step for step in steps if "Index Cond" in step]
    assert any(re.search(r'position"? ?>', step) for step in steps), steps


def work_on_a_job(database: Database, settings: Settings) -> None:
    with database.read() as session:
        first, second = pending_jobs(session, 2)
    lease = claim(database, first)
    commit(database, lease, 1)
    with database.write() as session:
        queue.rewind(session, lease, 1)
        queue.save_checkpoint(session, lease, [])
    complete(database, lease)
    fail(database, second)
    with database.write() as session:
        queue.claim_next(session, second, new_id(), devices=("any",))


def lose_a_worker(database: Database, settings: Settings) -> None:
    with database.read() as session:
        (job_id,) = pending_jobs(session, 1)
    claim(database, job_id)
    reconciler.reap_silent(database, settings.model_copy(update={"lease_ttl_s": 0.0}))


def sweep(database: Database, settings: Settings) -> None:
    with database.write() as session:
        announce(session, new_id(), device="cuda")
    with database.read() as session:
        for job_id in pending_jobs(session, 3):
            (CheckpointStore(settings.checkpoints_dir).folder / job_id).mkdir(parents=True)
    for _ in range(3):
        reconciler.sweep(database, settings)
    dispatch(database, settings)


def post_cancel_and_delete(database: Database, settings: Settings) -> None:
    experiment_id = post(database)
    with database.write() as session:
        lifecycle.start_cancelling(session, experiment_id, owner=LOCAL_OWNER)
        lifecycle.finish_if_done(session, experiment_id)
    with database.write() as session:
        lifecycle.resume_experiment(session, experiment_id, owner=LOCAL_OWNER)
    with database.write() as session:
        lifecycle.start_cancelling(session, experiment_id, owner=LOCAL_OWNER)
        lifecycle.finish_if_done(session, experiment_id)
    with database.write() as session:
        lifecycle.mark_deleted(session, experiment_id, owner=LOCAL_OWNER)


def test_no_transaction_of_workers_and_reconciler_reads_a_whole_table(full: Database, settings: Settings) -> None:
    with listening(full) as heard:
        for act in (work_on_a_job, lose_a_worker, post_cancel_and_delete, sweep):
            act(full, settings)
    assert len(heard) > 60
    found = scanned(full, heard)
    assert not found, "\n\n".join(f"{sql}\n{plan}" for sql, plan in found.items())


LISTINGS = (
    "", "?state=queued", "?state=failed&state=cancelled", "?dataset=digits", "?activation=gelu",
    "?state=succeeded&dataset=digits&activation=relu", "?order_by=created_at", "?created_after=2020-01-01T00:00:00Z",
)  # fmt: skip
LOOKS = (
    "",
    "/runs",
    "/metrics",
    "/metrics?epoch_from=3&activation=relu",
    "/robustness",
    "/metrics?format=csv",
    "/events",
)


def test_no_request_reads_a_whole_table(full: Database, settings: Settings) -> None:
    from api.app import create_app
    from tests.shared.specs import TINY_REGRESSION

    with full.read() as session:
        (experiment_id,) = finished_experiments(session, LOCAL_OWNER, 1)
    app = create_app(settings)
    with TestClient(app) as http, listening(app.state.parts.database) as heard:
        for query in LISTINGS:
            page = http.get(f"/experiments{query}", params={"page_size": 2} if not query else None)
            page.raise_for_status()
        http.get(f"/experiments?page_size=2&page_token={_first_token(http)}").raise_for_status()
        for path in LOOKS:
            http.get(f"/experiments/{experiment_id}{path}").raise_for_status()
        http.post("/experiments", json=TINY_REGRESSION, headers={"Idempotency-Key": "k"}).raise_for_status()
    assert len(heard) > 30
    found = scanned(full, heard)
    assert not found, "\n\n".join(f"{sql}\n{plan}" for sql, plan in found.items())


def _first_token(http: TestClient) -> str:
    token: str = http.get("/experiments?page_size=2").json()["next_page_token"]
    return token


def test_a_scan_would_be_found(database: Database) -> None:
    """The test of the test: both planners are understood."""
    everything = [(f"SELECT * FROM {table}", ()) for table in sorted(GROWING)]
    assert set(scanned(database, everything)) == {sql for sql, _ in everything}
