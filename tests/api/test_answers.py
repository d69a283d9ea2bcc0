import threading
import time

import pytest

from api.answers import AnswerCache
from shared.errors import TooManyRequestsError


def test_an_answer_is_kept_under_its_tag() -> None:
    cache = AnswerCache()
    assert cache.get("a") is None
    cache.put("a", b"1")
    assert cache.get("a") == b"1"


def test_the_least_recently_used_goes_first() -> None:
    cache = AnswerCache(most_bytes=10)
    cache.put("a", b"1234")
    cache.put("b", b"1234")
    cache.get("a")
    cache.put("c", b"1234")
    assert [cache.get(tag) for tag in "abc"] == [b"1234", None, b"1234"]


def test_what_is_larger_than_the_cache_is_not_kept_and_pushes_nothing_out() -> None:
    cache = AnswerCache(most_bytes=10)
    cache.put("a", b"1234")
    cache.put("b", b"12345678901")
    assert (cache.get("a"), cache.get("b")) == (b"1234", None)


def test_the_same_answer_counts_once() -> None:
    cache = AnswerCache(most_bytes=10)
    for _ in range(5):
        cache.put("a", b"1234")
    cache.put("b", b"1234")
    assert (cache.get("a"), cache.get("b")) == (b"1234", b"1234")


def test_an_owner_waits_for_a_few_answers_and_no_more() -> None:
    cache = AnswerCache()
    let_go, inside = threading.Event(), threading.Barrier(2)

    def make() -> None:
        with cache.turn("alice"):
            inside.wait(5)
            let_go.wait(5)

    def wait_for_a_turn() -> None:
        with cache.turn("alice"):
            pass

    threads = [threading.Thread(target=make), *(threading.Thread(target=wait_for_a_turn) for _ in range(3))]
    threads[0].start()
    inside.wait(5)
    for thread in threads[1:]:
        thread.start()
    while sum(cache._waiting.values()) < 4:
        time.sleep(0.001)
    with pytest.raises(TooManyRequestsError), cache.turn("alice"):
        pass
    let_go.set()
    for thread in threads:
        thread.join(5)
    with cache.turn("alice"):
        pass
