"""Which engine trains a job: decided when the job is first claimed, kept for as long as it lives."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from shared.catalog.activations import Activation
from shared.spec import ExperimentSpec
from shared.training.population import Member, Population
from shared.training.serial import SerialPopulation


def decide_numerics(spec: ExperimentSpec) -> dict[str, Any]:
    """Everything beside the spec that the last digits of a metric depend on; equal numerics, equal metrics.

    Raises: RuntimeError: the spec asks for a device that this machine lacks.
    """
    has_cuda = torch.cuda.is_available()
    if spec.training.device == "cuda" and not has_cuda:
        raise RuntimeError("the spec asks for CUDA, and this worker has none")
    device = "cuda" if has_cuda and spec.training.device != "cpu" else "cpu"
    return {
        "engine": "serial",
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
    if numerics["engine"] != "serial":
        raise ValueError(f"this worker has no engine '{numerics['engine']}'")
    device = torch.device(numerics["device"])
    return SerialPopulation(spec, activation, members, datasets_dir=datasets_dir, device=device)
