from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from shared.catalog.presets import PRESETS
from shared.plan import MOST_RUNS_PER_JOB, TARGET_JOB_S, Plan, budget_problems, plan
from shared.settings import Settings
from shared.spec import ExperimentSpec, resolve
from tests.shared.specs import TINY_REGRESSION, tiny

SPECS: list[dict[str, Any]] = [
    dict(TINY_REGRESSION),
    {"num_seeds": 1, "activations": ["relu"]},
    {"num_seeds": 13, "corruption": {"rates": [0.4, 0.1, 0.2]}},
    {"activations": ["relu", {"kind": "relu", "label": "again"}, "leaky_relu"], "num_seeds": 7},
    *({"preset": name} for name in PRESETS),
]

every_spec = pytest.mark.parametrize("document", SPECS, ids=str)


def assert_covers_everything_once(spec: ExperimentSpec, planned: Plan) -> None:
    runs = [run for job in planned.jobs for run in job.runs]
    expected = {
        (activation.name, rate, seed)
        for activation in spec.activations
        for rate in (0.0, *spec.corruption.rates)
        for seed in range(spec.num_seeds)
    }
    assert Counter((run.activation, run.rate, run.seed) for run in runs) == Counter(expected)
    assert sorted(run.position for run in runs) == list(range(len(runs)))
    assert planned.num_runs == len(expected)
    assert planned.num_jobs == len(planned.jobs)


@every_spec
def test_every_activation_rate_and_seed_is_planned_exactly_once(document: dict[str, Any]) -> None:
    spec = resolve(document)
    assert_covers_everything_once(spec, plan(spec))


@hypothesis_settings(deadline=None, max_examples=40)
@given(
    num_seeds=st.integers(1, 60),
    rates=st.lists(st.integers(1, 99).map(lambda percent: percent / 100), min_size=1, max_size=6, unique=True),
    train_size=st.integers(100, 100_000),
    activations=st.lists(st.sampled_from(["relu", "elu", "tanh"]), min_size=1, max_size=3, unique=True),
)
def test_however_jobs_are_cut_nothing_is_lost_or_doubled(
    num_seeds: int, rates: list[float], train_size: int, activations: list[str]
) -> None:
    spec = tiny(
        num_seeds=num_seeds, corruption={"rates": rates}, activations=activations, dataset={"train_size": train_size}
    )
    assert_covers_everything_once(spec, plan(spec))


@every_spec
def test_a_job_holds_all_rates_of_its_seeds_of_one_activation(document: dict[str, Any]) -> None:
    spec = resolve(document)
    for job in plan(spec).jobs:
        assert {run.activation for run in job.runs} == {job.activation}
        assert {(run.seed, run.rate) for run in job.runs} == {(seed, rate) for seed in job.seeds for rate in spec.rates}
        assert len(job.runs) == len(job.seeds) * len(spec.rates)


@every_spec
def test_positions_list_runs_by_activation_then_rate_then_seed(document: dict[str, Any]) -> None:
    spec = resolve(document)
    runs = sorted((run for job in plan(spec).jobs for run in job.runs), key=lambda run: run.position)
    assert [(run.activation, run.rate, run.seed) for run in runs] == [
        (activation.name, rate, seed)
        for activation in spec.activations
        for rate in spec.rates
        for seed in range(spec.num_seeds)
    ]


@every_spec
def test_the_same_spec_has_the_same_plan(document: dict[str, Any]) -> None:
    assert plan(resolve(document)) == plan(resolve(document))


def test_small_experiments_are_not_cut_into_split_seconds() -> None:
    assert len(plan(tiny(num_seeds=10)).jobs) == 1


def test_no_job_holds_more_runs_than_fit_into_one_process() -> None:
    """However cheap they are: the runs of a job live in memory together."""
    planned = plan(tiny(num_seeds=1000, corruption={"rates": [0.1, 0.2, 0.3]}, training={"epochs": 1}))
    assert max(len(job.runs) for job in planned.jobs) <= MOST_RUNS_PER_JOB
    assert planned.num_jobs == len(planned.jobs) >= 4000 // MOST_RUNS_PER_JOB


def test_large_experiments_are_cut_into_single_seeds() -> None:
    planned = plan(resolve({"preset": "harrison-mnist", "num_seeds": 3}))
    assert {job.seeds for job in planned.jobs} == {(0,), (1,), (2,)}
    assert len(planned.jobs) == 7 * 3


def test_the_default_experiment_keeps_several_cores_busy() -> None:
    planned = plan(resolve({"preset": "harrison-multivariate"}))
    assert len(planned.jobs) >= 7
    assert TARGET_JOB_S <= 60


