from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from shared.settings import Settings


@pytest.fixture
def sqlite_client(sqlite_url: str, broker_url: str, tmp_path: Path) -> Iterator[TestClient]:
    """The API for tests in which the database does not matter."""
    settings = Settings(_env_file=None, data_dir=tmp_path / "data", database_url=sqlite_url, broker_url=broker_url)
    with TestClient(create_app(settings)) as client:
        yield client
