"""The service does what its OpenAPI document says: thousands of generated requests to a real one."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from shared.settings import Settings
from shared.store.db import Database
from shared.store.keys import create_key
from tests.api.support import ON_DIGITS, TINY, post, train
from tests.e2e.services import command, environment, url_printed_by

CONFIGURATION = Path(__file__).parent / "schemathesis.toml"
# Nobody waits a minute between two requests, and no worker takes what is posted.
WITHOUT_LIMITS = {"ACTROBUST_MAX_REQUESTS_PER_MINUTE": "1000000", "ACTROBUST_MAX_WAITING_EXPERIMENTS": "1000000"}


@pytest.fixture
def key(sqlite_url: str) -> str:
    """A key, so that every call has to show it."""
    database = Database(sqlite_url)
    with database.write() as session:
        made = create_key(session, "contract")
    database.close()
    return made.text


@pytest.fixture
def finished(sqlite_url: str, broker_url: str, tmp_path: Path, key: str) -> list[str]:
    """Experiments with results: a regression and a classification."""
    settings = Settings(
        _env_file=None, data_dir=tmp_path / "data", database_url=sqlite_url, broker_url=broker_url,
        allowed_hosts="testserver",
    )  # fmt: skip
    database = Database(sqlite_url)
    with TestClient(create_app(settings), headers={"Authorization": f"Bearer {key}"}) as client:
        made: list[str] = [post(client, document)["id"] for document in (TINY, ON_DIGITS) * 3]
    for experiment_id in made:
        train(database, experiment_id)
    database.close()
    return made


@pytest.fixture
def url(sqlite_url: str, tmp_path: Path, finished: list[str]) -> Iterator[str]:
    """Where `actrobust serve` listens, with a broker and without a worker."""
    env = environment(tmp_path / "data", ACTROBUST_DATABASE_URL=sqlite_url, **WITHOUT_LIMITS)
    log = tmp_path / "stderr.log"
    with command("serve", "--no-worker", "--port", "0", env=env, log=log) as serving:
        yield url_printed_by(serving, log)


@pytest.fixture
def report(url: str, key: str, finished: list[str], tmp_path: Path) -> dict[str, Any]:
    """What Schemathesis found, after its four phases."""
    shutil.copy(CONFIGURATION, tmp_path)
    (tmp_path / "finished.txt").write_text("\n".join(f'"{each}"' for each in finished))
    arguments = ["--config-file", CONFIGURATION.name, "run", f"{url}/openapi.json", "--report", "json",
                 "--report-json-path", "report.json", "--no-color"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", *arguments],
        cwd=tmp_path, env={**os.environ, "CONTRACT_KEY": key}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    found: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())
    return found


@pytest.mark.timeout(600)
def test_the_service_keeps_what_its_openapi_document_promises(report: dict[str, Any]) -> None:
    assert report["failures"] == report["errors"] == []
    assert report["operations"]["tested"] == report["operations"]["total"]
    assert {phase: outcome["status"] for phase, outcome in report["phases"].items()} == dict.fromkeys(
        ("examples", "coverage", "fuzzing", "stateful"), "success"
    )
    assert report["test_cases"]["generated"] > 2000
    # Where a page token is generated, most of the valid looking requests are refused; the configuration says more.
    warnings = {kind: found for kind, found in report["warnings"].items() if kind != "validation_mismatch"}
    assert not any(warnings.values()), warnings
