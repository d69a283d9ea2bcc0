import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from actrobust.commands import supervisor as supervisor_module
from actrobust.commands.supervisor import Child, Program, Supervisor, obituary, own_environment


def eventually(condition: Callable[[], bool], *, timeout_s: float = 10.0) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.02)
    return False


def python(code: str, folder: Path, **options: object) -> Program:
    return Program(name="child", command=[sys.executable, "-c", code], log=folder / "child.log", **options)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "FIRST_BACKOFF_S", 0.05)


def test_a_child_that_dies_is_started_again_and_its_last_lines_are_told(tmp_path: Path) -> None:
    said: list[str] = []
    supervisor = Supervisor(say=said.append)
    supervisor.start(python("print('the disk is full'); raise SystemExit(3)", tmp_path))

    def restarted() -> bool:
        supervisor.sweep()
        return any("started again" in line for line in said)

    assert eventually(restarted)
    assert "ended with exit code 3" in said[0]
    assert said[1] == "  child: the disk is full"
    supervisor.end("child", grace_s=5)


def test_a_child_that_was_killed_is_started_again_without_ado(tmp_path: Path) -> None:
    said: list[str] = []
    supervisor = Supervisor(say=said.append)
    first = supervisor.start(python("import time; print('alive', flush=True); time.sleep(60)", tmp_path))
    assert eventually(lambda: first.last_lines() == ["alive"])
    os.kill(first.pid, signal.SIGKILL)

    def restarted() -> bool:
        supervisor.sweep()
        return len(said) == 2

    assert eventually(restarted)
    assert "was ended by SIGKILL" in said[0]
    assert "started again" in said[1]
    supervisor.end("child", grace_s=5)


def test_a_child_that_keeps_dying_is_started_ever_more_slowly(tmp_path: Path) -> None:
    said: list[str] = []
    supervisor = Supervisor(say=said.append)
    supervisor.start(python("raise SystemExit(3)", tmp_path))

    def died_three_times() -> bool:
        supervisor.sweep()
        return sum("exit code 3" in line for line in said) == 3

    assert eventually(died_three_times)
    pauses = [line.rsplit(" in ", 1)[1] for line in said if "exit code 3" in line]
    assert pauses == ["0.05 s", "0.1 s", "0.2 s"]
    supervisor.end("child", grace_s=5)


def test_a_child_ends_when_asked(tmp_path: Path) -> None:
    child = Child(python("import time; print('up', flush=True); time.sleep(60)", tmp_path))
    assert eventually(lambda: child.last_lines() == ["up"])
    assert child.end(grace_s=10)
    assert child.exit_code() == -signal.SIGTERM


def test_a_child_that_will_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(grandchild.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    child = Child(python(code, tmp_path))
    assert eventually(lambda: bool(child.last_lines()))
    grandchild = psutil.Process(int(child.last_lines()[0]))
    assert not child.end(grace_s=0.2)
    assert "SIGKILL" in obituary(child)
    assert eventually(lambda: not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE)


def test_a_hurry_shortens_the_grace_period(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    child = Child(python(code, tmp_path))
    assert eventually(lambda: child.last_lines() == ["up"])
    started_s = time.monotonic()
    child.end(grace_s=30, hurry=lambda: True)
    assert time.monotonic() - started_s < 5


def test_a_child_has_its_own_session_and_environment(tmp_path: Path) -> None:
    code = "import os; print(os.getsid(0) == os.getpid(), os.environ['COLOUR'])"
    child = Child(python(code, tmp_path, environment={"COLOUR": "blue"}))
    assert eventually(lambda: child.exit_code() == 0)
    assert child.last_lines() == ["True blue"]
    child.end(grace_s=1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_a_child_does_not_survive_its_parent(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from actrobust.commands.supervisor import Child, Program\n"
        "child = Child(Program(name='c', command=[sys.executable, '-c', 'import time; time.sleep(60)'],\n"
        f"    log=Path({str(tmp_path / 'c.log')!r})))\n"
        "print(child.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, **own_environment()}
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    assert child.is_running()
    # Until it has become the program it is the wrapper, which has asked the kernel for the signal just before.
    # (In the middle of exec its command line is empty.)
    assert eventually(lambda: "sleep(60)" in (line := " ".join(child.cmdline())) and "tether" not in line)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_a_large_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "LARGEST_LOG_BYTES", 10)
    (tmp_path / "child.log").write_text("something old and long\n")
    child = Child(python("print('new')", tmp_path))
    assert eventually(lambda: child.exit_code() == 0)
    assert (tmp_path / "child.log").read_text() == "new\n"
    assert "old" in (tmp_path / "child.log.1").read_text()
    child.end(grace_s=1)
