import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    document: Any


@dataclass
class Reply:
    document: Any = None
    status: int = 200
    content_type: str = "application/json"
    body: bytes | None = None
    hang_up: bool = False
    headers: dict[str, str] = field(default_factory=dict)


Answer = Callable[[Request], Reply]


@dataclass
class TinyService:
    """A real HTTP server that answers what a test wants."""

    url: str
    requests: list[Request] = field(default_factory=list)
    answer: Answer = field(default=lambda request: Reply({"path": request.path}))


@pytest.fixture
def tiny_service() -> Iterator[TinyService]:
    service = TinyService(url="")

    class Handler(BaseHTTPRequestHandler):
        def _respond(self) -> None:
            split = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            document = json.loads(body) if body else None
            request = Request(self.command, split.path, parse_qs(split.query), headers, document)
            service.requests.append(request)
            reply = service.answer(request)
            if reply.hang_up:
                self.close_connection = True
                return
            body = json.dumps(reply.document).encode() if reply.body is None else reply.body
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(body)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = _respond

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield service
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A folder whose path leaves room for the name of a socket."""
    path = Path(tempfile.mkdtemp(prefix="ar-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)
