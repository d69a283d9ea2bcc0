"""Listening to real processes: while they train, through a lost connection, and while they are asked to end."""

import itertools
import signal
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from actrobust.client import Client
from actrobust.event_stream import Event
from shared.store.db import upgrade
from tests.e2e.services import command, environment, url_printed_by
from tests.e2e.test_story import SMALL, post

pytestmark = pytest.mark.timeout(240)
TAKING_ITS_TIME: dict[str, Any] = {**SMALL, "training": {"epochs": 40, "engine": "serial"}}


def epochs(events: list[Event]) -> list[tuple[str, int]]:
    return [(each.data["run_id"], each.data["epoch"]) for each in events if each.kind == "run.epoch"]


def test_who_listens_while_it_trains_hears_every_epoch_of_every_run(service: httpx2.Client) -> None:
    experiment_id = post(service, TAKING_ITS_TIME)
    with Client(str(service.base_url)) as client:
        events = client.events(experiment_id)
        heard = list(itertools.islice(events, 25))
        events.close()  # type: ignore[attr-defined]
        time.sleep(1)
        heard += client.events(experiment_id, heard[-1].id)
        metrics = list(client.metrics(experiment_id))
    assert heard[-1].kind == "done"
    assert heard[-1].data == {"state": "succeeded"}
    told = epochs(heard)
    assert len(told) == len(set(told)) == 2 * 3 * 3 * 40
    assert set(told) == {(row["run_id"], row["epoch"]) for row in metrics}
    for run_id in {run_id for run_id, _ in told}:
        assert [epoch for run, epoch in told if run == run_id] == list(range(1, 41))


def test_an_open_stream_holds_up_no_shutdown_and_goes_on_after_it(tmp_path: Path) -> None:
    upgrade(url := f"sqlite:///{tmp_path / 'actrobust.db'}")
    env = environment(tmp_path / "data", ACTROBUST_DATABASE_URL=url)
    log = tmp_path / "api.log"
    with command("api", "--port", "0", env=env, log=log) as api:
        url = url_printed_by(api, log)
        with Client(url) as client:
            experiment_id = client.create_experiment(SMALL)["id"]
            events = client.events(experiment_id)
            heard = [next(events)]
            began_s = time.monotonic()
            api.send_signal(signal.SIGTERM)
            assert api.wait(10) == 0
            assert time.monotonic() - began_s < 4
            with command("api", "--port", url.rpartition(":")[2], env=env, log=log) as again:
                url_printed_by(again, log)
                client.cancel(experiment_id)
                heard += events
    states = [each.data["state"] for each in heard if each.kind == "experiment.state"]
    assert states == ["queued", "cancelling", "cancelled"]
    assert heard[-1].kind == "done"


def test_several_processes_with_open_streams_end_together(tmp_path: Path) -> None:
    upgrade(url := f"sqlite:///{tmp_path / 'actrobust.db'}")
    env = environment(tmp_path / "data", ACTROBUST_DATABASE_URL=url, ACTROBUST_API_PROCESSES="2")
    log = tmp_path / "api.log"
    with command("api", "--port", "0", env=env, log=log) as api, Client(url_printed_by(api, log)) as client:
        experiment_id = client.create_experiment(SMALL)["id"]
        streams = [client.events(experiment_id) for _ in range(4)]
        assert len({next(each).id for each in streams}) == 1
        began_s = time.monotonic()
        api.send_signal(signal.SIGTERM)
        assert api.wait(15) == 0
        assert time.monotonic() - began_s < 4
