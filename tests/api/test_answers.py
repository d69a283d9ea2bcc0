from api.answers import AnswerCache


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
