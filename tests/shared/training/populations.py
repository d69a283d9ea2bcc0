"""Populations of tiny networks, trained to the end."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from shared.spec import ExperimentSpec
from shared.training.engine import Engines
from shared.training.population import EpochRecord, Member, Population
from shared.training.toolchain import Toolchain
from tests.conftest import COMPILED_DIR

NO_COMPILER = "needs a C++ compiler"
ENGINES = Engines(toolchain=Toolchain(Path(os.environ[COMPILED_DIR])), datasets_dir=Path("nowhere"))
needs_compiler = pytest.mark.skipif(ENGINES.toolchain.compiler is None, reason=NO_COMPILER)


def on_engine(spec: ExperimentSpec, engine: str, **training: object) -> ExperimentSpec:
    """The same spec, trained by that engine."""
    changed = spec.training.model_copy(update={"engine": engine, **training})
    return spec.model_copy(update={"training": changed})


def all_members(spec: ExperimentSpec) -> list[Member]:
    return [Member(rate, seed) for seed in range(spec.num_seeds) for rate in spec.rates]


def population(
    spec: ExperimentSpec, members: Sequence[Member] | None = None, *, label: str | None = None
) -> Population:
    """The population of one activation: of the first one, or of that with this label."""
    activation = next(entry for entry in spec.activations if label in {None, entry.name})
    chosen = all_members(spec) if members is None else list(members)
    if spec.training.engine == "compiled" and ENGINES.toolchain.compiler is None:
        pytest.skip(NO_COMPILER)
    numerics = ENGINES.decide(spec, activation, chosen)
    assert spec.training.engine in {"auto", numerics["engine"]}
    return ENGINES.build(spec, activation, chosen, numerics)


def finish(trained: Population) -> list[EpochRecord]:
    """Train to the end; the records still to come."""
    records: list[EpochRecord] = []
    while not trained.finished:
        records += trained.advance() or []
    return records


def records(
    spec: ExperimentSpec, members: Sequence[Member] | None = None, *, label: str | None = None
) -> list[EpochRecord]:
    return finish(population(spec, members, label=label))


def by_member(
    spec: ExperimentSpec, members: Sequence[Member] | None = None, *, label: str | None = None
) -> dict[Member, list[dict[str, float | None]]]:
    """The records of each member, without its place in the population."""
    chosen = all_members(spec) if members is None else list(members)
    found: dict[Member, list[dict[str, float | None]]] = {member: [] for member in chosen}
    for record in records(spec, chosen, label=label):
        numbers = {name: value for name, value in vars(record).items() if name != "member"}
        found[chosen[record.member]].append(numbers)
    return found
