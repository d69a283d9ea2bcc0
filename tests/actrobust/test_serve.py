"""`actrobust serve` with all its real processes."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from actrobust.client import Client
from actrobust.commands import broker
from actrobust.commands.embedded import service_file
from actrobust.commands.supervisor import own_command, own_environment
from tests.actrobust.test_supervisor import eventually


@dataclass
class Serving:
    process: subprocess.Popen[str]
    url: str
    data_dir: Path

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, word: str) -> psutil.Process:
        return next(child for child in self.children() if word in " ".join(child.cmdline()).split())


@pytest.fixture
def serving(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    for name in [name for name in os.environ if name.startswith("ACTROBUST_")]:
        monkeypatch.delenv(name)
    with (short_dir / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            own_command("serve", "--port", "0", "--data-dir", str(short_dir)),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, **own_environment(), "ACTROBUST_WORKER_PROCESSES": "1"},
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("listening on http://127.0.0.1:"), (short_dir / "stderr").read_text()
    yield Serving(process, line.removeprefix("listening on ").strip(), short_dir)
    if process.poll() is None:
        process.terminate()
        process.wait(timeout=60)
    process.stdout.close()


def gone(processes: list[psutil.Process]) -> bool:
    return all(not process.is_running() or process.status() == psutil.STATUS_ZOMBIE for process in processes)


def test_serve_says_where_it_is_keeps_others_away_and_leaves_nothing_behind(serving: Serving) -> None:
    with Client(serving.url) as client:
        assert client.readyz()["status"] in {"ok", "degraded"}
    announced = json.loads(service_file(serving.data_dir).read_text())
    assert announced == {"url": serving.url, "pid": serving.process.pid, "for_a_command": False}

    second = subprocess.run(
        own_command("serve", "--port", "0", "--data-dir", str(serving.data_dir)),
        capture_output=True,
        text=True,
        env={**os.environ, **own_environment()},
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert f"a service already runs on {serving.data_dir} at {serving.url}" in second.stderr
    assert len(second.stderr.splitlines()) == 1

    children = serving.children()
    assert len(children) >= 3, "broker, API and worker"
    serving.process.send_signal(signal.SIGTERM)
    assert serving.process.wait(timeout=60) == 0
    assert serving.process.stdout is not None
    assert serving.process.stdout.read() == "", "one line and no more on stdout"
    assert eventually(lambda: gone(children))
    assert not service_file(serving.data_dir).exists()


def test_what_dies_comes_back_at_its_old_address(serving: Serving) -> None:
    socket_path = serving.data_dir / "broker.sock"
    victims = [serving.child("api"), serving.child("worker"), serving.child(f"unixsocket:{socket_path}")]
    for victim in victims:
        victim.kill()
    # The socket is held by serve: who calls while there is no API waits a moment instead of being refused.
    with Client(serving.url) as client:
        assert client.healthz() == {"status": "ok"}
    assert eventually(lambda: broker.answers(socket_path))
    assert eventually(lambda: serving.child("worker").pid != victims[1].pid)


@pytest.mark.skipif(not Path("/proc").exists(), reason="only Linux tells children of their parent's death")
def test_nothing_survives_a_serve_that_was_killed(serving: Serving) -> None:
    assert eventually(lambda: len(serving.children()) >= 4), "broker, API, worker and its training process"
    children = serving.children()
    serving.process.kill()
    serving.process.wait()
    assert eventually(lambda: gone(children), timeout_s=30)


def test_run_brings_its_own_service_and_takes_it_away_again(
    short_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("ACTROBUST_")]:
        monkeypatch.delenv(name)
    spec = {
        "name": "in passing",
        "dataset": {"kind": "fbm", "train_size": 200, "val_size": 100},
        "activations": ["relu", "tanh"],
        "num_seeds": 2,
        "training": {"epochs": 2},
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    environment = {**os.environ, **own_environment(), "ACTROBUST_WORKER_PROCESSES": "1"}

    def actrobust(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = own_command(*arguments, "--data-dir", str(short_dir))
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)

    done = actrobust("run", str(tmp_path / "spec.json"))
    assert done.returncode == 0, done.stderr
    assert "in passing" in done.stdout
    assert "rate 0.1: 10 %" in done.stdout
    assert "succeeded · 100% · epochs 16/16 · runs 8/8" in done.stderr
    assert not service_file(short_dir).exists()
    assert not broker.answers(short_dir / "broker.sock")
    listed = actrobust("list")
    assert "succeeded" in listed.stdout, listed.stderr
