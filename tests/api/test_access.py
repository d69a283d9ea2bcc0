"""The access log, and the request times behind it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from api.access import CLIENT_LEFT, Access
from api.prometheus import new_registry
from shared.store.db import Database
from tests.api.support import post
from tests.api.test_keys import bearer, make_key

SECRET = "actrobust_0123456789_c2VjcmV0"


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


def requests(logs: list[Any]) -> list[dict[str, Any]]:
    return [entry for entry in logs if entry["event"] == "request"]


def test_a_request_is_one_line_that_says_what_became_of_it(
    client: TestClient, database: Database, logs: list[Any]
) -> None:
    key = make_key(database, "alice")
    experiment_id = post(client, headers=bearer(key))["id"]
    client.get(f"/experiments/{experiment_id}/runs?page_size=7", headers={**bearer(key), "X-Request-ID": "mine"})
    posted, listed = requests(logs)
    assert listed.pop("duration_ms") > 0
    assert listed == {
        "event": "request", "log_level": "info", "method": "GET", "route": "/experiments/{experiment_id}/runs",
        "status": 200, "request_id": "mine", "owner": "alice", "experiment": experiment_id,
    }  # fmt: skip
    assert (posted["method"], posted["route"], posted["status"]) == ("POST", "/experiments", 202)
    (told,) = [entry for entry in logs if entry["event"] == "experiment posted"]
    assert (told["experiment"], told["owner"]) == (experiment_id, "alice")


def test_neither_addresses_nor_headers_are_written_down(sqlite_client: TestClient, logs: list[Any]) -> None:
    hostile = {"Authorization": f"Bearer {SECRET}", "X-Request-ID": SECRET + "\nforged", "Cookie": SECRET}
    for address in (f"/experiments?key={SECRET}", f"/{SECRET}", f"/experiments/{SECRET}", f"/presets/{SECRET}"):
        sqlite_client.get(address, headers=hostile)
    assert [entry["status"] for entry in requests(logs)] == [422, 404, 404, 404]
    assert SECRET not in str(logs)
    assert "forged" not in str(logs)


def test_probes_are_written_down_only_when_they_fail(sqlite_client: TestClient, logs: list[Any]) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/readyz?x=1"):
        sqlite_client.get(path)
    assert [entry["status"] for entry in requests(logs) if entry["log_level"] == "info"] == [422]


def durations(client: TestClient) -> list[str]:
    return [line for line in client.get("/metrics").text.splitlines() if "duration_seconds_count{" in line]


def test_times_are_kept_by_route_and_never_by_what_clients_make_up(sqlite_client: TestClient) -> None:
    for path in ("/experiments/1", "/experiments/2", "/nowhere", "/elsewhere", "/experiments"):
        sqlite_client.get(path)
    sqlite_client.request("BREW", "/experiments")
    sqlite_client.get("/metrics")
    start = "actrobust_http_request_duration_seconds_count"
    assert sorted(durations(sqlite_client)) == [
        f'{start}{{method="GET",route="/experiments",status="200"}} 1.0',
        f'{start}{{method="GET",route="/experiments/{{experiment_id}}",status="404"}} 2.0',
        f'{start}{{method="GET",route="none",status="404"}} 2.0',
        f'{start}{{method="other",route="/experiments",status="405"}} 1.0',
    ]


def test_a_client_that_left_is_not_taken_for_a_fault_of_the_service(logs: list[Any]) -> None:
    registry, histogram = new_registry()

    async def nothing(*_: Any) -> None:
        """A client that is gone, and an application that answers nothing."""

    scope = {"type": "http", "method": "GET", "path": "/experiments"}
    asyncio.run(Access(nothing, histogram)(scope, nothing, nothing))  # type: ignore[arg-type]
    assert [entry["status"] for entry in requests(logs)] == [CLIENT_LEFT]
    sample = {"method": "GET", "route": "none", "status": str(CLIENT_LEFT)}
    assert registry.get_sample_value("actrobust_http_request_duration_seconds_count", sample) == 1
