from collections.abc import Callable
from typing import Any

import pytest

from shared import cells
from shared.cells import Cells
from shared.plan import PlannedRun
from shared.spec import ExperimentSpec
from tests.shared.specs import TINY_CLASSIFICATION, tiny

DIRTY, CLEAN = PlannedRun("relu", 0.2, 1, position=5), PlannedRun("relu", 0.0, 1, position=2)


def cell(spec: ExperimentSpec, run: PlannedRun = DIRTY, *, owner: str = "ada") -> str:
    return Cells(spec, owner=owner).of(run)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "another"}, {"num_seeds": 7}, {"corruption": {"rates": [0.1, 0.2]}}, {"reuse": False},
        {"score": "best"}, {"margin": {"loss": 0.1}}, {"activations": ["tanh", "relu"]},
        {"activations": [{"kind": "relu", "label": "relu"}]},
    ],
    ids=str,
)  # fmt: skip
def test_what_no_network_ever_notices_is_no_part_of_a_cell(changes: dict[str, Any]) -> None:
    assert cell(tiny(**changes)) == cell(tiny())


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": {"val_size": 31}}, {"corruption": {"sd": 0.4}}, {"architecture": {"hidden": [8, 7]}},
        {"activations": [{"kind": "leaky_relu", "label": "relu"}]}, {"training": {"epochs": 4}},
        {"training": {"device": "cpu"}}, {"training": {"optimizer": {"lr": 0.01}}}, {"base_seed": 1},
    ],
    ids=str,
)  # fmt: skip
def test_what_changes_a_network_changes_its_cell(changes: dict[str, Any]) -> None:
    assert cell(tiny(**changes)) != cell(tiny())


def test_each_run_of_an_experiment_is_a_cell_of_its_own() -> None:
    spec = tiny(activations=["relu", "tanh"])
    names = [PlannedRun(name, rate, seed, 0) for name in ("relu", "tanh") for rate in (0.0, 0.2) for seed in (0, 1)]
    assert len({cell(spec, run) for run in names}) == 8


def test_a_label_is_only_a_name() -> None:
    labelled = tiny(activations=[{"kind": "relu", "label": "mine"}])
    assert cell(labelled, PlannedRun("mine", 0.2, 1, position=0)) == cell(tiny())


def test_clean_runs_do_not_know_what_the_dirt_would_have_been() -> None:
    asymmetric = tiny(TINY_CLASSIFICATION, corruption={"kind": "pairflip", "rates": [0.3]})
    assert cell(asymmetric, CLEAN) == cell(tiny(TINY_CLASSIFICATION), CLEAN)


def test_nobody_is_given_what_another_owner_trained() -> None:
    assert cell(tiny(), owner="ada") != cell(tiny(), owner="bob")


def test_changed_code_trains_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cell(tiny())
    new_code: Callable[[], str] = lambda: "0" * 64  # noqa: E731
    monkeypatch.setattr(cells, "code_version", new_code)
    assert cell(tiny()) != before


def test_a_changed_file_or_library_is_changed_code(monkeypatch: pytest.MonkeyPatch) -> None:
    present = cells.code_version()
    fresh = cells.code_version.__wrapped__
    assert fresh() == present
    monkeypatch.setattr(cells, "SOURCES", cells.SOURCES[1:])
    assert fresh() != present
    monkeypatch.undo()
    monkeypatch.setattr(cells, "LIBRARIES", cells.LIBRARIES[1:])
    assert fresh() != present
