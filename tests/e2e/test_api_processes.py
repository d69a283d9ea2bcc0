"""Several processes that answer on one address."""

import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
import pytest

from shared.store.db import upgrade
from tests.api.test_health import wait_until
from tests.e2e.services import command, environment, url_printed_by

pytestmark = pytest.mark.timeout(120)


@dataclass
class Api:
    """A running `actrobust api` of two processes."""

    process: subprocess.Popen[str]
    url: str
    environment: dict[str, str]

    def children(self) -> list[psutil.Process]:
        """Those that answer."""
        living = [each for each in self._parent.children() if each.status() != psutil.STATUS_ZOMBIE]
        return [each for each in living if "spawn_main" in " ".join(each.cmdline())]

    def family(self) -> list[psutil.Process]:
        return self._parent.children(recursive=True)

    @property
    def _parent(self) -> psutil.Process:
        return psutil.Process(self.process.pid)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    upgrade(database_url := f"sqlite:///{tmp_path / 'actrobust.db'}")
    env = environment(tmp_path / "data", ACTROBUST_DATABASE_URL=database_url, ACTROBUST_API_PROCESSES="2")
    log = tmp_path / "api.log"
    with command("api", "--port", "0", env=env, log=log) as process:
        made = Api(process, url_printed_by(process, log), env)
        wait_until(lambda: len(made.children()) == 2 and answers(made.url), timeout_s=60)
        yield made


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz", trust_env=False).status_code == 200
    except httpx2.TransportError:  # none has started yet
        return False


def test_one_that_dies_is_replaced_and_all_end_together(api: Api) -> None:
    killed = api.children()[0]
    killed.kill()
    wait_until(lambda: len(api.children()) == 2 and killed not in api.children(), timeout_s=60)
    wait_until(lambda: answers(api.url), timeout_s=60)
    family = api.family()
    api.process.send_signal(signal.SIGTERM)
    assert api.process.wait(30) == 0
    assert psutil.wait_procs(family, timeout=10)[1] == []


def test_processes_whose_parent_is_killed_end_and_leave_the_address_to_the_next(api: Api, tmp_path: Path) -> None:
    orphans = api.children()
    api.process.kill()
    left = psutil.wait_procs(orphans, timeout=20)[1]
    for each in left:
        each.kill()
    assert left == []
    with command("api", "--port", api.url.rsplit(":")[-1], env=api.environment, log=tmp_path / "next.log"):
        wait_until(lambda: answers(api.url), timeout_s=60)