def test_costs_grow_with_what_is_asked_for() -> None:
    one = plan(tiny(num_seeds=1))
    assert plan(tiny(num_seeds=4)).training_flops == 4 * one.training_flops
    assert plan(tiny(num_seeds=1, training={"epochs": 6})).training_flops == 2 * one.training_flops
    assert plan(tiny(num_seeds=1, activations=["relu", "elu"])).training_flops == 2 * one.training_flops
    assert plan(tiny(num_seeds=1, dataset={"train_size": 80_000})).memory_bytes > one.memory_bytes
    assert plan(tiny(num_seeds=1, architecture={"hidden": [4000, 4000]})).memory_bytes > 16_000_000 * 4 * 2
    assert one.num_metric_rows == one.num_runs * 3


def test_training_flops_are_three_forward_passes_of_every_example() -> None:
    spec = tiny(num_seeds=1, architecture={"hidden": [5], "batch_norm": False}, training={"epochs": 2})
    forward = 2 * 6 * 5 + 4 * 5 + 2 * 5 * 1
    assert plan(spec).training_flops == 3 * forward * 40 * 2 * 2


def settings(tmp_path: Path, **bounds: float) -> Settings:
    return Settings(_env_file=None, data_dir=tmp_path, **bounds)  # type: ignore[arg-type]


def test_the_presets_are_within_the_default_bounds(tmp_path: Path) -> None:
    for name in PRESETS:
        assert budget_problems(plan(resolve({"preset": name})), settings(tmp_path)) == []


@pytest.mark.parametrize(
    ("bound", "pointer"),
    [
        ({"max_runs": 3}, "/num_seeds"),
        ({"max_metric_rows": 11}, "/training/epochs"),
        ({"max_training_flops": 1.0}, "/training/epochs"),
        ({"max_memory_bytes": 1}, "/architecture"),
    ],
    ids=str,
)
def test_what_is_beyond_a_bound_is_told_with_the_bound(bound: dict[str, float], pointer: str, tmp_path: Path) -> None:
    (problem,) = budget_problems(plan(tiny()), settings(tmp_path, **bound))
    assert (problem.pointer, problem.type) == (pointer, "over_budget")
    (limit,) = bound.values()
    assert f"at most {limit:.4g}" in problem.detail


def test_a_plan_exactly_at_its_bounds_may_run(tmp_path: Path) -> None:
    planned = plan(tiny())
    bounds = settings(
        tmp_path,
        max_runs=planned.num_runs,
        max_metric_rows=planned.num_metric_rows,
        max_training_flops=planned.training_flops,
        max_memory_bytes=planned.memory_bytes,
    )
    assert budget_problems(planned, bounds) == []


def test_a_plan_beyond_its_bounds_is_refused_before_its_runs_are_made(tmp_path: Path) -> None:
    """Making two million runs first would take longer and more memory than anyone may ask for."""
    labels = [{"kind": "relu", "label": f"relu {n}"} for n in range(100)]
    rates = [n / 100 for n in range(5, 25)]
    planned = plan(tiny(num_seeds=1000, activations=labels, corruption={"rates": rates}))
    assert planned.num_runs == 100 * 21 * 1000
    assert "/num_seeds" in {problem.pointer for problem in budget_problems(planned, settings(tmp_path))}
    assert "jobs" not in vars(planned)


def test_a_precision_target_is_planned_with_its_first_seeds_and_judged_with_all(tmp_path: Path) -> None:
    planned, all_seeds = plan(tiny(until={"max_seeds": 12})), plan(tiny(num_seeds=12))
    assert (planned.num_runs, planned.num_runs_at_most) == (10, 24)
    assert all_seeds.num_runs == all_seeds.num_runs_at_most == 24
    bounds = {
        "max_runs": 23, "max_metric_rows": all_seeds.num_metric_rows - 1,
        "max_training_flops": all_seeds.training_flops * 0.99,
    }  # fmt: skip
    for (bound, limit), pointer in zip(
        bounds.items(), ["/until/max_seeds", "/training/epochs", "/training/epochs"], strict=True
    ):
        (problem,) = budget_problems(planned, settings(tmp_path, **{bound: limit}))
        assert problem.pointer == pointer
        assert "with all 12 seeds; this service allows at most" in problem.detail
    exactly = {"max_runs": 24, "max_metric_rows": all_seeds.num_metric_rows}
    assert budget_problems(planned, settings(tmp_path, **exactly)) == []


def test_seeds_that_are_added_come_behind_those_there_were() -> None:
    before, after = plan(tiny(activations=["relu", "tanh"])), plan(tiny(activations=["relu", "tanh"], num_seeds=5))
    added = [run for job in after.jobs_from(2) for run in job.runs]
    assert sorted(run.position for run in added) == list(range(before.num_runs, after.num_runs))
    assert {(run.activation, run.rate, run.seed) for run in added} == {
        (label, rate, seed) for label in ("relu", "tanh") for rate in (0.0, 0.2) for seed in (2, 3, 4)
    }
