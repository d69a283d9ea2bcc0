import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import structlog

from shared.logging import configure_logging


@dataclass(frozen=True)
class Settings:
    log_level: str = "INFO"
    log_format: str = "json"


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == "", "standard output belongs to what a command answers"
    return captured.err.splitlines()


def test_a_line_of_ours_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings())
    structlog.get_logger("shared.somewhere").info("job claimed", job="a1", token=3)
    (line,) = map(json.loads, lines(capsys))
    assert (line["event"], line["job"], line["token"]) == ("job claimed", "a1", 3)
    assert (line["level"], line["logger"]) == ("info", "shared.somewhere")
    assert line["timestamp"].endswith("Z")


def test_lines_of_libraries_have_the_same_shape(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings())
    logging.getLogger("celery.worker").warning("lost %s", "connection")
    (line,) = map(json.loads, lines(capsys))
    assert (line["event"], line["level"], line["logger"]) == ("lost connection", "warning", "celery.worker")


def test_lines_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_level="WARNING"))
    structlog.get_logger("a").info("quiet")
    structlog.get_logger("a").warning("loud")
    assert [json.loads(line)["event"] for line in lines(capsys)] == ["loud"]


def test_configuring_again_changes_the_format_and_doubles_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings())
    configure_logging(Settings(log_format="console"))
    structlog.get_logger("a").info("once")
    (line,) = lines(capsys)
    assert "once" in line
    assert not line.startswith("{")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_is_written_without_the_values_of_local_variables(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(Settings(log_format=log_format))
    database_url = "postgresql://user:hunter2@host/db"
    try:
        int("x" + database_url[:0])
    except ValueError:
        structlog.get_logger("a").exception("it failed")
    written = "\n".join(lines(capsys))
    assert "ValueError" in written
    assert "hunter2" not in written


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_line_holds_a_secret_wherever_in_it_a_library_put_it(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(Settings(log_format=log_format))
    url, key = "redis://:hunter2@host:6379/0", "actrobust_0123456789_hunter2"
    try:
        raise ConnectionError(f"cannot connect to {url}")  # noqa: TRY301 (as a library would)
    except ConnectionError as error:
        structlog.get_logger("a").warning("broker away", error=str(error))
        structlog.get_logger("a").exception("it failed", headers={"Authorization": f"Bearer {key}"})
    logging.getLogger("celery").error("Cannot connect to %s", url)
    warnings.warn(f"deprecated: {url}", UserWarning, stacklevel=1)
    written = "\n".join(lines(capsys))
    assert written.count("redis://:***@host:6379/0") >= 4
    assert "actrobust_0123456789_***" in written
    assert "hunter2" not in written


def test_warnings_are_lines_like_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings())
    warnings.warn("too old", UserWarning, stacklevel=1)
    (line,) = map(json.loads, lines(capsys))
    assert line["logger"] == "py.warnings"
    assert "too old" in line["event"]
