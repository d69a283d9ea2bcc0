from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from shared.settings import Settings

SettingsFor = Callable[..., Settings]


@pytest.fixture
def settings_for(broker_url: str, tmp_path: Path) -> SettingsFor:
    """Settings for a database, with whatever else a test wants."""

    def build(database_url: str, **changes: Any) -> Settings:
        values = {"data_dir": tmp_path / "data", "broker_url": broker_url, "allowed_hosts": "testserver", **changes}
        return Settings(_env_file=None, database_url=database_url, **values)

    return build


@pytest.fixture
def sqlite_client(sqlite_url: str, settings_for: SettingsFor) -> Iterator[TestClient]:
    """The API for tests in which the database does not matter."""
    with TestClient(create_app(settings_for(sqlite_url))) as client:
        yield client
