"""Servers of a stack's own on private ports: PostgreSQL and Redis, to be killed and restarted at will."""

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from actrobust.commands.broker import broker_program
from actrobust.commands.supervisor import tethered
from tests.conftest import absent

START_TIMEOUT_S = 60.0
DEBIAN = Path("/usr/lib/postgresql")
# A broker that is away is asked once.
AT_ONCE = Retry(NoBackoff(), 0)


def free_port() -> int:
    """A port that nobody uses, outside the range from which the kernel takes clients' ports: it must stay free."""
    while True:
        port = random.randint(12_000, 30_000)
        with socket.socket() as attempt:
            try:
                attempt.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_until(true: Callable[[], bool], what: str, *, timeout_s: float = START_TIMEOUT_S) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.02)


class Server:
    """One process that can be killed, stopped and started again at the same address, its log kept."""

    user: str | None = None  # as whom it runs, if not as ourselves
    environment: dict[str, str] | None = None

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self.name, self.command, self.log = name, command, log
        self.process: subprocess.Popen[bytes] | None = None

    def answers(self) -> bool:
        raise NotImplementedError

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it answers."""
        # Another user may not be allowed to run our interpreter, which ties a process to ours.
        command = self.command if self.user else tethered(self.command, death_signal=signal.SIGKILL)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, start_new_session=True,
                user=self.user, cwd="/" if self.user else self.log.parent,
            )  # fmt: skip
        if wait:
            self.wait_until_it_answers()

    def wait_until_it_answers(self) -> None:
        wait_until(lambda: self.exited or self.answers(), f"{self.name} answers")
        assert not self.exited, f"{self.name} did not start:\n{self.tail()}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def exited(self) -> bool:
        """Whether it is not running, also when it never was."""
        return self.process is None or self.process.poll() is not None

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL, *, grace_s: float = START_TIMEOUT_S) -> float:
        """Send a signal and wait for the end; the seconds that it took."""
        began = time.monotonic()
        self.send(signal.SIGCONT)
        self.send(number)
        if self.process is not None:
            self.process.wait(grace_s)
        return time.monotonic() - began

    def remove(self) -> None:
        """Remove what it keeps outside of its log's folder."""

    def tail(self, num_bytes: int = 3000) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-num_bytes:] if self.log.exists() else ""


class Redis(Server):
    """Keeps nothing on disk: a restart has forgotten everything."""

    def __init__(self, folder: Path) -> None:
        binary = shutil.which("redis-server") or shutil.which("valkey-server")
        if binary is None:
            absent("neither redis-server nor valkey-server is installed")
        self.port = free_port()
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        super().__init__("broker", [binary, *options, "--dir", str(folder)], folder / "broker.log")
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def connect(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=2, retry=AT_ONCE)

    def answers(self) -> bool:
        return _answers(self.connect())


class EmbeddedBroker(Server):
    """The broker that `actrobust serve` starts."""

    def __init__(self, folder: Path) -> None:
        # A socket's address is short.
        self.socket_folder = Path(tempfile.mkdtemp(prefix="actrobust-faults-"))
        self.socket = self.socket_folder / "broker.sock"
        log = folder / "broker.log"
        super().__init__("broker", list(broker_program(self.socket, log=log).command), log)
        self.url = f"redis+socket://{self.socket}"

    def connect(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=2, retry=AT_ONCE)

    def answers(self) -> bool:
        return _answers(self.connect())

    def end(self, number: signal.Signals = signal.SIGKILL, *, grace_s: float = START_TIMEOUT_S) -> float:
        took_s = super().end(number, grace_s=grace_s)
        self.socket.unlink(missing_ok=True)
        return took_s

    def remove(self) -> None:
        shutil.rmtree(self.socket_folder, ignore_errors=True)


def _answers(client: redis.Redis) -> bool:
    with client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


class Postgres(Server):
    """A cluster of its own. It may be root who runs the tests: PostgreSQL itself refuses to."""

    def __init__(self, folder: Path) -> None:
        binaries = _postgres_binaries()
        self.user = _unprivileged() if os.geteuid() == 0 else None
        # Not below pytest's folder, which only its owner may enter.
        self.home = Path(tempfile.mkdtemp(prefix="actrobust-faults-"))
        if self.user:
            shutil.chown(self.home, self.user)
        data = self.home / "data"
        made = subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
            user=self.user, cwd=self.home, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        self.port = free_port()
        # Processes are killed here, the machine is not: what the kernel has is as good as on disk.
        options = {"port": self.port, "listen_addresses": "127.0.0.1", "fsync": "off", "unix_socket_directories": ""}
        arguments = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        command = [str(binaries / "postgres"), "-D", str(data), *arguments]
        super().__init__("postgres", command, folder / "postgres.log")
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def answers(self) -> bool:
        try:
            with psycopg.connect(f"postgresql://postgres@127.0.0.1:{self.port}/postgres", connect_timeout=3):
                return True
        except psycopg.Error:
            return False

    def remove(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)


def _postgres_binaries() -> Path:
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(DEBIAN.glob("*/bin"), reverse=True)
    found_both = [folder for folder in folders if (folder / "initdb").is_file() and (folder / "postgres").is_file()]
    if not found_both:
        absent("PostgreSQL's initdb and postgres are not installed")
    return found_both[0]


def _unprivileged() -> str:
    names = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
