"""The commands as a person types them: real processes against a tiny HTTP server."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actrobust.commands.supervisor import own_command, own_environment
from tests.actrobust.conftest import Reply, Request, TinyService
from tests.actrobust.test_comparison import ACTIVATION, answer

EXPERIMENT_ID = "0199c2f0-5f3e-7a3b-8d61-0123456789ab"
HEAVY = {"torch", "sqlalchemy", "celery", "fastapi", "pydantic", "numpy", "uvicorn"}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("ACTROBUST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")


def actrobust(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **own_environment()}
    return subprocess.run(
        own_command(*arguments), capture_output=True, text=True, env=environment, timeout=60, check=False, **options
    )


class Experiment:
    """An experiment that is a step further each time it is looked at."""

    def __init__(self, *states: str, error: str | None = None) -> None:
        self._states = list(states)
        self._error = error

    def __call__(self, request: Request) -> Reply:
        if request.path == "/experiments":
            return Reply(self._document(), status=202)
        if request.path.endswith("/runs"):
            runs = [{"activation": "relu", "rate": rate, "epoch": 2, "metrics": {"val_loss": 0.5}} for rate in (0, 0.1)]
            return Reply({"items": runs})
        if request.path.endswith("/robustness"):
            return Reply(answer(ACTIVATION))
        if request.path == "/healthz":
            return Reply({"status": "ok"})
        if len(self._states) > 1:
            self._states.pop(0)
        return Reply(self._document())

    def _document(self) -> dict[str, Any]:
        progress = {"runs_total": 2, "runs_finished": 0, "epochs_total": 6, "epochs_done": 4, "eta_s": 3.0}
        spec = {"training": {"epochs": 3}}
        return {
            "id": EXPERIMENT_ID,
            "name": "tonight",
            "state": self._states[0],
            "spec": spec,
            "progress": progress,
            "error": self._error,
            "created_at": "2026-01-02T03:04:05Z",
        }


def test_help_is_quick_because_it_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom actrobust.commands import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "sys.stderr.write(' '.join(sys.modules))\n"
    )
    environment = {**os.environ, **own_environment()}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert loaded.isdisjoint(HEAVY)
    for command in ("serve", "run", "watch", "robustness", "list", "cancel", "resume", "catalog", "datasets", "worker"):
        assert command in done.stdout


def test_run_posts_watches_and_prints_the_comparison(tiny_service: TinyService, tmp_path: Path) -> None:
    tiny_service.answer = Experiment("queued", "running", "succeeded")
    (tmp_path / "spec.json").write_text('{"dataset": {"kind": "fbm"}, "num_seeds": 5}')
    done = actrobust("run", str(tmp_path / "spec.json"), "--num-seeds", "2", "--url", tiny_service.url)
    assert done.returncode == 0, done.stderr
    assert tiny_service.requests[0].document == {"dataset": {"kind": "fbm"}, "num_seeds": 2}
    assert f"experiment {EXPERIMENT_ID}" in done.stderr
    assert "running · 67% · epochs 4/6" in done.stderr
    assert "tonight" in done.stdout
    assert "+0.0100  [0.0080, 0.0120]" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


def test_run_json_writes_json_and_nothing_else_to_stdout(tiny_service: TinyService) -> None:
    tiny_service.answer = Experiment("running", "succeeded")
    done = actrobust("run", "-", "--json", "--url", tiny_service.url, input="{}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == answer(ACTIVATION)


def test_run_without_watching_prints_the_id(tiny_service: TinyService) -> None:
    tiny_service.answer = Experiment("queued")
    done = actrobust("run", "harrison-mnist", "--no-watch", "--url", tiny_service.url)
    assert (done.returncode, done.stdout) == (0, f"{EXPERIMENT_ID}\n")


@pytest.mark.parametrize(
    ("state", "said"),
    [("failed", "the experiment failed: the disk is full"), ("cancelled", "the experiment was cancelled")],
)
def test_an_experiment_without_a_result_ends_with_exit_code_1(tiny_service: TinyService, state: str, said: str) -> None:
    tiny_service.answer = Experiment("running", state, error="the disk is full")
    done = actrobust("watch", EXPERIMENT_ID, "--url", tiny_service.url)
    assert done.returncode == 1
    assert said in done.stderr
    assert f"actrobust resume {EXPERIMENT_ID} --url {tiny_service.url}" in done.stderr
    assert done.stdout == ""


def test_a_service_is_found_through_the_environment(tiny_service: TinyService, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_service.answer = lambda request: Reply({"items": [Experiment("running")(request).document]})
    monkeypatch.setenv("ACTROBUST_URL", tiny_service.url)
    done = actrobust("list", "--state", "running")
    assert done.returncode == 0, done.stderr
    assert EXPERIMENT_ID in done.stdout
    assert "4/6" in done.stdout
    assert "2026-01-02 03:04" in done.stdout
    assert tiny_service.requests[0].query["state"] == ["running"]


def test_robustness_as_json_and_csv(tiny_service: TinyService) -> None:
    tiny_service.answer = Experiment("succeeded")
    arguments = (
        "robustness",
        EXPERIMENT_ID,
        "--url",
        tiny_service.url,
        "--metric",
        "loss",
        "--rate",
        "0.1",
        "--format",
    )
    assert json.loads(actrobust(*arguments, "json").stdout) == answer(ACTIVATION)
    assert actrobust(*arguments, "csv").stdout.startswith("activation,rank,")
    assert tiny_service.requests[0].query == {"metric": ["loss"], "rate": ["0.1"]}


def test_cancel_says_what_became_of_it(tiny_service: TinyService) -> None:
    tiny_service.answer = lambda _: Reply({"id": EXPERIMENT_ID, "state": "cancelling"}, status=202)
    done = actrobust("cancel", EXPERIMENT_ID, "--url", tiny_service.url)
    assert done.stdout == f"{EXPERIMENT_ID} is cancelling\n"


def test_a_refused_spec_lists_every_fault_and_no_traceback(tiny_service: TinyService) -> None:
    errors = [{"pointer": "/num_seeds", "detail": "at least 1"}, {"pointer": "/name", "detail": "too long"}]
    tiny_service.answer = lambda _: Reply({"title": "Invalid", "detail": "2 faults", "errors": errors}, status=422)
    done = actrobust("run", "-", "--url", tiny_service.url, input="{}")
    assert done.returncode == 1
    assert done.stderr == "error: the request was refused\n  /num_seeds: at least 1\n  /name: too long\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list", "--url", "http://127.0.0.1:9"), "no service answers at http://127.0.0.1:9"),
        (("list", "--url", "nonsense"), "not a URL"),
        (("list", "--url", "http://127.0.0.1:9", "--data-dir", "x"), "give one of them"),
        (("run", "nowhere.json"), "there is no file nowhere.json"),
        (("serve", "--host", "0.0.0.0"), "there is no API key; make one with 'actrobust keys create"),
        (("serve", "--host", "no.such.host.invalid"), "there is no API key"),
        (("serve", "--data-dir", "/dev/null"), "cannot be used"),
        (("worker",), "the broker does not answer"),
        (("datasets", "fetch", "imagenet"), "imagenet"),
    ],
)
def test_foreseeable_errors_are_one_line_and_exit_code_1(arguments: tuple[str, ...], said: str) -> None:
    done = actrobust(*arguments)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("DATABASE_URL", "postgresql://user:secret@127.0.0.1:9/x", "the database failed"),
        ("DATABASE_URL", "secret", "ACTROBUST_DATABASE_URL names no database"),
        ("BROKER_URL", "redis://:secret@127.0.0.1:9/0", "the broker does not answer"),
        ("BROKER_URL", "secret", "ACTROBUST_BROKER_URL names no broker"),
        ("BROKER_URL", "redis://:secret/x@127.0.0.1:9/0", "ACTROBUST_BROKER_URL names no broker"),
        ("DATABASE_URL", "postgresql://user:x@secret@127.0.0.1:9/x", "ACTROBUST_DATABASE_URL names no database"),
        ("LEASE_TTL_S", "secret", "ACTROBUST_LEASE_TTL_S"),
    ],
)
def test_a_worker_that_finds_no_database_or_broker_says_so_in_a_line(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"ACTROBUST_{variable}", value)
    done = actrobust("worker")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert "secret" not in done.stderr


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Where the tests run in the background, their shell has Ctrl-C ignored, and children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_ctrl_c_detaches_and_says_how_to_come_back(tiny_service: TinyService) -> None:
    tiny_service.answer = Experiment("running")
    process = subprocess.Popen(
        own_command("watch", EXPERIMENT_ID, "--url", tiny_service.url),
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **own_environment()},
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("running")
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"actrobust watch {EXPERIMENT_ID} --url {tiny_service.url}" in rest
    assert "goes on" in rest
    assert "Traceback" not in rest


def test_in_a_terminal_the_bars_are_drawn(tiny_service: TinyService) -> None:
    tiny_service.answer = Experiment("running", "running", "succeeded")
    terminal, far_end = pty.openpty()
    process = subprocess.Popen(
        own_command("watch", EXPERIMENT_ID, "--url", tiny_service.url),
        stdin=far_end,
        stdout=far_end,
        stderr=far_end,
        env={**os.environ, **own_environment(), "TERM": "xterm", "LINES": "24"},
    )
    os.close(far_end)
    seen = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # Linux reports the end of a terminal as an error.
            break
        if not piece:
            break
        seen += piece
    os.close(terminal)
    assert process.wait(timeout=30) == 0
    text = seen.decode()
    assert "clean loss" in text
    assert "━" in text
    assert "4/6" in text
    assert "95 % interval" in text
