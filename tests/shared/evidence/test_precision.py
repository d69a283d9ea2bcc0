from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update

from shared.analysis.precision import half_widths
from shared.evidence.comparison import RobustnessQuery, robustness_document
from shared.evidence.precision import Precision, precision_of
from shared.store.db import Database
from shared.store.tables import EpochMetrics, Experiment, Run
from tests.api.support import train
from tests.shared.specs import TINY_CLASSIFICATION, TINY_REGRESSION, tiny
from tests.shared.store.experiments import post

TWO = ["relu", "elu"]
NARROW: dict[str, Any] = {"ci_half_width": 1e-6, "max_seeds": 20}


def look(database: Database, experiment_id: str) -> Precision:
    with database.read() as session:
        return precision_of(session, session.get_one(Experiment, experiment_id))


def posted(database: Database, **changes: Any) -> str:
    return post(database, tiny(activations=TWO, **changes))


def test_it_is_the_widest_interval_of_what_is_stored(database: Database) -> None:
    experiment_id = posted(database, until=NARROW, corruption={"rates": [0.4, 0.2]})
    train(database, experiment_id)
    with database.read() as session:
        query = (
            select(Run.activation, Run.rate, Run.seed, EpochMetrics.val_loss)
            .join(EpochMetrics, (EpochMetrics.run_id == Run.id) & (EpochMetrics.epoch == 3))
            .where(Run.experiment_id == experiment_id)
        )
        loss = {(label, rate, seed): value or np.nan for label, rate, seed, value in session.execute(query)}
    degradations = [
        [loss[label, rate, seed] - loss[label, 0.0, seed] for seed in range(5)] for label in TWO for rate in (0.2, 0.4)
    ]
    found = look(database, experiment_id)
    assert found.half_width == pytest.approx(half_widths(np.array(degradations)).max())
    assert (found.target, found.reached, found.num_seeds, found.max_seeds) == (1e-6, False, 5, 20)
    assert not found.is_final


def test_a_wide_target_is_reached_with_the_first_seeds(database: Database) -> None:
    experiment_id = posted(database, until={"ci_half_width": 10.0})
    train(database, experiment_id)
    assert look(database, experiment_id).reached


def test_as_long_as_a_run_is_missing_no_epoch_is_read(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment_id = posted(database, until={"ci_half_width": 10.0})
    train(database, experiment_id, num_jobs=1)
    monkeypatch.setattr("shared.evidence.results.number_chunks", None)
    assert look(database, experiment_id) == Precision(10.0, None, reached=False, num_seeds=5, max_seeds=50)


def test_the_default_target_is_half_of_the_margin(database: Database) -> None:
    declared = posted(database, until={}, margin={"loss": 0.5})
    assert look(database, declared).target == 0.25
    undeclared = posted(database, until={})
    assert look(database, undeclared).target is None, "no null loss is known"
    train(database, undeclared, num_jobs=1)
    assert look(database, undeclared).target == pytest.approx(0.5 * 0.05 * 0.1)
    accuracy = post(database, tiny(TINY_CLASSIFICATION, until={}))
    assert look(database, accuracy).target == 0.005


@pytest.mark.parametrize("base", [TINY_REGRESSION, TINY_CLASSIFICATION], ids=["loss", "accuracy"])
@pytest.mark.parametrize("score", ["final", "best", "last5", "epoch:2"])
def test_the_comparison_says_the_same(database: Database, score: str, base: dict[str, Any]) -> None:
    spec = tiny(base, score=score, until=NARROW, activations=TWO)
    experiment_id = post(database, spec)
    train(database, experiment_id)
    with database.write() as session:
        accuracies = {"val_accuracy": 1 - EpochMetrics.val_loss, "val_accuracy_a": 1 - EpochMetrics.val_loss_a}
        session.execute(update(EpochMetrics).values(accuracies))
    with database.read() as session:
        experiment = session.get_one(Experiment, experiment_id)
        assert spec.metric is not None
        query = RobustnessQuery(spec.metric, score, spec.rates[1:], frozenset())
        document = robustness_document(session, experiment, query)
    assert document["precision"] == vars(look(database, experiment_id))
    widths = [
        condition["degradation"]["ci_high"] - condition["degradation"]["mean"]
        for entry in document["activations"]
        for condition in entry["conditions"]
        if condition["degradation"]["sd"]
    ]
    assert document["precision"]["half_width"] == pytest.approx(max(widths, default=0.0))


def test_a_run_that_diverged_counts_with_its_worst(database: Database) -> None:
    experiment_id = posted(database, until={"ci_half_width": 1.0})
    train(database, experiment_id)
    before = look(database, experiment_id).half_width
    with database.write() as session:
        dirty = session.scalars(select(Run).where(Run.experiment_id == experiment_id, Run.rate > 0)).first()
        assert dirty is not None
        dirty.outcome, dirty.null_loss = "diverged", 100.0
    found = look(database, experiment_id)
    assert before is not None
    assert found.half_width is not None
    assert found.half_width > 10 > before
    assert not found.reached


def test_looking_wants_an_experiment_with_a_target(database: Database) -> None:
    with pytest.raises(AssertionError):
        look(database, posted(database))
