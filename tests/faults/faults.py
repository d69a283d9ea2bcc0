"""The faults that may happen at any moment: each has a name and a way to be injected, drawn from a seeded generator.

Injecting one returns within a few seconds, with whatever was killed started again, or with its end put off
(`Stack.later`). What only makes sense within a story of its own is a case instead.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil
import redis
from sqlalchemy import select, text

from shared.store.db import Database
from shared.store.doorbell import QUEUES, TRAIN_TASK, celery_app
from shared.store.states import FINISHED_EXPERIMENT
from shared.store.tables import Experiment, Job
from tests.faults.servers import Server
from tests.faults.specs import EIGHT
from tests.faults.stack import LEASE_TTL_S, WORKERS, Kind, Part, Stack
from tests.faults.traps import Action, Trap

BOTH = (Kind.SQLITE, Kind.POSTGRES)
GRACE_S = 20.0

# Where a training process may be killed: on both sides of each commit, and around a checkpoint's files.
COMMITS = (
    "claim", "fix_numerics", "mark_running", "describe_runs", "rewind", "commit_epoch", "save_checkpoint", "complete",
    "renew",
)  # fmt: skip
FILES = ("before checkpoint", "before replace", "after replace", "before keep_only", "after keep_only", "before remove",
         "after remove")  # fmt: skip
STEPS = tuple(f"{side} {name}" for name in COMMITS for side in ("before", "after")) + FILES
# Reached once in the life of a job; the others once an epoch or so.
ONCE = ("claim", "fix_numerics", "mark_running", "describe_runs", "rewind", "complete", "renew", "remove")


@dataclass(frozen=True)
class Fault:
    """One kind of misfortune."""

    name: str
    inject: Callable[[Stack, Random], None]
    kinds: Sequence[Kind] = BOTH
    # Traps count themselves once they have caught somebody.
    is_trap: bool = False

    def __call__(self, stack: Stack, rng: Random) -> None:
        if not self.is_trap:
            stack.note(self.name)
        self.inject(stack, rng)


def trap_at(step: str, rng: Random, *, activation: str | None = None) -> Trap:
    """A trap that kills a training process at this step, the first or a later time."""
    is_once = step.split()[1] in ONCE
    action = rng.choices([Action.KILL, Action.KILL_WITH_PARENT], weights=[5, 1])[0]
    return Trap(step, action, number=1 if is_once else rng.randint(1, 5), activation=activation)


def kill_child(stack: Stack, rng: Random) -> None:
    children = stack.training_processes()
    if children:
        _signal(rng.choice(children).pid, signal.SIGKILL)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def wake(process: psutil.Process) -> None:
    """Let a stopped process go on, if it is still there."""
    _signal(process.pid, signal.SIGCONT)


def kill_worker(stack: Stack, rng: Random) -> None:
    _replace(stack, rng.choice(WORKERS), signal.SIGKILL)


def _replace(stack: Stack, name: str, number: signal.Signals) -> float:
    """End a part with a signal and start it again; the seconds it took to end."""
    part = stack.parts[name]
    took_s = part.end(number)
    part.start(wait=False)
    return took_s


def end_worker(stack: Stack, rng: Random) -> None:
    took_s = _replace(stack, rng.choice(WORKERS), signal.SIGTERM)
    assert took_s < GRACE_S, f"a worker took {took_s:.1f} s to end"


def kill_reconciler(stack: Stack, rng: Random) -> None:
    _replace(stack, "reconciler", signal.SIGKILL)


def kill_api(stack: Stack, rng: Random) -> None:
    _replace(stack, "api", signal.SIGKILL)
    stack.client.wait_until_it_answers()


def kill_at_a_step(stack: Stack, rng: Random) -> None:
    stack.arm(trap_at(rng.choice(STEPS), rng, activation=rng.choice([None, None, None, *EIGHT])))


def kill_reconciler_at_a_step(stack: Stack, rng: Random) -> None:
    step = rng.choice(["before reap", "after reap", "before message", "after message"])
    stack.arm(Trap(step, Action.KILL, part="reconciler"))


def start_if_dead(server: Server) -> None:
    """Start what has exited; a part of ours answers when it is ready."""
    if server.exited:
        server.start(wait=not isinstance(server, Part))


def kill_api_at_a_step(stack: Stack, rng: Random) -> None:
    """Between the commit of a POST, marking its jobs, and telling the broker."""
    step = rng.choice(["before post", "after post", "before message", "after message"])
    trap = stack.arm(Trap(step, Action.KILL, part="api"))
    stack.client.try_post("long pair")
    time.sleep(0.2)
    api = stack.parts["api"]
    if not trap.remove():
        api.end()  # it is about to die
    start_if_dead(api)
    stack.client.wait_until_it_answers()


def stop_child(stack: Stack, rng: Random) -> None:
    children = stack.training_processes()
    if children:
        pid = rng.choice(children).pid
        _signal(pid, signal.SIGSTOP)
        # By a thread: the next request may wait for the lock that it holds.
        threading.Timer(3 * LEASE_TTL_S, _signal, (pid, signal.SIGCONT)).start()


def kill_broker(stack: Stack, rng: Random) -> None:
    stack.broker.end()
    stack.later(rng.uniform(0, 4), lambda: start_if_dead(stack.broker))


def _with_broker(stack: Stack, action: Callable[[redis.Redis], object]) -> None:
    """Do something to a broker that may be away just now."""
    with suppress(redis.RedisError), stack.broker.connect() as connection:
        action(connection)


def flush_broker(stack: Stack, rng: Random) -> None:
    _with_broker(stack, lambda connection: connection.flushall())


def hang_broker(stack: Stack, rng: Random) -> None:
    """It takes connections and answers nobody."""
    stack.broker.send(signal.SIGSTOP)
    threading.Timer(rng.uniform(1, 5), stack.broker.send, (signal.SIGCONT,)).start()


def restart_postgres(stack: Stack, rng: Random) -> None:
    assert stack.postgres is not None
    stack.postgres.end(rng.choice([signal.SIGQUIT, signal.SIGINT]))  # immediate, fast
    time.sleep(rng.uniform(0, 1))
    stack.postgres.start()


def ring_ten_times(stack: Stack, rng: Random) -> None:
    """The same message again and again, for jobs in any state."""
    job_ids = stack.ask(lambda session: list(session.scalars(select(Job.id).order_by(Job.id.desc()).limit(20))))
    for job_id in rng.sample(job_ids, min(3, len(job_ids))):
        send(stack, job_id, times=10)


def send(stack: Stack, job_id: str, *, times: int) -> None:
    """Send a message to the workers, past all bookkeeping; a broker that is away forgets it."""
    app = celery_app(stack.broker.url)
    with suppress(Exception):
        for _ in range(times):
            app.send_task(TRAIN_TASK, args=[job_id], queue=QUEUES["any"], retry=False, ignore_result=True)


def post_fifty_times(stack: Stack, rng: Random) -> None:
    answers = stack.client.post_at_once("short", 50)
    assert {answer.status_code for answer in answers} == {202}, {answer.text for answer in answers}
    assert len({answer.content for answer in answers}) == 1


def fill_disk(stack: Stack, rng: Random) -> None:
    stack.arm(Trap("before checkpoint", Action.FULL_DISK, number=rng.randint(1, 5)))


def lose_answer(stack: Stack, rng: Random) -> None:
    stack.arm(Trap(f"after {rng.choice(COMMITS)}", Action.LOST_ANSWER, number=rng.randint(1, 3)))


def break_checkpoint(stack: Stack, rng: Random) -> None:
    """Cut off or change a bit of the newest checkpoint of each job, then kill who wrote it."""
    for child in stack.training_processes():
        _signal(child.pid, signal.SIGSTOP)
    for folder in stack.settings.checkpoints_dir.glob("*"):
        damage(folder, rng)
    for child in stack.training_processes():
        _signal(child.pid, signal.SIGKILL)


def damage(folder: Path, rng: Random, *, also_older: bool = False) -> None:
    """Cut off or change one bit of a job's newest checkpoint, or of all."""
    for path in sorted(folder.glob("*.safetensors"))[0 if also_older else -1 :]:
        content = bytearray(path.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(content) if rng.random() < 0.5 else bytes(content[: rng.randrange(len(content))]))


