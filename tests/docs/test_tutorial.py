"""The commands of the tutorial, as a person types them, against a real service on another port."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import absent
from tests.e2e.services import command, environment, url_printed_by

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the reader stands: a checkout has its commands in .venv/bin."""
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    (programs / "actrobust").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m actrobust "$@"\n')
    (programs / "actrobust").chmod(0o755)
    return tmp_path


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    log = folder / "stderr.log"
    with command("serve", "--port", "0", env=environment(folder / "data"), log=log) as serving:
        yield url_printed_by(serving, log)


def typed() -> list[str]:
    """The commands after the one that starts the service, which the fixture has started."""
    blocks = re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    commands = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    assert "actrobust serve" in commands[0]
    return commands[1:]


def run(script: str, folder: Path, *, program: list[str]) -> str:
    env = {**environment(folder / "data"), "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [*program, script], cwd=folder, env=env, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_command_of_the_tutorial_works(folder: Path, url: str) -> None:
    version = re.match(r"curl (\d+)\.(\d+)", run("curl -V || true", folder, program=["bash", "-c"]))
    if version is None or (int(version[1]), int(version[2])) < (7, 82):
        absent("curl 7.82 or later is not here")
    address = url.removeprefix("http://")
    script = "\n".join(["set -eu", *typed()]).replace("curl -s", "curl -s --fail --noproxy '*'")
    out = run(script.replace("localhost:8000", address), folder, program=["bash", "-c"])
    assert '"runs":70' in out.replace(" ", "")
    assert "tutorial (" in out
    compared = json.loads((folder / "comparison.json").read_text())
    assert compared["complete"] is True
    assert [entry["activation"] for entry in compared["activations"]] == ["relu", "elu", "tanh"]
    assert (folder / "forest.svg").read_text().startswith("<svg")
    assert len((folder / "metrics.csv").read_text().splitlines()) == 1 + 3 * 2 * 5 * 10


def test_the_python_of_the_tutorial_works(folder: Path, url: str) -> None:
    with_server, embedded = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    out = run(with_server.replace("http://localhost:8000", url), folder, program=[sys.executable, "-c"])
    assert "degradation_mean" in out
    assert (folder / "degradation.svg").read_text().startswith("<svg")
    assert run(embedded, folder, program=[sys.executable, "-c"]) == "succeeded\n"
