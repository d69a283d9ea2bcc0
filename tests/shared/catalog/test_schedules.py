import pytest
import torch

from shared.catalog.schedules import SCHEDULES, Constant, Cosine, Step
from tests.shared.specs import make

NUM_EPOCHS = 12


def rates_of_torch(scheduler_type: type, **options: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = scheduler_type(optimizer, **options)
    rates = []
    for _ in range(NUM_EPOCHS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(("step_size", "gamma"), [(2, 0.7), (1, 0.5), (5, 1.0), (100, 0.1)])
def test_the_step_schedule_is_torchs(step_size: int, gamma: float) -> None:
    expected = rates_of_torch(torch.optim.lr_scheduler.StepLR, step_size=step_size, gamma=gamma)
    schedule = Step(step_size=step_size, gamma=gamma)
    assert [schedule.factor(epoch, NUM_EPOCHS) for epoch in range(1, NUM_EPOCHS + 1)] == pytest.approx(expected)


@pytest.mark.parametrize("min_factor", [0.0, 0.1])
def test_the_cosine_schedule_is_torchs(min_factor: float) -> None:
    expected = rates_of_torch(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=NUM_EPOCHS, eta_min=min_factor)
    schedule = Cosine(min_factor=min_factor)
    assert [schedule.factor(epoch, NUM_EPOCHS) for epoch in range(1, NUM_EPOCHS + 1)] == pytest.approx(expected)


def test_the_constant_schedule_changes_nothing() -> None:
    assert {Constant().factor(epoch, NUM_EPOCHS) for epoch in range(1, NUM_EPOCHS + 1)} == {1.0}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_schedule_starts_at_the_learning_rate_and_never_rises_above_it(kind: str) -> None:
    factors = [make(SCHEDULES, kind).factor(epoch, NUM_EPOCHS) for epoch in range(1, NUM_EPOCHS + 1)]
    assert factors[0] == 1.0
    assert all(0 <= factor <= 1 for factor in factors)
