from types import SimpleNamespace

import pytest

from worker import celery_repairs


def test_nobody_listens_to_the_pipes_of_a_child_that_was_killed_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their numbers are given to the pipes of the next child."""
    monkeypatch.setattr(celery_repairs, "_destroy_queues", lambda *_: 1)
    killed, next_one = SimpleNamespace(outqR_fd=5), SimpleNamespace(outqR_fd=7)
    pool = SimpleNamespace(_fileno_to_outq={5: killed, 7: next_one})
    assert celery_repairs._forget_and_destroy_queues(pool, (), killed) == 1
    assert pool._fileno_to_outq == {7: next_one}
    # Its number may be another's by now.
    late = SimpleNamespace(outqR_fd=7)
    assert celery_repairs._forget_and_destroy_queues(pool, (), late) == 1
    assert pool._fileno_to_outq == {7: next_one}
