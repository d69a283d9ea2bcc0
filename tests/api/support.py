"""What many tests of the API do: post tiny specs, write what a worker would have measured, and look at problems."""

import time
from typing import Any

import httpx2
from sqlalchemy import select
from starlette.testclient import TestClient

from shared.store import queue
from shared.store.db import Database
from shared.store.tables import Experiment, Job, Run
from shared.store.types import new_id

# Two activations, clean and one rate, three seeds, four epochs: twelve runs.
TINY: dict[str, Any] = {
    "name": "tiny",
    "dataset": {"kind": "fbm", "num_columns": 2, "train_size": 50, "val_size": 20},
    "activations": ["relu", {"kind": "leaky_relu", "negative_slope": 0.2, "label": "leaky, 0.2"}],
    "training": {"epochs": 4},
    "num_seeds": 3,
}
ON_DIGITS: dict[str, Any] = {
    **TINY, "dataset": {"kind": "digits"}, "corruption": {"kind": "symmetric", "rates": [0.2, 0.4]},
}  # fmt: skip
NUMERICS = {"engine": "serial", "device": "cpu", "threads": 1}


def post(client: TestClient, document: Any = None, **options: Any) -> dict[str, Any]:
    response = client.post("/experiments", json=TINY if document is None else document, **options)
    assert response.status_code == 202, response.text
    answer: dict[str, Any] = response.json()
    return answer


def problem(response: httpx2.Response, status: int) -> dict[str, Any]:
    """The problem document of a refused request, checked for what every one of them has."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    document: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "instance", "request_id"} <= document.keys()
    assert document["status"] == status
    assert document["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text
    return document


def faults(response: httpx2.Response, status: int = 422) -> dict[str, str]:
    """The pointers and parameters that a refused request was told about, each with what was said."""
    return {
        fault.get("pointer", fault.get("parameter")): fault["detail"] for fault in problem(response, status)["errors"]
    }


def train(
    database: Database,
    experiment_id: str,
    *,
    epochs: int | None = None,
    num_jobs: int | None = None,
    complete: bool = True,
    pause_s: float = 0,
) -> None:
    """Write what workers would have measured; by default for all epochs of all jobs, and as fast as it goes."""
    with database.read() as session:
        num_epochs = epochs or session.get_one(Experiment, experiment_id).num_epochs
        jobs = list(session.scalars(select(Job.id).where(Job.experiment_id == experiment_id).order_by(Job.id)))
    for job_id in jobs[:num_jobs]:
        lease = claim(database, job_id)
        with database.read() as session:
            runs = list(session.scalars(select(Run).where(Run.job_id == job_id)))
        with database.write() as session:
            queue.describe_runs(session, lease, [_facts(run) for run in runs])
        for epoch in range(1, num_epochs + 1):
            with database.write() as session:
                queue.commit_epoch(session, lease, [measured(run, epoch) for run in runs])
            time.sleep(pause_s)
        if complete:
            with database.write() as session:
                queue.complete(session, lease)


def claim(database: Database, job_id: str) -> queue.Lease:
    with database.write() as session:
        lease = queue.claim(session, job_id, new_id())
        assert lease is not None
        queue.mark_running(session, lease)
        queue.fix_numerics(session, lease, NUMERICS)
    return lease


def _facts(run: Run) -> dict[str, Any]:
    return {
        "id": run.id, "null_loss": 0.1, "null_accuracy": None, "realised_rate": run.rate,
        "mask_hash": f"{run.seed:064}",
    }  # fmt: skip


def measured(run: Run, epoch: int) -> queue.MetricsRow:
    """Numbers that differ from run to run and from epoch to epoch."""
    loss = 1 / (epoch + 1) + run.rate * (1 + run.seed / 7) + run.position / 1000
    return queue.MetricsRow(
        run.id, epoch, train_loss=loss / 3, val_loss=loss, val_loss_a=loss + 0.01,
        memorization=run.rate or None,
    )  # fmt: skip


def jobs_of(database: Database, experiment_id: str) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(Job.id).where(Job.experiment_id == experiment_id).order_by(Job.id)))
