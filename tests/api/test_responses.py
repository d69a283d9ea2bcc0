"""What holds for every response: problem documents, request ids, headers, and pages that work with no internet."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy.exc import TimeoutError as NoFreeConnectionError
from starlette.testclient import TestClient

from api.app import create_app
from shared.logging import configure_logging
from shared.settings import Settings
from tests.api.conftest import SettingsFor
from tests.api.support import post, problem
from tests.conftest import PostgresServer


@pytest.mark.parametrize(
    "path", ["/nothing", "/experiments/", "/docs/nothing", "/static-offline-docs/nothing", "/%ff%00"]
)
def test_an_unknown_address_is_a_problem(sqlite_client: TestClient, path: str) -> None:
    assert problem(sqlite_client.get(path), 404)["type"] == "about:blank"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/experiments", "GET, POST"), ("PATCH", "/experiments/1", "GET, DELETE"),
        ("GET", "/experiments/1/cancel", "POST"), ("DELETE", "/healthz", "GET"),
        ("OPTIONS", "/experiments", "GET, POST"), ("TRACE", "/experiments", "GET, POST"), ("POST", "/docs", "GET"),
    ],
)  # fmt: skip
def test_a_method_that_is_not_offered_is_a_problem_that_names_those_that_are(
    sqlite_client: TestClient, method: str, path: str, allowed: str
) -> None:
    response = sqlite_client.request(method, path)
    assert problem(response, 405)
    assert response.headers["allow"] == allowed


def test_a_fault_of_ours_is_a_problem_without_internals_and_a_log_line_with_them(
    sqlite_client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_arguments: object, **_keywords: object) -> None:
        raise RuntimeError("the secret inside")

    monkeypatch.setattr("shared.store.repository.list_experiments", fail)
    response = sqlite_client.get("/experiments", headers={"X-Request-ID": "find-me"})
    assert problem(response, 500)["request_id"] == "find-me"
    assert "secret" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"
    assert any("unexpected error" in record.getMessage() for record in caplog.records)


def test_a_lack_of_connections_is_a_passing_problem(sqlite_client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_keywords: object) -> None:
        raise NoFreeConnectionError("QueuePool limit of size 5 overflow 10 reached")

    monkeypatch.setattr("shared.store.repository.list_experiments", fail)
    response = sqlite_client.get("/experiments")
    assert "QueuePool" not in problem(response, 503)["detail"]
    assert "retry-after" in response.headers


def test_a_problem_says_where_it_happened(sqlite_client: TestClient) -> None:
    assert problem(sqlite_client.get("/nothing here?secret=1"), 404)["instance"] == "/nothing%20here"


def test_a_request_id_is_taken_over_or_made(sqlite_client: TestClient) -> None:
    assert (
        sqlite_client.get("/healthz", headers={"X-Request-ID": "abc-123_x.y"}).headers["x-request-id"] == "abc-123_x.y"
    )
    made = [sqlite_client.get("/healthz").headers["x-request-id"] for _ in range(2)]
    assert made[0] != made[1]
    for bad in ("x" * 129, "<script>", "a b", 'a"b'):
        answered = sqlite_client.get("/healthz", headers={"X-Request-ID": bad}).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{32}", answered)


def test_every_response_has_the_protective_headers(sqlite_client: TestClient) -> None:
    experiment_id = post(sqlite_client)["id"]
    for path in (
        "/healthz",
        "/experiments",
        f"/experiments/{experiment_id}/metrics?format=csv",
        "/nothing",
        "/catalog",
    ):
        headers = sqlite_client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert not any(name.startswith("access-control") for name in headers)


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/docs/oauth2-redirect"])
def test_the_documentation_names_no_foreign_host(sqlite_client: TestClient, path: str) -> None:
    page = sqlite_client.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+", page.text) == []
    for address in re.findall(r'(?:src|href|spec-url)="([^"]+)"', page.text):
        assert sqlite_client.get(address).status_code == 200


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_documentation_is_kept_from_foreign_hosts(sqlite_client: TestClient, path: str) -> None:
    policy = sqlite_client.get(path).headers["content-security-policy"]
    assert "http" not in policy
    assert "*" not in policy
    assert "default-src 'none'" in policy


def test_swagger_sends_the_document_to_no_validator(sqlite_client: TestClient) -> None:
    assert '"validatorUrl": null' in sqlite_client.get("/docs").text


def test_the_files_of_the_documentation_may_be_kept(sqlite_client: TestClient) -> None:
    assert "max-age" in sqlite_client.get("/static-offline-docs/swagger-ui.css").headers["cache-control"]


def test_importing_the_api_loads_no_torch() -> None:
    code = (
        "import sys, api.app; api.app.create_app().openapi(); "
        "heavy = {'torch', 'torchvision', 'shared.training', 'worker', 'sklearn'} & set(sys.modules); "
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    process = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, "")


@pytest.fixture
def logging_as_before() -> Any:
    root, level, handlers = logging.getLogger(), logging.getLogger().level, logging.getLogger().handlers[:]
    yield
    root.handlers, root.level = handlers, level


@pytest.mark.usefixtures("logging_as_before")
def test_log_lines_are_json_with_what_was_bound(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(_env_file=None, log_format="json", log_level="INFO"))

    def break_down() -> None:
        secret = "s3cret".upper()
        raise RuntimeError("broken") if secret else AssertionError

    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger("ours").info("an event", number=3)
        logging.getLogger("theirs").warning("a %s", "line")
        structlog.get_logger("ours").debug("too quiet")
        try:
            break_down()
        except RuntimeError:
            structlog.get_logger("ours").exception("failed")
    output = capsys.readouterr()
    lines = [json.loads(line) for line in output.err.splitlines()]
    assert output.out == ""
    assert [(line["event"], line["level"], line["request_id"]) for line in lines] == [
        ("an event", "info", "r1"), ("a line", "warning", "r1"), ("failed", "error", "r1"),
    ]  # fmt: skip
    assert lines[0]["number"] == 3
    assert "RuntimeError: broken" in lines[2]["exception"]
    assert "S3CRET" not in output.err


@pytest.mark.usefixtures("logging_as_before")
def test_tracebacks_on_the_console_show_no_variables(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(_env_file=None, log_format="console"))
    configure_logging(Settings(_env_file=None, log_format="console"))  # lines must not come twice

    def connect(url: str) -> None:
        raise RuntimeError("broken")

    try:
        connect("postgresql://user:" + "s3cret" * 2)
    except RuntimeError:
        structlog.get_logger("ours").exception("failed")
    output = capsys.readouterr().err
    assert output.count("RuntimeError: broken") == 1
    assert "s3crets3cret" not in output


@pytest.mark.postgres
def test_a_database_without_tables_is_a_part_that_is_not_ready(
    postgres_server: PostgresServer, settings_for: SettingsFor, tmp_path: Path
) -> None:
    name = postgres_server.new_name("empty")
    postgres_server.execute(f'CREATE DATABASE "{name}"')
    try:
        for url in (postgres_server.url_of(name), f"sqlite:///{tmp_path / 'empty.db'}"):
            with TestClient(create_app(settings_for(url))) as client:
                problem(client.get("/experiments"), 503)
    finally:
        postgres_server.drop(name)
