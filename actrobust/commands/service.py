"""Which service a command talks to: the one named, else the one of the data directory, else one started for it."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from actrobust.client import Client, ServiceUnreachableError
from actrobust.commands.configuration import load_settings
from actrobust.commands.embedded import (
    EmbeddedService,
    ServiceStartingError,
    find_running,
    in_use,
    is_locked,
    start_embedded,
)
from actrobust.commands.output import CommandError, say

T = TypeVar("T")
HANDOVER_TIMEOUT_S = 45.0

UrlOption = Annotated[
    str | None, typer.Option(help="Service to talk to; also ACTROBUST_URL.", show_default="the embedded one")
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(help="Data directory of the embedded service.", show_default="~/.local/share/actrobust"),
]


class Service:
    """A service that answers; `own` says that it was started for this command and ends with it."""

    def __init__(
        self, *, url: str | None, data_dir: Path | None, train: bool, announce: Callable[[str], None] = say
    ) -> None:
        if url and data_dir:
            raise CommandError("--url names a service and --data-dir another; give one of them")
        settings = load_settings(url=url, data_dir=data_dir)
        self.named_url = None if data_dir else settings.url
        self.api_key = settings.api_key.get_secret_value() if settings.api_key else None
        self._shown_data_dir = data_dir
        self._data_dir = settings.data_dir.absolute()
        self._train = train
        self._announce = announce
        self._embedded: EmbeddedService | None = None
        self._may_restart = True
        self.client = self._connect()

    @property
    def own(self) -> bool:
        """Whether this command started the service."""
        return self._embedded is not None

    @property
    def url(self) -> str:
        """The address it answers at now."""
        return self.client.base_url

    @property
    def data_dir(self) -> Path | None:
        """Where it keeps everything; None when it was named by its URL."""
        return None if self.named_url else self._data_dir

    @property
    def options(self) -> str:
        """What to add to a command line so that it finds the same service."""
        if self.named_url:
            return f" --url {self.named_url}"
        return f" --data-dir {self._shown_data_dir}" if self._shown_data_dir else ""

    def call(self, use: Callable[[Client], T]) -> T:
        """Use the client; when the service is gone, use the one that took its place, or start one.

        Raises: ServiceUnreachableError: nobody answers, and starting one is not ours to decide.
        """
        try:
            return use(self.client)
        except ServiceUnreachableError:
            if self.named_url or not (self._may_restart or find_running(self._data_dir)):
                raise
            self.close()
            self.client = self._connect()
            return use(self.client)

    def close(self) -> None:
        """Close the connection; end the service if it is ours."""
        self.client.close()
        if self._embedded:
            self._embedded.stop()
            self._embedded = None

    def _connect(self) -> Client:
        if self.named_url:
            return Client(self.named_url, api_key=self.api_key)
        deadline_s = time.monotonic() + HANDOVER_TIMEOUT_S
        while True:
            if running := find_running(self._data_dir):
                # Somebody may have stopped a `serve` on purpose: a command that only watches must not undo that.
                self._may_restart = running.for_a_command
                return Client(running.url, api_key=self.api_key)
            try:
                return self._start()
            except ServiceStartingError:
                # Another command was quicker, or a service is still writing its checkpoints.
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.5)

    def _start(self) -> Client:
        if is_locked(self._data_dir):
            raise ServiceStartingError(in_use(self._data_dir))
        self._announce(f"no service runs on {self._data_dir}; starting one for this command")
        self._embedded = start_embedded(self._data_dir, train=self._train)
        return Client(self._embedded.url, api_key=self.api_key)


@contextlib.contextmanager
def open_service(*, url: str | None, data_dir: Path | None, train: bool = False) -> Iterator[Service]:
    """The service for one command.

    Args:
        train: a service that has to be started also gets a worker.
    Raises: CommandError: no service could be found or started.
    """
    service = Service(url=url, data_dir=data_dir, train=train)
    try:
        yield service
    finally:
        service.close()


def embedded_service(data_dir: Path | None) -> Service:
    """The service of a data directory, also where ACTROBUST_URL names another one; nothing is said about it.

    Raises: CommandError: it could not be started.
    """
    return Service(url=None, data_dir=data_dir or load_settings().data_dir, train=True, announce=lambda _: None)
