"""Structured logs on standard error: lines for people, or one JSON object a line."""

import logging
import sys
from typing import Protocol

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from shared.redaction import redact

# uvicorn brings handlers of its own; without them its lines have the same shape as ours.
SERVER_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access")


_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
# One list for good: loggers that were used keep it.
_PROCESSORS: list[Processor] = [
    structlog.stdlib.filter_by_level,
    *_SHARED,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
]


class LoggingSettings(Protocol):
    """The settings that logging needs."""

    @property
    def log_level(self) -> str:
        """Lowest level that is written."""

    @property
    def log_format(self) -> str:
        """`console` or `json`."""


def configure_logging(settings: LoggingSettings) -> None:
    """Send every log line, ours and the libraries', to standard error; calling it again changes the settings."""
    structlog.configure(
        processors=_PROCESSORS,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,  # else each line would have its logger put together anew
    )
    handler = _OurHandler(sys.stderr)
    handler.setFormatter(_formatter(as_json=settings.log_format == "json"))
    root = logging.getLogger()
    root.handlers = [*(old for old in root.handlers if not isinstance(old, _OurHandler)), handler]
    root.setLevel(settings.log_level)
    logging.captureWarnings(capture=True)
    for name in SERVER_LOGGERS:
        server = logging.getLogger(name)
        if server.handlers:  # without any it was silenced on purpose
            server.handlers.clear()
            server.propagate = True


class _OurHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Told apart from the handlers of others, which stay."""


def _formatter(*, as_json: bool) -> logging.Formatter:
    # Tracebacks without local variables: those may hold keys and database URLs.
    render: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render, _without_secrets],
    )


def _without_secrets(_logger: WrappedLogger, _method: str, line: EventDict | str) -> str:
    return redact(str(line))
