import os
from typing import Any

import pytest

from benchmarks import alternatives, machine
from benchmarks.engine import available_cores
from benchmarks.measuring import Alternative, MeasuringError, measure, run_once
from tests.shared.specs import TINY_REGRESSION

HERE = "tests.benchmarks.test_measuring"


def figures(*, seconds: float) -> dict[str, Any]:
    """A target to measure: it says how many cores its process may use."""
    return {"seconds": seconds, "cores": available_cores(), "variable": os.environ.get("BENCHMARKED", "")}


def fails() -> dict[str, Any]:
    raise ValueError("this one cannot be measured")


def test_alternatives_take_turns() -> None:
    told: list[str] = []
    pair = [Alternative(name, f"{HERE}:figures", {"seconds": seconds}) for name, seconds in (("a", 2.0), ("b", 1.0))]
    a, b = measure(pair, num_rounds=2, tell=told.append)
    assert [line.split(": ")[1] for line in told] == ["a", "b", "a", "b"]
    assert (a.seconds, b.seconds) == ((2.0, 2.0), (1.0, 1.0))
    assert a.median_s == 2.0
    assert a.peak_memory_mib > 1


def test_an_alternative_has_cores_and_variables_of_its_own() -> None:
    found = run_once(Alternative("a", f"{HERE}:figures", {"seconds": 1}, num_cores=1, environment={"BENCHMARKED": "x"}))
    assert found["variable"] == "x"
    if hasattr(os, "sched_setaffinity"):
        assert found["cores"] == 1


def test_an_alternative_that_fails_says_why() -> None:
    with pytest.raises(MeasuringError, match="this one cannot be measured"):
        measure([Alternative("a", f"{HERE}:fails")])


def test_a_rival_is_measured_on_a_posted_spec() -> None:
    found = alternatives.rival(name="tight", spec=TINY_REGRESSION, datasets_dir="nowhere")
    assert found["seconds"] > 0
    assert len(found["final_val_losses"]) == 4


def test_the_peak_of_matrix_products_is_that_of_one_of_the_sizes() -> None:
    found = machine.matrix_peak(sizes=(32, 64), seconds_per_size=0.01)
    assert found["gflops"] > 0
    assert found["size"] in {32, 64}
