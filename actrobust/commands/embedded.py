"""The embedded service of a data directory: at most one at a time, and any command can find it there."""

import contextlib
import fcntl
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from actrobust.client import Client, ClientError
from actrobust.commands.output import CommandError
from actrobust.commands.supervisor import own_command, own_environment, tethered
from actrobust.retries import Retries

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 45.0
PROBE_TIMEOUT_S = 5.0
LISTENING = "listening on "


class ServiceStartingError(CommandError):
    """The data directory belongs to a service that does not answer yet, or no more."""


@dataclass(frozen=True)
class RunningService:
    """What a `serve` writes about itself into its data directory.

    `for_a_command` marks one that another command started and will end.
    """

    url: str
    pid: int
    for_a_command: bool = False


def service_file(data_dir: Path) -> Path:
    """Where a `serve` says how to reach it."""
    return data_dir / "service.json"


def serve_log(data_dir: Path) -> Path:
    """What a `serve` that another command started has to say."""
    return data_dir / "logs" / "serve.log"


@contextlib.contextmanager
def only_service(data_dir: Path) -> Iterator[None]:
    """Hold the data directory's lock; the kernel lets go of it however this process ends.

    Raises: CommandError: another `serve` holds it, or the directory cannot be written.
    """
    lock = _open_lock(data_dir)
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(in_use(data_dir)) from None
        yield


def _open_lock(data_dir: Path) -> IO[str]:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return (data_dir / "serve.lock").open("a")
    except OSError as error:
        raise CommandError(
            f"the data directory {data_dir} cannot be used ({error.strerror}); give another with --data-dir"
        ) from None


def is_locked(data_dir: Path) -> bool:
    """Whether a `serve` holds the data directory's lock."""
    try:
        with _open_lock(data_dir) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def in_use(data_dir: Path) -> str:
    """The sentence for somebody who finds the lock taken."""
    service = read_service_file(data_dir)
    where = f"at {service.url} (process {service.pid})" if service else "and is just starting or stopping"
    return f"a service already runs on {data_dir} {where}; use it with --url, or give another --data-dir"


def write_service_file(data_dir: Path, service: RunningService) -> None:
    """Announce a service; readers see the old file or the new one, never half of it."""
    temporary = service_file(data_dir).with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(service)) + "\n", encoding="utf-8")
    temporary.replace(service_file(data_dir))


def read_service_file(data_dir: Path) -> RunningService | None:
    """What the last `serve` announced, whether or not it still lives."""
    try:
        document = json.loads(service_file(data_dir).read_text(encoding="utf-8"))
        return RunningService(str(document["url"]), int(document["pid"]), bool(document.get("for_a_command")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find_running(data_dir: Path) -> RunningService | None:
    """The service of this data directory, if it answers."""
    service = read_service_file(data_dir)
    return service if service and _process_exists(service.pid) and is_alive(service.url) else None


def _process_exists(pid: int) -> bool:
    """Whether the process lives: the port of a killed `serve` may belong to another service by now."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_alive(url: str, *, timeout_s: float = PROBE_TIMEOUT_S) -> bool:
    """Whether a service answers at `url`."""
    try:
        with Client(url, timeout_s=timeout_s, retries=Retries(attempts=1)) as client:
            client.healthz()
    except ClientError:
        return False
    return True


class EmbeddedService:
    """A `serve` that lives as long as the command that started it."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process = process
        self.url = url

    def stop(self) -> None:
        """Let the workers write their checkpoints and end. A second Ctrl-C ends at once."""
        self._process.terminate()
        try:
            self._process.wait(timeout=STOP_TIMEOUT_S)
        except KeyboardInterrupt:
            self._process.terminate()
            self._process.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()


def start_embedded(data_dir: Path, *, train: bool = True) -> EmbeddedService:
    """Start a service on a free port and wait until it answers.

    Raises:
        ServiceStartingError: another service took the data directory first.
        CommandError: it did not start; the text holds its last words.
    """
    arguments = ["serve", "--for-a-command", "--port", "0", "--data-dir", str(data_dir)]
    if not train:
        arguments.append("--no-worker")
    process = _spawn(own_command(*arguments), serve_log(data_dir))
    try:
        url = _wait_for_url(process)
    except BaseException:
        process.terminate()
        process.wait(timeout=STOP_TIMEOUT_S)
        raise
    if url is None:
        process.wait()
        raise ServiceStartingError(in_use(data_dir)) if is_locked(data_dir) else CommandError(_last_words(data_dir))
    return EmbeddedService(process, url)


def _spawn(command: list[str], log: Path) -> subprocess.Popen[str]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        file = log.open("w")
    except OSError as error:
        raise CommandError(f"{log} cannot be written ({error.strerror}); give another --data-dir") from None
    # Loopback on any port, whatever is set for a service that is meant to stay.
    environment = {**os.environ, **own_environment(), "ACTROBUST_HOST": "127.0.0.1"}
    with file:
        return subprocess.Popen(  # noqa: S603 (the command is ours) # nosec B603
            tethered(command, death_signal=signal.SIGTERM),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=file,
            env=environment,
            text=True,
            start_new_session=True,
        )


def _wait_for_url(process: subprocess.Popen[str]) -> str | None:
    """The address from the one line that `serve` prints; None when it ended instead."""
    assert process.stdout is not None
    deadline_s = time.monotonic() + START_TIMEOUT_S
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() < deadline_s:
            if not selector.select(timeout=0.5):
                continue
            line = process.stdout.readline()
            if not line:
                return None
            if line.startswith(LISTENING):
                return line.removeprefix(LISTENING).strip()
    raise CommandError(f"the embedded service did not answer within {START_TIMEOUT_S:.0f} s")


def _last_words(data_dir: Path) -> str:
    try:
        text = serve_log(data_dir).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        text = ""
    last = "\n".join(text.splitlines()[-20:]).removeprefix("error: ")
    return f"the embedded service did not start: {last or 'it said nothing'}"
