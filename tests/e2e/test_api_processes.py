"""Several processes that answer on one address."""

import signal
from pathlib import Path

import httpx2
import psutil
import pytest

from shared.store.db import upgrade
from tests.api.test_health import wait_until
from tests.e2e.services import command, environment, url_printed_by

pytestmark = pytest.mark.timeout(120)


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz", trust_env=False).status_code == 200
    except httpx2.TransportError:  # none has started yet
        return False


def children_of(parent: psutil.Process) -> list[psutil.Process]:
    """Those that answer."""
    living = [each for each in parent.children() if each.status() != psutil.STATUS_ZOMBIE]
    return [each for each in living if "spawn_main" in " ".join(each.cmdline())]


def test_several_processes_answer_one_that_dies_is_replaced_and_all_end_together(tmp_path: Path) -> None:
    upgrade(url := f"sqlite:///{tmp_path / 'actrobust.db'}")
    env = environment(tmp_path / "data", ACTROBUST_DATABASE_URL=url, ACTROBUST_API_PROCESSES="2")
    log = tmp_path / "api.log"
    with command("api", "--port", "0", env=env, log=log) as api:
        url = url_printed_by(api, log)
        parent = psutil.Process(api.pid)

        wait_until(lambda: len(children_of(parent)) == 2 and answers(url), timeout_s=60)
        killed = children_of(parent)[0]
        killed.kill()
        wait_until(lambda: len(children_of(parent)) == 2 and killed not in children_of(parent), timeout_s=60)
        wait_until(lambda: answers(url), timeout_s=60)
        family = parent.children(recursive=True)
        api.send_signal(signal.SIGTERM)
        assert api.wait(30) == 0
        assert psutil.wait_procs(family, timeout=10)[1] == []


def test_processes_whose_parent_is_killed_end_and_leave_the_address_to_the_next(tmp_path: Path) -> None:
    upgrade(url := f"sqlite:///{tmp_path / 'actrobust.db'}")
    env = environment(tmp_path / "data", ACTROBUST_DATABASE_URL=url, ACTROBUST_API_PROCESSES="2")
    log = tmp_path / "api.log"
    with command("api", "--port", "0", env=env, log=log) as api:
        url = url_printed_by(api, log)
        parent = psutil.Process(api.pid)
        wait_until(lambda: len(children_of(parent)) == 2 and answers(url), timeout_s=60)
        orphans = children_of(parent)
        api.kill()
        left = psutil.wait_procs(orphans, timeout=20)[1]
        for each in left:
            each.kill()
        assert left == []
    with command("api", "--port", url.rsplit(":")[-1], env=env, log=tmp_path / "next.log"):
        wait_until(lambda: answers(url), timeout_s=60)
