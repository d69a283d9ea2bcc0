"""The deployed parts, one process each: `api`, `worker`, `reconciler`, `db upgrade`."""

import gc
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from actrobust.commands.configuration import load_settings, require_database, upgrade_database
from actrobust.commands.embedded import LISTENING
from actrobust.commands.listening import listening_socket, refuse_open_host, url_of
from actrobust.commands.output import CommandError, say, write

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from fastapi import FastAPI

    from shared.settings import Settings

API_SHUTDOWN_S = 5
BROKER_TIMEOUT_S = 3.0

database = typer.Typer(name="db", help="The database's tables.", no_args_is_help=True)


def api(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 picks a free one.", min=0, max=65535, show_default="8000")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(help="Processes that answer on the same address.", min=1, max=64, show_default="1")
    ] = None,
    unprotected: Annotated[
        bool,
        typer.Option("--unprotected", help="Listen beyond this machine without an API key: something else guards it."),
    ] = False,
    socket_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the HTTP API alone.

    It uses ACTROBUST_DATABASE_URL and ACTROBUST_BROKER_URL.

    Examples:

        actrobust api --port 8000

        actrobust api --processes 4
    """
    settings = load_settings(host=host, port=port, api_processes=processes)
    require_database(settings)
    if not unprotected:
        refuse_open_host(settings)
    with _listener(settings, socket_fd) as listener:
        # Under `serve` somebody's progress display asks every second; nobody wants to read that.
        _run_api(settings, listener, access_log=socket_fd is None)


def _listener(settings: "Settings", socket_fd: int | None) -> AbstractContextManager[socket.socket]:
    if socket_fd is None:
        return listening_socket(settings.host, settings.port)
    return socket.socket(fileno=socket_fd)


def _run_api(settings: "Settings", listener: socket.socket, *, access_log: bool) -> None:
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    write(LISTENING + url_of(listener))
    config = uvicorn.Config(
        partial(_application, settings, access_log=access_log),
        factory=True,
        workers=settings.api_processes,
        http="h11",  # the other parser puts no bound on the length of headers
        proxy_headers=False,  # who connects is who counts; anybody could write a header
        log_level=settings.log_level.lower(),
        timeout_graceful_shutdown=API_SHUTDOWN_S,
        server_header=False,
        access_log=False,  # the application writes its own, without what stands in addresses
    )
    if settings.api_processes > 1:
        # It listens in our place, restarts those that die, and ends all of them on SIGTERM.
        Multiprocess(config, sockets=[listener]).run()
        return
    # Having shut down in order, uvicorn raises the signal once more; that is no reason for an exit code of failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.Server(config).run(sockets=[listener])


def _application(settings: "Settings", *, access_log: bool) -> "FastAPI":
    """Made in each process that answers."""
    from api.app import create_app

    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()
    if not access_log:
        logging.getLogger("api.access").setLevel(logging.WARNING)
    app = create_app(settings)
    # What is here now stays. Python would look through all of it every few thousand requests, for a tenth of a second.
    gc.collect()
    gc.freeze()
    return app


def _end_after(parent: "BaseProcess") -> None:
    """One whose parent was killed with -9 ends: nobody would stop it, and it would keep the address for itself."""
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def worker(
    *,
    processes: Annotated[
        int | None, typer.Option(help="Training processes.", min=1, max=1024, show_default="one per core")
    ] = None,
) -> None:
    """Train: a Celery worker with one process per core.

    It uses ACTROBUST_DATABASE_URL and ACTROBUST_BROKER_URL. SIGTERM lets the
    running jobs write their checkpoints before it ends.

    Example:

        actrobust worker --processes 4
    """
    settings = load_settings(worker_processes=processes)
    require_database(settings)
    _require_broker(settings)
    from shared.logging import configure_logging
    from worker.app import celery_app

    configure_logging(settings)

    concurrency = settings.worker_processes or os.cpu_count() or 1
    celery_app.worker_main(
        [
            "--quiet",  # no banner
            "worker",
            "--pool=prefork",
            f"--concurrency={concurrency}",
            "--prefetch-multiplier=1",
            f"--loglevel={settings.log_level}",
            f"--hostname=worker-{os.getpid()}@%h",
            # Lost workers are found by their lease in the database; Celery's own chatter would only load the broker.
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
    )


def reconciler() -> None:
    """Publish waiting jobs and take back those of lost workers.

    One is enough; more do no harm.
    """
    settings = load_settings()
    require_database(settings)
    from shared.evidence.growth import decide_all
    from shared.logging import configure_logging
    from shared.store.reconciler import run_forever

    configure_logging(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    logging.getLogger(__name__).info("reconciler running")
    run_forever(settings, stop, decide_all)


@database.command("upgrade")
def upgrade() -> None:
    """Bring the tables up to date; run it before the other parts start."""
    upgrade_database(load_settings())
    say("the database is up to date")


def _require_broker(settings: "Settings") -> None:
    import redis

    # Celery spells a socket's URL differently from the redis library.
    url = settings.effective_broker_url.replace("redis+socket://", "unix://", 1)
    try:
        connection = redis.Redis.from_url(url, socket_connect_timeout=BROKER_TIMEOUT_S, socket_timeout=BROKER_TIMEOUT_S)
        connection.ping()
    except ValueError:
        # The error and the URL stay out of the message: they may hold a password.
        raise CommandError(
            "ACTROBUST_BROKER_URL names no broker that can be used; it looks like redis://:password@host:6379/0, "
            "with what is special in a password percent-encoded"
        ) from None
    except (redis.RedisError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CommandError(
            f"the broker does not answer ({reason}); start Redis or Valkey, or set ACTROBUST_BROKER_URL"
        ) from None
