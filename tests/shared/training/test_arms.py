"""Clean against clean: what the two arms of an A/A check share, and what they do not."""

from typing import Any

import numpy as np
import pytest

from tests.shared.specs import TINY_CLASSIFICATION, TINY_REGRESSION, tiny
from tests.shared.training.populations import by_member, on_engine, population

BASES: dict[str, dict[str, Any]] = {"regression": {**TINY_REGRESSION}, "classification": {**TINY_CLASSIFICATION}}


@pytest.mark.parametrize("engine", ["serial", "stacked", "compiled"])
@pytest.mark.parametrize("task", BASES)
def test_the_second_arm_is_as_clean_as_the_first_and_another_trial(task: str, engine: str) -> None:
    spec = on_engine(tiny({**BASES[task], "corruption": {"kind": "none"}}), engine)
    trained = by_member(spec)
    losses = [records[-1]["val_loss"] for records in trained.values()]
    assert len(set(losses)) == len(losses) == 4
    assert all(records[-1]["memorization"] is None for records in trained.values())
    assert {fact.realised_rate for fact in population(spec).facts} == {0.0}


def test_the_first_arm_is_the_clean_condition_of_the_experiment_with_dirt() -> None:
    check = by_member(tiny({**TINY_REGRESSION, "corruption": {"kind": "none"}}))
    experiment = by_member(tiny(TINY_REGRESSION))
    for member, records in experiment.items():
        if member.rate == 0:
            assert check[member] == records


def test_fresh_data_of_the_arms_differs_and_a_fixed_split_is_shared() -> None:
    nulls = {}
    for task, base in BASES.items():
        facts = population(tiny({**base, "corruption": {"kind": "none"}, "num_seeds": 1})).facts
        nulls[task] = np.ptp([fact.null_loss for fact in facts])
    assert nulls["regression"] > 0
    assert nulls["classification"] == 0
