"""What is claimed about speed, one function a table; each measures its alternatives in turn, in one run."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measuring import Alternative, measure, run_once
from benchmarks.report import Table
from shared.plan import plan
from shared.settings import Settings
from shared.spec import merge_patch, resolve

Tell = Callable[[str], None]
Document = dict[str, Any]

STUDY: Document = {"preset": "harrison-multivariate"}
# Loops that train one network after another take as long for each: they get a part of the networks.
FOUR_NETWORKS: Document = {**STUDY, "num_seeds": 1, "activations": ["relu", "tanh"]}
STUDY_ONE_SEED: Document = {**STUDY, "num_seeds": 1}
MNIST: Document = {
    "preset": "harrison-mnist",
    "num_seeds": 1,
    "activations": ["relu", "tanh"],
    "training": {"epochs": 1},
}
ONE_ACTIVATION: Document = {**STUDY, "activations": ["tanh"], "training": {"epochs": 2}}


class Bench:
    """Where the data sets and the compiled code of a run lie."""

    def __init__(self, folder: Path, tell: Tell) -> None:
        self.folder, self.tell = folder, tell
        self.datasets_dir = str(Settings().effective_datasets_dir)

    def rival(
        self, name: str, spec: Document, called: str | None = None, environment: Mapping[str, str] | None = None
    ) -> Alternative:
        arguments = self._arguments(spec, name=name)
        return Alternative(called or name, "benchmarks.alternatives:rival", arguments, environment=environment or {})

    def engine(self, name: str, spec: Document, engine: str = "compiled", **options: Any) -> Alternative:
        arguments = self._arguments(spec, engine=engine, compiled_dir=str(self.folder / "compiled"), **options)
        return Alternative(name, "benchmarks.alternatives:engine", arguments)

    def service(self, name: str, spec: Document, *, num_experiments: int) -> Alternative:
        """A service starts with nothing each time; a warm one is asked for the same thing twice."""
        return Alternative(
            name, "benchmarks.alternatives:service", self._arguments(spec, num_experiments=num_experiments)
        )

    def _arguments(self, spec: Document, **others: Any) -> Document:
        return {"spec": spec, "datasets_dir": self.datasets_dir, **others}

    def table(self, title: str, description: str, spec: Document, alternatives: list[Alternative]) -> Table:
        """Measure; the first alternative is the baseline."""
        measurements = measure(alternatives, tell=self.tell)
        one = plan(resolve(spec))
        return Table(
            title, description, alternatives[0].name, one.training_flops / one.num_runs, measurements,
            num_runs={each.name: plan(resolve(each.arguments["spec"])).num_runs for each in alternatives},
        )  # fmt: skip


@contextmanager
def bench(tell: Tell) -> Iterator[Bench]:
    """A bench whose folder is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="actrobust-bench-") as folder:
        yield Bench(Path(folder), tell)


def multivariate(on: Bench) -> Table:
    """The study's multivariate setting: seven activations, clean and dirty."""
    run_once(on.engine("compile", STUDY_ONE_SEED))
    return on.table(
        "harrison-multivariate",
        "Seven activations, clean and dirty, 20 epochs, ten seeds: 140 runs. Loops that train network by network get "
        "a part of them, for they take as long for each; what is compared is the time of one run. JAX compiles in "
        "every process, and warm is its time without that. It runs vmap over the networks of an activation on its one "
        "device, as most programs do, and also with the networks split over a device for each core. With one seed it "
        "has two networks an activation to work on instead of twenty.",
        STUDY,
        [
            on.rival("study", STUDY_ONE_SEED),
            on.rival("tight", STUDY_ONE_SEED),
            on.rival("lightning_trainer", FOUR_NETWORKS),
            on.rival("jax_vmap", STUDY, "jax_vmap", {"ACTROBUST_BENCH_JAX_DEVICES": "1"}),
            on.rival("jax_vmap", STUDY, "jax_vmap, split"),
            on.rival("jax_vmap", STUDY_ONE_SEED, "jax_vmap, split, one seed"),
            on.engine("engine, serial", STUDY_ONE_SEED, "serial"),
            on.engine("engine, stacked", {**STUDY, "num_seeds": 2}, "stacked"),
            on.engine("engine, compiled", STUDY),
            on.engine("engine, compiled, one seed", STUDY_ONE_SEED),
            on.service("service, nothing cached", STUDY, num_experiments=1),
            on.service("service, warm", STUDY, num_experiments=2),
        ],
    )


def mnist(on: Bench) -> Table:
    """The study's convolutional network on MNIST."""
    bfloat16 = merge_patch(MNIST, {"training": {"precision": "bfloat16"}})
    for spec in (MNIST, bfloat16):
        run_once(on.engine("compile", merge_patch(spec, {"dataset": {"train_size": 1000, "val_size": 1000}})))
    return on.table(
        "harrison-mnist",
        "Two activations, clean and dirty, one epoch of 31,500 images of 64 x 64, validation on 10,500.",
        MNIST,
        [
            on.rival("study", MNIST),
            on.rival("tight", MNIST),
            on.engine("engine, serial", MNIST, "serial"),
            on.engine("engine, compiled", MNIST),
            on.engine("engine, compiled, bfloat16", bfloat16),
        ],
    )


def populations(on: Bench) -> Table:
    """Time against the number of networks, on one core."""
    sizes = (1, 10, 100, 500)  # seeds, each clean and dirty
    specs: Mapping[int, Document] = {2 * seeds: {**ONE_ACTIVATION, "num_seeds": seeds} for seeds in sizes}
    run_once(on.engine("compile", specs[2]))
    return on.table(
        "Population size",
        "One activation of harrison-multivariate, two epochs, one worker.",
        specs[2],
        [on.engine(f"{size} networks", spec, num_workers=1) for size, spec in specs.items()],
    )


def growth(on: Bench) -> Table:
    """From 140 to 1,400 runs."""
    run_once(on.engine("compile", STUDY_ONE_SEED))
    hundred = {**STUDY, "num_seeds": 100}
    return on.table(
        "From 140 to 1,400 runs",
        "harrison-multivariate with ten and with a hundred seeds.",
        STUDY,
        [
            on.engine("140 runs, engine", STUDY),
            on.engine("1,400 runs, engine", hundred),
        ],
    )


SECTIONS: Mapping[str, Callable[[Bench], Table]] = {
    "multivariate": multivariate,
    "mnist": mnist,
    "populations": populations,
    "growth": growth,
}
