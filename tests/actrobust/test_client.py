import io

import pytest

from actrobust import retries
from actrobust.client import Client, ProblemError, ServiceUnreachableError, is_loopback
from tests.actrobust.conftest import Reply, Request, TinyService


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_PAUSE_S", 0.001)


def test_an_experiment_is_posted_with_a_key_of_its_own(tiny_service: TinyService) -> None:
    tiny_service.answer = lambda _: Reply({"id": "e1"}, status=202)
    with Client(tiny_service.url) as client:
        assert client.create_experiment({"preset": "p"}) == {"id": "e1"}
        client.create_experiment({"preset": "p"})
    first, second = tiny_service.requests
    assert first.document == {"preset": "p"}
    assert len(first.headers["idempotency-key"]) >= 32
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]


def test_a_post_whose_answer_is_lost_is_repeated_with_the_same_key(tiny_service: TinyService) -> None:
    def answer(_: Request) -> Reply:
        lost = len(tiny_service.requests) < 3
        return Reply(hang_up=True) if lost else Reply({"id": "e1"}, status=202)

    tiny_service.answer = answer
    with Client(tiny_service.url) as client:
        assert client.create_experiment({})["id"] == "e1"
    assert len(tiny_service.requests) == 3
    assert len({request.headers["idempotency-key"] for request in tiny_service.requests}) == 1


def test_a_post_that_is_still_in_flight_is_asked_for_again(tiny_service: TinyService) -> None:
    def answer(_: Request) -> Reply:
        return Reply({"title": "Conflict"}, status=409) if len(tiny_service.requests) < 2 else Reply({"id": "e1"})

    tiny_service.answer = answer
    with Client(tiny_service.url) as client:
        assert client.create_experiment({}, idempotency_key="mine")["id"] == "e1"
    assert [request.headers["idempotency-key"] for request in tiny_service.requests] == ["mine", "mine"]


def test_validating_only_sends_no_key(tiny_service: TinyService) -> None:
    with Client(tiny_service.url) as client:
        client.create_experiment({}, validate_only=True)
    assert tiny_service.requests[0].query == {"validate_only": ["true"]}
    assert "idempotency-key" not in tiny_service.requests[0].headers


def test_a_problem_lists_every_pointer_with_its_sentence(tiny_service: TinyService) -> None:
    problem = {
        "title": "Invalid spec",
        "status": 422,
        "detail": "the spec has 2 faults",
        "errors": [
            {"pointer": "/training/epochs", "detail": "at least 1", "type": "ge"},
            {"parameter": "page_size", "detail": "at most 1000", "type": "le"},
        ],
    }
    tiny_service.answer = lambda _: Reply(problem, status=422, content_type="application/problem+json")
    with Client(tiny_service.url) as client, pytest.raises(ProblemError) as caught:
        client.create_experiment({})
    assert (caught.value.status, caught.value.title) == (422, "Invalid spec")
    assert str(caught.value) == "the request was refused\n  /training/epochs: at least 1\n  page_size: at most 1000"
    assert len(tiny_service.requests) == 1, "what was refused is not sent again"


def test_an_error_page_of_something_in_between_is_a_problem_too(tiny_service: TinyService) -> None:
    tiny_service.answer = lambda _: Reply(status=502, content_type="text/html", body=b"<h1>Bad Gateway</h1>")
    with Client(tiny_service.url) as client, pytest.raises(ProblemError, match=r"Bad Gateway.*502"):
        client.catalog()


def test_a_fault_of_the_service_names_the_request_that_its_log_knows(tiny_service: TinyService) -> None:
    problem = {"title": "Internal Server Error", "detail": "our side", "request_id": "abc"}
    tiny_service.answer = lambda _: Reply(problem, status=500, content_type="application/problem+json")
    with Client(tiny_service.url) as client, pytest.raises(ProblemError, match=r"our side \(request abc\)"):
        client.catalog()


def test_a_web_server_that_is_something_else_is_named_as_such(tiny_service: TinyService) -> None:
    tiny_service.answer = lambda _: Reply(content_type="text/html", body=b"<h1>Hello</h1>")
    with Client(tiny_service.url) as client, pytest.raises(ServiceUnreachableError, match="not this service"):
        client.readyz()


def test_an_absent_service_is_named_with_a_way_out() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(ServiceUnreachableError, match=r"127\.0\.0\.1:9.*serve"):
        client.healthz()


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "", "http://", "http://[::1"])
def test_what_is_no_url_is_said_to_be_none(url: str) -> None:
    with pytest.raises(ServiceUnreachableError, match="not a URL"):
        Client(url)


def test_workers_are_listed(tiny_service: TinyService) -> None:
    tiny_service.answer = lambda request: Reply({"items": [{"id": request.path, "state": "idle"}]})
    with Client(tiny_service.url) as client:
        assert client.workers() == [{"id": "/workers", "state": "idle"}]


