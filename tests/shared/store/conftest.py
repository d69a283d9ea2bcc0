import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shared.store.broker import Broker


@pytest.fixture(scope="module")
def module_broker() -> Iterator[Broker]:
    # The path of a socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="ar-"))
    broker = Broker(folder)
    broker.start()
    yield broker
    broker.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def broker(module_broker: Broker) -> Broker:
    """A broker that runs and is empty."""
    module_broker.forget_everything()
    return module_broker
