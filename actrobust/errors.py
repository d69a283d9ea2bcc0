"""What the client raises."""

from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from actrobust.experiment import Experiment


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


class ServiceStartError(ClientError):
    """An embedded service did not start."""


class MissingPackageError(ClientError, ImportError):
    """A table was asked for without the package that holds it."""


class ProblemError(ClientError):
    """The service refused; `errors` holds an object for each fault of the input: `pointer` or `parameter`, `detail`."""

    def __init__(self, status: int, document: dict[str, Any]) -> None:
        self.status = status
        self.title = str(document.get("title") or "the request failed")
        self.detail: str | None = document.get("detail")
        self.request_id: str | None = document.get("request_id")
        self.errors = [error for error in document.get("errors") or [] if isinstance(error, dict)]
        super().__init__(str(self))

    def __str__(self) -> str:
        if self.errors:
            return "\n".join(["the request was refused", *(f"  {_describe(error)}" for error in self.errors)])
        if self.status == 401:
            return f"{self.detail or self.title}; 'actrobust' takes the key from ACTROBUST_API_KEY"
        text = self.detail or f"{self.title} (HTTP {self.status})"
        # The service's log says more about a fault of its own.
        return f"{text} (request {self.request_id})" if self.status >= 500 and self.request_id else text


class UnfinishedError(ClientError):
    """An experiment was waited for and has no result; `experiment` is its handle."""

    def __init__(self, experiment: "Experiment", what: str) -> None:
        self.experiment = experiment
        super().__init__(what)


class ExperimentFailedError(UnfinishedError):
    """It failed, or somebody cancelled it; what it has measured stays."""


class WaitTimeoutError(UnfinishedError, TimeoutError):
    """It takes longer than somebody wanted to wait; it goes on."""


def _describe(error: dict[str, Any]) -> str:
    place = error.get("pointer") or error.get("parameter") or error.get("header")
    detail = str(error.get("detail") or "is not valid")
    return f"{place}: {detail}" if place else detail


def reason_of(error: httpx2.TransportError) -> str:
    """Why no answer came, in words."""
    if isinstance(error, httpx2.TimeoutException):
        return "it did not answer in time"
    return str(error) or type(error).__name__


def problem_of(response: httpx2.Response) -> ProblemError:
    """The refusal that a response holds; its body must have been read."""
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        document = {"title": response.reason_phrase}
    return ProblemError(response.status_code, document)