def test_all_pages_are_walked(tiny_service: TinyService) -> None:
    def answer(request: Request) -> Reply:
        if "page_token" in request.query:
            return Reply({"items": [{"run_id": "c"}]})
        return Reply({"items": [{"run_id": "a"}, {"run_id": "b"}], "next_page_token": "next"})

    tiny_service.answer = answer
    with Client(tiny_service.url) as client:
        assert [run["run_id"] for run in client.runs("e1", activation="relu")] == ["a", "b", "c"]
    assert all(request.query["activation"] == ["relu"] for request in tiny_service.requests)


def test_repeated_query_values_and_absent_ones(tiny_service: TinyService) -> None:
    tiny_service.answer = lambda _: Reply({"items": []})
    with Client(tiny_service.url) as client:
        assert list(client.list_experiments(state=["queued", "running"], dataset=None)) == []
    assert tiny_service.requests[0].query == {"state": ["queued", "running"], "page_size": ["50"]}


def test_metrics_are_downloaded_as_they_come(tiny_service: TinyService) -> None:
    tiny_service.answer = lambda _: Reply(content_type="text/csv", body=b"run_id,epoch\na,1\n")
    file = io.BytesIO()
    with Client(tiny_service.url) as client:
        client.download_metrics("e1", file, file_format="csv", rate=0.1)
    assert file.getvalue() == b"run_id,epoch\na,1\n"
    assert tiny_service.requests[0].query == {"rate": ["0.1"], "format": ["csv"]}


def test_a_download_that_is_refused_is_a_problem(tiny_service: TinyService) -> None:
    tiny_service.answer = lambda _: Reply({"title": "Not Found", "detail": "no experiment e1"}, status=404)
    with Client(tiny_service.url) as client, pytest.raises(ProblemError, match="no experiment e1"):
        client.download_metrics("e1", io.BytesIO())


def test_an_id_stays_one_segment_of_the_path(tiny_service: TinyService) -> None:
    with Client(tiny_service.url) as client:
        client.get_experiment("../catalog")
    assert tiny_service.requests[0].path == "/experiments/..%2Fcatalog"


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    tiny_service: TinyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with Client(tiny_service.url) as client:
        assert client.healthz() == {"path": "/healthz"}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "a.localhost"])
def test_loopback_hosts(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_hosts_that_others_reach(host: str) -> None:
    assert not is_loopback(host)


def test_the_address_and_the_key_come_from_the_environment(
    tiny_service: TinyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTROBUST_URL", tiny_service.url)
    monkeypatch.setenv("ACTROBUST_API_KEY", "actrobust_secret")
    with Client() as client:
        client.catalog()
    assert tiny_service.requests[0].headers["authorization"] == "Bearer actrobust_secret"
    monkeypatch.setenv("ACTROBUST_URL", "")
    with Client() as client:
        assert client.base_url == "http://127.0.0.1:8000"


def test_a_read_that_is_lost_or_put_off_is_sent_again(tiny_service: TinyService) -> None:
    replies = [
        Reply(hang_up=True),
        Reply({"title": "Too many requests"}, status=429, headers={"Retry-After": "0"}),
        Reply({"title": "Unavailable"}, status=503),
        Reply({"activations": []}),
    ]
    tiny_service.answer = lambda _: replies[len(tiny_service.requests) - 1]
    with Client(tiny_service.url) as client:
        assert client.catalog() == {"activations": []}
    assert len(tiny_service.requests) == 4


def test_the_service_says_how_long_to_wait(tiny_service: TinyService, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    tiny_service.answer = lambda _: (
        Reply({"title": "Later"}, status=429, headers={"Retry-After": "7"})
        if len(tiny_service.requests) == 1
        else Reply({"id": "e1"})
    )
    with Client(tiny_service.url) as client:
        client.get_experiment("e1")
    assert pauses == [7.0]


def test_nobody_waits_longer_than_a_minute_or_for_ever(tiny_service: TinyService) -> None:
    tiny_service.answer = lambda _: Reply({"title": "Tomorrow"}, status=429, headers={"Retry-After": "86400"})
    with Client(tiny_service.url) as client, pytest.raises(ProblemError, match="Tomorrow"):
        client.catalog()
    assert len(tiny_service.requests) == 1
    tiny_service.answer = lambda _: Reply({"title": "Down"}, status=503)
    with Client(tiny_service.url) as client, pytest.raises(ProblemError, match="Down"):
        client.catalog()
    assert len(tiny_service.requests) == 1 + 5


@pytest.mark.parametrize("change", ["cancel", "resume", "delete"])
def test_a_change_whose_answer_is_lost_is_not_made_twice(tiny_service: TinyService, change: str) -> None:
    tiny_service.answer = lambda _: Reply(hang_up=True)
    with Client(tiny_service.url) as client, pytest.raises(ServiceUnreachableError):
        getattr(client, change)("e1")
    assert len(tiny_service.requests) == 1
