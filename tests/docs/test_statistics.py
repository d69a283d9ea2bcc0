import json
from pathlib import Path

import numpy as np
import pytest

from docs import until_coverage
from docs.until_coverage import DISTRIBUTIONS, MAX_SEEDS, NUM_ACTIVATIONS, TARGETS, simulated
from shared.analysis.question import CONFIDENCE, CONFIDENCE_WITH_TARGET

DOCS = Path(until_coverage.__file__).parent
FIGURES = json.loads((DOCS / "statistics.json").read_text())


def test_the_page_quotes_the_simulation_of_precision_targets() -> None:
    assert until_coverage.table(FIGURES["until"]) in (DOCS / "statistics.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("num_activations", NUM_ACTIVATIONS)
def test_the_figures_keep_what_precision_targets_promise(num_activations: int) -> None:
    """To hold the truth as often as `overall_confidence` says, where differences are normal."""
    by_target = FIGURES["until"]["normal"][str(num_activations)]
    assert list(by_target) == [str(target) for target in TARGETS]
    assert min(shares["coverage"] for shares in by_target.values()) >= CONFIDENCE


def test_stopping_is_what_costs_coverage_and_halving_the_error_pays_for_it() -> None:
    """Seeded as the figures are, with fewer experiments: a standard error is 0.4 points."""
    found = simulated(DISTRIBUTIONS["normal"], 1, 0.8, num_experiments=3000)
    assert 10 < found["mean_num_seeds"] < 15
    assert found["reached"] == 1
    assert 0.95 < found["coverage"] < CONFIDENCE_WITH_TARGET
    assert 0.91 < found["coverage_not_halved"] < 0.945
    assert found["coverage"] + found["above"] + found["below"] == pytest.approx(1)


@pytest.mark.parametrize(("target", "num_seeds"), [(100.0, 5), (1e-9, MAX_SEEDS)])
def test_where_nothing_is_chosen_nothing_is_lost(target: float, num_seeds: int) -> None:
    found = simulated(DISTRIBUTIONS["normal"], 1, target, num_experiments=3000)
    assert found["mean_num_seeds"] == num_seeds
    assert found["coverage"] == pytest.approx(CONFIDENCE_WITH_TARGET, abs=0.01)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_simulated_differences_have_mean_0_and_sd_1(name: str) -> None:
    values = DISTRIBUTIONS[name](np.random.default_rng(1), (400_000,))
    assert values.mean() == pytest.approx(0, abs=0.01)
    assert values.std() == pytest.approx(1, abs=0.06)
