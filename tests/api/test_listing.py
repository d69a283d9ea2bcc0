from base64 import urlsafe_b64encode
from typing import Any

import pytest
from starlette.testclient import TestClient

from shared.store.db import Database
from tests.api.support import ON_DIGITS, TINY, faults, post, train

ONE_SEED: dict[str, Any] = {**TINY, "num_seeds": 1}


def post_named(client: TestClient, *names: str) -> list[str]:
    return [post(client, {**ONE_SEED, "name": name})["id"] for name in names]


def page(client: TestClient, path: str = "/experiments", **query: Any) -> dict[str, Any]:
    response = client.get(path, params=query)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def names(answer: dict[str, Any]) -> list[str]:
    return [item["name"] for item in answer["items"]]


def test_an_empty_listing_has_no_next_page(client: TestClient) -> None:
    assert page(client) == {"items": []}


def test_items_look_as_the_experiment_itself_does(client: TestClient) -> None:
    [experiment_id] = post_named(client, "a")
    assert page(client)["items"] == [client.get(f"/experiments/{experiment_id}").json()]


def test_the_newest_comes_first_unless_told_otherwise(client: TestClient) -> None:
    post_named(client, "a", "b", "c")
    assert names(page(client)) == ["c", "b", "a"]
    assert names(page(client, order_by="-created_at")) == ["c", "b", "a"]
    assert names(page(client, order_by="created_at")) == ["a", "b", "c"]


@pytest.mark.parametrize("order_by", ["created_at", "-created_at"])
def test_pages_have_every_item_once_while_others_are_posted(client: TestClient, order_by: str) -> None:
    posted = post_named(client, *"abcdefg")
    seen: list[str] = []
    token: str | None = None
    while True:
        answer = page(client, page_size=2, order_by=order_by, **({"page_token": token} if token else {}))
        seen += [item["id"] for item in answer["items"]]
        token = answer.get("next_page_token")
        if token is None:
            break
        if len(seen) < 6:
            post_named(client, "meanwhile")
    assert len(seen) == len(set(seen))
    known = [experiment_id for experiment_id in seen if experiment_id in posted]
    assert known == (posted if order_by == "created_at" else posted[::-1])


def test_a_last_page_that_is_full_has_no_token(client: TestClient) -> None:
    post_named(client, "a", "b")
    assert "next_page_token" not in page(client, page_size=2)


def test_filters_narrow_the_listing(client: TestClient, database: Database) -> None:
    [plain] = post_named(client, "plain")
    post(client, {**ON_DIGITS, "name": "digits", "activations": ["gelu", {"kind": "elu", "label": "mine"}]})
    train(database, plain)
    assert names(page(client, state="succeeded")) == ["plain"]
    assert names(page(client, state=["queued", "succeeded"])) == ["digits", "plain"]
    assert names(page(client, state="failed")) == []
    assert names(page(client, dataset="digits")) == ["digits"]
    assert names(page(client, activation="leaky_relu")) == ["plain"]  # its kind
    assert names(page(client, activation="leaky, 0.2")) == ["plain"]  # its label
    assert names(page(client, activation=["mine", "relu"])) == ["digits", "plain"]
    assert names(page(client, state="succeeded", dataset="digits")) == []


def test_times_narrow_the_listing_and_exclude_their_bounds(client: TestClient) -> None:
    post_named(client, "a", "b", "c")
    moment = page(client)["items"][1]["created_at"]
    assert names(page(client, created_after=moment)) == ["c"]
    assert names(page(client, created_before=moment)) == ["a"]
    shifted = moment.replace("Z", "+00:00")
    assert names(page(client, created_after=shifted)) == ["c"]


def test_a_token_goes_on_under_the_same_filters(client: TestClient) -> None:
    post_named(client, "a", "b", "c")
    query: dict[str, Any] = {
        "page_size": 1,
        "state": "queued",
        "dataset": "fbm",
        "created_after": "2020-01-01T00:00:00Z",
    }
    token = page(client, **query)["next_page_token"]
    assert names(page(client, **query, page_token=token)) == ["b"]
    assert names(page(client, **{**query, "page_size": 5}, page_token=token)) == ["b", "a"]


