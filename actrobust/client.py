"""Python client of the service. It speaks HTTP only and imports nothing of the server."""

import ipaddress
import os
import uuid
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self, Unpack
from urllib.parse import quote

import httpx2

from actrobust.errors import ClientError, ProblemError, ServiceUnreachableError, problem_of, reason_of
from actrobust.experiment import Experiment
from actrobust.retries import Retries
from actrobust.specs import SpecFields, document_of

__all__ = ["Client", "ClientError", "Json", "ProblemError", "ServiceUnreachableError", "is_loopback"]

if TYPE_CHECKING:
    from actrobust.event_stream import Event

Json = dict[str, Any]
"""A JSON object as the service sends it; its fields are those of the OpenAPI document."""

Query = str | int | float | bool | None | list[str] | list[float]

DEFAULT_URL = "http://127.0.0.1:8000"
PAGE_SIZE = 1000


class Client:
    """One service. All methods raise `ServiceUnreachableError` and `ProblemError`.

    `run` and `start` give a handle to hold on to; the others are the service's calls, one each, and return the decoded
    JSON. What is safe to send again is sent again: reads, and posts, which carry a key, so that an experiment exists
    once at most. A service that asks for patience (429, 503 with `Retry-After`) gets up to a minute.

    Args:
        url: its address; else ACTROBUST_URL, else http://127.0.0.1:8000.
        api_key: what the service asks for if it has keys; else ACTROBUST_API_KEY. Sent to `url` only.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        retries: Retries | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.base_url = (os.environ.get("ACTROBUST_URL") or DEFAULT_URL if url is None else url).rstrip("/")
        self._retries = retries or Retries()
        address = _checked(self.base_url)
        key = api_key or os.environ.get("ACTROBUST_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # A proxy of the environment would look for "127.0.0.1" on its own machine.
        trust_env = not is_loopback(address.host)
        self._http = httpx2.Client(
            base_url=address, headers=headers, timeout=timeout_s, trust_env=trust_env, transport=transport
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

    def run(
        self,
        spec: str | Mapping[str, Any] | None = None,
        /,
        *,
        timeout_s: float | None = None,
        progress: bool = True,
        **fields: Unpack[SpecFields],
    ) -> Experiment:
        """Post an experiment and wait until it has succeeded; arguments as for `start` and `Experiment.wait`.

        Ctrl-C stops the waiting, not the experiment, and says how to wait again.

        Raises: ExperimentFailedError: it failed or was cancelled. WaitTimeoutError: it goes on.
        """
        experiment = self.start(spec, **fields)
        experiment.wait(timeout_s=timeout_s, progress=progress)
        experiment.raise_unless_succeeded()
        return experiment

    def start(
        self,
        spec: str | Mapping[str, Any] | None = None,
        /,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[SpecFields],
    ) -> Experiment:
        """Post an experiment.

        Args:
            spec: a preset's name, or a spec as JSON has it.
            idempotency_key: with the same one a repeated call gives the same experiment instead of another.
            fields: fields of the spec, merged into it: `num_seeds=5`, `dataset={"kind": "digits"}` or
                `dataset="digits"`.
        """
        document = document_of(spec, fields)
        return Experiment(self, self.create_experiment(document, idempotency_key=idempotency_key))

    def experiment(self, experiment_id: str) -> Experiment:
        """The handle of an experiment that exists."""
        return Experiment(self, self.get_experiment(experiment_id))

    def how_to_go_on(self, experiment_id: str) -> str:
        """What to tell somebody who stops waiting for an experiment."""
        return f'the experiment goes on at {self.base_url}; client.experiment("{experiment_id}").wait() waits again'

    def create_experiment(
        self, document: Json, *, idempotency_key: str | None = None, validate_only: bool = False
    ) -> Json:
        """Post a spec and return the experiment, or the plan with `validate_only`."""
        if validate_only:
            return self._json("POST", "/experiments", json=document, params={"validate_only": True})
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
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
                    raise problem_of(response)
                for chunk in response.iter_bytes():
                    file.write(chunk)
        except httpx2.TransportError as error:
            raise ServiceUnreachableError(self.base_url, reason_of(error)) from error

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
        keyed = "Idempotency-Key" in (headers or {})
        try:
            response = self._retries.send(
                lambda: self._http.request(method, path, params=_params(params), json=json, headers=headers),
                repeatable=method == "GET" or keyed,
                keyed=keyed,
            )
        except httpx2.TransportError as error:
            raise ServiceUnreachableError(self.base_url, reason_of(error)) from error
        if response.is_error:
            raise problem_of(response)
        return response


def _checked(url: str) -> httpx2.URL:
    """The address of a service, if it looks like one."""
    try:
        address = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise ServiceUnreachableError(url, f"not a URL: {error}") from None
    if address.scheme not in {"http", "https"} or not address.host:
        raise ServiceUnreachableError(url, f"not a URL; it looks like {DEFAULT_URL}")
    return address


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
