"""How long the calls take whose cost might grow with what is stored: whole requests to the application, in process."""

import gc
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import httpx2
from starlette.testclient import TestClient

from api.app import create_app
from benchmarks.scale.filling import DOCUMENTS, every, finished_experiments
from benchmarks.scale.timing import Timing, timed
from shared.settings import Settings
from shared.store.db import Database
from shared.store.keys import create_key

OWNER = "alice"
DEEP_PAGE = 40
LISTINGS = {
    "list": "",
    "list, state=succeeded": "?state=succeeded",
    "list, state=queued": "?state=queued",
    "list, state=failed&state=cancelled": "?state=failed&state=cancelled",
    "list, dataset=digits": "?dataset=digits",
    "list, activation=gelu": "?activation=gelu",
    "list, activation that nothing has": "?activation=serf",
    "list, all filters": "?state=failed&dataset=digits&activation=relu",
    "list, the oldest first": "?order_by=created_at",
}


def measure(database: Database, settings: Settings, *, times: int) -> Iterator[Timing]:
    """Time each kind of request; with an API key, as on a service with many owners."""
    with database.write() as session:
        key = create_key(session, OWNER).text
    with database.read() as session:
        ids = finished_experiments(session, OWNER, 200)
    with TestClient(create_app(settings), headers={"Authorization": f"Bearer {key}"}) as http:
        gc.freeze()  # as `actrobust api` does
        yield from _lists(http, times=times)
        yield from _single(http, ids, times=times)
        yield from _posts(http, times=times)


def _lists(http: httpx2.Client, *, times: int) -> Iterator[Timing]:
    for name, query in LISTINGS.items():
        yield timed(name, _get(http, every([f"/experiments{query}"])), times=times)
    deep = _deep_page(http)
    yield timed(f"list, page {DEEP_PAGE}", _get(http, every([deep])), times=times)
    yield timed("list, 1000 a page", _get(http, every(["/experiments?page_size=1000"])), times=max(5, times // 20))


def _deep_page(http: httpx2.Client) -> str:
    path = "/experiments"
    for _ in range(DEEP_PAGE):
        token = http.get(path).raise_for_status().json().get("next_page_token")
        if token is None:
            break
        path = f"/experiments?page_token={token}"
    return path


def _single(http: httpx2.Client, ids: Any, *, times: int) -> Iterator[Timing]:
    calls = {"get": "", "runs": "/runs", "metrics, a page": "/metrics", "robustness": "/robustness"}
    for name, path in calls.items():
        yield timed(name, _get(http, every([f"/experiments/{each}{path}" for each in ids])), times=times)
    tags = [http.get(f"/experiments/{each}/robustness").headers["ETag"] for each in ids[:50]]
    pairs = every(list(zip(ids, tags, strict=False)))

    def unchanged() -> None:
        experiment_id, tag = next(pairs)
        answer = http.get(f"/experiments/{experiment_id}/robustness", headers={"If-None-Match": tag})
        assert answer.status_code == 304

    yield timed("robustness, 304", unchanged, times=times)


def _posts(http: httpx2.Client, *, times: int) -> Iterator[Timing]:
    """Experiments of 28 runs and 20 epochs: none of which was trained before, and all of which were, very often."""
    base_seeds = count(1)

    def new() -> None:
        http.post("/experiments", json={**DOCUMENTS[0], "base_seed": next(base_seeds)}).raise_for_status()

    def repeated() -> None:
        http.post("/experiments", json=DOCUMENTS[0]).raise_for_status()

    yield timed("post, what is new", new, times=times)
    yield timed("post, what was trained before", repeated, times=times)


def _get(http: httpx2.Client, paths: Iterator[str]) -> Callable[[], Any]:
    return lambda: http.get(next(paths)).raise_for_status()
