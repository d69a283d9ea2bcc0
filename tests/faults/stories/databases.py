"""A database that is restarted, or has much to do."""

import signal
import threading
from random import Random

from tests.faults import faults
from tests.faults.cases import POSTGRES, SQLITE, case, job_of
from tests.faults.faults import BOTH, COMMITS, ONCE
from tests.faults.reference import ended
from tests.faults.stack import Stack
from tests.faults.traps import Action, Trap


@case(POSTGRES, always_on=POSTGRES)
def postgres_restarted_in_the_middle_of_commits_loses_nothing(stack: Stack, rng: Random) -> None:
    assert stack.postgres is not None
    for number, step in ((signal.SIGQUIT, "before commit_epoch"), (signal.SIGINT, "before save_checkpoint")):
        experiment_id = stack.client.post("pair")
        trap = stack.arm(Trap(step, Action.PAUSE, number=3))
        trap.wait()
        stack.note("PostgreSQL restarted")
        stack.postgres.end(number)
        trap.release()
        stack.postgres.start()
        assert ended(stack, experiment_id) == "succeeded"


@case(always_on=BOTH)
def commit_whose_answer_is_lost_is_not_made_twice(stack: Stack, rng: Random) -> None:
    """Of every transaction, on one of two jobs; a claim is nobody's then, and runs out."""
    for name in COMMITS:
        activation = "tanh" if name == "claim" else "relu"
        number = 1 if name in ONCE else rng.randint(1, 4)
        stack.arm(Trap(f"after {name}", Action.LOST_ANSWER, number=number, activation=activation))
    experiment_id = stack.client.post("pair")
    assert ended(stack, experiment_id) == "succeeded"
    assert job_of(stack, experiment_id, "tanh").losses >= 1


@case(SQLITE, always_on=SQLITE)
def sqlite_serves_four_writers_and_a_long_reader_and_survives_a_kill(stack: Stack, rng: Random) -> None:
    stack.note("long reader")
    faults.read_for_long(stack, rng)
    for _ in range(2):
        stack.note("four writers")
        writing = threading.Thread(target=faults.write_from_four_sides, args=(stack, rng))
        writing.start()
        stack.note("child killed")
        faults.kill_child(stack, rng)
        writing.join()
