"""The stream of events as a client sees it, from a real server where the stream has no end yet."""

import asyncio
import itertools
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import httpx2
import pytest
import uvicorn
from sqlalchemy import select
from starlette.testclient import TestClient

from actrobust.client import Client
from actrobust.event_stream import Event
from api import channels, streams
from api.app import create_app
from shared.settings import Settings
from shared.store import queue
from shared.store.db import Database
from shared.store.tables import Run
from tests.api.support import claim, faults, jobs_of, measured, post, problem, train
from tests.api.test_health import wait_until

EPOCH = "run.epoch"
# Two jobs of two runs.
TINY_AND_QUICK = {
    "name": "tiny", "dataset": {"kind": "fbm", "num_columns": 2, "train_size": 50, "val_size": 20},
    "activations": ["relu", "elu"], "training": {"epochs": 4}, "num_seeds": 1,
}  # fmt: skip


def parsed(text: str) -> list[Event]:
    """The events of a whole stream."""
    found = []
    for block in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append(Event(fields["id"], fields["event"], json.loads(fields["data"])))
    return found


def stream(client: TestClient, experiment_id: str, last_event_id: str | None = None) -> list[Event]:
    """The stream of an experiment that has ended."""
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    response = client.get(f"/experiments/{experiment_id}/events", headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-accel-buffering"] == "no"
    return parsed(response.text)


class Served:
    """A real server, and the application that it serves."""

    def __init__(self, settings: Settings) -> None:
        self.app = create_app(settings)
        config = uvicorn.Config(self.app, http="h11", log_config=None, access_log=False, timeout_graceful_shutdown=5)
        self._server = uvicorn.Server(config)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]})
        self._thread.start()

    @property
    def streams(self) -> streams.Streams:
        made: streams.Streams = self.app.state.parts.streams
        return made

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture
def served(settings: Settings) -> Iterator[Served]:
    server = Served(settings)
    yield server
    server.stop()


@pytest.fixture
def http(served: Served) -> Iterator[Client]:
    with Client(served.url) as client:
        yield client


@contextmanager
def listening(served: Served, experiment_id: str, last_event_id: str | None = None) -> Iterator[Iterator[Event]]:
    """One connection, without anything that takes it up again."""
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    with (
        httpx2.Client(base_url=served.url, timeout=20, trust_env=False) as http,
        http.sse(f"/experiments/{experiment_id}/events", headers=headers) as source,
    ):
        yield (Event(message.id, message.event, json.loads(message.data)) for message in source)


def commit(database: Database, lease: queue.Lease, *epochs: int) -> None:
    with database.write() as session:
        runs = [session.get_one(Run, run_id) for run_id in _run_ids(database, lease)]
        for epoch in epochs:
            queue.commit_epoch(session, lease, [measured(run, epoch) for run in runs])


def _run_ids(database: Database, lease: queue.Lease) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(Run.id).where(Run.job_id == lease.job_id).order_by(Run.position)))


