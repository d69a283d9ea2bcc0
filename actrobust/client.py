"""Python client of the service. It speaks HTTP only and imports nothing of the server."""

import ipaddress
import time
import uuid
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self
from urllib.parse import quote

import httpx2

if TYPE_CHECKING:
    from actrobust.event_stream import Event

Json = dict[str, Any]
"""A JSON object as the service sends it; its fields are those of the OpenAPI document."""

Query = str | int | float | bool | None | list[str] | list[float]

PAGE_SIZE = 1000
POST_ATTEMPTS = 5
FIRST_PAUSE_S = 0.2


class ClientError(Exception):
    """Base of everything that a call can raise."""


class ServiceUnreachableError(ClientError):
    """No answer came back."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(
            f"no service answers at {url} ({reason}); "
            "start one with 'actrobust serve' or give another address with --url"
        )


class ProblemError(ClientError):
    """The service refused; `errors` holds an object for each fault of the input: `pointer` or `parameter`, `detail`."""

    def __init__(self, status: int, document: Json) -> None:
        self.status = status
        self.title = str(document.get("title") or "the request failed")
        self.detail: str | None = document.get("detail")
        self.request_id: str | None = document.get("request_id")
        self.errors: list[Json] = [error for error in document.get("errors") or [] if isinstance(error, dict)]
        super().__init__(str(self))

    def __str__(self) -> str:
        if self.errors:
            return "\n".join(["the request was refused", *(f"  {_describe(error)}" for error in self.errors)])
        if self.status == 401:
            return f"{self.detail or self.title}; 'actrobust' takes the key from ACTROBUST_API_KEY"
        text = self.detail or f"{self.title} (HTTP {self.status})"
        # The service's log says more about a fault of its own.
        return f"{text} (request {self.request_id})" if self.status >= 500 and self.request_id else text


def _describe(error: Json) -> str:
    place = error.get("pointer") or error.get("parameter") or error.get("header")
    detail = str(error.get("detail") or "is not valid")
    return f"{place}: {detail}" if place else detail


class Client:
    """One service. Every method returns the decoded JSON; all raise `ServiceUnreachableError` and `ProblemError`.

    Args:
        api_key: what the service asks for if it has keys; sent to `base_url` only.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        try:
            url = httpx2.URL(self.base_url)
        except httpx2.InvalidURL as error:
            raise ServiceUnreachableError(base_url, f"not a URL: {error}") from None
        if url.scheme not in {"http", "https"} or not url.host:
            raise ServiceUnreachableError(base_url, "not a URL; it looks like http://127.0.0.1:8000")
        # A proxy of the environment would look for "127.0.0.1" on its own machine.
        trust_env = not is_loopback(url.host)
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx2.Client(
            base_url=url, headers=headers, timeout=timeout_s, trust_env=trust_env, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def create_experiment(
        self, document: Json, *, idempotency_key: str | None = None, validate_only: bool = False
    ) -> Json:
        """Post a spec and return the experiment, or the plan with `validate_only`.

        Connection errors are tried again with the same key, so that the experiment exists once at most.
        """
        if validate_only:
            return self._json("POST", "/experiments", json=document, params={"validate_only": True})
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        for attempt in range(POST_ATTEMPTS - 1):
            try:
                return self._json("POST", "/experiments", json=document, headers=headers)
            except ServiceUnreachableError:
                pass
            except ProblemError as problem:
                # 409: the attempt before this one has not been answered yet.
                if problem.status not in {409, 503}:
                    raise
            time.sleep(FIRST_PAUSE_S * 2**attempt)
        return self._json("POST", "/experiments", json=document, headers=headers)

    def get_experiment(self, experiment_id: str) -> Json:
        """The resolved spec, state and progress."""
        return self._json("GET", f"/experiments/{_segment(experiment_id)}")

    def list_experiments(self, *, page_size: int = 50, **query: Query) -> Iterator[Json]:
        """All experiments that fit `query` (`state`, `dataset`, `activation`, `order_by`, ...), page by page."""
        return self._pages("/experiments", {**query, "page_size": page_size})

    def runs(self, experiment_id: str, **query: Query) -> Iterator[Json]:
        """All runs, page by page."""
        return self._pages(f"/experiments/{_segment(experiment_id)}/runs", {"page_size": PAGE_SIZE, **query})

    def metrics(self, experiment_id: str, **query: Query) -> Iterator[Json]:
        """All per-epoch rows that fit `query` (`activation`, `rate`, `seed`, `epoch_from`, `epoch_to`)."""
        return self._pages(f"/experiments/{_segment(experiment_id)}/metrics", {"page_size": PAGE_SIZE, **query})

    def download_metrics(
        self, experiment_id: str, file: BinaryIO, *, file_format: Literal["csv", "parquet"] = "csv", **query: Query
    ) -> None:
        """Write all per-epoch rows to `file`; memory stays small however many there are."""
        params = _params({**query, "format": file_format})
        try:
            with self._http.stream("GET", f"/experiments/{_segment(experiment_id)}/metrics", params=params) as response:
                if response.is_error:
                    response.read()
                    raise _problem(response)
                for chunk in response.iter_bytes():
                    file.write(chunk)
        except httpx2.TransportError as error:
            raise ServiceUnreachableError(self.base_url, _reason(error)) from error

    def events(self, experiment_id: str, last_event_id: str | None = None) -> "Iterator[Event]":
        """What happens to the experiment, until it has ended, as (id, kind, data); lost connections are taken up again.

        Args:
            last_event_id: the id of the last event that is known already; without one the stream tells everything.
        """
        from actrobust.event_stream import follow

        return follow(self._http, f"/experiments/{_segment(experiment_id)}/events", last_event_id)

    def robustness(self, experiment_id: str, **query: Query) -> Json:
        """The comparison; `query` may hold `metric`, `score`, `rate`, `include`."""
        return self._json("GET", f"/experiments/{_segment(experiment_id)}/robustness", params=query)

    def chart(
        self, experiment_id: str, *, view: str = "degradation", file_format: str = "svg", **query: Query
    ) -> bytes:
        """The comparison as a picture; `query` may hold `metric`, `score`, `rate`.

        Args:
            view: `degradation`, `curves`, `sweep`, `pairs` or `forest`.
            file_format: `svg`, `png` or `vega-lite`.
        """
        path = f"/experiments/{_segment(experiment_id)}/robustness/chart"
        return self._request("GET", path, params={**query, "view": view, "format": file_format}).content

    def cancel(self, experiment_id: str) -> Json:
        """Ask the experiment to stop."""
        return self._json("POST", f"/experiments/{_segment(experiment_id)}/cancel")

    def resume(self, experiment_id: str) -> Json:
        """Queue the unfinished jobs again, from their checkpoints."""
        return self._json("POST", f"/experiments/{_segment(experiment_id)}/resume")

    def delete(self, experiment_id: str) -> None:
        """Delete a finished experiment and everything that came of it."""
        self._request("DELETE", f"/experiments/{_segment(experiment_id)}")

    def catalog(self) -> Json:
        """Everything that a spec may name."""
        return self._json("GET", "/catalog")

    def presets(self) -> list[Json]:
        """The presets that a spec may start from."""
        return list(self._json("GET", "/presets")["items"])

    def preset(self, name: str) -> Json:
        """One preset, resolved."""
        return self._json("GET", f"/presets/{_segment(name)}")

    def workers(self) -> list[Json]:
        """The workers that are alive: device, state, last heartbeat, and what they train if that is the caller's."""
        return list(self._json("GET", "/workers")["items"])

    def healthz(self) -> Json:
        """Whether the API process is alive."""
        return self._json("GET", "/healthz")

    def readyz(self) -> Json:
        """Whether the service can work; `status` is `ok` or `degraded`."""
        return self._json("GET", "/readyz")

    def _pages(self, path: str, query: Mapping[str, Query]) -> Iterator[Json]:
        page_token: str | None = None
        while True:
            page = self._json("GET", path, params={**query, "page_token": page_token})
            yield from page["items"]
            page_token = page.get("next_page_token")
            if not page_token:
                return

    def _json(self, method: str, path: str, **options: Any) -> Json:
        response = self._request(method, path, **options)
        try:
            document = response.json()
        except ValueError:
            document = None
        if not isinstance(document, dict):
            # A web server that is something else also answers; its page must not end in a traceback.
            raise ServiceUnreachableError(self.base_url, "what answers there is not this service")
        return document

    def _request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Query] | None = None,
        json: Json | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        try:
            response = self._http.request(method, path, params=_params(params), json=json, headers=headers)
        except httpx2.TransportError as error:
            raise ServiceUnreachableError(self.base_url, _reason(error)) from error
        if response.is_error:
            raise _problem(response)
        return response


def is_loopback(host: str) -> bool:
    """Whether `host` names this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _params(query: Mapping[str, Query] | None) -> dict[str, Any]:
    return {name: value for name, value in (query or {}).items() if value is not None}


def _segment(value: str) -> str:
    """A path segment that stays one, whatever was typed."""
    return quote(value, safe="")


def _reason(error: httpx2.TransportError) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return "it did not answer in time"
    return str(error) or type(error).__name__


def _problem(response: httpx2.Response) -> ProblemError:
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        document = {"title": response.reason_phrase}
    return ProblemError(response.status_code, document)
