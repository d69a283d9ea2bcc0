"""Child processes: started in a session of their own, watched, restarted when they die, ended in order."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TETHER = Path(__file__).with_name("tether.py")
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 15.0
HEALTHY_AFTER_S = 30.0
LARGEST_LOG_BYTES = 5_000_000
TAIL_BYTES = 20_000
KILLED = {-signal.SIGKILL, -signal.SIGTERM}


@dataclass(frozen=True)
class Program:
    """What to start. `command[0]` is an absolute path; `log` receives both output streams."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    pass_fds: Sequence[int] = ()
    death_signal: signal.Signals = signal.SIGTERM


def start(program: Program) -> subprocess.Popen[bytes]:
    """Start a program that a Ctrl-C in the terminal does not reach and that ends when this process does.

    Only the main thread may call it: Linux sends the death signal when the thread that started the child ends.
    """
    program.log.parent.mkdir(parents=True, exist_ok=True)
    with program.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 (the command is ours) # nosec B603
            tethered(program.command, death_signal=program.death_signal),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **program.environment},
            pass_fds=program.pass_fds,
            start_new_session=True,
        )


def tethered(command: Sequence[str], *, death_signal: signal.Signals) -> list[str]:
    """The same command, which gets `death_signal` when this thread of this process ends."""
    return [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), str(int(death_signal)), *command]


def own_command(*arguments: str) -> list[str]:
    """The command line that runs one of our commands with this interpreter."""
    # -P: a folder named `api` or `shared` where the user happens to stand must not be taken for ours.
    return [sys.executable, "-P", "-m", "actrobust", *arguments]


def own_environment() -> dict[str, str]:
    """Lets `own_command` find this very package, also in a checkout that is not installed."""
    root = str(Path(__file__).parents[2])
    inherited = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([root, inherited]) if inherited else root}


class Child:
    """One supervised process."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._rotate_log()
        self._log_start = _size(program.log)
        self._started_s = time.monotonic()
        self._process = start(program)

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its process group."""
        return self._process.pid

    @property
    def age_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started_s

    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def end(self, *, grace_s: float, hurry: Callable[[], bool] = lambda: False) -> bool:
        """Ask it to end, wait, and kill its whole process group after the grace period or when `hurry` says so.

        Returns: whether it ended by itself.
        """
        if self._process.poll() is None:
            self._process.terminate()
        deadline = time.monotonic() + grace_s
        while self._process.poll() is None and time.monotonic() < deadline and not hurry():
            time.sleep(0.05)
        by_itself = self._process.poll() is not None
        # Also after a good end: whatever is left of its group would go on without anybody.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        return by_itself

    def last_lines(self, count: int = 15) -> list[str]:
        """The end of what it wrote since its start."""
        try:
            with self.program.log.open("rb") as log:
                log.seek(max(self._log_start, _size(self.program.log) - TAIL_BYTES))
                return log.read().decode(errors="replace").splitlines()[-count:]
        except OSError:
            return []

    def _rotate_log(self) -> None:
        if _size(self.program.log) > LARGEST_LOG_BYTES:
            self.program.log.replace(self.program.log.with_suffix(".log.1"))


@dataclass
class _Post:
    """A program that must be running, and when it may be started again after it died."""

    program: Program
    child: Child | None
    backoff_s: float
    start_at_s: float = 0.0


class Supervisor:
    """Keeps programs running until they are ended. `say` receives what a person should know."""

    def __init__(self, *, say: Callable[[str], None]) -> None:
        self._say = say
        self._posts: dict[str, _Post] = {}

    def start(self, program: Program) -> Child:
        """Start a program and keep it running from now on."""
        child = Child(program)
        self._posts[program.name] = _Post(program, child, FIRST_BACKOFF_S)
        return child

    def sweep(self) -> None:
        """Restart what died, after a pause that doubles while it keeps dying young."""
        now_s = time.monotonic()
        for post in self._posts.values():
            if post.child is not None and post.child.exit_code() is not None:
                self._lost(post, post.child, now_s=now_s)
            elif post.child is None and now_s >= post.start_at_s:
                self._start_again(post, now_s=now_s)

    def _start_again(self, post: _Post, *, now_s: float) -> None:
        try:
            post.child = Child(post.program)
        except OSError as error:
            # No memory or no processes left: the others go on, and this one may start later.
            post.start_at_s = now_s + post.backoff_s
            post.backoff_s = min(2 * post.backoff_s, LONGEST_BACKOFF_S)
            self._say(f"{post.program.name} could not be started ({error}); trying again")
            return
        self._say(f"{post.program.name} started again (process {post.child.pid})")

    def end(self, name: str, *, grace_s: float, hurry: Callable[[], bool] = lambda: False) -> None:
        """End one program for good; nothing happens when it was never started."""
        post = self._posts.pop(name, None)
        if post is None or post.child is None:
            return
        if not post.child.end(grace_s=grace_s, hurry=hurry):
            self._say(f"{name} did not end by itself and was killed")

    def _lost(self, post: _Post, child: Child, *, now_s: float) -> None:
        # Its own children may live on for a moment: a worker's hand their jobs back before they go.
        if child.age_s > HEALTHY_AFTER_S:
            post.backoff_s = FIRST_BACKOFF_S
        self._say(f"{obituary(child)}; starting it again in {post.backoff_s:g} s")
        # Whoever was killed from outside had no chance to say why.
        told = child.age_s < HEALTHY_AFTER_S and child.exit_code() not in KILLED
        for line in child.last_lines() if told else []:
            self._say(f"  {post.program.name}: {line}")
        post.child = None
        post.start_at_s = now_s + post.backoff_s
        post.backoff_s = min(2 * post.backoff_s, LONGEST_BACKOFF_S)


def obituary(child: Child) -> str:
    """How a dead child ended, in words."""
    code = child.exit_code() or 0
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return f"{child.program.name} (process {child.pid}) {how}; its log is {child.program.log}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