def test_an_experiment_that_has_ended_is_told_whole_and_the_stream_ends(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    train(database, experiment_id)
    events = stream(client, experiment_id)
    assert [each.data["state"] for each in events if each.kind == "experiment.state"] == [
        "queued", "running", "succeeded",
    ]  # fmt: skip
    metrics = client.get(f"/experiments/{experiment_id}/metrics").json()["items"]
    told = [each.data for each in events if each.kind == EPOCH]
    assert len(told) == len(metrics) == 48
    by_run = sorted(told, key=lambda each: ([row["run_id"] for row in metrics].index(each["run_id"]), each["epoch"]))
    assert by_run == [{name: row[name] for name in told[0]} for row in metrics]
    assert events[-1][1:] == ("done", {"state": "succeeded"})


def test_a_stream_goes_on_behind_any_event(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    train(database, experiment_id)
    events = stream(client, experiment_id)
    for index in (0, 5, 20, len(events) - 2):
        assert stream(client, experiment_id, events[index].id) == events[index + 1 :]
    assert stream(client, experiment_id, events[-1].id) == events[-1:]


@pytest.mark.parametrize(
    "last_event_id", ["", "7", "-1", "7-", "7-1-2", "x-1", "9" * 19 + "-1", "\u0663-1", "1-9999999999"]
)
def test_an_id_that_no_event_can_have_is_refused(sqlite_client: TestClient, last_event_id: str) -> None:
    experiment_id = post(sqlite_client)["id"]
    sqlite_client.post(f"/experiments/{experiment_id}/cancel")
    headers = {b"Last-Event-ID": last_event_id.encode()}
    response = sqlite_client.get(f"/experiments/{experiment_id}/events", headers=headers)
    assert list(faults(response)) == ["Last-Event-ID"]


def test_unknown_parameters_and_experiments_are_refused(sqlite_client: TestClient) -> None:
    experiment_id = post(sqlite_client)["id"]
    assert list(faults(sqlite_client.get(f"/experiments/{experiment_id}/events?last_event_id=7-1"))) == [
        "last_event_id"
    ]
    problem(sqlite_client.get("/experiments/01890000-0000-7000-8000-000000000000/events"), 404)
    sqlite_client.post(f"/experiments/{experiment_id}/cancel")
    assert sqlite_client.delete(f"/experiments/{experiment_id}").status_code == 204
    problem(sqlite_client.get(f"/experiments/{experiment_id}/events"), 404)


def test_what_happens_is_told_while_it_happens(served: Served, http: Client, database: Database) -> None:
    experiment_id = http.create_experiment(TINY_AND_QUICK)["id"]
    first, second = jobs_of(database, experiment_id)
    with listening(served, experiment_id) as one, listening(served, experiment_id) as other:
        assert next(one) == next(other)
        lease = claim(database, first)
        commit(database, lease, 1)
        heard = [list(itertools.islice(each, 4)) for each in (one, other)]
        assert heard[0] == heard[1]
        assert [each.kind for each in heard[0]] == ["job.state", "experiment.state", EPOCH, EPOCH]
        commit(database, lease, 2)
        assert [next(one).data["epoch"] for _ in range(2)] == [2, 2]
        http.cancel(experiment_id)
        with database.write() as session:
            assert queue.confirm_cancelled(session, lease)
        assert [each.data["state"] for each in one] == [
            "cancelling", "cancelled", "cancelling", "cancelled", "cancelled", "cancelled",
        ]  # fmt: skip
        assert list(other)[-1].kind == "done"
    http.resume(experiment_id)
    train(database, experiment_id, num_jobs=2)
    events = list(http.events(experiment_id))
    assert [each.data["state"] for each in events if each.kind == "done"] == ["succeeded"]
    assert second in {each.data.get("job_id") for each in events}


def test_who_comes_late_hears_everything_once(served: Served, http: Client, database: Database) -> None:
    """Connections at any moment, each taken up again in the middle: no gap, nothing twice."""
    experiment_id = http.create_experiment({**TINY_AND_QUICK, "training": {"epochs": 60}})["id"]
    heard: list[list[Event]] = [[] for _ in range(12)]

    def listen(number: int) -> None:
        time.sleep(number * 0.15)
        with listening(served, experiment_id) as first:
            heard[number] += itertools.islice(first, 1 + number * 7)
        with listening(served, experiment_id, heard[number][-1].id) as second:
            heard[number] += second

    threads = [threading.Thread(target=listen, args=(number,)) for number in range(len(heard))]
    for thread in threads:
        thread.start()
    for job_id in jobs_of(database, experiment_id):
        lease = claim(database, job_id)
        for epoch in range(1, 61):
            commit(database, lease, epoch)
            time.sleep(0.01)
        with database.write() as session:
            queue.complete(session, lease)
    for thread in threads:
        thread.join()
    assert len(heard[0]) == 1 + 2 + 2 * 60 * 2 + 3 + 2
    assert all(each == heard[0] for each in heard)


def test_who_falls_behind_what_is_kept_reads_from_the_database(
    served: Served, http: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "MOST_KEPT_BYTES", 1)
    test_who_comes_late_hears_everything_once(served, http, database)


def test_nothing_new_is_said_as_well(served: Served, http: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.2)
    experiment_id = http.create_experiment(TINY_AND_QUICK)["id"]
    with (
        httpx2.Client(base_url=served.url, timeout=20, trust_env=False) as client,
        client.stream("GET", f"/experiments/{experiment_id}/events") as response,
    ):
        lines = [line for line in itertools.islice(response.iter_lines(), 8) if line]
    assert lines[3:] == [": nothing new"] * 2


def test_streams_leave_nothing_behind(served: Served, http: Client) -> None:
    experiment_id = http.create_experiment(TINY_AND_QUICK)["id"]
    with listening(served, experiment_id) as events, listening(served, experiment_id) as others:
        assert next(events) == next(others)
        assert served.streams._num_open == {"local": 2}
        assert served.app.state.parts.database.engine.pool.checkedout() == 0
    wait_until(lambda: not served.streams._num_open and not served.streams._channels)


def test_also_of_many_that_come_at_once_only_so_many_are_opened(
    served: Served, http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_STREAMS", 3)
    experiment_id = http.create_experiment(TINY_AND_QUICK)["id"]

    async def answers() -> list[int]:
        async with (
            httpx2.AsyncClient(base_url=served.url, timeout=20, trust_env=False) as client,
            AsyncExitStack() as all_of_them,
        ):
            streamed = [client.stream("GET", f"/experiments/{experiment_id}/events") for _ in range(30)]
            opened = await asyncio.gather(*(all_of_them.enter_async_context(each) for each in streamed))
            return [each.status_code for each in opened]

    assert sorted(asyncio.run(answers())) == [200] * 3 + [429] * 27


def test_an_owner_may_open_only_so_many(served: Served, http: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_STREAMS", 2)
    experiment_id = http.create_experiment(TINY_AND_QUICK)["id"]
    with listening(served, experiment_id) as events, listening(served, experiment_id) as others:
        next(events), next(others)
        with httpx2.Client(base_url=served.url, trust_env=False) as client:
            refused = client.get(f"/experiments/{experiment_id}/events")
        assert "2 of your streams" in problem(refused, 429)["detail"]
        assert int(refused.headers["retry-after"]) > 0
    wait_until(lambda: not served.streams._num_open)
    with listening(served, experiment_id) as events:
        assert next(events).kind == "experiment.state"
