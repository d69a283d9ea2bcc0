"""A service of its own for the fault tests: every part a real process, with short leases, on private addresses."""

import os
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import psutil

from shared.errors import ServiceUnavailableError
from shared.settings import Settings
from shared.store.db import Database, upgrade
from tests.e2e.services import environment
from tests.faults import audit
from tests.faults.client import Client
from tests.faults.sabotage import FOLDER, PART, PRELOAD
from tests.faults.servers import EmbeddedBroker, Postgres, Redis, Server, free_port, wait_until
from tests.faults.traps import SetTrap, Trap, Traps

MARK = "ACTROBUST_FAULTS_STACK"
LEASE_TTL_S = 3.0
SWEEP_S = 0.5
WORKERS = ("worker-1", "worker-2")

T = TypeVar("T")


class Kind(StrEnum):
    """SQLite with the broker of `serve`, or PostgreSQL with Redis."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"


class Part(Server):
    """One of our own processes: `api`, `worker` or `reconciler`."""

    def __init__(self, name: str, arguments: list[str], *, log: Path, environment: dict[str, str]) -> None:
        super().__init__(name, [sys.executable, "-m", "tests.faults.sabotage", *arguments], log)
        self.environment = environment

    def children(self) -> list[psutil.Process]:
        """The processes below it; of a worker, those that train."""
        try:
            return [] if self.exited else psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


class Stack:
    """All parts together. `with Stack(...)` starts them, and ends every process that bears the stack's mark."""

    def __init__(self, kind: Kind, folder: Path, **settings: str) -> None:
        self.kind, self.folder, self.mark = kind, folder, uuid.uuid4().hex
        self.traps = Traps(folder / "traps")
        self.postgres = Postgres(folder) if kind is Kind.POSTGRES else None
        self.broker: Redis | EmbeddedBroker = Redis(folder) if kind is Kind.POSTGRES else EmbeddedBroker(folder)
        self.port = free_port()
        self.environment = environment(
            folder / "data",
            ACTROBUST_DATABASE_URL=self.postgres.url if self.postgres else f"sqlite:///{folder / 'faults.db'}",
            ACTROBUST_BROKER_URL=self.broker.url,
            ACTROBUST_LEASE_TTL_S=f"{LEASE_TTL_S:g}",
            ACTROBUST_RECONCILE_INTERVAL_S=f"{SWEEP_S:g}",
            ACTROBUST_CHECKPOINT_INTERVAL_S="0",  # after every epoch: stories count them, however fast the machine is
            ACTROBUST_MAX_REQUESTS_PER_MINUTE="1000000",
            PYTHONPATH=str(Path(__file__).parents[2]),
            **{MARK: self.mark, FOLDER: str(self.traps.folder), PRELOAD: "1"},
            **settings,
        )
        names = {name.removeprefix("ACTROBUST_").lower(): value for name, value in self.environment.items()}
        self.settings = Settings.model_validate({name: names[name] for name in Settings.model_fields if name in names})
        self.parts = {name: self._part(name) for name in ("reconciler", *WORKERS, "api")}
        self.database = Database(self.settings.effective_database_url)
        self.client = Client(f"http://127.0.0.1:{self.port}")
        self.tally: Counter[str] = Counter()
        self.say: Callable[[str], None] = lambda _: None
        self._armed: list[tuple[str, SetTrap]] = []
        self._due: list[tuple[float, Callable[[], None]]] = []

    def _part(self, name: str) -> Part:
        arguments = {"api": ["api", "--port", str(self.port)], "reconciler": ["reconciler"]}
        command = arguments.get(name, ["worker", "--processes", "1"])
        own = {**self.environment, PART: name}
        return Part(name, command, log=self.folder / f"{name}.log", environment=own)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        self.broker.environment = self.environment
        for server in (self.postgres, self.broker):
            if server is not None:
                server.start()
        upgrade(self.settings.effective_database_url)
        audit.install(self.database.engine)
        for part in self.parts.values():
            part.start(wait=False)
        self.client.wait_until_it_answers()

    def close(self) -> None:
        """End everything: orderly what can be asked, then whatever bears the mark."""
        self.traps.remove_all()
        for part in self.parts.values():
            part.send(signal.SIGCONT)
            part.send(signal.SIGTERM)
        deadline = time.monotonic() + 10
        while self.processes(*WORKERS) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.client.close()
        self.database.close()
        for server in (*self.parts.values(), self.broker, self.postgres):
            if server is not None:
                server.end()
                server.remove()
        for process in self.marked():
            process.kill()

    def marked(self) -> list[psutil.Process]:
        """Every process of ours on this machine that bears the stack's mark, whoever its parent is."""
        return [process for process in psutil.process_iter() if _bears(process, self.mark)]

    def processes(self, *names: str) -> list[psutil.Process]:
        """The processes of some parts that run, with all below them."""
        parts = [self.parts[name] for name in names]
        return [psutil.Process(part.pid) for part in parts if not part.exited] + [
            child for part in parts for child in part.children()
        ]

    def strays(self) -> list[psutil.Process]:
        """Processes with the mark that belong to no part: what a killed one left behind."""
        own = {process.pid for process in self.processes(*self.parts)} | {self.broker.pid}
        return [process for process in self.marked() if process.pid not in own]

    def training_processes(self) -> list[psutil.Process]:
        """The children of the workers."""
        return [child for name in WORKERS for child in self.parts[name].children()]

    def note(self, fault: str) -> None:
        """Count a fault that was injected."""
        self.tally[fault] += 1
        self.say(f"  {fault}")

    def arm(self, trap: Trap) -> SetTrap:
        """Set a trap; it counts as a fault once it has caught a process."""
        armed = self.traps.set(trap)
        self._armed.append((f"{trap.action} {trap.step}", armed))
        return armed

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something when `run_due` is called after that time, or when the stack is healed."""
        self._due.append((time.monotonic() + delay_s, action))

    def run_due(self, *, everything: bool = False) -> None:
        """Do what was put off until now."""
        due = [entry for entry in self._due if everything or entry[0] <= time.monotonic()]
        for entry in due:
            self._due.remove(entry)
            entry[1]()

    def supervise(self) -> None:
        """Start workers and the reconciler again when they have died, as `serve` and the compose file do."""
        for name in (*WORKERS, "reconciler"):
            if self.parts[name].exited:
                self.parts[name].start(wait=False)

    def wait_until(self, true: Callable[[], bool], what: str, *, timeout_s: float = 60.0) -> None:
        """Wait for something to become true, while somebody looks after the parts."""

        def supervised() -> bool:
            self.supervise()
            return true()

        try:
            wait_until(supervised, what, timeout_s=timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None

    def heal(self) -> None:
        """Start what does not run, wake what is stopped, and take away all traps."""
        self.run_due(everything=True)
        self.traps.remove_all()
        for name, trap in self._armed:
            if trap.sprung:
                self.note(name)
        self._armed.clear()
        for server in (self.postgres, self.broker, *self.parts.values()):
            if server is None:
                continue
            server.send(signal.SIGCONT)
            if server.exited:
                server.start(wait=not isinstance(server, Part))
        for process in self.training_processes():
            _wake(process)
        self.client.wait_until_it_answers()

    def ask(self, question: Callable[[Any], T], *, timeout_s: float = 30.0) -> T:
        """Read from the database, as often as it takes."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                with self.database.read() as session:
                    return question(session)
            except ServiceUnavailableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def rows(self, query: Any) -> list[Any]:
        """All rows of a query."""
        return self.ask(lambda session: list(session.execute(query).all()))

    def logs(self) -> str:
        """The end of every part's log."""
        servers: list[Server | None] = [*self.parts.values(), self.broker, self.postgres]
        return "\n".join(f"--- {server.name}\n{server.tail(1500)}" for server in servers if server is not None)


def _bears(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):
        return False


def _wake(process: psutil.Process) -> None:
    try:
        os.kill(process.pid, signal.SIGCONT)
    except ProcessLookupError:
        return


def wait_for_no_strays(stack: Stack) -> None:
    """A worker's children outlive it for as long as they need to hand back their jobs."""
    wait_until(lambda: not stack.strays(), "no process is left behind", timeout_s=LEASE_TTL_S + 10)
