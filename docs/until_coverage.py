"""`python -m docs.until_coverage`: what is left of the confidence when seeds are added until intervals are narrow.

The procedure of `until` in simulated experiments whose truth is known; written to docs/statistics.json under `until`,
which docs/statistics.md quotes. A minute on one core.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shared.analysis.precision import half_widths
from shared.analysis.question import CONFIDENCE
from shared.analysis.statistics import Array, t_interval
from shared.spec import SEEDS_PER_LOOK

MAX_SEEDS = 50
NUM_EXPERIMENTS = 20_000
NUM_ACTIVATIONS = (1, 7)
# Half-widths in SDs of D: five seeds have 1.56 on average, ten 0.85, fifty 0.33.
TARGETS = (2.0, 1.2, 0.8, 0.6, 0.5, 0.4, 0.33)

Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]
# Of mean 0 and SD 1.
DISTRIBUTIONS: Mapping[str, Draw] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "skewed (exponential)": lambda rng, shape: rng.standard_exponential(shape) - 1,
    "heavy tails (t, 3 df)": lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3),
}


def simulated(
    draw: Draw, num_activations: int, target: float, *, num_experiments: int = NUM_EXPERIMENTS
) -> dict[str, float]:
    """Experiments that end where the widest of their intervals is at most `target` to either side, or at MAX_SEEDS.

    Returns: the share of the intervals with which they end that hold the truth: those reported, at 97.5 %, and those at
        95 %, which would be reported if nothing were allowed for the looks; the shares of the reported ones that lie
        wholly above and below it; the mean number of seeds; and how many experiments reached the target.
    """
    values_XAS = draw(np.random.default_rng(0), (num_experiments, num_activations, MAX_SEEDS))
    num_seeds_X = np.full(num_experiments, MAX_SEEDS)
    going_on_X = np.ones(num_experiments, dtype=bool)
    low, high, plain_low, plain_high = np.full((4, num_experiments, num_activations), np.nan)
    for num_seeds in range(SEEDS_PER_LOOK, MAX_SEEDS + 1, SEEDS_PER_LOOK):
        seen_XAS = values_XAS[going_on_X, :, :num_seeds]
        width_XA = half_widths(seen_XAS)
        mean_XA = seen_XAS.mean(axis=-1)
        low[going_on_X], high[going_on_X] = mean_XA - width_XA, mean_XA + width_XA
        plain_low[going_on_X], plain_high[going_on_X] = t_interval(seen_XAS, CONFIDENCE)
        stops = going_on_X.copy()
        stops[going_on_X] = width_XA.max(axis=-1) <= target
        num_seeds_X[stops] = num_seeds
        going_on_X &= ~stops
    return {
        "coverage": float(((low <= 0) & (high >= 0)).mean()),
        "coverage_not_halved": float(((plain_low <= 0) & (plain_high >= 0)).mean()),
        "above": float((low > 0).mean()),
        "below": float((high < 0).mean()),
        "mean_num_seeds": float(num_seeds_X.mean()),
        "reached": float(1 - going_on_X.mean()),
    }


def figures() -> dict[str, Any]:
    """By distribution: the interval of ten seeds; and by number of activations and target in SDs, the procedure."""
    return {
        name: {
            "ten_seeds": ten_seeds(draw),
            **{str(num): {str(target): simulated(draw, num, target) for target in TARGETS} for num in NUM_ACTIVATIONS},
        }
        for name, draw in DISTRIBUTIONS.items()
    }


def ten_seeds(draw: Draw) -> float:
    """How often the usual interval of a fixed ten seeds holds the truth."""
    low, high = t_interval(draw(np.random.default_rng(0), (10 * NUM_EXPERIMENTS, 10)), CONFIDENCE)
    return float(((low <= 0) & (high >= 0)).mean())


def table(found: Mapping[str, Any]) -> str:
    """The table of docs/statistics.md: coverage, and seeds on average."""
    head = ["D", "activations", *(f"{target} SD" for target in TARGETS), "ten seeds, 95 %"]
    rows = [head, ["---"] * len(head)]
    for name, of_distribution in found.items():
        for num in NUM_ACTIVATIONS:
            cells = [
                f"{shares['coverage']:.1%} ({shares['mean_num_seeds']:.0f})"
                for shares in of_distribution[str(num)].values()
            ]
            rows.append([name, str(num), *cells, f"{of_distribution['ten_seeds']:.1%}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """Compute, write, and print the table."""
    file = Path(__file__).with_name("statistics.json")
    found = figures()
    file.write_text(json.dumps({**json.loads(file.read_text()), "until": found}, indent=2) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
