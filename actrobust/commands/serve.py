"""`actrobust serve`: the whole service in the foreground, with nothing to install beside it."""

import os
import signal
import socket
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from actrobust.commands import broker
from actrobust.commands.configuration import load_settings, upgrade_database
from actrobust.commands.embedded import (
    LISTENING,
    RunningService,
    is_alive,
    only_service,
    service_file,
    write_service_file,
)
from actrobust.commands.listening import listening_socket, refuse_open_host, url_of
from actrobust.commands.output import CommandError, say, write
from actrobust.commands.supervisor import Child, Program, Supervisor, obituary, own_command, own_environment

if TYPE_CHECKING:
    from shared.settings import Settings

BROKER_START_TIMEOUT_S = 10.0
API_START_TIMEOUT_S = 60.0
API_GRACE_S = 10.0
DRAIN_GRACE_S = 30.0
BROKER_GRACE_S = 5.0
PROBE_TIMEOUT_S = 0.5
SWEEP_INTERVAL_S = 0.2
RECONCILER_PAUSE_S = 5.0
END_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 picks a free one.", min=0, max=65535, show_default="8000")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Database, checkpoints, logs.", show_default="~/.local/share/actrobust")
    ] = None,
    worker: Annotated[bool, typer.Option(help="Train here; without, start 'actrobust worker' elsewhere.")] = True,
    for_a_command: Annotated[bool, typer.Option("--for-a-command", hidden=True)] = False,
) -> None:
    """Run the whole service in the foreground.

    That is API, worker, reconciler, embedded broker and SQLite. It prints one
    line, 'listening on http://127.0.0.1:PORT', once it answers. Ctrl-C or
    SIGTERM lets the workers write their checkpoints and stops everything; the
    next 'serve' on the same data directory goes on from there.

    An address that others can reach is refused until there is an API key:
    'actrobust keys create --name NAME'.

    Examples:

        actrobust serve

        actrobust serve --port 0 --data-dir /tmp/try-it
    """
    settings = load_settings(host=host, port=port, data_dir=data_dir)
    with only_service(settings.data_dir.absolute()):
        upgrade_database(settings)
        refuse_open_host(settings)
        with listening_socket(settings.host, settings.port) as listener:
            _Parts(settings, listener, for_a_command=for_a_command).run(train=worker)


class _Parts:
    """Everything that one `serve` runs."""

    def __init__(self, settings: "Settings", listener: socket.socket, *, for_a_command: bool) -> None:
        self._settings = settings
        self._data_dir = settings.data_dir.absolute()
        self._logs = self._data_dir / "logs"
        self._listener = listener
        self._service = RunningService(url_of(listener), os.getpid(), for_a_command)
        self._supervisor = Supervisor(say=say)
        self._stop = threading.Event()
        self._signals = 0

    def run(self, *, train: bool) -> None:
        """Start everything, keep it running until a signal comes, and end it in order."""
        from shared.logging import configure_logging

        for number in END_SIGNALS:
            # What nohup told us to ignore stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        # Warnings only: whoever watches the terminal should see little, and that to matter.
        configure_logging(self._settings.model_copy(update={"log_level": "WARNING"}))
        service_file(self._data_dir).unlink(missing_ok=True)
        reconciler = threading.Thread(target=self._reconcile, name="reconciler", daemon=True)
        try:
            self._start_broker()
            api = self._supervisor.start(self._api())
            if train:
                self._supervisor.start(self._worker())
            reconciler.start()
            self._wait_for_api(api)
            self._announce()
            while not self._stop.wait(SWEEP_INTERVAL_S):
                self._supervisor.sweep()
            say("stopping; workers write their checkpoints (Ctrl-C again stops at once)")
        finally:
            self._end(reconciler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (the signature is Python's)
        self._signals += 1
        self._stop.set()

    def _start_broker(self) -> None:
        if self._settings.broker_url:
            return
        path = self._settings.broker_socket
        broker.prepare_folder(path)
        broker.end_stray_broker(path)
        child = self._supervisor.start(broker.broker_program(path, log=self._logs / "broker.log"))
        if not broker.wait_until_it_answers(path, timeout_s=BROKER_START_TIMEOUT_S):
            raise CommandError(_with_last_lines("the embedded broker does not answer", child))

    def _api(self) -> Program:
        descriptor = self._listener.fileno()
        return self._own_program("api", "api", "--socket-fd", str(descriptor), pass_fds=(descriptor,))

    def _worker(self) -> Program:
        return self._own_program("worker", "worker")

    def _own_program(self, name: str, *arguments: str, pass_fds: tuple[int, ...] = ()) -> Program:
        environment = {
            **own_environment(),
            "ACTROBUST_DATA_DIR": str(self._data_dir),
            "ACTROBUST_HOST": self._settings.host,
            "ACTROBUST_PORT": str(self._settings.port),
        }
        return Program(
            name=name,
            command=own_command(*arguments),
            log=self._logs / f"{name}.log",
            environment=environment,
            pass_fds=pass_fds,
        )

    def _wait_for_api(self, api: Child) -> None:
        deadline_s = time.monotonic() + API_START_TIMEOUT_S
        while not self._stop.is_set() and not is_alive(self._service.url, timeout_s=PROBE_TIMEOUT_S):
            if api.exit_code() is not None:
                raise CommandError(_with_last_lines(obituary(api), api))
            if time.monotonic() > deadline_s:
                raise CommandError(_with_last_lines(f"the API did not answer in {API_START_TIMEOUT_S:g} s", api))

    def _announce(self) -> None:
        if self._stop.is_set():
            return
        url = self._service.url
        write_service_file(self._data_dir, self._service)
        write(LISTENING + url)
        say(f"data and logs in {self._data_dir}; pages at {url}/ui/, API documentation at {url}/docs; Ctrl-C stops")

    def _reconcile(self) -> None:
        from shared.evidence.growth import decide_all
        from shared.store import reconciler

        while not self._stop.is_set():
            try:
                reconciler.run_forever(self._settings, self._stop, decide_all)
            except Exception as error:  # noqa: BLE001 (without it nothing lost would be found again: it never gives up)
                say(f"the reconciler failed ({type(error).__name__}: {error}); starting it again")
                self._stop.wait(RECONCILER_PAUSE_S)

    def _end(self, reconciler: threading.Thread) -> None:
        before = self._signals
        self._stop.set()
        service_file(self._data_dir).unlink(missing_ok=True)
        # With our copy open, callers would wait for an API that never comes.
        self._listener.close()
        self._supervisor.end("api", grace_s=API_GRACE_S, hurry=lambda: self._signals > before)
        self._supervisor.end("worker", grace_s=DRAIN_GRACE_S, hurry=lambda: self._signals > before)
        if reconciler.is_alive():
            reconciler.join(timeout=BROKER_GRACE_S)
        self._supervisor.end("broker", grace_s=BROKER_GRACE_S)


def _with_last_lines(sentence: str, child: Child) -> str:
    return "\n".join([sentence, *(f"  {line}" for line in child.last_lines())])
