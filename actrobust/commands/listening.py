"""Addresses to listen on: what is refused, and a socket that outlives the process that answers on it."""

import contextlib
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from actrobust.commands.output import CommandError
from shared.hosts import is_loopback

if TYPE_CHECKING:
    from shared.settings import Settings


def refuse_open_host(settings: "Settings") -> None:
    """Refuse an address that others can reach while nobody would be asked for a key.

    Raises: CommandError: the host is not loopback, and no key is good.
    """
    if is_loopback(settings.host):
        return
    from shared.store.db import Database
    from shared.store.keys import usable_keys_exist

    database = Database(settings.effective_database_url)
    with database.read() as session:
        is_guarded = usable_keys_exist(session)
    database.close()
    if not is_guarded:
        raise CommandError(
            f"the API would be open to everybody who can reach {settings.host}: there is no API key; "
            "make one with 'actrobust keys create --name NAME', or listen on 127.0.0.1"
        )


@contextlib.contextmanager
def listening_socket(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens; while an API process is replaced, its callers wait in the queue instead of being refused.

    Raises: CommandError: the address cannot be had.
    """
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        if listener:
            listener.close()
        reason = error.strerror or str(error)
        raise CommandError(
            f"cannot listen on {host}, port {port} ({reason}); choose another --port, or --port 0 for a free one"
        ) from None
    with listener:
        yield listener


def url_of(listener: socket.socket) -> str:
    """The address a client types."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
