"""Domain errors. Each says what, what was given and what is allowed; only `api/errors.py` knows HTTP."""

from dataclasses import dataclass


class ActrobustError(Exception):
    """Base of every error that a user can cause or mend."""


@dataclass(frozen=True)
class FieldProblem:
    """One thing wrong with an input: a JSON pointer (body) or a parameter name (query), and a sentence."""

    detail: str
    type: str
    pointer: str | None = None
    parameter: str | None = None


class InvalidSpecError(ActrobustError):
    """The posted spec cannot be run; `problems` says where and why."""

    def __init__(self, problems: list[FieldProblem]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{problem.pointer or '(spec)'}: {problem.detail}" for problem in problems))


class InvalidParameterError(ActrobustError):
    """A query parameter or header has no meaning here."""

    def __init__(self, parameter: str, detail: str, kind: str = "value_error") -> None:
        self.problems = [FieldProblem(detail=detail, type=kind, parameter=parameter)]
        super().__init__(detail)


class DatasetMissingError(InvalidSpecError):
    """A data set is not on this machine's disk; the message holds the command that fetches it."""


class InvalidKeyError(ActrobustError):
    """No API key came, or one that lets nobody in."""


class TooManyRequestsError(ActrobustError):
    """A caller asks for more than its share; `retry_after_s` says when to come again."""

    def __init__(self, detail: str, *, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(detail)


class NotFoundError(ActrobustError):
    """Nothing with that id or name."""


class ConflictError(ActrobustError):
    """The thing asked for does not fit the present state."""


class IdempotencyKeyReusedError(ActrobustError):
    """The Idempotency-Key was used before with another body."""


class ServiceUnavailableError(ActrobustError):
    """A part the service needs, such as the database, does not answer."""


class OutdatedSchemaError(ServiceUnavailableError):
    """The database's tables are older than this code; the message holds the command that mends it."""


class LeaseLostError(ActrobustError):
    """The job belongs to somebody else now, or was cancelled: stop training, write nothing."""


class UnfitWorkerError(ActrobustError):
    """This worker lacks what a job needs, such as a GPU or the files of a data set."""
