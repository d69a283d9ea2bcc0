"""What only a real server shows: bodies that are not what they claim to be, and answers that break off."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPResponse

import httpx2
import pytest
import uvicorn
from starlette.testclient import TestClient

from api.app import create_app
from tests.api.conftest import SettingsFor
from tests.api.support import TINY, problem

LIMIT = 100_000
HEAD = "POST /experiments HTTP/1.1\r\nHost: testserver\r\nContent-Type: application/json\r\n"


@pytest.fixture
def address(sqlite_url: str, settings_for: SettingsFor) -> Iterator[tuple[str, int]]:
    """Where a real server listens."""
    app = create_app(settings_for(sqlite_url, max_body_bytes=LIMIT))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield listener.getsockname()
        server.should_exit = True
        thread.join()


def talk(address: tuple[str, int], *pieces: bytes) -> tuple[int, dict[str, object]]:
    """Send the pieces of a request; the status and document of the answer."""
    with socket.create_connection(address, timeout=10) as connection:
        for piece in pieces:
            connection.sendall(piece)
        response = HTTPResponse(connection)
        response.begin()
        assert response.headers["content-type"] == "application/problem+json"
        return response.status, json.loads(response.read())


def test_a_body_that_claims_to_be_too_large_is_refused_before_it_is_sent(address: tuple[str, int]) -> None:
    status, document = talk(address, f"{HEAD}Content-Length: {LIMIT + 1}\r\n\r\n".encode())
    assert (status, document["status"]) == (413, 413)
    assert str(LIMIT) in str(document["detail"])


def test_a_claim_of_many_digits_breaks_nothing(address: tuple[str, int]) -> None:
    status, _ = talk(address, f"{HEAD}Content-Length: {'9' * 18}\r\n\r\n".encode())
    assert status == 413


def test_a_body_without_a_claim_is_refused_once_it_is_too_large(address: tuple[str, int]) -> None:
    chunk = f"{LIMIT // 2:x}\r\n".encode() + b" " * (LIMIT // 2) + b"\r\n"
    status, _ = talk(address, f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode(), chunk, chunk, chunk)
    assert status == 413


def test_a_body_larger_than_its_claim_is_cut_at_the_claim(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(f"{HEAD}Content-Length: 3\r\n\r\n".encode() + b'{"num_seeds": 1}' + b" " * LIMIT)
        # What follows the claim is no request, which the server itself may say before the service is asked.
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    with httpx2.Client(base_url=f"http://{address[0]}:{address[1]}", trust_env=False) as http:
        assert http.get("/experiments").json() == {"items": []}


def test_a_client_that_leaves_in_the_middle_breaks_nothing(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(f"{HEAD}Content-Length: 50\r\n\r\n{{".encode())
    time.sleep(0.1)
    with httpx2.Client(base_url=f"http://{address[0]}:{address[1]}", trust_env=False) as http:
        assert http.get("/experiments").json() == {"items": []}


@pytest.mark.parametrize("size", [LIMIT + 1, 20 * LIMIT, 300 * LIMIT])
def test_an_ordinary_client_hears_why(address: tuple[str, int], size: int) -> None:
    with httpx2.Client(base_url=f"http://{address[0]}:{address[1]}", trust_env=False) as http:
        response = http.post("/experiments", content=b" " * size, headers={"Content-Type": "application/json"})
        assert problem(response, 413)
        assert http.get("/experiments").json() == {"items": []}


def test_a_download_that_breaks_off_is_not_taken_for_a_whole_one(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(*_arguments: object) -> Iterator[bytes]:
        yield b"run_id,activation\r\n"
        raise RuntimeError("the connection to the database is gone")

    monkeypatch.setattr("api.downloads.download", break_off)
    with httpx2.Client(base_url=f"http://{address[0]}:{address[1]}", trust_env=False) as http:
        experiment_id = http.post("/experiments", json=TINY).json()["id"]
        with pytest.raises(httpx2.RemoteProtocolError):
            http.get(f"/experiments/{experiment_id}/metrics?format=csv")
        assert http.get("/healthz").status_code == 200


def test_a_body_of_exactly_the_limit_is_taken(sqlite_url: str, settings_for: SettingsFor) -> None:
    body = json.dumps(TINY).encode().ljust(LIMIT)
    headers = {"Content-Type": "application/json"}
    with TestClient(create_app(settings_for(sqlite_url, max_body_bytes=LIMIT))) as client:
        assert client.post("/experiments", content=body, headers=headers).status_code == 202
        assert problem(client.post("/experiments", content=body + b" ", headers=headers), 413)
        assert problem(client.post("/experiments", content=iter([body, b" "]), headers=headers), 413)