def cancel_something(stack: Stack, rng: Random) -> None:
    """Cancel an experiment that is posted for it, at any moment of its life."""
    experiment_id = stack.client.post("short")

    def cancel() -> None:
        status = stack.client.cancel(experiment_id)
        assert status in {200, 202, 409}, status

    stack.later(rng.uniform(0, 3), cancel)


def read_for_long(stack: Stack, rng: Random) -> None:
    """A reader that keeps its view of SQLite open: the write-ahead log cannot be put back meanwhile."""
    database = Database(stack.settings.effective_database_url)
    session = database.read()
    session.__enter__().execute(text("SELECT count(*) FROM epoch_metrics"))

    def close() -> None:
        session.__exit__(None, None, None)
        database.close()

    stack.later(rng.uniform(1, 6), close)


def write_from_four_sides(stack: Stack, rng: Random) -> None:
    """Four clients post at once while the workers write."""
    threads = [threading.Thread(target=stack.client.post, args=("short",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def unfinished(stack: Stack) -> int:
    """How many experiments are not over."""
    query = select(Experiment.id).where(Experiment.state.not_in(FINISHED_EXPERIMENT))
    return len(stack.ask(lambda session: list(session.scalars(query))))


FAULTS = (
    Fault("child killed", kill_child),
    Fault("worker killed", kill_worker),
    Fault("child or worker killed at a step", kill_at_a_step, is_trap=True),
    Fault("worker asked to end", end_worker),
    Fault("child stopped for three leases", stop_child),
    Fault("reconciler killed", kill_reconciler),
    Fault("reconciler killed at a step", kill_reconciler_at_a_step, is_trap=True),
    Fault("API killed", kill_api),
    Fault("API killed around a POST's commit", kill_api_at_a_step, is_trap=True),
    Fault("broker killed, restarted empty", kill_broker),
    Fault("broker flushed", flush_broker),
    Fault("broker unreachable", hang_broker),
    Fault("PostgreSQL restarted", restart_postgres, (Kind.POSTGRES,)),
    Fault("message sent ten times", ring_ten_times),
    Fault("fifty POSTs with one key", post_fifty_times),
    Fault("disk full", fill_disk, is_trap=True),
    Fault("answer of a commit lost", lose_answer, is_trap=True),
    Fault("checkpoint broken", break_checkpoint),
    Fault("experiment cancelled", cancel_something),
    Fault("long reader", read_for_long, (Kind.SQLITE,)),
    Fault("four writers", write_from_four_sides, (Kind.SQLITE,)),
)
