"""What the comparison of a large experiment costs: 40 activations, clean and six rates, 20 seeds, 200 epochs.

The service answers in a process of its own, on a database that holds 1.12 million rows of invented metrics.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert, select, update

from shared.plan import plan
from shared.settings import Settings
from shared.spec import resolve
from shared.store import repository
from shared.store.db import Database, upgrade
from shared.store.keys import LOCAL_OWNER
from shared.store.states import ExperimentState, Outcome, RunState
from shared.store.tables import EpochMetrics, Experiment, Run

SPEC: dict[str, Any] = {
    "name": "large",
    "dataset": {"kind": "fbm", "num_columns": 2, "train_size": 200, "val_size": 100},
    "corruption": {"kind": "gaussian", "rates": [0.05, 0.1, 0.2, 0.4, 0.6, 0.8]},
    "activations": [{"kind": "relu"}]
    + [{"kind": "leaky_relu", "negative_slope": n / 100, "label": f"leaky {n}"} for n in range(2, 41)],
    "training": {"epochs": 200},
    "num_seeds": 20,
}
QUESTIONS = {"plain": "", "curves_raw": "?include=curves,raw", "everything": "?include=curves,pairs,raw"}
RANDOM_SEED = 0


def fill(database_url: str) -> str:
    """Migrate the database and write an experiment that has succeeded; its id."""
    upgrade(database_url)
    database = Database(database_url)
    spec = resolve(SPEC)
    with database.write() as session:
        experiment_id = repository.create_experiment(session, spec, plan(spec), {}, owner=LOCAL_OWNER).id
    with database.write() as session:
        runs = session.scalars(select(Run).where(Run.experiment_id == experiment_id).order_by(Run.position)).all()
        values = {"state": RunState.SUCCEEDED, "outcome": Outcome.OK, "epoch": spec.training.epochs, "null_loss": 1.0}
        session.execute(update(Run).where(Run.experiment_id == experiment_id).values(**values))
        session.execute(update(Experiment).values(state=ExperimentState.SUCCEEDED))
        rng = np.random.default_rng(RANDOM_SEED)
        level_S = rng.normal(0.3, 0.05, spec.num_seeds)
        for run in runs:
            rows = _curve(run, level_S, spec.training.epochs, rng)
            session.execute(insert(EpochMetrics), rows)
    database.close()
    return experiment_id


def _curve(run: Run, level_S: Any, num_epochs: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    falling_E = np.exp(-np.arange(num_epochs) / 20)
    wobble_E = rng.normal(0, 0.01) + rng.normal(0, 0.003, num_epochs).cumsum() / 10
    loss_E = level_S[run.seed] + 0.5 * falling_E + 0.1 * run.rate + wobble_E
    memory = run.rate or None
    return [
        {"run_id": run.id, "epoch": e + 1, "train_loss": loss, "val_loss": loss, "val_loss_a": loss + 0.01,
         "memorization": memory}
        for e, loss in enumerate(loss_E.tolist())
    ]  # fmt: skip


def answer(database_url: str, experiment_id: str, query: str) -> dict[str, float]:
    """Ask once with nothing cached, once more with the entity tag; in this process, whose memory is measured."""
    from starlette.testclient import TestClient

    from api.app import create_app

    settings = Settings(_env_file=None, database_url=database_url, broker_url="redis://127.0.0.1:1/0")
    with TestClient(create_app(settings)) as client:
        client.get("/healthz").raise_for_status()
        path = f"/experiments/{experiment_id}/robustness{query}"
        start = time.perf_counter()
        response = client.get(path).raise_for_status()
        cold_s = time.perf_counter() - start
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        start = time.perf_counter()
        client.get(path).raise_for_status()
        again_s = time.perf_counter() - start
        start = time.perf_counter()
        unchanged = client.get(path, headers={"If-None-Match": response.headers["etag"]})
        unchanged_s = time.perf_counter() - start
        assert unchanged.status_code == 304
    figures = {"cold_s": cold_s, "again_s": again_s, "unchanged_s": unchanged_s, "peak_mib": peak_mib}
    return {**figures, "answer_mib": len(response.content) / 2**20}


def measure(database_url: str | None = None) -> dict[str, float]:
    """Seconds and peak memory of each question by name, every question in a process of its own.

    Args:
        database_url: an empty database; a temporary SQLite file unless given.
    """
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="actrobust-bench-") as folder:
        url = database_url or f"sqlite:///{Path(folder) / 'large.db'}"
        experiment_id = fill(url)
        for name, query in QUESTIONS.items():
            command = [sys.executable, "-m", "benchmarks.comparison", url, experiment_id, query]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            measured = json.loads(done.stdout.splitlines()[-1])
            figures |= {f"comparison_{name}_{figure}": value for figure, value in measured.items()}
    return figures


if __name__ == "__main__":
    print(json.dumps(answer(*sys.argv[1:])))