BAD_QUERIES = {
    "page size -1": ("page_size=-1", "page_size", "greater than or equal to 1"),
    "page size 0": ("page_size=0", "page_size", "greater than or equal to 1"),
    "page size beyond the limit": ("page_size=1001", "page_size", "1000"),
    "page size of many digits": ("page_size=" + "9" * 5000, "page_size", ""),
    "page size as text": ("page_size=ten", "page_size", "integer"),
    "unknown state": ("state=done", "state", "'succeeded'"),
    "one unknown state of two": ("state=failed&state=done", "state", "'succeeded'"),
    "unknown data set": ("dataset=mnits", "dataset", "did you mean 'mnist'?"),
    "empty activation": ("activation=", "activation", "at least 1"),
    "NUL in an activation": ("activation=%00", "activation", "NUL"),
    "half a character in an activation": ("activation=%ff%00", "activation", "NUL"),
    "unknown order": ("order_by=name", "order_by", "'created_at'"),
    "a date without a time": ("created_after=2026-01-01", "created_after", "2026-01-31T18:30:00Z"),
    "a number for a time": ("created_after=1700000000", "created_after", "2026-01-31T18:30:00Z"),
    "a time without a zone": ("created_after=2026-01-01T00:00:00", "created_after", "2026-01-31T18:30:00Z"),
    "a plus that became a blank": ("created_before=2026-01-01T00:00:00+01:00", "created_before", "%2B"),
    "a month that is none": ("created_before=2026-13-01T00:00:00Z", "created_before", "month"),
    "before the year 1": ("created_before=0001-01-01T00:00:00%2B10:00", "created_before", "years"),
    "unknown parameter": ("stat=failed", "stat", "does not exist"),
    "unknown parameter of a wild name": ("%00%f0%9f%92%a9=1", "\0💩", "does not exist"),
    "too many alternatives": ("&".join(["state=failed"] * 101), "state", "100"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_QUERIES)
def test_a_bad_parameter_is_named_with_what_is_allowed(sqlite_client: TestClient, case: str) -> None:
    query, parameter, said = BAD_QUERIES[case]
    assert said in faults(sqlite_client.get(f"/experiments?{query}"))[parameter]


def token_of(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


BAD_TOKENS = {
    "nonsense": "x",
    "not base64": "%%%",
    "not ASCII": "ä",
    "not JSON": token_of("["),
    "another shape": token_of("{}"),
    "a number": token_of("1"),
    "deeply nested": token_of("[" * 700),
    "a place of another listing": token_of('["0123456789abcdef", [3]]'),
    "a time beyond the calendar": token_of(
        '["x", ["0001-01-01T00:00:00+23:00", "01a209d7-19b2-76d1-a5f3-6f5921ed86e3"]]'
    ),
    "an id that is none": token_of('["x", ["2026-01-01T00:00:00Z", "1"]]'),
}


@pytest.mark.parametrize("case", BAD_TOKENS)
@pytest.mark.parametrize("path", ["/experiments", "/experiments/{id}/runs", "/experiments/{id}/metrics"])
def test_a_bad_page_token_is_refused(sqlite_client: TestClient, case: str, path: str) -> None:
    [experiment_id] = post_named(sqlite_client, "a")
    response = sqlite_client.get(path.format(id=experiment_id), params={"page_token": BAD_TOKENS[case]})
    assert "page_token" in faults(response)


def test_a_token_is_bound_to_its_filters_order_and_listing(sqlite_client: TestClient) -> None:
    first, second = post_named(sqlite_client, "a", "b")
    token = page(sqlite_client, page_size=1)["next_page_token"]
    runs_token = page(sqlite_client, f"/experiments/{first}/runs", page_size=1)["next_page_token"]
    for path, query in (
        ("/experiments", {"page_token": token, "order_by": "created_at"}),
        ("/experiments", {"page_token": token, "state": "queued"}),
        ("/experiments", {"page_token": runs_token}),
        (f"/experiments/{first}/runs", {"page_token": token}),
        (f"/experiments/{first}/runs", {"page_token": runs_token, "seed": "0"}),
        (f"/experiments/{second}/runs", {"page_token": runs_token}),
    ):
        assert "page_token" in faults(sqlite_client.get(path, params=query))


def test_an_empty_token_is_the_first_page(sqlite_client: TestClient) -> None:
    post_named(sqlite_client, "a")
    assert names(page(sqlite_client, page_token="")) == ["a"]
