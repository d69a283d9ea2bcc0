import os
import signal
import stat
from pathlib import Path

import psutil
import pytest

from actrobust.commands import broker
from actrobust.commands.supervisor import Child, Supervisor
from tests.actrobust.test_supervisor import eventually


def start(socket_path: Path) -> Child:
    child = Child(broker.broker_program(socket_path, log=socket_path.parent / "broker.log"))
    assert broker.wait_until_it_answers(socket_path, timeout_s=10), child.last_lines()
    return child


def test_the_broker_answers_on_its_socket_and_on_no_port(short_dir: Path) -> None:
    socket_path = short_dir / "private" / "broker.sock"
    broker.prepare_folder(socket_path)
    child = start(socket_path)
    assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(socket_path.stat().st_mode) == 0o700
    assert psutil.Process(child.pid).net_connections("inet") == []
    assert child.end(grace_s=5)
    assert not broker.answers(socket_path)


def test_a_killed_broker_comes_back_at_the_same_address(short_dir: Path) -> None:
    socket_path = short_dir / "broker.sock"
    supervisor = Supervisor(say=lambda _: None)
    first = supervisor.start(broker.broker_program(socket_path, log=short_dir / "broker.log"))
    assert broker.wait_until_it_answers(socket_path, timeout_s=10)
    os.kill(first.pid, signal.SIGKILL)

    def back() -> bool:
        supervisor.sweep()
        return first.exit_code() is not None and broker.answers(socket_path)

    assert eventually(back)
    supervisor.end("broker", grace_s=5)
    assert not broker.answers(socket_path)


def test_a_broker_that_outlived_its_serve_is_ended(short_dir: Path) -> None:
    socket_path = short_dir / "broker.sock"
    stray = start(socket_path)
    broker.end_stray_broker(socket_path)
    assert eventually(lambda: stray.exit_code() is not None)
    assert not socket_path.exists()


def test_a_socket_that_nobody_listens_on_is_cleared_away(short_dir: Path) -> None:
    socket_path = short_dir / "broker.sock"
    child = start(socket_path)
    os.kill(child.pid, signal.SIGKILL)
    assert eventually(lambda: child.exit_code() is not None)
    assert socket_path.exists()
    broker.end_stray_broker(socket_path)
    assert not socket_path.exists()


def test_nothing_answers_where_there_is_no_broker(short_dir: Path) -> None:
    assert not broker.answers(short_dir / "broker.sock")
    assert not broker.wait_until_it_answers(short_dir / "broker.sock", timeout_s=0.1)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(short_dir: Path) -> None:
    os.chown(short_dir, 12345, -1)
    with pytest.raises(Exception, match="belongs to another user"):
        broker.prepare_folder(short_dir / "broker.sock")
