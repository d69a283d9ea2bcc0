"""Which engine trains a job: decided when the job is first claimed, kept for as long as it lives.

The rule of `auto`, from what was measured (docs/performance.md):
- On a processor the compiled engine is the fastest by far, so it is taken wherever it can do what is asked and its code
  is in the cache or pays for its compilation within the experiment. Its members share nothing: any population will do.
- Else, where that is worth anything, networks of vectors are stacked. Convolutional networks are trained one by one:
  stacked convolutions are slower than single ones on a processor.
- On a GPU launches dominate, so everything is stacked, the whole job at once, its steps recorded and replayed. Where
  memory turns out too small, populations are halved.
- Networks of millions of weights fit no cache: PyTorch's own products are as good, so they are trained one by one.
What is over in a moment is trained one by one: the same numbers whoever else is in the population, to the last digit.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
import torch

from shared.catalog.activations import Activation
from shared.catalog.layers import Conv2d, cost
from shared.errors import UnfitWorkerError
from shared.plan import plan
from shared.spec import ExperimentSpec
from shared.training.bindings import NativeCode
from shared.training.compiled import CompiledPopulation, code_is_there, load_code
from shared.training.divided import DividedPopulation
from shared.training.population import Member, Population
from shared.training.serial import SerialPopulation
from shared.training.stacked import StackedPopulation
from shared.training.toolchain import CompilationError, Toolchain

log = structlog.get_logger(__name__)

# Of serial training for each activation: compiling one takes a second or two, the rest of the network three, once.
WORTH_AN_EFFORT_S = 5.0
# Compiled code took half the time of PyTorch at 0.3 million weights, nine tenths at 1.1 and half as much again at 4.
MOST_WEIGHTS_COMPILED = 2_000_000


class Engines:
    """What a worker can train with.

    Args:
        toolchain: compiles and keeps code.
        worker_device: `cuda` where the operator gave this worker a GPU, else `cpu`.
    """

    def __init__(self, *, toolchain: Toolchain, datasets_dir: Path, worker_device: str = "cpu") -> None:
        self.toolchain, self.datasets_dir, self.worker_device = toolchain, datasets_dir, worker_device

    def decide(self, spec: ExperimentSpec, activation: Activation, members: Sequence[Member]) -> dict[str, Any]:
        """The numerics of a job: everything beside the spec that the last digits of a metric depend on.

        Equal numerics, equal metrics. Code that is needed is compiled here.

        Raises: UnfitWorkerError: a GPU is asked for, and there is none.
        """
        asked = spec.training.device
        device = self.worker_device if asked == "auto" else asked
        if device == "cuda" and not torch.cuda.is_available():
            raise UnfitWorkerError("a GPU is asked for, and this worker has none")
        engine = self._engine(spec, activation, members, device)
        cpu = torch.backends.cpu.get_cpu_capability()
        return {
            "engine": engine,
            "device": device,
            "device_name": torch.cuda.get_device_name() if device == "cuda" else cpu,
            "threads": torch.get_num_threads(),
            "precision": spec.training.precision,
            "torch": torch.__version__,
            **({"compiler": self.toolchain.description} if engine == "compiled" else {}),
        }

    def _engine(self, spec: ExperimentSpec, activation: Activation, members: Sequence[Member], device: str) -> str:
        asked = spec.training.engine
        if asked in {"serial", "stacked"}:
            return asked
        if device == "cuda":
            return "stacked"
        layers = spec.architecture.layers(spec.dataset.input_shape, spec.num_outputs)
        if asked == "auto" and cost(layers, spec.dataset.input_shape).num_parameters > MOST_WEIGHTS_COMPILED:
            return "serial"
        takes_a_while = plan(spec).serial_s / len(spec.activations) > WORTH_AN_EFFORT_S
        if asked == "compiled" or takes_a_while or code_is_there(spec, activation, self.toolchain):
            try:
                load_code(spec, activation, self.toolchain)
            except CompilationError as error:
                log.info("not compiled", activation=activation.name, reason=str(error))
            else:
                return "compiled"
        has_convolutions = any(isinstance(layer, Conv2d) for layer in layers)
        return "stacked" if takes_a_while and len(members) > 1 and not has_convolutions else "serial"

    def build(
        self, spec: ExperimentSpec, activation: Activation, members: Sequence[Member], numerics: Mapping[str, Any]
    ) -> Population:
        """The population of a job on the engine and device that its numerics name.

        Raises: UnfitWorkerError: the numerics name an engine that this worker does not have.
        """
        device = torch.device(numerics["device"])
        # The arms of an A/A check share no stream: each draws from a seed of its own.
        members = [Member(member.rate, spec.corruption.seed_of_arm(member.seed, member.rate)) for member in members]
        match numerics["engine"]:
            case "compiled":
                code = self._code(spec, activation)
                return CompiledPopulation(spec, activation, members, datasets_dir=self.datasets_dir, code=code)
            case "stacked":
                return self._stacked(spec, activation, members, device)
            case "serial":
                return SerialPopulation(spec, activation, members, datasets_dir=self.datasets_dir, device=device)
        raise UnfitWorkerError(f"this worker has no engine '{numerics['engine']}'")

    def _stacked(
        self, spec: ExperimentSpec, activation: Activation, members: Sequence[Member], device: torch.device
    ) -> Population:
        def build(part: Sequence[Member]) -> StackedPopulation:
            return StackedPopulation(spec, activation, part, datasets_dir=self.datasets_dir, device=device)

        return DividedPopulation(build, members, size=len(members)) if device.type == "cuda" else build(members)

    def _code(self, spec: ExperimentSpec, activation: Activation) -> NativeCode:
        try:
            return load_code(spec, activation, self.toolchain)
        except CompilationError as error:
            raise UnfitWorkerError(f"the job began with compiled code, which cannot be had here: {error}") from error
