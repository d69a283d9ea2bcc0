"""The pages for people, and the library that draws their charts. They hold nobody's data: no key is asked for."""

import gzip
import hashlib
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from threading import Lock

from fastapi import APIRouter
from fastapi.requests import Request
from fastapi.responses import RedirectResponse, Response

from api import conditional
from shared.errors import NotFoundError

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parents[1] / "web"
PAGES = ("index", "new", "experiment", "compare")
# Its address changes with its content.
FOREVER = "public, max-age=31536000, immutable"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}  # fmt: skip
# Nothing but our own files, no code from strings, and nothing is sent elsewhere. Of markup from strings only what the
# pages' default policy lets through: the empty string, with which vega-embed clears its place.
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types default"
)
VEGA = "vega.js"
VEGA_SNIPPET = "export { vegaEmbed };"
# In a process of its own: it takes seconds, in which vl-convert lets no other thread of this one run.
BUNDLE = f"import sys, vl_convert; sys.stdout.write(vl_convert.javascript_bundle({VEGA_SNIPPET!r}))"
BUNDLE_TIMEOUT_S = 120
_bundling = Lock()


@dataclass(frozen=True)
class File:
    """A file as it is sent, plain or compressed."""

    body: bytes
    zipped: bytes
    media_type: str


@router.get("/")
def front_door() -> RedirectResponse:
    """Lead to the pages."""
    return RedirectResponse("ui/")


@router.get("/ui")
def without_slash() -> RedirectResponse:
    """Lead to the first page: its links are relative to the slash."""
    return RedirectResponse("ui/")


@router.get("/ui/assets/{version}/{name}")
def asset(request: Request, version: str, name: str) -> Response:
    """A stylesheet, a script or a picture of the pages; `version` is that of all files together."""
    files = _files()
    if version != _version() or (name not in files and name != VEGA) or name.endswith(".html"):
        raise NotFoundError("there is no such file; load the page again")
    file = _vega() if name == VEGA else files[name]
    return _answer(request, file, {"Cache-Control": FOREVER})


@router.get("/ui/")
@router.get("/ui/{page}")
def page(request: Request, page: str = "index") -> Response:
    """One of the pages."""
    if page not in PAGES:
        raise NotFoundError("there is no such page; /ui/ is the first one")
    file = _files()[f"{page}.html"]
    tag = conditional.weak_tag(_version(), page)
    response = conditional.not_modified(request, tag) or _answer(request, file, conditional.headers_for(tag))
    # Also on a 304, whose headers a browser takes over.
    response.headers["Content-Security-Policy"] = CSP
    return response


def _answer(request: Request, file: File, headers: Mapping[str, str]) -> Response:
    zipped = "gzip" in request.headers.get("accept-encoding", "")
    encoding = {"Content-Encoding": "gzip"} if zipped else {}
    body = file.zipped if zipped else file.body
    return Response(body, headers={**headers, **encoding, "Vary": "Accept-Encoding"}, media_type=file.media_type)


@cache
def _sources() -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.suffix in MEDIA_TYPES}


@cache
def _version() -> str:
    digest = hashlib.sha256(f"{metadata.version('vl-convert-python')} {VEGA_SNIPPET}".encode())
    for name, body in _sources().items():
        digest.update(f"{name} {len(body)} ".encode() + body)
    return digest.hexdigest()[:16]


@cache
def _files() -> Mapping[str, File]:
    version = _version().encode()
    bodies = {
        name: body.replace(b"{version}", version) if name.endswith(".html") else body
        for name, body in _sources().items()
    }
    return {name: _file(body, name) for name, body in bodies.items()}


def _vega() -> File:
    # Several pages may ask at once for what is made only once.
    with _bundling:
        return _bundle()


@cache
def _bundle() -> File:
    arguments = [sys.executable, "-c", BUNDLE]
    made = subprocess.run(  # noqa: S603 (the command is ours) # nosec B603
        arguments, check=True, capture_output=True, timeout=BUNDLE_TIMEOUT_S
    )
    return _file(made.stdout, VEGA)


def _file(body: bytes, name: str) -> File:
    return File(body, gzip.compress(body, mtime=0), MEDIA_TYPES[Path(name).suffix])
