"""A service for people who have none: in processes of its own, for as long as it is needed."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from actrobust.client import Client
from actrobust.errors import ServiceStartError

if TYPE_CHECKING:
    from actrobust.commands.service import Service


class EmbeddedClient(Client):
    """A client of an embedded service, which ends with it.

    Attributes:
        data_dir: where the service keeps its database, checkpoints and logs.
    """

    def __init__(self, service: "Service") -> None:
        super().__init__(service.url, service.api_key)
        self._service = service
        self.data_dir = service.data_dir

    def close(self) -> None:
        """Close all connections; a service started for this client writes its checkpoints and ends."""
        super().close()
        self._service.close()

    def how_to_go_on(self, experiment_id: str) -> str:
        """What to tell somebody who stops waiting for an experiment."""
        return (
            f'the experiment goes on until this client is closed; client.experiment("{experiment_id}").wait() waits '
            "again, also after another actrobust.embedded() on the same data directory"
        )


def embedded(data_dir: str | Path | None = None) -> EmbeddedClient:
    """Start a service on this machine, or join the one that runs on the data directory: what `actrobust run` does.

    Use it as a context, `with actrobust.embedded() as client: ...`, or close it. Experiments stay where they are kept.

    Args:
        data_dir: where it keeps everything; that of the command line, ACTROBUST_DATA_DIR, unless given.
    Raises: ServiceStartError: it did not start.
    """
    # Only here: the server's side, and with it a second of imports, is nothing that a client needs.
    from actrobust.commands.output import CommandError
    from actrobust.commands.service import embedded_service

    if threading.current_thread() is not threading.main_thread():
        # Linux ends a child with the thread that started it.
        raise ServiceStartError("an embedded service must be started from the main thread, which outlives the others")
    try:
        return EmbeddedClient(embedded_service(Path(data_dir) if data_dir else None))
    except CommandError as error:
        raise ServiceStartError(str(error)) from None
