from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from structlog.testing import capture_logs

from shared.settings import Settings
from shared.store.db import Database


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    """A training process sets its number of threads; the tests after it shall not notice."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _logs_kept_to_themselves() -> Iterator[None]:
    with capture_logs():
        yield


@pytest.fixture
def slices_of_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every slice of training is a single batch."""
    for engine in ("serial", "lockstep"):
        monkeypatch.setattr(f"shared.training.{engine}.SLICE_S", -1.0)


@pytest.fixture
def on_sqlite(sqlite_url: str, broker_url: str, tmp_path: Path) -> Settings:
    """Settings for what does not depend on the database."""
    return Settings(_env_file=None, data_dir=tmp_path / "data", database_url=sqlite_url, broker_url=broker_url)


@pytest.fixture
def sqlite_database(on_sqlite: Settings) -> Iterator[Database]:
    database = Database(on_sqlite.effective_database_url)
    yield database
    database.close()
