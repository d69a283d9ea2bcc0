import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import run_state_machine_as_test

from shared.settings import Settings
from shared.store import lifecycle
from shared.store.db import Database
from tests.shared.store.clock import StillClock
from tests.shared.store.compared import Compared
from tests.shared.store.machine import StoreMachine

# Unset: a few ways, the same ones every time. A number: so many ways, others each time.
WAYS = os.environ.get("ACTROBUST_TEST_MODEL_WAYS")
NUM_STEPS = 40


@pytest.fixture
def clock(database: Database) -> Iterator[StillClock]:
    """The database's clock, in the test's hands."""
    clock = StillClock(database)
    yield clock
    clock.remove()


def test_whatever_happens_in_whatever_order_the_store_does_what_its_model_does(
    database: Database, clock: StillClock, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "METRICS_PER_PURGE", 3)
    in_memory = Settings(**{**settings.model_dump(), "broker_url": "memory://"})

    class OnThisDatabase(StoreMachine):
        def __init__(self) -> None:
            super().__init__(Compared(database, clock), broker=in_memory, no_broker=settings)

    few = 40 if database.engine.dialect.name == "sqlite" else 10
    ways = hypothesis_settings(
        max_examples=int(WAYS or few), stateful_step_count=NUM_STEPS, derandomize=WAYS is None, deadline=None,
        suppress_health_check=list(HealthCheck), database=None, print_blob=True,
    )  # fmt: skip
    run_state_machine_as_test(OnThisDatabase, settings=ways)
