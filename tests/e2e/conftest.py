from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx2
import pytest

from tests.conftest import PostgresServer, emptied, redis_database
from tests.e2e.services import command, environment, url_printed_by


@pytest.fixture(
    scope="module", params=["embedded", pytest.param("deployed", marks=[pytest.mark.postgres, pytest.mark.redis])]
)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A running service: `serve` with SQLite and its own broker, or the parts on PostgreSQL and Redis."""
    folder = tmp_path_factory.mktemp(request.param)
    log = folder / "stderr.log"
    with ExitStack() as stack:
        if request.param == "embedded":
            env = environment(folder / "data")
            serving = stack.enter_context(command("serve", "--port", "0", env=env, log=log))
        else:
            env = environment(
                folder / "data",
                ACTROBUST_DATABASE_URL=stack.enter_context(_database(request.getfixturevalue("postgres_server"))),
                # Not the one that other tests empty whenever they like.
                ACTROBUST_BROKER_URL=stack.enter_context(emptied(redis_database(1))),
            )
            with command("db", "upgrade", env=env, log=log) as upgrade:
                assert upgrade.wait(60) == 0, log.read_text()
            for part in ("worker", "reconciler"):
                stack.enter_context(command(part, env=env, log=log))
            serving = stack.enter_context(command("api", "--port", "0", env=env, log=log))
        url = url_printed_by(serving, log)
        yield stack.enter_context(httpx2.Client(base_url=url, timeout=30, trust_env=False))


@contextmanager
def _database(server: PostgresServer) -> Iterator[str]:
    name = server.new_name("e2e")
    server.execute(f'CREATE DATABASE "{name}"')
    yield server.url_of(name)
    server.drop(name)
