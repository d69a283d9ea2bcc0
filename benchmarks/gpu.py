"""`python -m benchmarks.gpu`: the engine on a GPU against the serial loop there; prints JSON.

The serial loop trains a part of the networks, since it takes the same time for each of them.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from shared.settings import Settings
from shared.spec import ExperimentSpec, merge_patch, resolve
from shared.training.engine import Engines
from shared.training.population import Member
from shared.training.toolchain import Toolchain

MULTIVARIATE = {"preset": "harrison-multivariate", "num_seeds": 100}
MNIST = {"preset": "harrison-mnist", "num_seeds": 1}
SERIAL_EPOCHS = 2


def main() -> int:
    """Measure and print; exit code 2 without a GPU."""
    if not torch.cuda.is_available():
        print("this machine has no GPU")
        return 2
    settings = {"multivariate, 1,400 runs": MULTIVARIATE, "mnist, 14 runs": MNIST}
    settings["mnist, 140 runs"] = {**MNIST, "num_seeds": 10}
    figures = {name: measure(resolve(document)) for name, document in settings.items()}
    print(json.dumps({"device": torch.cuda.get_device_name(), "torch": torch.__version__, **figures}, indent=2))
    return 0


def measure(spec: ExperimentSpec) -> dict[str, Any]:
    """Seconds of training, those that the serial loop would take, memory and utilisation."""
    members = [Member(rate, seed) for seed in range(spec.num_seeds) for rate in spec.rates]
    torch.cuda.reset_peak_memory_stats()
    used: list[float] = []
    seconds = sum(train(spec, activation, members, "stacked", used) for activation in spec.activations)
    serial_spec = resolve(merge_patch(spec.model_dump(mode="json"), {"training": {"epochs": SERIAL_EPOCHS}}))
    serial_s = train(serial_spec, spec.activations[0], members[:1], "serial", [])
    num_runs = len(spec.activations) * len(members)
    whole_serial_s = serial_s * spec.training.epochs / SERIAL_EPOCHS * num_runs
    return {
        "runs": num_runs, "training_s": seconds, "serial_loop_s": whole_serial_s, "ratio": whole_serial_s / seconds,
        "peak_memory_mib": torch.cuda.max_memory_allocated() / 2**20,
        "utilisation": sum(used) / len(used) / 100 if used else None,
    }  # fmt: skip


def train(spec: ExperimentSpec, activation: Any, members: list[Member], engine: str, used: list[float]) -> float:
    """Seconds of training of one activation on the GPU, data and building excluded; adds what the driver tells."""
    chosen = spec.model_copy(update={"training": spec.training.model_copy(update={"engine": engine, "device": "cuda"})})
    engines = Engines(
        toolchain=Toolchain(Path("compiled")), datasets_dir=Settings().effective_datasets_dir, worker_device="cuda"
    )
    numerics: Mapping[str, Any] = engines.decide(chosen, activation, members)
    population = engines.build(chosen, activation, members, numerics)
    torch.cuda.synchronize()
    began = time.perf_counter()
    while not population.finished:
        population.advance()
        used += utilisation()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def utilisation() -> list[float]:
    """Percent of the last moments in which the GPU was busy; empty where NVIDIA's bindings are not installed."""
    try:
        return [float(torch.cuda.utilization())]
    except (ModuleNotFoundError, RuntimeError):
        return []


if __name__ == "__main__":
    raise SystemExit(main())
