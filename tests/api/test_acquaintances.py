import pytest

from api import acquaintances
from api.acquaintances import REMEMBERED_S, Acquaintances


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock whose only element is the time."""
    now_s = [100.0]
    monkeypatch.setattr(acquaintances, "monotonic", lambda: now_s[0])
    return now_s


def test_of_many_requests_with_one_key_one_asks_while_the_others_go_on(clock: list[float]) -> None:
    known = Acquaintances()
    assert known.owner_of("key") is None
    known.remember("key", "alice")
    to_ask = []
    for _ in range(1000):
        clock[0] += 0.01
        owner = known.owner_of("key")
        if owner is None:
            to_ask.append(clock[0])
            known.remember("key", "alice")
    assert 15 <= len(to_ask) <= 25  # twice a second, never two at once


def test_a_key_is_not_let_in_for_longer_because_an_answer_is_late(clock: list[float]) -> None:
    known = Acquaintances()
    known.remember("key", "alice")
    clock[0] += 0.9 * REMEMBERED_S
    assert known.owner_of("key") is None  # this one asks, and is not answered
    assert known.owner_of("key") == "alice"
    clock[0] += 0.1 * REMEMBERED_S
    assert [known.owner_of("key") for _ in range(2)] == [None, None]
