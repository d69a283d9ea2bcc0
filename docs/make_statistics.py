"""`python -m docs.make_statistics`: the figures that docs/statistics.md quotes, as docs/statistics.json.

Our own tests on clean data against clean data, the power of the tests, how closely clean and dirty runs of a seed
agree, what the learning rate does to the study's ranking, and precision targets, which until_coverage.py simulates.
About four minutes on two cores.
"""

import json
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from docs import until_coverage
from shared.analysis.question import Question
from shared.analysis.robustness import compare
from shared.analysis.scores import Results
from shared.spec import ExperimentSpec, resolve

NUM_REPLICATIONS = 200
ACTIVATIONS = ("relu", "tanh", "elu")
LEARNING_RATES = (0.0003, 0.001, 0.003)
EFFECTS = (0.5, 1.0, 1.5, 2.0)
NUM_SEEDS = (5, 10, 15, 20, 30)
ALPHA = 0.05


def main() -> None:
    """Compute and write."""
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor() as pool:
        answer = partial(compared, compiled_dir=folder)
        false_alarms = list(pool.map(answer, [_aa(number) for number in range(NUM_REPLICATIONS)]))
        studies = dict(zip(LEARNING_RATES, pool.map(answer, [_study(lr) for lr in LEARNING_RATES]), strict=True))
    figures = {
        "aa": _false_alarms(false_alarms),
        "power": {str(effect): {str(n): power(effect, n) for n in NUM_SEEDS} for effect in EFFECTS},
        "learning_rates": {str(lr): _ranking(found) for lr, found in studies.items()},
        "until": until_coverage.figures(),
    }
    Path(__file__).with_name("statistics.json").write_text(json.dumps(figures, indent=2) + "\n")


def _aa(base_seed: int) -> dict[str, Any]:
    small = {"dataset": {"train_size": 1000}, "training": {"epochs": 3}, "activations": list(ACTIVATIONS)}
    return {"preset": "aa-check", "base_seed": base_seed, **small}


def _study(learning_rate: float) -> dict[str, Any]:
    return {"preset": "harrison-multivariate", "training": {"optimizer": {"lr": learning_rate}}}


def compared(document: dict[str, Any], *, compiled_dir: str) -> dict[str, Any]:
    """The comparison of a spec's runs, trained in this process."""
    spec = resolve(document)
    question = Question(
        metric="loss", score="final", rates=spec.rates[1:], declared_margin=None, include_pairs=True, reference="relu"
    )
    return compare(results_of(spec, Path(compiled_dir)), question)


def results_of(spec: ExperimentSpec, compiled_dir: Path) -> Results:
    """Train all runs of a spec and arrange what they measured."""
    import torch

    from shared.training.engine import Engines
    from shared.training.population import Member
    from shared.training.toolchain import Toolchain

    torch.set_num_threads(1)
    engines = Engines(toolchain=Toolchain(compiled_dir), datasets_dir=Path("datasets"))
    shape = (len(spec.activations), len(spec.rates), spec.num_seeds, spec.training.epochs)
    loss_ARSE, memory_ARSE = np.full(shape, np.nan), np.full(shape, np.nan)
    null_ARS = np.full(shape[:3], np.nan)
    members = [Member(rate, seed) for rate in spec.rates for seed in range(spec.num_seeds)]
    for a, activation in enumerate(spec.activations):
        compiled = spec.model_copy(update={"training": spec.training.model_copy(update={"engine": "compiled"})})
        population = engines.build(compiled, activation, members, engines.decide(compiled, activation, members))
        null_ARS[a] = np.reshape([fact.null_loss for fact in population.facts], shape[1:3])
        while not population.finished:
            for record in population.advance() or ():
                place = (a, *np.unravel_index(record.member, shape[1:3]), record.epoch - 1)
                loss_ARSE[place] = record.val_loss
                memory_ARSE[place] = np.nan if record.memorization is None else record.memorization
    nothing, all_ARS = np.full(shape, np.nan), np.ones(shape[:3], dtype=bool)
    return Results(
        activations=tuple(activation.name for activation in spec.activations), rates=spec.rates,
        num_val=spec.dataset.val_size, loss_ARSE=loss_ARSE, accuracy_ARSE=nothing, loss_a_ARSE=loss_ARSE,
        accuracy_a_ARSE=nothing, null_loss_ARS=null_ARS, null_accuracy_ARS=nothing[..., 0], complete_ARS=all_ARS,
        diverged_ARS=~all_ARS, num_measured_ARS=np.full(shape[:3], shape[3]), memorization_ARSE=memory_ARSE,
        recovery_ARSE=nothing,
    )  # fmt: skip


def _false_alarms(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    harmed = [any(_condition(entry)["verdict"] == "harmed" for entry in found["activations"]) for found in answers]
    different = [
        any(pair["family"] == "primary" and pair["p_adjusted"] <= ALPHA for pair in found["pairs"]) for found in answers
    ]
    paired = [_condition(entry)["degradation"]["p_value"] for found in answers for entry in found["activations"]]
    either = np.logical_or(harmed, different)
    return {
        "replications": len(answers),
        "harmed": float(np.mean(harmed)),
        "significant_primary_pair": float(np.mean(different)),
        "either": float(either.mean()),
        "allowed": ALPHA + 2 * sqrt(ALPHA * (1 - ALPHA) / len(answers)),
        "sign_flip_p_below_0.05": float(np.mean(np.array(paired) <= ALPHA)),
    }


def _condition(entry: dict[str, Any]) -> dict[str, Any]:
    (condition,) = entry["conditions"]
    found: dict[str, Any] = condition
    return found


def power(effect: float, num_seeds: int) -> float:
    """Probability that a one-sided t test at 2.5 % finds a mean of `effect` standard deviations."""
    critical = stats.t.ppf(1 - ALPHA / 2, num_seeds - 1)
    return float(stats.nct.sf(critical, num_seeds - 1, effect * sqrt(num_seeds)))


def _ranking(found: dict[str, Any]) -> dict[str, Any]:
    return {
        entry["activation"]: {
            "rank": entry["rank"], "rank_low": entry["rank_low"], "rank_high": entry["rank_high"],
            "clean": entry["clean"]["mean"], "clean_sd": entry["clean"]["sd"],
            "degradation": _condition(entry)["degradation"]["mean"],
            "degradation_sd": _condition(entry)["degradation"]["sd"], "verdict": _condition(entry)["verdict"],
            "pairing_correlation": _condition(entry)["pairing_correlation"],
        }
        for entry in sorted(found["activations"], key=lambda entry: entry["rank"])
    }  # fmt: skip


if __name__ == "__main__":
    main()
