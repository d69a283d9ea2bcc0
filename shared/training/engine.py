"""Which engine trains a job: decided when the job is first claimed, kept for as long as it lives."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from shared.catalog.activations import Activation
from shared.errors import UnfitWorkerError
from shared.spec import ExperimentSpec
from shared.training.population import Member, Population
from shared.training.serial import SerialPopulation
from shared.training.stacked import StackedPopulation


def decide_numerics(spec: ExperimentSpec, *, worker_device: str = "cpu") -> dict[str, Any]:
    """Everything beside the spec that the last digits of a metric depend on; equal numerics, equal metrics.

    Args:
        worker_device: `cuda` where the operator gave this worker a GPU, else `cpu`.
    Raises: UnfitWorkerError: that asks for a GPU, and there is none.
    """
    asked = spec.training.device
    device = worker_device if asked == "auto" else asked
    if device == "cuda" and not torch.cuda.is_available():
        raise UnfitWorkerError("a GPU is asked for, and this worker has none")
    return {
        "engine": "serial" if spec.training.engine == "auto" else spec.training.engine,
        "device": device,
        "device_name": torch.cuda.get_device_name() if device == "cuda" else torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "precision": spec.training.precision,
        "torch": torch.__version__,
    }


def build_population(
    spec: ExperimentSpec,
    activation: Activation,
    members: list[Member],
    *,
    numerics: Mapping[str, Any],
    datasets_dir: Path,
) -> Population:
    """The population of a job on the engine and device that its numerics name.

    Raises: ValueError: the numerics name an engine that this version does not have.
    """
    engines: dict[str, type[SerialPopulation | StackedPopulation]] = {
        "serial": SerialPopulation,
        "stacked": StackedPopulation,
    }
    if numerics["engine"] not in engines:
        raise ValueError(f"this worker has no engine '{numerics['engine']}'")
    device = torch.device(numerics["device"])
    return engines[numerics["engine"]](spec, activation, members, datasets_dir=datasets_dir, device=device)
