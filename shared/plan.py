"""From a spec to its jobs and runs, what they will cost, and whether that is within an operator's bounds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

from shared.catalog.layers import Cost, cost, rows_evaluated_at_once
from shared.errors import FieldProblem
from shared.settings import Settings
from shared.spec import ExperimentSpec

# Orders of magnitude of one core: they size jobs and never reach a result.
STEP_OVERHEAD_S = 3e-4
FLOPS_PER_S = 3e10
# A job should take neither split seconds nor hours, and small experiments should still keep several cores busy.
TARGET_JOB_S = 10.0
BACKWARD_AND_FORWARD = 3
MOST_RUNS_PER_JOB = 200
# Weights, gradients and two moments of Adam; a checkpoint copies all but the gradients twice.
NUMBERS_PER_PARAMETER = 10


@dataclass(frozen=True)
class PlannedRun:
    """One network to train; `position` is its place in every listing of the experiment."""

    activation: str
    rate: float
    seed: int
    position: int


@dataclass(frozen=True)
class PlannedJob:
    """A fixed set of seeds of one activation with all their rates."""

    activation: str
    seeds: tuple[int, ...]
    runs: tuple[PlannedRun, ...]


@dataclass(frozen=True)
class Plan:
    """An experiment in figures, and its jobs. The jobs are made when asked for: a plan over budget never makes them.

    `serial_s` is roughly how long one core would take for all of it, one network after another. With a precision target
    it is the plan of the seeds so far; `num_runs_at_most` counts those that may come, too.
    """

    spec: ExperimentSpec
    seeds_per_job: int
    serial_s: float
    training_flops: float
    memory_bytes: int

    @property
    def num_epochs(self) -> int:
        """Epochs of each run."""
        return self.spec.training.epochs

    @property
    def num_runs(self) -> int:
        """Networks that will be trained."""
        return len(self.spec.activations) * len(self.spec.rates) * self.spec.num_seeds

    @property
    def num_runs_at_most(self) -> int:
        """Networks that will be trained if the precision target is not reached before the last seed."""
        return self.num_runs // self.spec.num_seeds * self.spec.num_seeds_at_most

    @property
    def num_jobs(self) -> int:
        """Units of work that they are divided into."""
        return len(self.spec.activations) * ceil(self.spec.num_seeds / self.seeds_per_job)

    @property
    def num_metric_rows(self) -> int:
        """Rows of per-epoch metrics that will be stored."""
        return self.num_runs * self.num_epochs

    @cached_property
    def jobs(self) -> tuple[PlannedJob, ...]:
        """All jobs with their runs."""
        return tuple(_jobs(self.spec, self.seeds_per_job))

    def jobs_from(self, first_seed: int) -> tuple[PlannedJob, ...]:
        """The jobs of the seeds that come after those before `first_seed`, which were planned earlier."""
        return tuple(_jobs(self.spec, self.seeds_per_job, first_seed))


def plan(spec: ExperimentSpec) -> Plan:
    """Split a resolved spec into jobs; the same spec always gives the same plan."""
    network = cost(spec.architecture.layers(spec.dataset.input_shape, spec.num_outputs), spec.dataset.input_shape)
    seeds_per_job = _seeds_per_job(spec, network)
    flops_per_run = spec.training.epochs * spec.dataset.train_size * network.forward_flops * BACKWARD_AND_FORWARD
    num_runs = len(spec.activations) * len(spec.rates) * spec.num_seeds
    memory = _memory(spec, network, min(seeds_per_job, spec.num_seeds) * len(spec.rates))
    serial_s = _run_s(spec, network) * num_runs
    return Plan(spec, seeds_per_job, serial_s, float(flops_per_run * num_runs), memory)


def _seeds_per_job(spec: ExperimentSpec, network: Cost) -> int:
    seed_s = _run_s(spec, network) * len(spec.rates)
    num_jobs = min(spec.num_seeds, ceil(spec.num_seeds * seed_s / TARGET_JOB_S))
    # The members of a population live in memory together.
    return min(ceil(spec.num_seeds / num_jobs), max(1, MOST_RUNS_PER_JOB // len(spec.rates)))


def _run_s(spec: ExperimentSpec, network: Cost) -> float:
    """Roughly how long one core trains one network, one step after another."""
    training = spec.training
    num_steps = training.epochs * ceil(spec.dataset.train_size / training.batch_size)
    step_s = STEP_OVERHEAD_S + training.batch_size * network.forward_flops * BACKWARD_AND_FORWARD / FLOPS_PER_S
    return num_steps * step_s


def _jobs(spec: ExperimentSpec, seeds_per_job: int, first_seed: int = 0) -> Iterator[PlannedJob]:
    num_rates, num_new = len(spec.rates), spec.num_seeds - first_seed
    # Runs keep their places when seeds are added, so these come behind all that were there before.
    before = len(spec.activations) * num_rates * first_seed
    for a, activation in enumerate(spec.activations):
        for first in range(first_seed, spec.num_seeds, seeds_per_job):
            seeds = tuple(range(first, min(first + seeds_per_job, spec.num_seeds)))
            runs = tuple(
                PlannedRun(activation.name, rate, seed, before + (a * num_rates + r) * num_new + seed - first_seed)
                for seed in seeds
                for r, rate in enumerate(spec.rates)
            )
            yield PlannedJob(activation.name, seeds, runs)


def _memory(spec: ExperimentSpec, network: Cost, num_members: int) -> int:
    number_bytes = 8 if spec.training.precision == "float64" else 4
    examples = (spec.dataset.train_size + spec.dataset.val_size) * spec.dataset.example_bytes
    weights = network.num_parameters * NUMBERS_PER_PARAMETER * num_members * number_bytes
    largest_batch = max(2 * spec.training.batch_size, rows_evaluated_at_once(network))
    batch = largest_batch * network.activation_numbers * number_bytes
    # Every member may hold a dirty copy of the training rows.
    return examples * (1 + num_members) + weights + batch


def num_runs_of(spec: Mapping[str, Any]) -> int:
    """How many runs a resolved spec has by now, from the document that is stored of it."""
    return len(spec["activations"]) * (1 + len(spec["corruption"]["rates"])) * int(spec["num_seeds"])


def budget_problems(planned: Plan, settings: Settings) -> list[FieldProblem]:
    """What of a plan is beyond the operator's bounds, all seeds that may come included; empty when it may run."""
    growth = planned.spec.num_seeds_at_most / planned.spec.num_seeds
    num_rows, flops = planned.num_runs_at_most * planned.num_epochs, planned.training_flops * growth
    seeds = "/until/max_seeds" if planned.spec.until else "/num_seeds"
    in_all = f" with all {planned.spec.num_seeds_at_most} seeds" if planned.spec.until else ""
    bounds = (
        (planned.num_runs_at_most, settings.max_runs, f"runs{in_all}", seeds),
        (num_rows, settings.max_metric_rows, f"runs x epochs{in_all}", "/training/epochs"),
        (flops, settings.max_training_flops, f"estimated training FLOPs{in_all}", "/training/epochs"),
        (planned.memory_bytes, settings.max_memory_bytes, "estimated bytes of memory in one process", "/architecture"),
    )
    return [
        FieldProblem(f"{value:.4g} {what}; this service allows at most {limit:.4g}", "over_budget", pointer=pointer)
        for value, limit, what, pointer in bounds
        if value > limit
    ]
