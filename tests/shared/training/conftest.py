from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As in a training process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def slices_of_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every slice of training is a single batch."""
    for engine in ("serial", "lockstep"):
        monkeypatch.setattr(f"shared.training.{engine}.SLICE_S", -1.0)
