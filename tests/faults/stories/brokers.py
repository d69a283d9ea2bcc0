"""A broker that dies, forgets, repeats itself or answers nobody."""

import json
import signal
import time
from random import Random
from typing import Any

import psutil

from tests.faults import faults
from tests.faults.cases import POSTGRES, QUICK_S, SQLITE, case, job_of, wait_for_claim
from tests.faults.faults import BOTH
from tests.faults.reference import ended
from tests.faults.stack import WORKERS, Stack


def _post_without_broker(stack: Stack, spec: str, num_posts: int) -> None:
    for _ in range(num_posts):
        post = stack.client.try_post(spec)
        assert post.experiment_id is not None
        assert post.duration_s < QUICK_S, f"a POST took {post.duration_s:.1f} s"
    # Asked at most every other second.
    stack.wait_until(lambda: bool(stack.client.get("/readyz")["status"] == "degraded"), "/readyz says so", timeout_s=10)
    assert "broker" in json.dumps(stack.client.get("/readyz"))


@case(always_on=BOTH)
def experiments_are_taken_while_the_broker_is_dead_and_start_once_it_is_back(stack: Stack, rng: Random) -> None:
    stack.note("broker killed, restarted empty")
    stack.broker.end()
    _post_without_broker(stack, "short", 3)
    time.sleep(rng.uniform(0, 2))
    stack.broker.start()


@case(always_on=POSTGRES)
def experiments_are_taken_while_the_broker_answers_nobody_and_start_once_it_does(stack: Stack, rng: Random) -> None:
    stack.note("broker unreachable")
    stack.broker.send(signal.SIGSTOP)
    _post_without_broker(stack, "short", 3)
    stack.broker.send(signal.SIGCONT)


@case(always_on=SQLITE)
def worker_that_acknowledged_to_a_dead_broker_hears_of_jobs_again(stack: Stack, rng: Random) -> None:
    """Both workers find at the same moment that a job is done, the next one begins, and the broker is gone."""
    parents = [psutil.Process(stack.parts[name].pid) for name in WORKERS]
    for _ in range(3):
        experiment_id = stack.client.post("pair")
        stack.client.post("pair")
        jobs = [job_of(stack, experiment_id, activation).id for activation in ("relu", "tanh")]
        for job_id in jobs:
            wait_for_claim(stack, job_id)
        for parent in parents:
            parent.suspend()
        stack.note("broker killed, restarted empty")
        stack.broker.end()
        ended(stack, experiment_id)
        for parent in parents:
            parent.resume()
        time.sleep(1.0)
        stack.broker.start()
        stack.wait_until(lambda: _num_listening(stack) == len(WORKERS), "every worker listens", timeout_s=60)


def _num_listening(stack: Stack) -> int:
    with stack.broker.connect() as connection:
        clients: Any = connection.client_list()
    return sum(client["cmd"] == "brpop" for client in clients)


def _flush_with_queued(stack: Stack, rng: Random, num_experiments: int) -> None:
    for _ in range(num_experiments):
        stack.client.post("short")
    for _ in range(3):
        stack.note("broker flushed")
        faults.flush_broker(stack, rng)
        time.sleep(rng.uniform(0, 0.5))
    timeout_s = 60 + 3 * num_experiments
    ended(stack, *(post.experiment_id for post in stack.client.posts[-num_experiments:] if post.experiment_id),
          timeout_s=timeout_s)  # fmt: skip


@case(always_on=POSTGRES)
def flushed_broker_forgets_no_experiment(stack: Stack, rng: Random) -> None:
    _flush_with_queued(stack, rng, 5)


@case()
def flushed_broker_forgets_none_of_fifty_experiments(stack: Stack, rng: Random) -> None:
    _flush_with_queued(stack, rng, 50)


@case(always_on=BOTH)
def message_that_comes_ten_times_and_after_the_end_is_one_execution(stack: Stack, rng: Random) -> None:
    stack.note("message sent ten times")
    experiment_id = stack.client.post("one")
    job_id = job_of(stack, experiment_id).id
    faults.send(stack, job_id, times=5)
    wait_for_claim(stack, job_id)
    faults.send(stack, job_id, times=5)
    assert ended(stack, experiment_id) == "succeeded"
    faults.send(stack, job_id, times=3)
    time.sleep(0.5)
    assert job_of(stack, experiment_id).token == 1
