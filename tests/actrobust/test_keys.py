"""`actrobust keys`, and what keys change for the other commands."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from actrobust.commands.keys import checked_name, moment_of
from actrobust.commands.output import CommandError


def actrobust(*words: str, data_dir: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ACTROBUST_")}
    command = [sys.executable, "-m", "actrobust", *words]
    environment |= {"ACTROBUST_DATA_DIR": str(data_dir), **variables}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)


def test_a_key_is_made_on_a_fresh_machine_shown_once_and_revoked(tmp_path: Path) -> None:
    made = actrobust("keys", "create", "--name", "alice", "--expires", "90d", data_dir=tmp_path)
    key = made.stdout.strip()
    assert made.returncode == 0
    assert key.startswith("actrobust_")
    assert "alice" in made.stderr
    assert "shown this once" in made.stderr
    listed = json.loads(actrobust("keys", "list", "--json", data_dir=tmp_path).stdout)["items"]
    assert [(row["key"], row["name"], row["state"]) for row in listed] == [(key[:20], "alice", "active")]
    table = actrobust("keys", "list", data_dir=tmp_path).stdout
    assert key[:20] in table
    assert key not in table
    # Who pastes the whole key means its beginning.
    assert actrobust("keys", "revoke", key, data_dir=tmp_path).returncode == 0
    assert "revoked" in actrobust("keys", "list", data_dir=tmp_path).stdout
    refused = actrobust("serve", "--host", "0.0.0.0", "--port", "0", data_dir=tmp_path)
    assert refused.returncode == 1
    assert "there is no API key" in refused.stderr


def test_a_command_shows_the_key_of_the_environment_and_says_where_it_belongs(tmp_path: Path) -> None:
    key = actrobust("keys", "create", "--name", "local", data_dir=tmp_path).stdout.strip()
    refused = actrobust("list", data_dir=tmp_path)
    assert refused.returncode == 1
    assert "ACTROBUST_API_KEY" in refused.stderr
    assert actrobust("list", data_dir=tmp_path, ACTROBUST_API_KEY=key).returncode == 0


def test_a_duration_a_date_and_never_say_when_a_key_ends() -> None:
    assert moment_of("never") is None
    assert moment_of("2031-01-31") == datetime(2031, 1, 31, tzinfo=UTC)
    assert moment_of("2031-01-31T12:00:00+02:00") == datetime(2031, 1, 31, 10, tzinfo=UTC)
    for text, hours in (("12h", 12), ("90d", 2160), ("4w", 672)):
        moment = moment_of(text)
        assert moment is not None
        assert abs((moment - datetime.now(UTC)).total_seconds() / 3600 - hours) < 0.01


@pytest.mark.parametrize("text", ["", "soon", "90", "-1d", "99999999d", "2031-13-01"])
def test_a_time_that_means_nothing_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(CommandError, match="90d"):
        moment_of(text)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101])
def test_a_name_that_could_not_be_shown_is_refused(name: str) -> None:
    with pytest.raises(CommandError, match="1 to 100 printable"):
        checked_name(name)
