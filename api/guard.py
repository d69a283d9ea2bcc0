"""Requests that a browser was tricked into: refused before anything is done for them."""

from dataclasses import dataclass

from fastapi.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import Kind, problem
from shared.hosts import is_loopback
from shared.settings import Settings

# What a page on another port of this machine sends is `same-site`.
FOREIGN_SITES = frozenset({"cross-site", "same-site"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
MISDIRECTED = Kind(421, "unknown-host", "This name is not ours")
CROSS_SITE = Kind(403, "cross-site", "Another site's page asked for this")


@dataclass
class Guard:
    """Refuses foreign host names and what pages of other sites send.

    A page whose name is made to point at 127.0.0.1 (DNS rebinding) could otherwise read and change everything on a
    service without keys; any page could send it a POST whose answer it cannot read.
    """

    app: ASGIApp
    settings: Settings

    def __post_init__(self) -> None:
        named = {name.strip().lower() for name in self.settings.allowed_hosts.split(",") if name.strip()}
        # Beyond loopback the operator alone knows under which names the service is reached.
        self._names = named if named or is_loopback(self.settings.host) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(Request(scope)) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            kind, detail = refusal
            await problem(Request(scope), kind, detail)(scope, receive, send)

    def _refusal(self, request: Request) -> tuple[Kind, str] | None:
        if self._names is not None and not _is_known(_host(request), self._names):
            return MISDIRECTED, "this service does not answer under this name; ACTROBUST_ALLOWED_HOSTS may list it"
        if request.method not in SAFE_METHODS and request.headers.get("sec-fetch-site") in FOREIGN_SITES:
            return CROSS_SITE, "pages of other sites may not change anything here"
        return None


def _host(request: Request) -> str:
    """The name of the Host header, without its port."""
    host = request.headers.get("host", "").lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def _is_known(host: str, names: set[str]) -> bool:
    return is_loopback(host) or host in names
